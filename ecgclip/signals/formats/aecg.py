"""HL7 annotated ECG (ANSI/HL7 V3 ECG R1): the rhythm series of a file, never its median beat."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ecgclip.errors import UserError
from ecgclip.signals.formats.common import MAX_SAMPLES, age_at, check_size, checked_record, is_voltage, millivolts, suitability, year_of
from ecgclip.signals.formats.xml_text import numbers_of, parse_xml, xml_root
from ecgclip.signals.leads import ECG_NAMES, lead_name
from ecgclip.signals.record import Record

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_MOST = MAX_SAMPLES >> 3  # Samples of all leads.
_SHORTEST = 1.0  # s; less is not one beat.
_AGE = "21612-7"  # LOINC: reported age.
_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}


def is_aecg(head: bytes) -> bool:
    """Whether this is the beginning of an aECG."""
    return xml_root(head) == "AnnotatedECG"


def read_aecg(path: Path, salt: str | None) -> Record:
    """Read an aECG.

    Raises:
        UserError: When it holds no rhythm, or says no rate or unit that can be understood.

    """
    root = parse_xml(path)
    # A derived series, the median beat, lies within the one that it is derived from and is not reached this way.
    series = [
        found
        for found in root.findall("./component/series")
        if (code := found.find("code")) is None or code.get("code") in ("RHYTHM", None)
    ]
    best: tuple[np.ndarray, float, list[str]] | None = None
    for one in series:
        for sequences in one.findall("./component/sequenceSet"):
            found = _waveform(path, sequences)
            if found and (best is None or _rank(found) > _rank(best)):
                best = found
    if best is None:
        raise UserError(f"{path.name} holds no rhythm with leads and samples: export the ECG with its waveform")
    if (seconds := best[0].shape[1] / best[1]) < _SHORTEST:
        raise UserError(f"{path.name} holds {seconds:.2g} s of rhythm, less than one beat: export the ECG with its whole waveform")
    recorded = next((e.get("value", "") for e in root.findall("./effectiveTime/*") if e.get("value")), "")
    subject = root.find(".//trialSubject")
    person = subject.find(".//subjectDemographicPerson") if subject is not None else None

    def said(name: str, attribute: str) -> str:
        found = person.find(name) if person is not None else None
        return (found.get(attribute) or "") if found is not None else ""

    number = subject.find("id") if subject is not None else None
    device = root.find(".//manufacturedSeriesDevice")
    model = "" if device is None else " ".join(filter(None, (e.text for e in device.findall("manufacturerModelName"))))
    maker = root.find(".//manufacturerOrganization/name")
    return checked_record(
        path,
        best[0],
        best[1],
        best[2],
        "aecg",
        patient="" if number is None else number.get("extension") or "",
        salt=salt,
        age=_age(root) if (age := age_at(said("birthTime", "value"), recorded)) is None else age,
        sex=said("administrativeGenderCode", "code"),
        year=year_of(recorded),
        device=f"{maker.text if maker is not None and maker.text else ''} {model}",
    )


def _rank(waveform: tuple[np.ndarray, float, list[str]]) -> tuple[bool, int, float]:
    signal, rate, names = waveform
    return suitability(names, signal.shape[1] / rate)


def _age(root: "Element") -> float | None:
    for observation in root.iter("relatedObservation"):
        code, value = observation.find("code"), observation.find("value")
        if code is not None and value is not None and code.get("code") == _AGE and value.get("unit") in ("a", "yr"):
            text = value.get("value") or ""
            return float(text) if text.isdecimal() else None
    return None


def _waveform(path: Path, sequences: "Element") -> tuple[np.ndarray, float, list[str]] | None:
    """Return signal in mV, rate and leads of a set of sequences; None where it holds no lead."""
    rate, names, rows = 0.0, [], []
    for sequence in sequences.findall("./component/sequence"):
        code, value = sequence.find("code"), sequence.find("value")
        if code is None or value is None:
            continue
        name = code.get("code") or ""
        if name.startswith("TIME"):
            rate = _rate(path, value)
        elif (digits := value.find("digits")) is not None and not _is_other(name, value):
            names.append(name)
            rows.append(_samples(path, value, digits.text or ""))
    if not rows:
        return None
    if not rate:
        raise UserError(f"{path.name} does not say its sampling rate: export it again")
    longest = max(map(len, rows))
    check_size(path, longest, len(rows), longest * len(rows), most=_MOST)
    # A lead that breaks off earlier than the others lacks samples there.
    signal = np.full((len(rows), longest), np.nan, np.float32)
    for row, samples in zip(signal, rows, strict=True):
        row[: len(samples)] = samples
    return signal, rate, names


def _is_other(name: str, value: "Element") -> bool:
    """Whether a sequence is no lead and no voltage, such as breathing beside an ECG."""
    scale = value.find("scale")
    return lead_name(name) not in ECG_NAMES and scale is not None and not is_voltage(scale.get("unit") or "")


def _rate(path: Path, value: "Element") -> float:
    step = value.find("increment")
    try:
        seconds = float(step.get("value", "")) * _SECONDS[step.get("unit", "s")]  # type: ignore[union-attr]
        return 1 / seconds
    except (AttributeError, ValueError, KeyError, ZeroDivisionError):
        raise UserError(f"{path.name}: the time between samples is not understood: export it again") from None


def _samples(path: Path, value: "Element", digits: str) -> np.ndarray:
    try:
        numbers = numbers_of(digits)
        scales = [_millivolts(path, value.find(name), default) for name, default in (("scale", 1.0), ("origin", 0.0))]
    except ValueError:
        raise UserError(f"{path.name}: samples or their scale are not numbers: export it again") from None
    if not np.isfinite(scales).all():
        raise UserError(f"{path.name}: the scale of its samples is not a number: export it again")
    numbers[~(np.abs(numbers) < 1e12)] = np.nan
    return numbers * scales[0] + scales[1]


def _millivolts(path: Path, quantity: "Element | None", default: float) -> float:
    if quantity is None:
        return default
    number = float(quantity.get("value") or "")
    # An origin of 0 is 0 in whatever unit, and some writers leave its unit out.
    return number * millivolts(path, quantity.get("unit") or "") if number else 0.0
