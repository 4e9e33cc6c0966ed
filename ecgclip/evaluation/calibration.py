"""Scores into probabilities, and how far to trust them: temperature and Platt scaling, reliability, calibration error."""

from typing import NamedTuple

import torch
from torch import Tensor

from ecgclip.evaluation.metrics import finite_scores
from ecgclip.labels import NEGATIVE, POSITIVE

STEPS = 100  # Of Newton's method, which takes about ten.
HALVINGS = 30
CONVERGED = 1e-10  # Of the gradient, per record.
RIDGE = 1e-9  # On the Hessian, relative to its diagonal: separable or constant scores leave it singular.
ROWS = 2**15  # Records worked on at a time.


class Calibration(NamedTuple):
    """A straight line from scores to log odds, for each label.

    Attributes:
        scale: ``(L,)`` float64; NaN where none could be fitted.
        offset: ``(L,)`` float64.
    """

    scale: Tensor
    offset: Tensor

    def probabilities(self, scores: Tensor) -> Tensor:
        """Return ``sigmoid(scale * score + offset)``, ``(N, L)`` float64; NaN in the columns without a line."""
        return torch.sigmoid(scores.double() * self.scale + self.offset)


class Reliability(NamedTuple):
    """What came of predicted probabilities, by bins of equal width.

    Attributes:
        low: ``(B,)`` float64, lower edge of each bin.
        high: ``(B,)`` float64, upper edge.
        confidence: ``(B,)`` float64, mean predicted probability; NaN in an empty bin.
        observed: ``(B,)`` float64, share of positives; NaN in an empty bin.
        decisions: ``(B,)`` int64, how many.
    """

    low: Tensor
    high: Tensor
    confidence: Tensor
    observed: Tensor
    decisions: Tensor


def fit_temperature(scores: Tensor, labels: Tensor) -> Calibration:
    """Fit one line for all labels, by the least cross entropy of all their known decisions.

    Temperature scaling (Guo et al. 2017, arXiv 1706.04599, equation 9) has the scale alone, which a softmax over rival classes allows;
    where every label is a decision of its own, an offset is needed too, as in SigLIP's loss (arXiv 2303.15343, equation 1).

    Args:
        scores: ``(N, L)`` float.
        labels: ``(N, L)`` int8 states; unknown ones are left out.

    Returns:
        The line, the same in all ``L`` places; NaN where there is no positive or no negative at all.

    Raises:
        UserError: If a score is NaN or infinite.
    """
    scores, width = finite_scores(scores), labels.shape[1]
    known = (labels == POSITIVE) | (labels == NEGATIVE)
    column = scores[known].unsqueeze(1)
    target = (labels[known] == POSITIVE).double().unsqueeze(1)
    if len(target) == 0 or bool((target == target[0]).all()):
        nothing = torch.full((width,), torch.nan, dtype=torch.float64, device=scores.device)
        return Calibration(nothing, nothing.clone())
    line = _logistic(column, target, torch.ones_like(target))
    return Calibration(line.scale.expand(width).clone(), line.offset.expand(width).clone())


def fit_platt(scores: Tensor, labels: Tensor) -> Calibration:
    """Fit a line for each label (Platt 1999, with his targets ``(N+ + 1) / (N+ + 2)`` and ``1 / (N- + 2)``, which keep a rare label sober).

    Solved for all labels at once by Newton's method with a line search, as Lin, Lin and Weng 2007 (doi:10.1007/s10994-007-5018-6)
    advise. The slope is what the records say: it is negative for a label whose scores are worse than chance.

    Args:
        scores: ``(N, L)`` float.
        labels: ``(N, L)`` int8 states; unknown ones are left out.

    Returns:
        The lines; NaN for a label without a positive or without a negative.

    Raises:
        UserError: If a score is NaN or infinite.
    """
    scores = finite_scores(scores)
    positive, negative = labels == POSITIVE, labels == NEGATIVE
    ups, downs = positive.sum(0).double(), negative.sum(0).double()
    target = torch.where(positive, (ups + 1) / (ups + 2), 1 / (downs + 2))
    line = _logistic(scores, target, (positive | negative).double())
    missing = (ups == 0) | (downs == 0)
    return Calibration(line.scale.masked_fill(missing, torch.nan), line.offset.masked_fill(missing, torch.nan))


def _logistic(scores: Tensor, target: Tensor, weight: Tensor) -> Calibration:
    """Minimise the weighted cross entropy of each column over its line, ``(N, C)`` each."""
    total = weight.sum(0).clamp(min=1)
    # In standard units the two unknowns are of one size.
    mean = (scores.double() * weight).sum(0) / total
    deviation = (((scores.double() - mean) ** 2 * weight).sum(0) / total).sqrt()
    deviation = torch.where(deviation > 0, deviation, 1.0)
    share = ((target * weight).sum(0) / total).clamp(1e-12, 1 - 1e-12)
    line = torch.stack((torch.zeros_like(mean), share.logit()))  # (2, C): slope and offset.
    loss, gradient, hessian = _derivatives(scores, mean, deviation, target, weight, line)
    for _ in range(STEPS):
        if bool(((gradient.abs().amax(0) / total) < CONVERGED).all()):
            break
        a, b, c = hessian[0] * (1 + RIDGE) + 1e-300, hessian[1], hessian[2] * (1 + RIDGE) + 1e-300
        determinant = (a * c - b * b).clamp(min=1e-300)
        step = torch.stack((c * gradient[0] - b * gradient[1], a * gradient[1] - b * gradient[0])) / determinant
        length = torch.ones_like(mean)
        for _ in range(HALVINGS):
            proposal = line - length * step
            new = _derivatives(scores, mean, deviation, target, weight, proposal)
            worse = ~(new[0] <= loss + 1e-12 * loss.abs())
            if not bool(worse.any()):
                break
            length = torch.where(worse, length / 2, length)
        line = torch.where(worse, line, proposal)
        # A column that found no better place stays, so that its derivatives are not those of the proposal.
        loss, gradient, hessian = _derivatives(scores, mean, deviation, target, weight, line) if bool(worse.any()) else new
        if bool(((length * step).abs() < 1e-13 * (1 + line.abs())).all()):
            break
    return Calibration(line[0] / deviation, line[1] - line[0] * mean / deviation)


def _derivatives(
    scores: Tensor, mean: Tensor, deviation: Tensor, target: Tensor, weight: Tensor, line: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss ``(C,)``, gradient ``(2, C)`` and Hessian ``(3, C)`` (slope twice, mixed, offset twice), block by block of records."""
    loss = torch.zeros_like(mean)
    gradient, hessian = mean.new_zeros(2, len(mean)), mean.new_zeros(3, len(mean))
    for start in range(0, len(scores), ROWS):
        rows = slice(start, start + ROWS)
        x = (scores[rows].double() - mean) / deviation
        z, w = line[0] * x + line[1], weight[rows].double()
        p = torch.sigmoid(z)
        loss += (w * (torch.nn.functional.softplus(z) - target[rows] * z)).sum(0)
        error, curve = w * (p - target[rows]), w * p * (1 - p)
        gradient += torch.stack(((error * x).sum(0), error.sum(0)))
        hessian += torch.stack(((curve * x * x).sum(0), (curve * x).sum(0), curve.sum(0)))
    return loss, gradient, hessian


def reliability(probabilities: Tensor, labels: Tensor, bins: int = 10) -> Reliability:
    """Set predicted probabilities against what came of them, over all known decisions (DeGroot and Fienberg 1983).

    Args:
        probabilities: ``(N, L)`` float in [0, 1]; NaN is left out.
        labels: ``(N, L)`` int8 states; unknown ones are left out.
        bins: Of equal width; a probability on an edge belongs to the upper one, 1 to the last.

    Returns:
        The bins.
    """
    count, confidence, observed = (values.sum(1) for values in _binned(probabilities, labels, bins))
    edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64, device=probabilities.device)
    return Reliability(edges[:-1], edges[1:], confidence / count, observed / count, count.long())


def calibration_error(probabilities: Tensor, labels: Tensor, bins: int = 15) -> Tensor:
    """Expected calibration error of each label: the mean gap of a bin, weighted by its decisions (Naeini et al. 2015; Guo et al., eq. 3).

    Args:
        probabilities: ``(N, L)`` float in [0, 1]; NaN is left out.
        labels: ``(N, L)`` int8 states; unknown ones are left out.
        bins: Of equal width.

    Returns:
        ``(L,)`` float64; NaN where nothing is known.
    """
    count, confidence, observed = _binned(probabilities, labels, bins)
    return (observed - confidence).abs().sum(0) / count.sum(0)


def pooled_calibration_error(probabilities: Tensor, labels: Tensor, bins: int = 15) -> float:
    """Expected calibration error of all known decisions together; see :func:`calibration_error`."""
    count, confidence, observed = (values.sum(1) for values in _binned(probabilities, labels, bins))
    return float((observed - confidence).abs().sum() / count.sum())


def brier(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Mean squared error of the probabilities of each label (Brier 1950), ``(L,)`` float64; NaN where nothing is known."""
    known = ((labels == POSITIVE) | (labels == NEGATIVE)) & torch.isfinite(probabilities)
    error = torch.where(known, probabilities.double() - (labels == POSITIVE).double(), 0.0)
    return (error**2).sum(0) / known.sum(0)


def _binned(probabilities: Tensor, labels: Tensor, bins: int) -> tuple[Tensor, Tensor, Tensor]:
    """Decisions, sum of probabilities and positives in each bin of each label, ``(B, L)`` float64."""
    width = labels.shape[1]
    sums = [torch.zeros(bins * width, dtype=torch.float64, device=labels.device) for _ in range(3)]
    columns = torch.arange(width, device=labels.device)
    for start in range(0, len(labels), ROWS):
        rows = slice(start, start + ROWS)
        p, state = probabilities[rows].double(), labels[rows]
        known = ((state == POSITIVE) | (state == NEGATIVE)) & torch.isfinite(p)
        place = ((p * bins).nan_to_num().long().clamp(0, bins - 1) * width + columns)[known]
        for total, values in zip(sums, (torch.ones_like(p), p, (state == POSITIVE).double()), strict=True):
            total.index_add_(0, place, values[known])
    count, confidence, observed = (total.view(bins, width) for total in sums)
    return count, confidence, observed
