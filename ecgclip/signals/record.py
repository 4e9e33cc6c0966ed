"""One ECG: as it was read, as it is wanted in a data set, and as a tower takes it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ecgclip.errors import UserError
from ecgclip.signals.leads import LEADS
from ecgclip.signals.resample import resample

SPLITS = ("train", "val", "test")
FULL_SCALE = 32.767  # mV; what int16 holds at 1 uV per unit.
LONGEST_GAP = 0.1  # s; about one QRS complex: a longer gap could hide a beat.
CLIPPED_SHARE = 0.01  # Of the samples of a lead. A pacing spike or a loose electrode stays below, a wrong unit does not.
MARGIN = 1.0  # s kept behind the part that is used, so that the resampling filter meets signal there.


@dataclass(frozen=True)
class Record:
    """One ECG as a reader returns it.

    Attributes:
        signal: ``(leads, T)`` float32, mV. NaN where the file says that a sample is missing.
        sampling_rate: Hz.
        lead_names: One per row of ``signal``, by :func:`ecgclip.signals.leads.lead_name`; other channels keep their own name.
        patient: Salted hash, or empty.
        source: The format that it was read from, such as ``wfdb``. Never a path.
    """

    signal: np.ndarray
    sampling_rate: float
    lead_names: tuple[str, ...]
    patient: str = ""
    source: str = ""


@dataclass(frozen=True)
class Item:
    """One record of a data set before its signal has been read.

    Attributes:
        id: Hashed, unique in the data set.
        patient: Hashed key.
        split: ``train``, ``val`` or ``test``.
        labels: Ids of the labels that are positive.
        unknown: Ids of the labels that nobody can tell here.
        modifiers: What goes before a label's name in this record: ``{"AMI": "急性"}``.
        path: The file with the signal.
        flags: What else is worth knowing of it, kept with the quality flags.
        reading: The text, only where the data set is to keep it.
    """

    id: str
    patient: str
    split: str
    labels: tuple[str, ...]
    path: Path
    unknown: tuple[str, ...] = ()
    modifiers: Mapping[str, str] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    reading: str | None = None


def check_items(items: Sequence[Item]) -> None:
    """Refuse a data set that would deceive: a record twice, or a patient on both sides of a split.

    Raises:
        UserError: In one line.
    """
    split_of: dict[str, str] = {}
    seen: set[str] = set()
    for item in items:
        if item.split not in SPLITS:
            raise UserError(f"split {item.split!r} of {item.path.name} does not exist: known are {', '.join(SPLITS)}")
        if item.id in seen:
            raise UserError(f"{item.path.name}: a record of the same id came before it: list every record once")
        seen.add(item.id)
        other = split_of.setdefault(item.patient, item.split)
        if item.patient and other != item.split:
            raise UserError(f"the patient of {item.path.name} is in {other} and in {item.split}: split by patient, not by record")


def standardise(record: Record, sampling_rate: float, seconds: float) -> tuple[np.ndarray, list[str], list[str]]:
    """Bring a record into the form that stores and models take.

    Amplitudes are never scaled: low and high voltage are findings.

    Args:
        record: As read.
        sampling_rate: Hz wanted.
        seconds: Length wanted; the beginning of a longer record.

    Returns:
        The signal ``(12, round(seconds * sampling_rate))`` float32 mV in the order of ``LEADS``, the leads that are missing (zeros
        there), and quality flags: ``gap:V1`` (short gaps were bridged), ``flat:V1`` (constant), ``clipped:V1``.

    Raises:
        UserError: In one line that begins with what is wrong; the caller adds the name of the file.
    """
    length = round(seconds * sampling_rate)
    kept = int(np.ceil((seconds + MARGIN) * record.sampling_rate))
    rows = {name: record.signal[i, :kept] for i, name in enumerate(record.lead_names) if name in LEADS}
    if not rows:
        raise UserError(f"none of its channels ({', '.join(record.lead_names)}) is one of the twelve leads: name them I, II, ... V6")
    used = round(seconds * record.sampling_rate)
    flags: list[str] = []
    rows = {name: _bridge(name, row, used, record.sampling_rate, flags) for name, row in rows.items() if _recorded(row[:used])}
    if not rows:
        raise UserError("no lead holds a single number: export it again")
    rows |= _derived(rows)
    names = [lead for lead in LEADS if lead in rows]
    present = resample(np.stack([rows[name] for name in names]), record.sampling_rate, sampling_rate)
    if present.shape[1] < length:
        duration = record.signal.shape[1] / record.sampling_rate
        raise UserError(f"is {duration:.3g} s long, {seconds:g} s are needed: leave it out, or prepare shorter records")
    present = _clip(names, present[:, :length], flags)
    flat = np.ptp(present, axis=1) == 0
    if flat.all():
        raise UserError("every lead is flat: nothing was recorded, export it again or leave it out")
    flags += [f"flat:{name}" for name, is_flat in zip(names, flat, strict=True) if is_flat]
    signal = np.zeros((len(LEADS), length), np.float32)
    signal[[LEADS.index(name) for name in names]] = present
    return signal, [lead for lead in LEADS if lead not in rows], flags


def _recorded(row: np.ndarray) -> bool:
    """An electrode that was off comes as a row of NaN: a missing lead."""
    return bool(np.isfinite(row).any())


def _bridge(name: str, row: np.ndarray, used: int, sampling_rate: float, flags: list[str]) -> np.ndarray:
    """Interpolate over short gaps; refuse long ones among the samples that are used."""
    missing = ~np.isfinite(row)
    if not missing.any():
        return row
    edges = np.flatnonzero(np.diff(np.concatenate([[False], missing[:used], [False]]).astype(np.int8)))
    if len(edges):
        longest = float((edges[1::2] - edges[::2]).max() / sampling_rate)
        if longest > LONGEST_GAP:
            raise UserError(
                f"{name} lacks {longest:.3g} s in one piece ({LONGEST_GAP:g} s can be bridged): export it again or leave it out"
            )
        flags.append(f"gap:{name}")
    position = np.arange(len(row))
    return np.interp(position, position[~missing], row[~missing]).astype(np.float32)


def _derived(rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Compute the limb leads that the file leaves out: I + III = II (Einthoven), and Goldberger's augmented ones."""
    known = dict(rows)
    if "I" not in known and {"II", "III"} <= known.keys():
        known["I"] = known["II"] - known["III"]
    if "II" not in known and {"I", "III"} <= known.keys():
        known["II"] = known["I"] + known["III"]
    if not {"I", "II"} <= known.keys():
        return {}
    one, two = known["I"], known["II"]
    computed = {
        "I": one,
        "II": two,
        "III": two - one,
        "aVR": -(one + two) / 2,
        "aVL": one - two / 2,
        "aVF": two - one / 2,
    }
    return {name: row for name, row in computed.items() if name not in rows}


def _clip(names: Sequence[str], signal: np.ndarray, flags: list[str]) -> np.ndarray:
    beyond = (np.abs(signal) > FULL_SCALE).mean(1)
    if not beyond.any():
        return signal
    worst = int(beyond.argmax())
    if beyond[worst] > CLIPPED_SHARE:
        peak = float(np.abs(signal[worst]).max())
        raise UserError(
            f"{names[worst]} reaches {peak:.3g} mV (at most {FULL_SCALE:.3g}): check the unit, the gain and the offset of the export"
        )
    flags.extend(f"clipped:{name}" for name, share in zip(names, beyond, strict=True) if share)
    return np.clip(signal, -FULL_SCALE, FULL_SCALE)
