"""The simulator's contract: shape, physics of the leads, determinism, refusals, speed."""

import numpy as np
import pytest

from ecgclip.errors import UserError
from ecgclip.simulation import DRAWABLE, draw_label_sets, recorder, simulate, simulate_blocks
from ecgclip.simulation.draws import Draws


@pytest.fixture(scope="module")
def each() -> np.ndarray:
    """One noisy record of every label."""
    return simulate([{name} for name in DRAWABLE], range(len(DRAWABLE)))


def test_every_label_gives_a_sane_record(each):
    assert each.shape == (98, 12, 1000)
    assert each.dtype == np.float32
    assert np.isfinite(each).all()
    top = np.abs(each).max(axis=(1, 2))
    assert top.min() > 0.3
    clean = simulate(draw_label_sets(400, 5), range(400), noise=False)
    assert np.abs(clean).max() < 5.2


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


def test_most_recordings_are_good_and_some_are_not():
    loud, clean = (simulate([{"SR"}] * 200, range(200), noise=noise) for noise in (True, False))
    noise = (loud - clean).std(axis=2)
    assert noise.min() > 0.001
    assert np.median(noise) < 0.1
    assert 0.01 < (noise.max(axis=1) > 0.3).mean() < 0.2


def test_noise_of_an_electrode_reaches_the_leads_that_use_it():
    """An arm's electrode is in all leads but one, a chest electrode in its own."""
    recording = recorder.draw(Draws(3), 10.0)
    recording.step, recording.limit = 1e-6, 100.0
    for electrode, untouched in ((0, []), (1, [1]), (2, [0]), (5, [0, 1, 2, 3, 5, 6, 7])):
        recording.muscle = np.eye(9, dtype=np.float32)[electrode] * 0.1
        recording.wander[2][:] = recording.mains[1][:] = 0
        recording.steps = []
        leads = np.zeros((8, 1000), np.float32)
        recorder.record(leads, recording, 100.0, Draws(4))
        assert [row for row in range(8) if leads[row].std() < 1e-4] == untouched


def test_a_recorder_rounds_filters_and_clips():
    recording = recorder.draw(Draws(3), 10.0)
    recording.muscle[:] = recording.wander[2][:] = recording.mains[1][:] = 0
    recording.steps = []
    recording.high_pass, recording.zero_phase, recording.low_pass, recording.step, recording.limit = 0.5, True, 40.0, 0.005, 1.5
    t = np.arange(5000) / 500
    leads = np.array([np.sin(2 * np.pi * f * t) for f in (0.1, 5.0, 100.0)] + [3 * np.sin(2 * np.pi * 5 * t)] + [0 * t] * 4, np.float32)
    recorder.record(leads, recording, 500.0, Draws(4))
    slow, kept, fast, large = np.abs(leads[:4, 1000:-1000]).max(1)
    assert slow < 0.02
    assert fast < 0.05
    assert 0.95 < kept <= 1.005
    assert large == np.float32(1.5)
    np.testing.assert_allclose(leads / 0.005, np.rint(leads / 0.005), atol=1e-3)


def test_any_number_of_processes_draws_the_same():
    sets = draw_label_sets(150, 2)
    one, two = (np.concatenate(list(simulate_blocks(sets, range(150), size=32, jobs=jobs))) for jobs in (1, 2))
    assert np.array_equal(one, two)
    assert np.array_equal(one, simulate(sets, range(150)))


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
