"""Measurements of beats that are put together here from known numbers, so that neither the ruler nor a simulator judges itself."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from ecgclip.signals.leads import LEADS
from ecgclip.signals.measure import measure
from ecgclip.signals.resample import resample

EIGHT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
# Q, R, S, T and P of each independent lead, mV.
NORMAL = {
    "I": (0.05, 0.8, 0.1, 0.25, 0.08), "II": (0.08, 1.0, 0.1, 0.3, 0.12), "V1": (0.0, 0.2, 0.9, -0.08, 0.05),
    "V2": (0.0, 0.4, 1.2, 0.4, 0.06), "V3": (0.0, 0.8, 0.8, 0.45, 0.06), "V4": (0.06, 1.4, 0.4, 0.4, 0.06),
    "V5": (0.1, 1.4, 0.15, 0.35, 0.06), "V6": (0.1, 1.1, 0.05, 0.3, 0.05),
}  # fmt: skip
P_TIME = 0.1


def lobe(times: np.ndarray, on: float, off: float, power: float = 1.5) -> np.ndarray:
    """A wave of height 1 that begins and ends exactly where it says."""
    place = np.clip((times - on) / (off - on), 0, 1)
    return np.abs(np.sin(np.pi * place)) ** power


def record(
    *, rr: float | Sequence[float] = 0.85, pr: float = 0.16, qrs: float = 0.09, qt: float = 0.39, scale: float = 1.0, p: float = 1.0,
    leads: Mapping[str, tuple[float, ...]] = NORMAL, st: Mapping[str, float] | None = None, second_r: Mapping[str, float] | None = None,
    rate: int = 500, noise: float = 0.0, wander: float = 0.0,
) -> np.ndarray:  # fmt: skip
    """Ten seconds of beats, (12, T) mV, as a recorder of 500 Hz takes them."""
    times = np.arange(5000) / 500
    gaps = np.full(40, rr) if isinstance(rr, float) else np.asarray(rr)
    onsets = 0.35 + np.concatenate([[0], np.cumsum(gaps)])
    eight = np.zeros((8, len(times)))
    for on in onsets[onsets < 11]:
        q, r, s = (on, on + 0.25 * qrs), (on + 0.25 * qrs, on + 0.6 * qrs), (on + 0.6 * qrs, on + qrs)
        for row, lead in enumerate(EIGHT):
            height = leads[lead]
            eight[row] += -height[0] * lobe(times, *q) + height[1] * lobe(times, *r) - height[2] * lobe(times, *s)
            eight[row] += height[3] * lobe(times, on + qt - 0.19, on + qt, power=2)
            eight[row] += p * height[4] * lobe(times, on - pr, on - pr + P_TIME, power=1)
            if second_r and lead in second_r:
                eight[row] += second_r[lead] * lobe(times, on + qrs, on + 1.5 * qrs)
            if st and lead in st:
                level = np.interp(times - on, [qrs, qrs + 0.004, qrs + 0.12, qrs + 0.16], [0, 1, 1, 0])
                eight[row] += st[lead] * level
    one, two = scale * eight[0], scale * eight[1]
    rng = np.random.default_rng(0)
    limb = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    out = np.stack([*limb, *(scale * eight[2:])])
    out += wander * np.sin(2 * np.pi * 0.25 * times + np.arange(12)[:, None])
    out = resample(out + noise * rng.standard_normal(out.shape), 500, rate)
    return out.astype(np.float32)


@pytest.mark.parametrize(("rate", "noise", "wander"), [(500, 0.0, 0.0), (100, 0.0, 0.0), (500, 0.02, 0.2), (100, 0.02, 0.2)])
def test_a_normal_beat_is_measured_as_it_was_built(rate, noise, wander):
    found = measure(record(rate=rate, noise=noise, wander=wander), rate)
    assert found.rate == pytest.approx(60 / 0.85, abs=1)
    assert found.rr_cv < 0.02
    assert found.pr == pytest.approx(0.16, abs=0.02)
    assert found.p_time == pytest.approx(P_TIME, abs=0.03)
    assert found.qrs == pytest.approx(0.09, abs=0.016)
    assert found.qt == pytest.approx(0.39, abs=0.035)
    assert found.qtc == pytest.approx(found.qt / np.cbrt(0.85), abs=0.005)
    assert found.p_steady > 0.6
    tolerance = 0.03 + (0.12 if rate == 100 else 0) + 2 * noise
    for lead, (q, r, s, t, p) in NORMAL.items():
        assert found.wave("r", lead) == pytest.approx(r, abs=tolerance)
        assert found.wave("s", lead) == pytest.approx(s, abs=tolerance)
        assert found.wave("q", lead) == pytest.approx(q, abs=tolerance)
        assert found.wave("t", lead) == pytest.approx(t, abs=0.07)
        assert found.wave("p", lead) == pytest.approx(p, abs=0.04)
        assert abs(found.wave("st", lead)) < 0.05


@pytest.mark.parametrize("pr", [0.10, 0.14, 0.20, 0.28])
def test_pr(pr):
    assert measure(record(pr=pr, rr=1.0), 500).pr == pytest.approx(pr, abs=0.016)


@pytest.mark.parametrize("qrs", [0.07, 0.09, 0.12, 0.16])
def test_qrs_width(qrs):
    assert measure(record(qrs=qrs, qt=0.32 + qrs, rr=1.0), 500).qrs == pytest.approx(qrs, abs=0.012)


@pytest.mark.parametrize("qt", [0.34, 0.40, 0.50])
def test_qt(qt):
    assert measure(record(qt=qt, rr=1.0), 500).qt == pytest.approx(qt, abs=0.035)


@pytest.mark.parametrize("rr", [0.42, 0.6, 1.0, 1.4])
def test_rate(rr):
    for rate in (100, 500):
        assert measure(record(rr=rr, pr=0.13, qt=0.28, noise=0.01, rate=rate), rate).rate == pytest.approx(60 / rr, rel=0.02)


@pytest.mark.parametrize(
    ("one", "two", "axis"), [(1.0, 0.5, 0.0), (0.9, 1.3, 47.5), (-0.8, 0.4, 130.9), (0.8, -0.3, -45.0), (-1.0, -0.5, 180.0)]
)
def test_axis(one, two, axis):
    lobes = {lead: (0.0, 0.0, 0.0, 0.1, 0.05) for lead in EIGHT} | {"V3": NORMAL["V3"]}
    for lead, net in (("I", one), ("II", two)):
        lobes[lead] = (0.0, net, 0.0, 0.1, 0.05)
    found = measure(record(leads=lobes), 500)
    assert abs((found.axis - axis + 180) % 360 - 180) < 8


def test_waves_that_are_not_always_there():
    tall = NORMAL | {"V2": (0.9, 0.0, 0.9, 0.4, 0.06)}
    found = measure(record(leads=tall, second_r={"V1": 0.5}), 500)
    assert found.wave("r", "V2") == 0  # A QS is both, and R is neither.
    assert found.wave("q", "V2") == found.wave("s", "V2") == pytest.approx(0.9, abs=0.05)
    assert found.wave("r2", "V1") == pytest.approx(0.5, abs=0.05)
    assert found.wave("r2", "V5") == 0
    assert measure(record(), 500).wave("r2", "V1") == 0


def test_st_level_against_pq():
    found = measure(record(st={"V2": 0.3, "V5": -0.15}, wander=0.2), 500)
    assert found.wave("st", "V2") == pytest.approx(0.3, abs=0.04)
    assert found.wave("st", "V5") == pytest.approx(-0.15, abs=0.04)
    assert found.wave("j", "V2") > 0.15
    assert abs(found.wave("st", "V4")) < 0.04


def test_inverted_t():
    inverted = {lead: (*waves[:3], -0.3, waves[4]) for lead, waves in NORMAL.items()}
    found = measure(record(leads=inverted), 500)
    assert found.wave("t", "V4") == pytest.approx(-0.3, abs=0.04)
    assert found.wave("t_low", "V4") == pytest.approx(0.3, abs=0.04)


@pytest.mark.parametrize("scale", [0.25, 1.0, 3.0])
def test_every_beat_is_found_at_any_voltage(scale):
    found = measure(record(scale=scale, noise=0.01), 500)
    assert found.rate == pytest.approx(60 / 0.85, abs=1)
    assert found.wave("height", "II") == pytest.approx(1.1 * scale, rel=0.12)


def test_a_tall_t_is_no_beat():
    peaked = {lead: (*waves[:3], 1.0, waves[4]) for lead, waves in NORMAL.items()}
    assert measure(record(leads=peaked), 500).rate == pytest.approx(60 / 0.85, abs=1)


def test_irregular_beats_without_p():
    rng = np.random.default_rng(1)
    gaps = rng.uniform(0.5, 1.1, 30)
    found = measure(record(rr=gaps, p=0.0), 500)
    assert found.rr_cv == pytest.approx(np.std(gaps[: len(found.rr)]) / np.mean(gaps[: len(found.rr)]), abs=0.02)
    assert np.isnan(found.pr)
    assert np.isnan(found.wave("p", "II"))


def test_spikes_are_neither_beats_nor_voltage():
    clean = record(p=0.0, qrs=0.15, qt=0.45)
    paced = clean.copy()
    spikes = [round((0.35 + 0.85 * beat - 0.02) * 500) for beat in range(11)]
    for spike in spikes:
        paced[:, spike] += np.where(np.arange(12) == 1, 3.0, 1.0)
    found = measure(paced, 500)
    assert found.beats.spikes.tolist() == spikes
    assert found.rate == pytest.approx(60 / 0.85, abs=1)
    assert found.wave("r", "II") == pytest.approx(measure(clean, 500).wave("r", "II"), abs=0.05)
    assert len(measure(record(scale=2), 500).beats.spikes) == 0


def test_a_beat_of_another_shape_is_set_apart():
    ecg = record()
    other = record(qrs=0.17, leads={lead: (0.0, 1.6, 0.0, -0.5, 0.0) for lead in EIGHT}, p=0.0)
    at = round((0.35 + 4 * 0.85) * 500)
    ecg[:, at - 100 : at + 250] = other[:, at - 100 : at + 250]
    found = measure(ecg, 500)
    assert np.flatnonzero(~found.beats.usual).tolist() == [4]
    assert found.qrs == pytest.approx(0.09, abs=0.012)


def test_nothing_to_measure():
    for ecg in (np.zeros((12, 5000), np.float32), np.zeros((12, 200), np.float32)):
        found = measure(ecg, 500)
        assert np.isnan([found.rate, found.pr, found.qrs, found.qtc, found.axis, found.rr_sd]).all()
        assert np.isnan(found.leads["r"]).all()
    with pytest.raises(ValueError, match="12"):
        measure(np.zeros((8, 5000)), 500)


def test_a_missing_lead_leaves_the_others():
    ecg = record()
    ecg[LEADS.index("V3")] = 0
    found = measure(ecg, 500)
    assert found.wave("height", "V3") == 0
    assert found.qrs == pytest.approx(0.09, abs=0.012)
