"""Every label shows what its textbook says, measured on the finished record without looking into the simulator."""

import warnings

import numpy as np
import pytest

from ecgclip.benchmark.simulator.criteria import criteria
from ecgclip.benchmark.simulator.validity import readings, validity
from ecgclip.errors import UserError
from ecgclip.signals.leads import LEADS
from ecgclip.signals.measure import measure
from ecgclip.simulation import simulate
from ecgclip.simulation.body import Body, Person
from ecgclip.simulation.draws import Draws
from ecgclip.simulation.traits import TRAITS, read
from ecgclip.simulation.waves import spike

RATE = 500.0


@pytest.mark.parametrize("label", criteria())
def test_a_label_meets_its_criteria(label):
    """In half of eight records at least: `make bench-sim` counts in earnest; here a label that has lost its meaning is caught."""
    (row,) = validity([label], records=8, seed=300)
    assert row.share >= 0.5, row.failing


@pytest.mark.parametrize(("label", "not_"), [("NORM", "CRBBB"), ("NORM", "1AVB"), ("SR", "AFIB"), ("IMI", "AMI"), ("LAFB", "LPFB")])
def test_a_label_does_not_meet_the_criteria_of_another(label, not_):
    assert np.mean([not criteria()[not_].failing(reading) for reading in readings([label], 8, 300)]) < 0.2


def test_neurokit_measures_what_we_do():
    """A ruler of others: rate, PQ and the top of T in lead II of normal people and of a first-degree block."""
    nk = pytest.importorskip("neurokit2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for label, low, high in (("NORM", 0.11, 0.21), ("1AVB", 0.2, 0.38)):
            pq = []
            for ecg in simulate([{label}] * 5, range(20, 25), sampling_rate=RATE, noise=False):
                ours, lead = measure(ecg, RATE), ecg[1].astype(float)
                _, found = nk.ecg_peaks(lead, sampling_rate=RATE)
                r = np.array(found["ECG_R_Peaks"], float)
                assert 60 * RATE / np.median(np.diff(r)) == pytest.approx(ours.rate, abs=2)
                _, waves = nk.ecg_delineate(lead, found["ECG_R_Peaks"], sampling_rate=RATE, method="dwt")
                p, t = (np.array(waves[name], float) for name in ("ECG_P_Onsets", "ECG_T_Peaks"))
                assert 0.18 < np.nanmedian(t - r) / RATE < 0.4
                pq.append(np.nanmedian(r - p) / RATE - 0.5 * ours.qrs)
            assert low < np.median(pq) < high


def test_exchanged_arms_keep_r_progression_and_dextrocardia_loses_it():
    for swapped, mirrored in zip(
        *(simulate([{label}] * 8, range(8), sampling_rate=RATE, noise=False) for label in ("ALEAD", "DEXTRO")), strict=True
    ):
        here, there = measure(swapped, RATE).wave, measure(mirrored, RATE).wave
        assert here("net", "I") < 0
        assert here("r", "V5") > here("s", "V5")
        assert there("height", "V6") < 0.6 * there("height", "V2")


def test_a_spike_is_as_high_as_the_recorder_lets_it_be():
    """Half a millisecond of current: its area stays, its height falls with the sampling rate."""
    body = Body(Person(Draws(1)), 30.0, 0.0, 1.0)
    (fine,), (coarse,) = (spike(rate, 0.002, body) for rate in (500.0, 100.0))
    assert np.linalg.norm(fine.vector) > 3.9 * np.linalg.norm(coarse.vector)
    assert np.linalg.norm(fine.vector) * fine.left == pytest.approx(np.linalg.norm(coarse.vector) * coarse.left)


def test_the_limb_leads_see_the_axis_and_a_person_keeps_it():
    body = Body(Person(Draws(1)), 30.0, 0.0, 1.0)
    for axis in (-60.0, 0.0, 45.0, 120.0):
        one, two = (body.qrs @ np.array(body.vector(axis, 1.3, 0.4)))[:2]
        foot = (two - 0.5 * one) / np.sqrt(0.75)
        assert np.degrees(np.arctan2(foot, one)) == pytest.approx(axis, abs=1e-6)
        assert np.hypot(one, foot) == pytest.approx(1.3)


def test_a_wall_is_seen_best_by_its_leads():
    for seed in range(20):
        body = Body(Person(Draws(seed)), 40.0, 0.0, 1.0)
        best = {name: ("I", "II", *LEADS[6:])[int(np.argmax(body.wall(name)))] for name in ("anteroseptal", "lateral", "inferior")}
        assert best["anteroseptal"] in ("V1", "V2", "V3")
        assert best["lateral"] in ("V4", "V5", "V6", "I")
        assert best["inferior"] == "II"
        assert body.wall("posterior")[3] < -0.3
    with pytest.raises(UserError, match="'roof'"):
        body.wall("roof")


def test_the_table_of_traits_refuses_what_is_none(tmp_path):
    def refused(text: str) -> str:
        (tmp_path / "traits.yaml").write_text(text)
        with pytest.raises(UserError) as caught:
            read(tmp_path / "traits.yaml")
        return str(caught.value)

    assert "no 'pg'" in refused("X: {weight: 1, uses: [], changes: {pg: 0.2}}")
    assert "'factor'" in refused("X: {weight: 1, uses: [], changes: {pq: {factor: [1, 2]}}}")
    assert "names a wall" in refused("X: {weight: 1, uses: [], changes: {q: [{wall: [roof], level: [0.1, 0.2]}]}}")
    assert "colour" in refused("X: {weight: 1, uses: [], colour: red}")


def test_every_description_of_a_trait_is_a_label():
    for trait in TRAITS.values():
        assert trait.shows.keys() | trait.often_with.keys() <= TRAITS.keys()
