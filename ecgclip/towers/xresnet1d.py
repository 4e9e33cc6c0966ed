"""xresnet for ECGs: the residual network that leads the PTB-XL benchmark, with the options that came after it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecgclip.errors import UserError
from ecgclip.towers.convolution import convolution
from ecgclip.towers.drop_path import DropPath, check_probabilities
from ecgclip.towers.pooling import Pooling
from ecgclip.towers.resnet1d import BLOCKS, shortcut

SE_RATIO = 16  # Squeeze-excite's own (arXiv 1709.01507, section 6.1).


class Blur(nn.Module):
    """Halve the rate after a triangular low-pass, ``(1, 2, 1) / 4`` (arXiv 1904.11486, "Triangle-3").

    As two averages of neighbours it computes what the depth-wise convolution of the paper computes, except that the first and last
    sample stand in for what lies beyond them, and on a CPU it takes a third of the time.
    """

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, 1, T)`` to ``(B, C, 1, ceil(T / 2))``."""
        x = F.avg_pool2d(x, (1, 2), stride=1, padding=(0, 1), count_include_pad=False)
        return F.avg_pool2d(x, (1, 2))


class SqueezeExcite(nn.Module):
    """Scale each channel by what all channels do on average over time (arXiv 1709.01507, equations 2 to 4)."""

    def __init__(self, channels: int, ratio: int) -> None:
        super().__init__()
        hidden = max(8, channels // ratio)
        self.squeeze = nn.Linear(channels, hidden)
        self.excite = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, 1, T)`` to the same shape."""
        # In channels-last order this view is plain (B, T, C): a mean or a gradient's sum over T takes a third of the time that it
        # takes over the last axis of x.
        x = x.squeeze(2).transpose(1, 2)
        gate = self.excite(self.squeeze(x.mean(1)).relu()).sigmoid()
        return (x * gate.unsqueeze(1)).transpose(1, 2).unsqueeze(2)


class XBlock(nn.Module):
    """A residual block of xresnet: basic (two convolutions along time) or bottleneck (one, between two of kernel 1).

    Args:
        inputs: Channels that come in.
        hidden: Channels of the convolutions; a bottleneck puts out four times as many.
        bottleneck: Which of the two.
        kernel: Samples of a convolution along time.
        stride: 1 or 2.
        se: Ratio of squeeze-excite; 0 for none.
        antialias: Whether the rate is halved by :class:`Blur` in place of a strided convolution.
        drop_path: Probability of leaving the branch out.
    """

    def __init__(
        self, inputs: int, hidden: int, *, bottleneck: bool, kernel: int, stride: int, se: int, antialias: bool, drop_path: float
    ) -> None:
        super().__init__()
        outputs = hidden * (4 if bottleneck else 1)
        layers: list[nn.Module] = []
        if bottleneck:
            layers += [convolution(inputs, hidden, 1), nn.BatchNorm2d(hidden), nn.ReLU(inplace=True)]
        # The stride sits on a convolution that looks along time, so no sample is skipped (arXiv 1812.01187, figure 2b).
        layers += [
            convolution(hidden if bottleneck else inputs, hidden, kernel, 1 if antialias else stride),
            nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
        ]
        if antialias and stride > 1:
            layers.append(Blur())
        last = nn.BatchNorm2d(outputs)
        nn.init.zeros_(last.weight)  # Each block starts as its shortcut.
        layers += [convolution(hidden, outputs, 1 if bottleneck else kernel), last]
        if se:
            layers.append(SqueezeExcite(outputs, se))
        if drop_path:
            layers.append(DropPath(drop_path))
        self.branch = nn.Sequential(*layers)
        self.shortcut = shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, 1, T)`` to ``(B, outputs, 1, ceil(T / stride))``."""
        return F.relu(self.branch(x) + self.shortcut(x), inplace=True)


class XResNet1d(nn.Module):
    """xresnet along time (arXiv 1812.01187; for ECGs Strodthoff et al. 2020, doi:10.1109/JBHI.2020.3022989).

    Like :class:`~ecgclip.towers.resnet1d.ResNet1d`, it computes in ``(1, k)`` convolutions over ``(B, C, 1, T)`` in channels-last order.

    Good for: accuracy on a CPU. Kernels of 5 and a stem of three short convolutions cost less than ResNet's 7 and 15, and pay for
    squeeze-excite and anti-aliasing. ``xresnet50`` and ``xresnet101`` are small and deep, the latter the convolutional network that
    leads the PTB-XL benchmark.

    Learned numbers: ``xresnet18`` 6,392,192; ``xresnet34`` 12,083,768; ``xresnet50`` 1,219,968; ``xresnet101`` 2,282,128.
    Records/s on two CPU cores, in training steps of 64 crops of 2.5 s at 100 Hz by itself (``make bench-towers``):
    552, 297, 607 and 351.

    Args:
        depth: 18, 34 (basic blocks), 50 or 101 (bottleneck blocks).
        width: Channels of the first stage, times four in a bottleneck's output.
        growth: Channels of each further stage over the one before. 2 is the 2-D original's; the xresnet1d of the PTB-XL benchmark
            keeps all stages equally wide, 1, and so do ``xresnet50`` and ``xresnet101`` unless told otherwise.
        kernel: Samples of the convolutions inside the blocks, odd.
        stem_kernel: Samples of each of the three convolutions of the stem, odd.
        stem_stride: Stride of the first convolution. 2 suits 100 Hz; 500 Hz wants about 8 for the same view of time, and then a
            ``stem_kernel`` of 15 or more.
        se: Squeeze-excite in every block: true for the ratio 16, a number for another ratio, false for none.
        antialias: Low-pass before the rate is halved, in the blocks and in the stem's pooling.
        pooling: ``mean_max``, ``attention`` or ``mean``; see :class:`~ecgclip.towers.pooling.Pooling`.
        dropout: Of the output, in [0, 1).
        drop_path: Probability of leaving out the last block's branch, in [0, 1); that of the others grows towards it from 0.
        leads: Input channels.

    Attributes:
        features: Length of the output vector.

    Raises:
        UserError: For a depth or pooling that does not exist, an even kernel, or a probability out of range.
    """

    def __init__(
        self,
        depth: int = 18,
        width: int = 64,
        growth: float = 2.0,
        kernel: int = 5,
        stem_kernel: int = 5,
        stem_stride: int = 2,
        se: bool | int = True,
        antialias: bool = True,
        pooling: str = "mean_max",
        dropout: float = 0.0,
        drop_path: float = 0.0,
        leads: int = 12,
    ) -> None:
        super().__init__()
        if depth not in BLOCKS:
            raise UserError(f"ecg tower: depth {depth} is not one of {', '.join(map(str, BLOCKS))}")
        if kernel % 2 == 0 or stem_kernel % 2 == 0:
            raise UserError(f"ecg tower: kernel {kernel} and stem_kernel {stem_kernel} must both be odd")
        check_probabilities(dropout=dropout, drop_path=drop_path)
        ratio = SE_RATIO if se is True else int(se)
        if ratio < 0:
            raise UserError(f"ecg tower: se {se} must be true, false or a ratio above 0")
        self.stem = self._stem(leads, width, stem_kernel, stem_stride, antialias)
        blocks: list[nn.Module] = []
        bottleneck, counts = depth >= 50, BLOCKS[depth]
        channels, total = width, sum(counts)
        for stage, count in enumerate(counts):
            hidden = round(width * growth**stage)
            for block in range(count):
                blocks.append(
                    XBlock(
                        channels,
                        hidden,
                        bottleneck=bottleneck,
                        kernel=kernel,
                        stride=2 if stage > 0 and block == 0 else 1,
                        se=ratio,
                        antialias=antialias,
                        drop_path=drop_path * len(blocks) / max(1, total - 1),
                    )
                )
                channels = hidden * (4 if bottleneck else 1)
        self.blocks = nn.Sequential(*blocks)
        self.pooling = Pooling(pooling, channels)
        self.dropout = nn.Dropout(dropout)
        self.features = self.pooling.features
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # Missing in the stubs of torch.

    @staticmethod
    def _stem(leads: int, width: int, kernel: int, stride: int, antialias: bool) -> nn.Sequential:
        layers: list[nn.Module] = []
        sizes = (leads, width // 2, width // 2, width)
        for number in range(3):
            outputs = sizes[number + 1]
            layers.append(convolution(sizes[number], outputs, kernel, stride if number == 0 else 1))
            layers += [nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
        if antialias:
            layers += [nn.MaxPool2d((1, 3), stride=1, padding=(0, 1)), Blur()]
        else:
            layers.append(nn.MaxPool2d((1, 3), stride=(1, 2), padding=(0, 1)))
        return nn.Sequential(*layers)

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
        vectors: Tensor = self.dropout(self.pooling(x.squeeze(2).transpose(1, 2)))
        return vectors
