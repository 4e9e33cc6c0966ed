"""The vectors of an evaluation, gathered from all processes: each record once, in the store's order."""

from typing import Any

import torch
from torch import Tensor

from ecgclip.losses import gather_rows


class Vectors:
    """Collects ``(record, vector)`` batch by batch."""

    def __init__(self) -> None:
        self._records: list[Tensor] = []
        self._vectors: list[Tensor] = []

    def add(self, batch: dict[str, Any], vectors: Tensor) -> None:
        """Keep a batch: its ``record`` ``(B,)`` int64 and its vectors ``(B, D)``."""
        self._records.append(batch["record"].to(vectors.device))
        self._vectors.append(vectors.float())

    def gather(self) -> tuple[Tensor, Tensor]:
        """Return all records and their vectors, equal in every process, and start anew.

        Returns:
            ``(N,)`` int64 rising, and ``(N, D)`` float32. What a sampler repeated to fill the last batches is dropped.

        """
        records, vectors = gather_rows(torch.cat(self._records)), gather_rows(torch.cat(self._vectors))
        self._records, self._vectors = [], []
        order = records.argsort(stable=True)
        records, vectors = records[order], vectors[order]
        first = torch.ones_like(records, dtype=torch.bool)
        first[1:] = records[1:] != records[:-1]
        return records[first], vectors[first]
