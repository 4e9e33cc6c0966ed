"""GE MUSE XML: the rhythm waveform, eight leads of 16-bit numbers in base64."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ecgclip.errors import UserError
from ecgclip.signals.formats.common import MAX_SAMPLES, age_at, check_size, checked_record, millivolts, suitability, year_of
from ecgclip.signals.formats.xml_text import base64_of, parse_xml, text_of, xml_root
from ecgclip.signals.record import Record

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_MOST = MAX_SAMPLES >> 3  # Samples of all leads.
_MISSING = -32768  # A sample that the device could not take.
_UNITS = {"MICROVOLTS": "uV", "MILLIVOLTS": "mV", "VOLTS": "V", "UV": "uV", "MV": "mV"}


def is_muse(head: bytes) -> bool:
    """Whether this is the beginning of a MUSE export."""
    return xml_root(head) == "RestingECG"


def read_muse(path: Path, salt: str | None) -> Record:
    """Read a MUSE export.

    Raises:
        UserError: When it holds no rhythm, or says no rate or unit that can be understood.

    """
    root = parse_xml(path)
    waveforms = [w for w in root.iter("Waveform") if text_of(w, "WaveformType").lower() != "median" and w.find("LeadData") is not None]
    if not waveforms:
        raise UserError(f"{path.name} holds no rhythm waveform: export the ECG with its waveform")

    def rank(waveform: "Element") -> tuple[bool, int, float]:
        # 16 bits of a sample are 8/3 characters of base64.
        length = len(waveform.findtext("LeadData/WaveFormData") or "") * 3 / 8
        return suitability([text_of(lead, "LeadID") for lead in waveform.iter("LeadData")], length / max(_rate(path, waveform), 1e-9))

    waveform = max(waveforms, key=rank)
    rate = _rate(path, waveform)
    names, rows = [], []
    for lead in waveform.iter("LeadData"):
        names.append(text_of(lead, "LeadID"))
        rows.append(_samples(path, lead))
    longest = max(map(len, rows))
    check_size(path, longest, len(rows), longest * len(rows), most=_MOST)
    signal = np.full((len(rows), longest), np.nan, np.float32)
    for row, samples in zip(signal, rows, strict=True):
        row[: len(samples)] = samples
    patient, test = root.find(".//PatientDemographics"), root.find(".//TestDemographics")
    about = {
        name: "" if patient is None else text_of(patient, name) for name in ("PatientID", "PatientAge", "AgeUnits", "Gender", "DateofBirth")
    }
    date = "" if test is None else _date(text_of(test, "AcquisitionDate"))
    age = about["PatientAge"]
    return checked_record(
        path,
        signal,
        rate,
        names,
        "muse",
        patient=about["PatientID"],
        salt=salt,
        age=float(age) if age.isdecimal() and about["AgeUnits"].upper() in ("", "YEARS") else age_at(_date(about["DateofBirth"]), date),
        sex=about["Gender"],
        year=year_of(date),
        device="GE " + ("" if test is None else text_of(test, "AcquisitionDevice")),
    )


def _rate(path: Path, waveform: "Element") -> float:
    return float(_number(path, waveform, "SampleBase") * 10.0 ** _number(path, waveform, "SampleExponent"))


def _samples(path: Path, lead: "Element") -> np.ndarray:
    try:
        data = base64_of(text_of(lead, "WaveFormData"))
    except ValueError:
        raise UserError(f"{path.name}: the samples are not base64: copy or export it again") from None
    unit = _UNITS.get(text_of(lead, "LeadAmplitudeUnits").upper() or "MICROVOLTS", text_of(lead, "LeadAmplitudeUnits"))
    step = _number(path, lead, "LeadAmplitudeUnitsPerBit") * millivolts(path, unit)
    size, promised = text_of(lead, "LeadSampleSize") or "2", text_of(lead, "LeadSampleCountTotal")
    if size != "2" or not np.isfinite(step):
        raise UserError(f"{path.name}: samples of another size than 2 bytes, or their scale, are not understood: export it again")
    if len(data) % 2 or (promised.isdecimal() and len(data) < 2 * float(promised)):
        raise UserError(f"{path.name} breaks off within its samples: copy or export it again")
    numbers = np.frombuffer(data, "<i2").astype(np.float64)
    numbers[numbers == _MISSING] = np.nan
    return numbers * step


def _date(text: str) -> str:
    """Return ``MM-DD-YYYY``, as MUSE writes it, with the year first."""
    american = re.fullmatch(r"(\d{2})[-/](\d{2})[-/](\d{4})", text)
    return f"{american[3]}-{american[1]}-{american[2]}" if american else text


def _number(path: Path, element: "Element", name: str) -> float:
    text = text_of(element, name)
    if not text and name == "SampleExponent":
        return 0.0
    try:
        number = float(text)
    except ValueError:
        number = np.nan
    if not abs(number) < 1e9 or (name == "SampleExponent" and abs(number) > 9):
        raise UserError(f"{path.name}: {name} is not a number: export it again")
    return number
