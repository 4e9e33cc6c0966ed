import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from ecgclip.errors import UserError
from ecgclip.evaluation.calibration import (
    brier,
    calibration_error,
    fit_platt,
    fit_temperature,
    pooled_calibration_error,
    reliability,
)


def made(n=600, labels=5, seed=0):
    draw = torch.Generator().manual_seed(seed)
    scores = torch.randn(n, labels, generator=draw)
    slope, offset = torch.linspace(0.5, 3, labels), torch.linspace(-3, 0, labels)
    states = (torch.rand(n, labels, generator=draw) < torch.sigmoid(slope * scores + offset)).to(torch.int8)
    states[torch.rand(n, labels, generator=draw) < 0.1] = -1
    return (scores * 10).round() / 100, states  # Cosines of one decimal place of a degree: full of ties.


def platt_loss(line, score, positive):
    up, down = positive.sum(), (~positive).sum()
    target = np.where(positive, (up + 1) / (up + 2), 1 / (down + 2))
    z = line[0] * score + line[1]
    return float(np.sum(np.logaddexp(0, z) - target * z))


def test_platt_is_the_minimum_of_its_objective():
    scores, states = made()
    line = fit_platt(scores, states)
    for i in range(5):
        known = states[:, i] >= 0
        score, positive = scores[known, i].double().numpy(), (states[known, i] == 1).numpy()
        best = minimize(platt_loss, [0.0, 0.0], args=(score, positive), method="BFGS", options={"gtol": 1e-9})
        assert platt_loss((float(line.scale[i]), float(line.offset[i])), score, positive) <= best.fun + 1e-9
        assert float(line.scale[i]) == pytest.approx(best.x[0], rel=1e-4)


def test_temperature_is_one_logistic_regression_over_all_decisions():
    scores, states = made()
    line = fit_temperature(scores, states)
    known = states >= 0
    reference = LogisticRegression(C=1e12, tol=1e-10, solver="newton-cholesky")
    reference.fit(scores[known][:, None].double().numpy(), (states[known] == 1).numpy())
    assert float(line.scale[0]) == pytest.approx(float(reference.coef_[0, 0]), rel=1e-5)
    assert float(line.offset[0]) == pytest.approx(float(reference.intercept_[0]), rel=1e-5)
    assert torch.equal(line.scale, line.scale[:1].expand(5))


@pytest.mark.parametrize("case", ["separable", "one positive", "constant", "reversed"])
def test_hard_labels_get_a_finite_line(case):
    scores, states = made(n=200, labels=1)
    states[states < 0] = 0
    if case == "separable":
        states = (scores > 0.02).to(torch.int8)
    elif case == "one positive":
        states[:] = 0
        states[int(scores.argmax())] = 1
    elif case == "constant":
        scores = torch.full_like(scores, 0.3)
    else:
        scores = -scores
    line = fit_platt(scores, states)
    p = line.probabilities(scores)
    assert torch.isfinite(p).all()
    assert float(p.mean()) == pytest.approx(float((states == 1).double().mean()), abs=0.02)
    if case == "reversed":
        assert float(line.scale) < 0


def test_what_cannot_be_fitted_is_nan_and_leaves_the_others():
    scores, states = made()
    states[:, 1], states[:, 2], states[:, 3] = 0, 1, -1
    line = fit_platt(scores, states)
    assert torch.isnan(line.scale).tolist() == [False, True, True, True, False]
    assert torch.isnan(line.probabilities(scores)).all(0).tolist() == [False, True, True, True, False]
    assert torch.isnan(fit_temperature(scores, torch.zeros_like(states)).scale).all()
    with pytest.raises(UserError, match="NaN or infinite"):
        fit_platt(scores.masked_fill(scores == scores.max(), torch.nan), states)


def slow_error(p, positive, bins):
    """Bin by bin in a loop."""
    place = np.minimum((p * bins).astype(int), bins - 1)
    gaps = [abs(positive[place == b].mean() - p[place == b].mean()) * (place == b).sum() for b in range(bins) if (place == b).any()]
    return sum(gaps) / len(p)


def test_calibration_error_brier_and_reliability_are_those_of_a_loop():
    scores, states = made()
    p = torch.sigmoid(scores.double() * 20)
    p[0, 0], p[1, 0] = 1.0, 0.0
    everything, truth = [], []
    for i in range(5):
        known = (states[:, i] >= 0).numpy()
        mine, positive = p[:, i].numpy()[known], (states[:, i] == 1).numpy()[known]
        assert float(calibration_error(p, states)[i]) == pytest.approx(slow_error(mine, positive, 15), abs=1e-12)
        assert float(brier(p, states)[i]) == pytest.approx(brier_score_loss(positive, mine), abs=1e-12)
        everything.append(mine)
        truth.append(positive)
    mine, positive = np.concatenate(everything), np.concatenate(truth)
    assert pooled_calibration_error(p, states) == pytest.approx(slow_error(mine, positive, 15), abs=1e-12)
    curve = reliability(p, states, bins=4)
    assert int(curve.decisions.sum()) == len(mine)
    inside = (mine >= 0.25) & (mine < 0.5)
    assert float(curve.observed[1]) == pytest.approx(positive[inside].mean())
    assert float(curve.confidence[1]) == pytest.approx(mine[inside].mean())


def test_nothing_known_is_nan_and_a_column_of_nan_is_left_out():
    scores, states = made()
    p = torch.sigmoid(scores.double())
    p[:, 0] = torch.nan
    states[:, 1] = -1
    assert torch.isnan(calibration_error(p, states)).tolist() == [True, True, False, False, False]
    assert pooled_calibration_error(p, states) == pooled_calibration_error(p[:, 2:], states[:, 2:])
