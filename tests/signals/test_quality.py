import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgclip.signals.leads import LEADS
from ecgclip.signals.path import SignalPath
from ecgclip.signals.quality import gain_suspects
from ecgclip.signals.record import Record
from ecgclip.simulation import simulate

TIME = np.arange(5000) / 500


def normal(seed: int = 0, labels: tuple[str, ...] = ("NORM",), rate: float = 500.0) -> np.ndarray:
    return simulate([set(labels)], [seed], sampling_rate=rate, noise=False)[0]


def flags(signal: np.ndarray, rate: float = 500.0, names: tuple[str, ...] = LEADS, **path: object) -> list[str]:
    return SignalPath(**path)(Record(signal.astype(np.float32), rate, names)).flags  # type: ignore[arg-type]


def of(kind: str, found: list[str]) -> list[str]:
    return [flag.partition(":")[2] for flag in found if flag.startswith(f"{kind}:")]


def swap_arms(ecg: np.ndarray) -> np.ndarray:
    one, two, three, avr, avl, avf = ecg[:6]
    return np.stack([-one, three, two, avl, avr, avf, *ecg[6:]])


@pytest.mark.parametrize("seed", range(8))
def test_a_clean_ecg_has_no_flag(seed: int) -> None:
    for labels in (("NORM",), ("CLBBB",), ("AFIB",), ("LVH",), ("PVC",)):
        assert flags(normal(seed, labels)) == []


def test_the_flags_do_not_depend_on_the_rate_nor_on_the_filter() -> None:
    noise = np.random.default_rng(0).normal(0, 0.6, 5000)
    ecg = normal()
    ecg[7] += noise
    for path in ({}, {"filter": "default"}, {"sampling_rate": 500}, {"filter": "default", "sampling_rate": 250}):
        assert flags(ecg, **path) == ["noisy:V2"]


# --- flat and clipped ----------------------------------------------------------------------------------------------------------------


def test_a_lead_that_an_amplifier_cut_off_is_clipped() -> None:
    ecg = np.round(normal() / 0.005) * 0.005
    ecg[10] = np.minimum(ecg[10], 0.4 * ecg[10].max())
    ecg[7] = np.maximum(ecg[7], 0.4 * ecg[7].min())
    assert of("clipped", flags(ecg)) == ["V5", "V2"]


def test_a_lead_that_rests_at_the_limit_is_clipped() -> None:
    ecg = normal()
    ecg[6] = np.minimum(ecg[6] + np.linspace(0, 8, 5000), 5.0)
    assert of("clipped", flags(ecg)) == ["V1"]


@pytest.mark.parametrize("step", [0.001, 0.00488, 0.01, 0.02])
def test_a_broad_t_wave_in_coarse_steps_is_not(step: float) -> None:
    t_wave = sum(0.4 * np.exp(-(((TIME - at) / 0.06) ** 2) / 2) for at in np.arange(0.7, 10, 1.0))
    small_r = sum(0.2 * np.exp(-(((TIME - at) / 0.012) ** 2) / 2) for at in np.arange(0.4, 10, 1.0))
    ecg = normal()
    ecg[9] = t_wave + small_r
    assert of("clipped", flags(np.round(ecg / step) * step)) == []


def test_asystole_is_flat_only_where_no_sample_differs() -> None:
    wander = 0.05 * np.sin(2 * np.pi * 0.3 * TIME)
    ecg = np.outer(np.linspace(0.5, 1.5, 12), wander + 0.002 * np.random.default_rng(0).standard_normal(5000))
    assert flags(ecg) == []
    ecg[8] = 0.3
    assert flags(ecg) == ["flat:V3"]


# --- noise ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lead", [0, 6, 11])
def test_noise_of_a_tenth_of_qrs_is_flagged_and_of_a_hundredth_is_not(lead: int) -> None:
    ecg, rng = normal(1), np.random.default_rng(lead)
    muscle = simulate_muscle(rng) * np.ptp(ecg[lead])
    assert of("noisy", flags(ecg + 0.01 * muscle * (np.arange(12) == lead)[:, None])) == []
    assert of("noisy", flags(ecg + 0.2 * muscle * (np.arange(12) == lead)[:, None])) == [LEADS[lead]]
    burst = muscle * ((TIME > 4) & (TIME < 6))
    assert of("noisy", flags(ecg + 0.2 * burst * (np.arange(12) == lead)[:, None])) == [LEADS[lead]]


def simulate_muscle(rng: np.random.Generator) -> np.ndarray:
    """White noise up to 150 Hz with an RMS of 1."""
    from scipy.signal import butter, sosfiltfilt

    noise = sosfiltfilt(butter(2, 150, fs=500, output="sos"), rng.standard_normal(5000))
    return np.asarray(noise / noise.std())


def test_a_loose_electrode_is_noise() -> None:
    ecg = normal()
    ecg[11] += np.where(TIME > 5, 4.0 * np.exp(-(TIME - 5)), 0.0)
    assert flags(ecg) == ["noisy:V6"]


def test_breathing_is_not() -> None:
    assert flags(normal() + 0.3 * np.sin(2 * np.pi * 0.25 * TIME)) == []


def test_ventricular_fibrillation_and_pacing_are_not_noise() -> None:
    rng = np.random.default_rng(0)
    waves = sum(rng.uniform(0.2, 0.5) * np.sin(2 * np.pi * f * TIME + rng.uniform(0, 6)) for f in (3.1, 4.2, 5.0, 5.7, 6.6, 9.0))
    fibrillation = np.outer(rng.uniform(0.4, 1.2, 12), waves)
    assert flags(fibrillation) == []
    paced = normal(3, ("CLBBB",))
    spikes = np.flatnonzero(np.isin(np.arange(5000) % 400, (0, 1)))
    paced[:, spikes] += np.linspace(-2, 3, 12)[:, None]
    assert of("noisy", flags(paced)) == []


# --- electrodes ----------------------------------------------------------------------------------------------------------------------


def test_swapped_arms_are_found_and_dextrocardia_is_not_taken_for_them() -> None:
    seeds = range(40)
    normals = simulate([{"NORM"}] * len(seeds), seeds, sampling_rate=100, noise=False)
    found = [of("swapped", flags(swap_arms(ecg), 100.0)) for ecg in normals]
    assert sum(names == ["arms"] for names in found) >= 36
    assert not any(of("swapped", flags(ecg, 100.0)) for ecg in normals)
    mirrored = simulate([{"DEXTRO"}] * len(seeds), seeds, sampling_rate=100, noise=False)
    assert not any(of("swapped", flags(ecg, 100.0)) for ecg in mirrored)


def test_without_the_chest_leads_nothing_is_said_of_the_arms() -> None:
    swapped = swap_arms(normal())
    assert of("swapped", flags(swapped)) == ["arms"]
    assert of("swapped", flags(swapped[:8], names=LEADS[:8])) == []
    swapped[10] = 0.0
    assert flags(swapped) == ["flat:V5"]


# --- gain ----------------------------------------------------------------------------------------------------------------------------


def sizes(n: int, seed: int, factor: float = 1.0) -> list[float]:
    return (factor * np.random.default_rng(seed).lognormal(0, 0.4, n)).tolist()


@pytest.mark.parametrize("factor", [0.001, 0.1, 0.2, 0.5, 2.0, 5.0, 10.0, 1000.0])
def test_a_device_with_a_wrong_gain_is_named_with_its_factor(factor: float) -> None:
    amplitudes = [*sizes(300, 0), *sizes(30, 1, factor), *sizes(80, 2)]
    batches = ["A"] * 300 + ["B"] * 30 + ["C"] * 80
    found = gain_suspects(amplitudes, batches)
    assert list(found) == ["B"]
    assert found["B"] == pytest.approx(factor, rel=0.3)


def test_one_low_voltage_or_a_few_are_no_gain() -> None:
    amplitudes = [*sizes(300, 0), 0.1, 0.1, *sizes(10, 1, 0.2), float("nan"), 0.0]
    assert gain_suspects(amplitudes, ["A"] * 302 + ["few"] * 10 + ["A"] * 2) == {}
    assert gain_suspects(sizes(50, 0, 0.2), ["only"] * 50) == {}
    assert gain_suspects([], []) == {}


def test_the_largest_batch_may_be_the_wrong_one() -> None:
    found = gain_suspects([*sizes(1000, 0, 5.0), *sizes(40, 1), *sizes(40, 2)], ["big"] * 1000 + ["B"] * 40 + ["C"] * 40)
    assert found == {"big": pytest.approx(5.0, rel=0.3)}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(allow_nan=True, allow_infinity=True), st.integers(0, 3)), max_size=100))
def test_whatever_the_amplitudes_it_answers(pairs: list[tuple[float, int]]) -> None:
    found = gain_suspects([size for size, _ in pairs], [batch for _, batch in pairs])
    assert all(np.isfinite(factor) and not 0.6 <= factor <= 1.7 for factor in found.values())
