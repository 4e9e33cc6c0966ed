import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt

from ecgclip.signals.filters import baseline, without_mains
from ecgclip.simulation import simulate

RATE = 100.0


def time(seconds: float, rate: float = RATE) -> np.ndarray:
    return np.arange(round(seconds * rate)) / rate


def sine(frequency: float, seconds: float, rate: float = RATE, phase: float = 0.0) -> np.ndarray:
    return np.sin(2 * np.pi * frequency * time(seconds, rate) + phase)[None]


@pytest.mark.parametrize(
    ("frequency", "left"), [(0.05, 0.0), (0.2, 0.058), (0.5, 0.7071), (0.67, 0.886), (1.0, 0.975), (2.0, 0.998), (10.0, 1.0)]
)
def test_the_high_pass_has_3_db_at_half_a_hertz(frequency: float, left: float) -> None:
    wave = sine(frequency, 60)
    np.testing.assert_allclose((wave - baseline(wave, RATE))[0, 2000:4000].std() * np.sqrt(2), left, atol=0.005)


@pytest.mark.parametrize("rate", [62.5, 100.0, 500.0, 1000.0])
def test_it_is_the_filter_of_butterworth_run_both_ways(rate: float) -> None:
    signal = np.random.default_rng(0).standard_normal((3, round(60 * rate))).cumsum(-1)
    corner = 0.5 / (1 / (np.sqrt(2) - 1)) ** 0.25
    expected = sosfiltfilt(butter(2, corner, fs=rate, output="sos"), signal)
    middle = slice(round(20 * rate), round(40 * rate))
    np.testing.assert_allclose(baseline(signal, rate)[:, middle], expected[:, middle], atol=2e-3 * np.ptp(expected))


def test_an_offset_and_a_drift_ring_at_neither_end() -> None:
    drift = (300 + 2 * time(10))[None]
    assert np.abs(drift - baseline(drift, RATE)).max() < 1e-6
    # What pads with a mirror image or with zeros bends there.
    ordinary = sosfiltfilt(butter(2, 0.5, "high", fs=RATE, output="sos"), drift + 0.2 * sine(0.1, 10))
    ours = drift + 0.2 * sine(0.1, 10)
    assert np.abs(ours - baseline(ours, RATE)).max() < 0.25 * np.abs(ordinary).max()


def test_a_step_of_st_keeps_its_height() -> None:
    beat = np.zeros((1, 1000))
    beat[:, 500:510] = 0.1  # mV, for 100 ms
    out = beat - baseline(beat, RATE)
    np.testing.assert_allclose(out[0, 500:510] - out[0, 497], 0.1, atol=0.01)
    assert np.abs(out - beat).max() < 0.02
    # In every beat, at 75 a minute, against the PQ level.
    beats = np.tile(np.r_[np.zeros(40), np.full(10, 0.1), np.zeros(30)], 20)[None]
    out = beats - baseline(beats, RATE)
    np.testing.assert_allclose(out[0, 840:850] - out[0, 838], 0.1, atol=0.01)


def test_no_wave_moves() -> None:
    r = np.exp(-(((time(10) - 5) / 0.012) ** 2) / 2)[None]
    out = r - baseline(r, RATE)
    assert out.argmax() == r.argmax()
    np.testing.assert_allclose(out[0, 400:500], out[0, 600:500:-1], atol=1e-9)


@pytest.mark.parametrize(("mains", "rate"), [(50, 500.0), (60, 500.0), (50, 1000.0), (60, 257.0), (50, 125.0), (50, 100.0)])
def test_the_notch_takes_mains_out_to_the_very_ends(mains: int, rate: float) -> None:
    hum = 0.3 * sine(mains, 10, rate, phase=1.0) * (1 + 0.05 * time(10, rate))  # Slowly stronger.
    out = without_mains(100.0 + hum, rate, mains)
    assert np.abs(out - 100.0).max() < 0.02  # A notch that mirrors the signal leaves half of the hum at the ends.
    assert np.abs(out - 100.0)[:, round(rate) : -round(rate)].max() < 0.001


@pytest.mark.parametrize("mains", [50, 60])
def test_the_notch_leaves_the_ecg_alone(mains: int) -> None:
    ecg = simulate([{"NORM"}] * 3, range(3), sampling_rate=500, noise=False).astype(np.float64)
    hum = 0.2 * sine(mains, 10, 500.0, phase=0.7)
    for record in ecg:
        changed = np.abs(without_mains(record + hum, 500.0, mains) - record)
        assert changed[:, 250:-250].max() < 0.015
        assert changed.max() < 0.12  # Where the record begins or ends within QRS.


def test_mains_need_not_keep_their_frequency_exactly() -> None:
    for frequency in (49.8, 50.2):
        out = np.abs(without_mains(sine(frequency, 10, 500.0), 500.0, 50))
        assert out[:, 500:-500].max() < 0.02
        assert out.max() < 0.1


def test_what_a_rate_cannot_hold_is_left_alone() -> None:
    signal = np.random.default_rng(0).standard_normal((12, 1000))
    np.testing.assert_array_equal(without_mains(signal, 100.0, 60), signal)


def test_a_few_samples_are_no_trouble() -> None:
    for samples in (1, 2, 3, 25):
        assert baseline(np.ones((12, samples)), RATE).shape == (12, samples)
        assert without_mains(np.ones((12, samples)), 500.0, 50).shape == (12, samples)
