"""Filters that move no wave in time: baseline and mains, for all leads at once.

One tool does both: the smoothest curve near a signal (Whittaker 1923, Proc Edinb Math Soc 41:63). It minimises
``sum (x - z)^2 + weight * sum (second difference of z)^2``, which within a record is a low-pass filter with the response
``1 / (1 + (f / corner)^4)``, a Butterworth filter of second order run forwards and backwards. It ends where the record ends, on a straight
line, and needs no samples from beyond: an offset or a drift rings at neither end.
"""

from functools import lru_cache

import numpy as np

HIGH_PASS = 0.5  # Hz of -3 dB. Without phase, up to 0.67 Hz leaves ST segments alone (Kligfield et al. 2007, Circulation 115:1306).
LOW_PASS = 150.0  # Hz of -3 dB, what the same recommendations ask for in adults.
NOTCH = 0.7  # Hz to either side of the mains frequency at which half of the amplitude is left.
# Where 1 / (1 + r^4) takes away all but the square root of a half.
_CORNER = HIGH_PASS / (1 / (np.sqrt(2) - 1)) ** 0.25


def baseline(signal: np.ndarray, sampling_rate: float) -> np.ndarray:
    """Return what lies below the high-pass filter: an electrode's offset, breathing, movement.

    Args:
        signal: ``(leads, T)`` float, mV, finite.
        sampling_rate: Hz.

    Returns:
        ``(leads, T)`` float64, mV: subtract it.
    """
    return _smooth(signal, sampling_rate, _CORNER)


def without_mains(signal: np.ndarray, sampling_rate: float, mains: float) -> np.ndarray:
    """Take out one frequency whose strength changes slowly.

    The signal is turned back by the mains frequency, so that mains stand still; what is smooth there is mains.

    Args:
        signal: ``(leads, T)`` float, mV, finite.
        sampling_rate: Hz; where it cannot hold the mains frequency there is nothing to take out.
        mains: 50 or 60 Hz.

    Returns:
        ``(leads, T)`` float64, mV.
    """
    leads, samples = signal.shape
    # Means over about one period: at 50 Hz from 500 Hz exactly one, in which neither an offset nor twice the frequency leaves anything.
    size = int(sampling_rate / mains)
    blocks = samples // size if size else 0
    if 2 * mains > sampling_rate or blocks < 3:
        return signal.astype(np.float64)
    inside = np.exp(-2j * np.pi * mains / sampling_rate * np.arange(size))
    to_block = np.exp(-2j * np.pi * mains / sampling_rate * size * np.arange(-1, blocks + 2))
    centred = signal - signal.mean(-1, keepdims=True, dtype=np.float64)
    cut = centred[:, : blocks * size].reshape(-1, size)
    means = (cut @ np.stack([inside.real, inside.imag], axis=1)).reshape(leads, blocks, 2) @ [1, 1j] * to_block[1:-2] / size
    smooth = _smooth(np.concatenate([means.real, means.imag]), sampling_rate / size, NOTCH)
    strength = smooth[:leads] + 1j * smooth[leads:]
    # On both sides it goes on as it ended, one block before and two after, so that every sample lies between the middles of two blocks.
    first, last = strength[:, :1], strength[:, -1:]
    rise = last - strength[:, -2:-1]
    strength = np.concatenate([2 * first - strength[:, 1:2], strength, last + rise, last + 2 * rise], axis=1)
    return signal - _turned_back(strength, to_block, inside, mains * 2 == sampling_rate)[:, :samples]


def _turned_back(strength: np.ndarray, to_block: np.ndarray, inside: np.ndarray, alone: bool) -> np.ndarray:
    """Return the wave whose complex strength is known in the middle of each block, linear in between, ``(leads, samples)``.

    Args:
        strength: ``(leads, blocks)`` complex, from one block before the record on.
        to_block: ``(blocks,)`` what turns the first sample of each block to phase 0.
        inside: ``(size,)`` the same from there on to each sample of a block.
        alone: At the Nyquist frequency; a lower one has a twin of negative frequency, which carries the other half of the amplitude.
    """
    size, half = len(inside), len(inside) // 2
    share = (np.arange(size) + half - (size - 1) / 2) / size
    # From the middle of a block to that of the next.
    turn = np.conj(inside * inside[half] if half else inside)
    start, rise = strength[:, :-1] * np.conj(to_block[:-1]), np.diff(strength, axis=1) * np.conj(to_block[:-1])
    parts = np.stack([start.real, -start.imag, rise.real, -rise.imag], axis=-1)
    waves = np.stack([turn.real, turn.imag, share * turn.real, share * turn.imag]) * (1.0 if alone else 2.0)
    return np.asarray((parts @ waves).reshape(len(strength), -1)[:, size - half :])


def _smooth(signal: np.ndarray, sampling_rate: float, corner: float) -> np.ndarray:
    """Return the smoothest curve near ``(rows, n)``; half of the amplitude is left at ``corner`` Hz."""
    samples = signal.shape[-1]
    if samples < 3:
        return signal.astype(np.float64)
    from scipy.linalg.lapack import dpbtrs

    factor = _factor(samples, float(sampling_rate), corner)
    smooth, _ = dpbtrs(factor, np.array(signal, np.float64, order="C").T, lower=1)
    return np.ascontiguousarray(smooth.T)


@lru_cache(maxsize=16)
def _factor(samples: int, sampling_rate: float, corner: float) -> np.ndarray:
    """Return the banded Cholesky factor of ``1 + weight * D'D``, D being second differences."""
    from scipy.linalg import cholesky_banded

    # The response of D at the corner, exactly: 2 sin(pi f / rate), squared.
    weight = (2 * np.sin(np.pi * min(corner / sampling_rate, 0.5))) ** -4
    bands = np.zeros((3, samples))
    for row in ((0, 1.0), (1, -2.0), (2, 1.0)):
        for other in ((0, 1.0), (1, -2.0), (2, 1.0)):
            if (step := row[0] - other[0]) >= 0:
                bands[step, other[0] : samples - 2 + other[0]] += row[1] * other[1]
    bands *= weight
    bands[0] += 1.0
    return np.asarray(cholesky_banded(bands, lower=True))
