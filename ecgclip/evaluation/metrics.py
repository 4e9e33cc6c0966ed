"""Per-label metrics of scores against label states, exact with ties, on CPU and CUDA.

Scores are ``(N, L)``, a row per record and a column per label. Label states are ``(N, L)`` int8: 1 positive, 0
negative, -1 unknown. Work goes in blocks, so that 100,000 records by 98 labels need a few tens of megabytes beside the
input.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ecgclip.errors import UserError
from ecgclip.labels import NEGATIVE, POSITIVE, UNKNOWN

BLOCK = 2**21  # Elements of a (records, labels) block worked on at a time.


class Curve(NamedTuple):
    """What a threshold at each score would catch, for a block of labels; scores fall along the last axis.

    Attributes:
        columns: Which labels these are.
        score: ``(C, N)`` float, each label's scores in falling order.
        tp: ``(C, N)`` int32, positives with a score of at least this one. A group of ties enters whole, at its last
            member; before that the counts are those of the group above it.
        fp: ``(C, N)`` int32, negatives, in the same way.
    """

    columns: slice
    score: Tensor
    tp: Tensor
    fp: Tensor


class PivotBins(NamedTuple):
    """A label's records sorted by its distinct positive scores, the ``K`` pivots, from the highest down.

    Only where a positive stands does either area gain anything, so that the sums over these bins, of counts or of
    weights, are all that it depends on.

    Attributes:
        of: ``(N,)`` int32. A negative above pivot ``i`` and below the one before is in bin ``2 i``, one that ties with pivot ``i``
            in bin ``2 i + 1``, and one below all of them in bin ``2 K``; then come ``K`` bins of the positives; the last takes
            unknown records.
        pivots: ``K``.
    """

    of: Tensor
    pivots: int


class TopK(NamedTuple):
    """Top-k accuracy in its two forms.

    Attributes:
        micro: Share of the records with a positive label that have one in their top k; NaN without such a record.
        recall: ``(L,)`` float64, share of a label's records that have it in their top k; NaN without a positive.
        macro: Mean of ``recall`` over the labels with a positive; NaN without one.
    """

    micro: float
    recall: Tensor
    macro: float


def finite_scores(scores: Tensor) -> Tensor:
    """Return scores in float32 at least, refusing what cannot be ranked.

    Args:
        scores: ``(N, L)`` of any floating type.

    Returns:
        ``(N, L)`` float32, or float64 where they came so.

    Raises:
        UserError: If a score is NaN or infinite.
    """
    bad = ~torch.isfinite(scores)
    if bool(bad.any()):
        rows = bad.any(1).nonzero().flatten()
        raise UserError(
            f"scores are NaN or infinite for {len(rows)} of {len(scores)} records (first: record {int(rows[0])}): "
            "look for a diverged training (train/loss) or a broken signal in that record"
        )
    return scores if scores.dtype == torch.float64 else scores.float()


def curves(scores: Tensor, labels: Tensor) -> Iterator[Curve]:
    """Sort each label's scores and count positives and negatives down the order, block by block of labels.

    Args:
        scores: ``(N, L)`` float.
        labels: ``(N, L)`` int8 states; an unknown one counts on neither side.

    Yields:
        A :class:`Curve` for each block of labels.
    """
    scores = finite_scores(scores)
    if len(scores) == 0:
        return
    width = max(1, BLOCK // len(scores))
    for start in range(0, scores.shape[1], width):
        columns = slice(start, start + width)
        score, order = scores[:, columns].T.sort(dim=1, descending=True)
        state = labels[:, columns].T.gather(1, order)
        group_end = torch.ones_like(score, dtype=torch.bool)
        group_end[:, :-1] = score[:, :-1] != score[:, 1:]
        tp, fp = (
            # The counts never fall, so the running maximum over group ends carries the last complete group forward.
            ((state == side).cumsum(1, dtype=torch.int32) * group_end).cummax(1).values
            for side in (POSITIVE, NEGATIVE)
        )
        yield Curve(columns, score, tp, fp)


def pivot_bins(scores: Tensor, labels: Tensor) -> PivotBins | None:
    """Sort the records of one label into bins between its positives' scores.

    Args:
        scores: ``(N,)`` float, finite.
        labels: ``(N,)`` int8 states.

    Returns:
        The bins; None where the label has no positive or no negative, and so no area.
    """
    positive = labels == POSITIVE
    if not bool(positive.any()) or not bool((labels == NEGATIVE).any()):
        return None
    pivots = scores[positive].unique()
    count = len(pivots)
    lower = torch.searchsorted(pivots, scores, out_int32=True)  # How many pivots are lower.
    ties = pivots[lower.clamp(max=count - 1)] == scores
    bins = torch.where(positive, 3 * count - lower, 2 * (count - lower) - ties.int())
    return PivotBins(bins.masked_fill_(labels == UNKNOWN, 3 * count + 1), count)


def split_bins(total: Tensor, pivots: int) -> tuple[Tensor, Tensor, Tensor]:
    """Read sums over bins as a curve; the first axis counts pivots from the highest down.

    Args:
        total: ``(3 K + 2, ...)``, of counts or weights, by bin.
        pivots: ``K``.

    Returns:
        ``(K, ...)`` each: the positives at a pivot, and the negatives that tie with it; and ``(K + 1, ...)``, the negatives above
        the pivot and below the one before, at last those below all.
    """
    return total[2 * pivots + 1 : -1], total[1 : 2 * pivots : 2], total[: 2 * pivots + 1 : 2]


def _counts(scores: Tensor, labels: Tensor) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
    """Count each label's records by bin: its column and the parts of :func:`split_bins`, without labels that have no area."""
    # Rows of the transposed copies are read many times over; a column of the originals would miss the cache at every record.
    for column, (score, state) in enumerate(zip(finite_scores(scores).T.contiguous(), labels.T.contiguous(), strict=True)):
        if (bins := pivot_bins(score, state)) is not None:
            yield column, *split_bins(torch.bincount(bins.of, minlength=3 * bins.pivots + 2), bins.pivots)


def auroc(scores: Tensor, labels: Tensor) -> Tensor:
    """Area under the ROC curve of each label, ties at half (Mann-Whitney's U with mid-ranks; Hanley, McNeil 1982).

    Args:
        scores: ``(N, L)`` float, higher for more likely.
        labels: ``(N, L)`` int8 states; unknown records are left out of that label.

    Returns:
        ``(L,)`` float64; NaN where a label has no positive or no negative.

    Raises:
        UserError: If a score is NaN or infinite.
    """
    area = torch.full((scores.shape[1],), torch.nan, dtype=torch.float64, device=scores.device)
    for column, positives, ties, between in _counts(scores, labels):
        negatives = between.sum() + ties.sum()
        # Twice the wins of each positive keeps integers, which add exactly.
        twice = 2 * (negatives - between[:-1].cumsum(0) - ties.cumsum(0)) + ties
        area[column] = (positives * twice).sum().double() / 2 / (positives.sum().double() * negatives)
    return area


def average_precision(scores: Tensor, labels: Tensor) -> Tensor:
    """Area under the precision-recall curve of each label, as a sum of steps without interpolation.

    ``sum over thresholds of (R_n - R_(n-1)) P_n``, the definition of scikit-learn's ``average_precision_score``.

    Args:
        scores: ``(N, L)`` float, higher for more likely.
        labels: ``(N, L)`` int8 states; unknown records are left out of that label.

    Returns:
        ``(L,)`` float64; NaN where a label has no positive or no negative (with positives alone it would be 1 for any
        score).

    Raises:
        UserError: If a score is NaN or infinite.
    """
    area = torch.full((scores.shape[1],), torch.nan, dtype=torch.float64, device=scores.device)
    for column, positives, ties, between in _counts(scores, labels):
        tp = positives.cumsum(0)
        called = tp + (between[:-1] + ties).cumsum(0)
        area[column] = (positives * (tp.double() / called)).sum() / tp[-1]
    return area


def topk_hits(scores: Tensor, labels: Tensor, k: int, competing: Tensor | None = None) -> Tensor:
    """Tell which positive labels stand in the top k of their record.

    A tie counts against the label: its rank is the number of competing labels that score at least as high, itself
    included. So a scorer that gives every label the same has no hit, and the order of columns never matters.

    A label that is unknown for this record, in a column that is known for others, is taken out of this record's
    ranking: nobody can say whether naming it is an error. A column that is unknown for every record is a label that the
    data set does not annotate, and it competes.

    Args:
        scores: ``(N, L)`` float.
        labels: ``(N, L)`` int8 states.
        k: Places that count.
        competing: ``(L,)`` bool, the labels that are ranked at all; None for every column.

    Returns:
        ``(N, L)`` bool, true where a label is positive and in the top k.

    Raises:
        UserError: If a score is NaN or infinite.
    """
    scores = finite_scores(scores)
    ranked = torch.ones(scores.shape[1], dtype=torch.bool, device=scores.device) if competing is None else competing.to(scores.device)
    unannotated = (labels == UNKNOWN).all(0)
    hits = torch.zeros(labels.shape, dtype=torch.bool, device=scores.device)
    height = max(1, BLOCK // max(1, scores.shape[1]))
    for rows in (slice(start, start + height) for start in range(0, len(scores), height)):
        block = scores[rows].masked_fill(~(((labels[rows] != UNKNOWN) | unannotated) & ranked), -torch.inf)
        # Rank at most k, ties against the label, is the same as a score above the (k + 1)-th highest.
        bar: Tensor | float = block.topk(k + 1, dim=1).values[:, -1:] if k < block.shape[1] else -torch.inf
        hits[rows] = (block > bar) & (labels[rows] == POSITIVE)
    return hits


def count_hits(hits: Tensor, labels: Tensor, members: Tensor | None = None) -> TopK:
    """Turn hits into top-k accuracies, over all labels or the members of a set.

    Args:
        hits: ``(N, L)`` bool, of :func:`topk_hits`.
        labels: ``(N, L)`` int8 states.
        members: ``(L,)`` bool; only these labels count as findings, in both forms. None for all.

    Returns:
        The accuracies; ``recall`` keeps ``L`` entries, NaN outside the set.
    """
    rows, columns = (labels == POSITIVE).nonzero(as_tuple=True)  # Few: some two of a hundred labels.
    if members is not None:
        inside = members.to(labels.device)[columns]
        rows, columns = rows[inside], columns[inside]
    hit = hits[rows, columns]
    found, asked = (torch.bincount(entries, minlength=labels.shape[1]) for entries in (columns[hit], columns))
    recall = found.double() / asked
    with_hit, with_label = (entries.unique_consecutive().numel() for entries in (rows[hit], rows))
    micro = with_hit / with_label if with_label else math.nan
    return TopK(micro, recall, macro(recall))


def topk(scores: Tensor, labels: Tensor, k: int) -> TopK:
    """Top-k accuracy with all labels competing; see :func:`topk_hits` for ties and unknown labels.

    Args:
        scores: ``(N, L)`` float.
        labels: ``(N, L)`` int8 states.
        k: Places that count.

    Returns:
        The two forms and the recall of each label.

    Raises:
        UserError: If a score is NaN or infinite.
    """
    return count_hits(topk_hits(scores, labels, k), labels)


def macro(values: Tensor) -> float:
    """Return the mean over the labels that have a value (are not NaN); NaN where none has."""
    return float(values.nanmean())
