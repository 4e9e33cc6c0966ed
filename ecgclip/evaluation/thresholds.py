"""Decision thresholds, to be fitted on validation records only."""

import torch
from torch import Tensor

from ecgclip.evaluation.metrics import curves


def best_f1_thresholds(scores: Tensor, labels: Tensor) -> Tensor:
    """Find the threshold of each label with the highest F1, by trying every one that tells two records apart.

    Args:
        scores: ``(N, L)`` float, of validation records.
        labels: ``(N, L)`` int8 states; unknown records are left out of that label.

    Returns:
        ``(L,)`` float64; a label is called where ``score >= threshold``. It lies half-way to the next lower score, so
        that rounding on another device moves no record across; among equals the highest. NaN where a label has no
        positive.

    Raises:
        UserError: If a score is NaN or infinite.
    """
    thresholds = torch.full((scores.shape[1],), torch.nan, dtype=torch.float64, device=scores.device)
    for columns, score, tp, fp in curves(scores, labels):
        positives = tp[:, -1:]
        f1 = 2 * tp.double() / (positives + tp + fp).clamp(min=1)
        best = f1.argmax(1, keepdim=True)  # The first of equals, so the last member of its group of ties.
        above, below = (score.gather(1, (best + i).clamp(max=score.shape[1] - 1)).double() for i in (0, 1))
        thresholds[columns] = _half_way(above, below).masked_fill(positives == 0, torch.nan).squeeze(1)
    return thresholds


def specificity_thresholds(scores: Tensor, labels: Tensor, specificity: float = 0.9) -> Tensor:
    """Find the lowest threshold of each label that leaves at least a given share of its negatives uncalled.

    Args:
        scores: ``(N, L)`` float, of validation records.
        labels: ``(N, L)`` int8 states; unknown records are left out of that label.
        specificity: That share, in [0, 1].

    Returns:
        ``(L,)`` float64; a label is called where ``score >= threshold``. It lies half-way between the scores that it tells apart, just
        above the highest where none may be called. NaN where a label has no negative.

    Raises:
        UserError: If a score is NaN or infinite.
    """
    thresholds = torch.full((scores.shape[1],), torch.nan, dtype=torch.float64, device=scores.device)
    for columns, score, _, fp in curves(scores, labels):
        negatives = fp[:, -1:]
        allowed = torch.floor((1 - specificity) * negatives.double() + 1e-9)
        # Between two groups of ties the count stands at the group's last member; before that it is that of the group above.
        group_end = torch.ones_like(score, dtype=torch.bool)
        group_end[:, :-1] = score[:, :-1] != score[:, 1:]
        fits = group_end & (fp <= allowed)
        places = torch.arange(score.shape[1], device=score.device)
        last = torch.where(fits, places, -1).amax(1, keepdim=True)  # The lowest group that may still be called; -1 for none.
        above = score.gather(1, last.clamp(min=0)).double()
        below = score.gather(1, (last + 1).clamp(max=score.shape[1] - 1)).double()
        beyond = torch.nextafter(score[:, :1], torch.full_like(score[:, :1], torch.inf)).double()
        found = torch.where(last < 0, beyond, _half_way(above, below))
        thresholds[columns] = found.masked_fill(negatives == 0, torch.nan).squeeze(1)
    return thresholds


def _half_way(above: Tensor, below: Tensor) -> Tensor:
    """Threshold between two float64 scores that calls the upper one only; either is right where they are equal."""
    middle = (above + below) / 2
    return torch.where(middle > below, middle, above)  # Between neighbours in float64 it may round down to the lower one.
