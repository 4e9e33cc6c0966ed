"""The transformer over single leads against a loop over tokens, and what a missing lead may not do."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ecgclip.errors import UserError
from ecgclip.towers import ViT1d
from ecgclip.towers.vit1d import SHORT, attention, sinusoids


def tower(**arguments: Any) -> ViT1d:
    torch.manual_seed(0)
    return ViT1d(**({"width": 24, "depth": 2, "heads": 3} | arguments)).eval()


def ecgs(batch: int = 4, length: int = 250) -> Tensor:
    return torch.randn(batch, 12, length, generator=torch.Generator().manual_seed(1))


def masks(*leads: list[int]) -> Tensor:
    found = torch.zeros(len(leads), 12, dtype=torch.bool)
    for row, present in enumerate(leads):
        found[row, present] = True
    return found


def slow(made: ViT1d, ecg: Tensor, present: list[int]) -> Tensor:
    """One record, ``(12, T)``: the tokens of its present leads one by one, those of the others never made."""
    patch, width = made.patch, made.lead.shape[1]
    tokens = []
    for lead in present:
        for number, begin in enumerate(range(0, ecg.shape[1], patch)):
            samples = ecg.new_zeros(patch)
            samples[: len(ecg[lead, begin : begin + patch])] = ecg[lead, begin : begin + patch]
            angles = [number / 10_000 ** (2 * i / width) for i in range(width // 2)]
            time = ecg.new_tensor([f(torch.tensor(a, dtype=ecg.dtype)) for f in (torch.sin, torch.cos) for a in angles])
            tokens.append(made.embedding(samples) + made.lead[lead] + time * made.position)
    x = torch.stack(tokens)
    for block in made.blocks:
        query, key, value = (block.norm1(x) @ block.qkv.weight.T).split(width, dim=1)
        size, seen = width // block.heads, torch.zeros_like(x)
        for head in range(block.heads):
            part = slice(head * size, (head + 1) * size)
            for token in range(len(x)):
                weights = torch.softmax(key[:, part] @ query[token, part] / size**0.5, dim=0)
                seen[token, part] = weights @ value[:, part]
        x = x + block.output(seen)
        x = x + block.mlp[3](F.gelu(block.mlp[0](block.norm2(x))))
    x = made.norm(x)
    return torch.cat((x.mean(0), x.max(0).values))


@torch.no_grad()
def test_equals_a_loop_over_tokens_that_leaves_missing_leads_out() -> None:
    made, ecg = tower().double(), ecgs(4, 110).double()
    leads = [list(range(12)), list(range(6)), [0, 1, 7], [1]]
    expected = torch.stack([slow(made, record, present) for record, present in zip(ecg, leads, strict=True)])
    # float32 angles of the positions.
    torch.testing.assert_close(made(ecg, masks(*leads)), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(made(ecg[:1]), expected[:1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pooling", ["mean_max", "attention", "mean"])
@pytest.mark.parametrize("length", [250, 2000])
def test_what_lies_in_a_missing_lead_changes_nothing(pooling: str, length: int) -> None:
    made, mask = tower(pooling=pooling), masks(list(range(6)), [0, 1, 7], [1], [])
    other = ecgs(length=length)
    other[~mask] = torch.nan
    ecg = ecgs(length=length).requires_grad_()
    vectors = made(ecg, mask)
    torch.testing.assert_close(made(other, mask), vectors, rtol=0, atol=0)
    (gradient,) = torch.autograd.grad(vectors.square().sum(), ecg)
    assert not gradient[~mask].any() and gradient[mask].abs().sum(-1).all()


def test_a_missing_lead_is_not_a_flat_one() -> None:
    made, mask = tower(), masks(*[list(range(6))] * 4)
    flat = ecgs() * mask.unsqueeze(-1)
    assert (made(flat, mask) - made(flat)).norm() > 0.01 * made(flat).norm()


@pytest.mark.parametrize("tokens", [36, SHORT + 1])
@pytest.mark.parametrize("masked", [False, True])
def test_both_ways_to_attend_agree(tokens: int, masked: bool) -> None:
    query, key, value = (torch.randn(2, 3, tokens, 8, dtype=torch.float64) for _ in range(3))
    mask = torch.rand(2, 1, 1, tokens) < 0.5 if masked else None
    expected = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    torch.testing.assert_close(attention(query, key, value, mask), expected)


def test_time_is_known() -> None:
    made = tower(pooling="mean")
    moved = ecgs().roll(made.patch, dims=2)
    assert (made(ecgs()) - made(moved)).norm() > 1e-3 * made(ecgs()).norm()


def test_a_position_has_the_same_vector_in_a_longer_record() -> None:
    device = torch.device("cpu")
    torch.testing.assert_close(sinusoids(400, 24, device)[:10], sinusoids(10, 24, device))


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({"width": 25, "heads": 5}, "width 25 must be even and a multiple of heads 5"),
        ({"width": 24, "heads": 5}, "width 24 must be even and a multiple of heads 5"),
        ({"patch": 0}, "patch 0 must be at least 1"),
    ],
)
def test_bad_arguments_are_one_line(arguments: dict[str, int], found: str) -> None:
    with pytest.raises(UserError, match=found) as error:
        ViT1d(**arguments)
    assert "\n" not in str(error.value)
