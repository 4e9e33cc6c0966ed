"""What all formats share: units, whose ECG it is, and the checks that a record must pass."""

import datetime
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ecgclip.errors import UserError
from ecgclip.privacy import patient_key
from ecgclip.signals.leads import ECG_NAMES, INVERTED, LEADS, lead_name
from ecgclip.signals.record import Record

# What is read at most: a file beyond it is refused before memory or time is spent on it, however it came to be so large.
MAX_SAMPLES = 1 << 27  # Of all leads: six hours of twelve at 500 Hz, 24 h of three. Such a record takes some seconds and 1 GB.
MAX_FILE_BYTES = 1 << 27  # Of a file that can be read as a whole only.
MAX_XML_BYTES = 1 << 25  # Ten seconds of twelve leads in the wordiest of these formats are half a MB.
MAX_PARTS = 1 << 18  # Elements, tags or entries of one file. Those of an ECG are some thousands.
MAX_CHANNELS = 1024  # Or columns.

MILLIVOLTS = {"nv": 1e-6, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "mv": 1.0, "v": 1e3}
# Of other channels beside the ECG. Only these are told in an error: any other text in the place of a unit may be a patient's.
_OTHER_UNITS = (
    *("mmHg", "mm[Hg]", "cmH2O", "kPa", "Pa", "bpm", "1/min", "/min", "%", "degC", "Cel", "°C", "NU", "pm", "Ohm", "mOhm", "kOhm"),
    *("mA", "uA", "A", "mL", "L", "L/min", "L/s", "s", "ms", "Hz", "kg", "g", "m/s2", "adu", "digital", "counts", "units", "l", "h", "min"),
)
OLDEST = 90.0  # Years; older people are few enough to be known by their age.
SEXES = {"f": "F", "female": "F", "w": "F", "2": "F", "m": "M", "male": "M", "1": "M"}
_PIECE = 1 << 20  # Samples.
_TWO_BEATS = 2.0  # s
_LONGEST_NUMBER = 256  # Characters of a patient's number.
_PULSES = 0.2  # s; a shorter stretch of equal samples may be chance.
_LOOKED_AT = 1000  # Samples of a lead that tell its size.
_SPAN = 0.002, 50.0  # mV from the least to the largest sample of the middle lead: no heart gives less, none gives more.


def checked_record(
    path: Path,
    signal: np.ndarray,
    sampling_rate: float,
    names: Sequence[str],
    source: str,
    *,
    patient: str = "",
    salt: str | None = None,
    age: float | None = None,
    sex: str = "",
    year: int | None = None,
    device: str = "",
) -> Record:
    """Make a record of what a format says, and refuse what cannot be one.

    Args:
        path: Of the file, for errors.
        signal: ``(leads, T)`` mV, NaN where a sample is missing.
        sampling_rate: Hz.
        names: Of the leads, as the file has them.
        source: The format.
        patient: The number in the file; it goes no further than its key.
        salt: Of the key; None for no key.
        age: Years.
        sex: In the words of the file.
        year: Of the recording.
        device: Manufacturer and model.

    Raises:
        UserError: When the rate is not possible, a lead is there twice, none is one of the twelve, or the amplitudes are no heart's.

    """
    if not (np.isfinite(sampling_rate) and 10 <= sampling_rate <= 100_000):
        raise UserError(f"{path.name}: sampling rate {sampling_rate:g} Hz is not possible: mend the file")
    names, signal = _upright(names, signal)
    leads = tuple(lead_name(name) for name in names)
    twice = sorted({lead for lead in leads if lead in LEADS and leads.count(lead) > 1})
    if twice:
        raise UserError(f"{path.name} holds {twice[0]} more than once: export one waveform per file")
    ours = [row for row, lead in enumerate(leads) if lead in LEADS]
    if not ours:
        # Their names are not told: a text in the wrong place may be that of a patient.
        raise UserError(f"{path.name}: no channel has the name of one of the twelve leads: name them I, II, ... V6")
    if signal.ndim != 2 or len(signal) != len(leads) or signal.shape[1] == 0:
        raise UserError(f"{path.name} holds no samples: export it again")
    with np.errstate(over="ignore"):
        signal = np.ascontiguousarray(signal, np.float32)
    if np.isinf(signal).any():
        raise UserError(f"{path.name} holds samples that are no voltage (infinite): check the gain of the export")
    _check_span(path, signal, ours)
    number = patient_number(patient)
    key = patient_key(number, salt) if salt and number else ""
    age = None if age is None or not 0 <= age <= 130 else min(float(age), OLDEST)
    year = year if year is not None and 1900 < year < 2200 else None
    return Record(signal, float(sampling_rate), leads, key, source, age, SEXES.get(sex.strip().lower(), ""), year, one_line(device))


def without_calibration(signal: np.ndarray, sampling_rate: float) -> np.ndarray:
    """Return a signal without the test pulses at its ends: a stretch in which every lead holds the very same samples.

    Args:
        signal: ``(leads, T)``.
        sampling_rate: Hz.

    Returns:
        ``(leads, <= T)``; as it is where there is one lead, or nothing but such a stretch.

    """
    differs = np.flatnonzero((signal != signal[:1]).any(0))
    if len(signal) < 2 or not len(differs):
        return signal
    least = round(_PULSES * sampling_rate)
    start = differs[0] if differs[0] >= least else 0
    stop = differs[-1] + 1 if signal.shape[1] - differs[-1] > least else signal.shape[1]
    return signal[:, start:stop]


def millivolts(path: Path, unit: str) -> float:
    """Return how many mV a unit is.

    Raises:
        UserError: When it is no voltage.

    """
    factor = MILLIVOLTS.get(unit.strip().lower())
    if factor is None:
        known = next((f"{other} " for other in _OTHER_UNITS if other.lower() == unit.strip().lower()), "")
        raise UserError(f"{path.name}: the unit {known}of a lead is not a voltage: known are {', '.join(MILLIVOLTS)}")
    return factor


def is_voltage(unit: str) -> bool:
    """Tell whether :func:`millivolts` knows a unit."""
    return unit.strip().lower() in MILLIVOLTS


def suitability(names: Sequence[str], seconds: float) -> tuple[bool, int, float]:
    """Return by what the best of several waveforms of one file is taken: at least two beats long, then its leads, then its length.

    A mean beat is about 1.2 s long, and not every writer says that it is one. A strip of II is long, and tells less than twelve leads of
    10 s. Limb leads that follow from two of Einthoven's count as if they were there.

    Args:
        names: Of the waveform's leads.
        seconds: Its length.

    """
    leads = {lead_name(name) for name in names} & ECG_NAMES
    if len(leads & set(LEADS[:3])) > 1:
        leads |= set(LEADS[:6])
    return seconds >= _TWO_BEATS, len({name.lstrip("-") for name in leads}), seconds


def told_name(name: str) -> str:
    """Return a lead's name for an error: any other text in its place may be that of a patient."""
    return lead_name(name) if lead_name(name) in ECG_NAMES else "a channel"


def in_pieces(digital: np.ndarray, convert: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return ``(T,)`` float32 of what a file holds, converted some samples at a time: double precision of all would take gigabytes."""
    out = np.empty(len(digital), np.float32)
    with np.errstate(over="ignore"):
        for start in range(0, len(out), _PIECE):
            out[start : start + _PIECE] = convert(digital[start : start + _PIECE])
    return out


def check_size(path: Path, samples: float, leads: float, available: float, *, most: int = MAX_SAMPLES) -> None:
    """Refuse a file that promises more than it holds, or holds more than is read, before memory is taken for it.

    Args:
        path: For the error.
        samples: Of each lead, as the file says.
        leads: As the file says.
        available: Samples of all leads that the file's bytes can hold at most.
        most: Samples of all leads that are read at once.

    Raises:
        UserError: In one line.

    """
    if not (samples > 0 and leads > 0 and samples * leads <= available):
        raise UserError(
            f"{path.name} promises a signal of {leads:g} x {samples:g} samples, and does not hold them: copy or export it again"
        )
    if samples * leads > most:
        raise UserError(
            f"{path.name} holds a signal of {leads:g} x {samples:g} samples, and at most {most} are read at once: export a shorter part"
        )


def check_bytes(path: Path, most: int = MAX_FILE_BYTES) -> None:
    """Refuse a file that is larger than any ECG of its kind, before it is read.

    Raises:
        UserError: In one line.

    """
    if path.stat().st_size > most:
        raise UserError(
            f"{path.name} is larger than {most >> 20} MB, which is too much to read at once: export one recording, or a shorter part"
        )


def too_many_parts(path: Path) -> UserError:
    """Return the error of a file of countless small parts."""
    return UserError(f"{path.name} has more than {MAX_PARTS} parts, which no ECG has: export single ECGs")


def age_at(birth: str, recorded: str) -> float | None:
    """Return whole years between two dates that begin with ``YYYYMMDD`` or ``YYYY-MM-DD``, or None where one is neither."""
    born, then = _date(birth), _date(recorded)
    if born is None or then is None or then < born:
        return None
    return float(then.year - born.year - ((then.month, then.day) < (born.month, born.day)))


def year_of(recorded: str) -> int | None:
    """Return the year of a date as in :func:`age_at`, or None."""
    date = _date(recorded)
    return None if date is None else date.year


def one_line(text: str) -> str:
    """Return a text without control characters and runs of blanks, at most 60 characters of it."""
    return " ".join("".join(c if c.isprintable() else " " for c in text[:1000]).split())[:60]


def patient_number(text: str) -> str:
    """Return the number itself of a patient's identifier, which may have several components.

    In HL7's data type CX, which MFER's patient identifier follows and which gateways put into DICOM's Patient ID and an aECG's subject,
    it is ``number^check digit^scheme^assigning authority^...``. What is behind the number says who gave it, not whose it is, and not
    every device of a hospital writes it: with it, one patient would have several keys. What follows ``~`` is another number of the same
    patient, and ``\\`` parts the values of a DICOM element: the first one counts.
    """
    return re.split(r"[\^~\\]", text[:_LONGEST_NUMBER], maxsplit=1)[0].strip()


def _date(text: str) -> datetime.date | None:
    match = re.match(r"\s*(\d{4})[-/.]?(\d{2})[-/.]?(\d{2})", text)
    if match is None:
        return None
    try:
        return datetime.date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        return None


def _upright(names: Sequence[str], signal: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Turn over what is stored inverted: Cabrera's sequence (aVL, I, -aVR, II, aVF, III) has -aVR where others have aVR.

    The order of the leads does not matter, as they go by name; the sign does.
    """
    plain = [lead_name(name) for name in names]
    if INVERTED not in plain or signal.ndim != 2 or len(signal) != len(plain):
        return list(names), signal
    row, upright = plain.index(INVERTED), INVERTED.lstrip("-")
    if upright in plain:  # Both: the inverted one says nothing more.
        return [name for name, lead in zip(names, plain, strict=True) if lead != INVERTED], signal[[lead != INVERTED for lead in plain]]
    signal = np.array(signal, np.float32)
    signal[row] *= -1
    return [upright if at == row else name for at, name in enumerate(names)], signal


def _check_span(path: Path, signal: np.ndarray, rows: Sequence[int]) -> None:
    """A wrong unit or gain by itself shows in the size only when it is far off; a factor of 5 is judged for a whole device."""
    thinned = signal[:, :: max(1, signal.shape[1] // _LOOKED_AT)][rows]
    percentile = np.nanpercentile if np.isnan(thinned).any() else np.percentile
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of a lead that holds no number.
        # Of most of the samples: an artefact or a pacing spike alone is no wrong unit.
        low, high = percentile(thinned, (0.5, 99.5), axis=1)
    spans = (high - low)[high > low]
    if not len(spans):
        return  # Flat or missing leads are told apart further on.
    middle = float(np.median(spans))
    if not _SPAN[0] <= middle <= _SPAN[1]:
        raise UserError(f"{path.name} spans {middle:.2g} mV in its middle lead: check the unit and the gain of the export")
