"""Pooling against a loop over records."""

import pytest
import torch
from torch import Tensor

from ecgclip.towers.pooling import POOLINGS, Pooling


def slow(pooling: Pooling, x: Tensor) -> Tensor:
    """One record, ``(T, C)``, all of it present."""
    if pooling.name == "mean":
        return x.mean(0)
    if pooling.name == "mean_max":
        return torch.cat((x.sum(0) / len(x), x.max(0).values))
    x = (x - x.mean(1, keepdim=True)) / (x.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    x = x * pooling.norm.weight + pooling.norm.bias
    key, value = x @ pooling.key.weight.T, x @ pooling.value.weight.T + pooling.value.bias
    size = x.shape[1] // pooling.heads
    found = []
    for head in range(pooling.heads):
        part = slice(head * size, (head + 1) * size)
        weights = torch.stack([pooling.query[head, 0] @ row / size**0.5 for row in key[:, part]]).exp()
        found.append((weights / weights.sum()) @ value[:, part])
    return pooling.output(torch.cat(found))


@pytest.mark.parametrize("name", POOLINGS)
@pytest.mark.parametrize("channels", [5, 128, 130])
def test_equals_a_loop(name: str, channels: int) -> None:
    torch.manual_seed(0)
    pooling = Pooling(name, channels).double()
    x = torch.randn(3, 20, channels, dtype=torch.float64)
    torch.testing.assert_close(pooling(x), torch.stack([slow(pooling, row) for row in x]), rtol=1e-6, atol=1e-8)
    present = torch.rand(3, 20) < 0.5
    expected = torch.stack([slow(pooling, row[kept]) for row, kept in zip(x, present, strict=True)])
    torch.testing.assert_close(pooling(x, present), expected, rtol=1e-6, atol=1e-8)
    assert pooling.features == expected.shape[1]


def test_heads_are_64_wide_where_that_divides() -> None:
    assert [Pooling("attention", channels).heads for channels in (8, 64, 192, 130)] == [1, 1, 3, 2]
