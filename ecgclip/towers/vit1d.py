"""A vision transformer for ECGs whose tokens are stretches of single leads, so that any set of leads can be read."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecgclip.errors import UserError
from ecgclip.towers.drop_path import DropPath, check_probabilities
from ecgclip.towers.pooling import Pooling

AMPLITUDE = 0.25  # mV, about the root mean square of a lead: patches start as vectors of the size of their positions.
SHORT = 512  # Tokens.


def sinusoids(count: int, width: int, device: torch.device) -> Tensor:
    """Return the position vectors of "Attention is all you need" (arXiv 1706.03762, section 3.5), ``(count, width)`` float32.

    Args:
        count: Positions, from 0 on; any number.
        width: Even.
        device: Of the result.
    """
    wave = 10_000.0 ** (-torch.arange(0, width, 2, device=device, dtype=torch.float32) / width)
    angle = torch.arange(count, device=device, dtype=torch.float32)[:, None] * wave
    return torch.cat((angle.sin(), angle.cos()), dim=1)


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float = 0.0) -> Tensor:
    """Return ``softmax(query key^T / sqrt(d)) value`` for ``(B, heads, N, d)`` each and a ``mask`` of ``(B, 1, 1, N)`` bool or None."""
    if query.device.type != "cpu" or query.shape[2] > SHORT:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
    # For few tokens in bf16 the two products by themselves take a third of the time of torch's fused kernel for CPUs.
    scores = (query * query.shape[3] ** -0.5) @ key.transpose(2, 3)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    weights = scores.softmax(-1)
    return (F.dropout(weights, dropout) if dropout else weights) @ value


class EncoderBlock(nn.Module):
    """Self-attention, then two linear layers, each after a norm and beside a shortcut (ViT, arXiv 2010.11929, equations 2 and 3)."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float, drop_path: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.output = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, width))
        self.drop = nn.Sequential(nn.Dropout(dropout), DropPath(drop_path))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Let tokens look at each other.

        Args:
            x: ``(B, N, width)``.
            mask: ``(B, 1, 1, N)`` bool, the tokens that may be looked at; None for all.

        Returns:
            ``(B, N, width)``.
        """
        query, key, value = self.qkv(self.norm1(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        seen = attention(query, key, value, mask, dropout)
        x = x + self.drop(self.output(seen.transpose(1, 2).flatten(2)))
        out: Tensor = x + self.drop(self.mlp(self.norm2(x)))
        return out


class ViT1d(nn.Module):
    """Vision transformer over per-lead patches (ViT, arXiv 2010.11929; lead tokens and lead masks as in K-MERL, arXiv 2502.17900).

    Each lead is cut into patches of its own; a patch is a token, which knows its time by sinusoids and its lead by a learned vector.
    The tokens of a missing lead take part in nothing, so 12, 6, 3 leads or one are read by the same weights, and what lies in a lead
    that is marked as missing cannot change the output.

    Good for: archives and devices with fewer leads, and large data: with few records a convolution's view of time is worth more than
    a transformer's freedom. Its time grows with the tokens, which a longer ``patch`` makes fewer.

    Learned numbers: ``vit`` 2,673,600.
    Records/s on two CPU cores, in training steps of 64 crops of 2.5 s at 100 Hz by itself (``make bench-towers``): 123.

    Args:
        patch: Samples of a patch; 25 are 0.25 s at 100 Hz. Another rate wants another patch.
        width: Channels of a token, even.
        depth: Blocks.
        heads: Attention heads.
        mlp_ratio: Width of the layer inside a block over that of a token.
        pooling: ``mean_max``, ``attention`` or ``mean``; see :class:`~ecgclip.towers.pooling.Pooling`.
        dropout: In the blocks, in [0, 1).
        drop_path: Probability of leaving out a branch of the last block, in [0, 1); that of the others grows towards it from 0.
        leads: Leads that there can be.

    Attributes:
        features: Length of the output vector.

    Raises:
        UserError: For a pooling that does not exist, an odd width or one that ``heads`` does not divide, or a probability out of range.
    """

    def __init__(
        self,
        patch: int = 25,
        width: int = 192,
        depth: int = 6,
        heads: int = 3,
        mlp_ratio: float = 4.0,
        pooling: str = "mean_max",
        dropout: float = 0.0,
        drop_path: float = 0.0,
        leads: int = 12,
    ) -> None:
        super().__init__()
        if width % heads or width % 2:
            raise UserError(f"ecg tower: width {width} must be even and a multiple of heads {heads}")
        if patch < 1:
            raise UserError(f"ecg tower: patch {patch} must be at least 1 sample")
        check_probabilities(dropout=dropout, drop_path=drop_path)
        self.patch = patch
        self.embedding = nn.Linear(patch, width)
        nn.init.normal_(self.embedding.weight, std=1 / (AMPLITUDE * patch**0.5))
        nn.init.zeros_(self.embedding.bias)
        self.lead = nn.Parameter(torch.randn(leads, width) * 0.5)
        self.position = nn.Parameter(torch.full((width,), 0.5))
        hidden = round(mlp_ratio * width)
        paths = [drop_path * number / max(1, depth - 1) for number in range(depth)]
        self.blocks = nn.ModuleList(EncoderBlock(width, heads, hidden, dropout, path) for path in paths)
        self.norm = nn.LayerNorm(width)
        self.pooling = Pooling(pooling, width)
        self.features = self.pooling.features

    def forward(self, ecg: Tensor, lead_mask: Tensor | None = None) -> Tensor:
        """Reduce each ECG to one vector.

        Args:
            ecg: ``(B, 12, T)`` float, mV. The last patch is filled up with zeros.
            lead_mask: ``(B, 12)`` bool, true where a lead was recorded; None where all were. A record without any lead is read as
                twelve leads of zeros.

        Returns:
            ``(B, features)``.
        """
        if lead_mask is not None:
            ecg = ecg.masked_fill(~lead_mask.unsqueeze(-1), 0.0)
            lead_mask = lead_mask | ~lead_mask.any(1, keepdim=True)  # Attention over nothing would be 0 / 0.
        ecg = F.pad(ecg, (0, -ecg.shape[-1] % self.patch))
        x = self.embedding(ecg.unflatten(2, (-1, self.patch)))  # (B, leads, patches, width)
        times = sinusoids(x.shape[2], x.shape[3], x.device) * self.position
        x = (x + (self.lead[:, None] + times)).flatten(1, 2)
        present = None if lead_mask is None else lead_mask.repeat_interleave(times.shape[0], dim=1)
        mask = None if present is None else present[:, None, None, :]
        for block in self.blocks:
            x = block(x, mask)
        vectors: Tensor = self.pooling(self.norm(x), present)
        return vectors
