"""MIT-BIH Arrhythmia Database: 48 Holter excerpts of half an hour (Moody and Mark 2001, doi:10.1109/51.932724).

As PhysioNet's mitdb 1.0.0 lays it out: ``100.hea``, ``100.dat`` and the annotations ``100.atr``. Marks of beats and rhythms after
https://physionet.org/physiobank/annotations.shtml and the directory of the database.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from ecgclip.errors import UserError
from ecgclip.signals.leads import lead_name
from ecgclip.signals.public.findings import Finding, catalogue, label_states, unmapped_note
from ecgclip.signals.public.public_set import PublicSet, about, folder_of, header_comments, public_item, public_set
from ecgclip.signals.record import Item

DOWNLOAD = "download the MIT-BIH Arrhythmia Database from https://physionet.org/content/mitdb/ and give the folder with 100.atr"
SAME_PATIENT = {"202": "201"}  # The database's directory: one man's tape.
MODIFIED = "MLII=II"
RHYTHMS = {
    "(AB": Finding(("PAC", "BIGU")),
    "(AFIB": Finding(("AFIB",)),
    "(AFL": Finding(("AFLT",)),
    "(B": Finding(("PVC", "BIGU")),
    "(BII": Finding(("2AVB",)),
    "(N": Finding(("SR",)),
    "(NOD": Finding(("JUNC",)),
    "(P": Finding(("PACE",)),
    "(PREX": Finding(("WPW",)),
    "(SBR": Finding(("SBRAD",)),
    "(SVTA": Finding(("SVTAC",)),
    "(T": Finding(("PVC", "TRIGU")),
    "(VT": Finding(("VT",)),
}
BEATS = {
    "V": Finding(("PVC",)),
    "r": Finding(("PVC",)),
    "A": Finding(("PAC",)),
    "a": Finding(("PAC",)),
    "S": Finding(("PAC",)),
    "x": Finding(("PAC",)),  # Not conducted.
    "J": Finding(unknown=("PAC",)),
    "F": Finding(unknown=("PVC",)),
    "e": Finding(("ESCAPE",)),
    "j": Finding(("ESCAPE",)),
    "n": Finding(("ESCAPE",)),
    "E": Finding(("ESCAPE",)),
    "/": Finding(("PACE",)),
    "f": Finding(("PACE",)),
    "L": Finding(unknown=("CLBBB", "ILBBB")),
    "R": Finding(unknown=("CRBBB", "IRBBB")),
    "B": Finding(unknown=("CLBBB", "ILBBB", "CRBBB", "IRBBB")),
}
COUPLET, RUN = Finding(("VCOUP",)), Finding(unknown=("VT", "NSVT", "VCOUP"))
QRS = frozenset("NLRBAaJSVrFejnE/fQ?")  # Marks of beats; x is a P wave that no QRS follows.
PREMATURE = frozenset("Vr")


@dataclass(frozen=True)
class Annotations:
    """The marks of one recording.

    Attributes:
        seconds: ``(N,)`` s, when each stands.
        symbols: N marks.
        notes: N texts; a rhythm begins where one opens with a bracket.
        duration: s, of the recording.
    """

    seconds: np.ndarray
    symbols: Sequence[str]
    notes: Sequence[str]
    duration: float


def read_mitbih(root: str | Path, *, seconds: float = 10.0, modified_leads: bool = True) -> PublicSet:
    """Cut the recordings of MIT-BIH into segments that lie within one rhythm.

    The beats within a segment give it PVC, PAC, couplets and escape beats. Whether a beat with bundle branch block is complete is not
    said: it leaves both open.

    Args:
        root: The folder with ``100.hea``, ``100.dat``, ``100.atr`` and the others.
        seconds: Length of a segment.
        modified_leads: Take the modified lead MLII for II. Its electrodes sit on the chest, so that it is II in shape and not in size;
            without it most recordings have one lead of the twelve.

    Raises:
        UserError: When there is no annotated recording.
    """
    folder = folder_of(root, DOWNLOAD)
    if seconds <= 0:
        raise UserError(f"segments of {seconds:g} s are not possible: give more than 0")
    headers = sorted(path for path in folder.glob("*.hea") if path.with_suffix(".atr").is_file() and path.with_suffix(".dat").is_file())
    spoken = _spoken_of()
    items: list[Item] = []
    short: Counter[str] = Counter()
    strange: Counter[str] = Counter()
    for header in headers:
        marks = _annotations(header)
        channels = _channels(header)
        path = header.with_suffix(".dat")
        if modified_leads and "MLII" in channels and "II" not in channels:
            path = path / MODIFIED
        told = _age_and_sex(header)
        patient = SAME_PATIENT.get(header.stem, header.stem)
        for rhythm, begins, ends in _rhythms(marks):
            if rhythm not in RHYTHMS:
                strange[rhythm] += 1
            starts = begins + seconds * np.arange(int((ends - begins) / seconds + 1e-9))
            if not len(starts):
                short[rhythm] += 1
            for start in starts.tolist():
                findings = [RHYTHMS.get(rhythm, Finding()), *_beats(marks, start, start + seconds)]
                states = label_states(findings, spoken)
                name = f"{header.stem}@{start:.3f}"
                items.append(public_item("mitbih", name, path, states, patient=patient, start=start, about=told))
    notes = [f"{sum(short.values())} rhythms last less than {seconds:g} s and give no segment: {_listed(short)}"] if short else []
    notes += unmapped_note(strange, "rhythms")
    if modified_leads:
        notes.append("the modified lead MLII is taken for II: alike in shape, its electrodes sit on the chest")
    return public_set(folder, items, spoken, notes, remedy=DOWNLOAD)


def _rhythms(marks: Annotations) -> Iterator[tuple[str, float, float]]:
    """Yield each rhythm with the seconds that it begins and ends at."""
    changes = [(at, note) for at, note in zip(marks.seconds.tolist(), marks.notes, strict=True) if note.startswith("(")]
    ends = [at for at, _ in changes[1:]] + [marks.duration]
    for (begins, rhythm), end in zip(changes, ends, strict=True):
        yield rhythm, begins, end


def _beats(marks: Annotations, start: float, end: float) -> list[Finding]:
    """Return what the beats of a segment say; premature ventricular beats in a row are counted over its borders."""
    first, last = np.searchsorted(marks.seconds, [start, end])
    found = [BEATS[symbol] for symbol in dict.fromkeys(marks.symbols[first:last]) if symbol in BEATS]
    while first > 0 and marks.symbols[first - 1] not in QRS - PREMATURE:
        first -= 1
    while last < len(marks.symbols) and marks.symbols[last] not in QRS - PREMATURE:
        last += 1
    row = [(at, symbol) for at, symbol in zip(marks.seconds[first:last].tolist(), marks.symbols[first:last], strict=True) if symbol in QRS]
    for premature, beats in groupby(row, key=lambda beat: beat[1] in PREMATURE):
        times = [at for at, _ in beats]
        within = sum(start <= at < end for at in times)
        if premature and within > 1:
            found.append(COUPLET if len(times) == 2 else RUN)
    return found


def _annotations(header: Path) -> Annotations:
    import wfdb  # Pulls in pandas and aiohttp.

    record = str(header.with_suffix(""))
    try:
        described, marks = wfdb.rdheader(record), wfdb.rdann(record, "atr")
        rate = float(described.fs)
        notes = [(note or "").rstrip("\0").strip() for note in marks.aux_note]
        return Annotations(np.asarray(marks.sample) / rate, tuple(marks.symbol), notes, described.sig_len / rate)
    except Exception as error:  # The parser raises whatever comes up in a damaged file.
        raise UserError(f"{header.stem}.atr cannot be read ({type(error).__name__}): download it again") from error


def _channels(header: Path) -> list[str]:
    lines = [line for line in header.read_text(encoding="utf-8", errors="replace").splitlines() if line and not line.startswith("#")]
    return [lead_name(line.split(maxsplit=8)[8]) for line in lines[1:] if len(line.split(maxsplit=8)) > 8]


def _age_and_sex(header: Path) -> Mapping[str, object]:
    """Return what the first comment begins with: ``69 M 1085 1629 x1``; an age of -1 is none."""
    words = (header_comments(header) or [""])[0].split()
    return about(*words[:2]) if len(words) > 1 else {}


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{rhythm} {count}" for rhythm, count in counts.most_common())


def _spoken_of() -> list[str]:
    positive = {label for finding in (*RHYTHMS.values(), *BEATS.values(), COUPLET) for label in finding.positive}
    implied = catalogue().implied(positive)
    return [label for label in catalogue().ids if label in implied]
