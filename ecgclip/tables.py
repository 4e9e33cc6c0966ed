"""Tables of a user's own: CSV and its relatives in whatever encoding a Japanese hospital's programs write."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ecgclip.errors import UserError

ENCODINGS = ("utf-8-sig", "cp932")  # A text in CP932 is next to never valid UTF-8, so this order tells the two apart.
SEPARATORS = ",\t;"


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a table of texts.

    Args:
        path: CSV or TSV with a header line, UTF-8 (with or without its mark), UTF-16 with its mark, or CP932; separated by commas,
            tabs or semicolons. Line breaks within quotes are part of a text.

    Returns:
        All columns as ``str``, blanks around column names removed; an empty cell is ``""``.

    Raises:
        UserError: When it is missing, in another encoding, or no table.

    """
    path = Path(path)
    text = _text(path)
    first = text.partition("\n")[0]
    separator = max(SEPARATORS, key=first.count)
    try:
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
        header = [name.strip() for name in next(lines)]
        rows = [row for row in lines if row]
    except csv.Error as error:
        raise UserError(f"{path.name} line {lines.line_num} is not a row of a table ({error}): save it as CSV again") from error
    if twice := [name for name in header if header.count(name) > 1]:
        raise UserError(f"{path.name} has the column {twice[0]!r} twice: rename one")
    for number, row in enumerate(rows, 2):
        if len(row) > len(header):
            raise UserError(
                f"{path.name} row {number} has {len(row)} cells, the header {len(header)}: put texts that hold {separator!r} in quotes"
            )
        row += [""] * (len(header) - len(row))
    return pd.DataFrame(rows, columns=header, dtype=str)


def find_column(table: pd.DataFrame, names: Sequence[str]) -> str | None:
    """Return the first column of a table that has one of these names, in any case, or None."""
    by_name = {column.casefold(): column for column in reversed(list(table.columns))}
    return next((by_name[name.casefold()] for name in names if name.casefold() in by_name), None)


def rows_that_meet(table: pd.DataFrame, condition: str, where: str) -> np.ndarray:
    """Return which rows meet ``COLUMN=VALUE``, such as ``状態=確定``.

    Args:
        table: Of texts.
        condition: The column in any case, its value with or without blanks around.
        where: What the table is called, for errors.

    Returns:
        ``(N,)`` bool, true at least once.

    Raises:
        UserError: When there is no such column, or no row that meets it.

    """
    name, _, value = condition.partition("=")
    column = find_column(table, [name.strip()])
    if column is None or not value.strip():
        raise UserError(f"--confirmed {condition!r}: write COLUMN=VALUE with a column of {where}, such as 状態=確定")
    meets = (table[column].str.strip() == value.strip()).to_numpy(bool)
    if not meets.any():
        raise UserError(f"{where}: no row has {value.strip()!r} in {column}: check the spelling")
    return np.asarray(meets)


def write_table(path: str | Path, rows: Iterator[Mapping[str, object]] | Sequence[Mapping[str, object]], columns: Sequence[str]) -> Path:
    """Write a CSV that a spreadsheet opens with its Japanese whole.

    A text that a spreadsheet would take for a formula gets an apostrophe before it.

    Args:
        path: Where.
        rows: One mapping each, by column.
        columns: In order.

    Raises:
        UserError: When it cannot be written.

    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w", encoding="utf-8-sig", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows([_cell(row.get(column, "")) for column in columns] for row in rows)
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror}): free space or unlock the folder and run it again") from error
    return path


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "@") else value


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): check the path") from error
    if not data.strip():
        raise UserError(f"{path.name} is empty: give a table with a header line")
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):  # What Excel calls "Unicode text".
        encodings: tuple[str, ...] = ("utf-16",)
    elif b"\0" in data[:4096]:
        raise UserError(f"{path.name} is not a text file: save the table as CSV")
    else:
        encodings = ENCODINGS
    for encoding in encodings:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise UserError(f"{path.name} is neither UTF-8 nor CP932 (Shift_JIS): save it as one of them")
