"""A structured state space model for ECGs: every layer looks along the whole record."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ecgclip.errors import UserError
from ecgclip.towers.drop_path import DropPath, check_probabilities
from ecgclip.towers.pooling import Pooling

STEPS = (0.001, 0.1)  # Between which the steps of the channels begin, log-uniformly (S4D, arXiv 2206.11893, section 5).


class CircularConvolution(torch.autograd.Function):
    """``y[b, c, t] = sum_s x[b, c, s] k[c, (t - s) mod size]``, by FFT.

    Its gradients are correlations, which are real as well. Autograd would not know so, and take complex FFTs of twice the cost.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor) -> Tensor:
        """Return ``(B, channels, T)`` for ``x`` of that shape and a ``kernel`` of ``(channels, size)``."""
        length, size = x.shape[-1], kernel.shape[-1]
        x_waves, kernel_waves = torch.fft.rfft(x, n=size), torch.fft.rfft(kernel)
        ctx.save_for_backward(x_waves, kernel_waves)
        ctx.size = size
        return torch.fft.irfft(x_waves * kernel_waves, n=size)[..., :length]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients of ``x`` and ``kernel``."""
        x_waves, kernel_waves = ctx.saved_tensors
        waves = torch.fft.rfft(gradient, n=ctx.size)
        of_x = torch.fft.irfft(waves * kernel_waves.conj(), n=ctx.size)[..., : gradient.shape[-1]]
        of_kernel = torch.fft.irfft((waves * x_waves.conj()).sum(0), n=ctx.size)
        return of_x, of_kernel


class DiagonalStateSpace(nn.Module):
    """A diagonal state space model per channel, run along time in both directions (S4D, arXiv 2206.11893; S4, arXiv 2111.00396).

    Each channel is ``x' = A x + u``, ``y = 2 Re(C x) + D u`` with ``state / 2`` complex states that stand for conjugate pairs, held
    constant between samples. Its kernel at lag ``l`` (S4D, equations 2 and 3, zero-order hold) is
    ``2 Re sum_n C_n (exp(dt A_n) - 1) / A_n exp(l dt A_n)``. Past and future share ``A`` and ``dt`` and have a ``C`` each; the future
    begins at the next sample, so that the present counts once.

    ``A``, ``dt`` and ``D`` are vectors, not matrices, on purpose: weight decay, which goes for matrices, would pull the time constants
    to values of no meaning.

    Args:
        channels: Independent systems.
        state: Real state variables of each, even.
        time_scale: Factor on every ``dt``: how many of the samples that it was trained on one sample now lasts.
    """

    def __init__(self, channels: int, state: int, time_scale: float = 1.0) -> None:
        super().__init__()
        self.channels, self.time_scale = channels, time_scale
        pairs = state // 2
        low, high = map(math.log, STEPS)
        self.log_step = nn.Parameter(torch.rand(channels) * (high - low) + low)
        # S4D-Lin (section 4.2): A_n = -1/2 + i pi n.
        self.log_decay = nn.Parameter(torch.full((channels * pairs,), math.log(0.5)))
        self.frequency = nn.Parameter((math.pi * torch.arange(pairs, dtype=torch.float32)).repeat(channels))
        self.c = nn.Parameter(torch.randn(2, channels, pairs, 2) * 0.5**0.5)
        self.d = nn.Parameter(torch.randn(channels))

    def kernels(self, length: int) -> Tensor:
        """Return the kernels of past and future, ``(2, channels, length)``."""
        a = torch.complex(-self.log_decay.exp(), self.frequency).view(self.channels, -1)
        da = a * (self.log_step.exp() * self.time_scale).unsqueeze(1)
        # C absorbs B: (exp(dt A) - 1) / A is what a sample of 1, held for dt, leaves in the state.
        c = torch.view_as_complex(self.c) * (torch.expm1(da) / a)
        powers = torch.exp(da.unsqueeze(-1) * torch.arange(length, device=da.device, dtype=self.log_step.dtype))
        return 2 * torch.einsum("dcn,cnl->dcl", c, powers).real

    def forward(self, u: Tensor) -> Tensor:
        """Convolve, in at least fp32: there is no FFT in bf16.

        Args:
            u: ``(B, T, channels)`` float.

        Returns:
            ``(B, T, channels)`` of the same dtype.
        """
        length = u.shape[1]
        size = -(-2 * length // 64) * 64  # At least 2 T, so that the ends do not meet; with small factors, so that the FFT is fast.
        with torch.autocast(u.device.type, enabled=False):
            x = u.to(torch.promote_types(u.dtype, torch.float32)).transpose(1, 2)
            past, future = self.kernels(length)
            # Lag -1 lies at the end of a circle, lag -2 before it.
            kernel = F.pad(past, (0, size - length)) + F.pad(future.flip(-1), (size - length, 0)) + F.pad(self.d[:, None], (0, size - 1))
            y: Tensor = CircularConvolution.apply(x, kernel)
        # What comes after goes over channels: on a transposed view it would take several times as long.
        return y.transpose(1, 2).to(u.dtype, memory_format=torch.contiguous_format)


class ChannelDropout(nn.Module):
    """Dropout of whole channels of a record, as the authors of S4 use it: single samples would be filled in by their neighbours."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, channels)`` to the same shape."""
        return x * F.dropout(x.new_ones(len(x), 1, x.shape[2]), self.probability) if self.training and self.probability else x


class S4DBlock(nn.Module):
    """A state space model along time, then a gated mix of its channels, beside a shortcut."""

    def __init__(self, channels: int, state: int, time_scale: float, prenorm: bool, dropout: float, drop_path: float) -> None:
        super().__init__()
        self.prenorm = prenorm
        self.norm = nn.LayerNorm(channels)
        self.system = DiagonalStateSpace(channels, state, time_scale)
        self.mix = nn.Sequential(nn.GELU(), ChannelDropout(dropout), nn.Linear(channels, 2 * channels), nn.GLU(), ChannelDropout(dropout))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, channels)`` to the same shape."""
        if self.prenorm:
            out: Tensor = x + self.drop_path(self.mix(self.system(self.norm(x))))
        else:
            out = self.norm(x + self.drop_path(self.mix(self.system(x))))
        return out


class S4D(nn.Module):
    """Stacked diagonal state space models (S4D, arXiv 2206.11893; for ECGs Mehari & Strodthoff, arXiv 2211.07579).

    Nothing in it is tied to a number of samples: it reads any length, and as its kernels are functions of continuous time, one that
    was trained at 100 Hz reads 500 Hz with ``time_scale`` 0.2.

    Good for: rhythm and what else needs the whole record, and few numbers: state space models hold the record on PTB-XL, where 100 Hz
    and crops of 3 s were found to be enough (arXiv 2211.07579).

    Learned numbers: ``s4d`` 160,640.
    Records/s on two CPU cores, in training steps of 64 crops of 2.5 s at 100 Hz by itself (``make bench-towers``): 291.

    Args:
        width: Channels.
        depth: Blocks.
        state: Real state variables of a channel and direction, even.
        prenorm: Whether a block's norm comes first or last.
        time_scale: Samples of the training rate that a sample lasts: the training rate over the rate that is read.
        pooling: ``mean_max``, ``attention`` or ``mean``; see :class:`~ecgclip.towers.pooling.Pooling`.
        dropout: In the blocks, in [0, 1).
        drop_path: Probability of leaving out the last block's branch, in [0, 1); that of the others grows towards it from 0.
        leads: Input channels.

    Attributes:
        features: Length of the output vector.

    Raises:
        UserError: For a pooling that does not exist, an odd state, a time scale of 0 or less, or a probability out of range.
    """

    def __init__(
        self,
        width: int = 128,
        depth: int = 4,
        state: int = 16,
        prenorm: bool = True,
        time_scale: float = 1.0,
        pooling: str = "mean_max",
        dropout: float = 0.1,
        drop_path: float = 0.0,
        leads: int = 12,
    ) -> None:
        super().__init__()
        if state % 2 or state < 2:
            raise UserError(f"ecg tower: state {state} must be even and at least 2")
        if time_scale <= 0:
            raise UserError(f"ecg tower: time_scale {time_scale} must be above 0")
        check_probabilities(dropout=dropout, drop_path=drop_path)
        self.encoder = nn.Linear(leads, width)
        paths = [drop_path * number / max(1, depth - 1) for number in range(depth)]
        self.blocks = nn.Sequential(*(S4DBlock(width, state, time_scale, prenorm, dropout, path) for path in paths))
        self.norm = nn.LayerNorm(width) if prenorm else nn.Identity()
        self.pooling = Pooling(pooling, width)
        self.features = self.pooling.features

    def forward(self, ecg: Tensor, lead_mask: Tensor | None = None) -> Tensor:
        """Reduce each ECG to one vector.

        Args:
            ecg: ``(B, 12, T)`` float, mV.
            lead_mask: ``(B, 12)`` bool, true where a lead was recorded. A missing lead is zeros, which is all this tower needs.

        Returns:
            ``(B, features)``.
        """
        x = self.norm(self.blocks(self.encoder(ecg.transpose(1, 2))))
        vectors: Tensor = self.pooling(x)
        return vectors
