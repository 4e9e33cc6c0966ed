"""The same figures for women and men, young and old, one device and another."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ecgclip.evaluation.intervals import Patients, zero_shot_intervals
from ecgclip.evaluation.zero_shot import zero_shot_report
from ecgclip.labels import NEGATIVE, POSITIVE

AGES = (40.0, 60.0, 80.0)
AGE_BANDS = ("<40", "40-59", "60-79", "80+")
SMALLEST = 50  # Records of a group that is reported.
MOST = 4  # Groups of a kind, the largest: the more groups, the fewer labels they have in common.


def age_bands(ages: np.ndarray) -> np.ndarray:
    """Return the band of each age in years, empty where it is NaN."""
    bands = np.array(AGE_BANDS)[np.searchsorted(AGES, np.nan_to_num(ages), side="right")]
    return np.where(np.isnan(ages), "", bands)


def subgroup_rows(
    scores: Tensor,
    labels: Tensor,
    patients: Patients,
    groups: Mapping[str, np.ndarray],
    members: Tensor,
    replicates: int = 200,
    minimum: int = 10,
) -> list[dict[str, Any]]:
    """Report the macro AUROC of groups of records, all groups of a kind over the same labels.

    Args:
        scores: ``(N, L)`` float.
        labels: ``(N, L)`` int8 states.
        patients: ``(N,)`` patient key of each record.
        groups: Kind (``sex``) to the group of each record, ``(N,)`` of text; empty where it is not known.
        members: ``(L,)`` bool, labels to choose from.
        replicates: Of the bootstrap.
        minimum: Positives and negatives that a label needs in every group of a kind.

    Returns:
        ``by``, ``group``, ``records``, ``patients``, ``labels``, ``auroc_macro``, ``auroc_macro_low`` and ``auroc_macro_high``. A group
        has 50 records or more; of a kind the four largest are there, and none where only one is. Without a label in common the figures
        are NaN.

    Raises:
        UserError: If a score is NaN or infinite.
    """
    keys = np.asarray(patients)
    rows = []
    for kind, of_record in groups.items():
        names, counts = np.unique(of_record[of_record != ""], return_counts=True)
        order = sorted(range(len(names)), key=lambda i: (-counts[i], names[i]))
        chosen = sorted(str(names[i]) for i in order[:MOST] if counts[i] >= SMALLEST)
        if len(chosen) < 2:
            continue
        parts = {name: torch.from_numpy(np.flatnonzero(of_record == name)).to(labels.device) for name in chosen}
        common = members.clone()
        for part in parts.values():
            for side in (POSITIVE, NEGATIVE):
                common &= (labels[part] == side).sum(0) >= minimum
        for name in _ordered(kind, chosen):
            part = parts[name]
            row = {"by": kind, "group": name, "records": len(part), "patients": len(np.unique(keys[part.cpu()]))}
            rows.append(row | _figures(scores[part], labels[part], keys[part.cpu()], common, replicates))
    return rows


def _ordered(kind: str, names: Sequence[str]) -> list[str]:
    """Ages from young to old, everything else by name."""
    return [band for band in AGE_BANDS if band in names] if kind == "age" else list(names)


def _figures(scores: Tensor, labels: Tensor, patients: np.ndarray, common: Tensor, replicates: int) -> dict[str, float]:
    names = ("auroc_macro", "auroc_macro_low", "auroc_macro_high")
    if not bool(common.any()):
        return {"labels": 0} | dict.fromkeys(names, float("nan"))
    sets = {"group": torch.ones(int(common.sum()), dtype=torch.bool, device=labels.device)}
    scores, labels = scores[:, common], labels[:, common]
    report = zero_shot_report(scores, labels, sets, ks=())
    report |= zero_shot_intervals(scores, labels, patients, sets, ks=(), replicates=replicates).report
    return {"labels": int(common.sum())} | {name: report[f"group/{name}"] for name in names}
