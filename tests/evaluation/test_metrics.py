"""Metrics and thresholds against scikit-learn and slow references, on ties, one positive, none, and unknown states."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score
from torch import Tensor

import ecgclip.evaluation.metrics as metrics
from ecgclip.errors import UserError
from ecgclip.evaluation.baselines import prevalence_scores
from ecgclip.evaluation.metrics import auroc, average_precision, count_hits, macro, topk, topk_hits
from ecgclip.evaluation.thresholds import best_f1_thresholds


@st.composite
def cases(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Few distinct scores, so that ties are the rule, and all three states."""
    shape = (draw(st.integers(1, 12)), draw(st.integers(1, 5)))
    scores = draw(arrays(np.float32, shape, elements=st.sampled_from([-1.5, -0.25, 0.0, 0.125, 2.0])))
    labels = draw(arrays(np.int8, shape, elements=st.sampled_from([-1, 0, 0, 1])))
    return torch.from_numpy(scores), torch.from_numpy(labels)


def by_column(scores: Tensor, labels: Tensor, metric) -> Tensor:
    values = []
    for score, label in zip(scores.double().numpy().T, labels.numpy().T, strict=True):
        known = label >= 0
        both = set(label[known]) == {0, 1}
        values.append(metric(label[known], score[known]) if both else np.nan)
    return torch.tensor(values, dtype=torch.float64)


def slow_topk(scores: Tensor, labels: Tensor, k: int, competing: list[bool] | None = None) -> Tensor:
    """Rank by rank: the worst place a label can get among ties."""
    n, width = scores.shape
    unannotated = [all(labels[i, j] == -1 for i in range(n)) for j in range(width)]
    hits = torch.zeros(n, width, dtype=torch.bool)
    for i in range(n):
        ranked = [j for j in range(width) if (competing is None or competing[j]) and (labels[i, j] != -1 or unannotated[j])]
        for j in ranked:
            rank = sum(bool(scores[i, other] >= scores[i, j]) for other in ranked)
            hits[i, j] = labels[i, j] == 1 and rank <= k
    return hits


@given(cases())
@settings(max_examples=150, deadline=None)
def test_areas_equal_scikit_learn_with_ties_and_unknowns(case):
    scores, labels = case
    torch.testing.assert_close(auroc(scores, labels), by_column(scores, labels, roc_auc_score), equal_nan=True)
    torch.testing.assert_close(average_precision(scores, labels), by_column(scores, labels, average_precision_score), equal_nan=True)


def random_case(n: int = 400, width: int = 9) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(3)
    labels = (torch.rand(n, width, generator=draw) < torch.linspace(0.01, 0.9, width)).to(torch.int8)
    labels[torch.rand(n, width, generator=draw) < 0.1] = -1
    labels[:, 0] = 0
    labels[7, 0] = 1  # One positive.
    labels[:, 1] = 0  # None.
    labels[:, 2] = 1  # No negative.
    labels[:, 3] = -1  # Not annotated.
    return torch.randn(n, width, generator=draw) + labels, labels


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_areas_in_every_precision(dtype):
    scores, labels = random_case()
    scores = scores.to(dtype)
    assert len(scores[:, 5].unique()) < len(scores) or dtype in (torch.float32, torch.float64)  # Low precision ties.
    area, precision = auroc(scores, labels), average_precision(scores, labels)
    torch.testing.assert_close(area, by_column(scores, labels, roc_auc_score), equal_nan=True)
    torch.testing.assert_close(precision, by_column(scores, labels, average_precision_score), equal_nan=True)
    assert area.dtype == precision.dtype == torch.float64
    assert area.isnan().tolist() == precision.isnan().tolist() == [False, True, True, True] + [False] * 5


def test_blocks_change_nothing(monkeypatch):
    scores, labels = random_case()
    whole = auroc(scores, labels), average_precision(scores, labels), best_f1_thresholds(scores, labels), topk_hits(scores, labels, 2)
    monkeypatch.setattr(metrics, "BLOCK", 900)
    parts = auroc(scores, labels), average_precision(scores, labels), best_f1_thresholds(scores, labels), topk_hits(scores, labels, 2)
    for one, other in zip(whole, parts, strict=True):
        assert torch.equal(one.nan_to_num(), other.nan_to_num())


@given(cases(), st.integers(1, 6), st.data())
@settings(max_examples=150, deadline=None)
def test_topk_equals_ranks_counted_one_by_one(case, k, data):
    scores, labels = case
    competing = data.draw(st.lists(st.booleans(), min_size=labels.shape[1], max_size=labels.shape[1]))
    assert torch.equal(topk_hits(scores, labels, k), slow_topk(scores, labels, k))
    assert torch.equal(topk_hits(scores, labels, k, torch.tensor(competing)), slow_topk(scores, labels, k, competing))


def test_topk_micro_and_macro_by_hand():
    scores = torch.tensor([[0.9, 0.8, 0.1], [0.9, 0.2, 0.1], [0.9, 0.2, 0.5], [0.3, 0.2, 0.1]])
    labels = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]], dtype=torch.int8)
    result = topk(scores, labels, 1)
    assert result.micro == pytest.approx(2 / 3)  # The record without a finding is not asked.
    assert result.recall.tolist() == [1.0, 0.0, 0.0]
    assert result.macro == pytest.approx(1 / 3)
    of_two = count_hits(topk_hits(scores, labels, 1), labels, torch.tensor([False, True, True]))
    assert (of_two.micro, of_two.macro) == (0.0, 0.0)
    assert of_two.recall.isnan().tolist() == [True, False, False]


def test_a_constant_scorer_never_looks_good():
    _, labels = random_case()
    result = topk(torch.zeros(labels.shape), labels, 5)
    assert (result.micro, result.macro) == (0.0, 0.0)
    assert auroc(torch.zeros(labels.shape), labels)[4:].tolist() == [0.5] * 5


def test_topk_unknown_label_leaves_its_record_only_and_an_unannotated_column_competes():
    scores = torch.tensor([[3.0, 2.0, 1.0]] * 2)
    annotated_elsewhere = torch.tensor([[-1, 1, 0], [1, 0, 0]], dtype=torch.int8)
    nowhere = torch.tensor([[-1, 1, 0], [-1, 1, 0]], dtype=torch.int8)
    assert topk_hits(scores, annotated_elsewhere, 1).tolist() == [[False, True, False], [True, False, False]]
    assert not topk_hits(scores, nowhere, 1).any()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("metric", [auroc, average_precision, best_f1_thresholds, lambda s, y: topk(s, y, 1)])
def test_scores_that_cannot_be_ranked_are_refused(metric, bad):
    scores, labels = random_case()
    scores[5, 2] = bad
    with pytest.raises(UserError, match=r"1 of 400 records \(first: record 5\)"):
        metric(scores, labels)


@given(cases())
@settings(max_examples=150, deadline=None)
def test_thresholds_reach_the_best_f1_of_all(case):
    scores, labels = case
    thresholds = best_f1_thresholds(scores, labels)
    for threshold, score, label in zip(thresholds, scores.T.double(), labels.T, strict=True):
        known = label >= 0
        if not (label == 1).any():
            assert threshold.isnan()
            continue
        best = max(f1_score(label[known], score[known] >= t) for t in score[known])
        assert f1_score(label[known], score[known] >= threshold) == pytest.approx(best, abs=1e-9)


def test_threshold_lies_half_way_to_the_next_score():
    scores = torch.tensor([[0.9], [0.8], [0.4], [0.1]])
    labels = torch.tensor([[1], [1], [0], [0]], dtype=torch.int8)
    assert best_f1_thresholds(scores, labels).item() == pytest.approx(0.6)


def test_prevalence_ranks_but_does_not_separate():
    _, labels = random_case()
    counts = torch.arange(9) * 10
    scores = prevalence_scores(counts, len(labels))
    assert auroc(scores, labels)[[0, 4, 5, 6, 7, 8]].tolist() == [0.5] * 6
    assert topk(scores, labels, 1).recall[8] > 0.8
    assert topk(scores, labels, 1).recall[4] == pytest.approx(0, abs=0.02)


def test_macro_skips_what_has_no_value():
    assert macro(torch.tensor([1.0, float("nan"), 0.5])) == 0.75
    assert np.isnan(macro(torch.tensor([float("nan")])))


def test_no_records_have_no_values():
    scores, labels = torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int8)
    assert auroc(scores, labels).isnan().all()
    assert np.isnan(topk(scores, labels, 1).micro)
