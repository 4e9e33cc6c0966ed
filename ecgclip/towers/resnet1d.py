"""Residual networks for ECGs of any length and sampling rate."""

import torch
from torch import Tensor, nn

from ecgclip.errors import UserError
from ecgclip.towers.convolution import convolution
from ecgclip.towers.pooling import Pooling

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


def shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    """Return the shortcut of a residual block: the identity, or what brings it to the branch's channels and length."""
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    # Averaging before a 1x1 convolution keeps the samples that a strided 1x1 convolution would skip (ResNet-D,
    # arXiv 1812.01187).
    pool: nn.Module = nn.AvgPool2d((1, stride), (1, stride), ceil_mode=True) if stride > 1 else nn.Identity()
    return nn.Sequential(pool, convolution(inputs, outputs, 1), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two convolutions with a shortcut (He et al. 2016, arXiv 1512.03385, figure 5 left), along time."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv1 = convolution(inputs, outputs, kernel, stride)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = convolution(outputs, outputs, kernel)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = shortcut(inputs, outputs, stride)
        # Each block starts as its shortcut (arXiv 1706.02677, section 5.1): stable from the first step at a high learning rate.
        nn.init.zeros_(self.norm2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, 1, T)`` to ``(B, outputs, 1, ceil(T / stride))``."""
        y = self.relu(self.norm1(self.conv1(x)))
        return self.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class Bottleneck(nn.Module):
    """A convolution along time between two of kernel 1, on a quarter of the channels (arXiv 1512.03385, figure 5 right)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        hidden = outputs // 4
        self.conv1 = convolution(inputs, hidden, 1)
        self.norm1 = nn.BatchNorm2d(hidden)
        self.conv2 = convolution(hidden, hidden, kernel, stride)
        self.norm2 = nn.BatchNorm2d(hidden)
        self.conv3 = convolution(hidden, outputs, 1)
        self.norm3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = shortcut(inputs, outputs, stride)
        nn.init.zeros_(self.norm3.weight)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, 1, T)`` to ``(B, outputs, 1, ceil(T / stride))``."""
        y = self.relu(self.norm1(self.conv1(x)))
        y = self.relu(self.norm2(self.conv2(y)))
        return self.relu(self.norm3(self.conv3(y)) + self.shortcut(x))


class ResNet1d(nn.Module):
    """ResNet along time, as ``(1, k)`` convolutions over ``(B, C, 1, T)`` in channels-last order.

    That form computes what ``Conv1d`` computes, and on a CPU in bf16 it is about twice as fast; on a GPU it is cuDNN's own path.

    Good for: a first run and a comparison with published work, where ``resnet18`` is the usual tower of ECG-text models (arXiv
    2504.09302; MERL, arXiv 2403.06659). ``resnet50`` is for a large archive and a GPU.

    Learned numbers: ``resnet18`` 8,737,408; ``resnet34`` 16,600,960; ``resnet50`` 20,995,200.
    Records/s on two CPU cores, in training steps of 64 crops of 2.5 s at 100 Hz by itself (``make bench-towers``):
    467, 236 and 162.

    Args:
        depth: 18 or 34 (basic blocks) or 50 (bottleneck blocks), the numbers of the 2-D originals.
        width: Channels of the first stage; the last has eight times as many, and a bottleneck puts out four times as many again.
        kernel: Samples of the convolutions inside the blocks, odd.
        stem_kernel: Samples of the first convolution, odd.
        stem_stride: Stride of the first convolution. 2 suits 100 Hz; 500 Hz wants about 8 for the same view of time.
        pooling: ``mean_max``, ``attention`` or ``mean``; see :class:`~ecgclip.towers.pooling.Pooling`.
        leads: Input channels.

    Attributes:
        features: Length of the output vector.

    Raises:
        UserError: For a depth or pooling that does not exist, or an even kernel.
    """

    def __init__(
        self,
        depth: int = 18,
        width: int = 64,
        kernel: int = 7,
        stem_kernel: int = 15,
        stem_stride: int = 2,
        pooling: str = "mean_max",
        leads: int = 12,
    ) -> None:
        super().__init__()
        if depth not in BLOCKS:
            raise UserError(f"ecg tower: depth {depth} is not one of {', '.join(map(str, BLOCKS))}")
        if kernel % 2 == 0 or stem_kernel % 2 == 0:
            raise UserError(f"ecg tower: kernel {kernel} and stem_kernel {stem_kernel} must both be odd")
        self.stem = nn.Sequential(
            convolution(leads, width, stem_kernel, stem_stride),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.MaxPool2d((1, 3), stride=(1, 2), padding=(0, 1)),
        )
        make, expansion = (Bottleneck, 4) if depth >= 50 else (BasicBlock, 1)
        blocks: list[nn.Module] = []
        channels = width
        for stage, count in enumerate(BLOCKS[depth]):
            outputs = width * 2**stage * expansion
            for block in range(count):
                blocks.append(make(channels, outputs, kernel, stride=2 if stage > 0 and block == 0 else 1))
                channels = outputs
        self.blocks = nn.Sequential(*blocks)
        self.pooling = Pooling(pooling, channels)
        self.features = self.pooling.features
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # Missing in the stubs of torch.

    def forward(self, ecg: Tensor, lead_mask: Tensor | None = None) -> Tensor:
        """Reduce each ECG to one vector.

        Args:
            ecg: ``(B, 12, T)`` float, mV.
            lead_mask: ``(B, 12)`` bool, true where a lead was recorded. A missing lead is zeros, which is all this tower needs.

        Returns:
            ``(B, features)``.
        """
        x = ecg.unsqueeze(2).contiguous(memory_format=torch.channels_last)
        x = self.blocks(self.stem(x))
        vectors: Tensor = self.pooling(x.squeeze(2).transpose(1, 2))
        return vectors
