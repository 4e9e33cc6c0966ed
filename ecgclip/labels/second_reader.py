"""What a second reader found: a table with a row for each record that was read again."""

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgclip.errors import UserError
from ecgclip.labels.catalogue import Catalogue
from ecgclip.tables import find_column, read_table

_RECORD, _LABELS = ("id", "record"), ("labels", "ラベル", "所見")


def read_second(path: Path, catalogue: Catalogue, records: Sequence[str]) -> dict[int, NDArray[np.int8]]:
    """Read the table.

    Args:
        path: CSV with the columns ``id`` and ``labels``: ids or names of labels, with commas, semicolons or 、 between them; an empty cell
            says that there is none. What the second reader does not name is absent.
        catalogue: The labels.
        records: Ids of the records that are judged.

    Returns:
        Place among ``records`` to the states ``(L,)`` int8, rising.

    Raises:
        UserError: When the table cannot be read, names a label that is not in the catalogue, a record twice, or none that is judged.
    """
    table = read_table(path)
    record, labels = find_column(table, _RECORD), find_column(table, _LABELS)
    if record is None or labels is None:
        raise UserError(f"{path.name} has no columns id and labels: name them so")
    names = {_key(text): label.id for label in catalogue for text in (label.id, *label.texts)}
    places = {name: place for place, name in enumerate(records)}
    found: dict[int, NDArray[np.int8]] = {}
    for number, (name, cell) in enumerate(zip(table[record], table[labels], strict=True), 2):
        if name not in places:
            continue
        if places[name] in found:
            raise UserError(f"{path.name}, line {number}: a record stands twice: keep one of its rows")
        said = [_key(text) for text in re.split(r"[、,，;；]", cell) if text.strip()]
        if unknown := next((text for text in said if text not in names), None):
            raise UserError(f"{path.name}, line {number}: {unknown[:20]!r} is no label of the catalogue: write its id or Japanese name")
        found[places[name]] = catalogue.states({names[text] for text in said})
    if not found:
        raise UserError(f"{path.name} names no record that is judged: its ids are those of predictions.csv")
    return dict(sorted(found.items()))


def _key(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold().strip()
