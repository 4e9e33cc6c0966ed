"""Normal records, real and simulated, in the same shares of rhythms."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ecgclip.errors import UserError
from ecgclip.signals import LEADS, read_record
from ecgclip.signals.ptbxl import read_ptbxl
from ecgclip.simulation import simulate

RHYTHMS = frozenset({"SR", "SBRAD", "SARRH"})
RATE, SECONDS = 100.0, 10.0
CHUNK = 64


@dataclass(frozen=True)
class Normals:
    """Normal records.

    Attributes:
        signals: ``(N, 12, T)`` float32, mV, at ``RATE``.
        label_sets: What each record carries: NORM and its rhythm.
    """

    signals: NDArray[np.float32]
    label_sets: Sequence[frozenset[str]]


def real_normals(root: Path, records: int, seed: int) -> Normals:
    """Read normal records of PTB-XL, folds 1-8, one per patient, at random.

    Args:
        root: The folder with ``ptbxl_database.csv``.
        records: How many at most.
        seed: Of the choice.

    Returns:
        Records that carry NORM and, beside it, sinus rhythm, bradycardia or arrhythmia only, without a marked axis deviation.

    Raises:
        UserError: When the folder is not PTB-XL or has no such record.
    """
    items = {
        item.patient: item
        for item in read_ptbxl(root, RATE).items
        if item.split == "train" and "NORM" in item.labels and set(item.labels) <= RHYTHMS | {"NORM"}
    }
    if not items:
        raise UserError(f"{root} holds no normal record of folds 1-8: give the folder of all of PTB-XL")
    ordered = [items[patient] for patient in sorted(items)]
    chosen = np.random.default_rng(seed).permutation(len(ordered))[:records]
    signals, label_sets = [], []
    for number in tqdm(chosen, desc="PTB-XL, normal", unit="record"):
        item = ordered[number]
        record = read_record(item.path)
        if record.signal.shape[1] == RATE * SECONDS and record.sampling_rate == RATE:
            rows = [record.lead_names.index(lead) for lead in LEADS]
            signals.append(np.nan_to_num(record.signal[rows]))
            label_sets.append(frozenset(item.labels) if RHYTHMS & set(item.labels) else frozenset({*item.labels, "SR"}))
    if not signals:
        raise UserError(f"{root} holds no normal record at {RATE:g} Hz: give a folder with records100/")
    return Normals(np.stack(signals).astype(np.float32), label_sets)


def simulated_normals(label_sets: Sequence[frozenset[str]], seed: int, *, noise: bool = True) -> Normals:
    """Simulate one record per label set, with seeds from ``seed`` on."""
    parts = []
    for start in tqdm(range(0, len(label_sets), CHUNK), desc="simulated, normal", unit="chunk"):
        chunk = label_sets[start : start + CHUNK]
        seeds = range(seed + start, seed + start + len(chunk))
        parts.append(simulate(chunk, seeds, sampling_rate=RATE, seconds=SECONDS, noise=noise))
    return Normals(np.concatenate(parts), label_sets)
