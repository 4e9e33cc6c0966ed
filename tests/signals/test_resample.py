import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgclip.errors import UserError
from ecgclip.signals.resample import resample


@pytest.mark.parametrize(("start", "end"), [(500, 100), (100, 500), (257, 100), (1000, 100), (360, 500), (99.5, 100)])
def test_a_slow_wave_keeps_its_shape_and_its_time(start: float, end: float) -> None:
    def wave(rate: float) -> np.ndarray:
        return np.sin(2 * np.pi * 5 * np.arange(round(10 * rate)) / rate)

    got = resample(wave(start)[None].astype(np.float32), start, end)
    assert got.dtype == np.float32
    assert got.shape == (1, int(np.ceil(round(10 * start) * end / start)))
    second = round(end)
    np.testing.assert_allclose(got[0, second : 9 * second], wave(end)[second : 9 * second], atol=0.001)


@pytest.mark.parametrize("frequency", [50.0, 60.0, 70.0, 90.0, 150.0, 249.0])
def test_what_the_new_rate_cannot_hold_does_not_come_back_as_something_else(frequency: float) -> None:
    # 90 Hz at 100 Hz would be a wave of 10 Hz, right among the ECG's own.
    muscle = np.sin(2 * np.pi * frequency * np.arange(5000) / 500 + 0.5)
    assert np.abs(resample(muscle, 500, 100)[100:-100]).max() < 0.001  # -60 dB
    assert np.abs(resample(muscle, 500, 100)).max() < 1.1
    assert np.abs(muscle[::5]).max() > 0.45


def test_a_spike_rings_for_a_tenth_of_a_second_and_no_longer() -> None:
    spike = np.zeros((1, 5000))
    spike[0, 2500] = 1.0
    out = np.abs(resample(spike, 500, 100)[0])
    assert out.argmax() == 500
    assert out[:490].max() < 0.02 * out.max()


def test_an_offset_stays_flat_to_the_very_ends() -> None:
    np.testing.assert_allclose(resample(np.full((2, 5000), 7.5), 500, 100), 7.5, atol=1e-9)


def test_a_drift_stays_straight() -> None:
    drift = np.linspace(0, 5, 5000)[None]  # 0.5 mV/s
    np.testing.assert_allclose(resample(drift, 500, 100), drift[:, ::5], atol=0.005)


def test_the_same_rate_changes_nothing() -> None:
    signal = np.random.default_rng(0).standard_normal((12, 1000)).astype(np.float32)
    assert resample(signal, 100, 100.0) is signal


def test_a_low_pass_beside_it() -> None:
    def height(frequency: float) -> float:
        wave = np.sin(2 * np.pi * frequency * np.arange(5000) / 500)
        return float(resample(wave, 500, 500, 150)[500:-500].std() * np.sqrt(2))

    assert height(150) == pytest.approx(np.sqrt(0.5), abs=0.01)
    assert height(80) > 0.99
    assert height(230) < 0.2


@settings(max_examples=60, deadline=None)
@given(samples=st.integers(1, 700), rates=st.tuples(*[st.sampled_from([50.0, 62.5, 100.0, 125.0, 257.0, 360.0, 500.0])] * 2))
def test_any_length_and_rate_give_finite_numbers_within_the_range(samples: int, rates: tuple[float, float]) -> None:
    signal = np.random.default_rng(samples).uniform(-1, 1, (2, samples)).astype(np.float32)
    got = resample(signal, *rates)
    assert got.shape == (2, int(np.ceil(samples * rates[1] / rates[0] - 1e-9)))
    assert got.dtype == np.float32
    assert np.abs(got).max() < 3


def test_a_rate_that_is_none_of_an_ecg_is_refused_and_not_rounded() -> None:
    with pytest.raises(UserError, match=r"1e\+09 Hz cannot be brought to 100 Hz"):
        resample(np.ones((1, 10)), 1e9, 100)
