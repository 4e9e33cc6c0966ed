"""Batches that are larger than the memory: a tower reads them part by part, and its loss sees them whole."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Input = Tensor | dict[str, Tensor] | None


def in_parts(tower: nn.Module, size: int | None, *inputs: Input) -> Tensor:
    """Run a tower on a batch, and keep the activations of one part of it at a time.

    What GradCache does (arXiv 2101.06983): first only the vectors are computed, the loss is taken over all of them, and the
    activations of each part are computed again when its gradient is due. Gradients are those of the large batch: a contrastive loss
    sees it whole, and no part knows of another before it. It costs a second forward pass.

    Batch norm takes its statistics from one part, as it does from one process's share of a batch, so that with it the gradients are those
    of ``size`` ECGs to a norm; its running statistics are updated once for each part. Dropout is drawn part by part, and again
    equally the second time.

    Args:
        tower: Maps its inputs to ``(B, ...)``.
        size: Rows in a part at most; parts are of nearly equal size. None for the whole batch at once.
        inputs: Of the tower: tensors of ``B`` rows, dictionaries of such, or None.

    Returns:
        What the tower returns.

    """
    rows = _rows(inputs)
    if size is None or rows <= size or not torch.is_grad_enabled():
        whole: Tensor = tower(*inputs)
        return whole

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _buffers_kept(tower)

    bounds = torch.arange(rows).tensor_split(-(-rows // size))
    parts = [slice(int(part[0]), int(part[-1]) + 1) for part in bounds]
    return torch.cat([checkpoint(tower, *(_take(one, part) for one in inputs), use_reentrant=False, context_fn=contexts) for part in parts])


def _rows(inputs: tuple[Input, ...]) -> int:
    first = inputs[0]
    return len(next(iter(first.values())) if isinstance(first, dict) else first)  # type: ignore[arg-type]


def _take(one: Input, part: slice) -> Any:
    if isinstance(one, dict):
        return {name: rows[part] for name, rows in one.items()}
    return None if one is None else one[part]


@contextmanager
def _buffers_kept(tower: nn.Module) -> Iterator[None]:
    """Undo what a second forward pass does to buffers: batch norm has counted the part already."""
    before = [buffer.clone() for buffer in tower.buffers()]
    try:
        yield
    finally:
        for buffer, value in zip(tower.buffers(), before, strict=True):
            buffer.data.copy_(value)  # Past the version counter: the part's graph holds the buffer, though it does not read it.
