"""Votes of neighbours against a slow loop and scikit-learn."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.neighbors import KNeighborsClassifier

import ecgclip.evaluation.neighbours as module
from ecgclip.errors import UserError
from ecgclip.evaluation.neighbours import knn_scores


def world(n: int, seed: int):
    draw = torch.Generator().manual_seed(seed)
    vectors = torch.randn(n, 8, generator=draw)
    labels = (vectors[:, :5] + 0.5 * torch.randn(n, 5, generator=draw) > 0.6).to(torch.int8)
    labels[torch.rand(n, 5, generator=draw) < 0.2] = -1
    labels[:, 4] = -1
    return vectors, labels


def slow(train, labels, query, k, temperature):
    out = np.zeros((len(query), labels.shape[1]))
    for i, q in enumerate(query):
        cosines = [float(torch.dot(q, t).double() / (q.double().norm() * t.double().norm())) for t in train]
        nearest = sorted(range(len(train)), key=lambda j: -cosines[j])[:k]
        for label in range(labels.shape[1]):
            known = [j for j in nearest if labels[j, label] != -1]
            total = sum(np.exp(cosines[j] / temperature) for j in known)
            column = labels[labels[:, label] != -1, label].double()
            prior = float(column.mean()) if len(column) else 0.0
            out[i, label] = sum(np.exp(cosines[j] / temperature) for j in known if labels[j, label] == 1) / total if known else prior
    return out


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (3, 0.07), (7, 1.0), (500, 0.2)])
def test_equals_a_slow_loop(monkeypatch, k, temperature):
    train, labels = world(80, 0)
    labels[:40, 3] = -1
    query, _ = world(25, 1)
    expected = slow(train, labels, query, k, temperature)
    np.testing.assert_allclose(knn_scores(train, labels, query, k, temperature).numpy(), expected, atol=1e-6)
    monkeypatch.setattr(module, "BLOCK", 300)
    np.testing.assert_allclose(knn_scores(train, labels, query, k, temperature).numpy(), expected, atol=1e-6)


def test_equals_scikit_learn_with_votes_of_equal_weight():
    train, labels = world(200, 0)
    labels = labels.clamp(min=0)
    query, _ = world(50, 1)
    found = knn_scores(train, labels, query, k=9, temperature=float("inf")).numpy()
    for label in range(4):
        model = KNeighborsClassifier(9, algorithm="brute").fit(F.normalize(train, dim=1), labels[:, label])
        np.testing.assert_allclose(found[:, label], model.predict_proba(F.normalize(query, dim=1))[:, 1], atol=1e-6)


def test_low_temperature_and_precision_in_inference_mode():
    train, labels = world(60, 0)
    query, _ = world(10, 1)
    with torch.inference_mode():
        scores = knn_scores(train.bfloat16(), labels.clamp(min=0), query.bfloat16(), temperature=1e-6)
    nearest = (F.normalize(query.bfloat16().double(), dim=1) @ F.normalize(train.bfloat16().double(), dim=1).T).argmax(1)
    assert torch.equal(scores, labels.clamp(min=0)[nearest].float())
    assert knn_scores(train, labels, query[:0]).shape == (0, 5)


def test_what_makes_no_sense_is_refused():
    train, labels = world(10, 0)
    with pytest.raises(UserError, match="NaN"):
        knn_scores(train, labels, train.clone().fill_(float("nan")))
    for changes in ({"k": 0}, {"temperature": 0.0}):
        with pytest.raises(UserError, match="nearest neighbours"):
            knn_scores(train, labels, train, **changes)
