import numpy as np
import pytest

from ecgclip.errors import UserError
from ecgclip.signals.resample import resample


@pytest.mark.parametrize(("start", "end"), [(500, 100), (100, 500), (257, 100), (1000, 100), (360, 500)])
def test_a_slow_wave_keeps_its_shape_and_its_time(start: int, end: int) -> None:
    def wave(rate: int) -> np.ndarray:
        return np.sin(2 * np.pi * 5 * np.arange(10 * rate) / rate)

    got = resample(wave(start)[None].astype(np.float32), start, end)
    assert got.dtype == np.float32
    assert got.shape == (1, int(np.ceil(10 * start * end / start)))
    np.testing.assert_allclose(got[0, end : 9 * end], wave(end)[end : 9 * end], atol=0.005)


def test_what_the_new_rate_cannot_hold_does_not_come_back_as_something_else() -> None:
    # 90 Hz at 100 Hz would be a wave of 10 Hz, right among the ECG's own.
    muscle = np.sin(2 * np.pi * 90 * np.arange(5000) / 500)
    assert np.abs(resample(muscle, 500, 100)[100:-100]).max() < 0.01
    assert np.abs(muscle[::5]).max() > 0.9


def test_an_offset_stays_flat_to_the_very_ends() -> None:
    np.testing.assert_allclose(resample(np.full((2, 5000), 7.5), 500, 100), 7.5, atol=1e-9)


def test_the_same_rate_changes_nothing() -> None:
    signal = np.random.default_rng(0).standard_normal((12, 1000)).astype(np.float32)
    assert resample(signal, 100, 100.0) is signal


def test_a_rate_that_is_none_of_an_ecg_is_refused_and_not_rounded() -> None:
    with pytest.raises(UserError, match=r"1e\+09 Hz cannot be brought to 100 Hz"):
        resample(np.ones((1, 10)), 1e9, 100)
