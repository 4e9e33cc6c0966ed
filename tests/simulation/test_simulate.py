"""The simulator's contract: shape, physics of the leads, determinism, refusals, speed."""

import time

import numpy as np
import pytest

from ecgclip.errors import UserError
from ecgclip.simulation import DRAWABLE, draw_label_sets, simulate


@pytest.fixture(scope="module")
def each() -> np.ndarray:
    """One noisy record of every label."""
    return simulate([{name} for name in DRAWABLE], range(len(DRAWABLE)))


def test_every_label_gives_a_sane_record(each):
    assert each.shape == (98, 12, 1000)
    assert each.dtype == np.float32
    assert np.isfinite(each).all()
    top = np.abs(each).max(axis=(1, 2))
    assert top.max() < 5
    assert top.min() > 0.3
    assert np.abs(simulate(draw_label_sets(400, 5), range(400))).max() < 5


def test_limb_leads_obey_einthoven_and_goldberger(each):
    one, two, three, avr, avl, avf = each[:, :6].transpose(1, 0, 2)
    np.testing.assert_allclose(one + three, two, atol=2e-6)
    np.testing.assert_allclose(avr, -(one + two) / 2, atol=2e-6)
    np.testing.assert_allclose(avl, (one - three) / 2, atol=2e-6)
    np.testing.assert_allclose(avf, (two + three) / 2, atol=2e-6)


def test_a_record_follows_from_its_labels_and_seed_alone():
    sets = [{"SR"}, {"AFIB", "PVC"}, {"CRBBB", "SR"}] * 50
    whole = simulate(sets, range(150))
    assert np.array_equal(simulate([sets[140]], [140])[0], whole[140])
    assert np.array_equal(simulate([["SR", "CRBBB"]], [2])[0], whole[2])


def test_an_implied_label_changes_nothing():
    assert np.array_equal(simulate([{"WENCK", "2AVB"}], [4]), simulate([{"WENCK"}], [4]))


def test_seeds_are_different_people():
    records = simulate([{"NORM", "SR"}] * 12, range(12), noise=False).reshape(12, -1)
    correlation = np.corrcoef(records) - np.eye(12)
    assert correlation.max() < 0.9


def test_noise_is_small_and_optional():
    loud, clean = (simulate([{"SR"}] * 8, range(8), noise=noise) for noise in (True, False))
    noise = (loud - clean).std(axis=2)
    assert noise.min() > 0.002
    assert noise.max() < 0.1


@pytest.mark.parametrize(("rate", "seconds"), [(100, 2.5), (500, 2.5), (250, 5), (100, 30), (500, 10)])
def test_any_rate_and_length(rate, seconds):
    records = simulate([{"VCOUP"}, {"SARREST"}, {"AFLT"}, {"PACE"}, {"TRIGU"}], range(5), sampling_rate=rate, seconds=seconds)
    assert records.shape == (5, 12, round(rate * seconds))
    assert np.isfinite(records).all()


def test_the_rate_does_not_change_the_ecg():
    fine = simulate([{"CLBBB"}, {"AFIB"}], [1, 2], sampling_rate=500, noise=False)
    coarse = simulate([{"CLBBB"}, {"AFIB"}], [1, 2], sampling_rate=100, noise=False)
    np.testing.assert_allclose(fine[:, :, ::5], coarse, atol=0.02)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"label_sets": [{"XYZ"}]}, "'XYZ'"),
        ({"label_sets": [{"SR", "AFIB"}]}, "exclude each other"),
        ({"label_sets": [{"CRBBB", "IRBBB"}]}, "exclude each other"),
        ({"sampling_rate": 0.0}, "0 Hz"),
        ({"sampling_rate": float("nan")}, "nan Hz"),
        ({"seconds": 0.0}, "0 s"),
        ({"seconds": -1.0}, "-1 s"),
        ({"seeds": [1, 2]}, "2 seeds"),
        ({"seeds": [-1]}, "seed -1"),
    ],
)
def test_bad_input_is_refused_in_one_line(arguments, says):
    call = {"label_sets": [{"SR"}], "seeds": [0], **arguments}
    with pytest.raises(UserError, match=says) as caught:
        simulate(call.pop("label_sets"), call.pop("seeds"), **call)
    assert "\n" not in str(caught.value)


def test_no_records_is_no_error():
    assert simulate([], []).shape == (0, 12, 1000)


def test_it_is_fast_enough_to_make_a_data_set_on_the_spot():
    sets = draw_label_sets(400, 0)
    simulate(sets[:64], range(64))
    start = time.process_time()
    simulate(sets, range(400))
    assert 400 / (time.process_time() - start) > 500
