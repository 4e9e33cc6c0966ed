"""``ecgclip bench-signals``: how fast the way from a file to a standard record is, and what its quality flags find in PTB-XL."""

import argparse
import multiprocessing
import os
import shlex
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from multiprocessing.pool import Pool
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ecgclip.errors import CommandParser, UserError
from ecgclip.report.benchmark import write_section
from ecgclip.report.simulated import write_record
from ecgclip.signals.filters import baseline
from ecgclip.signals.leads import LEADS
from ecgclip.signals.path import SignalPath
from ecgclip.signals.ptbxl import DOWNLOAD, TABLE
from ecgclip.signals.quality import FEWEST, gain_suspects
from ecgclip.signals.readers import read_record
from ecgclip.signals.record import Record
from ecgclip.signals.resample import resample
from ecgclip.simulation import draw_label_sets, simulate

HEAD = "# From a file to a standard record, measured\n"
RATE, SECONDS = 500.0, 10.0  # Of the files that the speed is measured on.
ROUNDS = 3  # The two ways take turns, so that both meet the same moments of a busy machine.
PATH = SignalPath(filter="default")
STORE = SignalPath()  # What PTB-XL's stores are made with.
KINDS = ("gap", "clipped", "flat", "noisy", "swapped")
NOTES = {"static_noise": "static noise", "burst_noise": "burst noise", "baseline_drift": "drift", "electrodes_problems": "electrodes"}
GROUPS = {"folds 1-8": range(1, 9), "fold 9": (9,)}
WRONG_GAIN, WRONG_RECORDS = 5.0, 30


def bench_signals(arguments: Sequence[str]) -> None:
    """Measure the signal path, print the figures and write the sections of its page.

    Raises:
        UserError: For an option that makes no sense, a folder that is not PTB-XL, or a file that cannot be written.
    """
    options = parse(arguments)
    table = _read_table(options.data_root) if options.data_root else None
    with tempfile.TemporaryDirectory() as folder, multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        _write(options, "speed", _speed_section(_write_files(Path(folder), options.records), pool, options))
        if table is not None:
            judged = list(pool.imap(_judge, [options.data_root / f"{name}.hea" for name in table["filename_lr"]], chunksize=64))
            _write(options, "quality", _quality_section(table, judged))


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line.

    Raises:
        UserError: For an option that is not there, misses or makes no sense.
    """
    parser = CommandParser("bench-signals", "Measure the way from a file to a standard record: its speed, and what its flags find.")
    parser.add_argument("--records", type=int, default=200, help="simulated WFDB files of 10 s at 500 Hz (200)")
    parser.add_argument("--processes", type=int, default=2, help="that work at a time (2)")
    parser.add_argument(
        "--data_root", type=Path, metavar="DIR", help="PTB-XL, for what the quality flags find in it (without: speed alone)"
    )
    parser.add_argument("--out", type=Path, default=Path("docs/signals.md"), help="the page (docs/signals.md)")
    options = parser.parse_args(list(arguments))
    for name in ("records", "processes"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name} {getattr(options, name)} is too little: give at least 1")
    words = ["ecgclip", "bench-signals", "--records", str(options.records), "--processes", str(options.processes)]
    options.command = shlex.join([*words, *(["--data_root", "DIR"] if options.data_root else [])])
    return options


def _write(options: argparse.Namespace, name: str, section: str) -> None:
    print(f"{section}\n", flush=True)
    write_section(options.out, name, f"```\n{options.command}\n```\n\n{section}", HEAD)


def _machine() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    versions = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "neurokit2", "wfdb"))
    return f"{cores} CPU core{'' if cores == 1 else 's'}, {versions}; {time.strftime('%Y-%m-%d')}"


# --- speed ---------------------------------------------------------------------------------------------------------------------------


def _write_files(folder: Path, records: int) -> list[Path]:
    label_sets = draw_label_sets(records, 0, "hospital")
    signals = simulate(label_sets, range(records), sampling_rate=RATE, seconds=SECONDS)
    return [write_record(signal, RATE, labels, seed, folder) for seed, (signal, labels) in enumerate(zip(signals, label_sets, strict=True))]


def whole_path(file: Path) -> int:
    """Read a file and bring it into the standard form with every flag: ours."""
    return PATH(read_record(file)).signal.size


def ordinary_path(file: Path) -> int:
    """Do the same as one writes it with wfdb and neurokit2: lead by lead, no flags."""
    import neurokit2
    import wfdb

    record = wfdb.rdrecord(str(file.with_suffix("")))
    return sum(
        len(neurokit2.signal_resample(neurokit2.ecg_clean(lead, sampling_rate=RATE), sampling_rate=RATE, desired_sampling_rate=100))
        for lead in record.p_signal.T
    )


def _speed_section(files: Sequence[Path], pool: Pool, options: argparse.Namespace) -> str:
    ours, ordinary = _in_turns([lambda way=way: _pace(pool, way, files) for way in (whole_path, ordinary_path)])  # type: ignore[misc]
    signal = read_record(files[0]).signal
    filters = _filters(signal)
    own, peer = _in_turns([lambda run=run: 1 / _seconds(run) for run in filters.values()])[:2]  # type: ignore[misc]
    at_100 = Record(resample(signal, RATE, 100.0), 100.0, LEADS)
    with_flags = _seconds(lambda: STORE(at_100), 100)
    rows = [
        f"| file to 100 Hz, filtered, with flags: `read_record`, `SignalPath` | {ours:.0f} records/s | {ours / ordinary:.1f} x |",
        f"| file to 100 Hz with wfdb and neurokit2, lead by lead, no flags | {ordinary:.1f} records/s | 1 x |",
        f"| filter alone: to 100 Hz, high-pass at 0.5 Hz, twelve leads | {1000 / own:.2f} ms | {own / peer:.0f} x |",
        f"| filter alone: `neurokit2.ecg_clean`, twelve leads one by one | {1000 / peer:.1f} ms | 1 x |",
        f"| record of 100 Hz to a store of 100 Hz, no filter, with flags | {1000 * with_flags:.2f} ms | |",
    ]
    facts = (
        f"{len(files)} simulated WFDB files of {SECONDS:g} s at {RATE:g} Hz, {options.processes} processes for the first two rows and one "
        f"for the others; the ways take turns, median of {ROUNDS}. {_machine()}."
    )
    return "\n".join([facts, "", "| what | speed | against neurokit2 |", "| --- | ---: | ---: |", *rows])


def _filters(signal: np.ndarray) -> dict[str, Callable[[], object]]:
    def ours() -> np.ndarray:
        at_100 = resample(signal, RATE, 100.0)
        return at_100 - baseline(at_100, 100.0)

    def lead_by_lead() -> list[np.ndarray]:
        import neurokit2

        return [neurokit2.ecg_clean(lead, sampling_rate=RATE) for lead in signal]

    return {"ours": ours, "neurokit2": lead_by_lead}


def _in_turns(runs: Sequence[Callable[[], float]]) -> list[float]:
    """Return the median of each, after a round that does not count."""
    results = [[run() for run in runs] for _ in range(ROUNDS + 1)][1:]
    return np.median(results, axis=0).tolist()


def _pace(pool: Pool, way: Callable[[Path], int], files: Sequence[Path]) -> float:
    start = time.perf_counter()
    done = sum(1 for _ in pool.imap_unordered(way, files, chunksize=4))
    return done / (time.perf_counter() - start)


def _seconds(run: Callable[[], object], times: int = 20) -> float:
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))


# --- quality -------------------------------------------------------------------------------------------------------------------------


class _Judged(NamedTuple):
    """What is said of one record: as it is, and with the electrodes of the arms exchanged."""

    flags: tuple[str, ...]
    swapped: bool
    amplitude: float


def _read_table(root: Path) -> pd.DataFrame:
    if not (root / TABLE).is_file():
        raise UserError(f"{root} holds no {TABLE}: give the folder of PTB-XL, or {DOWNLOAD}")
    table = pd.read_csv(root / TABLE)
    for column in ("filename_lr", "strat_fold", "device", *NOTES):
        if column not in table:
            raise UserError(f"{root / TABLE} has no column {column}: {DOWNLOAD}")
    table = table[[(root / f"{name}.dat").is_file() for name in table["filename_lr"]]].reset_index(drop=True)
    if table.empty:
        raise UserError(f"{root} holds {TABLE} but none of its records at 100 Hz: {DOWNLOAD}")
    return table


def _judge(file: Path) -> _Judged:
    record = read_record(file)
    standard = STORE(record)
    swapped = STORE(_arms_exchanged(standard.signal))
    return _Judged(tuple(standard.flags), "swapped:arms" in swapped.flags, standard.amplitude)


def _arms_exchanged(signal: np.ndarray) -> Record:
    """Return what the same person's record would be with the arms' electrodes exchanged; the chest leads stay."""
    rows = {lead: signal[i] for i, lead in enumerate(LEADS)}
    rows |= {"I": -rows["I"], "II": rows["III"], "III": rows["II"], "aVR": rows["aVL"], "aVL": rows["aVR"]}
    return Record(np.stack([rows[lead] for lead in LEADS]), STORE.sampling_rate, LEADS)


def _quality_section(table: pd.DataFrame, judged: Sequence[_Judged]) -> str:
    table = table.assign(
        **{kind: [any(flag.startswith(f"{kind}:") for flag in record.flags) for record in judged] for kind in KINDS},
        found=[record.swapped for record in judged],
        amplitude=[record.amplitude for record in judged],
        clean=table[list(NOTES)].isna().all(axis=1),
    )
    groups = {name: table[table["strat_fold"].isin(folds)] for name, folds in GROUPS.items()}
    groups = {name: group for name, group in groups.items() if len(group)}
    rows = [["records", *(str(len(group)) for group in groups.values())]]
    rows += [[f"flagged `{kind}`", *(_share(group[kind]) for group in groups.values())] for kind in KINDS]
    rows += [
        ["`swapped:arms` found, the arms exchanged in every record", *(_share(group["found"]) for group in groups.values())],
        ["`noisy` where PTB-XL notes nothing", *(_share(group.loc[group["clean"], "noisy"]) for group in groups.values())],
    ]
    for column, name in NOTES.items():
        rows.append([f"`noisy` where it notes {name}", *(_share(g.loc[g[column].notna(), "noisy"]) for g in groups.values())])
    lines = ["| " + " | ".join(row) + " |" for row in (["", *groups], ["---", *["---:"] * len(groups)], *rows)]
    facts = (
        "PTB-XL at 100 Hz; the criteria were set on folds 1-8. That a record flagged `swapped` as it is was recorded rightly is an "
        "assumption. PTB-XL's notes of noise were made by eye and name most of what can be seen, `noisy` only what is large beside QRS."
    )
    return "\n".join([facts, "", *lines, "", _gain_line(next(iter(groups.values())))])


def _share(found: pd.Series) -> str:
    return f"{100 * found.mean():.2f} % ({int(found.sum())} of {len(found)})" if len(found) else "-"


def _gain_line(group: pd.DataFrame) -> str:
    """Tell which devices stand out as they are, and whether one of 30 records with a wrong gain does."""
    devices = group["device"].fillna("").str.strip().tolist()
    as_is = gain_suspects(group["amplitude"].to_numpy(), devices)
    rng = np.random.default_rng(0)
    found = []
    for _ in range(20):
        chosen = rng.choice(len(group), min(WRONG_RECORDS, len(group)), replace=False)
        amplitudes, batches = group["amplitude"].to_numpy(copy=True), list(devices)
        amplitudes[chosen] *= WRONG_GAIN
        for record in chosen:
            batches[record] = "wrong gain"
        found.append(gain_suspects(amplitudes, batches).get("wrong gain", np.nan))
    names = ", ".join(f"{device} ({factor:.2f})" for device, factor in sorted(as_is.items())) or "none"
    count = sum(devices.count(device) >= FEWEST for device in set(devices))
    seen = [factor for factor in found if np.isfinite(factor)]
    size = f", as a factor of {min(seen):.1f} to {max(seen):.1f}" if seen else ""
    return (
        f"Gain: of {count} devices with {FEWEST} records or more, {names} stand out as they are. A batch of {WRONG_RECORDS} records drawn "
        f"from all devices, with {WRONG_GAIN:g} times their amplitude, is found in {len(seen)} of {len(found)} draws{size}."
    )
