import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score

from ecgclip.errors import UserError
from ecgclip.evaluation.decisions import apply, cross_fit, decide, decision_figures, fit, record_jaccard
from ecgclip.evaluation.thresholds import specificity_thresholds


def made(n=300, labels=4, seed=0, share=0.2):
    draw = torch.Generator().manual_seed(seed)
    states = (torch.rand(n, labels, generator=draw) < share).to(torch.int8)
    scores = (torch.randn(n, labels, generator=draw) + (states == 1)).mul(5).round() / 5
    states[torch.rand(n, labels, generator=draw) < 0.1] = -1
    return scores, states


def test_figures_are_those_of_scikit_learn():
    scores, states = made()
    thresholds = torch.tensor([0.0, 0.5, 1.0, 1.5])
    got = decide(scores, states, thresholds)
    for i in range(4):
        known = states[:, i] >= 0
        truth, called = (states[known, i] == 1).numpy(), (scores[known, i] >= thresholds[i]).numpy()
        for figure, reference in (
            (got.f1, f1_score),
            (got.jaccard, jaccard_score),
            (got.sensitivity, recall_score),
            (got.ppv, precision_score),
        ):
            assert float(figure[i]) == pytest.approx(reference(truth, called), abs=1e-9)
        assert float(got.specificity[i]) == pytest.approx(recall_score(~truth, ~called), abs=1e-9)
        assert float(got.npv[i]) == pytest.approx(precision_score(~truth, ~called), abs=1e-9)


def test_what_does_not_exist_is_nan_and_never_0():
    states = torch.tensor([[0, 1, -1, 1], [0, 1, -1, 0]], dtype=torch.int8)
    got = decide(torch.zeros(2, 4), states, torch.tensor([-1.0, -1.0, -1.0, torch.nan]))
    nothing = {name: torch.isnan(getattr(got, name)).tolist() for name in ("f1", "jaccard", "sensitivity", "specificity", "ppv")}
    assert nothing == {
        "f1": [True, False, True, False],
        "jaccard": [True, False, True, False],
        "sensitivity": [True, False, True, False],
        "specificity": [False, True, True, False],
        "ppv": [False, False, True, True],
    }
    assert float(got.f1[3]) == 0  # There, and never called.


def test_jaccard_of_records_is_that_of_scikit_learn_where_anything_is_there_or_called():
    scores, states = made()
    states[states < 0] = 0
    thresholds = torch.full((4,), 0.8)
    called = (scores >= thresholds).numpy()
    truth = (states == 1).numpy()
    either = (called | truth).any(1)
    assert record_jaccard(scores, states, thresholds) == pytest.approx(jaccard_score(truth[either], called[either], average="samples"))
    states[:, 0] = -1  # An unknown label is neither called nor there.
    assert record_jaccard(scores, states, thresholds) == pytest.approx(record_jaccard(scores[:, 1:], states[:, 1:], thresholds[1:]))


@pytest.mark.parametrize("specificity", [0.0, 0.5, 0.9, 1.0])
def test_the_threshold_is_the_lowest_that_keeps_the_specificity(specificity):
    scores, states = made()
    thresholds = specificity_thresholds(scores, states, specificity)
    got = decide(scores, states, thresholds)
    for i in range(4):
        assert float(got.specificity[i]) >= specificity
        candidates = scores[:, i].unique()
        reached = [float(decide(scores[:, i : i + 1], states[:, i : i + 1], c.view(1)).specificity) for c in candidates]
        best = min((float(c) for c, value in zip(candidates, reached, strict=True) if value >= specificity), default=np.inf)
        assert torch.equal(scores[:, i] >= thresholds[i], scores[:, i] >= best)
    assert torch.isnan(specificity_thresholds(scores, torch.ones_like(states))).all()
    with pytest.raises(UserError, match="NaN or infinite"):
        specificity_thresholds(scores.masked_fill(scores == scores.max(), torch.inf), states)


def test_fitted_on_some_records_and_applied_to_others():
    one, other = made(seed=1), made(seed=2)
    fitted = fit(*one)
    found = apply(fitted, other[0])
    assert torch.equal(found.margin >= 0, other[0].double() >= fitted.thresholds)
    assert torch.equal(found.platt, fitted.platt.probabilities(other[0]))
    assert torch.equal(found.temperature, fitted.temperature.probabilities(other[0]))


def test_no_patient_is_judged_by_what_was_fitted_on_them():
    scores, states = made()
    patients = np.repeat(np.arange(100), 3)
    before = cross_fit(scores, states, patients)
    changed = states.clone()
    changed[:3] = 1 - changed[:3].clamp(min=0)
    after = cross_fit(scores, changed, patients)
    for one, two in zip(before, after, strict=True):
        assert torch.equal(one[:3], two[:3])  # Their own labels do not matter to how they are judged,
        assert torch.isfinite(one).all()
    assert not torch.equal(before.platt, after.platt)  # but to how others are.


def test_cross_fitting_depends_on_who_is_who_and_not_on_keys():
    scores, states = made()
    numbers = np.repeat(np.arange(100), 3)
    salted = np.array([f"{(n * 7919) % 1000:04d}" for n in numbers])
    assert torch.equal(cross_fit(scores, states, numbers).margin, cross_fit(scores, states, salted).margin)


def test_a_set_averages_the_labels_that_have_a_positive():
    scores, states = made()
    states[:, 3] = 0
    applied = apply(fit(*made(seed=5)), scores)
    sets = {"all": torch.tensor([True, True, True, False]), "with": torch.ones(4, dtype=torch.bool), "one": torch.arange(4) == 2}
    report = decision_figures(applied, states, sets)
    called = decide(applied.margin, states, torch.zeros(4))
    assert report["all/f1_macro"] == report["with/f1_macro"] == pytest.approx(float(called.f1[:3].mean()))
    assert report["one/f1_micro"] == report["one/f1_macro"] == pytest.approx(float(called.f1[2]))
    known = states[:, :3] >= 0
    assert report["all/f1_micro"] == pytest.approx(f1_score((states[:, :3] == 1)[known], (applied.margin[:, :3] >= 0)[known]))
    strict = decide(applied.margin_at_specificity, states, torch.zeros(4))
    assert report["one/sensitivity_at_specificity90_macro"] == pytest.approx(float(strict.sensitivity[2]))


def test_the_order_of_records_changes_no_fit():
    scores, states = made()
    order = torch.randperm(len(scores), generator=torch.Generator().manual_seed(1))
    one, two = fit(scores, states), fit(scores[order], states[order])
    assert torch.equal(one.thresholds, two.thresholds) and torch.equal(one.at_specificity, two.at_specificity)
    torch.testing.assert_close([*one.temperature, *one.platt], [*two.temperature, *two.platt], rtol=1e-8, atol=1e-8)


def test_one_patient_alone_cannot_be_judged():
    scores, states = made(n=5)
    for values in cross_fit(scores, states, ["a"] * 5):
        assert torch.isnan(values).all()


@pytest.mark.parametrize("judge", [fit, lambda s, y: cross_fit(s, y, np.arange(len(s)))])
def test_scores_that_are_no_numbers_are_refused(judge):
    scores, states = made()
    scores[3, 1] = torch.nan
    with pytest.raises(UserError, match="NaN or infinite"):
        judge(scores, states)
