"""Whether each label shows what its textbook says, whether the leads fit each other, and whether two seeds are two people."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ecgclip.benchmark.simulator.criteria import Criterion, Reading, criteria
from ecgclip.errors import UserError
from ecgclip.signals import LEADS
from ecgclip.signals.measure import measure
from ecgclip.simulation import simulate

RATE = 500.0  # Hz: pacing spikes and QRS edges want it.
WANTED = 0.9  # Part of the records of a label that must meet its criteria: a ruler errs, too.
QUANTILES = (5, 25, 50, 75, 95)


@dataclass(frozen=True)
class Row:
    """One label, measured.

    Attributes:
        label: Its id.
        share: Part of its records that meet every criterion, 0 to 1.
        shows: The main measurement, as criteria.yaml names it.
        low, median, high: Its 5th, 50th and 95th percentile; NaN where it could not be measured.
        failing: Sentences that do not hold, with the part of the records that they fail in; the worst first.
        source: Of the criteria.
    """

    label: str
    share: float
    shows: str
    low: float
    median: float
    high: float
    failing: tuple[tuple[str, float], ...]
    source: str

    @property
    def met(self) -> bool:
        """Whether enough records meet the criteria."""
        return self.share >= WANTED


def validity(labels: Collection[str] | None = None, records: int = 50, seed: int = 0) -> list[Row]:
    """Render each label without noise and check it.

    Args:
        labels: Ids; all that have a criterion where it is None.
        records: Per label.
        seed: Of the first record; each label has the same people.

    Returns:
        A row per label, in the order of criteria.yaml.

    Raises:
        UserError: For a label without a criterion.
    """
    known = criteria()
    if unknown := sorted(set(labels or ()) - known.keys()):
        raise UserError(f"no criterion for {', '.join(unknown)}: known are {', '.join(known)}")
    chosen = [known[label] for label in known if labels is None or label in labels]
    bar = tqdm(chosen, desc="validity", unit="label")
    return [check(criterion, readings([criterion.label], records, seed)) for criterion in bar]


def readings(labels: Collection[str], records: int, seed: int) -> list[Reading]:
    """Render a set of labels without noise with seeds from ``seed`` on, and measure the records."""
    signals = simulate([frozenset(labels)] * records, range(seed, seed + records), sampling_rate=RATE, noise=False)
    return [Reading(measure(signal, RATE)) for signal in signals]


def check(criterion: Criterion, found: Sequence[Reading]) -> Row:
    """Check records against the criteria of a label, which need not be the one that they were rendered for."""
    failing = [criterion.failing(reading) for reading in found]
    values = np.array([criterion.main(reading) for reading in found])
    values = values[np.isfinite(values)]
    low, median, high = np.percentile(values, (5, 50, 95)).tolist() if len(values) else [float("nan")] * 3
    parts = [(sentence, float(np.mean([sentence in row for row in failing]))) for sentence in criterion.needs]
    worst = sorted(((sentence, part) for sentence, part in parts if part), key=lambda pair: -pair[1])
    share = float(np.mean([not row for row in failing]))
    return Row(criterion.label, share, criterion.shows, low, median, high, tuple(worst), criterion.source)


def lead_identities(signals: NDArray[np.floating]) -> float:
    """Return the greatest breach of Einthoven's and Goldberger's identities in ``(N, 12, T)`` mV, in uV."""
    lead = {name: signals[:, place].astype(np.float64) for place, name in enumerate(LEADS)}
    breaches = (
        lead["I"] + lead["III"] - lead["II"],
        lead["aVR"] + (lead["I"] + lead["II"]) / 2,
        lead["aVL"] - (lead["I"] - lead["III"]) / 2,
        lead["aVF"] - (lead["II"] + lead["III"]) / 2,
    )
    return float(1000 * max(np.abs(breach).max() for breach in breaches))


def likeness(signals: NDArray[np.floating], sampling_rate: float) -> NDArray[np.float64]:
    """Correlate the records' median beats, aligned on QRS, over all leads at once: every pair of records.

    Args:
        signals: ``(N, 12, T)`` mV.
        sampling_rate: Hz.

    Returns:
        ``(N * (N - 1) / 2,)`` correlations, of the records in which beats were found.
    """
    beats = [measure(signal, sampling_rate).median[:, 75:475] for signal in tqdm(signals, desc="median beats", unit="record")]
    flat = np.array([(beat - beat.mean(1, keepdims=True)).ravel() for beat in beats if np.isfinite(beat).all() and beat.any()])
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    return np.asarray((flat @ flat.T)[np.triu_indices(len(flat), 1)])


def quantiles(values: NDArray[np.floating]) -> list[float]:
    """Return the ``QUANTILES`` of some values."""
    return [float(value) for value in np.percentile(values, QUANTILES)]
