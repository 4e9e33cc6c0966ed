"""Damage files of every format in every way, and see that each ends as a record or as one line: `make fuzz`."""

import argparse
import importlib.util
import random
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import numpy as np

LIMIT = 10.0  # s for one file.
MEMORY = 3 << 30  # Bytes of address space for a worker; numpy and pandas alone take one.
BAD = ("CRASH", "HANG", "MEMORY")
HERE = Path(__file__).parent
EXTREMES = ("0", "-1", "1", "255", "65536", "2147483648", "9999999999999", "1e308", "-1e-308", "nan", "inf", "9" * 400)


# --- seeds ---------------------------------------------------------------------------------------------------------------------------


def _writers(name: str) -> ModuleType:
    """Return a test file of one format, for its writers."""
    spec = importlib.util.spec_from_file_location(f"writers_{name}", HERE / "formats" / f"test_{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _ecg(leads: int = 12, length: int = 600) -> np.ndarray:
    return np.random.default_rng(0).integers(-500, 500, (leads, length)).astype("<i2")


def write_seeds(folder: Path) -> list[tuple[str, list[Path]]]:
    """Write a small whole file of each format.

    Returns:
        Pairs of the format and its files, of which the first is the one that is read and the others lie beside it.
    """
    from ecgclip.signals import LEADS

    signal = _ecg()
    seeds: list[tuple[str, list[Path]]] = []
    for form, data in (("16", signal.T.tobytes()), ("212", bytes(signal.size * 3 // 2)), ("311", bytes(signal.size * 4 // 3))):
        lines = [f"w{form}.dat {form} 200(0)/mV 16 0 0 0 0 {lead}" for lead in LEADS]
        (folder / f"w{form}.hea").write_text("\n".join([f"w{form} 12 500 600", *lines, "#Age: 40", "#Sex: F"]) + "\n")
        (folder / f"w{form}.dat").write_bytes(data if form == "16" else np.random.default_rng(1).bytes(len(data)))
        seeds.append(("wfdb", [folder / f"w{form}.hea", folder / f"w{form}.dat"]))
    (folder / "several.hea").write_text("several/3 12 500 1300\nw16 600\n~ 100\nw16 600\n")
    seeds.append(("wfdb", [folder / "several.hea", folder / "w16.hea", folder / "w16.dat"]))
    np.savez(folder / "n.npz", signal=signal / 1000, sampling_rate=500, lead_names=list(LEADS))
    np.savez_compressed(folder / "z.npz", signal=signal / 1000, sampling_rate=500)
    np.save(folder / "n.npy", signal / 1000)
    rows = [",".join(["time (s)", *(f"{lead} (uV)" for lead in LEADS)])]
    rows += [",".join([f"{number / 500:.3f}", *map(str, column)]) for number, column in enumerate(signal.T)]
    (folder / "t.csv").write_text("\n".join(rows) + "\n")
    (folder / "e.edf").write_bytes(_edf(signal, LEADS))
    seeds += [(kind, [folder / name]) for kind, name in (("npz", "n.npz"), ("npz", "z.npz"), ("npy", "n.npy"), ("csv", "t.csv"))]
    seeds.append(("edf", [folder / "e.edf"]))
    return [*seeds, *_device_seeds(folder)]


def _edf(signal: np.ndarray, leads: tuple[str, ...]) -> bytes:
    """Return one block of EDF, by https://www.edfplus.info/specs/edf.html."""
    count, length = signal.shape
    start = ["0", "X", "X", "01.02.20", "10.00.00", str(256 * (count + 1)), "", "1", f"{length / 500:g}", str(count)]
    head = "".join(f"{text:<{size}}" for text, size in zip(start, (8, 80, 80, 8, 8, 8, 44, 8, 8, 4), strict=True))
    columns = (("", 80), ("uV", 8), ("-32768", 8), ("32767", 8), ("-32768", 8), ("32767", 8), ("", 80), (str(length), 8), ("", 32))
    names = "".join(f"{lead:<16}" for lead in leads)
    return (head + names + "".join(f"{text:<{size}}" * count for text, size in columns)).encode() + signal.tobytes()


def _device_seeds(folder: Path) -> list[tuple[str, list[Path]]]:
    import pydicom.data

    aecg, muse, mfer, scp = (_writers(name) for name in ("aecg", "muse", "mfer", "scp"))
    files = {
        "aecg": aecg.write(folder, aecg.aecg(aecg.series(aecg.twelve()))),
        "muse": muse.write(folder, muse.waveform(muse.eight())),
        "mfer": folder / "m.mwf",
        "scp": folder / "s.scp",
    }
    files["mfer"].write_bytes(mfer.header("<") + mfer.frame(mfer.waves(), "<"))
    coded = [scp.patient(), scp.section(2, b"\x1f\x4e"), scp.leads(), scp.rhythm(scp.waves(), order=2, coded=True)]
    files["scp"].write_bytes(scp.assemble(coded))
    sample = pydicom.data.get_testdata_file("waveform_ecg.dcm", download=False)
    if sample:
        files["dicom"] = Path(str(sample))
    return [(kind, [path]) for kind, path in files.items()]


def real_seeds(folder: Path) -> list[tuple[str, list[Path]]]:
    """Return the files of a folder; a header with all that lies beside it under its name."""
    endings = (".hea", ".xml", ".mwf", ".dcm", ".scp", ".edf")
    seeds = []
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.suffix in endings:
            beside = sorted(other for other in file.parent.glob(f"{file.stem}.*") if other != file) if file.suffix == ".hea" else []
            seeds.append((f"real {file.suffix[1:]}", [file, *beside]))
    return seeds


# --- damage --------------------------------------------------------------------------------------------------------------------------


def damage(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """Return a damaged copy: flipped bits, an end that is missing, other sizes, blocks of another file, extreme numbers in texts."""
    data = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 4, 16))):
        if not data:
            break
        # Headers decide more than samples do, so most blows fall there.
        at = draw.randrange(min(len(data), 1024) if draw.random() < 0.7 else len(data))
        blow = draw.randrange(7)
        if blow == 0:
            data[at] ^= 1 << draw.randrange(8)
        elif blow == 1:
            del data[draw.randrange(len(data)) :]
        elif blow == 2:
            data[at : at + 4] = draw.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\0\1\0\0"))
        elif blow == 3:
            size, start = draw.randrange(1, 400), draw.randrange(max(len(other), 1))
            data[at : at + draw.choice((0, size))] = other[start : start + size]
        elif blow == 4:
            del data[at : at + draw.randrange(1, 64)]
        elif blow == 5:
            data[at:at] = data[at : at + draw.randrange(1, 200)] * draw.randrange(1, 50)
        else:
            _extreme(data, at, draw)
    return bytes(data)


def _extreme(data: bytearray, at: int, draw: random.Random) -> None:
    """Put an extreme number in the place of the next one that is written in digits."""
    digits = b"0123456789"
    start = next((i for i in range(at, min(at + 4000, len(data))) if data[i] in digits), None)
    if start is None:
        return
    stop = next((i for i in range(start, min(start + 40, len(data))) if data[i] not in digits), start + 1)
    data[start:stop] = draw.choice(EXTREMES).encode()


# --- reading in a process that may die -----------------------------------------------------------------------------------------------


def serve() -> None:
    """Read the files that are named on the standard input, and answer each in one line: what ``--worker`` does."""
    from ecgclip.errors import UserError
    from ecgclip.signals import Record, read_record

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        path = line.rstrip("\n")
        try:
            rate = 500.0 if path.endswith(".npy") else None
            outcome = "record" if isinstance(read_record(path, sampling_rate=rate, salt="s"), Record) else "CRASH no record"
        except UserError as error:
            outcome = "one line" if "\n" not in str(error) else "CRASH several lines"
            if isinstance(error.__cause__, MemoryError):
                outcome = "MEMORY"
            elif error.__cause__ is not None:
                outcome += f"\t{type(error.__cause__).__name__}"
        except BaseException as error:
            outcome = f"CRASH {type(error).__name__}: {error}".splitlines()[0][:200]
        print(outcome, file=answers, flush=True)


class Reader:
    """A process that reads files, and is made anew when one of them kills it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def outcome(self, path: Path) -> str:
        """Return ``record``, ``one line`` or a text that begins with one of ``BAD``."""
        if self._process is None:
            command = [sys.executable, __file__, "--worker"]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            self._answer("\n", 60.0)  # Importing is not the file's time.
        answer = self._answer(f"{path}\n", LIMIT)
        if answer is None or not answer:
            self.close()
            return "HANG" if answer is None else "CRASH of the process"
        return answer.rstrip("\n")

    def _answer(self, question: str, seconds: float) -> str | None:
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(question)
            process.stdin.flush()
        except BrokenPipeError:
            return ""
        ready, _, _ = select.select([process.stdout], [], [], seconds)
        return process.stdout.readline() if ready else None

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def fuzz(seeds: list[tuple[str, list[Path]]], files: int, seed: int, keep: Path, processes: int = 2) -> tuple[Counter, list[str]]:
    """Damage and read.

    Returns:
        How often each format came to each outcome, and a line for each file that came to a bad one, which is kept in ``keep``.
    """
    parts = [range(number, files, processes) for number in range(processes)]
    with ThreadPoolExecutor(processes) as pool:
        results = list(pool.map(lambda part: _fuzz_part(seeds, part, seed, keep), parts))
    counts: Counter = Counter()
    for counted, _ in results:
        counts.update(counted)
    return counts, [line for _, lines in results for line in lines]


def _fuzz_part(seeds: list[tuple[str, list[Path]]], part: range, seed: int, keep: Path) -> tuple[Counter, list[str]]:
    counts: Counter = Counter()
    bad: list[str] = []
    reader = Reader()
    contents = [[path.read_bytes() for path in paths] for _, paths in seeds]
    begun = time.monotonic()
    for done, number in enumerate(part):
        draw = random.Random(f"{seed} {number}")
        chosen = number % len(seeds)
        kind, paths = seeds[chosen]
        hurt = draw.randrange(len(paths)) if draw.random() < 0.4 else 0
        with tempfile.TemporaryDirectory() as folder:
            for i, path in enumerate(paths):
                content = damage(contents[chosen][i], draw.choice(contents)[0], draw) if i == hurt else contents[chosen][i]
                (Path(folder) / path.name).write_bytes(content)
            outcome, _, cause = reader.outcome(Path(folder) / paths[0].name).partition("\t")
            counts[kind, outcome.split(" ")[0] if outcome.startswith(BAD) else outcome] += 1
            if cause:
                counts[kind, f"  of these by {cause}"] += 1
            if outcome.startswith(BAD):
                shutil.copytree(folder, keep / str(number), dirs_exist_ok=True)
                bad.append(f"{kind} {outcome}: {keep / str(number) / paths[0].name}")
        if done % 500 == 499 and part.start == 0:
            print(f"{(done + 1) * part.step} files, {time.monotonic() - begun:.0f} s, {len(bad)} bad", flush=True)
    reader.close()
    return counts, bad


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000, help="how many damaged files to read")
    parser.add_argument("--formats", type=Path, help="a folder of real files to damage as well")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("cache/fuzz"), help="where files are kept that a reader failed on")
    options = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        seeds = write_seeds(Path(folder)) + (real_seeds(options.formats) if options.formats else [])
        counts, bad = fuzz(seeds, options.files, options.seed, options.keep)
    for (kind, outcome), count in sorted(counts.items()):
        print(f"{kind:<12}{outcome:<40}{count:>6}")
    print("\n".join(bad) or "no crash, no hang, no memory exhausted", f"\n{options.files} files in {time.monotonic() - begun:.0f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--worker"]:
        serve()
    else:
        sys.exit(main())
