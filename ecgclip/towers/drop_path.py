"""Stochastic depth, for residual towers of any kind."""

import torch
from torch import Tensor, nn


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
