"""How fast records are made, on one core and on two, and whether memory stays the same however many there are."""

import multiprocessing
import time
from dataclasses import dataclass

from tqdm import tqdm

from ecgclip.simulation import draw_label_sets, simulate

RATES = (100.0, 500.0)  # Hz
WORKERS = (1, 2)
SECONDS = 10.0
CHUNK = 64  # Records that a worker holds at a time.
TIMES = 4  # As many records again, for memory.
FLAT = 1.1  # Growth of peak memory that is none.


@dataclass(frozen=True)
class Pace:
    """Records per second, all layers on, 10 s each.

    Attributes:
        sampling_rate: Hz.
        workers: Processes.
        per_second: Records, of all processes together.
    """

    sampling_rate: float
    workers: int
    per_second: float


@dataclass(frozen=True)
class Memory:
    """Peak memory of a process of its own.

    Attributes:
        few, many: Numbers of records.
        few_mb, many_mb: Its peak for each, MB.
    """

    few: int
    many: int
    few_mb: float
    many_mb: float

    @property
    def flat(self) -> bool:
        """Whether more records need no more memory."""
        return self.many_mb <= FLAT * self.few_mb


def paces(records: int, seed: int = 0) -> list[Pace]:
    """Measure every rate with every number of workers.

    Args:
        records: That each measurement makes, with labels as frequent as in a hospital.
        seed: Of labels and records.
    """
    cases = [(rate, workers) for rate in RATES for workers in WORKERS]
    return [_pace(rate, workers, records, seed) for rate, workers in tqdm(cases, desc="speed", unit="case")]


def _pace(sampling_rate: float, workers: int, records: int, seed: int) -> Pace:
    shares = [(len(range(worker, records, workers)), seed + worker * records, sampling_rate) for worker in range(workers)]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        # Importing and drawing the first record is not what is measured.
        pool.map(stream, [(1, seed, sampling_rate)] * workers, chunksize=1)
        start = time.perf_counter()
        made = sum(pool.map(stream, shares, chunksize=1))
        return Pace(sampling_rate, workers, made / (time.perf_counter() - start))


def stream(share: tuple[int, int, float]) -> int:
    """Make records a chunk at a time and let them go, as a data loader does.

    Args:
        share: How many, the first seed, and the sampling rate in Hz.

    Returns:
        How many were made.
    """
    records, seed, sampling_rate = share
    label_sets = draw_label_sets(records, seed, "hospital")
    made = 0
    for start in range(0, records, CHUNK):
        chunk = label_sets[start : start + CHUNK]
        made += len(simulate(chunk, range(seed + start, seed + start + len(chunk)), sampling_rate=sampling_rate, seconds=SECONDS))
    return made


def memory(records: int, seed: int = 0) -> Memory:
    """Compare the peak memory for ``records`` and for four times as many, at the highest rate, each in a process of its own."""
    many = TIMES * records
    return Memory(records, many, *(_peak(number, seed) for number in (records, many)))


def _peak(records: int, seed: int) -> float:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return float(pool.apply(_stream_and_weigh, ((records, seed, RATES[-1]),)))


def _stream_and_weigh(share: tuple[int, int, float]) -> float:
    import resource
    import sys

    stream(share)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
