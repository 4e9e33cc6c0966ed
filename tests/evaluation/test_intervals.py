"""The bootstrap against a naive loop with scikit-learn, and the properties that make its intervals honest."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

import ecgclip.evaluation.intervals as intervals
from ecgclip.errors import UserError
from ecgclip.evaluation.intervals import replicate_figures, zero_shot_intervals
from ecgclip.evaluation.metrics import auroc, average_precision, topk_hits
from ecgclip.evaluation.zero_shot import label_sets, zero_shot_report

IDS = tuple("ABCDEF")


def case(n: int = 240):
    """Ties, unknown states, a label with one positive, one without, and one where negatives are the rarer side."""
    draw = torch.Generator().manual_seed(5)
    labels = (torch.rand(n, 6, generator=draw) < torch.tensor([0.9, 0.4, 0.1, 0.05, 0.0, 0.0])).to(torch.int8)
    labels[torch.rand(n, 6, generator=draw) < 0.05] = -1
    labels[:, 4:] = 0
    labels[11, 4] = 1
    scores = ((torch.randn(n, 6, generator=draw) + labels) * 3).round() / 3
    return scores, labels, [f"p{i // 2}" for i in range(n)]


def naive(scores, labels, patients, sets, ks, replicates, seed):
    """One replicate after another, one label after another."""
    unique, owner = np.unique(patients, return_inverse=True)
    draw = torch.Generator().manual_seed(seed)
    figures, areas, precisions = [], [], []
    for _ in range(replicates):
        weight = torch.empty(len(unique), dtype=torch.float64).exponential_(generator=draw).numpy()[owner]
        area, precision = np.full((2, labels.shape[1]), np.nan)
        for j in range(labels.shape[1]):
            known = labels[:, j].numpy() >= 0
            if len(set(labels[known, j].tolist())) == 2:
                case = labels[known, j], scores[known, j]
                area[j] = roc_auc_score(*case, sample_weight=weight[known])
                precision[j] = average_precision_score(*case, sample_weight=weight[known])
        areas.append(area)
        precisions.append(precision)
        row = {}
        for name, members in sets.items():
            row[f"{name}/auroc_macro"] = np.nanmean(area[members.numpy()])
            row[f"{name}/auprc_macro"] = np.nanmean(precision[members.numpy()])
            positive = ((labels == 1) & members).numpy()
            for k in ks:
                hits = topk_hits(scores, labels, k, members if name == "ptbxl71" else None).numpy() & positive
                with np.errstate(invalid="ignore"):
                    row[f"{name}/top{k}_macro"] = np.nanmean((weight @ hits) / (weight @ positive))
                row[f"{name}/top{k}_micro"] = (weight @ hits.any(1)) / (weight @ positive.any(1))
        figures.append(row)
    low_high = {name: np.quantile([row[name] for row in figures], [0.025, 0.975]) for name in figures[0]}
    return low_high, *(np.quantile(values, [0.025, 0.975], axis=0).T for values in (areas, precisions))


@pytest.mark.parametrize("block", [2**22, 1000])
def test_equals_a_naive_loop(monkeypatch, block):
    monkeypatch.setattr(intervals, "BLOCK", block)
    scores, labels, patients = case()
    sets = label_sets(labels, IDS, ptbxl71=["A", "B", "C", "F"], withheld=["C", "D"])
    fast = zero_shot_intervals(scores, labels, patients, sets, ks=(1, 2), replicates=30, seed=4)
    slow, areas, precisions = naive(scores, labels, patients, sets, (1, 2), 30, 4)
    assert set(fast.report) == {f"{name}_{end}" for name in slow for end in ("low", "high")}
    for name, (low, high) in slow.items():
        assert (fast.report[f"{name}_low"], fast.report[f"{name}_high"]) == pytest.approx((low, high), abs=1e-9)
    areas[4] = precisions[4] = np.nan  # One patient tells nothing about the scatter between patients.
    np.testing.assert_allclose(fast.auroc.numpy(), areas, atol=1e-9)
    np.testing.assert_allclose(fast.auprc.numpy(), precisions, atol=1e-9)


def test_replicates_of_labels_under_inference_mode_average_to_their_estimate():
    scores, labels, patients = case()
    with torch.inference_mode():
        found = replicate_figures(scores.bfloat16(), labels, patients, {}, replicates=400)
    assert found.figures == {}
    for values, estimate in ((found.auroc, auroc), (found.auprc, average_precision)):
        torch.testing.assert_close(values.mean(0), estimate(scores.bfloat16(), labels), atol=0.02, rtol=0, equal_nan=True)


def test_the_interval_holds_the_estimate_and_no_label_vanishes():
    scores, labels, patients = case()
    sets = label_sets(labels, IDS)
    estimate = zero_shot_report(scores, labels, sets)
    ends = zero_shot_intervals(scores, labels, patients, sets, replicates=500).report
    for figure in ("auroc_macro", "auprc_macro", "top1_macro", "top1_micro", "top5_macro", "top5_micro"):
        assert ends[f"all/{figure}_low"] <= estimate[f"all/{figure}"] <= ends[f"all/{figure}_high"]
    # The label with one positive is in the macro figure of every replicate, so both ends are free of NaN.
    assert bool(sets["all"][4])
    assert np.isfinite(list(ends.values())).all()


def test_patients_not_records_are_drawn():
    """Ten copies of each record under the same patient carry no more information than one."""
    scores, labels, _ = case(120)
    alone = zero_shot_intervals(scores, labels, range(120), {"all": labels.eq(1).any(0)}, replicates=200)
    copies = [t.repeat_interleave(10, dim=0) for t in (scores, labels)]
    together = zero_shot_intervals(*copies, np.arange(120).repeat(10), {"all": labels.eq(1).any(0)}, replicates=200)
    apart = zero_shot_intervals(*copies, np.arange(1200), {"all": labels.eq(1).any(0)}, replicates=200)
    assert together.report == pytest.approx(alone.report, abs=1e-9)
    width = [i.report["all/auroc_macro_high"] - i.report["all/auroc_macro_low"] for i in (together, apart)]
    assert width[1] < width[0] / 2


def test_seed_and_level():
    scores, labels, patients = case()
    sets = {"all": labels.eq(1).any(0)}
    one, again, other, wide = (
        zero_shot_intervals(scores, labels, patients, sets, replicates=50, seed=seed, level=level).report["all/auroc_macro_low"]
        for seed, level in ((0, 0.95), (0, 0.95), (1, 0.95), (0, 0.99))
    )
    assert one == again != other
    assert wide < one


def test_coverage_of_a_known_auroc():
    """Normal scores one apart have an AUROC of Phi(1 / sqrt 2) = 0.7602; a 90 % interval should miss it about one time in ten."""
    draw = torch.Generator().manual_seed(0)
    missed = 0
    for seed in range(100):
        labels = (torch.arange(200) % 4 == 0).to(torch.int8).unsqueeze(1)
        scores = torch.randn(200, 1, generator=draw) + labels
        low, high = zero_shot_intervals(scores, labels, range(200), {}, replicates=200, level=0.9, seed=seed).auroc[0]
        missed += not low <= 0.76025 <= high
    assert 3 <= missed <= 20


def test_nan_scores_are_refused():
    scores, labels, patients = case()
    scores[0, 0] = float("nan")
    with pytest.raises(UserError, match="NaN"):
        zero_shot_intervals(scores, labels, patients, {}, replicates=2)
