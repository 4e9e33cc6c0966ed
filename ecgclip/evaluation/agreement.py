"""How far two readers agree: Cohen's kappa for each label, with patient-level intervals."""

from typing import NamedTuple

import torch
from torch import Tensor

from ecgclip.evaluation.intervals import Patients, owners, patient_weights
from ecgclip.labels import POSITIVE, UNKNOWN


class Agreement(NamedTuple):
    """Agreement of two readers on each label.

    Attributes:
        kappa: ``(L,)`` float64, 1 for full agreement, 0 for what chance gives; NaN where chance alone gives full agreement.
        low: ``(L,)`` float64, lower end of its interval.
        high: ``(L,)`` float64, upper end.
        positive: ``(L,)`` float64, positive agreement: of the times that a reader named the label, the share in which the other did too
            (Cicchetti and Feinstein 1990). Beside kappa because kappa falls with the rarity of a label.
        n: ``(L,)`` int64, records on which both have decided.
    """

    kappa: Tensor
    low: Tensor
    high: Tensor
    positive: Tensor
    n: Tensor


def agreement(one: Tensor, other: Tensor, patients: Patients, replicates: int = 1000, level: float = 0.95, seed: int = 0) -> Agreement:
    """Compare two readers.

    Args:
        one: ``(N, L)`` int8 states of the first reader.
        other: ``(N, L)`` int8 states of the second; a record counts for a label where both have decided.
        patients: ``(N,)`` patient key of each record.
        replicates: Of the Bayesian bootstrap, see :mod:`ecgclip.evaluation.intervals`.
        level: Mass between the ends, which are percentiles.
        seed: Fixes the weights.

    Returns:
        Cohen's kappa (Cohen 1960, doi:10.1177/001316446002000104) and its intervals.
    """
    known = (one != UNKNOWN) & (other != UNKNOWN)
    first, second = (one == POSITIVE) & known, (other == POSITIVE) & known
    cells = torch.stack((first & second, first & ~second & known, ~first & second & known, known), dim=2).double().flatten(1)
    owner, count = owners(patients, one.device)
    replicated = [_kappa((w.T @ cells).view(w.shape[1], -1, 4)) for w in patient_weights(owner, count, replicates, seed)]
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64, device=one.device)
    total = cells.sum(0).view(-1, 4)
    kappa = _kappa(total.unsqueeze(0))[0]
    low, high = torch.cat(replicated).quantile(ends, dim=0).masked_fill(torch.isnan(kappa), torch.nan)
    both, only_one, only_other, n = total.T
    return Agreement(kappa, low, high, 2 * both / (2 * both + only_one + only_other), n.long())


def _kappa(cells: Tensor) -> Tensor:
    """Kappa out of sums ``(..., L, 4)``: both, the first alone, the second alone, all."""
    both, only_one, only_other, n = cells.unbind(-1)
    observed = (n - only_one - only_other) / n
    p, q = (both + only_one) / n, (both + only_other) / n
    chance = p * q + (1 - p) * (1 - q)
    return torch.where(chance < 1, (observed - chance) / (1 - chance), torch.nan)
