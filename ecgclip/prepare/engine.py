"""An archive on disk to a store: in parallel, and going on from where it stopped."""

import hashlib
import multiprocessing
import os
import re
import signal as os_signal
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from ecgclip.errors import UserError
from ecgclip.labels import Catalogue
from ecgclip.paths import cache_key
from ecgclip.prepare.duplicates import Twins, sketch
from ecgclip.prepare.settle import settle
from ecgclip.prepare.split import SplitPlan
from ecgclip.signals.path import SignalPath
from ecgclip.signals.readers import read_record
from ecgclip.signals.record import Item, Record, check_items
from ecgclip.store import MORE, Store, StoreWriter, quantise
from ecgclip.tables import write_table

Refine = Callable[[Item, np.ndarray, float], Item]
CHUNK = 64  # Records per task: some MB at 500 Hz, and a twentieth of a second of work.
MOST_WORKERS = 8  # Beyond that the disk is the limit.
_SKETCH = "_sketch"  # In a row of an unfinished store: what duplicates are found by.
FROM_FILE = ("age", "sex", "year", "device")


class Rejected(NamedTuple):
    """A file that was left out.

    Attributes:
        file: Its path; for the person at the terminal and ``rejected.csv`` only.
        reason: One line.

    """

    file: str
    reason: str


class _Done(NamedTuple):
    """What became of a chunk of items."""

    items: int
    signals: np.ndarray
    rows: list[dict[str, Any]]
    paths: list[str]
    rejected: list[Rejected]


class _Job(NamedTuple):
    """What every worker needs to know."""

    signal_path: SignalPath
    refine: Refine | None
    salt: str | None
    duplicates: bool
    segments: bool


def prepare(
    items: Sequence[Item],
    out: str | Path,
    *,
    signal_path: SignalPath,
    annotated: Collection[str] | None,
    refine: Refine | None = None,
    split: SplitPlan | None = None,
    salt: str | None = None,
    duplicates: bool = False,
    segments: bool = False,
    catalogue: Catalogue | None = None,
    rejected: Sequence[Rejected] = (),
    workers: int | None = None,
) -> Path:
    """Read the records of a data set into a store.

    The order of the store is that of the items, whatever the number of workers. A run that was killed goes on where it stopped. A store
    that has been made from the same items and unchanged files is left as it is. Records that cannot be used are listed with the reason
    in ``<out>.rejected.csv``; the last line on stderr counts them. Memory does not grow with the signals.

    Args:
        items: The records. They may be made as they are asked for.
        out: Folder of the store.
        signal_path: What is done to every signal.
        annotated: Ids of the labels that the data set speaks of; None for all.
        refine: Called with each item, its signal ``(12, T)`` float32 mV and the sampling rate; returns the item with what only the
            signal can tell. It finds its way to other processes by pickling.
        split: How to split the records that could be read; None where every item says its split.
        salt: Of the patient keys of the files that say their patient, where the item does not.
        duplicates: Leave out a recording that came before.
        segments: Make every piece of a longer recording a record of its own, instead of one piece as ``signal_path`` says.
        catalogue: Kept with the store.
        rejected: What was left out before.
        workers: Processes; None for one per core.

    Returns:
        ``out``.

    Raises:
        UserError: When an item is there twice, a patient is in two splits, no record can be used, or the disk is full.

    """
    out = Path(out)
    check_items(items, split_later=split is not None)
    job = _Job(signal_path, refine, salt, duplicates, segments)
    made_from = _fingerprint(items, job, split, catalogue and catalogue.fingerprint, annotated and sorted(annotated), list(rejected))
    with StoreWriter(out, signal_path=signal_path, annotated=annotated, made_from=made_from) as writer:
        if writer.finished:
            print(f"{out} is up to date: nothing to do", file=sys.stderr)
            return out
        left_out = [*rejected, *_fill(writer, items, job, workers)]
        report = _report_rejected(out, left_out)
        if not writer.ids:
            first = f": the first, {Path(left_out[0].file).name}: {left_out[0].reason}" if left_out else ""
            raise UserError(f"none of the {len(items)} records can be used{first}")
        notes: dict[str, Any] = {"rejected": _reasons(left_out)}
        writer.finish(revise=partial(settle, split=split, notes=notes), notes=notes, catalogue=catalogue)
        _count(out, report, len(left_out))
    return out


def _fill(writer: StoreWriter, items: Sequence[Item], job: _Job, workers: int | None) -> list[Rejected]:
    """Append what is not in the store yet, in order, and return the rejected files with their reasons."""
    left = range(len(items)) if not writer.ids else [i for i in range(len(items)) if items[i].id not in writer.ids]
    chunks = ([items[i] for i in left[start : start + CHUNK]] for start in range(0, len(left), CHUNK))
    if workers is None:
        # What this process may use, where the system can tell: on a cluster that is less than the machine has.
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        workers = min(cores, MOST_WORKERS)
    twins = Twins() if job.duplicates else None
    if twins is not None:
        for number, row in enumerate(writer.rows()):
            twins.add(number, row[_SKETCH])
    rejected: list[Rejected] = []
    doubled: list[tuple[str, int]] = []
    # A bar on a terminal only: in the log of a scheduler it would be a thousand lines.
    with tqdm(total=len(items), initial=len(items) - len(left), unit=" records", disable=None) as bar:
        for done in _work_through(chunks, job, min(workers, -(-len(left) // CHUNK))):
            bar.update(done.items)
            rejected += done.rejected
            if twins is not None:
                done = _without_twins(done, twins, writer, doubled)
            if done.rows:
                writer.append(done.signals, done.rows)
    return rejected + _named(doubled, writer, items)


def _without_twins(done: _Done, twins: Twins, writer: StoreWriter, doubled: list[tuple[str, int]]) -> _Done:
    """Leave out the recordings that came before, in this chunk or earlier, and note of which record each is a double.

    A file whose first segment came before goes whole: the first one stands for the file when an interrupted run goes on.
    """
    kept: list[int] = []
    gone = ""
    written = len(writer.ids)

    def read(number: int) -> np.ndarray:
        return writer.read(number) if number < written else done.signals[kept[number - written]]

    for i, row in enumerate(done.rows):
        file, _, number = row["id"].partition("-")
        if file == gone:
            continue
        twin = twins.find(row[_SKETCH], done.signals[i], read)
        if twin is None:
            twins.add(written + len(kept), row[_SKETCH])
            kept.append(i)
        else:
            doubled.append((done.paths[i], twin))
            gone = gone if number else file
    # What followed a segment that went must not keep the one before it open.
    rows = [done.rows[i] | ({MORE: i + 1 in kept} if MORE in done.rows[i] else {}) for i in kept]
    return done._replace(signals=done.signals[kept], rows=rows, paths=[done.paths[i] for i in kept])


def _named(doubled: Sequence[tuple[str, int]], writer: StoreWriter, items: Sequence[Item]) -> list[Rejected]:
    """Say of which file each is a double."""
    wanted = {number for _, number in doubled}
    ids = {row["id"].partition("-")[0]: number for number, row in enumerate(writer.rows()) if number in wanted} if wanted else {}
    first = {ids[item.id]: item.path for item in items if item.id in ids} if ids else {}
    return [Rejected(path, f"is the same recording as {first[number]}: leave one of them out") for path, number in doubled]


def _work_through(chunks: Iterable[Sequence[Item]], job: _Job, workers: int) -> Iterator[_Done]:
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
    paths: list[str] = []
    rejected: list[Rejected] = []
    for item in chunk:
        try:
            segments = _read(item, job)
        except UserError as error:
            rejected.append(Rejected(str(item.path), str(error)))
        except Exception as error:  # One odd file must not end a night's work. What the error says may be of a patient.
            rejected.append(Rejected(str(item.path), f"was not expected to be like this ({type(error).__name__}): please report it"))
        else:
            signals += [signal for signal, _ in segments]
            rows += [row for _, row in segments]
            paths += [str(item.path)] * len(segments)
    return _Done(len(chunk), np.stack(signals) if signals else np.empty(0, np.int16), rows, paths, rejected)


def _read(item: Item, job: _Job) -> list[tuple[np.ndarray, dict[str, Any]]]:
    """Return the signals of a file as the store has them, with their rows."""
    record = read_record(item.path, salt=job.salt)
    starts: list[float | None] = [*job.signal_path.windows(record)] if job.segments and item.start is None else [item.start]
    return [_segment(item, record, job, number, start, len(starts)) for number, start in enumerate(starts)]


def _segment(item: Item, record: Record, job: _Job, number: int, start: float | None, of: int) -> tuple[np.ndarray, dict[str, Any]]:
    standard = job.signal_path(record, start)
    if job.refine is not None:
        item = job.refine(item, standard.signal, job.signal_path.sampling_rate)
    about = {name: getattr(record, name) or None for name in FROM_FILE} | {
        name: value for name, value in item.about.items() if value not in (None, "")
    }
    row: dict[str, Any] = about | {
        "id": f"{item.id}-{number}" if number else item.id,
        "patient": item.patient or record.patient,
        "split": item.split,
        "labels": item.labels,
        "unknown": item.unknown,
        "hedged": item.hedged,
        "negated": item.negated,
        "modifiers": dict(item.modifiers),
        "missing_leads": standard.missing,
        "quality": [*standard.flags, *item.flags],
        "amplitude": round(float(standard.amplitude), 4),
        "source": record.source,
        "reading": item.reading,
    }
    signal = quantise(standard.signal)
    if job.duplicates:
        row[_SKETCH] = sketch(signal)
    if of > 1:
        row[MORE] = number + 1 < of
    return signal, row


def _fingerprint(items: Sequence[Item], job: _Job, *what: Any) -> str:
    """Name what the store is made from: the items, the state of their files, and what is done with them."""
    digest = hashlib.blake2b(digest_size=8)
    for item in items:
        digest.update(cache_key(item=[*vars(item).values(), _state(item.path)]).encode())
    refine = getattr(job.refine, "fingerprint", getattr(job.refine, "__qualname__", ""))
    digest.update(repr((job.signal_path, refine, job.salt, job.duplicates, job.segments, *what)).encode())
    return digest.hexdigest()


def _state(path: Path) -> list[int]:
    try:
        status = (path if path.exists() else path.parent).stat()  # A part of a file is as old as the file.
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]


def _report_rejected(out: Path, rejected: Sequence[Rejected]) -> Path:
    """List what was left out, beside the store and not in it: file names may be patient numbers."""
    report = out.with_name(f"{out.name}.rejected.csv")
    if rejected:
        write_table(report, [line._asdict() for line in rejected], Rejected._fields)
    else:
        report.unlink(missing_ok=True)
    return report


def _reasons(rejected: Sequence[Rejected]) -> dict[str, int]:
    """Count the reasons, most frequent first, without the names of files and the figures in them."""
    counts: Counter[str] = Counter()
    for file, reason in rejected:
        path = Path(file)
        reason = re.sub(r"(same recording as ).*(: leave)", r"\1another\2", reason)
        for name in (file, path.name, path.stem):
            reason = reason.replace(name, "FILE") if len(name) > 2 else reason
        counts[re.sub(r"\d+(\.\d+)?", "#", re.sub(r"\S*FILE\S*", "FILE", reason))] += 1
    return dict(counts.most_common())


def _count(out: Path, report: Path, rejected: int) -> None:
    splits = ", ".join(f"{name} {count}" for name, count in Store.open(out).info["splits"].items())
    left_out = f"{rejected} rejected, see {report}" if rejected else "none rejected"
    print(f"Prepared {out}: {splits}; {left_out}", file=sys.stderr)
