"""Patient-level bootstrap intervals of AUROC and top-k, all labels at once.

The bootstrap is Bayesian (Rubin 1981): in each replicate a patient, with all of their records, gets a weight from
Exp(1) in place of the number of times that drawing with replacement would pick them. Means and variances are those of
the usual bootstrap up to 1/n, but no weight is zero: a label with one patient never vanishes from a replicate, so every
replicate of a macro figure averages the same labels, and none is dropped, redrawn or filled in. What no bootstrap can
do is tell from one patient how a label scatters between patients: the interval of a label whose positives, or whose
negatives, come from fewer than two patients is NaN.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ecgclip.evaluation.metrics import finite_scores
from ecgclip.evaluation.zero_shot import hits_by_ranking, ranking_of
from ecgclip.labels import NEGATIVE, POSITIVE

BLOCK = 2**22  # Elements of a (records, replicates) block of weights.

Patients = Sequence[str] | Sequence[int] | np.ndarray  # (N,), the patient key of each record.


class Intervals(NamedTuple):
    """Intervals of a zero-shot report.

    Attributes:
        report: ``<set>/<figure>_low`` and ``_high`` for ``auroc_macro``, ``top<k>_macro`` and ``top<k>_micro``.
        auroc: ``(L, 2)`` float64, low and high of each label's AUROC; NaN where it has none or fewer than two patients
            on a side.
    """

    report: dict[str, float]
    auroc: Tensor


class _Bins(NamedTuple):
    """A label's records sorted by the scores of its rarer side (the pivots): all that its weighted AUROC depends on.

    Attributes:
        of: ``(N,)`` int64. Of the other side, bin ``2 i`` lies between the pivot scores ``i - 1`` and ``i`` and bin ``2
            i + 1`` ties with ``i``, for the ``K`` distinct pivot scores; then ``K`` bins for the pivots; the last takes
            unknown records.
        pivots: ``K``.
        positive: Whether the pivots are the positives.
    """

    of: Tensor
    pivots: int
    positive: bool


def zero_shot_intervals(
    scores: Tensor,
    labels: Tensor,
    patients: Patients,
    sets: Mapping[str, Tensor],
    ks: Sequence[int] = (1, 5),
    replicates: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Intervals:
    """Bootstrap the figures of :func:`ecgclip.evaluation.zero_shot.zero_shot_report` over patients.

    Args:
        scores: ``(N, L)`` float.
        labels: ``(N, L)`` int8 states.
        patients: ``(N,)`` patient key of each record.
        sets: Name to ``(L,)`` bool, of :func:`ecgclip.evaluation.zero_shot.label_sets`.
        ks: Places that count.
        replicates: Number of replicates.
        level: Mass between the ends, which are percentiles.
        seed: Fixes the weights.

    Returns:
        The intervals of macro AUROC and of top-k of each set, and of the AUROC of each label.

    Raises:
        UserError: If a score is NaN or infinite.
    """
    figures, area = replicate_figures(scores, labels, patients, sets, ks=ks, replicates=replicates, seed=seed)
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64, device=area.device)
    report = {}
    for name, values in figures.items():
        report[f"{name}_low"], report[f"{name}_high"] = values.quantile(ends).tolist()
    owner, _ = _owners(patients, scores.device)
    return Intervals(report, area.quantile(ends, dim=0).T.masked_fill(_one_patient(labels, owner).unsqueeze(1), torch.nan))


def replicate_figures(
    scores: Tensor,
    labels: Tensor,
    patients: Patients,
    sets: Mapping[str, Tensor],
    ks: Sequence[int] = (1, 5),
    replicates: int = 1000,
    seed: int = 0,
) -> tuple[dict[str, Tensor], Tensor]:
    """Compute the figures of a zero-shot report in each replicate of the bootstrap.

    The weights depend on the seed and the patients alone: figures of two scorers with the same seed are paired.

    Args:
        scores: ``(N, L)`` float.
        labels: ``(N, L)`` int8 states.
        patients: ``(N,)`` patient key of each record.
        sets: Name to ``(L,)`` bool.
        ks: Places that count.
        replicates: Number of replicates.
        seed: Fixes the weights.

    Returns:
        ``<set>/auroc_macro``, ``<set>/top<k>_macro`` and ``<set>/top<k>_micro``, ``(replicates,)`` float64 each; and the AUROC of each
        label, ``(replicates, L)`` float64.

    Raises:
        UserError: If a score is NaN or infinite.
    """
    scores = finite_scores(scores)
    owner, count = _owners(patients, scores.device)
    bins = [_bins(scores[:, label], labels[:, label]) for label in range(scores.shape[1])]
    counted = _counted(scores, labels, sets, ks)
    areas: list[Tensor] = []
    sums: dict[str, list[Tensor]] = {name: [] for name in counted}
    for weights in _patient_weights(owner, count, replicates, seed):
        missing = weights.new_full((weights.shape[1],), torch.nan)
        areas.append(torch.stack([missing if b is None else _weighted_auroc(b, weights) for b in bins], dim=1))
        for name, flags in counted.items():
            sums[name].append(weights.T @ flags.double())
    area, total = torch.cat(areas), {name: torch.cat(parts) for name, parts in sums.items()}
    return _figures(area, total, sets, ks), area


def _owners(patients: Patients, device: torch.device) -> tuple[Tensor, int]:
    """Number the patients: ``(N,)`` int64, the patient's number of each record, and how many there are."""
    unique, numbers = np.unique(np.asarray(patients), return_inverse=True)
    return torch.from_numpy(numbers).to(device), len(unique)


def _patient_weights(owner: Tensor, patients: int, replicates: int, seed: int) -> Iterator[Tensor]:
    """Draw weights of patients, one replicate at a time on the CPU: neither device nor block changes them.

    Args:
        owner: ``(N,)`` int64, the patient's number of each record.
        patients: How many patients.
        replicates: How many replicates in all.
        seed: Of the draw.

    Yields:
        ``(N, b)`` float64, a block of replicates; equal for the records of one patient.
    """
    draw = torch.Generator().manual_seed(seed)
    width = max(1, BLOCK // max(1, len(owner)))
    for start in range(0, replicates, width):
        block = [
            torch.empty(patients, dtype=torch.float64).exponential_(generator=draw) for _ in range(start, min(start + width, replicates))
        ]
        yield torch.stack(block, dim=1).to(owner.device)[owner]


def _bins(scores: Tensor, labels: Tensor) -> _Bins | None:
    """Sort the records of one label, ``(N,)`` scores and states, into bins; None where its AUROC does not exist."""
    positive, negative = labels == POSITIVE, labels == NEGATIVE
    by_positives = bool(positive.sum() <= negative.sum())
    few, many = (positive, negative) if by_positives else (negative, positive)
    if not bool(few.any()):
        return None
    pivots, of_pivot = scores[few].unique(return_inverse=True)
    others = scores[many].contiguous()
    bins = torch.full(labels.shape, 3 * len(pivots) + 1, dtype=torch.int64, device=labels.device)
    bins[many] = torch.searchsorted(pivots, others) + torch.searchsorted(pivots, others, right=True)
    bins[few] = 2 * len(pivots) + 1 + of_pivot
    return _Bins(bins, len(pivots), by_positives)


def _weighted_auroc(bins: _Bins, weights: Tensor) -> Tensor:
    """AUROC of one label under ``(N, b)`` record weights: weighted Mann-Whitney U, ties at half, ``(b,)``."""
    total = weights.new_zeros(3 * bins.pivots + 2, weights.shape[1]).index_add_(0, bins.of, weights)
    others, few = total[: 2 * bins.pivots + 1], total[2 * bins.pivots + 1 : -1]
    below = others.cumsum(0)[:-1:2] + others[1::2] / 2
    area = (few * below).sum(0) / (few.sum(0) * others.sum(0))
    return area if bins.positive else 1 - area


def _counted(scores: Tensor, labels: Tensor, sets: Mapping[str, Tensor], ks: Sequence[int]) -> dict[str, Tensor]:
    """Flags whose weighted sums give every top-k figure.

    Returns:
        ``positive`` and ``<ranking> <k>``: ``(N, L)`` bool, positives and hits. ``micro <set>``: ``(N, 1 + len(ks))``
        bool, records with a label of the set and those of them with a hit.
    """
    hits = hits_by_ranking(scores, labels, sets, ks)
    positive = labels == POSITIVE
    counted = {"positive": positive} | {f"{ranking} {k}": hit for (ranking, k), hit in hits.items()}
    for name, members in sets.items():
        flags = [positive, *(hits[ranking_of(name), k] for k in ks)]
        counted[f"micro {name}"] = torch.stack([(flag & members).any(1) for flag in flags], dim=1)
    return counted


def _figures(area: Tensor, total: Mapping[str, Tensor], sets: Mapping[str, Tensor], ks: Sequence[int]) -> dict[str, Tensor]:
    """Figures of each set per replicate, ``(replicates,)``, from areas and the sums of :func:`_counted`."""
    figures: dict[str, Tensor] = {}
    for name, members in sets.items():
        figures[f"{name}/auroc_macro"] = area[:, members].nanmean(1)
        micro = total[f"micro {name}"]
        for i, k in enumerate(ks):
            recall = total[f"{ranking_of(name)} {k}"] / total["positive"]
            figures[f"{name}/top{k}_macro"] = recall[:, members].nanmean(1)
            figures[f"{name}/top{k}_micro"] = micro[:, i + 1] / micro[:, 0]
    return figures


def _one_patient(labels: Tensor, owner: Tensor) -> Tensor:
    """Tell which labels have fewer than two patients among their positives, or among their negatives, ``(L,)`` bool."""

    def fewer_than_two(side: Tensor) -> Tensor:
        first = torch.where(side, owner.unsqueeze(1), len(owner)).amin(0)
        last = torch.where(side, owner.unsqueeze(1), -1).amax(0)
        return first >= last

    return fewer_than_two(labels == POSITIVE) | fewer_than_two(labels == NEGATIVE)
