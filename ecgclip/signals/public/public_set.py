"""What a public data set holds, and what its readers have in common."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecgclip.errors import UserError
from ecgclip.privacy import patient_key, record_key
from ecgclip.signals.record import Item, check_items

OLDEST = 90.0  # Years; older people are few enough to be known by their age.
SEXES = {"m": "M", "male": "M", "f": "F", "female": "F"}


@dataclass(frozen=True)
class PublicSet:
    """A data set before its signals are read.

    Attributes:
        items: The records whose files are on disk, all in ``train``: none of these sets publishes a split.
        annotated: Ids of the labels that it speaks of: it can make them positive.
        notes: One line each for the person at the terminal: what is missing, left out or left open.
    """

    items: list[Item]
    annotated: tuple[str, ...]
    notes: list[str]


def public_item(name: str, record: str, path: Path, states: dict[str, Any], *, patient: str | None = None, **more: Any) -> Item:
    """Make one record.

    Args:
        name: Of the data set; salts the keys, which for public data only have to be stable.
        record: What the set calls the record.
        path: See :class:`ecgclip.signals.record.Item`.
        states: Of :func:`ecgclip.signals.public.findings.label_states`.
        patient: The set's number of the patient; None where it gives none, so that each record is a patient of its own.
        more: Other fields of the item.
    """
    # The two salts keep a patient's key from being equal to a record's.
    owner = record_key(record, f"{name} patient") if patient is None else patient_key(patient, f"{name} patient")
    return Item(id=record_key(record, f"{name} record"), patient=owner, split="train", path=path, **states, **more)


def public_set(root: Path, items: list[Item], annotated: Sequence[str], notes: list[str], *, remedy: str) -> PublicSet:
    """Check what all sets have in common.

    Raises:
        UserError: When there is no record, or one is there twice.
    """
    if not items:
        raise UserError(f"{root} holds no record of it: {remedy}")
    check_items(items)
    return PublicSet(items, tuple(annotated), notes)


def about(age: str, sex: str) -> dict[str, Any]:
    """Return age and sex as an item keeps them, whatever of the two is a number and a sex."""
    known: dict[str, Any] = {}
    number = re.fullmatch(r"\s*(>?)\s*(\d{1,3}(?:\.\d*)?)\s*", age)
    if number:
        years = float(number[2])
        if 0 <= years <= 120:
            known["age"] = OLDEST if number[1] else min(years, OLDEST)
    if sex.strip().lower() in SEXES:
        known["sex"] = SEXES[sex.strip().lower()]
    return known


def header_comments(path: Path) -> list[str]:
    """Return the comments of a WFDB header in their order, without their marks.

    Raises:
        OSError: When it cannot be read.
    """
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line.lstrip()[1:].strip() for line in lines if line.lstrip().startswith("#")]


def folder_of(root: str | Path, remedy: str) -> Path:
    """Return the folder that a user gave.

    Raises:
        UserError: When there is none.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: {remedy}")
    return folder
