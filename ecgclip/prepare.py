"""An archive on disk to a store: in parallel, and going on from where it stopped."""

import csv
import multiprocessing
import os
import signal as os_signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from ecgclip.errors import UserError
from ecgclip.paths import cache_key
from ecgclip.signals.readers import read_record
from ecgclip.signals.record import Item, check_items, standardise
from ecgclip.store import Store, StoreWriter, quantise

Refine = Callable[[Item, np.ndarray, float], Item]
CHUNK = 64  # Records per task: some MB at 500 Hz, and a twentieth of a second of work.
MOST_WORKERS = 8  # Beyond that the disk is the limit.


class _Done(NamedTuple):
    """What became of a chunk of items."""

    signals: np.ndarray
    rows: list[dict[str, Any]]
    rejected: list[tuple[str, str]]


class _Job(NamedTuple):
    """What every worker needs to know."""

    sampling_rate: float
    seconds: float
    refine: Refine | None


def prepare(
    items: Sequence[Item],
    out: str | Path,
    *,
    sampling_rate: float,
    seconds: float,
    annotated: Collection[str] | None,
    refine: Refine | None = None,
    workers: int | None = None,
) -> Path:
    """Read the records of a data set into a store.

    The order of the store is that of the items, whatever the number of workers. A run that was killed goes on where it stopped. A store
    that has been made from the same items and unchanged files is left as it is. Records that cannot be used are listed with the reason
    in ``<out>.rejected.csv``; the last line on stderr counts them.

    Args:
        items: The records.
        out: Folder of the store.
        sampling_rate: Hz of the store.
        seconds: Length of each record.
        annotated: Ids of the labels that the data set speaks of; None for all.
        refine: Called with each item, its signal ``(12, T)`` float32 mV and the sampling rate; returns the item with what only the
            signal can tell. A function of a module, so that other processes find it.
        workers: Processes; None for one per core.

    Returns:
        ``out``.

    Raises:
        UserError: When an item is there twice, a patient is in two splits, no record can be used, or the disk is full.

    """
    out = Path(out)
    check_items(items)
    job = _Job(float(sampling_rate), float(seconds), refine)
    made_from = _fingerprint(items, job)
    with StoreWriter(out, sampling_rate=sampling_rate, seconds=seconds, annotated=annotated, made_from=made_from) as writer:
        if not writer.finished:
            rejected = _fill(writer, items, job, workers)
            report = _report_rejected(out, rejected)
            if not writer.ids:
                first = f": the first, {Path(rejected[0][0]).name}: {rejected[0][1]}" if rejected else ""
                raise UserError(f"none of the {len(items)} records can be used{first}")
            writer.finish()
            _count(out, report, len(rejected))
    return out


def _fill(writer: StoreWriter, items: Sequence[Item], job: _Job, workers: int | None) -> list[tuple[str, str]]:
    """Append what is not in the store yet, in order, and return the rejected files with their reasons."""
    left = [item for item in items if item.id not in writer.ids]
    chunks = [left[i : i + CHUNK] for i in range(0, len(left), CHUNK)]
    if workers is None:
        # What this process may use, where the system can tell: on a cluster that is less than the machine has.
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        workers = min(cores, MOST_WORKERS)
    rejected: list[tuple[str, str]] = []
    # A bar on a terminal only: in the log of a scheduler it would be a thousand lines.
    with tqdm(total=len(items), initial=len(items) - len(left), unit=" records", disable=None) as bar:
        for done in _work_through(chunks, job, min(workers, len(chunks))):
            if done.rows:
                writer.append(done.signals, done.rows)
            rejected += done.rejected
            bar.update(len(done.rows) + len(done.rejected))
    return rejected


def _work_through(chunks: Sequence[Sequence[Item]], job: _Job, workers: int) -> Iterator[_Done]:
    """Yield the results of the chunks in their order."""
    if workers <= 1:
        yield from (_work(chunk, job) for chunk in chunks)
        return
    # Spawned, not forked: the parent may hold threads of torch or W&B, which do not survive a fork.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    waiting: deque[Future[_Done]] = deque()
    try:
        for chunk in chunks:
            waiting.append(pool.submit(_work, chunk, job))
            if len(waiting) > 2 * workers:  # No more: results wait in memory until it is their turn.
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise UserError(
            "a worker process was killed, perhaps for want of memory: run it again with fewer workers, it goes on here"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and end with it even where it was killed."""
    os_signal.signal(os_signal.SIGINT, os_signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(chunk: Sequence[Item], job: _Job) -> _Done:
    signals: list[np.ndarray] = []
    rows: list[dict[str, Any]] = []
    rejected: list[tuple[str, str]] = []
    for item in chunk:
        try:
            signal, row = _one(item, job)
        except UserError as error:
            rejected.append((str(item.path), str(error)))
        except Exception as error:  # One odd file must not end a night's work; the list says which, and what happened.
            rejected.append((str(item.path), f"{type(error).__name__}: {error}".splitlines()[0]))
        else:
            signals.append(quantise(signal))
            rows.append(row)
    return _Done(np.stack(signals) if signals else np.empty(0, np.int16), rows, rejected)


def _one(item: Item, job: _Job) -> tuple[np.ndarray, dict[str, Any]]:
    record = read_record(item.path)
    signal, missing, quality = standardise(record, job.sampling_rate, job.seconds)
    if job.refine is not None:
        item = job.refine(item, signal, job.sampling_rate)
    row: dict[str, Any] = {
        "id": item.id,
        "patient": item.patient,
        "split": item.split,
        "labels": item.labels,
        "unknown": item.unknown,
        "modifiers": dict(item.modifiers),
        "missing_leads": missing,
        "quality": [*quality, *item.flags],
        "source": record.source,
        "reading": item.reading,
    }
    return signal, row


def _fingerprint(items: Sequence[Item], job: _Job) -> str:
    """Name what the store is made from: the items, the state of their files, and what is done with them."""
    what = [[*vars(item).values(), _state(item.path)] for item in items]
    refine = None if job.refine is None else f"{job.refine.__module__}.{job.refine.__qualname__}"
    return cache_key(items=what, sampling_rate=job.sampling_rate, seconds=job.seconds, refine=refine)


def _state(path: Path) -> list[int]:
    try:
        status = path.stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]


def _report_rejected(out: Path, rejected: Sequence[tuple[str, str]]) -> Path:
    """List what was left out, beside the store and not in it: file names may be patient numbers."""
    report = out.with_name(f"{out.name}.rejected.csv")
    try:
        report.unlink(missing_ok=True)
        if rejected:
            with open(report, "w", encoding="utf-8-sig", newline="") as file:  # With the mark that a spreadsheet needs for Japanese.
                csv.writer(file).writerows([("file", "reason"), *rejected])
    except OSError as error:
        raise UserError(f"cannot write {report} ({error.strerror}): free space or unlock the folder and run it again") from error
    return report


def _count(out: Path, report: Path, rejected: int) -> None:
    splits = ", ".join(f"{name} {count}" for name, count in Store.open(out).info["splits"].items())
    left_out = f"{rejected} rejected, see {report}" if rejected else "none rejected"
    print(f"Prepared {out}: {splits}; {left_out}", file=sys.stderr)
