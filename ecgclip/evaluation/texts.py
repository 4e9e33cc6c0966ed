"""How far apart texts lie: whether a text tower can tell the labels of a catalogue from each other at all."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

# Above this mean cosine all texts are nearly one text: a loss over them begins as a loss over noise.
COLLAPSED = 0.9
TWINS = 0.99  # Two labels whose cosine is above it can hardly be told apart by an ECG's vector either.


@dataclass(frozen=True)
class TextSpread:
    """How far apart ``N`` texts lie.

    Attributes:
        mean: Of the cosine between two different texts.
        lowest: The smallest such cosine.
        highest: The largest.
        effective_rank: In how many directions the texts differ, 1 to ``N``.
        twins: Pairs with a cosine above :data:`TWINS`.
        nearest: The nearest pairs: rows of the two, and their cosine, the largest first.
    """

    mean: float
    lowest: float
    highest: float
    effective_rank: float
    twins: int
    nearest: tuple[tuple[int, int, float], ...]

    @property
    def warning(self) -> str | None:
        """One line about what will keep a model from learning, or None."""
        if self.mean > COLLAPSED:
            return f"the texts have collapsed: a mean cosine of {self.mean:.2f} leaves little that tells them apart"
        return f"{self.twins} pairs of labels have nearly one vector (cosine above {TWINS})" if self.twins else None


def text_spread(vectors: Tensor, nearest: int = 10) -> TextSpread:
    """Measure how far apart texts lie.

    Args:
        vectors: ``(N, D)`` float of any length, at least two rows.
        nearest: Pairs to name.

    Returns:
        The cosines between different texts, and the effective rank: the exponential of the entropy of the singular values, taken as
        shares of their sum (Roy and Vetterli 2007, EUSIPCO, definition 1), of the unit vectors.
    """
    unit = F.normalize(vectors.double(), dim=1)
    similar = unit @ unit.T
    one, other = torch.triu_indices(len(unit), len(unit), offset=1)
    cosines = similar[one, other]
    order = cosines.argsort(descending=True)[:nearest].tolist()
    shares = torch.linalg.svdvals(unit)
    shares = shares / shares.sum()
    entropy = -torch.special.xlogy(shares, shares).sum().item()
    return TextSpread(
        mean=cosines.mean().item(),
        lowest=cosines.min().item(),
        highest=cosines.max().item(),
        effective_rank=math.exp(entropy),
        twins=int((cosines > TWINS).sum()),
        nearest=tuple((int(one[i]), int(other[i]), cosines[i].item()) for i in order),
    )
