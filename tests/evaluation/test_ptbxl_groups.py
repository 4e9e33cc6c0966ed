"""PTB-XL's groups: their sizes as published, and class scores against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from ecgclip.evaluation.ptbxl_groups import class_report, class_scores, statement_classes, statement_sets
from ecgclip.labels import Catalogue
from ecgclip.labels.statements import ptbxl_statements

IDS = Catalogue.load("ja98").ids


def case(n: int = 500):
    draw = torch.Generator().manual_seed(0)
    labels = (torch.rand(n, len(IDS), generator=draw) < 0.03).to(torch.int8)
    return (torch.randn(n, len(IDS), generator=draw) + labels * 2).double(), labels, np.arange(n) // 2


def test_the_groups_have_the_sizes_that_ptbxl_publishes():
    assert len(ptbxl_statements()) == 71
    assert {row["id"] for row in ptbxl_statements()} == {label.id for label in Catalogue.load("ja98") if "scp" in label.codes}
    assert {name: len(members) for name, members in statement_sets(IDS).items()} == {
        "ptbxl_diag": 44,
        "ptbxl_form": 19,
        "ptbxl_rhythm": 12,
    }
    classes = statement_classes(IDS)
    assert set(classes["ptbxl_super"]) == {"NORM", "MI", "STTC", "CD", "HYP"} and len(classes["ptbxl_sub"]) == 23
    for grouping in classes.values():
        assert torch.stack(list(grouping.values())).sum(0).max() == 1 and sum(int(m.sum()) for m in grouping.values()) == 44


def test_a_statement_is_in_its_class():
    classes = statement_classes(IDS)
    for grouping, name, members in (
        ("ptbxl_super", "HYP", {"LVH", "LAO/LAE", "RVH", "RAO/RAE", "SEHYP"}),
        ("ptbxl_sub", "_AVB", {"1AVB", "2AVB", "3AVB"}),
    ):
        assert {i for i, inside in zip(IDS, classes[grouping][name], strict=True) if inside} == members


@pytest.mark.parametrize("grouping", ["ptbxl_super", "ptbxl_sub"])
def test_class_figures_equal_scikit_learn(grouping):
    scores, labels, patients = case()
    report = class_report(scores, labels, patients, IDS, replicates=20)
    areas, precisions = [], []
    column = {"ptbxl_super": "superclass", "ptbxl_sub": "subclass"}[grouping]
    for name in {row[column] for row in ptbxl_statements()} - {""}:
        members = [IDS.index(row["id"]) for row in ptbxl_statements() if row[column] == name]
        truth = labels[:, members].numpy().any(1)
        best = np.log(np.exp(scores[:, members].numpy()).sum(1))
        areas.append(roc_auc_score(truth, best))
        precisions.append(average_precision_score(truth, best))
    assert report[f"{grouping}/auroc_macro"] == pytest.approx(np.mean(areas), abs=1e-9)
    assert report[f"{grouping}/auprc_macro"] == pytest.approx(np.mean(precisions), abs=1e-9)
    assert report[f"{grouping}/auroc_macro_low"] < report[f"{grouping}/auroc_macro"] < report[f"{grouping}/auroc_macro_high"]
    assert report[f"{grouping}/labels"] == len(areas)


def test_an_unknown_statement_leaves_a_class_unknown_unless_another_is_positive():
    labels = torch.tensor([[1, -1, 0], [0, -1, 0], [0, 0, 0], [-1, -1, 1]], dtype=torch.int8)
    members = {"two": torch.tensor([True, True, False]), "one": torch.tensor([False, False, True])}
    scores, states = class_scores(torch.tensor([[0.1, 0.3, 0.5]] * 4).log(), labels, members)
    assert states.tolist() == [[1, 0], [-1, 0], [0, 0], [-1, 1]]
    assert scores[0].exp().tolist() == pytest.approx([0.4, 0.5])


def test_a_catalogue_without_the_statements_has_no_such_groups():
    scores, labels, patients = case()
    ids = ["mine" if i == "PMI" else i for i in IDS]
    assert "ptbxl_diag" not in statement_sets(ids) and "ptbxl_rhythm" in statement_sets(ids)
    assert class_report(scores, labels, patients, ids, replicates=2) == {}
