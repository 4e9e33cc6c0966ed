import numpy as np
import pytest
import torch
from sklearn.metrics import cohen_kappa_score

from ecgclip.evaluation.agreement import agreement


def readers(n=400, seed=0, agree=0.9):
    draw = torch.Generator().manual_seed(seed)
    one = (torch.rand(n, 3, generator=draw) < torch.tensor([0.5, 0.1, 0.02])).to(torch.int8)
    other = torch.where(torch.rand(n, 3, generator=draw) < agree, one, 1 - one)
    one[torch.rand(n, 3, generator=draw) < 0.1] = -1
    other[torch.rand(n, 3, generator=draw) < 0.1] = -1
    return one, other


def test_kappa_is_that_of_scikit_learn_and_lies_in_its_interval():
    one, other = readers()
    got = agreement(one, other, np.arange(400), replicates=300)
    for i in range(3):
        known = (one[:, i] >= 0) & (other[:, i] >= 0)
        assert float(got.kappa[i]) == pytest.approx(cohen_kappa_score(one[known, i], other[known, i]), abs=1e-9)
        assert int(got.n[i]) == int(known.sum())
        assert float(got.low[i]) < float(got.kappa[i]) < float(got.high[i])
        both = ((one[known, i] == 1) & (other[known, i] == 1)).sum()
        assert float(got.positive[i]) == pytest.approx(float(2 * both / ((one[known, i] == 1).sum() + (other[known, i] == 1).sum())))


def test_the_order_of_readers_and_records_does_not_matter():
    one, other = readers()
    order = torch.randperm(400, generator=torch.Generator().manual_seed(1))
    swapped = agreement(other[order], one[order], np.arange(400)[order.numpy()], replicates=20)
    assert torch.allclose(swapped.kappa, agreement(one, other, np.arange(400), replicates=20).kappa)


def test_records_of_one_patient_count_as_one():
    one, other = readers(n=100)
    alone = agreement(one, other, np.arange(100), replicates=500)
    twice = agreement(one.repeat(4, 1), other.repeat(4, 1), np.tile(np.arange(100), 4), replicates=500)
    assert torch.allclose(alone.high - alone.low, twice.high - twice.low)


def test_full_agreement_is_1_and_a_label_that_nobody_names_has_no_kappa():
    one, _ = readers()
    one[:, 2] = 0
    got = agreement(one, one, np.arange(400), replicates=20)
    assert got.kappa[:2].tolist() == [1.0, 1.0] and torch.isnan(got.kappa[2]) and torch.isnan(got.low[2])


def test_the_interval_covers_the_kappa_of_all_patients():
    one, other = readers(n=20_000)
    truth = agreement(one, other, np.arange(20_000), replicates=1).kappa[:2]
    covered = torch.zeros(2)
    for i in range(100):
        rows = slice(200 * i, 200 * (i + 1))
        got = agreement(one[rows], other[rows], np.arange(200), replicates=200)
        covered += (got.low[:2] <= truth) & (truth <= got.high[:2])
    assert (covered >= 85).all()


def test_a_label_that_no_two_have_decided_has_no_kappa():
    one, other = readers()
    one[:200, 1], other[200:, 1] = -1, -1
    got = agreement(one, other, np.arange(400), replicates=20)
    assert int(got.n[1]) == 0
    for values in got[:4]:
        assert torch.isnan(values).tolist() == [False, True, False]
