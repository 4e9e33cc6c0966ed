"""Measure a 12-lead ECG as one does with a ruler: rate, intervals, axis, and the waves of every lead.

Nothing here knows how an ECG was made, so that it judges real and simulated records alike. Imported by whoever needs it: it is not part
of what ``import ecgclip.signals`` brings along.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ecgclip.signals.beats import INDEPENDENT, RATE, Array, Beats, find_beats, steepness
from ecgclip.signals.delineate import Marks, delineate
from ecgclip.signals.leads import LEADS

WAVES = (
    "q", "r", "s", "r2", "q_time", "r_time", "s_time", "r_peak", "height", "net", "j", "st", "jp", "t", "t_low", "p", "p_low", "p_force",
    "u",
)  # fmt: skip
SMALLEST = 0.025  # mV of a deflection of QRS; a smaller one is noise.


@dataclass(frozen=True)
class Measurements:
    """What was measured on one record. NaN where it cannot be.

    Attributes:
        rate: Median heart rate, 1/min.
        rr: ``(B - 1,)`` intervals from QRS to QRS, s.
        rr_sd: Their standard deviation, s, over the intervals between beats of the usual shape (SDNN).
        rr_cv: Standard deviation over mean of all intervals.
        pr, p_time, qrs, qt, qtc: s; QTc is Fridericia's.
        axis: Frontal QRS axis, degrees in (-180, 180], from the net amplitudes in I and aVF.
        p_axis: The same of P.
        p_steady: Correlation of the P wave of each usual beat with that of the median beat, over all leads; the median. Near 0 where what
            looks like a P wave is chance, as in atrial fibrillation.
        slur: s from the onset of QRS until it is steep: long with a delta wave.
        amplitude_cv: Standard deviation over mean of the height of QRS from beat to beat, in the lead with the tallest.
        leads: Wave to ``(12,)`` in the order of ``LEADS``. ``q``, ``r``, ``s``, ``r2`` (R') mV, all positive and 0 where there is no such
            wave (a QS is ``q`` and ``s`` at once, with ``r`` 0); ``q_time``, ``r_time``, ``s_time`` s; ``r_peak`` s from the onset of
            QRS in any lead to the last top of half the height or more; ``height`` mV of QRS from peak to peak, ``net`` mV of its ups and
            downs; ``j`` and ``st`` mV at the J point and 60 ms later, against the PQ level; ``jp`` mV where the downstroke of R breaks
            off (a J wave or slur); ``t`` mV signed, ``t_low`` its negative part; ``p`` mV signed, ``p_low`` the negative part after its
            first third and ``p_force`` that times its duration, mV s; ``u`` mV after T.
        beats: The beats that it was measured on.
        median: ``(12, n)`` mV, the median beat at 500 Hz.
        marks: Samples of onsets and offsets on it.
    """

    rate: float
    rr: Array
    rr_sd: float
    rr_cv: float
    pr: float
    p_time: float
    qrs: float
    qt: float
    qtc: float
    axis: float
    p_axis: float
    p_steady: float
    slur: float
    amplitude_cv: float
    leads: dict[str, Array] = field(repr=False)
    beats: Beats = field(repr=False)
    median: Array = field(repr=False)
    marks: Marks = field(repr=False)

    def wave(self, name: str, lead: str) -> float:
        """Return one wave of one lead: ``wave("r", "V1")``."""
        return float(self.leads[name][LEADS.index(lead)])


def measure(signal: NDArray[np.floating], sampling_rate: float) -> Measurements:
    """Measure one record.

    Args:
        signal: ``(12, T)`` mV, leads in the order of ``LEADS``, a missing one as zeros.
        sampling_rate: Hz; below 500 the record is resampled.

    Returns:
        The measurements; NaN throughout where no beat was found.

    Raises:
        ValueError: For another number of leads.
    """
    if signal.ndim != 2 or signal.shape[0] != len(LEADS):
        raise ValueError(f"measure: a record is (12, T), this one is {signal.shape}")
    beats = find_beats(signal, sampling_rate)
    rr = beats.rr
    usual_rr = rr[beats.usual[1:] & beats.usual[:-1]] if len(rr) else rr
    # With every second beat an extrasystole, no two usual beats follow each other.
    middle_rr = float(np.median(rr)) if len(rr) else float("nan")
    beat = beats.median()
    marks = delineate(beat, middle_rr if np.isfinite(middle_rr) else 1.0)
    leads = _waves(beat, marks)
    qt = (marks.t_end - marks.on) / RATE
    return Measurements(
        rate=60 / middle_rr,
        rr=rr,
        rr_sd=float(np.std(usual_rr)) if len(usual_rr) > 1 else float("nan"),
        rr_cv=float(np.std(rr) / np.mean(rr)) if len(rr) > 1 else float("nan"),
        pr=(marks.on - marks.p_on) / RATE,
        p_time=(marks.p_off - marks.p_on) / RATE,
        qrs=(marks.off - marks.on) / RATE,
        qt=qt,
        qtc=qt / float(np.cbrt(middle_rr)),
        axis=_axis(leads["net"]),
        p_axis=_axis(leads["p"]),
        p_steady=_steadiness(beats, beat, marks),
        slur=_slur(beat, marks),
        amplitude_cv=_variation(beats, marks),
        leads=leads,
        beats=beats,
        median=beat,
        marks=marks,
    )


def _axis(amplitude: Array) -> float:
    """Angle of net amplitudes in I and aVF; Goldberger's aVF is shorter than Einthoven's leads by the square root of 3/4."""
    one, avf = amplitude[LEADS.index("I")], amplitude[LEADS.index("aVF")]
    return float(np.degrees(np.arctan2(avf * 2 / np.sqrt(3), one)))


def _slur(beat: Array, marks: Marks) -> float:
    if np.isnan(marks.on):
        return float("nan")
    steep = steepness(beat)[int(marks.on) : int(marks.off) + 1]
    return float(np.argmax(steep >= 0.4 * steep.max()) / RATE)


def _steadiness(beats: Beats, beat: Array, marks: Marks) -> float:
    if np.isnan(marks.p_on):
        return float("nan")
    around = slice(max(int(marks.p_on) - 8, 0), min(int(marks.p_off) + 8, int(marks.on)))
    cut = beats.cut(beats.usual)[:, INDEPENDENT, around]
    cut = cut[~np.isnan(cut[:, 0]).any(1)]
    if len(cut) < 2:
        return float("nan")
    middle = beat[INDEPENDENT, around]
    flat = (cut - cut.mean(-1, keepdims=True)).reshape(len(cut), -1)
    pattern = (middle - middle.mean(-1, keepdims=True)).ravel()
    norms = np.linalg.norm(flat, axis=1) * np.linalg.norm(pattern)
    return float(np.median(flat @ pattern / np.maximum(norms, 1e-9)))


def _variation(beats: Beats, marks: Marks) -> float:
    """How much the height of QRS differs from beat to beat."""
    if np.isnan(marks.on) or beats.usual.sum() < 3:
        return float("nan")
    cut = beats.cut(beats.usual)[:, :, int(marks.on) : int(marks.off) + 1]
    cut = cut[~np.isnan(cut[:, 0]).any(1)]
    if len(cut) < 3:
        return float("nan")
    heights = np.ptp(cut, axis=2)
    tallest = int(heights.mean(0).argmax())
    return float(heights[:, tallest].std() / heights[:, tallest].mean())


def _waves(beat: Array, marks: Marks) -> dict[str, Array]:
    """Measure every lead of the median beat."""
    out = {name: np.full(len(LEADS), np.nan) for name in WAVES}
    if np.isnan(marks.on):
        return out
    on, off = int(marks.on), int(marks.off)
    level = np.median(beat[:, max(on - 14, 0) : max(on - 3, 1)], axis=1, keepdims=True)
    wave = beat - level
    for lead in range(len(LEADS)):
        for name, value in _qrs_waves(wave[lead, on : off + 1]).items():
            out[name][lead] = value
        out["jp"][lead] = _j_wave(wave[lead], on, off)
    out["j"] = wave[:, off - 2 : off + 3].mean(1)
    later = min(off + round(0.06 * RATE), wave.shape[1] - 3)
    out["st"] = wave[:, later - 3 : later + 4].mean(1)
    _t_waves(wave, marks, out)
    _p_waves(wave, marks, out)
    return out


def _qrs_waves(qrs: Array) -> dict[str, float]:
    """Name the deflections of one lead's QRS, ``(n,)`` mV against the PQ level.

    A wave begins and ends where the lead crosses the PQ level. An R that dips at least a third of its smaller top has R' after the dip; the
    dip is an S only where it goes below the level.
    """
    least = max(SMALLEST, 0.025 * float(np.ptp(qrs)))
    out = dict.fromkeys(("q", "r", "s", "r2", "q_time", "r_time", "s_time", "r_peak"), 0.0)
    out["height"] = float(np.ptp(qrs))
    out["net"] = float(max(qrs.max(), 0.0) + min(qrs.min(), 0.0))
    # Zero is crossed where the sign changes; the pieces in between are the deflections.
    cuts = np.flatnonzero(np.diff(np.sign(qrs)) != 0) + 1
    pieces = [(piece, float(piece[np.abs(piece).argmax()])) for piece in np.split(qrs, cuts) if len(piece)]
    # What only runs on into a raised or lowered ST segment is no wave of QRS.
    if len(pieces) > 1 and abs(pieces[-1][1]) - abs(pieces[-1][0][-1]) < least:
        del pieces[-1]
    pieces = [(piece, top) for piece, top in pieces if abs(top) >= least]
    pieces = _without_foot(pieces)
    tops = [top for _, top in pieces]
    ups = [place for place, top in enumerate(tops) if top > 0]
    if not ups:
        deep = [place for place, top in enumerate(tops) if top < 0]
        if deep:
            out["q"] = out["s"] = -min(tops)
            out["q_time"] = out["s_time"] = sum(len(pieces[place][0]) for place in deep) / RATE
        return out
    first = ups[0]
    if first > 0:
        out["q"], out["q_time"] = -min(tops[:first]), len(pieces[first - 1][0]) / RATE
    out["r"], out["r_time"] = tops[first], len(pieces[first][0]) / RATE
    # Of two tops the later, where the intrinsicoid deflection begins.
    out["r_peak"] = float(np.flatnonzero(_tops(qrs) & (qrs > 0.5 * qrs.max()))[-1]) / RATE
    after = [place for place in range(first + 1, len(tops)) if tops[place] < 0]
    if after:
        deepest = min(after, key=lambda place: tops[place])
        out["s"], out["s_time"] = -tops[deepest], len(pieces[deepest][0]) / RATE
    out["r2"] = max((tops[place] for place in ups[1:]), default=0.0)
    if not out["r2"]:
        out["r2"] = _second_top(pieces[first][0], out)
    return out


def _without_foot(pieces: list[tuple[Array, float]]) -> list[tuple[Array, float]]:
    """Leave out a first upstroke that is short and a tenth of the tallest: the foot of QRS against a level that is a little off."""
    tallest = max((top for _, top in pieces), default=0.0)
    small = [place for place, (piece, top) in enumerate(pieces[:2]) if 0 < top < 0.1 * tallest and len(piece) < 0.016 * RATE]
    return [piece for place, piece in enumerate(pieces) if place not in small]


def _tops(qrs: Array) -> NDArray[np.bool_]:
    """Return which samples are no lower than both neighbours; the ends are no tops unless there is no other."""
    inside = (qrs[1:-1] >= qrs[:-2]) & (qrs[1:-1] >= qrs[2:])
    out = np.concatenate([[False], inside, [False]])
    out[int(qrs.argmax())] = True
    return out


def _second_top(piece: Array, out: dict[str, float]) -> float:
    """Return the second top of an R with a deep dip, or 0. ``out`` gets the first one as its R."""
    from scipy.signal import find_peaks

    padded = np.concatenate([[0.0], piece, [0.0]])
    tops = find_peaks(padded, prominence=SMALLEST)[0]
    if len(tops) < 2:
        return 0.0
    dip = float(padded[tops[0] : tops[-1]].min())
    early, late = float(padded[tops[0]]), float(padded[tops[-1]])
    if dip > 0.67 * min(early, late):
        return 0.0
    out["r"] = early
    return late


def _j_wave(lead: Array, on: int, off: int) -> float:
    """Return the level at which the last downstroke of QRS breaks off, or that of a notch after it, mV; 0 or less without a J wave."""
    from scipy.signal import find_peaks

    top = on + int(lead[on : off + 1].argmax())
    end = min(off + round(0.04 * RATE), len(lead) - 1)
    notches = find_peaks(lead[top + 3 : end], prominence=0.015)[0]
    if len(notches):
        return float(lead[top + 3 + notches[-1]])
    slope = np.diff(lead[top : end + 1])
    if len(slope) == 0 or slope.min() >= 0:
        return float(lead[off])
    fastest = int(slope.argmin())
    slow = np.flatnonzero(slope[fastest:] > 0.25 * slope[fastest])
    return float(lead[top + fastest + (int(slow[0]) if len(slow) else 0)])


def _t_waves(wave: Array, marks: Marks, out: dict[str, Array]) -> None:
    off, n = int(marks.off), wave.shape[1]
    end = int(marks.t_end) if np.isfinite(marks.t_end) else min(off + round(0.30 * RATE), n - 1)
    part = wave[:, min(off + round(0.08 * RATE), n - 2) : max(min(end + round(0.03 * RATE), n), off + round(0.08 * RATE) + 2)]
    largest = np.abs(part).argmax(1)
    out["t"] = part[np.arange(len(part)), largest]
    out["t_low"] = np.maximum(-part.min(1), 0.0)
    after = wave[:, min(end + round(0.05 * RATE), n - 1) : min(end + round(0.18 * RATE), n)]
    if np.isfinite(marks.t_end) and after.shape[1] > 10:
        # Against the level that follows U, since PQ and TP need not be level.
        after = after - np.median(after[:, -8:], axis=1, keepdims=True)
        out["u"] = after[np.arange(len(after)), np.abs(after).argmax(1)]


def _p_waves(wave: Array, marks: Marks, out: dict[str, Array]) -> None:
    if np.isnan(marks.p_on):
        return
    on, off = int(marks.p_on), int(marks.p_off)
    part = wave[:, on : off + 1]
    part = part - np.linspace(part[:, 0], part[:, -1], part.shape[1], axis=1)
    out["p"] = part[np.arange(len(part)), np.abs(part).argmax(1)]
    # The terminal part: below the level after the first third, where the left atrium follows the right.
    late = part[:, part.shape[1] // 3 :]
    out["p_low"] = np.maximum(-late.min(1), 0.0)
    out["p_force"] = out["p_low"] * (late < -0.3 * out["p_low"][:, None]).sum(1) / RATE
