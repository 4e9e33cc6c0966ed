"""What all formats share: units, whose ECG it is, and the checks that a record must pass."""

import datetime
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ecgclip.errors import UserError
from ecgclip.privacy import patient_key
from ecgclip.signals.leads import LEADS, lead_name
from ecgclip.signals.record import Record

MILLIVOLTS = {"nv": 1e-6, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "mv": 1.0, "v": 1e3}
LARGEST = 1 << 30  # Samples of all leads; a day of twelve leads at 500 Hz is half of it.
OLDEST = 90.0  # Years; older people are few enough to be known by their age.
SEXES = {"f": "F", "female": "F", "w": "F", "2": "F", "m": "M", "male": "M", "1": "M"}
_SPAN = 0.02, 50.0  # mV from the least to the largest sample of the middle lead: no heart gives less, none gives more.


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
    leads = tuple(lead_name(name) for name in names)
    twice = sorted({lead for lead in leads if lead in LEADS and leads.count(lead) > 1})
    if twice:
        raise UserError(f"{path.name} holds {twice[0]} more than once: export one waveform per file")
    ours = [row for row, lead in enumerate(leads) if lead in LEADS]
    if not ours:
        listed = ", ".join(leads)[:80] or "none"
        raise UserError(f"{path.name}: none of its channels ({listed}) is one of the twelve leads: name them I, II, ... V6")
    if signal.ndim != 2 or len(signal) != len(leads) or signal.shape[1] == 0:
        raise UserError(f"{path.name} holds no samples: export it again")
    signal = np.ascontiguousarray(signal, np.float32)
    _check_span(path, signal[ours])
    key = patient_key(patient, salt) if salt and patient.strip() else ""
    age = None if age is None or not 0 <= age <= 130 else min(float(age), OLDEST)
    year = year if year is not None and 1900 < year < 2200 else None
    return Record(signal, float(sampling_rate), leads, key, source, age, SEXES.get(sex.strip().lower(), ""), year, one_line(device))


def millivolts(path: Path, unit: str) -> float:
    """Return how many mV a unit is.

    Raises:
        UserError: When it is no voltage.

    """
    try:
        return MILLIVOLTS[unit.strip().lower()]
    except KeyError:
        raise UserError(f"{path.name}: unit {unit[:20]!r} is not a voltage: known are {', '.join(MILLIVOLTS)}") from None


def check_size(path: Path, samples: float, leads: float, available: float) -> None:
    """Refuse a file that promises more than it holds, before memory is taken for it.

    Args:
        path: For the error.
        samples: Of each lead, as the file says.
        leads: As the file says.
        available: Samples of all leads that the file's bytes can hold at most.

    Raises:
        UserError: In one line.

    """
    if not (samples > 0 and leads > 0 and samples * leads <= min(LARGEST, available)):
        raise UserError(f"{path.name} promises {leads:g} leads of {samples:g} samples, and does not hold them: copy or export it again")


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
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:60]


def _date(text: str) -> datetime.date | None:
    match = re.match(r"\s*(\d{4})[-/.]?(\d{2})[-/.]?(\d{2})", text)
    if match is None:
        return None
    try:
        return datetime.date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        return None


def _check_span(path: Path, signal: np.ndarray) -> None:
    """A wrong unit or gain by itself shows in the size only when it is far off; a factor of 5 is judged for a whole device."""
    spans = []
    for row in signal:
        valid = row[np.isfinite(row)]
        if len(valid):
            # Of most of the samples: an artefact or a pacing spike alone is no wrong unit.
            low, high = np.percentile(valid, (0.5, 99.5))
            if high > low:
                spans.append(float(high - low))
    if not spans:
        return  # Flat or missing leads are told apart further on.
    middle = float(np.median(spans))
    if middle > _SPAN[1]:
        raise UserError(f"{path.name} spans {middle:.3g} mV in its middle lead: check the unit and the gain of the export")
    if middle < _SPAN[0] / 10:
        raise UserError(f"{path.name} spans {middle:.2g} mV in its middle lead: check the unit and the gain of the export")
