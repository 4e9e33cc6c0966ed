"""Each label's trait, measured on the clean signal without looking into the simulator."""

import warnings
from collections.abc import Iterable

import numpy as np
import pytest
from scipy.signal import find_peaks

from ecgclip.simulation import simulate

FS = 500
SEEDS = range(100, 112)
LEAD = {name: i for i, name in enumerate(["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"])}
BEFORE, AFTER = int(0.45 * FS), int(0.5 * FS)


def records(*labels: str) -> np.ndarray:
    return simulate([set(labels)] * len(SEEDS), SEEDS, sampling_rate=FS, noise=False)


def most(values: Iterable[bool]) -> bool:
    """Whether at least eight in ten are so: people differ, and some hide a finding."""
    return float(np.mean([bool(value) for value in values])) >= 0.8


def speed(ecg: np.ndarray) -> np.ndarray:
    """How fast the eight independent leads move, mV/s: high in QRS."""
    eight = np.gradient(ecg[[0, 1, 6, 7, 8, 9, 10, 11]], 1 / FS, axis=1)
    return np.convolve(np.sqrt((eight**2).sum(0)), np.ones(5) / 5, "same")


def beats(ecg: np.ndarray, floor: float = 0.35) -> np.ndarray:
    # Capped, or a pacing spike would hide the QRS behind it.
    energy = np.convolve(np.minimum(speed(ecg), 120), np.ones(35) / 35, "same")
    return find_peaks(energy, height=floor * energy.max(), distance=int(0.26 * FS))[0]


def intervals(ecg: np.ndarray, floor: float = 0.35) -> np.ndarray:
    """RR, s."""
    return np.diff(beats(ecg, floor)) / FS


class Beat:
    """The median beat of a record and its QRS."""

    def __init__(self, ecg: np.ndarray) -> None:
        places = [i for i in beats(ecg) if BEFORE < i < ecg.shape[1] - AFTER]
        beat = np.median([ecg[:, i - BEFORE : i + AFTER] for i in places], axis=0)
        fast = speed(beat)
        fast[: BEFORE - int(0.12 * FS)] = fast[BEFORE + int(0.12 * FS) :] = 0
        inside = np.flatnonzero(fast > 0.15 * fast.max())
        self.on, self.off = inside[0], inside[-1]
        self.wave = beat - np.median(beat[:, self.on - 22 : self.on - 11], axis=1, keepdims=True)
        self.qrs = self.wave[:, self.on : self.off + 1]
        self.width = (self.off - self.on) / FS

    def of(self, lead: str) -> np.ndarray:
        return self.wave[LEAD[lead]]

    def r(self, lead: str) -> float:
        return float(self.qrs[LEAD[lead]].max())

    def s(self, lead: str) -> float:
        return float(-self.qrs[LEAD[lead]].min())

    def q(self, lead: str) -> float:
        """Depth of what goes down early in QRS, mV."""
        return float(-self.qrs[LEAD[lead], : int(0.45 * self.qrs.shape[1])].min())

    def st(self, lead: str) -> float:
        """60 ms after QRS, mV."""
        return float(self.of(lead)[self.off + int(0.06 * FS)])

    def t(self, lead: str) -> float:
        """The largest deflection of T, mV with its sign."""
        part = self.of(lead)[self.off + int(0.12 * FS) : self.on + int(0.42 * FS)]
        return float(part[np.abs(part).argmax()])

    @property
    def axis(self) -> float:
        """Of the net QRS in I and aVF, degrees."""
        net = self.qrs.max(1) + self.qrs.min(1)
        return float(np.degrees(np.arctan2(net[LEAD["aVF"]] * 2 / np.sqrt(3), net[LEAD["I"]])))

    @property
    def pr(self) -> float:
        """From half a P wave before its top in II to QRS, s."""
        before = self.of("II")[: self.on - 5]
        tops = find_peaks(before, prominence=0.03)[0]
        return float((self.on - tops[-1]) / FS + 0.045) if len(tops) else np.nan


def median_beats(*labels: str) -> list[Beat]:
    return [Beat(ecg) for ecg in records(*labels)]


@pytest.fixture(scope="module")
def normal() -> list[Beat]:
    return median_beats("NORM")


def test_a_normal_ecg_is_normal(normal):
    for beat in normal:
        assert 0.06 < beat.width < 0.11
        assert 0.115 < beat.pr < 0.21
        assert -32 < beat.axis < 100
        assert beat.r("V5") + beat.s("V1") < 3.5
        assert beat.s("V1") > beat.r("V1")
        assert beat.r("V5") > beat.s("V5")
        assert most(-0.05 < beat.st(lead) < 0.16 for lead in LEAD)
        assert all(beat.t(lead) > 0.05 for lead in ("I", "II", "V3", "V4", "V5", "V6"))
        assert all(beat.q(lead) < 0.25 for lead in ("II", "aVF", "V4", "V5"))


@pytest.mark.parametrize(
    ("label", "low", "high"),
    [
        ("CRBBB", 0.115, 0.2), ("CLBBB", 0.12, 0.24), ("IVCD", 0.115, 0.2), ("PACE", 0.13, 0.24), ("WPW", 0.1, 0.15),
        ("IRBBB", 0.095, 0.12), ("ILBBB", 0.095, 0.125),
    ],
)  # fmt: skip
def test_qrs_width(label, low, high):
    assert low < np.median([beat.width for beat in median_beats(label)]) < high


def test_right_bundle_branch_block_has_a_late_r_in_v1_and_a_broad_s_in_v6():
    for beat in median_beats("CRBBB"):
        late = beat.qrs[:, int(0.55 * beat.qrs.shape[1]) :]
        assert late[LEAD["V1"]].max() > 0.3
        assert late[LEAD["V6"]].min() < -0.2
        assert beat.t("V1") < 0


def test_left_bundle_branch_block_has_no_q_in_v6_and_no_r_in_v1():
    for beat in median_beats("CLBBB"):
        assert beat.q("V6") < 0.03
        assert beat.of("V1")[beat.on : beat.on + int(0.06 * FS)].max() < 0.05
        assert beat.s("V1") > 0.8
        assert beat.st("V6") < 0 < beat.st("V1")
        assert beat.t("V6") < 0 < beat.t("V2")


def test_an_r_prime_in_v1_makes_two_tops_of_a_narrow_qrs():
    for label in ("RSRP", "IRBBB"):
        tops = [len(find_peaks(np.pad(beat.qrs[LEAD["V1"]], 5), prominence=0.1)[0]) for beat in median_beats(label)]
        assert np.mean(np.array(tops) >= 2) > 0.8


def test_pre_excitation_shortens_pq_and_starts_slowly():
    def first_part(beat: Beat) -> float:
        return float(np.abs(np.diff(beat.of("V4")))[beat.on : beat.on + int(0.02 * FS)].max())

    pre = median_beats("WPW")
    assert np.median([beat.pr for beat in pre]) < 0.13
    assert np.median([first_part(beat) for beat in pre]) < 0.5 * np.median([np.abs(np.diff(b.of("V4"))).max() for b in pre])


@pytest.mark.parametrize(("label", "low", "high"), [("1AVB", 0.23, 0.4), ("LPR", 0.195, 0.25), ("SPQ", 0.07, 0.125), ("SR", 0.12, 0.2)])
def test_pq(label, low, high):
    assert low < np.nanmedian([beat.pr for beat in median_beats(label)]) < high


@pytest.mark.parametrize(
    ("label", "low", "high"),
    [
        ("LAXD", -60, -30),
        ("LAFB", -90, -45),
        ("RAXD", 90, 150),
        ("LPFB", 90, 150),
        ("RVH", 90, 160),
        ("INDAX", -180, -90),
    ],
)
def test_axis(label, low, high):
    for beat in median_beats(label):
        assert low < beat.axis < high


def test_r_progression():
    for beat in median_beats("CWROT"):
        assert beat.s("V4") > beat.r("V4")
    for beat in median_beats("CCWROT"):
        assert beat.r("V2") > beat.s("V2")
    for beat in median_beats("PRWP"):
        assert 0 < beat.r("V3") <= 0.4
        assert beat.r("V5") > beat.s("V5")
    for beat in median_beats("RVH"):
        assert beat.r("V1") > max(beat.s("V1"), 0.6)
        assert beat.s("V6") > 0.2


def test_voltage():
    limb = ["I", "II", "III", "aVR", "aVL", "aVF"]
    for beat in median_beats("LVOLT"):
        assert all(np.ptp(beat.qrs[LEAD[lead]]) < 0.5 for lead in limb)
    for label in ("LVH", "VCLVH"):
        assert most(beat.s("V1") + max(beat.r("V5"), beat.r("V6")) > 3.3 for beat in median_beats(label))
    assert most(max(beat.r(lead) for lead in limb) > 1.5 for beat in median_beats("HVOLT"))
    assert most(beat.t("V6") < 0 or beat.st("V6") < -0.05 for beat in median_beats("LVH"))
    assert most(beat.t("V6") > 0 for beat in median_beats("VCLVH"))


Q_LEADS = {
    "ASMI": (["V1", "V2"], ["V6", "II"]), "AMI": (["V3"], ["V6", "II"]), "ALMI": (["V4", "V5"], ["II", "V2"]),
    "LMI": (["V6", "aVL"], ["II", "V2"]), "IMI": (["III", "aVF"], ["V5", "V6"]), "ILMI": (["aVF", "V6"], ["V2", "V3"]),
    "IPMI": (["III", "aVF"], ["V5", "V6"]), "IPLMI": (["aVF", "V6"], ["V2", "V3"]),
}  # fmt: skip


@pytest.mark.parametrize("label", Q_LEADS)
def test_an_infarct_has_its_q_where_its_wall_is(label):
    present, absent = Q_LEADS[label]
    found = median_beats(label)
    assert most(beat.q(lead) > 0.15 for beat in found for lead in present)
    assert most(beat.q(lead) < 0.25 for beat in found for lead in absent)
    assert most(beat.t(present[0]) < 0 for beat in found)


def test_a_posterior_infarct_shows_as_r_and_t_in_v1(normal):
    for label in ("PMI", "IPMI", "IPLMI"):
        found = median_beats(label)
        assert np.median([b.r("V1") for b in found]) > 1.8 * np.median([b.r("V1") for b in normal])
        assert most(beat.t("V2") > 0.1 for beat in found)


WALLS = {
    "AS": (["V2", "V3"], ["V6", "I", "II"]), "AN": (["V3", "V4"], ["V1", "V6", "II"]), "AL": (["V4", "V5", "V6"], ["V1", "V2"]),
    "LA": (["V6", "I", "aVL"], ["V2", "V3"]), "IN": (["III", "aVF"], ["V2", "V4", "V6"]), "IL": (["aVF", "V6"], ["V2", "V3"]),
}  # fmt: skip


@pytest.mark.parametrize("wall", WALLS)
def test_ischaemia_inverts_t_where_its_wall_is(wall):
    present, absent = WALLS[wall]
    found = median_beats(f"ISC{wall}")
    assert most(beat.t(lead) < -0.05 for beat in found for lead in present)
    assert most(beat.t(lead) > 0.05 for beat in found for lead in absent if lead != "V1")


@pytest.mark.parametrize("wall", sorted(WALLS.keys() - {"AN"}))
def test_injury_lowers_st_where_its_wall_is(wall):
    present, absent = WALLS[wall]
    found = median_beats(f"INJ{wall}")
    assert most(beat.st(lead) < -0.1 for beat in found for lead in present)
    assert most(abs(beat.st(lead)) < 0.12 for beat in found for lead in absent)
    assert most(beat.of(lead)[beat.off + 60 :].max() > -0.02 for beat in found for lead in present)


def test_st_elevation():
    assert most(max(beat.st(lead) for lead in LEAD) > 0.25 for beat in median_beats("STEMI"))
    assert most(beat.st("V1") > 0.2 and beat.of("V1")[beat.off + 60 :].min() < -0.1 for beat in median_beats("BRUG"))
    assert most(beat.st("V3") > 0.1 for beat in median_beats("STE_"))
    assert most(beat.st("V5") > 0.08 for beat in median_beats("ERP"))
    assert most(beat.st("V3") > 0.12 and beat.q("V3") > 0.2 for beat in median_beats("ANEUR"))


def test_t_waves(normal):
    usual = np.median([beat.t("V4") for beat in normal])
    assert np.median([beat.t("V4") for beat in median_beats("TTALL")]) > 1.7 * usual
    assert np.median([beat.t("V4") for beat in median_beats("LOWT")]) < 0.4 * usual
    assert most(beat.t("V5") < -0.1 for beat in median_beats("INVT"))
    assert most(beat.st("V5") < -0.06 for label in ("STD_", "DIG", "ISC_") for beat in median_beats(label))


def test_p_waves(normal):
    def p(beat: Beat, lead: str) -> np.ndarray:
        return beat.of(lead)[beat.on - int(0.2 * FS) : beat.on - 4]

    assert most(p(beat, "II").max() > 0.2 for beat in median_beats("RAO/RAE"))
    assert most(p(beat, "V1").min() < -0.08 for beat in median_beats("LAO/LAE"))
    assert most(p(beat, "II").max() < 0.2 and p(beat, "V1").min() > -0.1 for beat in normal)
    assert most(p(beat, "aVF").min() < -0.05 for beat in median_beats("EAR"))


@pytest.mark.parametrize(
    ("label", "low", "high"),
    [
        ("STACH", 100, 145), ("SBRAD", 35, 50), ("SVTAC", 150, 210), ("VT", 120, 210), ("JUNC", 38, 62), ("SR", 50, 100),
        ("3AVB", 25, 55), ("AVB2TO1", 30, 55), ("HIGHAVB", 17, 40),
    ],
)  # fmt: skip
def test_rate(label, low, high):
    for ecg in records(label):
        assert low < 60 / np.median(intervals(ecg)) < high


def test_regularity():
    def spread(label: str) -> np.ndarray:
        return np.array([np.std(rr) / np.mean(rr) for rr in map(intervals, records(label))])

    assert (spread("SR") < 0.05).all()
    assert (spread("AFIB") > 0.13).all()
    assert (spread("SARRH") > 0.08).all()
    assert (spread("SVTAC") < 0.03).all()


def test_fibrillation_has_no_p_wave_and_flutter_a_saw():
    def regular_p(ecg: np.ndarray) -> float:
        beat = Beat(ecg)
        return float(np.ptp(beat.of("II")[beat.on - int(0.2 * FS) : beat.on - 10]))

    assert np.median([regular_p(ecg) for ecg in records("AFIB")]) < 0.7 * np.median([regular_p(ecg) for ecg in records("SR")])
    for ecg in records("AFLT"):
        power = np.abs(np.fft.rfft(ecg[LEAD["aVF"]])) ** 2
        speeds = np.fft.rfftfreq(ecg.shape[1], 1 / FS)
        band = (speeds > 3.8) & (speeds < 5.8)
        assert power[band].max() > 5 * np.median(power[(speeds > 3) & (speeds < 9)])


def test_pacing_has_spikes_before_wide_beats():
    for ecg in records("PACE"):
        spikes = find_peaks(np.abs(np.diff(ecg[LEAD["II"]], 2)), height=0.15, distance=int(0.05 * FS))[0]
        assert 9 <= len(spikes) <= 26
        assert np.diff(spikes).max() / FS < 1.05


def test_pauses():
    for ecg in records("SARREST"):
        assert intervals(ecg).max() > 1.9
    for ecg in records("SABLOCK"):
        rr = intervals(ecg)
        assert rr.max() / np.median(rr) == pytest.approx(2, abs=0.12)
    for ecg in records("MOBITZ2"):
        rr = intervals(ecg)
        assert rr.max() / rr.min() == pytest.approx(2, abs=0.2)
    for ecg in records("ESCAPE"):
        assert 1.3 < intervals(ecg, floor=0.2).max() < 1.75


def test_wenckebach_lengthens_pq_until_a_beat_is_dropped():
    for ecg in records("WENCK"):
        rr = intervals(ecg)
        assert rr.max() > 1.3 * rr.min()
        assert rr.max() < 1.95 * rr.min()


def test_early_beats():
    def early(label: str) -> list[float]:
        return [float(rr.min() / np.median(rr)) for rr in (intervals(ecg, floor=0.2) for ecg in records(label))]

    for label in ("PAC", "PRC(S)", "PVC", "VCOUP", "NSVT"):
        assert max(early(label)) < 0.85
    for ecg in records("BIGU"):
        rr = intervals(ecg)
        assert np.mean(np.abs(np.diff(rr)) > 0.15) > 0.7


def test_ventricular_beats_are_wide_and_couplets_two_of_them():
    def wide(label: str) -> np.ndarray:
        out = []
        for ecg in records(label):
            size = np.abs(ecg[[0, 1, 6, 7, 10, 11]]).sum(0)
            area = [size[max(i - 60, 0) : i + 60].sum() for i in beats(ecg)]
            out.append(np.sum(np.array(area) > 1.5 * np.percentile(area, 30)))
        return np.array(out)

    assert np.median(wide("SR")) == 0
    assert (wide("PVC") >= 1).mean() > 0.8
    assert (wide("VCOUP") >= 2).mean() > 0.8
    assert (wide("NSVT") >= 3).mean() > 0.8


def test_complete_block_has_more_p_waves_than_qrs():
    for ecg in records("3AVB"):
        assert 60 / intervals(ecg).mean() < 55
        tops = find_peaks(ecg[LEAD["II"]], prominence=0.05, distance=int(0.12 * FS))[0]
        assert len(tops) > 1.8 * len(beats(ecg))


def test_exchanged_arms_turn_lead_i_and_keep_r_progression():
    for swapped, mirrored in zip(median_beats("ALEAD"), median_beats("DEXTRO"), strict=True):
        for beat in (swapped, mirrored):
            assert beat.s("I") > beat.r("I")
            assert beat.t("I") < 0
            assert beat.of("I")[beat.on - int(0.2 * FS) : beat.on - 20].min() < -0.03
        assert swapped.r("V5") > swapped.s("V5") and swapped.r("V4") > 0.7
        assert mirrored.r("V6") < 0.5 * mirrored.r("V1") + 0.3


def test_neurokit_measures_what_was_asked_for():
    nk = pytest.importorskip("neurokit2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for ecg in records("NORM", "SR")[:3]:
            lead = ecg[LEAD["II"]].astype(float)
            _, found = nk.ecg_peaks(lead, sampling_rate=FS)
            rr = np.diff(found["ECG_R_Peaks"]) / FS
            assert 58 < 60 / rr.mean() < 95
            _, waves = nk.ecg_delineate(lead, found["ECG_R_Peaks"], sampling_rate=FS, method="dwt")
            p, t = (np.array(waves[f"ECG_{name}_Peaks"], float) for name in "PT")
            r = np.array(found["ECG_R_Peaks"], float)
            assert 0.09 < np.nanmedian(r - p) / FS < 0.2
            assert 0.2 < np.nanmedian(t - r) / FS < 0.36
            width = np.nanmedian(np.array(waves["ECG_R_Offsets"], float) - np.array(waves["ECG_R_Onsets"], float)) / FS
            assert 0.05 < width < 0.13
