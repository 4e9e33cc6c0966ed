"""Batches of ECGs on their device: disturbances and random crops for training, windows, resampling and a high-pass filter."""

import math
from fractions import Fraction
from functools import lru_cache
from numbers import Real

import torch
import torch.nn.functional as F
from torch import Tensor

from ecgclip.errors import UserError
from ecgclip.signals.leads import LEADS
from ecgclip.signals.random import normal, uniform

# One stream of random numbers per purpose.
_CROP, _RECORD, _NOISE, _WANDER, _DROP = range(5)
_PURPOSES = 5

# Eight leads are measured, four follow: III = II - I (Einthoven), aVR = -(I + II) / 2, aVL = I - II / 2, aVF = II - I / 2 (Goldberger).
_MEASURED = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
_DERIVED = {"III": (-1.0, 1.0), "aVR": (-0.5, -0.5), "aVL": (1.0, -0.5), "aVF": (-0.5, 1.0)}

_LIMITS = {"gain": 0.1, "noise_mv": 0.1, "wander_mv": 0.5, "lead_dropout": 1.0}
_MAX_DROPPED = 3
_SINUSOIDS = 3
_WANDER_BAND = (0.05, 0.5)  # Hz: breathing, and electrodes that drift.
_MUSCLE_FROM = 20.0  # Hz: where surface electromyograms have their power.
_BURST_BAND = (0.2, 1.0)  # Hz: how fast muscle noise swells and ebbs.
_MAX_CUTOFF = 0.67  # Hz.


class Augmentation:
    """What training does to its ECGs: a random crop, another gain, noise, baseline wander and missing leads.

    Every draw is a function of (seed, epoch, record): a resumed run replays it, and the batch around a record does not matter. The
    bounds keep findings what they are: amplitudes change by 10 % at most, since low and high voltage are findings, and no record is
    normalised. Disturbances arise in I, II and V1-V6 and reach the other limb leads as they would from the electrodes, so that
    I + III = II holds afterwards where it held before.

    Args:
        crop_seconds: Length of the crop. None, or more than the record has: the whole record.
        gain: A record is multiplied by one number from [1 - gain, 1 + gain]; at most 0.1.
        noise_mv: Largest RMS of the noise in a measured lead, 0 to 0.1 mV. Each record draws its level up to there, and its mixture
            of white noise and muscle noise (above 20 Hz, in bursts).
        wander_mv: Largest excursion of the baseline in a measured lead, 0 to 0.5 mV: sinusoids of 0.05 to 0.5 Hz.
        lead_dropout: Probability that a record loses 1 to 3 leads. One lead always stays.

    Raises:
        UserError: For an argument that is not a number in its range.
    """

    def __init__(
        self,
        crop_seconds: float | None = None,
        gain: float = 0.1,
        noise_mv: float = 0.02,
        wander_mv: float = 0.1,
        lead_dropout: float = 0.1,
    ) -> None:
        if crop_seconds is not None and not (_is_number(crop_seconds) and 0 < crop_seconds < math.inf):
            raise UserError(f"augmentation: crop_seconds {crop_seconds!r} is no length: give seconds above 0, or null for whole records")
        given = {"gain": gain, "noise_mv": noise_mv, "wander_mv": wander_mv, "lead_dropout": lead_dropout}
        for name, value in given.items():
            if not (_is_number(value) and 0 <= value <= _LIMITS[name]):
                why = ", since low and high voltage are findings" if name == "gain" else ""
                raise UserError(f"augmentation: {name} {value!r} is out of range: give a number from 0 to {_LIMITS[name]:g}{why}")
        self.crop_seconds, self.gain, self.noise_mv = crop_seconds, gain, noise_mv
        self.wander_mv, self.lead_dropout = wander_mv, lead_dropout

    def __call__(
        self, ecg: Tensor, lead_mask: Tensor, record: Tensor, sampling_rate: float, *, seed: int, epoch: int, view: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Crop and disturb a batch.

        Args:
            ecg: ``(B, 12, T)`` float32, mV; it is not changed.
            lead_mask: ``(B, 12)`` bool, false where a lead is missing.
            record: ``(B,)`` int64, the records' numbers in their data set.
            sampling_rate: Hz of ``ecg``.
            seed: Of the run.
            epoch: Of the training.
            view: Each has draws of its own: another crop and other disturbances of the same records.

        Returns:
            ``(B, 12, t)`` float32 in mV, zero where a lead is missing, and the mask ``(B, 12)`` bool.

        Raises:
            UserError: When the sampling rate is no positive number, or the crop is shorter than one sample.
        """
        _check_rates("augmentation", sampling_rate)
        length = ecg.shape[2]
        if self.crop_seconds is not None:
            length = min(length, round(self.crop_seconds * sampling_rate))
            if length == 0:
                raise UserError(
                    f"augmentation: crop_seconds {self.crop_seconds:g} holds no sample at {sampling_rate:g} Hz: take longer crops"
                )
        first = view * _PURPOSES
        ecg = _crop(ecg, length, uniform(seed, epoch, record, first + _CROP))
        gain, level, *mixture, excursion = uniform(seed, epoch, record, first + _RECORD, 6)[:, :, None, None].unbind(1)
        ecg = ecg * (1 + self.gain * (2 * gain - 1))
        noise = _colour(normal(seed, epoch, record, first + _NOISE, len(_MEASURED), length), sampling_rate, *mixture)
        wander = _wander(uniform(seed, epoch, record, first + _WANDER, 1 + 2 * len(_MEASURED), _SINUSOIDS), length, sampling_rate)
        ecg = ecg + _lead_matrix(ecg.device) @ (self.noise_mv * level * noise + self.wander_mv * excursion * wander)
        lead_mask = _drop(lead_mask, self.lead_dropout, uniform(seed, epoch, record, first + _DROP, 2 + len(LEADS)))
        return ecg * lead_mask.unsqueeze(2), lead_mask


def windows(ecg: Tensor, length: int, *, stride: int) -> Tensor:
    """Cut ECGs into windows of equal length that cover them.

    Args:
        ecg: ``(B, 12, T)``.
        length: Samples in a window.
        stride: Samples from one window to the next. The last window is aligned to the end, so it may lie nearer.

    Returns:
        ``(B, W, 12, length)``; an ECG that is shorter than a window is padded with zeros at its end and gives one.

    Raises:
        UserError: When the length or the stride is below one sample.
    """
    if length < 1 or stride < 1:
        raise UserError(f"windows of {length} samples every {stride} cover nothing: both must be at least one sample")
    ecg = F.pad(ecg, (0, max(0, length - ecg.shape[2])))
    last = ecg.shape[2] - length
    starts = [*range(0, last, stride), last]
    return torch.stack([ecg[:, :, start : start + length] for start in starts], dim=1)


def resample(ecg: Tensor, from_rate: float, to_rate: float) -> Tensor:
    """Change the sampling rate without aliasing.

    A polyphase low-pass filter (Kaiser window, beta 5, ten periods of the lower rate to either side): what
    ``scipy.signal.resample_poly`` does with ``padtype="edge"``, as one strided convolution with a channel per phase. Ends go on with
    their last value, so that an ECG with an offset is not pulled towards zero there.

    Args:
        ecg: ``(..., T)`` float.
        from_rate: Hz of ``ecg``.
        to_rate: Hz wanted. Ratios are rounded to fractions with a denominator of at most 1000.

    Returns:
        ``(..., ceil(T * to_rate / from_rate))``; ``ecg`` itself where the rates are equal.

    Raises:
        UserError: When a rate is no positive number, or they are more than a thousand times apart.
    """
    _check_rates("resampling", from_rate, to_rate)
    ratio = (Fraction(float(to_rate)) / Fraction(float(from_rate))).limit_denominator(1000)
    if not 0 < ratio <= 1000:
        raise UserError(f"resampling from {from_rate:g} to {to_rate:g} Hz: the rates are too far apart, check the record's")
    up, down = ratio.numerator, ratio.denominator
    if up == down:
        return ecg
    phases, before = _polyphase(up, down)
    wanted = -(-ecg.shape[-1] * up // down)
    steps = -(-wanted // up)
    after = max(0, (steps - 1) * down + phases.shape[2] - before - ecg.shape[-1])
    padded = F.pad(ecg.reshape(-1, 1, ecg.shape[-1]), (before, after), mode="replicate")
    out = F.conv1d(padded, phases.to(padded), stride=down)
    return out.transpose(1, 2).reshape(*ecg.shape[:-1], -1)[..., :wanted]


def highpass(ecg: Tensor, sampling_rate: float, cutoff: float = 0.5) -> Tensor:
    """Remove baseline wander without moving a wave in time.

    The amplitude response of a second-order Butterworth filter, -3 dB at ``cutoff``, with no phase. The record and its mirror image
    make one period of a continuous signal, so that neither end rings.

    Args:
        ecg: ``(..., T)`` float, mV.
        sampling_rate: Hz.
        cutoff: Hz, at most 0.67: above that, even a filter without phase distorts ST segments (AHA/ACC/HRS recommendations, part I:
            Kligfield et al., Circulation 2007;115:1306).

    Returns:
        The same shape.

    Raises:
        UserError: When the cutoff is not above 0 and at most 0.67 Hz, or the sampling rate no positive number.
    """
    _check_rates("high-pass filter", sampling_rate)
    if not (_is_number(cutoff) and 0 < cutoff <= _MAX_CUTOFF):
        raise UserError(
            f"high-pass filter: a cutoff of {cutoff!r} Hz is out of range: take more than 0 and at most 0.67, or ST segments change"
        )
    mirrored = torch.cat((ecg, ecg.flip(-1)), dim=-1)
    frequency = torch.fft.rfftfreq(mirrored.shape[-1], 1 / sampling_rate, device=ecg.device)
    power = (frequency / cutoff) ** 4
    response = (power / (1 + power)).sqrt()
    return torch.fft.irfft(torch.fft.rfft(mirrored) * response, n=mirrored.shape[-1])[..., : ecg.shape[-1]]


def _crop(ecg: Tensor, length: int, draw: Tensor) -> Tensor:
    """Cut ``(B, 12, length)`` out of each record, its start given by ``draw``, ``(B,)`` in [0, 1)."""
    last = ecg.shape[2] - length
    if last == 0:
        return ecg
    # A draw next to 1 times a large number may round up to it.
    start = (draw * (last + 1)).long().clamp(max=last)
    where = start[:, None, None] + torch.arange(length, device=ecg.device)
    return ecg.gather(2, where.expand(-1, ecg.shape[1], -1))


def _colour(white: Tensor, sampling_rate: float, share: Tensor, pace: Tensor, phase: Tensor) -> Tensor:
    """Turn white noise ``(B, 8, t)`` of RMS 1 into a mixture with muscle noise whose RMS is nowhere above 1.

    Args:
        white: ``(B, 8, t)``.
        sampling_rate: Hz.
        share: ``(B, 1, 1)`` in [0, 1), of muscle noise.
        pace: ``(B, 1, 1)`` in [0, 1), where the rate of its bursts lies in their band.
        phase: ``(B, 1, 1)`` in [0, 1), of the bursts.
    """
    # Muscle noise is what a moving average leaves; it has 1 - 1 / width of the power.
    width = max(3, 2 * round(sampling_rate / _MUSCLE_FROM / 2) + 1)
    mean = F.avg_pool1d(white, width, stride=1, padding=width // 2, count_include_pad=False)
    time = torch.arange(white.shape[2], device=white.device) / sampling_rate
    slow, fast = _BURST_BAND
    bursts = 0.5 + 0.5 * (2 * math.pi * ((slow + (fast - slow) * pace) * time + phase)).cos()
    muscle = share * bursts / math.sqrt(1 - 1 / width)
    return (1 - share + muscle) * white - muscle * mean


def _wander(draws: Tensor, length: int, sampling_rate: float) -> Tensor:
    """Sum sinusoids whose frequencies a record's leads share, with amplitude and phase of each lead's own; within [-1, 1].

    Args:
        draws: ``(B, 17, sinusoids)`` in [0, 1): the frequency, then eight amplitudes and eight phases.
        length: Samples.
        sampling_rate: Hz.
    """
    position, amplitude, phase = draws.split((1, len(_MEASURED), len(_MEASURED)), dim=1)
    slow, fast = _WANDER_BAND
    time = torch.arange(length, device=draws.device) / sampling_rate
    angle = 2 * math.pi * (slow + (fast - slow) * position.transpose(1, 2)) * time
    amplitude, phase = amplitude / _SINUSOIDS, 2 * math.pi * phase
    # a sin(x + p) = a cos(p) sin(x) + a sin(p) cos(x): six sinusoids a record to compute, not twenty-four.
    return torch.cat((amplitude * phase.cos(), amplitude * phase.sin()), 2) @ torch.cat((angle.sin(), angle.cos()), 1)


def _drop(lead_mask: Tensor, probability: float, draws: Tensor) -> Tensor:
    """Take 1 to 3 present leads away with a probability, never the last one.

    Args:
        lead_mask: ``(B, 12)`` bool.
        probability: Of a loss, per record.
        draws: ``(B, 14)`` in [0, 1): whether, how many, and a rank for each lead.
    """
    count = 1 + (draws[:, 1] * _MAX_DROPPED).long()
    count = count.minimum(lead_mask.sum(1) - 1) * (draws[:, 0] < probability)
    rank = draws[:, 2:].masked_fill(~lead_mask, 2.0).argsort(1).argsort(1)
    return lead_mask & (rank >= count.unsqueeze(1))


@lru_cache(maxsize=8)
def _lead_matrix(device: torch.device) -> Tensor:
    """Return ``(12, 8)``: every lead as a sum of the measured ones."""
    rows = [[*_DERIVED[lead], *[0.0] * 6] if lead in _DERIVED else [float(lead == one) for one in _MEASURED] for lead in LEADS]
    return torch.tensor(rows, device=device)


@lru_cache(maxsize=32)
def _polyphase(up: int, down: int) -> tuple[Tensor, int]:
    """Return the resampling filter by phase and how many samples it looks back.

    Sample ``n = q up + p`` of the output is ``sum_k x[k] h[n down - k up]``; with ``k = q down + j`` the weights depend on the phase
    ``p`` and on ``j`` alone: ``h[p down - j up]``.

    Returns:
        ``(up, 1, taps)`` float64 and the number of taps before sample ``q down``.
    """
    slower = max(up, down)
    half = 10 * slower
    offset = torch.arange(-half, half + 1, dtype=torch.float64)
    taps = torch.sinc(offset / slower) * torch.kaiser_window(2 * half + 1, periodic=False, beta=5.0, dtype=torch.float64)
    taps *= up / taps.sum()
    before, after = half // up, (half + (up - 1) * down) // up
    index = torch.arange(up)[:, None] * down - torch.arange(-before, after + 1) * up
    phases = torch.where(index.abs() <= half, taps[(index + half).clamp(0, 2 * half)], 0.0)
    return phases.unsqueeze(1), before


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _check_rates(where: str, *rates: float) -> None:
    for rate in rates:
        if not (_is_number(rate) and 0 < rate < math.inf):
            raise UserError(f"{where}: a sampling rate of {rate!r} Hz is impossible: check where it was read or set")
