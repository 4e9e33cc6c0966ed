"""The child processes that make the runs of a benchmark."""

import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from ecgclip.benchmark.slots import BEST, LAST, RECORD, Budget, Data, Slot
from ecgclip.errors import UserError
from ecgclip.run import read_metrics

POLL = 0.2  # Seconds between two looks at the children.
PR_SET_PDEATHSIG = 1  # prctl(2)


@dataclass
class Child:
    """A run under way."""

    slot: Slot
    number: int
    process: subprocess.Popen[bytes]
    log: Path
    known: set[Path]
    start: float = field(default_factory=time.monotonic)


def run_all(slots: list[Slot], budget: Budget, data: Data, jobs: int, lock: IO[str]) -> None:
    """Make the runs that are missing, ``jobs`` at a time; a run that fails leaves its reason in its slot."""
    for number, slot in enumerate(slots, start=1):
        if slot.finished:
            _say(slots, number, f"already done: {_result(slot, data.split)}")
    waiting = [(number, slot) for number, slot in enumerate(slots, start=1) if not slot.finished]
    children: list[Child] = []
    try:
        while waiting or children:
            while waiting and len(children) < jobs:
                number, slot = waiting.pop(0)
                children.append(_start(number, slot, budget, data, jobs, lock))
                _say(slots, number, f"{'goes on' if slot.run else 'started'} (log: {children[-1].log})")
            time.sleep(POLL)
            for child in list(children):
                _mark(child, finished=False)
                if child.process.poll() is not None:
                    children.remove(child)
                    _close(child, data)
                    minutes = (time.monotonic() - child.start) / 60
                    told = _result(child.slot, data.split) if child.slot.finished else f"not run: {child.slot.reason}"
                    _say(slots, child.number, f"{told} ({minutes:.1f} min in all)")
    finally:
        for child in children:
            child.process.terminate()
            child.process.wait()


def command_of(slot: Slot, budget: Budget, data: Data) -> list[str]:
    """Return the command line of a run's child process."""
    if slot.run is not None:
        given = [f"--ckpt_path={slot.run / LAST}"]
    else:
        given = [f"--config={path}" for path in slot.configs]
        given += [f"--runs={slot.folder.parent}", f"--experiment={slot.folder.name}"]
        given += [f"--seed_everything={slot.seed}", f"--data.seed={slot.seed}", "--wandb=disabled", "--trainer.enable_progress_bar=false"]
        given += [f"--trainer.max_epochs={budget.epochs}"] if budget.epochs else []
        given += [f"--trainer.max_time={_clock(budget.minutes)}"] if budget.minutes else []
        given += [*budget.extra, *slot.extra]
    given += [f"--data.root={data.root}"] if data.root else []
    return [sys.executable, "-m", "ecgclip", "fit", *given]


def evaluate(run: Path, config: Path, data: Data, lock: IO[str]) -> None:
    """Evaluate the best checkpoint of a run on other data than its own; the results lie in a folder of the run.

    Args:
        run: Folder of the run.
        config: YAML of the data.
        data: Where they are, and which split is evaluated.
        lock: Of the benchmark.

    Raises:
        UserError: When it could not be done, with what the child process said.
    """
    command = [sys.executable, "-m", "ecgclip", "validate" if data.split == "val" else "test"]
    command += [f"--ckpt_path={run / BEST}", f"--config={config}", f"--data.root={data.root}", "--trainer.enable_progress_bar=false"]
    log = run.parent / f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_evaluation.log"
    process = _spawn(command, log, 1, lock)
    try:
        code = process.wait()
    finally:
        process.terminate()
        process.wait()
    reason = _reason(log, code, data)
    if code:
        raise UserError(f"{run} could not be evaluated: {reason}")


def _clock(minutes: float) -> str:
    """Minutes in Lightning's form, ``DD:HH:MM:SS``."""
    seconds = max(1, round(minutes * 60))
    return f"{seconds // 86400:02}:{seconds // 3600 % 24:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _start(number: int, slot: Slot, budget: Budget, data: Data, jobs: int, lock: IO[str]) -> Child:
    slot.folder.mkdir(parents=True, exist_ok=True)
    log = slot.folder / f"{time.strftime('%Y-%m-%d_%H-%M-%S')}.log"
    known = set(slot.folder.glob("*/"))
    return Child(slot, number, _spawn(command_of(slot, budget, data), log, jobs, lock), log, known)


def _spawn(command: list[str], log: Path, jobs: int, lock: IO[str]) -> subprocess.Popen[bytes]:
    """Start a child process with its share of the cores, whose output goes to a log."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    environment = {"OMP_NUM_THREADS": str(max(1, cores // jobs))} | os.environ
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            pass_fds=[lock.fileno()],  # A child that outlives this process holds the lock on.
            preexec_fn=_end_with_parent,
        )


def _end_with_parent() -> None:
    """Let the kernel kill this child when the benchmark is killed: else the next call would go on with a run that still runs."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _mark(child: Child, *, finished: bool) -> None:
    """Write ``benchmark.json`` into the run folder of a child, as soon as there is one."""
    slot = child.slot
    if slot.run is None:
        new = set(slot.folder.glob("*/")) - child.known
        if not new:
            return
        slot.run = new.pop()
    elif not finished and (slot.run / RECORD).is_file():
        return
    record: dict[str, Any] = {"recipe": slot.recipe, "seed": slot.seed, "key": slot.key, "finished": finished}
    if finished:
        figures = read_metrics(slot.run)
        record |= {
            "protocol": figures.get("protocol/version"),
            "split": "test" if "test/zero_shot/all/auroc_macro" in figures else "val",
            "epochs": figures.get("time/epochs"),
            "minutes": (figures.get("time/train_seconds") or 0) / 60,
            "parameters": figures.get("model/parameters"),
            "peak_memory_mb": figures.get("time/peak_memory_mb"),
        }
    partial = slot.run / f"{RECORD}.part"
    partial.write_text(json.dumps(record, indent=2) + "\n")
    partial.replace(slot.run / RECORD)


def _close(child: Child, data: Data) -> None:
    """Settle what has become of a child that has ended."""
    slot, code = child.slot, child.process.returncode
    reason = _reason(child.log, code, data)
    whole = slot.run is not None and f"{data.split}/zero_shot/all/auroc_macro" in read_metrics(slot.run)
    if code == 0 and whole:
        slot.finished = True
        _mark(child, finished=True)
        return
    slot.reason = reason
    slot.run = None


def _reason(log: Path, code: int, data: Data) -> str:
    """Take the folder of the data out of the log of a child that has ended, and return why it has.

    A run tells the person at its terminal which folder lacks a fold; what is kept of it names no folder of the data.
    """
    text = log.read_text(errors="replace")
    if data.root:
        text = text.replace(str(data.root.absolute()), "DIR").replace(str(data.root), "DIR")
        log.write_text(text)
    lines = [line for line in text.splitlines() if line.strip()]
    said = next((line.removeprefix("ecgclip: ") for line in reversed(lines) if line.startswith("ecgclip: ")), lines[-1] if lines else "")
    ended = f"ended by signal {-code}" if code < 0 else said
    return without_paths(ended if code else "it ended without an evaluation", data)


def without_paths(text: str, data: Data) -> str:
    """Take the user's folders out of what goes into a table that is passed on."""
    if data.root:
        text = text.replace(str(data.root.absolute()), "DIR")
    text = text.replace(str(Path.cwd()), ".")
    return re.sub(r"(?<![\w.:/~-])/(?:[^\s/'\":,]+/)+", ".../", text)


def _result(slot: Slot, split: str) -> str:
    figures = read_metrics(slot.run) if slot.run else {}
    auroc = figures.get(f"{split}/zero_shot/ptbxl71/auroc_macro")
    minutes = (figures.get("time/train_seconds") or 0) / 60
    return f"macro AUROC {auroc or float('nan'):.3f} after {minutes:.1f} min of training, {slot.run}"


def _say(slots: Sequence[Slot], number: int, what: str) -> None:
    print(f"[{number}/{len(slots)}] {slots[number - 1].name}: {what}", flush=True)
