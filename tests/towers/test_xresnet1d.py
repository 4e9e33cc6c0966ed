"""xresnet against the same network out of plain Conv1d, with each of its options."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecgclip.errors import UserError
from ecgclip.towers import ECG_TOWERS, XResNet1d
from ecgclip.towers.drop_path import DropPath
from ecgclip.towers.xresnet1d import Blur, SqueezeExcite


def tower(**arguments: Any) -> XResNet1d:
    torch.manual_seed(0)
    made = XResNet1d(**({"width": 8} | arguments))
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, std=0.1)
    return made


def ecgs(batch: int = 4, length: int = 250) -> Tensor:
    return torch.randn(batch, 12, length, generator=torch.Generator().manual_seed(1))


def blur(x: Tensor) -> Tensor:
    """The paper's depth-wise convolution, the ends repeated."""
    kernel = torch.tensor([1.0, 2.0, 1.0], dtype=x.dtype) / 4
    return F.conv1d(F.pad(x, (1, 1), mode="replicate"), kernel.repeat(x.shape[1], 1, 1), stride=2, groups=x.shape[1])


def slow(made: XResNet1d, ecg: Tensor, stem_stride: int, antialias: bool) -> Tensor:
    """The network in training mode, layer by layer in Conv1d."""

    def run(layers: nn.Module, x: Tensor) -> Tensor:
        for layer in layers.children():
            if isinstance(layer, nn.Conv2d):
                size = layer.kernel_size[1]
                x = F.conv1d(x, layer.weight.squeeze(2), stride=layer.stride[1], padding=size // 2)
            elif isinstance(layer, nn.BatchNorm2d):
                x = (x - x.mean((0, 2), keepdim=True)) / (x.var((0, 2), unbiased=False, keepdim=True) + 1e-5).sqrt()
                x = x * layer.weight[:, None] + layer.bias[:, None]
            elif isinstance(layer, nn.ReLU):
                x = x.clamp(min=0)
            elif isinstance(layer, SqueezeExcite):
                hidden = (x.mean(2) @ layer.squeeze.weight.T + layer.squeeze.bias).clamp(min=0)
                x = x / (1 + (-(hidden @ layer.excite.weight.T + layer.excite.bias)).exp())[:, :, None]
            elif isinstance(layer, Blur):
                x = blur(x)
            elif isinstance(layer, nn.AvgPool2d):
                x = F.avg_pool1d(x, 2, ceil_mode=True)
            else:
                assert isinstance(layer, nn.MaxPool2d | nn.Identity)
                x = F.max_pool1d(x, 3, stride=1 if antialias else 2, padding=1) if isinstance(layer, nn.MaxPool2d) else x
        return x

    assert made.stem[0].stride[1] == stem_stride
    x = run(made.stem, ecg)
    for block in made.blocks:
        x = (run(block.branch, x) + run(block.shortcut, x)).clamp(min=0)
    return torch.cat((x.mean(2), x.max(2).values), dim=1)


@pytest.mark.parametrize(
    ("depth", "se", "antialias", "stem_stride", "length"),
    [(18, True, True, 2, 250), (18, False, False, 2, 333), (34, 4, False, 5, 777), (50, False, True, 2, 251), (101, True, True, 1, 130)],
)
def test_equals_conv1d(depth: int, se: bool | int, antialias: bool, stem_stride: int, length: int) -> None:
    made = tower(depth=depth, se=se, antialias=antialias, stem_stride=stem_stride, growth=1.5).double()
    ecg = ecgs(length=length).double()
    outputs = (slow(made, ecg, stem_stride, antialias), made(ecg))
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-5, atol=1e-8)
    aim = torch.randn_like(outputs[0])
    gradients = [torch.autograd.grad((output * aim).sum(), list(made.parameters())) for output in outputs]
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("length", [1, 2, 7, 64, 125])
def test_blur_is_the_papers_filter(length: int) -> None:
    x = torch.randn(2, 3, length, dtype=torch.float64)
    torch.testing.assert_close(Blur()(x.unsqueeze(2)).squeeze(2), blur(x))
    # The highest frequency, which a lower rate would take for another, is gone.
    alternating = torch.tensor([1.0, -1.0]).repeat(32).view(1, 1, 1, 64)
    assert Blur()(alternating)[..., 1:].abs().max() < 1e-7


def test_runs_in_channels_last_bf16() -> None:
    made, wrong = tower(width=16, drop_path=0.1), []

    def look(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if output.ndim == 4 and not (output.dtype == torch.bfloat16 and output.is_contiguous(memory_format=torch.channels_last)):
            wrong.append(type(module).__name__)

    for module in made.modules():
        module.register_forward_hook(look)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made(ecgs())
    assert wrong == []


@pytest.mark.parametrize("depth", [18, 50])
def test_blocks_start_as_their_shortcuts(depth: int) -> None:
    torch.manual_seed(0)
    made = XResNet1d(depth=depth, width=8).eval()
    x = torch.rand(2, made.blocks[1].branch[0].weight.shape[1], 1, 50)
    torch.testing.assert_close(made.blocks[1](x), x)


def test_the_benchmarks_form_is_equally_wide_and_can_be_told_otherwise() -> None:
    assert ECG_TOWERS["xresnet101"]().features == 2 * 256
    assert ECG_TOWERS["xresnet101"](growth=2, width=8).features == 2 * 256


def test_drop_path_leaves_out_whole_records_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    out = DropPath(0.25)(torch.ones(4000, 2, 3))
    flat = out.flatten(1)
    assert (flat == flat[:, :1]).all()
    assert sorted(set(flat[:, 0].tolist())) == pytest.approx([0, 1 / 0.75])
    assert out.mean() == pytest.approx(1, abs=0.03)
    assert torch.equal(DropPath(0.25).eval()(out), out)


def test_drop_path_grows_with_depth() -> None:
    found = [module.probability for module in tower(drop_path=0.7).modules() if isinstance(module, DropPath)]
    assert found == pytest.approx([0.1 * number for number in range(1, 8)])  # The first block always stays.


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({"depth": 20}, "depth 20 is not one of 18, 34, 50, 101"),
        ({"kernel": 4}, "kernel 4 "),
        ({"stem_kernel": 16}, "stem_kernel 16"),
        ({"se": -1}, "se -1 must be"),
    ],
)
def test_bad_arguments_are_one_line(arguments: dict[str, int], found: str) -> None:
    with pytest.raises(UserError, match=found) as error:
        XResNet1d(**arguments)
    assert "\n" not in str(error.value)
