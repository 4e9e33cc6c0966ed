"""EDF and EDF+ (https://www.edfplus.info/specs): blocks of 16-bit samples behind a header of text."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ecgclip.errors import UserError
from ecgclip.signals.formats.common import MAX_CHANNELS, MAX_SAMPLES, MILLIVOLTS, check_size, checked_record, in_pieces, millivolts
from ecgclip.signals.leads import ECG_NAMES, lead_name
from ecgclip.signals.record import Record

_WIDTHS = {"label": 16, "transducer": 80, "unit": 8, "low": 8, "high": 8, "least": 8, "most": 8, "filter": 80, "samples": 8, "reserved": 32}
_AT_ONCE = 1 << 22  # Samples of all signals.
_MOST_SAMPLES = MAX_SAMPLES << 2  # Of all signals, of which only the leads' are kept: all have to be gone over.
_MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]


@dataclass(frozen=True)
class _Signal:
    """One signal of the header."""

    label: str
    unit: str
    low: float  # Physical, at the digital ``least``.
    high: float
    least: float
    most: float
    samples: int  # In each block.
    start: int  # Of its samples in a block.

    @property
    def is_annotation(self) -> bool:
        """Whether it holds texts instead of samples."""
        return self.label.replace(" ", "").lower().endswith("annotations")


def is_edf(head: bytes) -> bool:
    """Whether this is the beginning of an EDF file: version 0 in eight characters, and a length of the header that fits its signals."""
    if head[:8] != b"0       " or len(head) < 256:
        return False
    length, signals = head[184:192].strip(), head[252:256].strip()
    return length.isdigit() and signals.isdigit() and int(length) == 256 * (int(signals) + 1)


def read_edf(path: Path, salt: str | None) -> Record:
    """Read EDF or EDF+; signals of another rate than the leads' are left out, as are annotations.

    Raises:
        UserError: When it is damaged, interrupted, or holds no ECG.

    """
    with path.open("rb") as file:
        data = file.read(256 * (MAX_CHANNELS + 1))
    if not is_edf(data[:4096]):
        raise UserError(f"{path.name} is not EDF: copy or export it again")
    if data[192:197] == b"EDF+D":
        raise UserError(f"{path.name} is EDF+ with interruptions, which is not read: export it in one piece")
    signals = _signals(path, data)
    leads = [signal for signal in signals if _name(signal) in ECG_NAMES and not signal.is_annotation]
    block = sum(signal.samples for signal in signals)
    offset = 256 * (len(signals) + 1)
    size = path.stat().st_size
    here = (size - offset) // (2 * block) if block else 0
    declared, seconds = int(_number(path, data[236:244], "number of blocks")), _number(path, data[244:252], "duration of a block")
    blocks = here if declared == -1 else declared  # -1: the recording was not closed.
    if not leads:
        raise UserError(f"{path.name}: none of its channels has the name of one of the twelve leads: name them I, II, ... V6")
    if seconds <= 0:
        raise UserError(f"{path.name}: a block of {seconds:g} s is not possible: export it again")
    check_size(path, blocks * block / len(signals), len(signals), (size - offset) // 2, most=_MOST_SAMPLES)
    # The rate that most leads have: a Holter's position or pulse channel may bear a lead's name at another.
    counts = [signal.samples for signal in leads]
    usual = max(sorted(set(counts), reverse=True), key=counts.count)
    leads = [signal for signal in leads if signal.samples == usual]
    check_size(path, blocks * usual, len(leads), blocks * block)
    rows = _rows(path, leads, offset, int(blocks), block)
    patient, age, sex = _patient(data)
    return checked_record(
        path,
        rows,
        usual / seconds,
        [_name(signal) for signal in leads],
        "edf",
        patient=patient,
        salt=salt,
        age=age,
        sex=sex,
        year=_year(data),
    )


def _rows(path: Path, leads: list[_Signal], offset: int, blocks: int, block: int) -> np.ndarray:
    """Return ``(leads, T)`` mV float32 of blocks of ``block`` samples of all signals, read some at a time."""
    check_size(path, block, 1, block, most=MAX_SAMPLES >> 2)
    length = leads[0].samples
    scales = [_scale(path, signal) for signal in leads]
    rows = np.empty((len(leads), blocks * length), np.float32)
    step = max(_AT_ONCE // block, 1)
    for start in range(0, blocks, step):
        count = min(step, blocks - start)
        numbers = np.fromfile(path, "<i2", count * block, offset=offset + 2 * start * block).reshape(count, block)
        for row, signal, scale in zip(rows, leads, scales, strict=True):
            row[start * length : (start + count) * length] = in_pieces(numbers[:, signal.start : signal.start + length].ravel(), scale)
    return rows


def _signals(path: Path, data: bytes) -> list[_Signal]:
    count = int(data[252:256])
    if not 1 <= count <= MAX_CHANNELS or len(data) < 256 * (count + 1):
        raise UserError(f"{path.name} breaks off within its header: copy it again")
    columns, at = {}, 256
    for name, width in _WIDTHS.items():
        columns[name] = [data[at + width * row : at + width * (row + 1)] for row in range(count)]
        at += width * count
    signals, start = [], 0
    for row in range(count):
        low, high, least, most = (_number(path, columns[name][row], name) for name in ("low", "high", "least", "most"))
        samples = int(_number(path, columns["samples"][row], "number of samples"))
        if samples < 0:
            raise UserError(f"{path.name} promises {samples} samples in a block: copy or export it again")
        texts = [columns[name][row].decode("latin-1").strip() for name in ("label", "unit")]
        signals.append(_Signal(texts[0], texts[1], low, high, least, most, samples, start))
        start += samples
    return signals


def _number(path: Path, text: bytes, what: str) -> float:
    plain = text.decode("latin-1").strip(" \0").replace(",", ".")  # Some programs write the decimal comma of their country.
    try:
        value = float(plain)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise UserError(f"{path.name}: the header's {what} is not a number: copy or export it again")
    return value


def _scale(path: Path, signal: _Signal) -> Callable[[np.ndarray], np.ndarray]:
    """Return what makes mV of a signal's samples: a line through the two points of the header."""
    if signal.most == signal.least or signal.high == signal.low:
        raise UserError(f"{path.name}: {_name(signal)} has no range, its amplitude is unknown: export it again")
    unit = millivolts(path, signal.unit)
    step = (signal.high - signal.low) / (signal.most - signal.least)
    return lambda digital: np.asarray((digital - signal.least) * step + signal.low) * unit


def _name(signal: _Signal) -> str:
    """EDF+ labels begin with the kind of signal: ``ECG II``, ``EKG V1``; some end with their unit."""
    unit = re.search(r"\s*[(\[](\w+)[)\]]$", signal.label)
    return lead_name(signal.label[: unit.start()] if unit and unit[1].lower() in MILLIVOLTS else signal.label)


def _patient(data: bytes) -> tuple[str, float | None, str]:
    """Return number, age and sex of EDF+, whose fields are ``number sex birth name``; plain EDF says nothing that can be trusted."""
    fields = data[8:88].decode("latin-1").split()
    if data[192:196] != b"EDF+" or len(fields) < 3:
        return "", None, ""
    number = "" if fields[0] == "X" else fields[0]
    born, then = _plus_date(fields[2]), _plus_date((data[88:168].decode("latin-1").split() + ["", ""])[1])
    age = None
    if born and then and born <= then:
        age = float(then[0] - born[0] - (then[1:] < born[1:]))
    return number, age, fields[1] if fields[1] in ("F", "M") else ""


def _plus_date(text: str) -> tuple[int, int, int] | None:
    """Return year, month and day of ``02-MAY-1951``."""
    found = re.fullmatch(r"(\d{2})-([A-Z]{3})-(\d{4})", text.upper())
    return (int(found[3]), _MONTHS.index(found[2]), int(found[1])) if found and found[2] in _MONTHS else None


def _year(data: bytes) -> int | None:
    """Return the year: EDF+ has it in full, EDF in two digits that turn at 1985."""
    full = _plus_date((data[88:168].decode("latin-1").split() + ["", ""])[1]) if data[192:196] == b"EDF+" else None
    if full:
        return full[0]
    digits = data[174:176]
    return (1900 if int(digits) >= 85 else 2000) + int(digits) if digits.isdigit() else None
