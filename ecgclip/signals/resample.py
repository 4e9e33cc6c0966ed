"""Another sampling rate, without aliasing."""

from fractions import Fraction

import numpy as np


def resample(signal: np.ndarray, from_rate: float, to_rate: float) -> np.ndarray:
    """Resample with a polyphase low-pass filter.

    Args:
        signal: ``(..., T)`` float, finite.
        from_rate: Hz of ``signal``.
        to_rate: Hz wanted.

    Returns:
        ``(..., ceil(T * to_rate / from_rate))`` of the same dtype. A straight line stays one to its very ends: an electrode's
        offset would else ring where the record begins and ends.
    """
    ratio = (Fraction(to_rate) / Fraction(from_rate)).limit_denominator(1000)
    if ratio == 1:
        return signal
    from scipy.signal import resample_poly  # Half a second that reading at the same rate need not wait for.

    resampled = resample_poly(signal.astype(np.float64), ratio.numerator, ratio.denominator, axis=-1, padtype="line")
    return np.asarray(resampled, signal.dtype)
