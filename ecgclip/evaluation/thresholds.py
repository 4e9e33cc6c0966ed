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
        thresholds[columns] = ((above + below) / 2).masked_fill(positives == 0, torch.nan).squeeze(1)
    return thresholds
