"""Records on disk: one memory map of microvolts, and a table that says what each row is.

A store is a folder: ``signals.i16`` ``(N, 12, T)`` little-endian int16 at 1 uV per unit, ``manifest.parquet`` with a row per record, and
``store.json``. It is written under another name and renamed when it is whole, so that whatever has the name of a store is one.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ecgclip.errors import UserError
from ecgclip.signals.leads import LEADS

if TYPE_CHECKING:
    from ecgclip.labels import Catalogue

FORMAT, VERSION = "ecgclip-store", 1
SIGNALS, MANIFEST, INFO = "signals.i16", "manifest.parquet", "store.json"
MICROVOLTS = 1000.0  # Per mV.
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
        ("modifiers", pa.string()),
        ("missing_leads", _TEXTS),
        ("quality", _TEXTS),
        ("source", pa.string()),
    ]
)


def quantise(signal: np.ndarray) -> np.ndarray:
    """Turn mV into the int16 of a store, to the nearest microvolt; what lies beyond ±32.767 mV is cut off there."""
    limit = np.iinfo(np.int16).max
    return np.rint(np.clip(signal * MICROVOLTS, -limit, limit)).astype(np.int16)


class Store:
    """A finished store, opened for reading. It can be pickled: each process maps the file anew.

    Attributes:
        path: The folder.
        info: The contents of ``store.json``: ``sampling_rate``, ``seconds``, ``leads``, ``records``, ``splits`` (counts), ``annotated``
            (ids of the labels that the data set speaks of, None for all), ``made_from``, ``checksums``.

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
            if info["leads"] != list(LEADS) or not {"sampling_rate", "annotated", "made_from", "checksums"} <= info.keys():
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

    @cached_property
    def manifest(self) -> pd.DataFrame:
        """A row per record: ``id``, ``patient``, ``split``, ``labels``, ``unknown`` (lists of ids), ``modifiers`` (JSON text),
        ``missing_leads``, ``quality`` (lists), ``source`` and, where it was asked for, ``reading``.
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

    def labels(self, catalogue: "Catalogue") -> np.ndarray:
        """Return ``(N, L)`` int8 states of all records in the order of a catalogue.

        Labels that the data set does not speak of are unknown. Those that the catalogue does not hold are left out.

        Raises:
            UserError: When the two have no label in common.

        """
        known, annotated = set(catalogue.ids), self.info["annotated"]
        if annotated is not None:
            annotated = [label for label in annotated if label in known]
        rows = list(zip(self.manifest["labels"], self.manifest["unknown"], strict=True))
        if not (annotated if annotated is not None else any(known.intersection(positives) for positives, _ in rows)):
            raise UserError(f"{self.path} and the catalogue have no label in common: check that their ids are written alike")
        distinct: dict[tuple[tuple[str, ...], tuple[str, ...]], np.ndarray] = {}
        states = np.empty((len(self), len(catalogue)), np.int8)
        for i, (positives, unknown) in enumerate(rows):
            key = (tuple(p for p in positives if p in known), tuple(u for u in unknown if u in known))
            if key not in distinct:
                distinct[key] = catalogue.states(key[0], key[1], annotated)
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

        with StoreWriter(path, sampling_rate=100, seconds=10, annotated=None, made_from=key) as writer:
            if not writer.finished:
                writer.append(signals, rows)
                writer.finish()

    Entering waits for another process that writes the same store. Leaving without :meth:`finish` keeps what has been written for the
    next attempt. The store of that name, if any, stays as it is until the new one is whole.

    Args:
        path: Where the store will be. What is there must be a store, an empty folder or nothing.
        sampling_rate: Hz.
        seconds: Length of each record.
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
        sampling_rate: float,
        seconds: float,
        annotated: Collection[str] | None,
        made_from: str,
    ) -> None:
        self.path = Path(path)
        self.part = _beside(self.path, ".part")
        self.samples = round(seconds * sampling_rate)
        self.job = {
            "format": FORMAT,
            "version": VERSION,
            "made_from": made_from,
            "sampling_rate": float(sampling_rate),
            "seconds": float(seconds),
            "samples": self.samples,
            "leads": list(LEADS),
            "millivolts_per_unit": 1 / MICROVOLTS,
            "annotated": None if annotated is None else sorted(annotated),
        }
        self.finished = False
        self.ids: set[str] = set()
        self._rows: list[dict[str, Any]] = []
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
            rows: ``n`` rows of the manifest: ``id``, ``patient``, ``split``, ``labels``, ``unknown``, ``modifiers`` (a mapping),
                ``missing_leads``, ``quality``, ``source`` and, to keep it, ``reading``.

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
        self._rows += plain
        self.ids.update(ids)

    def finish(self) -> Path:
        """Close the store and give it its name, in the place of the one that may be there.

        Raises:
            UserError: When there is no record, or the disk is full.

        """
        if not self._rows:
            raise UserError(f"{self.path}: no record to store: check what it is made from")
        with self._naming_the_next_step():
            os.fsync(self._signals.fileno())
            pq.write_table(_table(self._rows), self.part / MANIFEST, compression="zstd")
            counts = pd.Series([row["split"] for row in self._rows]).value_counts(sort=False)
            checksums = {name: _checksum(self.part / name) for name in (SIGNALS, MANIFEST)}
            info = self.job | {
                "records": len(self._rows),
                "splits": {k: int(v) for k, v in counts.items()},
                "checksums": checksums,
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
        lines = (self.part / _ROWS).read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if line.endswith(b"\n")][:whole]
        self._rows = [json.loads(line) for line in kept]
        self.ids = {row["id"] for row in self._rows}
        self._signals.truncate(len(kept) * record_bytes)
        self._table.truncate(sum(map(len, kept)))

    @staticmethod
    def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
        plain = {name: row[name] for name in _SCHEMA.names}
        plain["modifiers"] = json.dumps(plain["modifiers"], ensure_ascii=False, sort_keys=True)
        for name in ("labels", "unknown", "missing_leads", "quality"):
            plain[name] = list(plain[name])
        if row.get("reading") is not None:
            plain["reading"] = row["reading"]
        return plain

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


def _table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    schema = _SCHEMA.append(pa.field("reading", pa.string())) if any("reading" in row for row in rows) else _SCHEMA
    return pa.Table.from_pylist(list(rows), schema=schema)


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
