"""Paired comparison of two scorers on the same records: the patient-level bootstrap of the difference.

Two scorers err on the same difficult records, so the difference varies far less than either figure. In each replicate both are
weighed with the same weights of patients (:mod:`ecgclip.evaluation.intervals`), and the difference is taken within the replicate. With
several pairs, one per seed of the training, the pooled difference is the mean over the pairs within each replicate; its interval is
about which patients were evaluated, not about which seeds were drawn: read it beside the differences of the pairs.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ecgclip.errors import UserError
from ecgclip.evaluation.intervals import Patients, one_patient, owners, replicate_figures
from ecgclip.evaluation.metrics import auroc
from ecgclip.evaluation.zero_shot import zero_shot_report


class Difference(NamedTuple):
    """The first scorer less the second in one figure.

    Attributes:
        value: On the records as they are.
        low: Lower end of the interval.
        high: Upper end.
        p: Two-sided, of the bootstrap: twice the share of replicates that are 0 or on the rarer side of it, at most 1, and at
            least one replicate's share, because no more can be told.
    """

    value: float
    low: float
    high: float
    p: float = math.nan


class Paired(NamedTuple):
    """Differences by figure, such as ``ptbxl71/auroc_macro``.

    Attributes:
        each: One per pair of scorers.
        pooled: Of the mean over the pairs.
    """

    each: dict[str, list[Difference]]
    pooled: dict[str, Difference]


def paired_differences(
    pairs: Sequence[tuple[Tensor, Tensor]],
    labels: Tensor,
    patients: Patients,
    sets: Mapping[str, Tensor],
    ks: Sequence[int] = (1, 5),
    replicates: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Paired:
    """Bootstrap the difference of two scorers over patients.

    Args:
        pairs: One or more of ``(N, L)`` float scores of the first and of the second scorer, all of the same records.
        labels: ``(N, L)`` int8 states.
        patients: ``(N,)`` patient key of each record.
        sets: Name to ``(L,)`` bool, of :func:`ecgclip.evaluation.zero_shot.label_sets`.
        ks: Places that count.
        replicates: Number of replicates.
        level: Mass between the ends, which are percentiles.
        seed: Fixes the weights.

    Returns:
        The differences in macro AUROC, macro AUPRC and top-k of each set.

    Raises:
        UserError: If a score is NaN or infinite, there is no pair, or scores are not those of the labelled records.
    """
    if not pairs:
        raise UserError("there is nothing to compare: give the scores of at least one pair of runs")
    _check_same_records([scores for pair in pairs for scores in pair], labels)
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64, device=labels.device)
    values: list[dict[str, float]] = []
    replicated: list[dict[str, Tensor]] = []
    for pair in pairs:
        first, second = (zero_shot_report(scores, labels, sets, ks) for scores in pair)
        one, two = (replicate_figures(scores, labels, patients, sets, ks=ks, replicates=replicates, seed=seed).figures for scores in pair)
        values.append({name: first[name] - second[name] for name in one})
        replicated.append({name: one[name] - two[name] for name in one})

    def difference(name: str, chosen: slice) -> Difference:
        value = torch.tensor([v[name] for v in values[chosen]], dtype=torch.float64).mean()
        draws = torch.stack([r[name] for r in replicated[chosen]]).mean(0)
        low, high = draws.quantile(ends).tolist()
        return Difference(float(value), low, high, _two_sided(draws))

    each = {name: [difference(name, slice(i, i + 1)) for i in range(len(pairs))] for name in values[0]}
    return Paired(each, {name: difference(name, slice(None)) for name in values[0]})


def paired_label_differences(
    first: Tensor,
    second: Tensor,
    labels: Tensor,
    patients: Patients,
    replicates: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Tensor:
    """Bootstrap the difference of two scorers in the AUROC of each label over patients.

    With a hundred labels some five intervals leave out 0 by chance alone: they tell where to look, not what is proven.

    Args:
        first: ``(N, L)`` float scores.
        second: ``(N, L)`` float scores of the same records.
        labels: ``(N, L)`` int8 states.
        patients: ``(N,)`` patient key of each record.
        replicates: Number of replicates.
        seed: Fixes the weights.
        level: Mass between the ends, which are percentiles.

    Returns:
        ``(L, 3)`` float64: the first scorer's AUROC less the second's, low and high. NaN where a label has no AUROC, and for the
        ends where it has fewer than two patients on a side.

    Raises:
        UserError: If a score is NaN or infinite, or scores are not those of the labelled records.
    """
    _check_same_records([first, second], labels)
    one, two = (replicate_figures(s, labels, patients, {}, ks=(), replicates=replicates, seed=seed).auroc for s in (first, second))
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64, device=one.device)
    lone = one_patient(labels, owners(patients, labels.device)[0])
    interval = (one - two).quantile(ends, dim=0).masked_fill(lone, torch.nan)
    return torch.stack((auroc(first, labels) - auroc(second, labels), *interval), dim=1)


def _check_same_records(scorers: Sequence[Tensor], labels: Tensor) -> None:
    for scores in scorers:
        if scores.shape != labels.shape:
            raise UserError(
                f"scores of {tuple(scores.shape)} do not belong to labels of {tuple(labels.shape)}: compare runs on the same data"
            )


def _two_sided(draws: Tensor) -> float:
    """Two-sided p-value of a difference of 0 from its ``(replicates,)`` draws (Efron, Tibshirani 1993, section 15.4)."""
    if bool(draws.isnan().any()):
        return math.nan
    rarer = min(float((draws <= 0).double().mean()), float((draws >= 0).double().mean()))
    return min(1.0, max(2 * rarer, 1 / len(draws)))
