"""Random draws that are functions of (seed, epoch, record, stream, position), on any device.

A generator with a state gives a record other noise when the batch around it, the number of processes or the moment of a resumption
changes. Here nothing has a state: a hash of the five numbers is the draw. The CPU and a GPU compute the same bits.
"""

import math

import torch
from torch import Tensor

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_MIX_A, _MIX_B = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def uniform(seed: int, epoch: int, record: Tensor, stream: int, *shape: int) -> Tensor:
    """Draw uniformly from [0, 1).

    Args:
        seed: Of the run.
        epoch: Of the training.
        record: ``(B,)`` int64, the record's number in its data set; the draws lie on its device.
        stream: What the draw is for: one number per purpose, so that purposes are independent.
        shape: Of one record's draw; none for a single number.

    Returns:
        ``(B, *shape)`` float32, multiples of 2^-24. A row depends on its record alone, not on the batch.
    """
    return (_words(seed, epoch, record, stream, shape).float() + 2.0**23).mul_(2.0**-24)


def normal(seed: int, epoch: int, record: Tensor, stream: int, *shape: int) -> Tensor:
    """Draw from the standard normal distribution; see :func:`uniform` for the arguments.

    By the inverse of the distribution function: cheaper on a CPU than the logarithm, sine and cosine of Box and Muller.

    Returns:
        ``(B, *shape)`` float32, at most 5.3 in magnitude. Devices agree up to the rounding of ``erfinv``.
    """
    # 24 bits centred on zero: k + 1/2 is exact in float32, and neither end is reached, where the inverse is infinite.
    return _words(seed, epoch, record, stream, shape).float().add_(0.5).mul_(2.0**-23).erfinv_().mul_(math.sqrt(2.0))


def _words(seed: int, epoch: int, record: Tensor, stream: int, shape: tuple[int, ...]) -> Tensor:
    """Return ``(B, *shape)`` int32 in [-2^23, 2^23), uniform.

    A 64-bit mix makes a key per record. Positions then cost 32-bit operations only, since CPUs multiply 64-bit integers one by one:
    a counter and half of the key through two rounds of Wellons' ``triple32`` (github.com/skeeto/hash-prospector), the other half of
    the key before the third, so that two records never run through the same sequence shifted.
    """
    state = 0
    for number in (seed, epoch, stream):
        state = _mix(state ^ (number & _MASK))
    key = _mix_tensor(record.to(torch.int64) ^ _signed(state))
    low, high = (half.to(torch.int32).unsqueeze(1) for half in (key, key >> 32))
    position = torch.arange(math.prod(shape), dtype=torch.int32, device=record.device)
    word = position * _signed(0x9E3779B9, 32) + low
    word = _round(word, 17, 0xED5AD4BB)
    word = _round(word, 11, 0xAC4C1B51)
    word = _round(word.add_(high), 15, 0x31848BAB)
    # The high bits of a product are its best; the arithmetic shift keeps the sign.
    return (word >> 8).reshape(len(record), *shape)


def _round(word: Tensor, shift: int, factor: int) -> Tensor:
    # torch shifts int32 arithmetically: the mask clears the copies of the sign.
    moved = (word >> shift).bitwise_and_((1 << (32 - shift)) - 1)
    return word.bitwise_xor_(moved).mul_(_signed(factor, 32))


def _mix(number: int) -> int:
    """SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), one step from the state ``number``."""
    number = (number + _GOLDEN) & _MASK
    number = ((number ^ (number >> 30)) * _MIX_A) & _MASK
    number = ((number ^ (number >> 27)) * _MIX_B) & _MASK
    return number ^ (number >> 31)


def _mix_tensor(number: Tensor) -> Tensor:
    """:func:`_mix` for int64 tensors, whose sums and products wrap."""
    number = number + _signed(_GOLDEN)
    for shift, factor in ((30, _MIX_A), (27, _MIX_B)):
        number = (number ^ ((number >> shift) & ((1 << (64 - shift)) - 1))) * _signed(factor)
    return number ^ ((number >> 31) & ((1 << 33) - 1))


def _signed(number: int, bits: int = 64) -> int:
    return number - (1 << bits) if number >> (bits - 1) else number
