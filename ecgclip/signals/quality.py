"""What is wrong with a record as a recording, by criteria that a disease does not meet.

A flag is ``kind:where``. Two are read off the samples as they came (``flat``, ``clipped``), the others off the record at 100 Hz
(:data:`RATE`), whatever the rate of the file and of the store, so that one record has the same flags in every store. What they find in
PTB-XL stands in ``docs/signals.md``. A wrong gain cannot be told from a disease in one record: :func:`gain_suspects` judges devices.
"""

from collections.abc import Hashable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ecgclip.signals.leads import LEADS

RATE = 100.0  # Hz of the record that noise and swapped electrodes are judged on.
SPAN = 200  # Samples, 2 s: at 30 beats a minute or more there is a QRS in each.
SMALLEST = 0.2  # mV taken for the height of a smaller QRS: in asystole there is none to compare noise with.

NOISE = 0.05  # RMS of white noise over the height of QRS from which a lead is noisy.
STEP = 1.0  # Rise of the baseline within half a second over the height of QRS,
SMALLEST_STEP = 0.3  # and mV: deep breathing moves it by less.
# Of white noise with an RMS of 1, the median absolute value of its second difference over 4.
_NOISE_MEDIAN = 0.6745 * np.sqrt(6) / 4

SHORTEST_CLIP = 0.012  # s of equal samples at the extreme: no wave of a heart has so sharp a corner and so flat a top,
FEWEST_EQUAL = 5  # and fewer samples are equal by chance in a small lead at 100 Hz.
LONG_CLIP = 0.2  # s from which they need no corner: a T wave is not flat for so long.
CORNER = 0.03  # Of the lead's range that one sample lies below the top that it leads to,
CORNER_STEPS = 2.5  # and steps of the converter.
OFF_LEVEL = 0.1  # Of the lead's range between a limit and the middle value.

# Lead I from V1-V6, by least squares over the 17,441 records of folds 1-8 of PTB-XL, each scaled to the power of its chest leads.
# To compare a lead with its reconstruction from others is Kors and van Herpen's idea (2001, Am J Cardiol 88:396); the weights are ours.
_LEAD_I = np.array([-0.598, 0.247, 0.038, -0.085, 0.143, 0.254])
OPPOSED = 0.5  # Correlation of lead I with the negative of what the chest leads tell.

Key = TypeVar("Key", bound=Hashable)
LOW_GAIN, HIGH_GAIN = 0.6, 1.7  # Of a batch over the rest; hospitals, ages and recorders differ by less.
FEWEST = 20  # Records of a batch.


def flat_and_clipped(signal: NDArray[np.floating], sampling_rate: float, names: Sequence[str]) -> list[str]:
    """Judge the samples as they came.

    ``flat:V1``: not one sample differs from the others. ``clipped:V1``: a run of equal samples at the highest or lowest value, of 12 ms
    and five samples or more that begins or ends with a corner, or of 200 ms or more; the top of a T wave is rounded.

    Args:
        signal: ``(leads, T)`` float, mV, not resampled.
        sampling_rate: Hz.
        names: One per row.
    """
    high, low = signal.max(-1), signal.min(-1)
    flat = high == low
    flags = []
    shortest = max(FEWEST_EQUAL, round(SHORTEST_CLIP * sampling_rate))
    longest = max(shortest, round(LONG_CLIP * sampling_rate))
    for end in (high, low):
        at_end = signal == end[:, None]
        for row in np.flatnonzero((at_end.sum(-1) >= shortest) & ~flat).tolist():
            if _clipped(signal[row], at_end[row], shortest, longest):
                flags.append(f"clipped:{names[row]}")
    return [*dict.fromkeys(flags), *(f"flat:{name}" for name, constant in zip(names, flat, strict=True) if constant)]


def _clipped(lead: NDArray[np.floating], at_end: NDArray[np.bool_], shortest: int, longest: int) -> bool:
    values = np.unique(lead)
    value, extent = lead[at_end.argmax()], values[-1] - values[0]
    # Of a lead that is rounded to coarse steps the level line may be its lowest value.
    if abs(value - np.median(lead)) < OFF_LEVEL * extent:
        return False
    corner = max(CORNER * extent, CORNER_STEPS * np.diff(values).min())
    edges = np.flatnonzero(np.diff(np.concatenate([[False], at_end, [False]]).astype(np.int8)))
    for start, stop in edges.reshape(-1, 2):
        if stop - start >= longest:
            return True
        beside = [lead[place] for place in (start - 1, stop) if 0 <= place < len(lead)]
        if stop - start >= shortest and any(abs(other - value) > corner for other in beside):
            return True
    return False


def qrs_heights(signal: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the height of the largest complex in 2 s from peak to peak, the median over the record, ``(leads,)`` mV.

    Args:
        signal: ``(leads, T)`` mV at 100 Hz without baseline.
    """
    return np.median(np.ptp(_cut(signal, SPAN), axis=-1), axis=-1)


def noisy_leads(signal: NDArray[np.floating], drifting: NDArray[np.floating], heights: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Judge noise by its size against QRS.

    Either the noise has an RMS of a twentieth of QRS in some second, estimated from the median of the second differences, which neither
    QRS (less than a quarter of the time) nor pacing spikes move, and in which slow waves such as those of flutter or ventricular
    fibrillation are next to nothing. Or the baseline moves by the height of QRS from one half second to the next.

    Args:
        signal: ``(leads, T)`` mV at 100 Hz without baseline.
        drifting: The same with it.
        heights: ``(leads,)`` mV, see :func:`qrs_heights`.

    Returns:
        ``(leads,)``.
    """
    size = np.maximum(heights, SMALLEST)
    bent = np.abs(signal[:, 2:] - 2 * signal[:, 1:-1] + signal[:, :-2])
    noise = np.median(_cut(bent, round(RATE)), axis=-1).max(-1) / (4 * _NOISE_MEDIAN)
    levels = np.median(_cut(drifting, round(RATE / 2)), axis=-1)
    steps = np.abs(np.diff(levels, axis=-1)).max(-1, initial=0.0)
    return np.asarray((noise > NOISE * size) | (steps > np.maximum(STEP * size, SMALLEST_STEP)))


def arms_swapped(signal: NDArray[np.floating], names: Sequence[str]) -> bool:
    """Tell whether the electrodes of the arms are on each other's arm.

    Then lead I runs against what the chest leads tell of it, P, QRS and T together, while R grows from V1 to V5 or V6. In dextrocardia it
    does not grow. Other swaps look too much like a disease: an arm and the left leg like an inferior infarct or a left axis, the right
    leg and an arm like an axis at which a limb lead shows nothing.

    Args:
        signal: ``(leads, T)`` mV at 100 Hz without baseline.
        names: Leads of the rows; without I and all of V1-V6 nothing is said.
    """
    rows = {name: row for row, name in enumerate(names)}
    if not rows.keys() >= {"I", *LEADS[6:]}:
        return False
    one, chest = signal[rows["I"]], signal[[rows[lead] for lead in LEADS[6:]]]
    expected = _LEAD_I.astype(chest.dtype) @ chest
    agreement = float(one @ expected) / max(float(np.linalg.norm(one) * np.linalg.norm(expected)), 1e-9)
    first, fifth, sixth = np.median(_cut(chest[[0, 4, 5]], SPAN).max(-1), axis=-1)
    return agreement < -OPPOSED and max(fifth, sixth) > first


def _cut(signal: NDArray[np.floating], samples: int) -> NDArray[np.floating]:
    """Cut into pieces, ``(leads, n, samples)``; what is left over is left out, a record shorter than a piece is one."""
    pieces = signal.shape[-1] // samples
    if pieces == 0:
        return signal[:, None]
    return signal[:, : pieces * samples].reshape(len(signal), pieces, samples)


def gain_suspects(amplitudes: Sequence[float] | NDArray[np.floating], batches: Sequence[Key]) -> dict[Key, float]:
    """Find devices whose records are too large or too small as a whole: a wrong gain or unit.

    The middle amplitude of each batch is compared with that of the batch in the middle, so that neither a large batch nor one more wrong
    one sways it; of two batches the larger one is believed. Nothing is corrected: the export is to be mended.

    Args:
        amplitudes: N of ``Standard.amplitude``, mV; those that are not a positive number are left out.
        batches: N: what was recorded and exported alike, such as device and year.

    Returns:
        Batch to the factor by which its amplitudes lie above the rest, for batches of 20 records or more where that is below 0.6 or
        above 1.7: 0.2 for a gain that is five times too small, 1000 for uV taken for mV. Smaller batches count together as one of the
        rest. Empty where there is one batch.
    """
    sizes = np.asarray(amplitudes, np.float64)
    logs: dict[Key, list[float]] = {}
    for size, batch in zip(sizes.tolist(), batches, strict=True):
        if np.isfinite(size) and size > 0:
            logs.setdefault(batch, []).append(float(np.log(size)))
    judged = {batch: values for batch, values in logs.items() if len(values) >= FEWEST}
    few = [value for batch, values in logs.items() if batch not in judged for value in values]
    middles = sorted((float(np.median(values)), len(values)) for values in [*judged.values(), *([few] if len(few) >= FEWEST else [])])
    if len(middles) < 2:
        return {}
    # Of an even number of batches the one with more records of the two in the middle.
    rest = max(middles[(len(middles) - 1) // 2 : len(middles) // 2 + 1], key=lambda middle: middle[1])[0]
    factors = {batch: float(np.exp(np.median(values) - rest)) for batch, values in judged.items()}
    return {batch: factor for batch, factor in factors.items() if not LOW_GAIN <= factor <= HIGH_GAIN}
