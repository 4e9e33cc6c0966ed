"""Another sampling rate, without aliasing."""

from fractions import Fraction
from functools import lru_cache

import numpy as np

from ecgclip.errors import UserError

PASSED = 0.75  # Of the lower band: kept as it is. From there to its end the response falls to nothing.
PASSED_UPWARDS = 0.9  # The same where the rate rises: nothing can fold back, and the samples are to keep their values.
FINEST = 1000  # Largest number in the ratio of two rates.


def resample(signal: np.ndarray, from_rate: float, to_rate: float, low_pass: float | None = None) -> np.ndarray:
    """Resample by way of the spectrum.

    The cosine series of a signal (DCT-I) is the spectrum of the signal and its mirror image, which join without a jump at either end. It
    is cut where the lower rate ends. The response is 1 up to 0.75 of the new Nyquist frequency (0.9 of the old one where the rate
    rises), then half a cosine down to 0 at that frequency: nothing folds back, and no phase moves.

    Args:
        signal: ``(..., T)`` float, finite, T at least 1.
        from_rate: Hz of ``signal``.
        to_rate: Hz wanted.
        low_pass: Hz of -3 dB of a low-pass filter beside it (the magnitude of a Butterworth filter of fourth order), or None.

    Returns:
        ``(..., ceil(T * to_rate / from_rate))`` of the same dtype; ``signal`` itself where there is nothing to do. An electrode's offset
        stays one to the very ends of the record.

    Raises:
        UserError: When the two rates are more than a factor of about a thousand apart: one of them is not that of an ECG.
    """
    ratio = rate_ratio(from_rate, to_rate)
    if ratio == 1 and low_pass is None:
        return signal
    from scipy.fft import dct, idct  # A moment that reading at the same rate need not wait for.

    up, down = ratio.numerator, ratio.denominator
    samples = signal.shape[-1]
    wanted = -(-samples * up // down)
    # Both grids begin together and must end together: after a whole number of periods of the ratio.
    periods = _periods(max(-(-(wanted - 1) // up), -(-(samples - 1) // down), 1))
    before, after = periods * down + 1, periods * up + 1
    if before > samples:
        signal = np.pad(signal, [(0, 0)] * (signal.ndim - 1) + [(0, before - samples)], mode="reflect" if samples > 1 else "edge")
    spectrum = dct(signal, 1, norm="forward")[..., :after]
    spectrum *= _response(spectrum.shape[-1], from_rate / (2 * periods * down), ratio, low_pass, from_rate).astype(signal.dtype)
    if before < after:
        longer = np.zeros((*spectrum.shape[:-1], after), spectrum.dtype)
        longer[..., :before] = spectrum
        spectrum = longer
    return np.ascontiguousarray(idct(spectrum, 1, norm="forward", overwrite_x=True)[..., :wanted])


@lru_cache(maxsize=64)
def rate_ratio(from_rate: float, to_rate: float) -> Fraction:
    """Return ``to_rate / from_rate`` as a fraction of small numbers.

    Raises:
        UserError: When there is none.
    """
    ratio = (Fraction(to_rate) / Fraction(from_rate)).limit_denominator(FINEST)
    if ratio > FINEST or not np.isclose(float(ratio) * from_rate, to_rate, rtol=1e-4, atol=0):
        raise UserError(f"sampling rate {from_rate:g} Hz cannot be brought to {to_rate:g} Hz: check what the file says")
    return ratio


@lru_cache(maxsize=256)
def _periods(least: int) -> int:
    """Return the next number of periods with small prime factors, which the transform is quick at."""
    from scipy.fft import next_fast_len

    return int(next_fast_len(least, real=True))


@lru_cache(maxsize=64)
def _response(length: int, spacing: float, ratio: Fraction, low_pass: float | None, from_rate: float) -> np.ndarray:
    """Return the gain at ``length`` frequencies, ``spacing`` Hz apart."""
    frequencies = np.arange(length) * spacing
    response = np.ones(length)
    if ratio != 1:
        nyquist = from_rate / 2 * min(float(ratio), 1.0)
        passed = PASSED if ratio < 1 else PASSED_UPWARDS
        falling = np.clip((frequencies / nyquist - passed) / (1 - passed), 0.0, 1.0)
        response = 0.5 + 0.5 * np.cos(np.pi * falling)
    return response if low_pass is None else response / np.sqrt(1 + (frequencies / low_pass) ** 8)
