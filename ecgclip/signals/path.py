"""The way of a record from its file into a store or a model: leads, gaps, length, filter, sampling rate, quality."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self, get_args

import numpy as np

from ecgclip.errors import UserError
from ecgclip.naming import unknown
from ecgclip.signals.filters import LOW_PASS, baseline, without_mains
from ecgclip.signals.leads import LEADS
from ecgclip.signals.quality import RATE, arms_swapped, flat_and_clipped, noisy_leads, qrs_heights
from ecgclip.signals.record import FULL_SCALE, Record
from ecgclip.signals.resample import rate_ratio, resample

Filter = Literal["none", "default", "neurokit", "biosppy", "pantompkins1985", "hamilton2002", "elgendi2010", "engzeemod2012", "vg"]
Long = Literal["start", "middle"]
Short = Literal["refuse", "pad"]
FILTERS: tuple[str, ...] = get_args(Filter)
LONGEST_GAP = 0.1  # s; about one QRS complex: a longer gap could hide a beat.
CLIPPED_SHARE = 0.01  # Of the samples of a lead. A pacing spike or a loose electrode stays below, a wrong unit does not.
MARGIN = 2.0  # s kept on either side of the part that is used, so that the filters meet signal there.
SHORTEST = 1.0  # s that a record must hold even where it may be padded.


@dataclass(frozen=True)
class Standard:
    """A record in the form that stores and models take.

    Attributes:
        signal: ``(12, T)`` float32, mV, in the order of ``LEADS``; a missing lead is zeros.
        missing: The leads that are missing.
        flags: Of quality: ``gap:V1`` (short gaps were bridged), ``clipped:V1``, ``flat:V1``, ``noisy:V1``, ``swapped:arms``,
            ``padded:7.5`` (s that are real; zeros follow). See :mod:`ecgclip.signals.quality`.
        amplitude: mV, the height of QRS in the middle one of the leads: for :func:`ecgclip.signals.quality.gain_suspects`.
    """

    signal: np.ndarray
    missing: list[str]
    flags: list[str]
    amplitude: float


@dataclass(frozen=True)
class SignalPath:
    """Brings every record into one form; kept as a dict with stores and models, so that what is predicted took the same way.

    Amplitudes are never scaled: low and high voltage are findings.

    Args:
        sampling_rate: Hz wanted.
        seconds: Length wanted.
        filter: ``none``; ``default``: without phase, high-pass at 0.5 Hz, low-pass at 150 Hz or where the sampling rate asks for less; or
            a method of ``neurokit2.ecg_clean``, lead by lead. Those but ``neurokit`` were made to find QRS and bend the other waves.
        mains: 50 (eastern Japan) or 60 (western) takes that frequency out; None leaves it.
        long: Which part of a longer record is used.
        short: What becomes of a shorter one: it is refused, or zeros follow it.

    Raises:
        UserError: For a value that is not possible.
    """

    sampling_rate: float = 100.0
    seconds: float = 10.0
    filter: Filter = "none"
    mains: int | None = None
    long: Long = "start"
    short: Short = "refuse"

    def __post_init__(self) -> None:
        for name, least, most, unit in (("sampling_rate", 10, 10_000, "Hz"), ("seconds", 0.1, 86_400, "s")):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
                raise UserError(f"{name} {value!r} is not possible: give {least:g} to {most:g} {unit}")
            object.__setattr__(self, name, float(value))
        for name, known in (("filter", FILTERS), ("long", get_args(Long)), ("short", get_args(Short))):
            if getattr(self, name) not in known:
                raise unknown(name, str(getattr(self, name)), list(known))
        if self.mains is not None and (self.mains not in (50, 60) or isinstance(self.mains, bool)):
            raise UserError(f"mains {self.mains!r} is not possible: give 50 or 60 (Hz), or leave it out")

    def to_dict(self) -> dict[str, Any]:
        """Return the plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the path that :meth:`to_dict` was called on.

        Raises:
            UserError: For a field that is not known, or a value that is not possible.
        """
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                raise unknown("field of the signal path", str(name), known)
        return cls(**values)

    def windows(self, record: Record) -> list[float]:
        """Return where the consecutive segments of ``seconds`` begin, s; a rest that is shorter is left out, unless there is no other."""
        duration = record.signal.shape[1] / record.sampling_rate
        # A record of 10 s may lack the last sample.
        count = int((duration + 1 / record.sampling_rate) / self.seconds)
        return [number * self.seconds for number in range(max(count, 1))]

    def __call__(self, record: Record, start: float | None = None) -> Standard:
        """Bring one record into the form.

        Args:
            record: As read.
            start: s, where the part that is used begins; None for what ``long`` says.

        Raises:
            UserError: In one line that begins with what is wrong; the caller adds the name of the file.
        """
        rate = record.sampling_rate
        first = round(self._start(record, start) * rate)
        stop = min(first + round(self.seconds * rate), record.signal.shape[1])
        self._check_length(record, first)
        # All grids must meet at the first sample that is used.
        grid = math.lcm(rate_ratio(rate, self.sampling_rate).denominator, rate_ratio(rate, RATE).denominator)
        before = min(int(MARGIN * rate), first) // grid * grid
        cut = slice(first - before, stop + int(MARGIN * rate) + 1)
        used = slice(before, before + stop - first)
        flags: list[str] = []
        rows = _rows(record, cut, used, flags)
        names = [lead for lead in LEADS if lead in rows]
        raw = np.stack([rows[name] for name in names])
        flags += flat_and_clipped(raw[:, used], rate, names)
        if sum(flag.startswith("flat:") for flag in flags) == len(names):
            raise UserError("every lead is flat: nothing was recorded, export it again or leave it out")
        present, low, drift = self._filtered(raw, rate)

        length = round(self.seconds * self.sampling_rate)
        real = min(length, math.ceil((record.signal.shape[1] - first) * self.sampling_rate / rate))
        begin = round(before / rate * self.sampling_rate)
        present = _within_range(names, present[:, begin : begin + real], flags)
        begin = round(before / rate * RATE)
        part = slice(begin, begin + math.ceil(used.stop / rate * RATE) - begin)
        heights = qrs_heights(low[:, part])
        flags += _judged(low[:, part], drift[:, part], heights, names, flags)
        if real < length:
            flags.append(f"padded:{real / self.sampling_rate:.3g}")
        signal = np.zeros((len(LEADS), length), np.float32)
        signal[[LEADS.index(name) for name in names], :real] = present
        return Standard(signal, [lead for lead in LEADS if lead not in rows], flags, float(np.median(heights)))

    def _start(self, record: Record, start: float | None) -> float:
        """Return where the part that is used begins, s."""
        duration = record.signal.shape[1] / record.sampling_rate
        if start is None:
            return max((duration - self.seconds) / 2, 0.0) if self.long == "middle" else 0.0
        if not 0 <= start < duration:
            raise UserError(f"is {duration:.3g} s long, and {start:g} s are to be its beginning: give a start within it")
        return start

    def _check_length(self, record: Record, first: int) -> None:
        """Refuse a record that ends too early."""
        left = record.signal.shape[1] - first
        duration, seconds = left / record.sampling_rate, self.seconds
        if self.short == "pad":
            if duration < min(SHORTEST, seconds) - 1e-6:
                raise UserError(f"is {duration:.3g} s long, at least {min(SHORTEST, seconds):g} s are needed: leave it out")
        elif math.ceil(left * self.sampling_rate / record.sampling_rate) < round(seconds * self.sampling_rate):
            after = f" from {first / record.sampling_rate:g} s on" if first else ""
            raise UserError(f"is {duration:.3g} s long{after}, {seconds:g} s are needed: leave it out, or prepare shorter records")

    def _filtered(self, raw: np.ndarray, rate: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Filter and resample.

        Returns:
            The leads as wanted; at 100 Hz without their baseline, for judging them; and at 100 Hz with it. All ``(leads, T)`` float32.
        """
        if self.mains is not None:
            raw = without_mains(raw, rate, self.mains).astype(np.float32)
        drifting = resample(raw, rate, RATE)
        below = baseline(drifting, RATE)
        low = (drifting - below).astype(np.float32)
        if self.filter == "none":
            return (drifting if self.sampling_rate == RATE else resample(raw, rate, self.sampling_rate)), low, drifting
        if self.filter != "default":
            return resample(_cleaned(raw, rate, self.filter, self.mains), rate, self.sampling_rate), low, drifting
        if self.sampling_rate == RATE:
            return low, low, drifting
        # The anti-aliasing filter already ends lower where it ends below that.
        low_pass = LOW_PASS if min(rate, self.sampling_rate) > 2 * LOW_PASS else None
        wanted = resample(raw, rate, self.sampling_rate, low_pass)
        return (wanted - resample(below, RATE, self.sampling_rate)[:, : wanted.shape[1]]).astype(np.float32), low, drifting


def _judged(low: np.ndarray, drifting: np.ndarray, heights: np.ndarray, names: Sequence[str], before: Sequence[str]) -> list[str]:
    """Return the flags of noise and of swapped electrodes; nothing can be said of a flat lead."""
    noisy = noisy_leads(low, drifting, heights)
    flags = [f"noisy:{name}" for name, is_noisy in zip(names, noisy, strict=True) if is_noisy and f"flat:{name}" not in before]
    recorded = [row for row, name in enumerate(names) if f"flat:{name}" not in before]
    return [*flags, "swapped:arms"] if arms_swapped(low[recorded], [names[row] for row in recorded]) else flags


def _rows(record: Record, cut: slice, used: slice, flags: list[str]) -> dict[str, np.ndarray]:
    """Return the twelve leads by name as far as they are there or follow from others, without gaps."""
    rows = {name: record.signal[i, cut] for i, name in enumerate(record.lead_names) if name in LEADS}
    if not rows:
        raise UserError("no channel has the name of one of the twelve leads: name them I, II, ... V6")
    # An electrode that was off comes as a row of NaN: a missing lead.
    rows = {name: _bridged(name, row, used, record.sampling_rate, flags) for name, row in rows.items() if np.isfinite(row[used]).any()}
    if not rows:
        raise UserError("no lead holds a single number: export it again")
    return rows | _derived(rows)


def _bridged(name: str, row: np.ndarray, used: slice, sampling_rate: float, flags: list[str]) -> np.ndarray:
    """Interpolate over short gaps; refuse long ones among the samples that are used."""
    missing = ~np.isfinite(row)
    if not missing.any():
        return row
    edges = np.flatnonzero(np.diff(np.concatenate([[False], missing[used], [False]]).astype(np.int8)))
    if len(edges):
        longest = float((edges[1::2] - edges[::2]).max() / sampling_rate)
        if longest > LONGEST_GAP:
            raise UserError(
                f"{name} lacks {longest:.3g} s in one piece ({LONGEST_GAP:g} s can be bridged): export it again or leave it out"
            )
        flags.append(f"gap:{name}")
    position = np.arange(len(row))
    return np.interp(position, position[~missing], row[~missing]).astype(np.float32)


def _derived(rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Compute the limb leads that the file leaves out: I + III = II (Einthoven), and Goldberger's augmented ones."""
    known = dict(rows)
    if "I" not in known and {"II", "III"} <= known.keys():
        known["I"] = known["II"] - known["III"]
    if "II" not in known and {"I", "III"} <= known.keys():
        known["II"] = known["I"] + known["III"]
    if not {"I", "II"} <= known.keys():
        return {}
    one, two = known["I"], known["II"]
    computed = {
        "I": one,
        "II": two,
        "III": two - one,
        "aVR": -(one + two) / 2,
        "aVL": one - two / 2,
        "aVF": two - one / 2,
    }
    return {name: row for name, row in computed.items() if name not in rows}


def _within_range(names: Sequence[str], signal: np.ndarray, flags: list[str]) -> np.ndarray:
    """Cut off what a store cannot hold; refuse a lead that lies there altogether."""
    highest = max(float(signal.max()), -float(signal.min()))
    if highest <= FULL_SCALE:
        return signal
    beyond = (np.abs(signal) > FULL_SCALE).mean(1)
    worst = int(beyond.argmax())
    if beyond[worst] > CLIPPED_SHARE:
        peak = float(np.abs(signal[worst]).max())
        raise UserError(
            f"{names[worst]} reaches {peak:.3g} mV (at most {FULL_SCALE:.3g}): check the unit, the gain and the offset of the export"
        )
    clipped = [f"clipped:{name}" for name, share in zip(names, beyond, strict=True) if share]
    flags.extend(flag for flag in clipped if flag not in flags)
    return np.clip(signal, -FULL_SCALE, FULL_SCALE)


def _cleaned(signal: np.ndarray, rate: float, method: str, mains: int | None) -> np.ndarray:
    """Filter lead by lead as neurokit2 does.

    Raises:
        UserError: Where the method does not work at this rate or length.
    """
    import neurokit2

    whole = round(rate)
    if whole != rate:
        raise UserError(f"filter {method!r} of neurokit2 wants a whole sampling rate, not {rate:g} Hz: take the filter 'default'")
    more = {"powerline": mains or 50} if method == "neurokit" else {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rows = [neurokit2.ecg_clean(row.astype(np.float64), sampling_rate=whole, method=method, **more) for row in signal]
    except (ValueError, IndexError, ZeroDivisionError) as error:
        reason = " ".join(str(error).split())[:100]
        raise UserError(f"filter {method!r} of neurokit2 does not work at {rate:g} Hz ({reason}): take the filter 'default'") from error
    cleaned = np.asarray(np.stack(rows), np.float32)
    if not np.isfinite(cleaned).all():
        raise UserError(f"filter {method!r} of neurokit2 gives no numbers at {rate:g} Hz: take the filter 'default'")
    return cleaned
