"""Tables of samples: CSV, TSV and Parquet with a column per lead."""

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ecgclip.errors import UserError
from ecgclip.signals.formats.common import MILLIVOLTS, checked_record, millivolts
from ecgclip.signals.leads import LEADS, lead_name
from ecgclip.signals.record import Record

if TYPE_CHECKING:
    import pandas as pd

_TIMES = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "msec": 1e-3, "us": 1e-6, "µs": 1e-6}
_TIME_NAMES = {"time", "t", "seconds", "sec", "時間", "時刻", "time_s", "time_ms", "t_s", "t_ms"}
_JITTER = 0.75  # Of an interval: times are often rounded, but none may be missing.
_ROUNDED = 0.05  # Hz from a whole number, which rounded times of 10 s lead to.
_LARGEST = 2 << 30  # Bytes of a table.


def is_tabular(head: bytes) -> bool:
    """Whether this is the beginning of a Parquet file, or of a text whose first line names one of the twelve leads."""
    if head[:4] == b"PAR1":
        return True
    first = _decode(head).lstrip().partition("\n")[0]
    return any(_column(cell.strip().strip('"'))[0] in LEADS for cell in re.split(r"[,;\t]", first))


def read_tabular(path: Path, salt: str | None, sampling_rate: float | None = None) -> Record:
    """Read a table with a column per lead.

    Args:
        path: CSV, TSV or semicolons with the leads' names in the first line, or Parquet. Units stand in the names, such as ``II (uV)``,
            or in Parquet's metadata ``unit``; without one the numbers are mV.
        salt: Not needed: a table does not say whose it is.
        sampling_rate: Hz, where there is neither a time column nor Parquet's metadata ``sampling_rate``.

    Raises:
        UserError: When it is no such table, or says its rate twice or never.

    """
    with path.open("rb") as file:
        head = file.read(4)
    if path.stat().st_size > _LARGEST:
        raise UserError(f"{path.name} is larger than 2 GB: export one recording per file")
    parquet = head == b"PAR1"
    table, metadata = _read_parquet(path) if parquet else (_read_text(path), {})
    names, rows, times = [], [], []
    default = metadata.get("unit") or metadata.get("units") or "mV"
    for column in table.columns:
        name, unit = _column(str(column))
        if name in LEADS:
            names.append(name)
            rows.append(_numbers(path, table, column) * millivolts(path, unit or default))
        elif name.lower() in _TIME_NAMES:
            times.append((column, _time_unit(path, name, unit)))
    if not names:
        # Their names are not told: the first line may be that of a patient.
        raise UserError(f"{path.name}: none of its columns has the name of one of the twelve leads: name them I, II, ... V6")
    stated = [rate for rate in (_stated(path, metadata), sampling_rate) if rate is not None]
    if times:
        column, factor = times[0]
        stated.append(_rate(path, _numbers(path, table, column) * factor))
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


def _read_text(path: Path) -> "pd.DataFrame":
    """Read numbers separated by tabs, semicolons (with decimal points or commas) or commas."""
    import io

    import pandas as pd

    text = _decode(path.read_bytes()).lstrip()
    first = text.partition("\n")[0]
    separator = max("\t;,", key=first.count)
    # Decimal commas go with semicolons or tabs.
    decimal = "," if separator != "," and re.search(r"\d,\d", text[:4096]) else "."
    try:
        with warnings.catch_warnings():
            # Rows longer than the header: every lead might bear its neighbour's name.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(io.StringIO(text), sep=separator, decimal=decimal, skipinitialspace=True, index_col=False, low_memory=False)
    except (
        ValueError,
        OverflowError,
        pd.errors.ParserWarning,
    ):  # ParserError and EmptyDataError are ValueErrors; their texts may repeat a cell.
        raise UserError(f"{path.name} is not a table with one row per sample: save it as CSV again") from None


def _read_parquet(path: Path) -> tuple["pd.DataFrame", dict[str, str]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        rows = file.metadata.num_rows
        if rows * max(file.metadata.num_columns, 1) > _LARGEST // 8:
            raise UserError(f"{path.name} holds {rows} rows: export one recording per file")
        table = file.read()
        frame = table.to_pandas(ignore_metadata=True)
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        raise UserError(f"{path.name} is damaged Parquet: copy or export it again") from None
    raw = table.schema.metadata or {}
    metadata = {key.decode("utf-8", "ignore").lower(): value.decode("utf-8", "ignore").strip() for key, value in raw.items()}
    return frame, metadata


def _column(name: str) -> tuple[str, str]:
    """Return the lead (or the name as it is) and the unit of a column such as ``II (uV)``, ``II[mV]`` or ``II_uV``."""
    name = name.strip()
    # By hand: a regular expression for it goes back and forth over the blanks of a file that is no table, for minutes.
    opening = max(name.rfind("("), name.rfind("["))
    if opening >= 0 and name.endswith((")", "]")) and (unit := name[opening + 1 : -1].strip()):
        return lead_name(name[:opening].rstrip(" \t_")), unit
    stem, _, unit = name.rpartition("_")
    if stem and unit.lower() in MILLIVOLTS and lead_name(stem) in LEADS:
        return lead_name(stem), unit
    return lead_name(name), ""


def _numbers(path: Path, table: "pd.DataFrame", column: str) -> np.ndarray:
    """Return a column ``(T,)`` float64, NaN where a cell is empty."""
    import pandas as pd

    values = table[column]
    if not isinstance(values, pd.Series) or not (pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)):
        raise UserError(f"{path.name}: column {str(column)[:20]!r} holds something else than one number in each row: save plain numbers")
    return values.to_numpy(np.float64, na_value=np.nan)


def _time_unit(path: Path, name: str, unit: str) -> float:
    unit = (unit or name.rpartition("_")[2] if "_" in name else unit or "s").lower()
    if unit not in _TIMES:
        raise UserError(f"{path.name}: a time in {unit[:20]!r} is not understood: write 'time (s)' or 'time (ms)'")
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
