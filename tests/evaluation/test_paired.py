"""The paired bootstrap against a loop over replicates with scikit-learn, and that it finds what is there and nothing else."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from ecgclip.errors import UserError
from ecgclip.evaluation.metrics import topk_hits
from ecgclip.evaluation.paired import paired_differences, paired_label_differences

SET = {"all": torch.ones(4, dtype=torch.bool)}


def case(n: int = 200, better: float = 0.0, seed: int = 0):
    """Two scorers that share most of their errors; the first sees ``better`` more of the labels."""
    draw = torch.Generator().manual_seed(seed)
    labels = (torch.rand(n, 4, generator=draw) < torch.tensor([0.6, 0.3, 0.2, 0.1])).to(torch.int8)
    common = 1.5 * torch.randn(n, 4, generator=draw)
    own = (0.3 * torch.randn(2, n, 4, generator=draw)).unbind()
    return (labels * (0.7 + better) + common + own[0], labels * 0.7 + common + own[1]), labels, np.arange(n) // 2


def slow(pairs, labels, patients, k, replicates, seed):
    """For each replicate and pair: every figure, one label after another, with scikit-learn's weighted areas."""
    owner = np.unique(patients, return_inverse=True)[1]
    draw = torch.Generator().manual_seed(seed)
    out = []
    for _ in range(replicates):
        weight = torch.empty(owner.max() + 1, dtype=torch.float64).exponential_(generator=draw).numpy()[owner]
        rows = []
        for pair in pairs:
            figures = []
            for scores in pair:
                area = np.mean([roc_auc_score(labels[:, j], scores[:, j], sample_weight=weight) for j in range(labels.shape[1])])
                steps = [average_precision_score(labels[:, j], scores[:, j], sample_weight=weight) for j in range(labels.shape[1])]
                hits = topk_hits(scores, labels, k).numpy()
                figures.append((area, np.mean((weight @ hits) / (weight @ labels.numpy())), np.mean(steps)))
            rows.append(np.subtract(*figures))
        out.append(rows)
    return np.array(out)  # (replicates, pairs, figures)


def test_equals_a_slow_loop():
    pairs, patients = [], None
    for seed in (0, 1):
        pair, _, patients = case(seed=seed)
        pairs.append(pair)
    labels = case()[1]
    found = paired_differences(pairs, labels, patients, SET, ks=(2,), replicates=40, seed=3)
    expected = slow(pairs, labels, patients, 2, 40, 3)
    for column, name in enumerate(("all/auroc_macro", "all/top2_macro", "all/auprc_macro")):
        for i in range(2):
            draws = expected[:, i, column]
            p = min(1, max(2 * min(np.mean(draws <= 0), np.mean(draws >= 0)), 1 / 40))
            assert found.each[name][i].p == pytest.approx(p)
            assert found.each[name][i][1:3] == pytest.approx(np.quantile(expected[:, i, column], [0.025, 0.975]), abs=1e-6)
        assert found.pooled[name][1:3] == pytest.approx(np.quantile(expected[:, :, column].mean(1), [0.025, 0.975]), abs=1e-6)
        assert found.pooled[name].value == pytest.approx(np.mean([d.value for d in found.each[name]]))
    value = np.subtract(*(np.mean([roc_auc_score(labels[:, j], scores[:, j]) for j in range(4)]) for scores in pairs[0]))
    assert found.each["all/auroc_macro"][0].value == pytest.approx(value, abs=1e-6)


def test_equal_scorers_differ_by_nothing():
    (first, _), labels, patients = case()
    for difference in paired_differences([(first, first.clone())], labels, patients, SET, replicates=50).pooled.values():
        assert tuple(difference) == (0, 0, 0, 1)


def test_a_planted_difference_is_found_though_the_single_intervals_overlap():
    from ecgclip.evaluation.intervals import zero_shot_intervals

    pair, labels, patients = case(n=400, better=0.35)
    found = paired_differences([pair], labels, patients, SET, replicates=300).pooled["all/auroc_macro"]
    assert 0 < found.low < found.value < found.high
    assert 1 / 300 <= found.p < 0.05
    first, second = (zero_shot_intervals(scores, labels, patients, SET, replicates=300).report for scores in pair)
    assert first["all/auroc_macro_low"] < second["all/auroc_macro_high"]


def test_scorers_of_equal_worth_are_not_told_apart_too_often():
    excluded = 0
    for seed in range(40):
        pair, labels, patients = case(n=120, seed=seed)
        low, high = paired_differences([pair], labels, patients, SET, ks=(), replicates=100, level=0.9).pooled["all/auroc_macro"][1:3]
        excluded += not low <= 0 <= high
    assert excluded <= 10


def test_the_other_way_round_is_the_negative():
    (first, second), labels, patients = case(better=0.2)
    one, two = (paired_differences([pair], labels, patients, SET, replicates=50).pooled for pair in ((first, second), (second, first)))
    for name in one:
        assert tuple(one[name]) == pytest.approx((-two[name].value, -two[name].high, -two[name].low, two[name].p))


def test_differences_of_labels_against_a_slow_loop():
    (first, second), labels, patients = case(better=0.3)
    labels[:, 3] = 0
    labels[5, 3] = 1  # One patient.
    found = paired_label_differences(first, second, labels, patients, replicates=30, seed=2)
    owner = np.unique(patients, return_inverse=True)[1]
    draw = torch.Generator().manual_seed(2)
    rows = []
    for _ in range(30):
        weight = torch.empty(owner.max() + 1, dtype=torch.float64).exponential_(generator=draw).numpy()[owner]
        areas = [[roc_auc_score(labels[:, j], s[:, j], sample_weight=weight) for j in range(4)] for s in (first, second)]
        rows.append(np.subtract(*areas))
    value = np.subtract(*([roc_auc_score(labels[:, j], s[:, j]) for j in range(4)] for s in (first, second)))
    np.testing.assert_allclose(found[:, 0].numpy(), value, atol=1e-9)
    np.testing.assert_allclose(found[:3, 1:].numpy(), np.quantile(rows, [0.025, 0.975], axis=0).T[:3], atol=1e-9)
    assert bool(found[3, 1:].isnan().all())
    with pytest.raises(UserError, match="do not belong"):
        paired_label_differences(first, second[:-1], labels, patients)


def test_a_figure_that_does_not_exist_has_no_p():
    (first, second), labels, patients = case()
    found = paired_differences([(first, second)], torch.zeros_like(labels), patients, SET, replicates=5).pooled["all/auroc_macro"]
    assert all(np.isnan(value) for value in found)


def test_scores_of_other_records_are_refused():
    (first, second), labels, patients = case()
    with pytest.raises(UserError, match="do not belong"):
        paired_differences([(first, second[:-1])], labels, patients, SET)
    with pytest.raises(UserError, match="nothing to compare"):
        paired_differences([], labels, patients, SET)
