"""Convolution along time, the one layer that takes most of a training's time."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Where the gradient of the weights is quicker as matrix products: many channels, few samples (measured on CPUs with bf16 instructions).
CHANNELS, SAMPLES = 128, 64


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> "Convolution":
    """Return a convolution along time over ``(B, inputs, 1, T)`` that keeps the length (over its stride), without a bias."""
    return Convolution(inputs, outputs, (1, kernel), stride=(1, stride), padding=(0, kernel // 2), bias=False)


class Convolution(nn.Conv2d):
    """``nn.Conv2d`` with ``(1, k)`` kernels, whose training in bf16 on a CPU is quicker; the numbers are the same."""

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, 1, T)`` to ``(B, outputs, 1, ceil(T / stride))``."""
        bf16 = x.device.type == "cpu" and torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
        if bf16 and torch.is_grad_enabled() and self.in_channels >= CHANNELS and x.shape[-1] <= SAMPLES:
            y: Tensor = _ByTaps.apply(x.bfloat16(), self.weight.bfloat16(), self.stride[1])
            return y
        return super().forward(x)


class _ByTaps(torch.autograd.Function):
    """A convolution that takes the gradient of its weights tap by tap: for each, one matrix product over the samples it meets.

    The library's own kernel multiplies the zeros of the padding too, which of 8 samples and 7 taps is a fifth of the work.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return F.conv2d(x, weight, stride=(1, stride), padding=(0, weight.shape[-1] // 2))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        before, after = None, None
        if ctx.needs_input_grad[0]:
            padding = [0, weight.shape[-1] // 2]
            which = [True, False, False]
            before = torch.ops.aten.convolution_backward(
                gradient, x, weight, None, [1, ctx.stride], padding, [1, 1], False, [0, 0], 1, which
            )[0]
        if ctx.needs_input_grad[1]:
            after = _weight_gradient(x, gradient, weight.shape[-1], ctx.stride)
        return before, after, None


def _weight_gradient(x: Tensor, gradient: Tensor, kernel: int, stride: int) -> Tensor:
    """Return the gradient of a convolution's weights: ``(B, C, 1, T)`` and ``(B, O, 1, U)`` to ``(O, C, 1, kernel)``, channels last."""
    samples, outputs = x.shape[3], gradient.shape[3]
    inwards = x.squeeze(2).permute(2, 0, 1).contiguous()
    outwards = gradient.squeeze(2).permute(2, 0, 1).contiguous()
    taps = []
    for tap in range(kernel):
        # Output u meets sample u * stride + shift, where there is one.
        shift = tap - kernel // 2
        first = max(0, -(shift // stride))
        last = min(outputs - 1, (samples - 1 - shift) // stride)
        if last < first:
            taps.append(x.new_zeros(gradient.shape[1], x.shape[1]))
            continue
        met = inwards[first * stride + shift : last * stride + shift + 1 : stride]
        taps.append(outwards[first : last + 1].flatten(0, 1).T @ met.flatten(0, 1))
    return torch.stack(taps, dim=1).permute(0, 2, 1).unsqueeze(2)
