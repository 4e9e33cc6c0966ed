"""The run folder: everything of one training in one place."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from ecgclip.errors import UserError

METRICS = "metrics.json"
CONFIG = "config.yaml"


def open_run(runs: Path, experiment: str, checkpoint: Path | None = None, *, make: bool = True) -> Path:
    """Return the folder of this run, made where it is new.

    Args:
        runs: Where the runs are.
        experiment: Name of the experiment.
        checkpoint: What the run goes on from, or evaluates: then the folder is the one that it lies in.
        make: Only the first process makes it and writes to it; the others learn its checkpoints' place from it.

    Raises:
        UserError: When it cannot be written to.

    """
    known = run_of(checkpoint) if checkpoint else None
    folder = known or runs / experiment / time.strftime("%Y-%m-%d_%H-%M-%S")
    if known or not make:
        return folder
    try:
        folder = _make(folder)
        (folder / "environment.json").write_text(json.dumps(environment(), indent=2, ensure_ascii=False) + "\n")
    except OSError as error:
        raise UserError(f"cannot write to {folder} ({error.strerror}): free or unlock it, or give another folder with --runs") from error
    return folder


def run_of(checkpoint: Path) -> Path | None:
    """Return the run folder that a checkpoint lies in, or None where it lies elsewhere."""
    folder = checkpoint.absolute().parent.parent
    return folder if (folder / CONFIG).is_file() else None


def _make(folder: Path) -> Path:
    """Make a folder that nobody has, since two runs may start in the same second."""
    candidate, number = folder, 1
    while True:
        try:
            candidate.mkdir(parents=True)
            return candidate
        except FileExistsError:
            if not candidate.exists():  # What exists is a file where a folder above is wanted.
                raise
            number += 1
            candidate = folder.with_name(f"{folder.name}-{number}")


def environment() -> dict[str, Any]:
    """Return what a run depends on besides its configuration: versions, the machine's kind, the state of the source."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "gpus": _gpus(),
        "git": git_state(Path(__file__).parent),
        "packages": dict(sorted((d.metadata["Name"], d.version) for d in distributions())),
    }


def _gpus() -> list[str]:
    torch = sys.modules.get("torch")
    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch else []


def git_state(folder: Path) -> dict[str, Any] | None:
    """Return commit and whether anything differs from it, or None outside a repository."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        return {
            "commit": git("rev-parse", "HEAD"),
            "changed": bool(git("status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.SubprocessError):
        return None


def read_metrics(folder: Path) -> dict[str, float | None]:
    """Return the flat figures of a run so far."""
    path = folder / METRICS
    return json.loads(path.read_text()) if path.is_file() else {}


def add_metrics(folder: Path, figures: Mapping[str, float]) -> None:
    """Merge figures into the run's ``metrics.json``; NaN becomes null. Whoever is killed in the middle leaves the old file."""
    merged = read_metrics(folder) | {name: None if value != value else value for name, value in figures.items()}
    partial = folder / f"{METRICS}.part"
    partial.write_text(json.dumps(dict(sorted(merged.items())), indent=2) + "\n")
    partial.replace(folder / METRICS)


ROWS = (  # The closing table: where a row's figures stand in metrics.json, and what they are called.
    ("zero_shot", "all", "this model, text-prompted"),
    ("zero_shot", "seen", "  labels seen in training"),
    ("zero_shot", "unseen", "  labels never seen (zero-shot)"),
    ("zero_shot", "n10", "  labels with 10 or more"),
    ("zero_shot", "ptbxl71", "  the 71 of PTB-XL"),
    ("random_tower", "all", "random tower (baseline)"),
    ("prevalence", "all", "label prevalence (baseline)"),
)
COLUMNS = ("top1_micro", "top5_micro", "top1_macro", "top5_macro", "auroc_macro", "auprc_macro")
HEADINGS = ("top-1", "top-5", "top-1 macro", "top-5 macro", "AUROC", "AUPRC")


def closing_table(metrics: Mapping[str, float | None], split: str) -> str:
    """Lay out the figures of one split for the terminal.

    Args:
        metrics: Flat, of ``metrics.json``.
        split: ``test`` or ``val``.

    """
    lines = [f"  {'':32}{'labels':>7}" + "".join(f"{heading:>13}" for heading in HEADINGS)]
    for kind, labels, title in ROWS:
        prefix = f"{split}/{kind}/{labels}"
        if f"{prefix}/{COLUMNS[0]}" in metrics:
            count = metrics.get(f"{split}/zero_shot/{labels}/labels")
            cells = [_cell(metrics.get(f"{prefix}/{column}")) for column in COLUMNS]
            lines.append(f"  {title:32}{count or 0:7.0f}" + "".join(f"{cell:>13}" for cell in cells))
    lines += _few_shot_lines(metrics, split)
    return "\n".join(lines)


def _few_shot_lines(metrics: Mapping[str, float | None], split: str) -> list[str]:
    prefix = f"{split}/few_shot/"
    found = sorted(
        (int(name.split("/")[3][1:]), name.split("/")[2]) for name in metrics if name.startswith(prefix) and name.endswith("/top1_macro")
    )
    lines = [f"  few-shot, {metrics.get(prefix + 'labels') or 0:.0f} labels, mean over draws"] if found else []
    for k, method in found:
        cells = {column: _cell(metrics.get(f"{prefix}{method}/k{k}/{column}")) for column in ("top1_macro", "top5_macro", "auroc_macro")}
        title = f"k = {k:2}  {method.replace('_', ' ')}"
        lines.append(f"    {title:30}{'':7}" + "".join(f"{cells.get(column, ''):>13}" for column in COLUMNS))
    return lines


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
