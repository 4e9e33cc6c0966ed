"""Linear probing: logistic regression of every label on frozen ECG vectors, and shares of the training patients to fit it on."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ecgclip.errors import UserError
from ecgclip.evaluation.intervals import Patients
from ecgclip.evaluation.metrics import auroc, finite_scores, macro
from ecgclip.evaluation.zero_shot import RECORDS_AT_ONCE
from ecgclip.labels import POSITIVE, UNKNOWN

STRENGTHS = (1.0, 10.0, 100.0, 1000.0, 10000.0)  # Of the L2 penalty; scikit-learn's C is the inverse.
STEPS = 300  # At most; some 20 suffice unless a label is separable and the penalty weak.
TOLERANCE = 1e-4  # Of the gradient's length, times the strength: the penalised weights are then this close to the minimum.
MEMORY = 12  # Pairs that L-BFGS remembers.
SLOPE = 0.5  # A step is long enough where the slope along it fell to this share.
CORRECTIONS = 6  # Of a step's length.


def linear_probe(
    train: Tensor,
    train_labels: Tensor,
    val: Tensor | None,
    val_labels: Tensor | None,
    query: Tensor,
    *,
    strengths: Sequence[float] = STRENGTHS,
    steps: int = STEPS,
) -> Tensor:
    """Fit a logistic regression for each label on frozen vectors, and score the queries with it.

    Each label is a binary problem of its own on the records where it is known: the sum of the log losses plus
    ``strength / 2`` times the squared length of the weights; the bias is free. Features are standardised with mean and deviation
    of the training vectors. One strength serves all labels: the one with the best macro AUROC on validation.

    Args:
        train: ``(N, D)`` float, ECG vectors.
        train_labels: ``(N, L)`` int8 states.
        val: ``(V, D)`` float, ECG vectors of other patients; None takes the middle strength.
        val_labels: ``(V, L)`` int8 states; None where ``val`` is.
        query: ``(Q, D)`` float, ECG vectors to score.
        strengths: To choose among; of equals the strongest is taken.
        steps: Of L-BFGS for one strength, at most.

    Returns:
        ``(Q, L)`` float32 log-odds. A label without a positive or without a negative in training has its prior log-odds for
        every query, with half a record added to each side.

    Raises:
        UserError: If a vector is not finite, there is no training record, or no strength is above 0.
    """
    if len(train) == 0 or not strengths or min(strengths) <= 0:
        raise UserError("linear probe: give at least one training record, and strengths of the penalty above 0")
    mean, rotation = _whitening(finite_scores(train).double())
    x = _features(train, mean, rotation)
    positive, known = (train_labels == POSITIVE).T, (train_labels != UNKNOWN).T
    both = positive.any(1) & (known & ~positive).any(1)
    prior = _prior(positive, known)
    weights = torch.zeros(len(prior), x.shape[1], dtype=x.dtype, device=x.device)
    weights[:, -1] = prior
    ordered = sorted(strengths, reverse=True)  # The strongest is solved soonest, and each solution starts the next.
    if val is None or val_labels is None:
        ordered = [sorted(strengths)[len(strengths) // 2]]
    else:
        val = finite_scores(val)
    best, best_area = weights, -math.inf
    for strength in ordered:
        weights = weights.clone()
        weights[both] = _solve(x, positive[both], known[both], weights[both], strength, steps)
        area = (
            0.0 if val is None or val_labels is None else macro(auroc(_logits(val, mean, rotation, weights)[:, both], val_labels[:, both]))
        )
        if area > best_area or best_area == -math.inf:  # The macro of a validation without any label is NaN.
            best, best_area = weights, area
    return _logits(finite_scores(query), mean, rotation, best)


def patient_share(patients: Patients, fraction: float, seed: int) -> Tensor:
    """Choose a share of the patients, to train on fewer records.

    Shares of one seed are nested: the patients of 1 % are among those of 10 %.

    Args:
        patients: ``(N,)`` patient key of each record.
        fraction: Of the patients, above 0 and at most 1; rounded up to a whole patient.
        seed: Fixes the order in which patients are taken.

    Returns:
        ``(N,)`` bool, the records of the chosen patients.

    Raises:
        UserError: If the fraction is not above 0 and at most 1.
    """
    if not 0 < fraction <= 1:
        raise UserError(f"a share of {fraction} of the patients cannot be taken: give a fraction above 0 and at most 1")
    unique, owner = np.unique(np.asarray(patients), return_inverse=True)
    place = np.random.default_rng(seed).permutation(len(unique))
    return torch.from_numpy(place[owner] < math.ceil(round(fraction * len(unique), 9)))


def _whitening(train: Tensor) -> tuple[Tensor, Tensor]:
    """Mean ``(D,)``, and standardising with turning into principal axes in one, ``(D, D)``.

    Turning changes neither the penalty nor the solution's scores, and in these axes the curvature of the loss is close
    to diagonal.
    """
    mean = train.mean(0)
    deviation = train.std(0, correction=0)
    deviation = deviation.masked_fill(deviation == 0, 1)
    covariance = torch.zeros(len(mean), len(mean), dtype=train.dtype, device=train.device)
    for block in train.split(RECORDS_AT_ONCE):
        standard = (block - mean) / deviation
        covariance += standard.T @ standard
    return mean, torch.linalg.eigh(covariance).eigenvectors / deviation.unsqueeze(1)


def _features(vectors: Tensor, mean: Tensor, rotation: Tensor) -> Tensor:
    """Features in principal axes and the constant of the bias, ``(N, D + 1)`` float64."""
    return torch.nn.functional.pad((vectors.double() - mean) @ rotation, (0, 1), value=1.0)


def _logits(vectors: Tensor, mean: Tensor, rotation: Tensor, weights: Tensor) -> Tensor:
    """Log-odds, ``(Q, L)`` float32."""
    return torch.cat([(_features(block, mean, rotation) @ weights.T).float() for block in vectors.split(RECORDS_AT_ONCE)])


def _prior(positive: Tensor, known: Tensor) -> Tensor:
    """Log-odds of each label in training, ``(L,)`` float64, finite with half a record on each side (Haldane 1956)."""
    return ((positive.sum(1).double() + 0.5) / ((known & ~positive).sum(1).double() + 0.5)).log()


def _solve(x: Tensor, positive: Tensor, known: Tensor, start: Tensor, strength: float, steps: int) -> Tensor:
    """Minimise the loss of every label at once by L-BFGS (Nocedal, Wright, Numerical Optimization, algorithm 7.4).

    The diagonal of the Hessian at the start takes the place of the usual scaled identity. Labels that have converged
    leave the work.

    Args:
        x: ``(N, F)`` float64; the last feature is the constant.
        positive: ``(L, N)`` bool.
        known: ``(L, N)`` bool.
        start: ``(L, F)`` float64.
        strength: Of the penalty.
        steps: At most.

    Returns:
        ``(L, F)`` float64.
    """
    solution, active = start.clone(), torch.arange(len(start), device=x.device)
    target, known, weights = positive.to(x.dtype), known.to(x.dtype), start
    penalty = torch.full((x.shape[1],), strength, dtype=x.dtype, device=x.device)
    penalty[-1] = 0
    logits = weights @ x.T
    chance = logits.sigmoid()
    diagonal = _curvature(x, chance * (1 - chance) * known) + penalty
    gradient = ((chance - target) * known) @ x + penalty * weights
    pairs: list[tuple[Tensor, Tensor]] = []
    for _ in range(steps):
        going = gradient.norm(dim=1) > TOLERANCE * strength
        if not bool(going.all()):
            solution[active] = weights
            active, target, known, weights, logits, diagonal, gradient = (
                kept[going] for kept in (active, target, known, weights, logits, diagonal, gradient)
            )
            pairs = [(moved[going], turned[going]) for moved, turned in pairs]
        if len(active) == 0:
            return solution
        direction = -_inverse_hessian(gradient, diagonal, pairs)
        along = direction @ x.T
        length, residual = _step(logits, along, target, known, (gradient * direction).sum(1), weights * penalty, direction, penalty)
        moved = length.unsqueeze(1) * direction
        weights, logits = weights + moved, logits.addcmul_(length.unsqueeze(1), along)
        previous, gradient = gradient, residual @ x + penalty * weights
        pairs = [*pairs, (moved, gradient - previous)][-MEMORY:]
    solution[active] = weights
    return solution


def _curvature(x: Tensor, weights: Tensor) -> Tensor:
    """Diagonal of the Hessian of the loss, ``(L, F)``, from ``(L, N)`` second derivatives."""
    blocks = zip(x.split(RECORDS_AT_ONCE), weights.split(RECORDS_AT_ONCE, dim=1), strict=True)
    return torch.stack([weight @ block.square() for block, weight in blocks]).sum(0)


def _inverse_hessian(gradient: Tensor, diagonal: Tensor, pairs: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Apply the inverse Hessian that L-BFGS remembers, label by label, ``(L, F)`` (the two-loop recursion, algorithm 7.4)."""
    vector, shares = gradient, []
    rates = [1 / (moved * turned).sum(1, keepdim=True).clamp(min=1e-300) for moved, turned in pairs]
    for (moved, turned), rate in zip(reversed(pairs), reversed(rates), strict=True):
        shares.append(rate * (moved * vector).sum(1, keepdim=True))
        vector = vector - shares[-1] * turned
    vector = vector / diagonal
    for (moved, turned), rate, share in zip(pairs, rates, reversed(shares), strict=True):
        vector = vector + moved * (share - rate * (turned * vector).sum(1, keepdim=True))
    return vector


def _step(
    logits: Tensor, along: Tensor, target: Tensor, known: Tensor, slope: Tensor, pulled: Tensor, direction: Tensor, penalty: Tensor
) -> tuple[Tensor, Tensor]:
    """Choose how far each label goes: 1, unless the slope there is still steep on either side; then by secants.

    The loss is convex, so its slope along the direction rises: a secant from 0 leads towards the minimum.

    Args:
        logits: ``(L, N)``, at the start.
        along: ``(L, N)``, what a step of length 1 adds to them.
        target: ``(L, N)``, 1 for positive.
        known: ``(L, N)``, 0 for unknown.
        slope: ``(L,)``, at the start, negative.
        pulled: ``(L, F)``, gradient of the penalty at the start.
        direction: ``(L, F)``.
        penalty: ``(F,)``.

    Returns:
        The lengths, ``(L,)``, and the residuals there, ``(L, N)``.
    """
    length = torch.ones_like(slope)
    residual = torch.empty_like(logits)
    rows: Tensor | slice = slice(None)
    linear, bend = (pulled * direction).sum(1), (penalty * direction.square()).sum(1)
    for _ in range(CORRECTIONS):
        far = length[rows].unsqueeze(1)
        error = (logits[rows] + far * along[rows]).sigmoid_().sub_(target[rows]).mul_(known[rows])
        residual[rows] = error
        new = torch.linalg.vecdot(error, along[rows]) + linear[rows] + length[rows] * bend[rows]
        steep = new.abs() > SLOPE * slope[rows].abs()
        rows = torch.arange(len(slope), device=slope.device)[rows][steep]
        if len(rows) == 0:
            break
        # Between a tenth and ten times as far, should the slope have hardly changed.
        length[rows] *= (slope[rows] / (slope[rows] - new[steep])).nan_to_num(10.0).clamp(0.1, 10.0).where(new[steep] > slope[rows], 10.0)
    else:
        # The last correction has not been evaluated yet.
        residual[rows] = (logits[rows] + length[rows].unsqueeze(1) * along[rows]).sigmoid_().sub_(target[rows]).mul_(known[rows])
    return length, residual
