"""Another sampling rate, without aliasing."""

from fractions import Fraction

import numpy as np

from ecgclip.errors import UserError


def resample(signal: np.ndarray, from_rate: float, to_rate: float) -> np.ndarray:
    """Resample with a polyphase low-pass filter.

    Args:
        signal: ``(..., T)`` float, finite.
        from_rate: Hz of ``signal``.
        to_rate: Hz wanted.

    Returns:
        ``(..., ceil(T * to_rate / from_rate))`` of the same dtype. A straight line stays one to its very ends: an electrode's
        offset would else ring where the record begins and ends.

    Raises:
        UserError: When the two rates are more than a factor of about a thousand apart: one of them is not that of an ECG.
    """
    ratio = (Fraction(to_rate) / Fraction(from_rate)).limit_denominator(1000)
    if not np.isclose(float(ratio) * from_rate, to_rate, rtol=1e-4, atol=0):
        raise UserError(f"sampling rate {from_rate:g} Hz cannot be brought to {to_rate:g} Hz: check what the file says")
    if ratio == 1:
        return signal
    from scipy.signal import resample_poly  # Half a second that reading at the same rate need not wait for.

    resampled = resample_poly(signal.astype(np.float64), ratio.numerator, ratio.denominator, axis=-1, padtype="line")
    return np.asarray(resampled, signal.dtype)
