"""The scores of an evaluation, kept in the run folder so that two runs can be compared record by record.

Records go by their hashed id, patients by a number that only says which records belong together.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ecgclip.errors import UserError


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
