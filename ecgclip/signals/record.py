"""One ECG: as it was read, and as it is wanted in a data set."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ecgclip.errors import UserError

SPLITS = ("train", "val", "test")
FULL_SCALE = 32.767  # mV; what int16 holds at 1 uV per unit.


@dataclass(frozen=True)
class Record:
    """One ECG as a reader returns it.

    Attributes:
        signal: ``(leads, T)`` float32, mV. NaN where the file says that a sample is missing.
        sampling_rate: Hz.
        lead_names: One per row of ``signal``, by :func:`ecgclip.signals.leads.lead_name`; other channels keep their own name.
        patient: Salted hash of the number that the file holds, or empty.
        source: The format that it was read from, such as ``wfdb``. Never a path.
        age: Years, at most 90 (older people are few enough to be known by it), or None.
        sex: ``F``, ``M`` or empty.
        year: Of the recording, or None: nothing finer leaves the reader.
        device: Manufacturer and model, or empty. Never a serial number or a place.
    """

    signal: np.ndarray
    sampling_rate: float
    lead_names: tuple[str, ...]
    patient: str = ""
    source: str = ""
    age: float | None = None
    sex: str = ""
    year: int | None = None
    device: str = ""


@dataclass(frozen=True)
class Item:
    """One record of a data set before its signal has been read.

    Attributes:
        id: Hashed, unique in the data set.
        patient: Hashed key.
        split: ``train``, ``val`` or ``test``.
        labels: Ids of the labels that are positive.
        unknown: Ids of the labels that nobody can tell here.
        hedged: Ids of the labels that the reading only suspects.
        negated: Ids of the labels that the reading says are absent.
        modifiers: What goes before a label's name in this record: ``{"AMI": "急性"}``.
        path: The file with the signal.
        start: s, where in the file the record begins; None for what the signal path says.
        flags: What else is worth knowing of it, kept with the quality flags.
        reading: The text, only where the data set is to keep it.
        about: What is known beside the ECG, kept as columns of the manifest: ``age`` (years), ``sex`` (``F``, ``M``), ``year``,
            ``device``, ``site``, ``setting``. What the file itself says fills what is not given here.
    """

    id: str
    patient: str
    split: str
    labels: tuple[str, ...]
    path: Path
    unknown: tuple[str, ...] = ()
    hedged: tuple[str, ...] = ()
    negated: tuple[str, ...] = ()
    modifiers: Mapping[str, str] = field(default_factory=dict)
    start: float | None = None
    flags: tuple[str, ...] = ()
    reading: str | None = None
    about: Mapping[str, Any] = field(default_factory=dict)


def check_items(items: Iterable[Item], *, split_later: bool = False) -> None:
    """Refuse a data set that would deceive: a record twice, or a patient on both sides of a split.

    Args:
        items: The records.
        split_later: Whether an item may come without a split, with an empty one.

    Raises:
        UserError: In one line.
    """
    split_of: dict[str, str] = {}
    seen: set[str] = set()
    for item in items:
        if item.split not in SPLITS and not (split_later and not item.split):
            raise UserError(f"split {item.split!r} of {item.path.name} does not exist: known are {', '.join(SPLITS)}")
        if item.id in seen:
            raise UserError(f"{item.path.name}: a record of the same id came before it: list every record once")
        seen.add(item.id)
        other = split_of.setdefault(item.patient, item.split)
        if item.patient and other != item.split:
            raise UserError(f"the patient of {item.path.name} is in {other} and in {item.split}: split by patient, not by record")
