"""Patient-level bootstrap intervals of AUROC, AUPRC and top-k, all labels at once.

The bootstrap is Bayesian (Rubin 1981): in each replicate a patient, with all of their records, gets a weight from
Exp(1) in place of the number of times that drawing with replacement would pick them. Means and variances are those of
the usual bootstrap up to 1/n, but no weight is zero: a label with one patient never vanishes from a replicate, so every
replicate of a macro figure averages the same labels, and none is dropped, redrawn or filled in. What no bootstrap can
do is tell from one patient how a label scatters between patients: the interval of a label whose positives, or whose
negatives, come from fewer than two patients is NaN.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ecgclip.evaluation.metrics import finite_scores, pivot_bins, split_bins
from ecgclip.evaluation.zero_shot import hits_by_ranking, ranking_of
from ecgclip.labels import NEGATIVE, POSITIVE

BLOCK = 2**21  # Elements of a (records, replicates) block of weights: larger ones leave the processor's cache.

Patients = Sequence[str] | Sequence[int] | np.ndarray  # (N,), the patient key of each record.
Weighing = Callable[[Tensor], Tensor]  # From (N, b) record weights, b replicates at a time.


class Intervals(NamedTuple):
    """Intervals of a zero-shot report.

    Attributes:
        report: ``<set>/<figure>_low`` and ``_high`` for ``auroc_macro``, ``auprc_macro``, ``top<k>_macro`` and ``top<k>_micro``.
        auroc: ``(L, 2)`` float64, low and high of each label's AUROC; NaN where it has none or fewer than two patients
            on a side.
        auprc: ``(L, 2)`` float64, of its AUPRC, in the same way.
    """

    report: dict[str, float]
    auroc: Tensor
    auprc: Tensor


class Replicates(NamedTuple):
    """Figures in each replicate.

    Attributes:
        figures: ``<set>/auroc_macro``, ``<set>/auprc_macro``, ``<set>/top<k>_macro`` and ``<set>/top<k>_micro``,
            ``(replicates,)`` float64 each.
        auroc: ``(replicates, L)`` float64, of each label; NaN where it has none.
        auprc: ``(replicates, L)`` float64, of each label, in the same way.
    """

    figures: dict[str, Tensor]
    auroc: Tensor
    auprc: Tensor


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
        The intervals of macro AUROC, macro AUPRC and top-k of each set, and of the AUROC and AUPRC of each label.

    Raises:
        UserError: If a score is NaN or infinite.
    """
    figures, *areas = replicate_figures(scores, labels, patients, sets, ks=ks, replicates=replicates, seed=seed)
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64, device=scores.device)
    report = {}
    for name, values in figures.items():
        report[f"{name}_low"], report[f"{name}_high"] = values.quantile(ends).tolist()
    lone = one_patient(labels, owners(patients, scores.device)[0]).unsqueeze(1)
    return Intervals(report, *(area.quantile(ends, dim=0).T.masked_fill(lone, torch.nan) for area in areas))


def replicate_figures(
    scores: Tensor,
    labels: Tensor,
    patients: Patients,
    sets: Mapping[str, Tensor],
    ks: Sequence[int] = (1, 5),
    replicates: int = 1000,
    seed: int = 0,
) -> Replicates:
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
        The figures of the sets and of the labels.

    Raises:
        UserError: If a score is NaN or infinite.
    """
    scores = finite_scores(scores)
    owner, count = owners(patients, scores.device)
    areas_of = [_weighted_areas(score, state) for score, state in zip(scores.T.contiguous(), labels.T.contiguous(), strict=True)]
    topk_of = _weighted_topk(scores, labels, sets, ks)
    areas: list[Tensor] = []
    sums: list[dict[str, Tensor]] = []
    for weights in patient_weights(owner, count, replicates, seed):
        missing = weights.new_full((2, weights.shape[1]), torch.nan)
        areas.append(torch.stack([missing if area_of is None else area_of(weights) for area_of in areas_of], dim=2))
        sums.append(topk_of(weights))
    auroc, auprc = torch.cat(areas, dim=1)
    total = {name: torch.cat([part[name] for part in sums]) for name in sums[0]}
    return Replicates(_figures(auroc, auprc, total, sets, ks), auroc, auprc)


def owners(patients: Patients, device: torch.device) -> tuple[Tensor, int]:
    """Number the patients.

    Args:
        patients: ``(N,)`` patient key of each record.
        device: Of the result.

    Returns:
        The patient's number of each record, ``(N,)`` int64, and how many patients there are.
    """
    unique, numbers = np.unique(np.asarray(patients), return_inverse=True)
    return torch.from_numpy(numbers).to(device), len(unique)


def patient_weights(owner: Tensor, patients: int, replicates: int, seed: int) -> Iterator[Tensor]:
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


def _weighted_sums(entries: Tensor, targets: Tensor, records: int, count: int) -> Weighing:
    """Prepare sums of record weights over groups of records.

    Args:
        entries: ``(E,)`` int64, rising: the record that each entry adds the weight of.
        targets: ``(E,)`` int, the group that it is added to.
        records: ``N``.
        count: How many groups.

    Returns:
        What makes ``(count, b)`` sums from ``(N, b)`` weights.
    """
    if targets.device.type != "cpu":
        index = targets.long()
        return lambda weights: weights.new_zeros(count, weights.shape[1]).index_add_(0, index, weights[entries])
    # A product with a column of groups per record reads the weights once, in order, and adds to few sums that stay in
    # the cache: two to five times as fast as index_add_ is on the CPU.
    from scipy.sparse import csc_array

    starts = torch.bincount(entries + 1, minlength=records + 1).cumsum(0).int()
    matrix = csc_array((np.ones(len(entries)), targets.int().numpy(), starts.numpy()), shape=(count, records))
    return lambda weights: torch.from_numpy(matrix @ weights.numpy())


def _weighted_areas(scores: Tensor, labels: Tensor) -> Weighing | None:
    """Prepare the areas of one label, from ``(N,)`` scores and states.

    Returns:
        What makes AUROC (weighted Mann-Whitney U, ties at half) and AUPRC (weighted steps) from ``(N, b)`` record weights, ``(2,
        b)``; None where the label has neither.
    """
    bins = pivot_bins(scores, labels)
    if bins is None:
        return None
    sums_of = _weighted_sums(torch.arange(len(scores), device=scores.device), bins.of, len(scores), 3 * bins.pivots + 2)

    def areas(weights: Tensor) -> Tensor:
        positives, ties, between = split_bins(sums_of(weights), bins.pivots)
        fp = (between[:-1] + ties).cumsum(0)
        tp = positives.cumsum(0)
        negatives = fp[-1] + between[-1]
        wins = negatives - fp + ties / 2
        auroc = (positives * wins).sum(0) / (tp[-1] * negatives)
        return torch.stack((auroc, (positives * tp / fp.add_(tp)).sum(0) / tp[-1]))

    return areas


def _weighted_topk(scores: Tensor, labels: Tensor, sets: Mapping[str, Tensor], ks: Sequence[int]) -> Callable[[Tensor], dict[str, Tensor]]:
    """Prepare the sums that give every top-k figure.

    Returns:
        What makes from ``(N, b)`` record weights: ``positive`` and ``<ranking> <k>``, ``(b, L)``, of each label's positives and
        hits; ``micro <set>``, ``(b, 1 + len(ks))``, of the records with a label of the set and of those with a hit.
    """
    hits = hits_by_ranking(scores, labels, sets, ks)
    positive = labels == POSITIVE
    # Hits are among the positives, some two of a hundred labels, so sums over these entries leave nothing out.
    rows, columns = positive.nonzero(as_tuple=True)
    kinds = {"positive": torch.ones_like(rows, dtype=torch.bool)}
    kinds |= {f"{ranking} {k}": hit[rows, columns] for (ranking, k), hit in hits.items()}
    which, entry = torch.stack(list(kinds.values()), dim=1).nonzero(as_tuple=True)[::-1]
    sums_of = _weighted_sums(rows[entry], which * labels.shape[1] + columns[entry], len(labels), len(kinds) * labels.shape[1])
    micro: dict[str, Tensor] = {}
    for name, members in sets.items():
        inside = members.to(rows.device)[columns]
        found = [inside, *(inside & kinds[f"{ranking_of(name)} {k}"] for k in ks)]
        micro[name] = torch.zeros(len(labels), len(found), dtype=torch.float64, device=rows.device)
        for column, chosen in enumerate(found):
            micro[name][rows[chosen], column] = 1
    flags = torch.cat([torch.zeros(len(labels), 0, dtype=torch.float64, device=rows.device), *micro.values()], dim=1)

    def sums(weights: Tensor) -> dict[str, Tensor]:
        by_label = sums_of(weights).T.unflatten(1, (len(kinds), -1))
        by_set = (weights.T @ flags).split(1 + len(ks), dim=1)
        macro = {name: by_label[:, i] for i, name in enumerate(kinds)}
        return macro | {f"micro {name}": part for name, part in zip(micro, by_set, strict=False)}

    return sums


def _figures(auroc: Tensor, auprc: Tensor, total: Mapping[str, Tensor], sets: Mapping[str, Tensor], ks: Sequence[int]) -> dict[str, Tensor]:
    """Figures of each set per replicate, ``(replicates,)``, from areas and the sums of :func:`_weighted_topk`."""
    figures: dict[str, Tensor] = {}
    for name, members in sets.items():
        figures[f"{name}/auroc_macro"] = auroc[:, members].nanmean(1)
        figures[f"{name}/auprc_macro"] = auprc[:, members].nanmean(1)
        micro = total[f"micro {name}"]
        for i, k in enumerate(ks):
            recall = total[f"{ranking_of(name)} {k}"] / total["positive"]
            figures[f"{name}/top{k}_macro"] = recall[:, members].nanmean(1)
            figures[f"{name}/top{k}_micro"] = micro[:, i + 1] / micro[:, 0]
    return figures


def one_patient(labels: Tensor, owner: Tensor) -> Tensor:
    """Tell for which labels no bootstrap can say how they scatter between patients.

    Args:
        labels: ``(N, L)`` int8 states.
        owner: ``(N,)`` int64, the patient's number of each record.

    Returns:
        ``(L,)`` bool, those with fewer than two patients among their positives, or among their negatives.
    """

    def fewer_than_two(side: Tensor) -> Tensor:
        first = torch.where(side, owner.unsqueeze(1), len(owner)).amin(0)
        last = torch.where(side, owner.unsqueeze(1), -1).amax(0)
        return first >= last

    return fewer_than_two(labels == POSITIVE) | fewer_than_two(labels == NEGATIVE)
