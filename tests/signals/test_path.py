import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgclip.errors import UserError
from ecgclip.signals.leads import LEADS
from ecgclip.signals.path import FILTERS, SignalPath
from ecgclip.signals.record import Record
from ecgclip.simulation import simulate

HEART = simulate([{"NORM"}], [0], sampling_rate=500, seconds=30, noise=False)[0]  # (12, 15000)


def record(signal: np.ndarray, rate: float = 500.0, names: tuple[str, ...] = LEADS) -> Record:
    return Record(np.ascontiguousarray(signal, np.float32), rate, names)


def tops(signal: np.ndarray) -> np.ndarray:
    """Samples of the R waves of lead II."""
    from scipy.signal import find_peaks

    return np.asarray(find_peaks(signal[1], height=0.6 * signal[1].max(), distance=20)[0])


# --- form ----------------------------------------------------------------------------------------------------------------------------


def test_without_a_filter_and_at_the_same_rate_nothing_is_changed() -> None:
    ecg = HEART[:, :5000] + 0.7
    out = SignalPath(sampling_rate=500)(record(ecg))
    np.testing.assert_array_equal(out.signal, ecg)
    assert out.signal.dtype == np.float32
    assert (out.missing, out.flags) == ([], [])


@pytest.mark.parametrize("filter_name", ["none", "default"])
@pytest.mark.parametrize(("source", "target"), [(500, 100), (500, 500), (100, 500), (257, 100), (1000, 250), (62.5, 100)])
def test_any_rate_becomes_the_one_wanted_and_no_wave_moves(filter_name: Any, source: float, target: float) -> None:
    ecg = simulate([{"NORM"}], [0], sampling_rate=source, seconds=13, noise=False)[0]
    out = SignalPath(target, 10, filter_name)(record(ecg, source)).signal
    assert out.shape == (12, round(10 * target))
    reference = simulate([{"NORM"}], [0], sampling_rate=1000, seconds=13, noise=False)[0]
    at = tops(out) / target
    assert len(at) >= 8
    assert np.abs(at - tops(reference)[: len(at)] / 1000).max() <= max(1 / target, 1 / source)


def test_a_70_hz_hum_at_500_hz_is_gone_at_100() -> None:
    hum = 0.5 * np.sin(2 * np.pi * 70 * np.arange(15000) / 500)
    for filter_name in ("none", "default"):
        path = SignalPath(filter=filter_name)  # type: ignore[arg-type]
        clean, humming = path(record(HEART), 5.0), path(record(HEART + hum), 5.0)
        assert np.abs(humming.signal - clean.signal).max() < 5e-4


def test_an_electrodes_offset_and_drift_go_and_the_ecg_stays() -> None:
    seconds = np.arange(5000) / 500
    path = SignalPath(filter="default")
    clean = path(record(HEART[:, :5000])).signal
    for below in (300.0 + 0 * seconds, 10 + 0.5 * seconds):
        np.testing.assert_allclose(path(record(HEART[:, :5000] + below)).signal, clean, atol=0.002)
    assert np.abs(clean - np.median(clean, axis=1, keepdims=True)).max() > 1.0  # mV: nothing was scaled.
    below_waves = SignalPath()(record(HEART[:, :5000])).signal - clean
    assert np.abs(np.diff(below_waves, axis=1)).max() < 0.01  # What went away is slow.


def test_real_signal_on_either_side_keeps_the_ends_right() -> None:
    path = SignalPath(filter="default", seconds=10)
    whole = replace(path, seconds=30)(record(HEART)).signal
    np.testing.assert_allclose(path(record(HEART), 10.0).signal, whole[:, 1000:2000], atol=0.01)


@pytest.mark.parametrize("mains", [50, 60])
def test_mains_are_taken_out_only_where_they_are_given(mains: int) -> None:
    hum = 0.2 * np.sin(2 * np.pi * mains * np.arange(15000) / 500)
    dirty, clean = record(HEART + hum), record(HEART)
    path = SignalPath(sampling_rate=500, filter="default")
    assert np.abs(path(dirty, 10.0).signal - path(clean, 10.0).signal).max() > 0.15
    path = replace(path, mains=mains)
    assert np.abs(path(dirty, 10.0).signal - path(clean, 10.0).signal).max() < 0.01


@pytest.mark.parametrize("method", [name for name in FILTERS if name not in ("none", "default")])
def test_the_methods_of_neurokit2_are_its_own(method: Any) -> None:
    import neurokit2

    lead = HEART[1, :5000].astype(np.float64)
    out = SignalPath(500, 10, method)(record(HEART[:, :5000])).signal
    np.testing.assert_allclose(out[1], neurokit2.ecg_clean(lead, sampling_rate=500, method=method), atol=1e-4)
    assert SignalPath(100, 10, method)(record(HEART)).signal.shape == (12, 1000)


def test_a_method_that_does_not_work_at_a_rate_says_so_in_one_line() -> None:
    with pytest.raises(UserError, match=r"^filter 'engzeemod2012' of neurokit2 does not work at 100 Hz \(.*\): take the filter 'default'$"):
        SignalPath(filter="engzeemod2012")(record(HEART[:, ::5], 100.0))


# --- which part ----------------------------------------------------------------------------------------------------------------------


def test_the_beginning_the_middle_or_a_given_part_of_a_long_record() -> None:
    path = SignalPath(sampling_rate=500)
    np.testing.assert_array_equal(path(record(HEART)).signal, HEART[:, :5000])
    np.testing.assert_array_equal(replace(path, long="middle")(record(HEART)).signal, HEART[:, 5000:10000])
    np.testing.assert_array_equal(replace(path, long="middle")(record(HEART), 0.0).signal, HEART[:, :5000])
    np.testing.assert_array_equal(path(record(HEART), 12.5).signal, HEART[:, 6250:11250])
    with pytest.raises(UserError, match=r"^is 30 s long, and 31 s are to be its beginning"):
        path(record(HEART), 31.0)
    with pytest.raises(UserError, match=r"^is 5 s long from 25 s on, 10 s are needed"):
        path(record(HEART), 25.0)


def test_the_part_is_the_same_after_resampling() -> None:
    path = SignalPath()
    whole = replace(path, seconds=30)(record(HEART)).signal
    np.testing.assert_allclose(path(record(HEART), 7.31).signal, whole[:, 731:1731], atol=1e-3)


@pytest.mark.parametrize(("seconds", "starts"), [(30, [0, 10, 20]), (29.99, [0, 10]), (35, [0, 10, 20]), (10, [0]), (9.998, [0]), (4, [0])])
def test_windows_follow_one_another(seconds: float, starts: list[float]) -> None:
    path = SignalPath()
    long = record(np.resize(HEART, (12, round(seconds * 500))))
    assert path.windows(long) == starts
    if seconds >= 10:
        assert all(path(long, start).signal.shape == (12, 1000) for start in path.windows(long))


def test_a_short_record_is_refused_or_padded() -> None:
    short = record(HEART[:, :3750])
    with pytest.raises(UserError, match=r"^is 7.5 s long, 10 s are needed"):
        SignalPath()(short)
    for filter_name in ("none", "default"):
        out = SignalPath(filter=filter_name, short="pad")(short)  # type: ignore[arg-type]
        assert out.flags == ["padded:7.5"]
        assert not out.signal[:, 750:].any()
        assert np.abs(out.signal[:, 740:750]).max() > 0
        np.testing.assert_array_equal(out.signal[:, :750], SignalPath(seconds=7.5, filter=filter_name)(short).signal)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"^is 0.5 s long, at least 1 s are needed"):
        SignalPath(short="pad")(record(HEART[:, :250]))


# --- gaps and missing leads ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("filter_name", ["none", "default"])
def test_missing_samples_never_come_out_as_nan(filter_name: Any) -> None:
    ecg = HEART.copy()
    ecg[7, 5100:5140] = np.nan
    ecg[8, 2000:4900] = np.nan  # Before the part that is used.
    ecg[9] = np.nan
    path = SignalPath(filter=filter_name)
    out = path(record(ecg), 10.0)
    assert np.isfinite(out.signal).all()
    assert (out.missing, out.flags) == (["V4"], ["gap:V2"])
    with pytest.raises(UserError, match="V3 lacks 5.8 s in one piece"):
        path(record(ecg), 0.0)


def test_the_amplitude_is_that_of_qrs_in_mv() -> None:
    out = SignalPath()(record(HEART))
    low = SignalPath()(record(HEART / 5))
    assert out.amplitude == pytest.approx(np.median(np.ptp(HEART, axis=1)), rel=0.25)
    assert low.amplitude == pytest.approx(out.amplitude / 5, rel=0.01)
    drifting = SignalPath()(record(HEART + np.linspace(0, 3, 15000)))
    assert drifting.amplitude == pytest.approx(out.amplitude, rel=0.05)


@settings(max_examples=40, deadline=None)
@given(
    rate=st.sampled_from([62.5, 100.0, 125.0, 257.0, 500.0, 1000.0]),
    target=st.sampled_from([100.0, 125.0, 250.0, 500.0]),
    samples=st.integers(2, 4000),
    filter_name=st.sampled_from(["none", "default"]),
    mains=st.sampled_from([None, 50, 60]),
    data=st.data(),
)
def test_whatever_comes_gives_a_record_or_one_line(
    rate: float, target: float, samples: int, filter_name: Any, mains: int | None, data: st.DataObject
) -> None:
    rng = np.random.default_rng(samples)
    signal = rng.normal(0, data.draw(st.sampled_from([0.0, 0.5, 20.0])), (4, samples))
    signal[:, rng.integers(0, samples, data.draw(st.integers(0, 5)))] = np.nan
    path = SignalPath(target, data.draw(st.sampled_from([0.5, 2.0, 10.0])), filter_name, mains, "middle", "pad")
    try:
        out = path(record(signal, rate, ("II", "V6", "I", "Resp")), data.draw(st.sampled_from([None, 0.0, 0.25])))
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert out.signal.shape == (12, round(path.seconds * target))
        assert np.isfinite(out.signal).all()
        assert out.amplitude >= 0
        assert set(LEADS) - set(out.missing) <= {*LEADS[:6], "V6"}


# --- kept with stores and models -----------------------------------------------------------------------------------------------------


def test_a_path_survives_json() -> None:
    path = SignalPath(sampling_rate=250, seconds=8, filter="default", mains=60, long="middle", short="pad")
    assert SignalPath.from_dict(json.loads(json.dumps(path.to_dict()))) == path
    assert SignalPath.from_dict({}) == SignalPath()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rate": 100}, "field of the signal path 'rate' does not exist: .*known are"),
        ({"filter": "defalt"}, "filter 'defalt' does not exist: did you mean 'default'"),
        ({"sampling_rate": 0}, "sampling_rate 0 is not possible: give 10 to 10000 Hz"),
        ({"sampling_rate": "100"}, "sampling_rate '100' is not possible"),
        ({"seconds": float("nan")}, "seconds nan is not possible"),
        ({"seconds": True}, "seconds True is not possible"),
        ({"mains": 55}, r"mains 55 is not possible: give 50 or 60"),
        ({"long": "end"}, "long 'end' does not exist"),
        ({"short": None}, "short 'None' does not exist"),
        ({"filter": ["none"]}, "filter .* does not exist"),
    ],
)
def test_what_is_not_possible_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        SignalPath.from_dict(values)
    assert "\n" not in str(caught.value)


def test_importing_the_path_is_light() -> None:
    import subprocess
    import sys

    code = "import sys, ecgclip.signals.path; print([m for m in ('torch', 'pandas', 'neurokit2', 'scipy', 'wfdb') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
