"""Thresholds against a search through every candidate: ties, unknown states, what does not exist, and neighbours in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

import ecgclip.evaluation.metrics as metrics
from ecgclip.errors import UserError
from ecgclip.evaluation.thresholds import best_f1_thresholds, specificity_thresholds


@st.composite
def cases(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Few distinct scores, so that ties are the rule, and all three states."""
    shape = (draw(st.integers(1, 14)), draw(st.integers(1, 4)))
    scores = draw(arrays(np.float32, shape, elements=st.sampled_from([-1.5, -0.25, 0.0, 0.125, 2.0])))
    labels = draw(arrays(np.int8, shape, elements=st.sampled_from([-1, 0, 0, 1])))
    return torch.from_numpy(scores), torch.from_numpy(labels)


def random_case(n: int = 300, width: int = 5) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(2)
    labels = (torch.rand(n, width, generator=draw) < torch.linspace(0.02, 0.6, width)).to(torch.int8)
    labels[torch.rand(n, width, generator=draw) < 0.1] = -1
    return (torch.randn(n, width, generator=draw) * 4).round() / 4 + labels, labels


@given(cases(), st.sampled_from([0.0, 0.3, 0.5, 0.75, 0.9, 1.0]))
@settings(max_examples=200, deadline=None)
def test_specificity_is_kept_and_the_next_lower_score_would_break_it(case, specificity):
    scores, labels = case
    for threshold, score, label in zip(specificity_thresholds(scores, labels, specificity), scores.T.double(), labels.T, strict=True):
        negatives = score[label == 0]
        if len(negatives) == 0:
            assert threshold.isnan()
            continue
        assert float((negatives < threshold).double().mean()) >= specificity - 1e-12
        lower = score[score < threshold]
        if len(lower):
            assert float((negatives < lower.max()).double().mean()) < specificity


def test_the_share_is_that_of_decimal_numbers():
    scores = torch.arange(10.0).unsqueeze(1)
    labels = torch.zeros(10, 1, dtype=torch.int8)
    for tenths in range(1, 10):
        assert specificity_thresholds(scores, labels, tenths / 10).item() == tenths - 0.5  # 1 - 0.9 is less than 0.1 in binary.


def test_it_lies_half_way_and_just_above_all_where_nothing_may_be_called():
    scores = torch.tensor([[0.9], [0.5], [0.1]])
    labels = torch.tensor([[1], [0], [0]], dtype=torch.int8)
    assert specificity_thresholds(scores, labels, 0.5).item() == pytest.approx(0.3)
    assert specificity_thresholds(scores, labels, 1.0).item() == pytest.approx(0.7)
    top = specificity_thresholds(scores, 1 - labels, 1.0)
    assert not (scores >= top).any()
    assert top.item() == pytest.approx(0.9)


@pytest.mark.parametrize("find", [best_f1_thresholds, lambda s, y: specificity_thresholds(s, y, 1.0)])
def test_neighbours_in_float64_are_told_apart(find):
    scores = torch.tensor([[1.0 + 2**-52], [1.0]], dtype=torch.float64)
    threshold = find(scores, torch.tensor([[1], [0]], dtype=torch.int8))
    assert (scores >= threshold).flatten().tolist() == [True, False]


@pytest.mark.parametrize("find", [best_f1_thresholds, specificity_thresholds])
def test_neither_the_order_of_records_nor_the_block_matters(find, monkeypatch):
    scores, labels = random_case()
    expected = find(scores, labels)
    order = torch.randperm(len(scores), generator=torch.Generator().manual_seed(1))
    assert torch.equal(find(scores[order], labels[order]), expected)
    monkeypatch.setattr(metrics, "BLOCK", 400)
    assert torch.equal(find(scores, labels), expected)


@pytest.mark.parametrize("find", [best_f1_thresholds, specificity_thresholds])
def test_what_cannot_be_fitted_is_nan_and_what_cannot_be_ranked_is_refused(find):
    scores, labels = random_case()
    labels[:, 0] = -1
    labels[:, 1] = 0 if find is best_f1_thresholds else 1
    assert find(scores, labels).isnan().tolist() == [True, True, False, False, False]
    assert find(scores[:0], labels[:0]).isnan().all()
    scores[4, 3] = torch.nan
    with pytest.raises(UserError, match="record 4"):
        find(scores, labels)
