"""``ecgclip simulate``: labels in Japanese or English in, ECGs that show them out, as pages and as WFDB records."""

import difflib
import math
import re
import unicodedata
from argparse import BooleanOptionalAction
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgclip.errors import CommandParser, UserError
from ecgclip.labels import Catalogue, Label
from ecgclip.signals.leads import LEADS
from ecgclip.signals.plot import plot_ecg
from ecgclip.signals.record import FULL_SCALE
from ecgclip.simulation import draw_label_sets, simulate

PAGE = Path("simulated.png")  # Where nothing else is asked for.
LONGEST = 10_000_000  # Samples of a lead: two hours at 1 kHz.
# 'AF' is fibrillation in one hospital and flutter in the next; 'Af' is fibrillation everywhere.
TWO_MEANINGS = {"AF": ("AFIB", "AFLT")}


@lru_cache(maxsize=1)
def catalogue() -> Catalogue:
    """Return the labels that can be drawn, read once."""
    return Catalogue.load("ja98")


def named(label: Label) -> str:
    """Return a label's Japanese name and id."""
    return f"{label.ja} ({label.id})"


def names_of(ids: Collection[str]) -> str:
    """Return labels in Japanese with their ids, in the order of the catalogue."""
    return ", ".join(named(label) for label in catalogue() if label.id in ids)


def find_labels(names: Iterable[str], command: str) -> list[Label]:
    """Return the labels that names stand for, each once.

    Args:
        names: Ids, or names, synonyms and abbreviations in Japanese or English, in any width and case; several may be joined by ``、``.
        command: For errors.

    Raises:
        UserError: For a name that no label has, with the nearest ones, or that two could mean.
    """
    pieces = [piece for name in names for piece in name.split("、")]
    found = [_find(piece.strip(), command) for piece in pieces]
    return list({label.id: label for label in found}.values())


def find_set(names: Iterable[str], command: str) -> frozenset[str]:
    """Return the ids of labels that one ECG is to show.

    Raises:
        UserError: As :func:`find_labels`, or for labels that exclude each other.
    """
    ids = frozenset(label.id for label in find_labels(names, command))
    conflicts = catalogue().conflicts(ids)
    if conflicts:
        one, other = (named(catalogue().labels[catalogue().index(name)]) for name in conflicts[0])
        raise UserError(f"{command}: {one} and {other} exclude each other: leave one of them out")
    return ids


def file_name(ids: Iterable[str]) -> str:
    """Return labels as the name of a file: no slash, no bracket, no dot, as WFDB wants it."""
    return "_".join(re.sub(r"\W+", "-", name, flags=re.ASCII).strip("-") for name in ids)


@lru_cache(maxsize=1)
def _spellings() -> dict[str, Label]:
    """Every name of every label, as it is written and without its width and case."""
    texts = [(text, label) for label in catalogue() for text in (label.id, named(label), label.en, *label.texts, *label.synonyms_en)]
    return {_key(text): label for text, label in texts} | {text: label for text, label in texts}


def _key(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _find(name: str, command: str) -> Label:
    spellings = _spellings()
    same_width = unicodedata.normalize("NFKC", name).strip()
    if same_width in TWO_MEANINGS:
        choices = " or ".join(named(label) for label in catalogue() if label.id in TWO_MEANINGS[same_width])
        raise UserError(f"{command}: {name!r} has two meanings: write {choices}")
    found = spellings.get(name) or spellings.get(_key(name))
    if found is None:
        raise UserError(f"{command}: no label {name!r}: {_nearest(name)}")
    return found


def _nearest(name: str) -> str:
    """Return the labels whose names come nearest, as a question."""
    key, spellings = _key(name), _spellings()
    near = difflib.get_close_matches(key, spellings, n=8, cutoff=0.6) if key else []
    near += [spelling for spelling in spellings if len(key) > 1 and key in spelling]
    labels = list(dict.fromkeys(named(spellings[spelling]) for spelling in near))[:3]
    if not labels:
        return f"the catalogue ja98 lists all {len(catalogue())}, such as 心房細動 (AFIB)"
    return f"did you mean {' or '.join(labels)}?"


def simulate_command(arguments: Sequence[str]) -> None:
    """``simulate [--labels LABEL...] [--plot FILE] [--save DIR]``: draw ECGs, and say where they lie.

    Raises:
        UserError: For an unknown label, labels that exclude each other, or a figure that makes no sense.
    """
    options = _parser().parse_args(arguments)
    for name, value, least in (("n", options.n, 1), ("seed", options.seed, 0)):
        if value < least:
            raise UserError(f"simulate: --{name} {value} is too little: give at least {least}")
    check_length("simulate", options.sampling_rate, options.seconds)
    wanted = find_set(options.labels, "simulate") if options.labels else None
    sets = [wanted] * options.n if wanted else draw_label_sets(options.n, options.seed, "hospital")
    page = options.plot or (None if options.save else PAGE)
    for place in filter(None, (page and page.parent, options.save)):
        make_folder(place, "simulate")
    for number, labels in enumerate(sets):
        seed, rate = options.seed + number, options.sampling_rate
        signal = simulate([labels], [seed], sampling_rate=rate, seconds=options.seconds, noise=options.noise)[0]
        places = []
        if page:
            digits = max(2, len(str(options.n)))
            path = page if options.n == 1 else page.with_name(f"{page.stem}-{number + 1:0{digits}}{page.suffix}")
            title = f"{names_of(labels)}　シミュレーション, seed {seed}, {rate:g} Hz"
            places.append(plot_ecg(signal, rate, title=title, path=path))
        if options.save:
            places.append(write_record(signal, rate, labels, seed, options.save))
        print(f"seed {seed}  {names_of(labels)}  -> {', '.join(map(str, places))}", flush=True)


def check_length(command: str, sampling_rate: float, seconds: float = 10.0) -> None:
    """Refuse a rate or a length of which no ECG can be drawn.

    Raises:
        UserError: In one line.
    """
    for option, value, usual in (("sampling_rate", sampling_rate, "500"), ("seconds", seconds, "10")):
        if not (value > 0 and math.isfinite(value)):
            raise UserError(f"{command}: --{option} {value:g} must be above 0: {usual} is usual")
    if sampling_rate * seconds > LONGEST:
        raise UserError(f"{command}: {seconds:g} s at {sampling_rate:g} Hz is too long: up to {LONGEST:,} samples are drawn")


def make_folder(folder: Path, command: str) -> None:
    """Make a folder and those above it.

    Raises:
        UserError: Where a file has its name.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"{command}: {folder} is no folder: choose another place") from None


def write_record(signal: NDArray[np.float32], sampling_rate: float, labels: Collection[str], seed: int, folder: Path) -> Path:
    """Write a simulated ECG as a WFDB record: 16 bits, 1 uV per unit.

    Args:
        signal: ``(12, T)``, mV.
        sampling_rate: Hz.
        labels: Ids, for the header and the file's name.
        seed: The same.
        folder: Where to.

    Returns:
        The header's path. Its comments say that nobody's heart was recorded, and which labels were drawn.
    """
    import wfdb  # Pulls in pandas and aiohttp.

    shown = [label for label in catalogue() if label.id in labels]
    name = f"{file_name(label.id for label in shown) or 'normal'}_seed{seed}"
    wfdb.wrsamp(
        name,
        fs=sampling_rate,
        units=["mV"] * len(LEADS),
        sig_name=list(LEADS),
        d_signal=np.rint(np.clip(signal, -FULL_SCALE, FULL_SCALE).T * 1000.0).astype(np.int64),
        fmt=["16"] * len(LEADS),
        adc_gain=[1000.0] * len(LEADS),
        baseline=[0] * len(LEADS),
        comments=[
            f"SYNTHETIC ECG: simulated by ecgclip with seed {seed}, not recorded from a patient",
            f"Labels: {'; '.join(f'{label.id} {label.en}' for label in shown)}",
            f"所見: {'、'.join(label.ja for label in shown)}",
        ],
        write_dir=str(folder),
    )
    return folder / f"{name}.hea"


def _parser() -> CommandParser:
    parser = CommandParser(
        "simulate",
        "Draw ECGs that show given labels, without a patient. The same labels and seed give the same ECG.",
        "Without --plot and --save, the page is simulated.png where the command runs.",
    )
    add = parser.add_argument
    add("--labels", nargs="+", metavar="LABEL", help="names in Japanese or English, abbreviations or ids; left out: drawn as in a hospital")
    add("--plot", type=Path, metavar="FILE", help="draw a page: .png, .pdf or .svg; of several records FILE-01, FILE-02 ...")
    add("--save", type=Path, metavar="DIR", help="write a WFDB record into this folder")
    add("--n", type=int, default=1, help="records (1), with seeds from --seed up")
    add("--seed", type=int, default=0, help="the person and everything else that is drawn (0)")
    add("--sampling_rate", type=float, default=500.0, help="Hz (500)")
    add("--seconds", type=float, default=10.0, help="length of a record (10)")
    add("--noise", action=BooleanOptionalAction, default=True, help="take the record with a recorder, or as the heart made it")
    return parser
