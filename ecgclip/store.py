"""Records on disk: one memory map of microvolts, and a table that says what each row is.

A store is a folder: ``signals.i16`` ``(N, 12, T)`` little-endian int16 at 1 uV per unit, ``manifest.parquet`` with a row per record,
``store.json`` and, where it has labels of its own, ``catalogue.yaml``. It is written under another name and renamed when it is whole,
so that whatever has the name of a store is one.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.json as pa_json
import pyarrow.parquet as pq
import yaml

from ecgclip.errors import UserError
from ecgclip.signals.leads import LEADS
from ecgclip.signals.path import SignalPath

if TYPE_CHECKING:
    from ecgclip.labels import Catalogue

FORMAT, VERSION = "ecgclip-store", 2
SIGNALS, MANIFEST, INFO, CATALOGUE = "signals.i16", "manifest.parquet", "store.json", "catalogue.yaml"
MICROVOLTS = 1000.0  # Per mV.
MORE = "_more"  # In a row of an unfinished store: the next one is of the same file, and neither counts alone.
_JOB, _ROWS = "job.json", "rows.jsonl"  # Of an unfinished store: what is being made, and the rows so far.
_BLOCK = 1 << 24

_TEXTS = pa.list_(pa.string())
_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("patient", pa.string()),
        ("split", pa.string()),
        ("labels", _TEXTS),
        ("unknown", _TEXTS),
        ("hedged", _TEXTS),
        ("negated", _TEXTS),
        ("modifiers", pa.string()),
        ("missing_leads", _TEXTS),
        ("quality", _TEXTS),
        ("amplitude", pa.float32()),
        ("source", pa.string()),
        ("age", pa.float32()),
        ("sex", pa.string()),
        ("year", pa.int32()),
        ("device", pa.string()),
        ("site", pa.string()),
        ("setting", pa.string()),
    ]
)
_LISTS = [field.name for field in _SCHEMA if field.type == _TEXTS]
_OPTIONAL = ("amplitude", "age", "sex", "year", "device", "site", "setting")  # None where nobody knows.
Revise = Callable[[pa.Table], pa.Table]


def quantise(signal: np.ndarray) -> np.ndarray:
    """Turn mV into the int16 of a store, to the nearest microvolt; what lies beyond ±32.767 mV is cut off there."""
    limit = np.iinfo(np.int16).max
    return np.rint(np.clip(signal * MICROVOLTS, -limit, limit)).astype(np.int16)


class Store:
    """A finished store, opened for reading. It can be pickled: each process maps the file anew.

    Attributes:
        path: The folder.
        info: The contents of ``store.json``: ``sampling_rate``, ``seconds``, ``leads``, ``records``, ``splits`` (counts), ``annotated``
            (ids of the labels that the data set speaks of, None for all), ``signal_path`` (what was done to the signals), ``made_from``,
            ``notes`` (what was found while it was made), ``checksums``.

    """

    def __init__(self, path: Path, info: dict[str, Any]) -> None:
        self.path, self.info = path, info

    @classmethod
    def open(cls, path: str | Path) -> "Store":
        """Open a store and check that it is one and that nothing is cut off.

        Raises:
            UserError: When it is not there, not finished, foreign, of another version, or shorter than it says.

        """
        path = Path(path)
        if not (path / INFO).is_file():
            if _beside(path, ".part").exists():
                raise UserError(f"{path} is not finished: prepare it again, it goes on where it stopped")
            if not path.exists():
                raise UserError(f"{path} does not exist: prepare it first")
            raise UserError(f"{path} is not a store of ECGs (no {INFO}): give a folder made by prepare")
        try:
            info = json.loads((path / INFO).read_text("utf-8"))
            if info["format"] != FORMAT:
                raise KeyError
            if info["version"] != VERSION:
                raise UserError(f"{path} is a store of version {info['version']}, this program reads version {VERSION}: prepare it again")
            if info["leads"] != list(LEADS) or not {"sampling_rate", "annotated", "signal_path", "made_from", "checksums"} <= info.keys():
                raise KeyError
            expected = int(info["records"]) * len(LEADS) * int(info["samples"]) * 2
        except (ValueError, KeyError, TypeError, OSError):
            raise UserError(f"{path / INFO} is not that of a store of ECGs: give a folder made by prepare") from None
        cls._check_size(path, expected)
        try:
            table = pq.read_metadata(path / MANIFEST)
        except (OSError, pa.ArrowException):
            raise UserError(f"{path / MANIFEST} is missing or damaged: prepare it again") from None
        if table.num_rows != info["records"] or not set(_SCHEMA.names) <= set(table.schema.to_arrow_schema().names):
            raise UserError(f"{path / MANIFEST} does not belong to the {info['records']} records beside it: prepare it again")
        return cls(path, info)

    @staticmethod
    def _check_size(path: Path, expected: int) -> None:
        size = (path / SIGNALS).stat().st_size if (path / SIGNALS).is_file() else 0
        if size != expected:
            raise UserError(f"{path / SIGNALS} has {size} bytes instead of {expected}: copy it again, or prepare it again")

    def __len__(self) -> int:
        return int(self.info["records"])

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "info": self.info}

    @property
    def sampling_rate(self) -> float:
        """Hz."""
        return float(self.info["sampling_rate"])

    @property
    def signal_path(self) -> SignalPath:
        """What was done to the signals."""
        return SignalPath.from_dict(self.info["signal_path"])

    @cached_property
    def manifest(self) -> pd.DataFrame:
        """A row per record: ``id``, ``patient``, ``split``, ``labels``, ``unknown``, ``hedged``, ``negated`` (lists of ids), ``modifiers``
        (JSON text), ``missing_leads``, ``quality`` (lists), ``amplitude`` (mV), ``source``, ``age``, ``sex``, ``year``, ``device``,
        ``site``, ``setting`` (None where nobody knows) and, where it was asked for, ``reading``.
        """
        table = pq.read_table(self.path / MANIFEST)
        return pd.DataFrame({name: table[name].to_pylist() for name in table.column_names})

    @cached_property
    def _signals(self) -> np.ndarray:
        shape = (len(self), len(self.info["leads"]), self.info["samples"])
        return np.asarray(np.memmap(self.path / SIGNALS, "<i2", "r", shape=shape))

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Read records.

        Args:
            rows: ``(B,)`` integers, in any order.

        Returns:
            ``(B, 12, T)`` int16, 1 uV per unit; a copy.

        """
        return np.take(self._signals, rows, axis=0)

    def labels(self, catalogue: "Catalogue", *, unmentioned: str = "absent") -> np.ndarray:
        """Return ``(N, L)`` int8 states of all records in the order of a catalogue.

        Labels that the data set does not speak of are unknown. Those that the catalogue does not hold are left out.

        Args:
            catalogue: The labels.
            unmentioned: What it means that a record says nothing of a label: ``absent``, or ``unknown``, so that only what a reading
                denies is negative.

        Raises:
            UserError: When the two have no label in common.

        """
        known, annotated = set(catalogue.ids), self.info["annotated"]
        if annotated is not None:
            annotated = [label for label in annotated if label in known]
        rows = list(zip(self.manifest["labels"], self.manifest["unknown"], self.manifest["negated"], strict=True))
        if not (annotated if annotated is not None else any(known.intersection(positives) for positives, _, _ in rows)):
            raise UserError(f"{self.path} and the catalogue have no label in common: check that their ids are written alike")
        distinct: dict[tuple[tuple[str, ...], ...], np.ndarray] = {}
        states = np.empty((len(self), len(catalogue)), np.int8)
        for i, row in enumerate(rows):
            positives, unknown, negated = key = tuple(tuple(label for label in labels if label in known) for labels in row)
            if key not in distinct:
                spoken_of = annotated if unmentioned == "absent" else [*positives, *negated]
                distinct[key] = catalogue.states(positives, unknown, spoken_of)
            states[i] = distinct[key]
        return states

    def warm(self) -> None:
        """Read the signals once from front to back, so that random reads meet memory and not the disk."""
        with open(self.path / SIGNALS, "rb", buffering=0) as file:
            while file.read(_BLOCK):
                pass

    def verify(self) -> None:
        """Compare every byte with the checksums.

        Raises:
            UserError: At the first file that has changed.

        """
        for name, checksum in self.info["checksums"].items():
            if _checksum(self.path / name) != checksum:
                raise UserError(f"{self.path / name} has changed since it was made: copy it again, or prepare it again")


class StoreWriter:
    """Writes a store, goes on with one that was interrupted, and lets one process at a time do so.

    ::

        with StoreWriter(path, signal_path=SignalPath(), annotated=None, made_from=key) as writer:
            if not writer.finished:
                writer.append(signals, rows)
                writer.finish()

    Entering waits for another process that writes the same store. Leaving without :meth:`finish` keeps what has been written for the
    next attempt. The store of that name, if any, stays as it is until the new one is whole.

    Args:
        path: Where the store will be. What is there must be a store, an empty folder or nothing.
        signal_path: What is done to the signals; sets their rate and length.
        annotated: Ids of the labels that the data set speaks of; None for all of them.
        made_from: A text that changes with whatever changes the result, such as :func:`ecgclip.paths.cache_key`'s. An unfinished store is
            gone on with, and a finished one is kept, where it is the same.

    Attributes:
        finished: Whether the store is there already.
        ids: Ids of the records that have been written.

    """

    def __init__(
        self,
        path: str | Path,
        *,
        signal_path: SignalPath,
        annotated: Collection[str] | None,
        made_from: str,
    ) -> None:
        self.path = Path(path)
        self.part = _beside(self.path, ".part")
        self.samples = round(signal_path.seconds * signal_path.sampling_rate)
        self.job = {
            "format": FORMAT,
            "version": VERSION,
            "made_from": made_from,
            "sampling_rate": float(signal_path.sampling_rate),
            "seconds": float(signal_path.seconds),
            "samples": self.samples,
            "signal_path": signal_path.to_dict(),
            "leads": list(LEADS),
            "millivolts_per_unit": 1 / MICROVOLTS,
            "annotated": None if annotated is None else sorted(annotated),
        }
        self.finished = False
        self.ids: set[str] = set()
        self._open = contextlib.ExitStack()
        self._signals: BinaryIO
        self._table: BinaryIO

    def __enter__(self) -> Self:
        with self._naming_the_next_step():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._open.enter_context(_locked(self.path))
            try:
                self._begin()
            except BaseException:
                self._open.close()
                raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._open.close()

    def append(self, signals: np.ndarray, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add records; when it returns, they survive the end of this process.

        Args:
            signals: ``(n, 12, T)`` int16, 1 uV per unit; see :func:`quantise`.
            rows: ``n`` rows of the manifest, see :attr:`Store.manifest`: ``id``, ``patient``, ``split``, ``labels``, ``source``, and what
                else is known; ``modifiers`` is a mapping.

        Raises:
            UserError: When the disk is full or the folder is locked.

        """
        expected = (len(rows), len(LEADS), self.samples)
        if signals.shape != expected or signals.dtype != np.int16:
            raise ValueError(f"signals must be int16 of shape {expected}, not {signals.dtype} of {signals.shape}")
        plain = [self._plain(row) for row in rows]
        ids = [row["id"] for row in plain]
        if len(self.ids.union(ids)) < len(self.ids) + len(ids):
            raise ValueError("a record is written twice: pass each id once, and none that is in ids")
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in plain)
        with self._naming_the_next_step():
            # The rows come last: a row without its signal would be a lie, a signal without its row is cut off on resuming.
            self._write(self._signals, signals.astype("<i2", copy=False).tobytes())
            self._write(self._table, text.encode())
        self.ids.update(ids)

    def read(self, row: int) -> np.ndarray:
        """Return the signal of a record that has been written, ``(12, T)`` int16."""
        count = len(LEADS) * self.samples
        return np.fromfile(self.part / SIGNALS, "<i2", count, offset=2 * count * row).reshape(len(LEADS), self.samples)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows that have been written, in order, ``modifiers`` as JSON text."""
        with open(self.part / _ROWS, encoding="utf-8") as file:
            yield from map(json.loads, file)

    def finish(self, *, revise: Revise | None = None, notes: Mapping[str, Any] | None = None, catalogue: "Catalogue | None" = None) -> Path:
        """Close the store and give it its name, in the place of the one that may be there.

        Args:
            revise: Called with the manifest of all records, whose rows it may change but neither add, drop nor move: what only all
                records together can tell, such as their split.
            notes: Plain values for ``store.json``; called for after ``revise``, which may still fill them.
            catalogue: To be kept with the store, in ``catalogue.yaml``.

        Raises:
            UserError: When there is no record, or the disk is full.

        """
        if not self.ids:
            raise UserError(f"{self.path}: no record to store: check what it is made from")
        with self._naming_the_next_step():
            os.fsync(self._signals.fileno())
            table = _table(self.part / _ROWS)
            table = revise(table) if revise else table
            pq.write_table(table, self.part / MANIFEST, compression="zstd")
            if catalogue is not None:
                _write_text(self.part / CATALOGUE, yaml.safe_dump(catalogue.entries(), allow_unicode=True, sort_keys=False))
            kept = (SIGNALS, MANIFEST, *([CATALOGUE] if catalogue is not None else []))
            counts = table["split"].value_counts().to_pylist()
            info = self.job | {
                "records": table.num_rows,
                "splits": {count["values"]: count["counts"] for count in counts},
                "notes": dict(notes or {}),
                "checksums": {name: _checksum(self.part / name) for name in kept},
            }
            _write_text(self.part / INFO, json.dumps(info, indent=2, ensure_ascii=False) + "\n")
            _replace(self.part, self.path)
            for name in (_JOB, _ROWS):
                (self.path / name).unlink()
        self.finished = True
        return self.path

    def _begin(self) -> None:
        """Find out what is there: a finished store, an unfinished one to go on with, or nothing."""
        old = _beside(self.path, ".old")
        if old.exists():  # Killed between the two renames of _replace.
            shutil.rmtree(old) if self.path.exists() else old.rename(self.path)
        if self.path.exists() and not (self.path.is_dir() and ((self.path / INFO).is_file() or not any(self.path.iterdir()))):
            raise UserError(f"{self.path} exists and is not a store: give another folder, nothing there was changed")
        with contextlib.suppress(UserError):
            self.finished = Store.open(self.path).info["made_from"] == self.job["made_from"]
        if self.finished:
            return
        if not self._resumable():
            shutil.rmtree(self.part, ignore_errors=True)
            self.part.mkdir()
            _write_text(self.part / _JOB, json.dumps(self.job))
        self._signals = self._open.enter_context((self.part / SIGNALS).open("ab", buffering=0))
        self._table = self._open.enter_context((self.part / _ROWS).open("ab", buffering=0))
        self._recover()

    def _resumable(self) -> bool:
        try:
            return bool(json.loads((self.part / _JOB).read_text("utf-8")) == self.job)
        except (OSError, ValueError):
            return False

    def _recover(self) -> None:
        """Keep the records of which both parts are whole."""
        record_bytes = len(LEADS) * self.samples * 2
        whole = (self.part / SIGNALS).stat().st_size // record_bytes
        length, read = 0, 0
        pending: list[str] = []
        with open(self.part / _ROWS, "rb") as lines:
            for line in lines:
                if len(self.ids) + len(pending) == whole or not line.endswith(b"\n"):
                    break
                row = json.loads(line)
                pending.append(row["id"])
                read += len(line)
                if not row.get(MORE):
                    self.ids.update(pending)
                    length, pending = read, []
        self._signals.truncate(len(self.ids) * record_bytes)
        self._table.truncate(length)

    @staticmethod
    def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
        plain = {name: row[name] for name in ("id", "patient", "split", "source")}
        plain |= {name: list(row.get(name, ())) for name in _LISTS}
        plain["modifiers"] = json.dumps(row.get("modifiers", {}), ensure_ascii=False, sort_keys=True)
        plain |= {name: row[name] for name in (*_OPTIONAL, "reading") if row.get(name) is not None}
        return plain | {name: row[name] for name in row if name.startswith("_")}

    @staticmethod
    def _write(file: BinaryIO, data: bytes) -> None:
        rest = memoryview(data)
        while rest:  # An unbuffered write may take a part of it, as on a disk that is nearly full.
            rest = rest[file.write(rest) :]

    @contextlib.contextmanager
    def _naming_the_next_step(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise UserError(
                f"cannot write {self.path} ({reason}): free space or unlock the folder and run it again, nothing written is lost"
            ) from error


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the right to write a store. The system gives it back when a process ends, however it ends."""
    name = _beside(path, ".lock")
    lock = _take_lock(name, path)
    # The one that held it before removed the file in the end: a lock on a file without a name excludes nobody.
    while not (name.exists() and os.path.samestat(name.stat(), os.fstat(lock))):
        os.close(lock)
        lock = _take_lock(name, path)
    try:
        yield
    finally:
        name.unlink(missing_ok=True)
        os.close(lock)


def _take_lock(name: Path, path: Path) -> int:
    lock = os.open(name, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"Another process is making {path}: waiting for it", file=sys.stderr)
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def _replace(new: Path, path: Path) -> None:
    """Rename a folder over another; the old one is removed only when the new one has its name."""
    old = _beside(path, ".old")
    if path.exists():
        path.rename(old)
    new.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def _table(rows: Path) -> pa.Table:
    """Read the rows as a table, without making each an object of Python's."""
    schema = _SCHEMA.append(pa.field("reading", pa.string()))
    parsing = pa_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    table = pa_json.read_json(rows, pa_json.ReadOptions(block_size=_BLOCK), parsing).select(schema.names)
    if table["reading"].null_count == table.num_rows:
        table = table.drop_columns(["reading"])
    return table.combine_chunks()


def _write_text(path: Path, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _checksum(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    try:
        with open(path, "rb", buffering=0) as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): copy it again, or prepare it again") from error
    return digest.hexdigest()
