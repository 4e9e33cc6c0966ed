"""What a recorder adds: wander, muscle and mains, as small as in a good recording."""

import numpy as np
from numpy.typing import NDArray

from ecgclip.simulation.draws import Draws


def draw(draws: Draws, samples: int, sampling_rate: float) -> NDArray[np.float32]:
    """Draw the noise of one record.

    It is that of eight independent leads, added before the other four are derived, so that Einthoven's law holds with it.

    Args:
        draws: The record's random numbers.
        samples: Length T.
        sampling_rate: Hz.

    Returns:
        ``(8, T)`` float32, mV.
    """
    muscle = np.float32(0.003 * 8.0 ** draws.unit())
    out = draws.rng.standard_normal((8, samples), dtype=np.float32)
    out *= muscle
    t = np.arange(samples, dtype=np.float32) / np.float32(sampling_rate)
    rows, heights = [], []
    for low, high, size in ((0.05, 0.15, 0.07), (0.15, 0.35, 0.04), (0.35, 0.6, 0.015)):
        rows.append(np.sin(np.float32(2 * np.pi * draws.between(low, high)) * t + np.float32(6.2832 * draws.unit())))
        heights.append(size)
    mains = draws.choice((50.0, 60.0))  # east and west of Japan
    if mains < 0.45 * sampling_rate:  # A recorder's own filter takes the rest out.
        rows.append(np.sin(np.float32(2 * np.pi * mains) * t + np.float32(6.2832 * draws.unit())))
        heights.append(0.006)
    weights = np.array([[draws.between(-1, 1) for _ in rows] for _ in range(8)]) * heights
    out += weights.astype(np.float32) @ np.array(rows, np.float32)
    return out
