import json

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, label_ranking_average_precision_score

from ecgclip.evaluation.decisions import fit
from ecgclip.evaluation.full import Scored, confused_pairs, embedding_map, full_evaluation, plain, ranking_precision, text_similarity
from ecgclip.evaluation.zero_shot import label_sets
from ecgclip.labels import Catalogue

CATALOGUE = Catalogue.from_entries([{"id": name, "ja": f"所見{name}", "en": f"finding {name}"} for name in "ABCDEF"])
SCALE, PRIOR = 14.0, torch.linspace(-4, -1, 6)


def scored(seed, n=400, positives=(0.3, 0.2, 0.1, 0.05, 0.03, 0.0)):
    draw = torch.Generator().manual_seed(seed)
    labels = (torch.rand(n, 6, generator=draw) < torch.tensor(positives)).to(torch.int8)
    labels[torch.rand(n, 6, generator=draw) < 0.05] = -1
    labels[:, 5] = 0
    scores = 0.1 * torch.randn(n, 6, generator=draw) + 0.15 * (labels == 1)
    patients = np.arange(n) // 2
    return Scored(scores, SCALE * scores + PRIOR, labels, patients)


def sets_of(one):
    return label_sets(one.labels, CATALOGUE.ids)


@pytest.fixture(scope="module")
def judged():
    one, val = scored(0), scored(1)
    groups = {"sex": np.where(np.arange(400) % 3 == 0, "F", "M"), "device": np.full(400, "")}
    return one, val, full_evaluation(one, CATALOGUE, sets_of(one), fitted_on=val, groups=groups, replicates=60)


def test_decisions_come_from_the_validation_records(judged):
    one, val, evaluation = judged
    thresholds = fit(val.logits, val.labels).thresholds
    for column in range(5):
        known = one.labels[:, column] >= 0
        called = one.logits[known, column] >= thresholds[column]
        assert evaluation.rows[column]["f1"] == pytest.approx(f1_score(one.labels[known, column], called), abs=1e-6)


def test_thresholds_are_told_as_cosines(judged):
    one, val, evaluation = judged
    thresholds = fit(val.logits, val.labels).thresholds
    expected = one.logits >= thresholds
    called = one.scores.double() >= evaluation.thresholds
    assert torch.equal(called[:, :5], expected[:, :5])
    assert torch.isnan(evaluation.thresholds[5])


def test_details_are_plain_and_whole(judged):
    one, _, evaluation = judged
    detail = json.loads(json.dumps(evaluation.detail, allow_nan=False))
    assert detail["records"] == 400 and detail["patients"] == 200 and detail["fitted_on"] == "val"
    assert [row["id"] for row in detail["labels"]] == list("ABCDEF")
    assert detail["labels"][5]["n"] == 0 and detail["labels"][5]["auroc"] is None
    assert detail["label_sets"]["all"] == list("ABCDE")
    assert {row["group"] for row in detail["subgroups"]} == {"F", "M"}
    assert sum(detail["reliability"]["platt"]["count"]) == int((one.labels[:, :5] >= 0).sum())
    for name in ("zero_shot/all/auroc_macro_low", "zero_shot/all/auprc_macro_high", "zero_shot/all/f1_macro", "calibration/platt/ece"):
        assert evaluation.figures[name] == evaluation.figures[name]


def test_a_validation_set_is_not_judged_by_what_it_fitted(judged):
    one, _, _ = judged
    honest = full_evaluation(one, CATALOGUE, sets_of(one), replicates=20)
    flattered = full_evaluation(one, CATALOGUE, sets_of(one), fitted_on=one, replicates=20)
    assert honest.detail["fitted_on"] != "val"
    assert honest.figures["zero_shot/all/f1_macro"] < flattered.figures["zero_shot/all/f1_macro"]
    assert torch.equal(honest.thresholds[:5], flattered.thresholds[:5])  # What a model is given along is fitted on all of them.
    assert honest.figures["zero_shot/all/auroc_macro"] == flattered.figures["zero_shot/all/auroc_macro"]


def test_ranking_precision_is_that_of_scikit_learn_where_nothing_ties():
    one = scored(3)
    labels = one.labels.clamp(min=0)
    has = (labels == 1).any(1)
    got = ranking_precision(one.scores, labels)
    assert torch.isnan(got[~has]).all()
    assert float(got[has].mean()) == pytest.approx(label_ranking_average_precision_score(labels[has], one.scores[has]), abs=1e-6)


def test_ranking_precision_counts_ties_against_and_unknown_out():
    scores = torch.tensor([[0.5, 0.5, 0.1], [0.9, 0.5, 0.1]])
    labels = torch.tensor([[1, 0, 0], [-1, 1, 0]], dtype=torch.int8)
    assert ranking_precision(scores, labels).tolist() == [0.5, 1.0]


def test_confused_pairs_are_those_of_a_loop():
    one = scored(4)
    for pair in confused_pairs(one.scores, one.labels, CATALOGUE.ids):
        i, j = CATALOGUE.index(pair["id"]), CATALOGUE.index(pair["other"])
        rows = [r for r in range(400) if one.labels[r, i] == 1 and one.labels[r, j] == 0]
        assert pair["n"] == len(rows) >= 5
        assert pair["share"] == pytest.approx(sum(bool(one.scores[r, j] > one.scores[r, i]) for r in rows) / len(rows))


def test_the_map_keeps_distances_of_plane_vectors_and_names_the_rarest_label():
    draw = torch.Generator().manual_seed(5)
    plane = torch.randn(100, 2, generator=draw)
    vectors = plane @ torch.linalg.qr(torch.randn(16, 2, generator=draw)).Q.T
    labels = torch.zeros(100, 6, dtype=torch.int8)
    labels[:60, 0] = labels[:12, 1] = labels[:3, 2] = 1
    found = embedding_map(vectors, labels, CATALOGUE.ids)
    at = torch.tensor([found["x"], found["y"]]).T
    assert torch.allclose(torch.cdist(at, at), torch.cdist(plane, plane), atol=1e-3)
    assert found["label"][:12] == ["B"] * 12 and found["label"][12:60] == ["A"] * 48 and found["label"][60] == ""


def test_text_similarity_and_plain_values():
    assert text_similarity(torch.tensor([[1.0, 0.0], [3.0, 3.0]])) == [[1.0, 0.707], [0.707, 1.0]]
    assert plain({"a": [float("nan"), 1.0], "b": ("x", None)}) == {"a": [None, 1.0], "b": ["x", None]}
