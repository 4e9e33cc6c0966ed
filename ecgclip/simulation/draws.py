"""Random numbers of one record, drawn in blocks: a call per number would cost more than the ECG."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")
BLOCK = 256


class Draws:
    """The stream of random numbers of one record, a function of its seed only.

    Args:
        seed: Not negative.
    """

    def __init__(self, seed: int) -> None:
        self.rng = np.random.Generator(np.random.PCG64(seed))
        self._uniform = self._stream()

    def _stream(self) -> Iterator[float]:
        while True:
            yield from self.rng.random(BLOCK).tolist()

    def unit(self) -> float:
        """Return a number from 0 to 1."""
        return next(self._uniform)

    def between(self, low: float, high: float) -> float:
        """Return a number from ``low`` to ``high``."""
        return low + (high - low) * next(self._uniform)

    def spread(self, sigma: float) -> float:
        """Return a number around 0 with standard deviation ``sigma``, never beyond 2.5 of them (a triangle, near enough to normal)."""
        return sigma * 2.449 * (next(self._uniform) + next(self._uniform) - 1.0)

    def choice(self, items: Sequence[Item]) -> Item:
        """Return one of the items, each as likely."""
        return items[int(next(self._uniform) * len(items))]

    def chance(self, probability: float) -> bool:
        """Return true with this probability."""
        return next(self._uniform) < probability
