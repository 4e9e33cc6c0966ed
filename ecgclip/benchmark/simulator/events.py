"""What happens from beat to beat: early and wide beats, runs, pauses, P waves that are not conducted, spikes, flutter.

Made for clean renders: noise would be counted as P waves.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgclip.signals.beats import BEFORE, INDEPENDENT, RATE, Beats, steepness
from ecgclip.signals.delineate import qrs_edges
from ecgclip.signals.measure import Measurements

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

EARLY = 0.86  # Part of the usual interval below which a beat is early.
LATE = 1.2  # ... above which an interval is a pause.
WIDE = 0.120  # s
FINE, COARSE = 0.018, 0.045  # s, the scales of a P and of a T wave.
P_SHARP = 0.62  # Response at the fine over that at the coarse scale: about 1 for P, 0.3 to 0.45 for T.
RESTLESS = 0.4  # mV/s over all leads together, above which there is no baseline.
P_SHARP_ALONE = 0.45  # ... where there is no T wave.
P_LEAST = 0.02  # mV, of a P wave over all leads together, at the fine scale.


@dataclass(frozen=True)
class Beatwise:
    """Beat by beat.

    Attributes:
        on, off: ``(B,)`` samples of onset and end of each QRS.
        early: ``(B,)`` whether it comes early.
        wide: ``(B,)`` whether its QRS lasts ``WIDE`` or more.
        other: ``(B,)`` whether it is of another shape than the usual one.
    """

    on: Array
    off: Array
    early: Flags
    wide: Flags
    other: Flags


def events(found: Measurements) -> dict[str, float]:
    """Count what happens in a record.

    Args:
        found: Of a clean render, 10 s.

    Returns:
        By name, NaN where it cannot be told. Beats: ``early_wide``, ``early_narrow`` (numbers), ``run`` (longest row of wide beats),
        ``run_rate`` (1/min in it), ``couplets`` (rows of exactly two), ``every2`` and ``every3`` (longest row of early beats at every
        second or third place), ``pause`` (longest RR, s), ``pause_ratio`` (over the median RR), ``escapes`` (beats that end a pause
        without a P wave before them), ``rr_range`` (s, between usual beats), ``jump`` (greatest lasting change of RR, as a ratio).
        P waves: ``p_per_qrs``, ``pp_cv``, ``dropped`` (not conducted), ``dropped_row`` (longest row of them), ``conducted``, ``pr_sd`` (s),
        ``pr_growth`` (s, from the first to the last PQ before a dropped P, median), ``p_in_pause``. Others: ``spikes``, ``paced`` (part of
        them that P or QRS follows), ``flutter_rate`` (1/min), ``flutter`` (part of the power from 3 to 12 Hz that is at that rate and twice
        it), ``restless`` (part of the time before QRS, P included, in which the leads move).
    """
    beats = found.beats
    if len(beats.at) < 2:
        return dict.fromkeys(NAMES, float("nan"))
    each = beatwise(beats)
    ends = found.marks.t_end - found.marks.on
    p = p_waves(beats, each, round(ends + 0.02 * RATE) if np.isfinite(ends) else 0)
    out = _rhythm(found, each) | _runs(beats, each) | _conduction(each, p)
    pauses = np.flatnonzero(beats.rr > LATE * np.median(beats.rr))
    longest = int(beats.rr.argmax())
    before = [np.any((p < each.on[k + 1] - 0.04 * RATE) & (p > each.on[k + 1] - 0.28 * RATE)) for k in pauses]
    out["escapes"] = float(len(pauses) - np.sum(before))
    inside = (p > each.off[longest] + 0.02 * RATE) & (p < each.on[longest + 1] - 0.30 * RATE)
    out["p_in_pause"] = float(inside.sum())
    out["spikes"] = float(len(beats.spikes))
    out["paced"] = _paced(beats, each, p)
    return out | _flutter(beats, each)


NAMES = (
    "early_wide", "early_narrow", "run", "run_rate", "couplets", "every2", "every3", "pause", "pause_ratio", "escapes", "rr_range", "jump",
    "p_per_qrs", "pp_cv", "dropped", "dropped_row", "conducted", "pr_sd", "pr_growth", "p_in_pause", "spikes", "paced", "flutter_rate",
    "flutter", "restless",
)  # fmt: skip


def beatwise(beats: Beats) -> Beatwise:
    """Measure each beat by itself."""
    cut = np.nan_to_num(beats.cut(np.ones(len(beats.at), bool)))
    edges = np.array([qrs_edges(beat, gap) for beat, gap in zip(cut, np.r_[1.0, beats.rr], strict=True)], float)
    shift = beats.at - round(BEFORE * RATE)
    usual_rr = beats.rr[beats.usual[1:] & beats.usual[:-1]]
    # In bigeminy no two usual beats follow each other, or short and long intervals alternate: the mean of two is then the sinus node's.
    pairs = (beats.rr[:-1] + beats.rr[1:]) / 2
    known = [float(np.median(gaps)) for gaps in (usual_rr, pairs) if len(gaps) >= max(1, 0.2 * len(beats.rr))]
    own = max(known, default=float(beats.rr.mean()))
    early = np.r_[False, beats.rr < EARLY * own]
    width = (edges[:, 1] - edges[:, 0]) / RATE
    return Beatwise(edges[:, 0] + shift, edges[:, 1] + shift, early, width >= WIDE, ~beats.usual)


def _rhythm(found: Measurements, each: Beatwise) -> dict[str, float]:
    rr, usual = found.rr, found.beats.usual
    between = rr[usual[1:] & usual[:-1]]
    jumps = [np.median(rr[:k]) / np.median(rr[k:]) for k in range(3, len(rr) - 2)]
    return {
        "pause": float(rr.max()),
        "pause_ratio": float(rr.max() / np.median(rr)),
        "rr_range": float(np.ptp(between)) if len(between) > 1 else float("nan"),
        "jump": float(max(max(jump, 1 / jump) for jump in jumps)) if jumps else float("nan"),
        "early_wide": float((each.early & each.wide & each.other).sum()),
        "early_narrow": float((each.early & ~each.wide).sum()),
    }


def _runs(beats: Beats, each: Beatwise) -> dict[str, float]:
    rows = _rows(each.wide)
    longest = max(rows, key=lambda row: row[1] - row[0], default=(0, 0))
    inside = beats.rr[longest[0] : longest[1] - 1]
    return {
        "run": float(longest[1] - longest[0]),
        "run_rate": float(60 / inside.mean()) if len(inside) else float("nan"),
        "couplets": float(sum(stop - start == 2 for start, stop in rows)),
        "every2": _every(each.early, 2),
        "every3": _every(each.early, 3),
    }


def _rows(flags: Flags) -> list[tuple[int, int]]:
    """Return start and stop of each row of true."""
    edges = np.flatnonzero(np.diff(np.r_[False, flags, False]))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _every(early: Flags, step: int) -> float:
    """Return the longest row of early beats that are exactly ``step`` beats apart."""
    places = np.flatnonzero(early)
    if len(places) == 0:
        return 0.0
    return float(max([stop - start for start, stop in _rows(np.diff(places) == step)], default=0) + 1)


def p_waves(beats: Beats, each: Beatwise, t_end: int) -> Array:
    """Find the tops of P waves.

    Args:
        beats: Of the record.
        each: The same, beat by beat.
        t_end: Samples from the onset of QRS to the end of T.

    Returns:
        Their samples, those that a regular P rate puts into a QRS or T included.
    """
    from scipy.ndimage import gaussian_filter1d
    from scipy.signal import find_peaks

    signal = _without_qrs(beats, each)
    bent, slow = ((scale * RATE) ** 2 * gaussian_filter1d(signal, scale * RATE, axis=1, order=2) for scale in (FINE, COARSE))
    fine, coarse = (np.sqrt((response**2).sum(0)) for response in (bent, slow))
    hidden, repolarising = (np.zeros(signal.shape[1], bool) for _ in range(2))
    for on, off in zip(each.on, each.off, strict=True):
        hidden[max(int(on) - 4, 0) : int(off) + 8] = True
        repolarising[int(off) : int(on) + max(t_end, 0)] = True
    tops = find_peaks(fine, height=P_LEAST, distance=round(0.10 * RATE))[0]
    tops = tops[~hidden[tops] & (fine[tops] > np.where(repolarising[tops], P_SHARP, P_SHARP_ALONE) * coarse[tops])]
    tops = tops[(tops > 0.03 * RATE) & (tops < len(fine) - 0.03 * RATE)]
    clear = tops[~repolarising[tops]]
    if len(clear) == 0:
        return np.empty(0)
    clear = clear[fine[clear] > 0.45 * np.percentile(fine[clear], 75)]
    # Within T, only what is bent like the P waves elsewhere, in every lead, is one.
    pattern = np.median(bent[:, clear], axis=1)
    likeness = pattern @ bent[:, tops] / (np.linalg.norm(pattern) * np.linalg.norm(bent[:, tops], axis=0))
    alike = (likeness > 0.88) & (np.abs(np.log2(fine[tops] / np.median(fine[clear]))) < 0.8)
    on_t = tops[alike & repolarising[tops]]
    found = np.union1d(clear, on_t[~_at_top_of_t(on_t, signal, each, t_end)])
    # A QRS at the very ends is not counted as one, and would be taken for a P wave.
    return _completed(found[(found > each.on[0] - 0.5 * RATE) & (found < each.on[-1])], hidden | repolarising)


def _at_top_of_t(places: NDArray[np.int64], signal: Array, each: Beatwise, t_end: int) -> Flags:
    """Tell which places are the top of T itself: in nearly every beat, at the same time, where all leads together are highest."""
    size = np.sqrt((signal**2).sum(0))
    tops = np.array([int(off) + int(size[int(off) : int(on) + t_end].argmax()) for on, off in zip(each.on, each.off, strict=True)
                     if int(off) + 10 < int(on) + t_end <= len(size)])  # fmt: skip
    if len(places) == 0 or len(tops) == 0:
        return np.zeros(len(places), bool)
    near = np.abs(places[:, None] - tops).min(1) < 0.016 * RATE
    return near if near.sum() >= 0.7 * len(tops) else np.zeros(len(places), bool)


def _without_qrs(beats: Beats, each: Beatwise) -> Array:
    """Draw a straight line through each QRS."""
    signal = beats.signal[INDEPENDENT].copy()
    for on, off in zip(each.on, each.off, strict=True):
        a, b = max(int(on) - 4, 0), min(int(off) + 6, signal.shape[1] - 1)
        if b > a:
            signal[:, a : b + 1] = np.linspace(signal[:, a], signal[:, b], b - a + 1, axis=1)
    return signal


def _completed(tops: NDArray[np.int64], hidden: Flags) -> Array:
    """Add the P waves that lie in a QRS or T, where the others come at a regular rate."""
    if len(tops) < 4:
        return tops.astype(float)
    gaps = np.diff(tops)
    period = _period(gaps)
    added = []
    for start, gap in zip(tops[:-1], gaps, strict=True):
        times = round(gap / period)
        if times >= 2 and abs(gap / period - times) < 0.12 * times:
            places = [start + gap * k / times for k in range(1, times)]
            added += [place for place in places if hidden[max(int(place) - 25, 0) : int(place) + 25].any()]
    return np.sort(np.r_[tops, added]).astype(float)


def _period(gaps: NDArray[np.int64]) -> float:
    """Return the longest interval that all gaps are multiples of, if there is one; else the commonest short gap."""
    for period in sorted({float(gap) for gap in gaps}, reverse=True):
        times = gaps / period
        if (times > 0.8).all() and np.abs(times - np.round(times)).max() < 0.15:
            return period
    return float(np.median(gaps[gaps < 1.3 * np.percentile(gaps, 25)]))


def _conduction(each: Beatwise, p: Array) -> dict[str, float]:
    """Tell which P waves lead to a QRS: the last one before each, within half a second."""
    nothing = dict.fromkeys(("pp_cv", "pr_sd", "pr_growth"), float("nan"))
    inside = p[(p > each.on[0]) & (p < each.on[-1])]
    out = nothing | {"p_per_qrs": len(inside) / (len(each.on) - 1), "dropped": 0.0, "dropped_row": 0.0, "conducted": 0.0}
    if len(p) < 3:
        return out
    gaps = np.diff(p)
    out["pp_cv"] = float(gaps.std() / gaps.mean())
    pq = np.full(len(p), np.nan)
    for on in each.on:
        before = np.flatnonzero((p < on - 0.03 * RATE) & (p > on - 0.5 * RATE))
        if len(before):
            pq[before[-1]] = (on - p[before[-1]]) / RATE
    known = (p > each.on[0]) & (p < each.on[-1])
    lost = np.isnan(pq) & known
    out["dropped"], out["conducted"] = float(lost.sum()), float((~np.isnan(pq)).sum())
    out["dropped_row"] = float(max((stop - start for start, stop in _rows(lost)), default=0))
    # Of all QRS, however long ago the P wave before was: without conduction any interval may be.
    since = [on - p[p < on - 0.03 * RATE].max(initial=-np.inf) for on in each.on]
    since = [gap / RATE for gap in since if np.isfinite(gap)]
    out["pr_sd"] = float(np.std(since)) if len(since) > 1 else float("nan")
    # From one dropped P to the next; what comes after the last of them may go on beyond the record.
    rows = [row[np.isfinite(row)] for row in np.split(pq, np.flatnonzero(lost))[:-1]]
    ended = [row[-1] - row[0] for row in rows if len(row) >= 2]
    out["pr_growth"] = float(np.median(ended)) if ended else float("nan")
    return out


def _paced(beats: Beats, each: Beatwise, p: Array) -> float:
    """Return the part of the spikes that a P wave or a wide QRS follows."""
    if len(beats.spikes) == 0:
        return float("nan")
    onsets = np.sort(np.r_[p, each.on[each.wide]])
    delays = [onsets[onsets > spike - 0.04 * RATE].min(initial=np.inf) - spike for spike in beats.spikes if spike < beats.at[-1]]
    return float(np.mean([delay < 0.20 * RATE for delay in delays])) if delays else float("nan")


def _flutter(beats: Beats, each: Beatwise) -> dict[str, float]:
    """Look for a regular wave from 200 to 400/min in what is left without QRS, and for a baseline between QRS complexes."""
    from scipy.signal import detrend

    rest = _without_qrs(beats, each)
    signal = detrend(rest, axis=1) * np.hanning(rest.shape[1])
    frequencies = np.fft.rfftfreq(4 * signal.shape[1], 1 / RATE)
    power = (np.abs(np.fft.rfft(signal, 4 * signal.shape[1], axis=1)) ** 2).sum(0)
    band = (frequencies >= 200 / 60) & (frequencies <= 400 / 60)
    top = float(frequencies[band][power[band].argmax()])
    near = (np.abs(frequencies - top) < 0.25) | (np.abs(frequencies - 2 * top) < 0.25)
    around = (frequencies >= 3.0) & (frequencies <= 12.0)
    moving = steepness(beats.signal, 8)
    between = np.concatenate([moving[int(on) - round(0.30 * RATE) : int(on) - 8] for on in each.on if on > 0.30 * RATE] or [np.ones(1)])
    return {
        "flutter_rate": 60 * top,
        "flutter": float(power[near].sum() / max(power[around].sum(), 1e-12)),
        "restless": float(np.mean(between > RESTLESS)),
    }
