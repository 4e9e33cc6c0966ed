import numpy as np
import pytest
import torch
from scipy import stats

from ecgclip.signals.random import normal, uniform

RECORDS = torch.arange(400)


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(np.corrcoef(a.flatten().numpy(), b.flatten().numpy())[0, 1])


def test_distributions() -> None:
    flat = uniform(1, 2, RECORDS, 3, 10, 25)
    assert flat.dtype == torch.float32
    assert flat.shape == (400, 10, 25)
    assert float(flat.min()) >= 0
    assert float(flat.max()) < 1
    assert stats.kstest(flat.flatten().numpy(), "uniform").pvalue > 1e-3
    bell = normal(1, 2, RECORDS, 3, 10, 25).flatten().numpy()
    assert np.isfinite(bell).all()
    assert stats.kstest(bell, "norm").pvalue > 1e-3
    assert stats.kstest(uniform(1, 2, RECORDS, 3).numpy(), "uniform").pvalue > 1e-3  # one number a record


@pytest.mark.parametrize(
    "other",
    [(5, 0, 0, 0), (0, 5, 0, 0), (0, 0, 5, 0), (0, 0, 0, 1), (-1, 0, 0, 0), (1 << 70, 1, 0, 0)],
    ids=["seed", "epoch", "stream", "record", "negative seed", "huge seed"],
)
def test_each_number_gives_independent_draws(other: tuple[int, int, int, int]) -> None:
    seed, epoch, stream, shift = other
    assert abs(correlation(uniform(0, 0, RECORDS, 0, 256), uniform(seed, epoch, RECORDS + shift, stream, 256))) < 0.015


def test_neighbours_are_independent() -> None:
    draws = uniform(0, 0, RECORDS, 0, 256)
    for lag in (1, 2, 64):
        assert abs(correlation(draws[:, lag:], draws[:, :-lag])) < 0.015
    pairs = (draws[:, :-1] * 32).long() * 32 + (draws[:, 1:] * 32).long()
    assert stats.chisquare(torch.bincount(pairs.flatten(), minlength=1024).numpy()).pvalue > 1e-3
    # No record runs through another's sequence.
    assert len(torch.unique(draws[:, 0])) > 395
    rows = torch.nn.functional.normalize(draws - 0.5, dim=1)
    assert float((rows @ rows.T).fill_diagonal_(0).abs().max()) < 6 / 16


def test_a_record_draws_the_same_in_any_batch() -> None:
    whole = normal(3, 1, RECORDS, 2, 12, 50)
    order = torch.tensor([17, 3, 399])
    assert torch.equal(normal(3, 1, order, 2, 12, 50), whole[order])
    assert torch.equal(normal(3, 1, order.int(), 2, 12, 50), whole[order])
    assert uniform(0, 0, RECORDS[:0], 0, 4).shape == (0, 4)


def test_values_stay_what_they_are() -> None:
    # A resumed run replays only while these numbers do not change.
    drawn = uniform(7, 3, torch.tensor([0, 1, 123456789012]), 2, 2)
    assert drawn.tolist() == [
        [0.9979819655418396, 0.02853327989578247],
        [0.8167763352394104, 0.3533129096031189],
        [0.297781765460968, 0.6091529726982117],
    ]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_draws_the_same() -> None:
    assert torch.equal(uniform(1, 2, RECORDS.cuda(), 3, 12, 25).cpu(), uniform(1, 2, RECORDS, 3, 12, 25))
    torch.testing.assert_close(normal(1, 2, RECORDS.cuda(), 3, 12, 25).cpu(), normal(1, 2, RECORDS, 3, 12, 25), rtol=1e-5, atol=1e-6)
