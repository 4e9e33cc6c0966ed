"""``ecgclip bench-sim``: speed, validity and realism of the simulator, written into one page."""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ecgclip.benchmark.simulator import speed, tables
from ecgclip.benchmark.simulator.archive import RATE, Normals, real_normals, simulated_normals
from ecgclip.benchmark.simulator.validity import Row, lead_identities, likeness, validity
from ecgclip.errors import CommandParser, UserError
from ecgclip.report.benchmark import write_section
from ecgclip.simulation import draw_label_sets, simulate

PARTS = ("speed", "validity", "realism")
HEAD = "# The simulator, measured\n"
PEOPLE = 200  # Records of each kind whose median beats are compared in pairs.
SEED = 1_000_000  # Seeds of simulated people, far from those of training.


def bench_sim(arguments: Sequence[str]) -> None:
    """Measure the simulator, and write the sections of its page.

    Raises:
        UserError: For an option that makes no sense, a folder that is not PTB-XL, or without scikit-learn for realism.
    """
    options = parse(arguments)
    parts = [options.only] if options.only else list(PARTS)
    real = real_normals(options.data_root, options.normals, options.seed) if options.data_root and parts != ["speed"] else None
    if "speed" in parts:
        _speed(options)
    if "validity" in parts:
        _validity(options, real)
    if "realism" in parts:
        if real is None:
            print("realism: left out, as it needs PTB-XL: give its folder with --data_root DIR", flush=True)
        else:
            _realism(options, real)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line.

    Raises:
        UserError: For an option that is not there, misses or makes no sense.
    """
    parser = CommandParser(
        "bench-sim", "Measure the simulator: records per second, every label against its textbook, normal records against PTB-XL."
    )
    parser.add_argument("--data_root", type=Path, metavar="DIR", help="PTB-XL as PhysioNet gives it (without: no realism)")
    parser.add_argument("--only", choices=PARTS, help="one part (all)")
    parser.add_argument("--records", type=int, default=50, help="clean records per label (50)")
    parser.add_argument("--labels", nargs="+", metavar="LABEL", help="check these labels only, and write nothing")
    parser.add_argument("--normals", type=int, default=1500, help="normal records of either kind for realism (1500)")
    parser.add_argument("--speed_records", type=int, default=512, help="records per measurement of speed (512)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of records, and of the simulated people (0)")
    parser.add_argument("--out", type=Path, default=Path("docs/simulator.md"), help="the page (docs/simulator.md)")
    options = parser.parse_args(list(arguments))
    for name, least in (("records", 1), ("normals", 20), ("speed_records", 1), ("seed", 0)):
        if getattr(options, name) < least:
            raise UserError(f"--{name} {getattr(options, name)} is too little: give at least {least}")
    if options.labels:
        if options.only not in (None, "validity"):
            raise UserError(f"--labels belongs to validity, not to {options.only}: leave one of the two out")
        options.only = "validity"
    options.command = _command_line(options)
    return options


def _command_line(options: argparse.Namespace) -> str:
    """Return the command as one types it, without the folder that the data lie in."""
    words = ["ecgclip", "bench-sim", *(["--data_root", "DIR"] if options.data_root else [])]
    for name, default in (("records", 50), ("normals", 1500), ("speed_records", 512), ("seed", 0)):
        words += [f"--{name}", str(getattr(options, name))] if getattr(options, name) != default else []
    return shlex.join(words)


def _write(options: argparse.Namespace, name: str, section: str) -> None:
    if not options.out.exists():
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(HEAD, encoding="utf-8")
    write_section(options.out, name, section)
    print(f"{name}: written to {options.out}", flush=True)


def _speed(options: argparse.Namespace) -> None:
    paces = speed.paces(options.speed_records, options.seed)
    memory = speed.memory(options.speed_records, options.seed)
    for pace in paces:
        print(f"speed: {pace.per_second:,.0f} records/s at {pace.sampling_rate:g} Hz, {pace.workers} process(es)")
    print(f"memory: {memory.few_mb:.0f} MB for {memory.few} records, {memory.many_mb:.0f} MB for {memory.many}")
    _write(options, "speed", tables.speed_section(paces, memory, f"{options.command} --only speed"))


def _validity(options: argparse.Namespace, real: Normals | None) -> None:
    rows = validity(options.labels, options.records, SEED + options.seed)
    for row in rows:
        _tell(row)
    print(f"validity: {sum(row.met for row in rows)} of {len(rows)} labels meet their criteria", flush=True)
    if options.labels:
        return
    command = f"{options.command} --only validity"
    _write(options, "validity", tables.validity_section(rows, options.records, command))
    noisy = simulate(draw_label_sets(PEOPLE, options.seed), range(PEOPLE), sampling_rate=RATE)
    rhythms = real.label_sets[:PEOPLE] if real else [frozenset({"NORM", "SR"})] * PEOPLE
    seeds = simulated_normals(rhythms, SEED + options.seed)
    people = likeness(real.signals[:PEOPLE], RATE) if real else None
    counts = len(rhythms), len(rhythms) if real else 0
    section = tables.people_section(lead_identities(noisy), likeness(seeds.signals, RATE), people, counts, command)
    _write(options, "people", section)


def _tell(row: Row) -> None:
    print(f"{row.label:8} {100 * row.share:4.0f} %  {row.shows}: {row.median:.3f} ({row.low:.3f} to {row.high:.3f})")
    if not row.met:
        for sentence, part in row.failing:
            print(f"{'':17}fails in {100 * part:.0f} %: {sentence}")


def _realism(options: argparse.Namespace, real: Normals) -> None:
    from ecgclip.benchmark.simulator.pictures import draw_all
    from ecgclip.benchmark.simulator.realism import distances, features, hang_together, spectra, spectral_distance, tell_apart

    simulated = simulated_normals(real.label_sets, SEED + options.seed)
    first, second = (features(kind.signals, RATE, name) for kind, name in ((real, "PTB-XL"), (simulated, "simulated")))
    frequencies, power = spectra(real.signals, RATE)
    other = spectra(simulated.signals, RATE)[1]
    verdict = tell_apart(first, second, options.seed)
    folder = options.out.parent / "pictures" / "simulator"
    pictures = draw_all(first, second, (frequencies, power, other), folder)
    apart = distances(first, second)
    print(apart.round(3).to_string())
    print(f"\nWhat the classifier goes by\n{verdict.telling.head(20).round(3).to_string()}")
    print(f"\nWhat hangs together otherwise than in people\n{hang_together(first, second).round(2).to_string()}")
    print(f"\nspectral distance: {np.mean(spectral_distance(power, other)):.1f} dB; AUROC of the classifier: {verdict.auroc:.3f}")
    section = tables.realism_section(
        apart, spectral_distance(power, other), verdict, len(real.signals), pictures, options.out, f"{options.command} --only realism"
    )
    _write(options, "realism", section)
    print(f"pictures: {folder}", flush=True)
