"""Tables of samples: CSV, TSV and Parquet with a column per lead."""

import csv
import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ecgclip.errors import UserError
from ecgclip.signals.formats.common import (
    MAX_CHANNELS,
    MAX_SAMPLES,
    MILLIVOLTS,
    check_bytes,
    check_size,
    checked_record,
    is_voltage,
    millivolts,
)
from ecgclip.signals.leads import ECG_NAMES, lead_name
from ecgclip.signals.record import Record

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow.parquet as pq

_TIMES = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "msec": 1e-3, "us": 1e-6, "µs": 1e-6}
_TIME_NAMES = {"time", "t", "seconds", "sec", "時間", "時刻", "time_s", "time_ms", "t_s", "t_ms"}
_JITTER = 0.75  # Of an interval: times are often rounded, but none may be missing.
_ROUNDED = 0.05  # Hz from a whole number, which rounded times of 10 s lead to.
_LARGEST_FOOTER = 1 << 20  # Bytes of what a Parquet file says of itself.
_PREAMBLE = 100  # Lines that may stand before the line of names.
_LINE = 1 << 16  # Characters in which that line ends.
_CELLS = 1 << 20  # Of a table that are taken at a time.
_MOST_CELLS = MAX_SAMPLES >> 2  # Of the columns that are taken, in double precision.


@dataclass
class _Table:
    """The columns that matter: ``columns`` are pairs of a name and a unit, ``values`` ``(T,)`` of each, NaN where a cell is empty."""

    columns: list[tuple[str, str]]
    values: list[np.ndarray]
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass
class _Layout:
    """Where the numbers of a text begin, and what the columns are."""

    start: int
    separator: str
    columns: list[tuple[str, str]]


def is_tabular(head: bytes) -> bool:
    """Whether this is the beginning of a Parquet file, or of a text in which a line names one of the twelve leads.

    Before that line others may stand, when numbers follow it.
    """
    return head[:4] == b"PAR1" or _layout(_decode(head).lstrip()) is not None


def read_tabular(path: Path, salt: str | None, sampling_rate: float | None = None) -> Record:
    """Read a table with a column per lead.

    Args:
        path: CSV, TSV or semicolons with the leads' names in a line, or Parquet. Units stand in the names, such as ``II (uV)``, in a
            line under the names, or in Parquet's metadata ``unit``; without one the numbers are mV.
        salt: Not needed: a table does not say whose it is.
        sampling_rate: Hz, where there is neither a time column nor Parquet's metadata ``sampling_rate``.

    Raises:
        UserError: When it is no such table, or says its rate twice or never.

    """
    with path.open("rb") as file:
        head = file.read(4)
    parquet = head == b"PAR1"
    table = _read_parquet(path) if parquet else _read_text(path)
    names, rows, times = [], [], []
    default = table.metadata.get("unit") or table.metadata.get("units") or "mV"
    for (name, unit), values in zip(table.columns, table.values, strict=True):
        if name in ECG_NAMES:
            names.append(name)
            factor = millivolts(path, unit or default)
            rows.append(values * factor)
        else:
            times.append(values * _time_unit(path, name, unit))
    if not names:
        # Their names are not told: the first line may be that of a patient.
        raise UserError(f"{path.name}: none of its columns has the name of one of the twelve leads: name them I, II, ... V6")
    stated = [rate for rate in (_stated(path, table.metadata), sampling_rate) if rate is not None]
    if times:
        stated.append(_rate(path, times[0]))
    if not stated:
        raise UserError(f"{path.name} does not say its sampling rate: pass sampling_rate, or add a column 'time (s)'")
    if max(stated) > 1.01 * min(stated):
        listed = " and ".join(f"{rate:g}" for rate in stated)
        raise UserError(f"{path.name}: sampling rates {listed} Hz do not agree: give the right one alone")
    return checked_record(path, np.stack(rows), stated[0], names, "parquet" if parquet else "csv", salt=salt)


def _decode(content: bytes) -> str:
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16", "replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp932", "replace")


# --- texts ---------------------------------------------------------------------------------------------------------------------------


def _layout(text: str) -> _Layout | None:
    """Find the line of names among the first lines, and the line of units that may follow it; None where there is none.

    Args:
        text: Without blanks at its beginning.

    """
    at, lines, starts = 0, list[str](), list[int]()
    first: _Layout | None = None
    while len(lines) < _PREAMBLE + 3 and at < len(text):
        end = text.find("\n", at, at + _LINE)
        end = end if end >= 0 else min(len(text), at + _LINE)
        starts.append(at)
        lines.append(text[at:end])
        at = end + 1
    starts.append(at)
    for number, line in enumerate(lines):
        separator = max("\t;,", key=line.count)
        if line.count(separator) > MAX_CHANNELS or (number and not line.count(separator)):
            continue
        cells = _cells(line, separator)
        columns = [_column(cell) for cell in cells]
        if not any(name in ECG_NAMES for name, _ in columns):
            continue
        units = _cells(lines[number + 1], separator) if number + 1 < len(lines) else []
        follows = number + 1
        if _are_units(units):
            follows += 1
            units += [""] * (len(columns) - len(units))
            columns = [(name, unit or under.strip(" ()[]")) for (name, unit), under in zip(columns, units, strict=False)]
        # A line before the table may hold an I: with numbers below, it is the line of names.
        found = _Layout(starts[follows], separator, columns)
        if follows < len(lines) and _are_numbers(_cells(lines[follows], separator)):
            return found
        first = found if number == 0 else first
    return first  # Where no numbers follow, what is wrong with them is told.


def _cells(line: str, separator: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line.strip("\r")], delimiter=separator), [])]
    except csv.Error:
        return []


def _are_units(cells: Sequence[str]) -> bool:
    plain = [cell.strip(" ()[]") for cell in cells]
    return any(map(is_voltage, plain)) and all(not cell or is_voltage(cell) or cell.lower() in _TIMES for cell in plain)


def _are_numbers(cells: Sequence[str]) -> bool:
    return any(cells) and all(re.fullmatch(r"[-+0-9.,eE:]{0,40}|nan", cell, re.IGNORECASE) for cell in cells)


def _read_text(path: Path) -> _Table:
    """Read numbers separated by tabs, semicolons (with decimal points or commas) or commas."""
    check_bytes(path)
    text = _decode(path.read_bytes()).lstrip()
    first = text[: text.find("\n", 0, _LINE)] if "\n" in text[:_LINE] else text[: _LINE + 1]
    if max(map(first.count, "\t;,")) > MAX_CHANNELS or len(first) > _LINE:
        raise UserError(
            f"{path.name} has a first line of more than {MAX_CHANNELS} columns: save it with a column per lead, a row per sample"
        )
    layout = _layout(text)
    if layout is None:
        return _Table([], [])
    taken = [at for at, (name, _) in enumerate(layout.columns) if _is_wanted(name)]
    if len(layout.columns) > MAX_CHANNELS or not _begins_well(text, layout):
        raise _broken(path)
    # Decimal commas go with semicolons or tabs.
    decimal = "," if layout.separator != "," and re.search(r"\d,\d", text[layout.start : layout.start + 4096]) else "."
    data = io.BytesIO(text[layout.start :].encode())
    del text
    pieces = _pieces(path, data, layout, decimal, taken)
    times = [layout.columns[at][0] not in ECG_NAMES for at in taken]
    values = [np.concatenate([piece[at] for piece in pieces]) if pieces else np.empty(0) for at in range(len(taken))]
    for at, one in enumerate(values):
        if one.dtype == object:
            name = "of time" if times[at] else layout.columns[taken[at]][0]
            raise UserError(f"{path.name}: column {name} holds something else than one number in each row: save plain numbers")
    return _Table([layout.columns[at] for at in taken], values)


def _begins_well(text: str, layout: _Layout) -> bool:
    """Whether the first row is no longer than the names: of a longer one, even of millions of cells, pandas would make columns."""
    lines = text[layout.start : layout.start + _LINE].split("\n")
    reader = csv.reader(lines, delimiter=layout.separator, skipinitialspace=True)
    try:
        row = next(reader, [])
    except csv.Error:
        return False
    # One more may be the end of a line that ends in a separator. A row that the beginning of the text is too short for is none.
    return len(row) <= len(layout.columns) + 1 and (reader.line_num < len(lines) or len(text) - layout.start <= _LINE)


def _pieces(path: Path, data: io.BytesIO, layout: _Layout, decimal: str, taken: list[int]) -> list[list[np.ndarray]]:
    """Return the columns that are taken, some rows at a time; an object array stands for what is no number."""
    import pandas as pd

    pieces, rows = [], 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            # The texts of pandas' errors may repeat a cell: they are not passed on.
            with pd.read_csv(
                data,
                sep=layout.separator,
                decimal=decimal,
                header=None,
                names=range(len(layout.columns)),
                index_col=False,
                skipinitialspace=True,
                low_memory=False,
                chunksize=max(_CELLS // len(layout.columns), 1),
            ) as reader:
                for piece in reader:
                    pieces.append([_numbers(piece[at]) for at in taken])
                    rows += len(piece)
                    check_size(path, rows, len(taken), rows * len(taken), most=_MOST_CELLS)
    except pd.errors.EmptyDataError:
        return []
    except (ValueError, OverflowError, pd.errors.ParserWarning):  # ParserError is a ValueError.
        raise _broken(path) from None
    return pieces


def _broken(path: Path) -> UserError:
    return UserError(f"{path.name} is not a table with one row per sample: save it as CSV again")


def _numbers(values: "pd.Series") -> np.ndarray:
    """Return a column ``(T,)`` float64, NaN where a cell is empty; where it does not hold numbers, an array of object."""
    import pandas as pd

    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        return np.empty(1, object)
    return values.to_numpy(np.float64, na_value=np.nan)


# --- Parquet -------------------------------------------------------------------------------------------------------------------------


def _read_parquet(path: Path) -> _Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(size - 8, 0))
        footer, magic = int.from_bytes(file.read(4), "little"), file.read(4)
        if magic == b"PAR1" and _LARGEST_FOOTER < footer < size:
            raise UserError(f"{path.name} describes more columns or row groups than an ECG has: export one recording per file")
    try:
        file = pq.ParquetFile(path)
        schema, rows = file.schema_arrow, file.metadata.num_rows
        columns = {name: _column(name) for name in dict.fromkeys(schema.names) if _is_wanted(_column(name)[0])}
        raw = schema.metadata or {}
        metadata = {key.decode("utf-8", "ignore").lower(): value.decode("utf-8", "ignore").strip() for key, value in raw.items()}
        if not columns:
            return _Table([], [], metadata)
        for name in columns:
            kind = schema.field(name).type if schema.names.count(name) == 1 else None
            if kind is None or not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind)):
                told = columns[name][0] if columns[name][0] in ECG_NAMES else "of time"
                raise UserError(f"{path.name}: column {told} holds something else than one number in each row: save plain numbers")
        if rows:
            check_size(path, rows, len(columns), rows * len(columns), most=_MOST_CELLS)
        values = _parquet_values(path, file, list(columns), rows)
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        raise UserError(f"{path.name} is damaged Parquet: copy or export it again") from None
    return _Table(list(columns.values()), values, metadata)


def _parquet_values(path: Path, file: "pq.ParquetFile", names: list[str], rows: int) -> list[np.ndarray]:
    """Return the columns ``(T,)`` float64, some rows at a time."""
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    unpacked = sum(group.column(at).total_uncompressed_size for group in groups for at in range(group.num_columns))
    if unpacked > max(_LARGEST_FOOTER, 32 * rows * file.metadata.num_columns):
        raise UserError(f"{path.name} would become far more than its {rows} rows of numbers: export it again")
    values = [np.full(rows, np.nan) for _ in names]
    at = 0
    for batch in file.iter_batches(batch_size=_CELLS // len(names), columns=names):
        stop = at + batch.num_rows
        if stop > rows:
            raise UserError(f"{path.name} is damaged Parquet: copy or export it again")
        for out, name in zip(values, names, strict=True):
            out[at:stop] = batch.column(batch.schema.names.index(name)).cast("float64").to_numpy(zero_copy_only=False)
        at = stop
    return values


# --- columns -------------------------------------------------------------------------------------------------------------------------


def _is_wanted(name: str) -> bool:
    return name in ECG_NAMES or name.lower() in _TIME_NAMES


def _column(name: str) -> tuple[str, str]:
    """Return the lead (or the name as it is) and the unit of a column such as ``II (uV)``, ``II[mV]`` or ``II_uV``."""
    name = name.strip()
    # By hand: a regular expression for it goes back and forth over the blanks of a file that is no table, for minutes.
    opening = max(name.rfind("("), name.rfind("["))
    if opening >= 0 and name.endswith((")", "]")) and (unit := name[opening + 1 : -1].strip()):
        return lead_name(name[:opening].rstrip(" \t_")), unit
    stem, _, unit = name.rpartition("_")
    if stem and unit.lower() in MILLIVOLTS and lead_name(stem) in ECG_NAMES:
        return lead_name(stem), unit
    return lead_name(name), ""


def _time_unit(path: Path, name: str, unit: str) -> float:
    unit = (unit or name.rpartition("_")[2] if "_" in name else unit or "s").lower()
    if unit not in _TIMES:
        raise UserError(f"{path.name}: the unit of its time is not understood: write 'time (s)' or 'time (ms)'")
    return _TIMES[unit]


def _rate(path: Path, times: np.ndarray) -> float:
    """Return Hz of times ``(T,)`` in s that go on evenly."""
    steps = np.diff(times)
    step = (times[-1] - times[0]) / len(steps) if len(steps) else 0.0
    if not (np.isfinite(steps).all() and step > 0):
        raise UserError(f"{path.name}: its time column does not go on: mend it, or leave it out and pass sampling_rate")
    if np.abs(times - times[0] - step * np.arange(len(times))).max() > (1 + _JITTER) * step or steps.max() > (1 + _JITTER) * step:
        raise UserError(f"{path.name}: its time column leaps, samples are missing: fill the gaps with empty cells")
    rate = float(1 / step)
    return float(round(rate)) if abs(rate - round(rate)) <= _ROUNDED else round(rate, 3)


def _stated(path: Path, metadata: dict[str, str]) -> float | None:
    if "sampling_rate" not in metadata:
        return None
    try:
        return float(metadata["sampling_rate"])
    except ValueError:
        raise UserError(f"{path.name}: its metadata sampling_rate is not a number: write Hz") from None
