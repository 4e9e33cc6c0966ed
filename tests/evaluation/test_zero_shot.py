"""Class vectors, cosines, label sets and the report."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import ecgclip.evaluation.zero_shot as zero_shot
from ecgclip.errors import UserError
from ecgclip.evaluation.metrics import auroc, average_precision, topk
from ecgclip.evaluation.zero_shot import label_sets, per_label_table, zero_shot_report, zero_shot_scores
from ecgclip.labels import Catalogue
from ecgclip.towers import class_vectors

IDS = ("A", "B", "C", "D", "E")


def case(n: int = 300):
    draw = torch.Generator().manual_seed(1)
    labels = (torch.rand(n, 5, generator=draw) < torch.tensor([0.6, 0.3, 0.1, 0.02, 0.0])).to(torch.int8)
    return torch.randn(n, 5, generator=draw) + labels, labels


def test_class_vector_is_the_mean_direction_of_a_labels_prompts():
    prompts = torch.randn(7, 4) * torch.rand(7, 1) * 10
    owner = torch.tensor([2, 0, 1, 0, 2, 2, 1])
    slow = torch.stack([torch.stack([p / p.norm() for p, o in zip(prompts, owner, strict=True) if o == i]).mean(0) for i in range(3)])
    torch.testing.assert_close(class_vectors(prompts, owner, 3), slow / slow.norm(dim=1, keepdim=True))
    assert class_vectors(prompts.bfloat16(), owner, 3).dtype == torch.float32


def test_class_vectors_carry_gradient():
    prompts = torch.randn(3, 4, requires_grad=True)
    class_vectors(prompts, torch.tensor([0, 1, 1]), 2)[:, 0].sum().backward()
    assert (prompts.grad.abs().sum(1) > 0).all()


def test_a_label_without_a_prompt_is_refused():
    with pytest.raises(UserError, match="label 1 of the catalogue"):
        class_vectors(torch.randn(2, 4), torch.tensor([0, 2]), 3)


def test_scores_are_cosines_in_any_precision_and_block(monkeypatch):
    ecg, classes = torch.randn(10, 8) * 3, torch.randn(4, 8)
    exact = F.cosine_similarity(ecg.double()[:, None], classes.double()[None], dim=2).float()
    torch.testing.assert_close(zero_shot_scores(ecg, classes), exact, rtol=0, atol=1e-7)
    low = ecg.bfloat16()
    of_low = F.cosine_similarity(low.double()[:, None], classes.double()[None], dim=2).float()
    monkeypatch.setattr(zero_shot, "RECORDS_AT_ONCE", 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(zero_shot_scores(low, classes), of_low, rtol=0, atol=1e-7)


def test_label_sets():
    labels = torch.zeros(20, 5, dtype=torch.int8)
    labels[:12, 0], labels[:3, 1], labels[:1, 2] = 1, 1, 1
    sets = label_sets(
        labels, IDS, ptbxl71=["A", "B", "E"], visible=["A", "D"], withheld=["B", "D"], train_positives=torch.tensor([100, 99, 20, 500, 19])
    )
    named = {name: "".join(i for i, member in zip(IDS, members.tolist(), strict=True) if member) for name, members in sets.items()}
    assert named == {
        "all": "ABC", "ptbxl71": "ABE", "visible": "A", "n10": "A", "seen": "AC", "unseen": "B", "head": "A", "medium": "BC",
    }  # fmt: skip


def test_sets_without_a_positive_are_absent():
    labels = torch.zeros(20, 5, dtype=torch.int8)
    labels[:3, 1] = 1
    assert set(label_sets(labels, IDS)) == {"all"}
    assert set(label_sets(labels, IDS, ptbxl71=["A"], visible=["A"], withheld=["A"])) == {"all", "seen"}
    assert label_sets(torch.zeros_like(labels), IDS) == {}


def test_report_averages_columns_while_the_catalogue_competes():
    scores, labels = case()
    sets = label_sets(labels, IDS, ptbxl71=["A", "C", "D"], withheld=["B", "C"])
    report = zero_shot_report(scores, labels, sets, ks=(1, 2))
    whole = topk(scores, labels, 2)
    assert report["all/labels"] == 4
    assert report["all/auroc_macro"] == pytest.approx(float(auroc(scores, labels)[:4].mean()))
    assert report["all/top2_micro"] == pytest.approx(whole.micro)
    assert report["unseen/auprc_macro"] == pytest.approx(float(average_precision(scores, labels)[1:3].mean()))
    assert report["unseen/top2_macro"] == pytest.approx(float(whole.recall[1:3].mean()))
    hit = [any(labels[i, j] == 1 and (scores[i] >= scores[i, j]).sum() <= 2 for j in (1, 2)) for i in range(300) if labels[i, 1:3].any()]
    assert report["unseen/top2_micro"] == pytest.approx(np.mean(hit))
    inside = topk(scores[:, [0, 2, 3]], labels[:, [0, 2, 3]], 1)
    assert (report["ptbxl71/top1_micro"], report["ptbxl71/top1_macro"]) == pytest.approx((inside.micro, inside.macro))
    assert set(report) == {
        f"{name}/{figure}" for name in sets for figure in
        ("labels", "auroc_macro", "auprc_macro", "top1_micro", "top1_macro", "top2_micro", "top2_macro")
    }  # fmt: skip
    assert all(type(value) is float for value in report.values())


def test_table_has_a_row_per_label_of_the_catalogue():
    scores, labels = case()
    catalogue = Catalogue.load("ja98").labels[:5]
    intervals = torch.arange(10, dtype=torch.float64).view(5, 2)
    rows = per_label_table(catalogue, scores, labels, intervals)
    assert [(row["id"], row["ja"], row["group"]) for row in rows] == [(label.id, label.ja, label.group) for label in catalogue]
    assert list(rows[0]) == ["id", "ja", "en", "group", "n", "auroc", "auroc_low", "auroc_high", "auprc", "top1", "top5"]
    assert rows[1]["n"] == int(labels[:, 1].sum())
    assert rows[1]["auroc"] == pytest.approx(float(auroc(scores, labels)[1]))
    assert (rows[1]["auroc_low"], rows[1]["auroc_high"]) == (2.0, 3.0)
    assert rows[1]["top1"] == pytest.approx(float(topk(scores, labels, 1).recall[1]))
    assert rows[4]["n"] == 0
    assert np.isnan([rows[4]["auroc"], rows[4]["auprc"], rows[4]["top1"]]).all()
    assert np.isnan(per_label_table(catalogue, scores, labels)[0]["auroc_low"])
