"""Contrastive losses between ECGs and texts, exact when the batch is spread over processes."""

import math
from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from ecgclip.errors import UserError

MAX_LOG_SCALE = math.log(100)  # CLIP (arXiv 2103.00020, section 2.5) clamps the scale of the logits here.
NEVER = -1e4  # A logit with no probability: far below any similarity times 100.


class Pairs(NamedTuple):
    """A batch as a loss sees it.

    Attributes:
        ecg: ``(B, D)`` float, ECG vectors of length 1.
        text: ``(U, D)`` float, vectors of length 1 of the batch's unique texts.
        text_ids: ``(U,)`` int64, one number for one text, the same in every process.
        positives: ``(B, U)`` bool, true where a text describes the ECG.
        known: ``(B, U)`` bool, false where nobody knows whether it does: neither a positive nor a negative.

    """

    ecg: Tensor
    text: Tensor
    text_ids: Tensor
    positives: Tensor
    known: Tensor


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
    return Pairs(ecg, text, ids, gather_rows(positives), gather_rows(known))


def _spread(logits: Tensor, positives: Tensor) -> Tensor:
    """Cross entropy of each row against its positives with equal weights, averaged over the rows that have one."""
    targets = positives / positives.sum(1, keepdim=True).clamp(min=1)
    rows = -(targets * F.log_softmax(logits, dim=1)).sum(1)
    has = positives.any(1)
    return (rows * has).sum() / has.sum().clamp(min=1)


def _scale(log_scale: nn.Parameter) -> Tensor:
    """Return the factor on the similarities, at most 100.

    The parameter itself is held below the bound: beyond it, it would get no gradient, and could never come back.
    """
    log_scale.data.clamp_(max=MAX_LOG_SCALE)
    return log_scale.exp()


class InfoNCE(nn.Module):
    """Symmetric InfoNCE between ECGs and texts.

    ``L = (l(ecg -> text) + l(text -> ecg)) / 2`` over cosine similarities times a scale (CLIP, arXiv 2103.00020, figure 3;
    arXiv 2504.09302 with temperature 0.07).

    Args:
        temperature: Where the scale ``1 / temperature`` starts.
        learn_temperature: Learn the logarithm of the scale, clamped at 100; else it stays.
        positives: ``all``: every text that describes an ECG is its positive, weighted equally, and every ECG of a text is that
            text's (UniCL, arXiv 2204.03610, equation 3; SupCon, arXiv 2004.11362, equation 2). Equal texts are one. ``one``: the
            plain form of the paper: the i-th ECG and its own copy of its text are the only pair, and an equal text of another ECG
            is a negative; it wants one text per ECG (``caption: joined``).

    Raises:
        UserError: For another value of ``positives``, a temperature that is not positive, or ``one`` with several texts per ECG.

    """

    def __init__(self, temperature: float = 0.07, learn_temperature: bool = True, positives: str = "all") -> None:
        super().__init__()
        if positives not in ("all", "one"):
            raise UserError(f"loss infonce: positives {positives!r} is not one of all, one")
        if temperature <= 0:
            raise UserError(f"loss infonce: temperature {temperature} must be above 0")
        self.positives = positives
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)), requires_grad=learn_temperature)

    @property
    def scale(self) -> Tensor:
        """The factor on the cosine similarities, at most 100."""
        return _scale(self.log_scale)

    def forward(self, pairs: Pairs) -> Tensor:
        """Return the loss of the batch of all processes, a scalar in float32."""
        pairs = gather_pairs(pairs)
        # bf16 has 8 bits: similarities times 100 need more.
        with torch.autocast(pairs.ecg.device.type, enabled=False):
            logits = self.scale * pairs.ecg.float() @ pairs.text.float().T
            if self.positives == "one":
                if not bool((pairs.positives.sum(1) == 1).all()):
                    raise UserError("loss infonce: positives 'one' needs exactly one text per ECG: set data.caption to joined")
                logits = logits[:, pairs.positives.int().argmax(1)]
                own = torch.arange(len(logits), device=logits.device)
                return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
            # Not -inf: a row or column of which nothing is known would turn into NaN.
            logits = logits.masked_fill(~pairs.known, NEVER)
            return (_spread(logits, pairs.positives) + _spread(logits.T, pairs.positives.T)) / 2


class SigmoidLoss(nn.Module):
    """Each ECG against each text as a yes-or-no question (SigLIP, arXiv 2303.15343, equation 1 and section 3.2).

    Args:
        temperature: Where the scale ``1 / temperature`` starts; it is learned and clamped at 100.
        bias: Where the bias starts. SigLIP takes -10 for one positive among thousands; -5 suits a few among a hundred.

    """

    def __init__(self, temperature: float = 0.1, bias: float = -5.0) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))
        self.bias = nn.Parameter(torch.tensor(bias))

    @property
    def scale(self) -> Tensor:
        """The factor on the cosine similarities, at most 100."""
        return _scale(self.log_scale)

    def forward(self, pairs: Pairs) -> Tensor:
        """Return the loss of the batch of all processes, a scalar in float32: summed over texts, averaged over ECGs."""
        pairs = gather_pairs(pairs)
        with torch.autocast(pairs.ecg.device.type, enabled=False):
            logits = self.scale * pairs.ecg.float() @ pairs.text.float().T + self.bias
            each = F.binary_cross_entropy_with_logits(logits, pairs.positives.float(), reduction="none")
            return (each * pairs.known).sum() / len(logits)


LOSSES: dict[str, type[nn.Module]] = {"infonce": InfoNCE, "sigmoid": SigmoidLoss}
