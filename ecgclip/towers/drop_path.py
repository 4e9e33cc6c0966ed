"""Stochastic depth, for residual towers of any kind, and its range."""

import torch
from torch import Tensor, nn

from ecgclip.errors import UserError


def check_probabilities(**named: float) -> None:
    """Refuse, with a :class:`UserError`, a probability of leaving something out that is not in [0, 1)."""
    for name, probability in named.items():
        if not 0 <= probability < 1:
            raise UserError(f"ecg tower: {name} {probability} must be at least 0 and below 1")


class DropPath(nn.Module):
    """Leave a record's residual branch out with a probability, in training (stochastic depth, arXiv 1603.09382)."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """``(B, ...)`` to the same shape, of the same expectation."""
        if not self.training or self.probability == 0:
            return x
        keep = 1 - self.probability
        drawn = torch.rand(len(x), *[1] * (x.ndim - 1), device=x.device) < keep
        return x * (drawn.to(x.dtype) / keep)
