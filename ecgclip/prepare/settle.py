"""What only all records together can tell: their split, and whether a device writes another unit than the rest."""

from collections import Counter
from typing import Any

import pyarrow as pa

from ecgclip.errors import UserError
from ecgclip.prepare.split import SplitPlan, assign_splits
from ecgclip.signals.quality import gain_suspects

_BLOCK = 1 << 14  # Rows that are Python's objects at once.


def settle(table: pa.Table, *, split: SplitPlan | None, notes: dict[str, Any]) -> pa.Table:
    """Complete the manifest of all records.

    Args:
        table: As :class:`ecgclip.store.StoreWriter` has it before it closes.
        split: How to split; None where the records are split.
        notes: Takes what was found: ``gain`` (batch of a device to the factor by which its amplitudes differ, ``suspects`` by their
            number of records), ``quality`` (flag without its lead to the number of records) and ``without_patient``.

    Returns:
        The table with its splits, and the flag ``gain:low`` or ``gain:high`` on every record of a suspected batch.

    Raises:
        UserError: When a patient is in two splits, or the plan cannot be carried out.

    """
    patients = table["patient"].to_pylist()
    notes["without_patient"] = patients.count("")
    if split is not None:
        labels = _lists(table["labels"])
        years = table["year"].to_pylist() if split.by == "time" else None
        sites = table["site"].to_pylist() if split.by == "site" else None
        table = _with(table, "split", assign_splits(split, patients, labels, years=years, sites=sites))
    else:
        _check_patients(patients, table["split"].to_pylist())
    table = _judge_gain(table, notes)
    kinds = (kind for flags in _lists(table["quality"]) for kind in {flag.split(":")[0] for flag in flags})
    notes["quality"] = dict(Counter(kinds).most_common())
    return table


def _judge_gain(table: pa.Table, notes: dict[str, Any]) -> pa.Table:
    """Compare the amplitudes of each device, site and format with those of the others; nothing is corrected."""
    columns = [table[name].to_pylist() for name in ("source", "device", "site")]
    batches = [" / ".join(part for part in parts if part) for parts in zip(*columns, strict=True)]
    suspects = gain_suspects(table["amplitude"].to_numpy(), batches)
    notes["gain"] = {batch: round(factor, 3) for batch, factor in suspects.items()}
    if not suspects:
        return table
    quality = _lists(table["quality"])
    for row, batch in enumerate(batches):
        if batch in suspects:
            quality[row] = (*quality[row], "gain:low" if suspects[batch] < 1 else "gain:high")
    return _with(table, "quality", quality)


def _lists(column: pa.ChunkedArray) -> list[tuple[str, ...]]:
    """Return a column of lists in which equal texts are one object and equal lists are one: of a million records, a few thousand."""
    shared: dict[tuple[str, ...], tuple[str, ...]] = {}
    found = []
    for start in range(0, len(column), _BLOCK):
        for texts in column.slice(start, _BLOCK).to_pylist():
            key = tuple(texts)
            found.append(shared.setdefault(key, key))
    return found


def _check_patients(patients: list[str], splits: list[str]) -> None:
    """Files that say their patient themselves can do so only now."""
    split_of: dict[str, str] = {}
    for patient, name in zip(patients, splits, strict=True):
        other = split_of.setdefault(patient, name)
        if patient and other != name:
            raise UserError(f"a patient is in {other} and in {name}: split by patient, not by record")


def _with(table: pa.Table, name: str, values: list[Any]) -> pa.Table:
    place = table.schema.get_field_index(name)
    return table.set_column(place, table.schema.field(name), pa.array(values, table.schema.field(name).type))
