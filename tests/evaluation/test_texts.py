"""How far apart texts lie, against the plain loops."""

import math

import pytest
import torch

from ecgclip.evaluation.texts import text_spread


def test_figures_are_those_of_the_plain_loops():
    torch.manual_seed(0)
    vectors = torch.randn(7, 5) * torch.rand(7, 1)
    cosines = {
        (i, j): float(vectors[i] @ vectors[j] / math.sqrt(float(vectors[i] @ vectors[i]) * float(vectors[j] @ vectors[j])))
        for i in range(7)
        for j in range(i + 1, 7)
    }
    spread = text_spread(vectors, nearest=3)
    assert spread.mean == pytest.approx(sum(cosines.values()) / len(cosines), abs=1e-6)
    assert (spread.lowest, spread.highest) == pytest.approx((min(cosines.values()), max(cosines.values())), abs=1e-6)
    expected = sorted(cosines, key=lambda pair: -cosines[pair])[:3]
    assert [(i, j) for i, j, _ in spread.nearest] == expected
    assert [cosine for *_, cosine in spread.nearest] == pytest.approx([cosines[pair] for pair in expected], abs=1e-6)
    unit = torch.stack([row / row.norm() for row in vectors]).double()
    values = torch.linalg.eigvalsh(unit.T @ unit).clamp(min=0).sqrt()
    shares = [float(value / values.sum()) for value in values]
    assert spread.effective_rank == pytest.approx(math.exp(-sum(share * math.log(share) for share in shares if share)), rel=1e-5)


def test_directions_are_counted():
    assert text_spread(torch.eye(6) * 3).effective_rank == pytest.approx(6)
    assert text_spread(torch.eye(6)[[0, 1, 2, 0, 1, 2]]).effective_rank == pytest.approx(3)
    assert text_spread(torch.ones(6, 4)).effective_rank == pytest.approx(1)


def test_a_collapse_is_warned_of():
    apart = torch.eye(6)
    assert text_spread(apart).warning is None
    assert "collapsed" in str(text_spread(apart + 3).warning)
    twins = apart.clone()
    twins[1] = twins[0] + 0.01 * twins[1]
    assert text_spread(twins).twins == 1
    assert "1 pairs of labels" in str(text_spread(twins).warning)
