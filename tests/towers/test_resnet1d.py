"""ResNet: the same numbers as plain Conv1d, in the memory order that is fast."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecgclip.errors import UserError
from ecgclip.towers import ResNet1d


def tower(**arguments: Any) -> ResNet1d:
    """A narrow tower whose blocks and norms are past their start, where half of them multiply by zero."""
    torch.manual_seed(0)
    made = ResNet1d(**({"width": 8} | arguments))
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    return made


def ecgs(batch: int = 4, length: int = 250) -> Tensor:
    return torch.randn(batch, 12, length, generator=torch.Generator().manual_seed(1))


def slow(made: ResNet1d, ecg: Tensor, kernel: int, stem_kernel: int, stem_stride: int) -> Tensor:
    """The same network out of Conv1d, BatchNorm1d and AvgPool1d, read from its weights by name."""
    weights = dict(made.named_parameters()) | dict(made.named_buffers())

    def convolve(x: Tensor, name: str, size: int, stride: int) -> Tensor:
        return F.conv1d(x, weights[f"{name}.weight"].squeeze(2), stride=stride, padding=size // 2)

    def norm(x: Tensor, name: str) -> Tensor:
        mean, variance = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
        if made.training:
            mean, variance = x.mean((0, 2)), x.var((0, 2), unbiased=False)
        scaled = (x - mean[:, None]) / (variance[:, None] + 1e-5).sqrt()
        return scaled * weights[f"{name}.weight"][:, None] + weights[f"{name}.bias"][:, None]

    x = F.max_pool1d(norm(convolve(ecg, "stem.0", stem_kernel, stem_stride), "stem.1").relu(), 3, stride=2, padding=1)
    for number in range(len(made.blocks)):
        block = f"blocks.{number}"
        # Only the first block of a stage has a shortcut of its own, and all stages but the first halve the rate.
        widened = f"{block}.shortcut.1.weight" in weights
        stride = 2 if widened and number > 0 else 1
        if f"{block}.conv3.weight" in weights:
            y = norm(convolve(x, f"{block}.conv1", 1, 1), f"{block}.norm1").relu()
            y = norm(convolve(y, f"{block}.conv2", kernel, stride), f"{block}.norm2").relu()
            y = norm(convolve(y, f"{block}.conv3", 1, 1), f"{block}.norm3")
        else:
            y = norm(convolve(x, f"{block}.conv1", kernel, stride), f"{block}.norm1").relu()
            y = norm(convolve(y, f"{block}.conv2", kernel, 1), f"{block}.norm2")
        if widened:
            x = F.avg_pool1d(x, 2, 2, ceil_mode=True) if stride == 2 else x
            x = norm(convolve(x, f"{block}.shortcut.1", 1, 1), f"{block}.shortcut.2")
        x = (x + y).relu()
    return torch.cat((x.mean(2), x.max(2).values), dim=1)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("depth", "kernel", "stem_kernel", "stem_stride", "length"), [(18, 7, 15, 2, 250), (34, 3, 9, 5, 777), (50, 5, 15, 2, 333)]
)
def test_equals_conv1d(training: bool, depth: int, kernel: int, stem_kernel: int, stem_stride: int, length: int) -> None:
    made = tower(depth=depth, kernel=kernel, stem_kernel=stem_kernel, stem_stride=stem_stride).double().train(training)
    ecg = ecgs(length=length).double()
    # Before: a training step moves the running means.
    expected = slow(made, ecg, kernel, stem_kernel, stem_stride)
    torch.testing.assert_close(made(ecg), expected, rtol=1e-5, atol=1e-8)
    single = made.float().eval()
    torch.testing.assert_close(single(ecg.float()), slow(single, ecg.float(), kernel, stem_kernel, stem_stride), rtol=1e-5, atol=1e-5)


def test_gradients_equal_those_of_conv1d() -> None:
    made = tower().double()
    gradients = []
    for output in (slow(made, ecgs().double(), 7, 15, 2), made(ecgs().double())):
        gradients.append(torch.autograd.grad((output * torch.arange(128)).sum(), list(made.parameters())))
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-5, atol=1e-8)


def test_runs_in_channels_last_order() -> None:
    made, orders = tower(), []
    for module in made.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1):
            module.register_forward_hook(lambda m, inputs, output: orders.append(output.is_contiguous(memory_format=torch.channels_last)))
    made(ecgs())
    assert len(orders) == 17 and all(orders)


def test_other_rates_and_leads() -> None:
    made = ResNet1d(width=8, stem_stride=8, leads=2).eval()
    assert made(ecgs(3, 5000)[:, :2]).shape == (3, 128)


def test_mean_then_maximum_over_time() -> None:
    made = tower().eval()
    vectors = made(ecgs())
    assert (vectors[:, :64] <= vectors[:, 64:]).all() and (vectors[:, :64] < vectors[:, 64:]).any()


def test_blocks_start_as_their_shortcuts() -> None:
    torch.manual_seed(0)
    made = ResNet1d(width=8).eval()
    x = torch.rand(2, 8, 1, 50)
    torch.testing.assert_close(made.blocks[0](x), x)


def test_bf16_autocast_is_close_to_fp32() -> None:
    made = tower().eval()
    exact = made(ecgs())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = made(ecgs())
    assert rough.dtype == torch.bfloat16
    assert F.cosine_similarity(exact, rough.float()).min() > 0.999
    assert (rough.float() - exact).norm() < 0.03 * exact.norm()


@pytest.mark.parametrize(
    ("arguments", "found"),
    [({"depth": 20}, "depth 20 is not one of 18, 34, 50"), ({"kernel": 8}, "kernel 8 "), ({"stem_kernel": 16}, "stem_kernel 16")],
)
def test_bad_arguments_are_one_line(arguments: dict[str, int], found: str) -> None:
    with pytest.raises(UserError, match=found) as error:
        ResNet1d(**arguments)
    assert "\n" not in str(error.value)
