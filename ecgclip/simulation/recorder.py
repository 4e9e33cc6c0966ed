"""What stands between the heart and the file: skin, cables and the recorder.

Noise arises at each of the nine electrodes and reaches the leads as their potentials do, so Einthoven's law holds with it. Then the
recorder filters, and rounds to its own steps.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgclip.simulation.draws import Draws

# Electrodes: right arm, left arm, left leg, V1-V6. Rows: I, II, then V1-V6 against the mean of the limbs (Wilson's terminal).
_LIMBS = 3
LEADS_OF_ELECTRODES = np.zeros((8, 9), np.float32)
LEADS_OF_ELECTRODES[0, :2] = -1, 1
LEADS_OF_ELECTRODES[1, [0, 2]] = -1, 1
LEADS_OF_ELECTRODES[2:, :_LIMBS] = -1 / 3
LEADS_OF_ELECTRODES[2:, _LIMBS:] = np.eye(6)

_WANDER = ((0.03, 0.12, 0.08), (0.12, 0.35, 0.045), (0.35, 0.8, 0.018))  # Hz from and to, mV
# Recorders: high-pass in Hz, whether it is free of phase, low-pass in Hz. The limits are those of AHA/ACC/HRS 2007, part I, and of the
# filters that a technician switches on against wander and trembling.
_FILTERS = ((0.05, False, 150.0), (0.05, False, 150.0), (0.05, False, 100.0), (0.05, False, 40.0), (0.5, True, 150.0), (0.5, True, 40.0),
            (0.05, False, 35.0))  # fmt: skip
_STEPS = (0.001, 0.0025, 0.005, 0.005, 0.00488)  # mV per unit of common recorders
_RANGE = 5.0  # mV to either side before an amplifier clips


@dataclass
class Recording:
    """How one record was taken.

    Attributes:
        muscle: RMS of muscle noise at each electrode, ``(9,)`` mV.
        burst: Where it swells, as a share of the record, and how wide that is.
        wander: Low sinusoids: frequency and phase ``(3,)`` each, ``(9, 3)`` mV.
        mains: Hz, 0 for none left; ``(9,)`` mV; phase.
        steps: Motion: ``(electrode, time in s, mV, decay in s)``.
        high_pass: Hz.
        zero_phase: Whether that filter shifts nothing.
        low_pass: Hz.
        step: mV per unit of the converter.
        limit: mV where the amplifier clips.
    """

    muscle: NDArray[np.float32]
    burst: tuple[float, float]
    wander: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
    mains: tuple[float, NDArray[np.float32], float]
    steps: list[tuple[int, float, float, float]]
    high_pass: float
    zero_phase: bool
    low_pass: float
    step: float
    limit: float


def draw(draws: Draws, seconds: float) -> Recording:
    """Draw how a record is taken.

    Most are good. One in ten has a restless electrode, one in thirty an electrode that hangs loose, one in a hundred clips.

    Args:
        draws: The record's random numbers.
        seconds: Its length.
    """
    unit, between = draws.unit, draws.between
    overall = 0.0014 * 9.0 ** unit()
    muscle = [overall * 2.718 ** draws.spread(0.5) for _ in range(9)]
    restless = overall * between(2, 5) if draws.chance(0.1) else 0.0
    muscle[int(9 * unit())] += restless
    sizes = [(1.0 if k < _LIMBS else 1.7) * 2.718 ** draws.spread(0.7) for k in range(9)]  # The chest moves with each breath.
    frequencies = np.array([between(low, high) for low, high, _ in _WANDER], np.float32)
    phases = np.array([6.2832 * unit() for _ in _WANDER], np.float32)
    heights = np.array([[between(-1, 1) * size * height for *_, height in _WANDER] for size in sizes], np.float32)
    mains = draws.choice((50.0, 60.0)) if draws.chance(0.5) else 0.0  # East and west of Japan; else its own filter takes all of it.
    hum = np.array([0.0008 * 12.0 ** unit() for _ in range(9)], np.float32)
    steps = []
    if draws.chance(0.1):
        steps = [(int(9 * unit()), between(0, seconds), between(-0.6, 0.6), between(0.15, 1.5)) for _ in range(int(between(1, 4)))]
    if draws.chance(0.03):
        loose = int(9 * unit())
        muscle[loose] += between(0.05, 0.2)
        steps += [(loose, between(0, seconds), between(-1.5, 1.5), between(0.1, 0.6)) for _ in range(3)]
    high_pass, zero_phase, low_pass = draws.choice(_FILTERS)
    return Recording(
        muscle=np.array(muscle, np.float32),
        burst=(between(-0.2, 1.2), between(0.1, 0.8)),
        wander=(frequencies, phases, heights),
        mains=(mains, hum, 6.2832 * unit()),
        steps=steps,
        high_pass=high_pass * between(0.8, 1.3),
        zero_phase=zero_phase,
        low_pass=low_pass,
        step=draws.choice(_STEPS),
        limit=between(1.2, 2.5) if draws.chance(0.01) else _RANGE,
    )


def record(leads: NDArray[np.float32], recording: Recording, rate: float, draws: Draws) -> None:
    """Add a recording's noise to eight leads in place, filter and round them.

    Args:
        leads: ``(8, T)`` float32, mV: I, II, V1-V6.
        recording: How it is taken.
        rate: Hz.
        draws: The record's random numbers.
    """
    samples = leads.shape[1]
    t = np.arange(samples, dtype=np.float32) / np.float32(rate)
    noise = draws.rng.standard_normal((9, samples), dtype=np.float32)
    # Surface electromyograms have their power above 20 Hz: a difference takes what lies lower, the more the finer the sampling.
    noise[:, 1:] -= np.float32(0.6) * noise[:, :-1]
    centre, width = recording.burst
    swell = 0.6 + 0.9 * np.exp(-0.5 * ((t / t[-1] if samples > 1 else t) - np.float32(centre)) ** 2 / np.float32(width) ** 2)
    noise *= (recording.muscle * np.float32(0.86 * math.sqrt(max(rate, 1.0) / 100.0) ** 0.5))[:, None] * swell
    frequencies, phases, heights = recording.wander
    noise += heights @ np.sin(np.float32(2 * np.pi) * frequencies[:, None] * t + phases[:, None])
    mains, hum, phase = recording.mains
    if 0 < mains < 0.48 * rate:
        noise += hum[:, None] * np.sin(np.float32(2 * np.pi * mains) * t + np.float32(phase))
    for electrode, begin, size, decay in recording.steps:
        after = t >= begin
        noise[electrode, after] += np.float32(size) * np.exp(-(t[after] - np.float32(begin)) / np.float32(decay))
    leads += LEADS_OF_ELECTRODES @ noise
    leads[:] = np.fft.irfft(np.fft.rfft(leads, axis=1) * _response(recording, samples, rate), samples, axis=1)
    np.clip(leads, -recording.limit, recording.limit, out=leads)
    step = np.float32(recording.step)
    np.rint(leads / step, out=leads)
    leads *= step


def _response(recording: Recording, samples: int, rate: float) -> NDArray[np.complex64]:
    """Return what the recorder does to each frequency: a first-order high-pass, a fourth-order low-pass without phase."""
    f = np.fft.rfftfreq(samples, 1 / rate)
    ratio = f / recording.high_pass
    high = ratio**4 / (1 + ratio**4) if recording.zero_phase else 1j * ratio / (1 + 1j * ratio)
    if not recording.zero_phase:
        high[0] = 0.0
    # Whatever the filter, nothing may be left near half the sampling rate, or it would have folded.
    return (high / np.sqrt(1 + (f / recording.low_pass) ** 8 + (f / (0.46 * rate)) ** 40)).astype(np.complex64)
