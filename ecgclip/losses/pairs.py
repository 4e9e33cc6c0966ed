"""A batch as the losses see it, and its parts gathered from all processes."""

from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor


class Pairs(NamedTuple):
    """A batch as a loss sees it.

    Attributes:
        ecg: ``(B, D)`` float, ECG vectors of length 1.
        text: ``(U, D)`` float, vectors of length 1 of the batch's unique texts.
        text_ids: ``(U,)`` int64, one number for one text, the same in every process.
        positives: ``(B, U)`` bool, true where a text describes the ECG.
        known: ``(B, U)`` bool, false where nobody knows whether it does: neither a positive nor a negative.
        labels: ``(B, L)`` bool, the labels that each ECG is known to have; false for unknown and withheld ones.
        text_labels: ``(U, L)`` bool, the labels that each text names.
        prior: ``(U,)`` float, the share of the training records that each text describes, in (0, 1).

    The last three are None where nobody supplies them; a loss that needs one says so.

    """

    ecg: Tensor
    text: Tensor
    text_ids: Tensor
    positives: Tensor
    known: Tensor
    labels: Tensor | None = None
    text_labels: Tensor | None = None
    prior: Tensor | None = None


class _GatherRows(torch.autograd.Function):
    """Concatenate equal-sized tensors of all processes; the gradient of a row is summed over the processes that used it."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, rows: Tensor) -> Tensor:
        out = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(out, rows.contiguous())
        return torch.cat(out)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        return gradient.chunk(dist.get_world_size())[dist.get_rank()]


def gather_rows(rows: Tensor) -> Tensor:
    """Concatenate a tensor of every process along the first axis, in the order of ranks.

    Args:
        rows: ``(N_r, ...)``; the number of rows may differ between processes. Floating tensors carry their gradient.

    Returns:
        ``(sum of N_r, ...)``, equal in every process; the tensor itself where there is one process.

    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return rows
    count = torch.tensor([len(rows)], device=rows.device)
    counts = [torch.empty_like(count) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, count)
    sizes = [int(c) for c in counts]
    padded = rows.to(torch.uint8) if rows.dtype == torch.bool else rows
    padded = torch.cat((padded, padded.new_zeros(max(sizes) - len(rows), *rows.shape[1:])))
    chunks = _GatherRows.apply(padded).chunk(len(sizes))
    return torch.cat([chunk[:size] for chunk, size in zip(chunks, sizes, strict=True)]).to(rows.dtype)


def gather_pairs(pairs: Pairs) -> Pairs:
    """Merge the batches of all processes into the one large batch that a single process would have seen.

    Texts that several processes hold are merged by their id; where dropout made their vectors differ, the mean stands for them. A
    text that only another process holds is a negative of the ECGs here.

    Every process then computes the same loss over the whole batch. The gradient of a gathered row is summed over processes, so it
    is W times too large, and DistributedDataParallel divides by W: the parameters' gradients are those of one process (tested).
    """
    ecg = gather_rows(pairs.ecg)
    if ecg is pairs.ecg:
        return pairs
    all_ids = gather_rows(pairs.text_ids)
    ids, owner = torch.unique(all_ids, return_inverse=True)
    vectors = gather_rows(pairs.text)
    copies = torch.bincount(owner, minlength=len(ids)).unsqueeze(1)
    text = torch.zeros(len(ids), vectors.shape[1], dtype=vectors.dtype, device=vectors.device).index_add(0, owner, vectors) / copies
    columns = torch.searchsorted(ids, pairs.text_ids)
    positives = pairs.positives.new_zeros(len(pairs.ecg), len(ids))
    known = torch.ones_like(positives)
    positives[:, columns] = pairs.positives
    known[:, columns] = pairs.known
    return Pairs(
        ecg,
        text,
        ids,
        gather_rows(positives),
        gather_rows(known),
        labels=None if pairs.labels is None else gather_rows(pairs.labels),
        text_labels=_merge(pairs.text_labels, owner, len(ids)),
        prior=_merge(pairs.prior, owner, len(ids)),
    )


def _merge(values: Tensor | None, owner: Tensor, count: int) -> Tensor | None:
    """Gather what is known of texts, equal in every process that holds them: one row for each of the ``count`` unique texts."""
    if values is None:
        return None
    merged = values.new_zeros(count, *values.shape[1:])
    merged[owner] = gather_rows(values)
    return merged
