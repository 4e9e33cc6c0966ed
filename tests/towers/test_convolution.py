"""The convolution along time, against PyTorch's own."""

import pytest
import torch
import torch.nn.functional as F

from ecgclip.towers import convolution as module
from ecgclip.towers.convolution import convolution


@pytest.mark.parametrize(
    ("samples", "kernel", "stride"),
    [(8, 7, 1), (16, 7, 2), (15, 7, 2), (9, 5, 3), (5, 1, 1), (7, 1, 2), (3, 7, 1), (2, 9, 2), (1, 7, 1), (64, 5, 1)],
)
def test_its_gradients_are_those_of_the_library(samples, kernel, stride):
    torch.manual_seed(0)
    layer = convolution(module.CHANNELS, 24, kernel, stride)
    x = torch.randn(6, module.CHANNELS, 1, samples).contiguous(memory_format=torch.channels_last).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert "ByTaps" in type(y.grad_fn).__name__ and y.dtype == torch.bfloat16
    weigh = torch.randn(y.shape).bfloat16()
    y.backward(weigh)
    # The same rounded numbers, in double precision.
    exact_x, exact_w = x.detach().bfloat16().double().requires_grad_(), layer.weight.detach().bfloat16().double().requires_grad_()
    exact = F.conv2d(exact_x, exact_w, stride=(1, stride), padding=(0, kernel // 2))
    exact.backward(weigh.double())
    assert exact.shape == y.shape and x.grad.dtype == layer.weight.grad.dtype == torch.float32
    for ours, wanted in ((y, exact), (x.grad, exact_x.grad), (layer.weight.grad, exact_w.grad)):
        torch.testing.assert_close(ours.double(), wanted, rtol=2**-7, atol=2e-2)
    assert (layer.weight.grad.double() - exact_w.grad).norm() < 4e-3 * exact_w.grad.norm()


@pytest.mark.parametrize(("channels", "samples"), [(module.CHANNELS - 1, 8), (module.CHANNELS, module.SAMPLES + 1)])
def test_where_it_does_not_pay_the_library_does_it(channels, samples):
    layer = convolution(channels, 8, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert "ByTaps" not in type(layer(torch.randn(2, channels, 1, samples)).grad_fn).__name__


def test_other_precisions_and_a_frozen_layer_are_the_library():
    layer = convolution(module.CHANNELS, 8, 3)
    x = torch.randn(2, module.CHANNELS, 1, 8)
    assert torch.equal(layer(x), torch.nn.Conv2d.forward(layer, x)) and "ByTaps" not in type(layer(x).grad_fn).__name__
    with torch.autocast("cpu", torch.bfloat16):
        layer.weight.requires_grad_(False)
        y = layer(x.requires_grad_())
        y.sum().backward()
        assert layer.weight.grad is None and x.grad is not None
        with torch.no_grad():
            assert torch.equal(layer(x), torch.nn.Conv2d.forward(layer, x))
