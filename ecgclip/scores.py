"""The scores of an evaluation and what is said about them, kept in the run folder: runs are compared record by record, pages drawn later.

Records go by their hashed id, patients by a number that only says which records belong together.
"""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ecgclip.errors import UserError

FORMAT = 1  # Of ``evaluation_<split>.json``.


@dataclass(frozen=True)
class SavedScores:
    """Scores of one split.

    Attributes:
        scores: ``(N, L)`` float32.
        labels: ``(N, L)`` int8 states: 1 positive, 0 negative, -1 unknown.
        records: ``(N,)`` hashed record ids.
        patients: ``(N,)`` int32, equal for the records of one patient.
        ids: ``(L,)`` label ids, of the columns.
    """

    scores: np.ndarray
    labels: np.ndarray
    records: np.ndarray
    patients: np.ndarray
    ids: np.ndarray


def save_scores(run: Path, split: str, saved: SavedScores) -> Path:
    """Write ``scores_<split>.npz`` into a run folder; whoever is killed in the middle leaves the old file."""
    path = scores_file(run, split)
    partial = path.with_name(f"{path.name}.part")
    with partial.open("wb") as file:
        np.savez_compressed(file, **vars(saved))
    partial.replace(path)
    return path


def load_scores(run: Path, split: str) -> SavedScores:
    """Read the scores of a run.

    Raises:
        UserError: When they are not there or damaged.
    """
    path = scores_file(run, split)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return SavedScores(**{name: arrays[name] for name in SavedScores.__dataclass_fields__})
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        command = "validate" if split == "val" else "test"
        raise UserError(
            f"{path} is missing or damaged: make it again with `ecgclip {command} --ckpt_path {run}/checkpoints/best.ckpt`"
        ) from error


def scores_file(run: Path, split: str) -> Path:
    """Return where the scores of a split lie."""
    return run / f"scores_{split}.npz"


def save_evaluation(run: Path, split: str, detail: Mapping[str, Any]) -> Path:
    """Write ``evaluation_<split>.json``, what a page shows beside the flat figures; plain values, None for what does not exist."""
    return write_json(evaluation_file(run, split), {"format": FORMAT, **detail})


def read_evaluation(run: Path, split: str) -> dict[str, Any]:
    """Read what :func:`save_evaluation` wrote.

    Raises:
        UserError: When it is not there or damaged.
    """
    path = evaluation_file(run, split)
    try:
        detail: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is missing or damaged: make it again with `ecgclip evaluate {run} --tasks zero_shot`") from error
    return detail


def evaluation_file(run: Path, split: str) -> Path:
    """Return where the evaluation of a split lies."""
    return run / f"evaluation_{split}.json"


def tasks_file(run: Path, split: str) -> Path:
    """Return where the named tasks of a split lie."""
    return run / f"tasks_{split}.json"


def write_json(path: Path, content: Mapping[str, Any]) -> Path:
    """Write a file of plain values; whoever is killed in the middle leaves the old file."""
    partial = path.with_name(f"{path.name}.part")
    partial.write_text(json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n", encoding="utf-8")
    partial.replace(path)
    return path
