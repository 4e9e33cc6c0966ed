"""Where the beats of a record are, which of them look alike, and the median of those: what every measurement starts from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgclip.signals.leads import LEADS
from ecgclip.signals.resample import resample

RATE = 500.0  # Hz at which everything is measured.
INDEPENDENT = [LEADS.index(lead) for lead in ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")]  # The other four follow from I and II.
BEFORE, AFTER = 0.50, 0.64  # s of a median beat before and after the middle of QRS.
REFRACTORY = 0.22  # s; no two QRS complexes are closer.
EDGE = 0.06  # s from the ends of a record.
REPOLARISING = 0.46  # s after a QRS in which a gentler peak is its T wave,
GENTLE = 0.22  # gentler meaning below this part of the slope of QRS.
ALIKE = 0.85  # Correlation from which two beats are of one shape.
SPIKE = 0.10  # mV by which a sample stands off its neighbours: no wave of a heart is so thin at 400 Hz or more.

Array = NDArray[np.float64]
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Beats:
    """The beats of one record.

    Attributes:
        signal: ``(12, T)`` mV at ``RATE``, without baseline wander: 0 mV is the PQ level before each QRS.
        at: ``(B,)`` samples, the middle of each QRS.
        similarity: ``(B, B)`` correlations of the beats with each other, over all leads.
        usual: ``(B,)`` bool, of the commonest shape (the narrower one of two that are as common).
        spikes: Samples of pacing spikes.
    """

    signal: Array
    at: Places
    similarity: Array
    usual: NDArray[np.bool_]
    spikes: Places

    @property
    def rr(self) -> Array:
        """``(B - 1,)`` intervals from QRS to QRS, s."""
        return np.diff(self.at) / RATE

    def cut(self, chosen: NDArray[np.bool_]) -> Array:
        """Return the beats chosen, ``(n, 12, (BEFORE + AFTER) * RATE)`` mV; NaN beyond the ends of the record."""
        before, after = round(BEFORE * RATE), round(AFTER * RATE)
        padded = np.pad(self.signal, ((0, 0), (before, after)), constant_values=np.nan)
        places = self.at[chosen][:, None] + np.arange(before + after)
        return padded[:, places].transpose(1, 0, 2)

    def median(self) -> Array:
        """Return the median of the usual beats, ``(12, (BEFORE + AFTER) * RATE)`` mV."""
        if not self.usual.any():
            return np.full((len(LEADS), round(BEFORE * RATE) + round(AFTER * RATE)), np.nan)
        cut = self.cut(self.usual)
        whole = cut[~np.isnan(cut[:, 0]).any(1)]
        if len(whole):
            return np.asarray(np.median(whole, axis=0))
        return np.nan_to_num(np.nanmean(cut, axis=0)) if len(cut) > 1 else np.nan_to_num(cut[0])


def find_beats(signal: NDArray[np.floating], sampling_rate: float) -> Beats:
    """Find the beats of a record in all leads at once.

    Args:
        signal: ``(12, T)`` mV in the order of ``LEADS``; a lead that is missing is zeros.
        sampling_rate: Hz.

    Returns:
        The beats; none where the record is flat or shorter than a second.

    Raises:
        UserError: For a sampling rate that cannot be brought to ``RATE``.
    """
    raw = np.nan_to_num(np.asarray(signal, np.float64))
    raw = raw - np.median(raw, axis=1, keepdims=True)
    # Only before resampling is a spike a sample or two wide; at lower rates R is as thin.
    spikes = find_spikes(raw) if sampling_rate >= 400 else np.empty(0, np.int64)
    whole = resample(_without(raw, spikes), sampling_rate, RATE)
    spikes = np.round(spikes * RATE / sampling_rate).astype(np.int64)
    at = _find_qrs(whole) if whole.shape[1] > RATE else np.empty(0, np.int64)
    if len(at) == 0:
        return Beats(whole, at, np.empty((0, 0)), np.empty(0, bool), spikes)
    at, similarity, usual = _align(whole, at)
    return Beats(_level(whole, at), at, similarity, usual, spikes)


def find_spikes(signal: Array) -> Places:
    """Return the samples of pacing spikes of ``(12, T)`` mV at 400 Hz or more: of a sample or two, in two leads, in calm surroundings."""
    from scipy.ndimage import maximum_filter1d
    from scipy.signal import find_peaks

    bent = np.zeros_like(signal)
    bent[:, 1:-1] = np.abs(signal[:, 2:] - 2 * signal[:, 1:-1] + signal[:, :-2])
    # The top of a tall R is bent nearly as much, and so is what lies around it, 6 to 14 ms away.
    before, after = (maximum_filter1d(np.roll(bent, shift, axis=1), 5, axis=1) for shift in (5, -5))
    alone = bent > 3 * np.maximum(before, after)
    sharp = np.sort(np.where(alone, bent, 0.0), axis=0)[-2]
    return np.asarray(find_peaks(sharp, height=2 * SPIKE, distance=10)[0], np.int64)


def _without(signal: Array, spikes: Places) -> Array:
    """Draw a straight line where each spike was."""
    out = signal.copy()
    for spike in spikes:
        a, b = max(spike - 4, 0), min(spike + 4, signal.shape[1] - 1)
        out[:, a : b + 1] = np.linspace(signal[:, a], signal[:, b], b - a + 1, axis=1)
    return out


def steepness(signal: Array, span: int = 2) -> Array:
    """Return how fast the independent leads move together, ``(T,)`` mV/s, over ``2 * span`` samples of ``(12, T)`` at ``RATE``."""
    eight = signal[INDEPENDENT]
    slope = np.zeros_like(eight)
    slope[:, span:-span] = (eight[:, 2 * span :] - eight[:, : -2 * span]) * (RATE / (2 * span))
    return np.sqrt((slope**2).sum(0))


def _find_qrs(signal: Array) -> Places:
    """Return the middles of QRS: peaks of the steepness over a tenth of a second, without those that are T waves."""
    from scipy.ndimage import maximum_filter1d, uniform_filter1d
    from scipy.signal import find_peaks

    steep = steepness(signal, 4)
    energy, sharpest = uniform_filter1d(steep, round(0.09 * RATE)), maximum_filter1d(steep, round(0.12 * RATE))
    stretches = [energy[a : a + round(1.6 * RATE)].max() for a in range(0, len(energy) - round(0.8 * RATE), round(0.8 * RATE))]
    # The quartile, so that a few large extrasystoles do not hide the others, nor pauses let P waves through.
    usual = float(np.percentile(stretches, 60))
    if usual < 0.5:
        return np.empty(0, np.int64)
    tops, _ = find_peaks(energy, height=0.22 * usual, distance=round(REFRACTORY * RATE))
    kept: list[int] = []
    for top in tops.tolist():
        since = (top - kept[-1]) / RATE if kept else top / RATE
        # A T wave has the energy of QRS at times, but not its slope; an extrasystole that falls on it has.
        before = kept[-1] if kept else int(tops[sharpest[tops].argmax()])
        weaker, gentler = energy[top] / energy[before], sharpest[top] / sharpest[before]
        if since < REPOLARISING and (gentler < GENTLE or (weaker < 0.5 and gentler < 2 * GENTLE and since < 0.4)):
            continue
        kept.append(top)
    # Of a QRS at the very end one sees too little to say where its middle is.
    kept = [top for top in kept if EDGE * RATE < top < len(energy) - EDGE * RATE]
    return np.array(kept, np.int64)


def _align(signal: Array, at: Places) -> tuple[Places, Array, NDArray[np.bool_]]:
    """Put the beats of one shape exactly over each other.

    Returns:
        Their places, how alike they are, and which are of the commonest shape.
    """
    half, play = round(0.09 * RATE), round(0.04 * RATE)
    similarity = _similarity(signal, at, half)
    for _ in range(2):
        usual = _commonest(signal, at, similarity)
        pattern = np.median(_windows(signal, at[usual], half), axis=0)
        pattern = pattern - pattern.mean(-1, keepdims=True)
        wide = _windows(signal, at, half + play)
        scores = np.stack([(wide[..., k : k + 2 * half + 1] * pattern).sum((1, 2)) for k in range(2 * play + 1)], axis=1)
        moved = np.clip(at + scores.argmax(1) - play, 0, signal.shape[1] - 1)
        alike = similarity[:, usual].mean(1) > 0.5
        at = np.where(alike, moved, at)
        similarity = _similarity(signal, at, half)
    # Where two beats were drawn onto one QRS, one of them was never there.
    single = np.r_[True, np.diff(at) > 0.5 * REFRACTORY * RATE]
    at, similarity = at[single], similarity[np.ix_(single, single)]
    return at, similarity, _commonest(signal, at, similarity)


def _windows(signal: Array, at: Places, half: int) -> Array:
    """Return ``(B, 8, 2 * half + 1)`` mV around the places; the ends of the record are held."""
    places = np.clip(at[:, None] + np.arange(-half, half + 1), 0, signal.shape[1] - 1)
    return signal[INDEPENDENT][:, places].transpose(1, 0, 2)


def _similarity(signal: Array, at: Places, half: int) -> Array:
    windows = _windows(signal, at, half)
    flat = (windows - windows.mean(-1, keepdims=True)).reshape(len(at), -1)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)
    return np.asarray(flat @ flat.T)


def _commonest(signal: Array, at: Places, similarity: Array) -> NDArray[np.bool_]:
    """Return which beats are of the shape that most have; of two shapes nearly as common, that with the steeper QRS."""
    alike = similarity > ALIKE
    count = alike.sum(1)
    steep = steepness(signal, 4)[np.clip(at[:, None] + np.arange(-30, 31), 0, signal.shape[1] - 1)]
    # Peak over mean: high for a narrow complex, low for a broad one.
    narrow = steep.max(1) / np.maximum(steep.mean(1), 1e-9)
    rivals = np.flatnonzero(count >= 0.7 * count.max())
    best = rivals[np.argmax(np.round(narrow[rivals], 1) + 1e-3 * count[rivals])]
    first, common = alike[best], alike[int(count.argmax())]
    return first if np.median(narrow[first]) > 1.15 * np.median(narrow[common]) else common


def _level(signal: Array, at: Places) -> Array:
    """Take the baseline away: straight lines through the PQ level before each QRS, which bend no ST segment."""
    back, half = round(0.075 * RATE), round(0.012 * RATE)
    knots = np.array([_quiet(signal, int(place), back) for place in at], np.int64)
    inside = (knots > half) & (knots < signal.shape[1] - half)
    knots = knots[inside]
    if len(knots) == 0:
        return signal
    levels = signal[:, np.clip(knots[:, None] + np.arange(-half, half + 1), 0, signal.shape[1] - 1)].mean(-1)
    times = np.arange(signal.shape[1])
    return signal - np.stack([np.interp(times, knots, level) for level in levels])


def _quiet(signal: Array, place: int, back: int) -> int:
    """Return the middle of the last calm stretch before QRS, at most 0.16 s before its middle; -1 where the record begins later."""
    from scipy.ndimage import maximum_filter1d

    calm_for, reach = round(0.024 * RATE), round(0.16 * RATE)
    start = place - reach
    if start < 4:
        return -1
    steep = steepness(signal[:, start - 4 : place + round(0.06 * RATE)], 2)[4:-2]
    # The leads may all turn at once within QRS, but not for long.
    busiest = maximum_filter1d(steep, calm_for)
    calm = np.flatnonzero(busiest[:reach] < 0.12 * steep.max())
    return start + int(calm[-1]) if len(calm) else place - back
