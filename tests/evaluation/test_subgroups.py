import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from ecgclip.evaluation.subgroups import age_bands, subgroup_rows


def made(n=400, seed=0):
    draw = torch.Generator().manual_seed(seed)
    labels = (torch.rand(n, 3, generator=draw) < torch.tensor([0.4, 0.3, 0.01])).to(torch.int8)
    return torch.randn(n, 3, generator=draw) + (labels == 1), labels


def test_ages_fall_into_bands():
    assert age_bands(np.array([0, 39.9, 40, 59, 60, 79.5, 80, 90, np.nan])).tolist() == [
        "<40",
        "<40",
        "40-59",
        "40-59",
        "60-79",
        "60-79",
        "80+",
        "80+",
        "",
    ]


def test_groups_are_compared_over_labels_that_all_of_them_have():
    scores, labels = made()
    sex = np.where(np.arange(400) % 4 == 0, "F", "M")
    sex[:20] = ""
    groups = {"sex": sex, "device": np.array(["A"] * 400), "site": np.array(["big"] * 395 + ["small"] * 5)}
    rows = subgroup_rows(scores, labels, np.arange(400) // 2, groups, torch.ones(3, dtype=torch.bool), replicates=50)
    assert [(row["by"], row["group"]) for row in rows] == [("sex", "F"), ("sex", "M")]  # The others have nothing to compare.
    for row in rows:
        here = sex == row["group"]
        assert row["records"] == here.sum() and row["labels"] == 2
        expected = np.mean([roc_auc_score(labels[here, i], scores[here, i]) for i in range(2)])
        assert row["auroc_macro"] == pytest.approx(expected, abs=1e-6)
        assert row["auroc_macro_low"] < row["auroc_macro"] < row["auroc_macro_high"]


def test_ages_go_from_young_to_old_and_no_common_label_is_said():
    scores, labels = made()
    ages = age_bands(np.linspace(20, 95, 400))
    rows = subgroup_rows(scores, labels, np.arange(400), {"age": ages}, torch.tensor([False, False, True]), replicates=10)
    assert [row["group"] for row in rows] == ["<40", "40-59", "60-79", "80+"]
    assert all(row["labels"] == 0 and np.isnan(row["auroc_macro"]) for row in rows)
