"""The linear probe against scikit-learn, one label after another, and the choice of patients."""

import itertools

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from ecgclip.errors import UserError
from ecgclip.evaluation.linear_probe import linear_probe, patient_share


def world(n: int, seed: int, dim: int = 12):
    """Correlated features of uneven scale; common and rare labels, unknown states, a label never positive and one never negative."""
    fixed = torch.Generator().manual_seed(1)
    mixing = torch.randn(dim, dim, generator=fixed) * torch.logspace(-2, 1, dim)
    directions = torch.randn(dim, 6, generator=fixed)
    draw = torch.Generator().manual_seed(seed)
    hidden = torch.randn(n, dim, generator=draw)
    drift = torch.tensor([0.0, -2.0, 3.0, -6.0, -100.0, 100.0])
    labels = (hidden @ directions + 2 * torch.randn(n, 6, generator=draw) + drift > 0).to(torch.int8)
    labels[torch.rand(n, 6, generator=draw) < 0.1] = -1
    return hidden @ mixing + 5, labels


def slow(train, labels, query, strength):
    """Log-odds of scikit-learn, (Q, L); NaN where a label has one side only."""
    mean, deviation = train.double().mean(0).numpy(), train.double().std(0, correction=0).numpy()
    x, q = (train.numpy() - mean) / deviation, (query.numpy() - mean) / deviation
    out = np.full((len(query), labels.shape[1]), np.nan)
    for j in range(labels.shape[1]):
        known = labels[:, j].numpy() >= 0
        if len(set(labels[known, j].tolist())) == 2:
            model = LogisticRegression(C=1 / strength, tol=1e-10, max_iter=10000).fit(x[known], labels[known, j].numpy())
            out[:, j] = model.decision_function(q)
    return out


@pytest.mark.parametrize("strength", [0.1, 1.0, 30.0])
def test_equals_scikit_learn_at_the_same_strength(strength):
    train, labels = world(400, 0)
    query, _ = world(150, 1)
    found = linear_probe(train, labels, None, None, query, strengths=(strength,)).double().numpy()
    expected = slow(train, labels, query, strength)
    np.testing.assert_allclose(found[:, :4], expected[:, :4], atol=2e-4)
    np.testing.assert_allclose(1 / (1 + np.exp(-found[:, :4])), 1 / (1 + np.exp(-expected[:, :4])), atol=1e-4)


def test_separable_labels_converge_too():
    train, labels = world(30, 3)
    labels = labels.abs()
    query, _ = world(50, 4)
    found, expected = linear_probe(train, labels, None, None, query, strengths=(0.1,)).double().numpy(), slow(train, labels, query, 0.1)
    both = ~np.isnan(expected[0])
    assert both.sum() >= 3
    np.testing.assert_allclose(found[:, both], expected[:, both], rtol=1e-3, atol=1e-3)


def test_the_strength_is_the_best_on_validation():
    train, labels = world(60, 0)
    val, val_labels = world(500, 1)
    query, _ = world(20, 2)
    strengths = (0.01, 1.0, 10.0, 1000.0)
    areas = []
    for strength in strengths:
        scores = slow(train, labels, val, strength)
        known = val_labels.numpy() >= 0
        areas.append(np.mean([roc_auc_score(val_labels[known[:, j], j], scores[known[:, j], j]) for j in range(4)]))
    assert len(set(np.round(areas, 4))) == 4
    best = strengths[int(np.argmax(areas))]
    chosen = linear_probe(train, labels, val, val_labels, query, strengths=strengths)
    torch.testing.assert_close(chosen, linear_probe(train, labels, None, None, query, strengths=(best,)), rtol=1e-3, atol=2e-3)


def test_without_validation_the_middle_strength_is_taken():
    train, labels = world(100, 0)
    middle, alone = (linear_probe(train, labels, None, None, train, strengths=s) for s in ((100.0, 1.0, 10.0), (10.0,)))
    assert torch.equal(middle, alone)


def test_a_label_with_one_side_gets_its_prior():
    train, labels = world(100, 0)
    labels[:, 0] = -1
    scores = linear_probe(train, labels, None, None, train[:7])
    never, always = (int((labels[:, j] >= 0).sum()) for j in (4, 5))
    assert scores[:, 0].tolist() == [0.0] * 7
    assert scores[:, 4].tolist() == pytest.approx([-np.log((never + 0.5) / 0.5)] * 7)
    assert scores[:, 5].tolist() == pytest.approx([np.log((always + 0.5) / 0.5)] * 7)


def test_constant_features_few_records_low_precision_and_inference_mode():
    with torch.inference_mode():
        train, labels = world(9, 0)
        train = torch.cat((train, torch.full((9, 1), 3.0)), dim=1).bfloat16()
        scores = linear_probe(train, labels, train, labels, train)
    assert scores.shape == labels.shape
    assert scores.dtype == torch.float32
    assert bool(scores.isfinite().all())


def test_what_cannot_be_fitted_is_refused():
    train, labels = world(20, 0)
    with pytest.raises(UserError, match="NaN"):
        linear_probe(train.clone().fill_(float("nan")), labels, None, None, train)
    with pytest.raises(UserError, match="above 0"):
        linear_probe(train, labels, None, None, train, strengths=(0.0,))
    with pytest.raises(UserError, match="at least one training record"):
        linear_probe(train[:0], labels[:0], None, None, train)


def test_shares_hold_whole_patients_and_are_nested():
    patients = np.array([f"p{i % 200}" for i in range(1000)])
    shares = [patient_share(patients, fraction, seed=3) for fraction in (0.01, 0.1, 0.5, 1.0)]
    for share, count in zip(shares, (2, 20, 100, 200), strict=True):
        chosen = set(patients[share.numpy()])
        assert len(chosen) == count
        assert not chosen & set(patients[~share.numpy()])
    for smaller, larger in itertools.pairwise(shares):
        assert bool((larger | ~smaller).all())
    assert not torch.equal(shares[1], patient_share(patients, 0.1, seed=4))
    assert int(patient_share(["a", "b"], 0.001, 0).sum()) == 1
    with pytest.raises(UserError, match="fraction above 0"):
        patient_share(patients, 0.0, 0)
