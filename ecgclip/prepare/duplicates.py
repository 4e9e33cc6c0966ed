"""One recording that is there twice: under two names, in two formats, or under two patients."""

from array import array
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np

BITS, BANDS = 63, 3
_WIDTH = BITS // BANDS
_POINTS = 256  # Samples of the sketch.
_LEADS = (1, 6, 10)  # II, V1, V5: three views that differ.
_LOOKED_AT = 32  # Where more sketches agree than this, they are of something that all records share, such as a test signal.
SAME = 0.995  # Correlation. Two exports of one recording differ by rounding, rate and filter; two beats of one heart by more.


def sketch(signal: np.ndarray) -> int:
    """Return a number that two exports of one recording have nearly in common, bit by bit.

    Signs of random projections (Charikar 2002, doi:10.1145/509907.509965) of three leads, smoothed and without their mean: the gain, an
    offset and rounding do not change them.

    Args:
        signal: ``(12, T)`` int16 or float.

    Returns:
        A number of 63 bits.

    """
    return int((_projections() @ _view(signal) > 0) @ (1 << np.arange(BITS, dtype=np.int64)))


class _Band:
    """The first numbers of each key, as chains in arrays: lists in a dictionary would take ten times the memory.

    More than are looked at need not be kept.
    """

    def __init__(self) -> None:
        self._last = np.full(1 << _WIDTH, -1, np.int32)  # Entry of a key that was added last.
        self._count = np.zeros(1 << _WIDTH, np.uint8)
        self._numbers, self._before = array("i"), array("i")

    def add(self, key: int, number: int) -> None:
        if self._count[key] < _LOOKED_AT:
            self._numbers.append(number)
            self._before.append(int(self._last[key]))
            self._last[key] = len(self._numbers) - 1
            self._count[key] += 1

    def get(self, key: int) -> Iterator[int]:
        at = int(self._last[key])
        while at >= 0:
            yield self._numbers[at]
            at = self._before[at]


class Twins:
    """The recordings so far, and whether the next one is among them.

    Memory is 30 MB and 24 bytes a record. Two recordings are looked at closely when a third of their sketches is equal: by the angle
    between them, one pair in eight is missed at the correlation ``SAME``, and one in a thousand at 0.9999.
    """

    def __init__(self) -> None:
        self._bands = tuple(_Band() for _ in range(BANDS))

    def add(self, number: int, code: int) -> None:
        """Take a record in.

        Args:
            number: Of the record.
            code: Its :func:`sketch`.

        """
        for band, key in zip(self._bands, _keys(code), strict=True):
            band.add(key, number)

    def find(self, code: int, signal: np.ndarray, read: Callable[[int], np.ndarray]) -> int | None:
        """Return the number of an earlier record that is the same recording, or None.

        Args:
            code: Its :func:`sketch`.
            signal: ``(12, T)`` int16.
            read: Returns the signal of an earlier record, ``(12, T)`` int16, by its number.

        """
        near = sorted({number for band, key in zip(self._bands, _keys(code), strict=True) for number in band.get(key)})
        return next((number for number in near[:_LOOKED_AT] if same_recording(read(number), signal)), None)


def same_recording(one: np.ndarray, other: np.ndarray) -> bool:
    """Tell whether two signals are one recording, exported twice.

    Args:
        one: ``(12, T)``.
        other: ``(12, T)``.

    Returns:
        Whether they correlate above ``SAME``, over all leads together: a lead that is nearly flat is mostly rounding.

    """
    a = one - one.mean(1, keepdims=True, dtype=np.float64)
    b = other - other.mean(1, keepdims=True, dtype=np.float64)
    return bool((a * b).sum() > SAME * np.sqrt((a * a).sum() * (b * b).sum()) > 0)


def _keys(code: int) -> list[int]:
    return [(code >> (band * _WIDTH)) & ((1 << _WIDTH) - 1) for band in range(BANDS)]


def _view(signal: np.ndarray) -> np.ndarray:
    """Three leads, smoothed to a few hundred points, as one vector without mean; leads weigh the same."""
    step = max(1, signal.shape[1] // _POINTS)
    used = signal[list(_LEADS), : signal.shape[1] // step * step].astype(np.float32)
    points = used.reshape(len(_LEADS), -1, step).mean(2)[:, :_POINTS]
    points = np.pad(points, ((0, 0), (0, _POINTS - points.shape[1])), mode="edge")
    points -= points.mean(1, keepdims=True)
    return np.asarray(points / np.maximum(np.sqrt((points**2).sum(1, keepdims=True)), 1e-6)).ravel()


@cache
def _projections() -> np.ndarray:
    return np.random.default_rng(20250409).normal(size=(BITS, len(_LEADS) * _POINTS)).astype(np.float32)
