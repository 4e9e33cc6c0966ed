"""Onset and offset of P, QRS and T on the median beat of twelve leads.

All leads are superimposed, as the global intervals of an electrocardiograph are (AHA/ACCF/HRS 2007, part I): an interval begins where the
first lead moves and ends where the last comes to rest. neurokit2's wavelet delineation works lead by lead and, on a dozen
normal records of PTB-XL, gave QRS durations from 78 to 202 ms in the leads of one of them, so it is not used here. The thresholds of QRS
were set so that normal records of PTB-XL have a median of 90 ms.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgclip.signals.beats import BEFORE, INDEPENDENT, RATE, steepness

Array = NDArray[np.float64]

QRS_EDGE = 0.05  # Part of the greatest steepness at which QRS begins.
QRS_END = 0.05
# Parts of the greatest steepness: in a valley between QRS and T that never comes to rest, and of all that follows it. A slow QRS, below
# SLOW mV/s (ventricular, as a rule), has the wider ones.
VALLEY, SLOPE = 0.12, 0.18
SLOW, SLOW_VALLEY, SLOW_SLOPE = 110.0, 0.22, 0.30
NEAR = 0.4  # Part of the height of QRS within which J may lie.
CROWDED = 0.42  # s from beat to beat, below which T may run into QRS.
REST, REST_BEFORE = 0.010, 0.016  # s that all leads must be at rest for QRS to have ended, or not to have begun.
P_EDGE = 0.30  # Part of a P wave's greatest steepness at which it begins and ends.
P_SMALLEST = 0.035  # mV over the independent leads together: below it there is no P wave.


@dataclass(frozen=True)
class Marks:
    """Samples on the median beat; NaN where a wave is not there or cannot be told.

    Attributes:
        p_on, p_off: Of P.
        on, off: Of QRS; ``off`` is the J point.
        t_end: Of T.
    """

    p_on: float = float("nan")
    p_off: float = float("nan")
    on: float = float("nan")
    off: float = float("nan")
    t_end: float = float("nan")


def delineate(beat: Array, rr: float) -> Marks:
    """Find the marks of a median beat.

    Args:
        beat: ``(12, n)`` mV at ``RATE``, its QRS ``BEFORE`` seconds from the start.
        rr: Median interval from beat to beat, s.

    Returns:
        The marks; all NaN for a beat that is not there.
    """
    if np.isnan(beat).any() or not beat.any():
        return Marks()
    on, off = qrs_edges(beat, rr)
    level = np.median(beat[:, max(on - 14, 0) : max(on - 3, 1)], axis=1, keepdims=True)
    t_end = _t_end(beat - level, on, off, rr)
    previous = t_end - rr * RATE if np.isfinite(t_end) else on - 0.62 * rr * RATE
    p_on, p_off = _p(beat - level, on, previous)
    return Marks(p_on, p_off, on, off, t_end)


def qrs_edges(beat: Array, rr: float = 1.0) -> tuple[int, int]:
    """Return where QRS begins and ends.

    Args:
        beat: ``(12, n)`` mV at ``RATE``, its QRS ``BEFORE`` seconds from the start.
        rr: Interval from beat to beat, s.

    Returns:
        Samples of the onset and of the J point.
    """
    from scipy.ndimage import uniform_filter1d

    middle = round(BEFORE * RATE)
    steep = steepness(beat)
    smooth = uniform_filter1d(steep, 3)
    near = slice(middle - round(0.08 * RATE), middle + round(0.08 * RATE))
    peak = near.start + int(smooth[near].argmax())
    # In ventricular tachycardia nothing is at rest, and what looks like noise is not.
    top, noise = smooth[peak], min(2.5 * float(np.percentile(smooth, 15)), 0.12 * smooth[peak])
    rest = round(REST * RATE)
    low = max(QRS_EDGE * top, noise)
    on = peak
    calm_for = round(REST_BEFORE * RATE)
    while on > calm_for and smooth[on - calm_for : on].max() >= low:
        on -= 1
    away = np.sqrt(((beat - beat[:, [on]])[INDEPENDENT] ** 2).sum(0))
    # At the top of a broad S all leads are at rest as well, but far from where they began.
    near_level = away < NEAR * away[on : peak + round(0.1 * RATE)].max()
    low = max(QRS_END * top, noise)
    off, last = peak, min(peak + round(0.2 * RATE), len(smooth) - 3 * rest)
    while off < last and smooth[off : off + (rest if near_level[off] else 3 * rest)].max() >= low:
        off += 1
    off = _valley(steep, near_level, peak, off)
    if rr < CROWDED:
        turned = len(steep) - 1
        on = turned - _valley(steep[::-1], np.ones(len(steep), bool), turned - peak, turned - on)
    return max(on, peak - round(0.16 * RATE)), off


def _valley(steep: Array, near_level: NDArray[np.bool_], peak: int, edge: int) -> int:
    """Return where the leads are calmest between QRS and T, where they never come to rest; ``edge`` where QRS ends clearly before."""
    from scipy.ndimage import uniform_filter1d

    calm = uniform_filter1d(steep, round(0.016 * RATE))
    depth, slope = (SLOW_VALLEY, SLOW_SLOPE) if steep[peak] < SLOW else (VALLEY, SLOPE)
    for place in np.flatnonzero((calm[peak:edge] < depth * steep[peak]) & near_level[peak:edge]) + peak:
        if calm[place : place + round(0.06 * RATE)].max() < slope * steep[peak]:
            valley = int(place + calm[place : min(place + round(0.06 * RATE), edge + 1)].argmin())
            return valley if edge - valley > round(0.024 * RATE) else edge
    return edge


def _t_end(beat: Array, on: int, off: int, rr: float) -> float:
    """Tangent of the steepest last slope of T to the baseline, in the leads with the greatest T; their median."""
    first = off + round(min(0.07, 0.15 * rr) * RATE)
    last = min(on + round(min(0.70, max(rr - 0.20, 0.74 * rr)) * RATE), beat.shape[1] - 3)
    if last - first < round(0.06 * RATE):
        return float("nan")
    part = _smooth(beat[INDEPENDENT], 15)[:, first:last]
    ends = []
    for lead in np.argsort(-np.abs(part).max(1))[:4]:
        wave = part[lead]
        top = int(np.abs(wave).argmax())
        height = abs(wave[top])
        slope = -np.sign(wave[top]) * np.gradient(wave)
        reach = min(top + round(0.16 * RATE), len(wave))
        if height < 0.04 or reach - top < 5:
            continue
        fastest = top + int(slope[top:reach].argmax())
        if slope[fastest] > 0:
            ends.append(first + fastest + abs(wave[fastest]) / slope[fastest])
    return float(np.percentile(ends, 75)) if ends else float("nan")


def _p(beat: Array, on: int, previous: float) -> tuple[float, float]:
    """Find the P wave before QRS: the most curved stretch between the end of the T before it and QRS."""
    nothing = float("nan"), float("nan")
    last = on - round(0.012 * RATE)
    # T ends in a bend of its own; only where P follows at once must one look into it.
    clear = np.clip(0.5 * (last - previous - 0.12 * RATE), -0.01 * RATE, 0.05 * RATE)
    first = int(max(previous + clear, on - 0.46 * RATE, 4))
    if last - first < round(0.07 * RATE):
        return nothing
    # Cut before QRS, whose foot would else be smoothed into P.
    smooth = _smooth(beat[INDEPENDENT, :last], 13)
    curved = _curvature(smooth)
    margin = round(0.024 * RATE)
    curved *= np.interp(on - np.arange(last), [0.22 * RATE, 0.46 * RATE], [1.0, 0.65])  # Of two as likely, the nearer.
    peak = first + margin + int(curved[first + margin : last - margin].argmax())
    steep = _smooth(np.sqrt((np.gradient(smooth, axis=1) ** 2).sum(0))[None], 9)[0]
    reach = round(0.06 * RATE)
    start, stop = max(peak - reach, first), min(peak + reach, last - 1)
    rise = start + int(steep[start : peak + 1].argmax())
    fall = peak + int(steep[peak : stop + 1].argmax())
    quiet = 1.2 * float(np.percentile(steep[first:last], 10))
    left = _edge(steep, rise, -1, first, max(P_EDGE * steep[rise], quiet))
    right = _edge(steep, fall, 1, last - 1, max(P_EDGE * steep[fall], quiet))
    line = np.linspace(smooth[:, left], smooth[:, right], right - left + 1, axis=1)
    height = np.sqrt(((smooth[:, left : right + 1] - line) ** 2).sum(0)).max()
    noise = np.sqrt((np.diff(beat[INDEPENDENT, first:last], n=2, axis=1) ** 2).mean())
    if height < max(P_SMALLEST, 3 * noise) or not 0.03 < (right - left) / RATE < 0.22:
        return nothing
    return float(left), float(right)


def _curvature(signal: Array) -> Array:
    """Return how bent the leads are together at the scale of a P wave: response to a second derivative of a Gaussian, ``(T,)``."""
    from scipy.ndimage import gaussian_filter1d

    bent = gaussian_filter1d(signal, 0.020 * RATE, axis=1, order=2, mode="nearest")
    return np.asarray(np.sqrt((bent**2).sum(0)))


def _edge(steep: Array, start: int, step: int, limit: int, low: float) -> int:
    """Walk from ``start`` until it is calm."""
    place = start
    while place != limit and steep[place] >= low:
        place += step
    return place


def _smooth(signal: Array, width: int) -> Array:
    from scipy.signal import savgol_filter

    return np.asarray(savgol_filter(signal, width, 2, axis=-1))
