"""Which records make up which batch, as a function of the seed and the epoch alone."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler


class Draw(NamedTuple):
    """One batch to load.

    Attributes:
        together: Rows of the store, those of all processes: the texts of a batch are those of the whole batch in each process, so
            that what is unknown of another process's text is known everywhere.
        own: Which of them this process loads.
        epoch: Of the training.
        step: Of the epoch.

    """

    together: np.ndarray
    own: slice
    epoch: int
    step: int

    @property
    def rows(self) -> np.ndarray:
        """Rows of the store that this process loads."""
        return self.together[self.own]


class Batches(Sampler[Draw]):
    """The batches of one process.

    The global batch k is the same for any number of processes: with W processes of ``batch_size`` each, it is the batch that one
    process of ``W * batch_size`` would have seen.

    Args:
        rows: ``(N,)`` rows of the store.
        batch_size: Records in a batch of one process.
        rank: Of this process.
        world_size: Processes.
        seed: Of the permutation; None keeps the order (evaluation).

    In training, what does not fill a global batch is left out of the epoch, a different remainder each time (a set smaller than one
    global batch is that batch). In evaluation nothing is
    left out: the last records are repeated until every process has equally many batches (with a collective in each forward pass,
    anything else would hang), and who gathers drops the repetitions by their record number.

    """

    def __init__(self, rows: np.ndarray, batch_size: int, *, rank: int = 0, world_size: int = 1, seed: int | None = None) -> None:
        self.rows, self.batch_size, self.rank, self.world_size, self.seed = rows, batch_size, rank, world_size, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch, after a resumption too."""
        self.epoch = epoch

    def __len__(self) -> int:
        together = self.batch_size * self.world_size
        return max(1, len(self.rows) // together) if self.seed is not None else -(-len(self.rows) // together)

    def __iter__(self) -> Iterator[Draw]:
        together = self.batch_size * self.world_size
        rows = self.rows
        if self.seed is not None:
            rows = np.random.default_rng((self.seed, self.epoch)).permutation(rows)
        for step in range(len(self)):
            batch = rows[step * together : (step + 1) * together]
            batch = np.concatenate((batch, np.repeat(batch[-1:], -len(batch) % self.world_size)))
            share = len(batch) // self.world_size
            yield Draw(batch, slice(self.rank * share, (self.rank + 1) * share), self.epoch, step)
