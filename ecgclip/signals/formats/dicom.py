"""DICOM waveforms (PS3.3 C.10.9): the rhythm strip of a file, never its median beat."""

import logging
import re
import warnings
from collections.abc import MutableSequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ecgclip.errors import UserError
from ecgclip.signals.formats.common import (
    MAX_SAMPLES,
    age_at,
    check_bytes,
    check_size,
    checked_record,
    in_pieces,
    is_voltage,
    millivolts,
    suitability,
    told_name,
    year_of,
)
from ecgclip.signals.formats.dicom_parts import check_parts
from ecgclip.signals.leads import ECG_NAMES, INVERTED, lead_name
from ecgclip.signals.record import Record

_DEFLATED = "1.2.840.10008.1.2.1.99"
_DTYPES = {("SS", 16): "i2", ("US", 16): "u2", ("SL", 32): "i4", ("UL", 32): "u4", ("SB", 8): "i1", ("UB", 8): "u1"}
# SCP-ECG codes of leads, as some writers put them where MDC has its own (EN 1064, table of leads).
_SCPECG = {
    "5.6.3-9-1": "I",
    "5.6.3-9-2": "II",
    "5.6.3-9-61": "III",
    "5.6.3-9-62": "aVR",
    "5.6.3-9-63": "aVL",
    "5.6.3-9-64": "aVF",
    "5.6.3-9-65": INVERTED,
} | {f"5.6.3-9-{number + 2}": f"V{number}" for number in range(1, 7)}
_MDC = {"2:1": "I", "2:2": "II", "2:61": "III", "2:62": "aVR", "2:63": "aVL", "2:64": "aVF", "2:65": INVERTED} | {
    f"2:{n + 2}": f"V{n}" for n in range(1, 7)
}
_LONGEST_TEXT = 256  # Characters; the standard allows 64 in what is read here.
_FEW = 0.001  # Of the samples: a padding value that fewer have, alone, is an ordinary number.


def is_dicom(head: bytes) -> bool:
    """Whether this is the beginning of a DICOM file."""
    return head[128:132] == b"DICM"


def read_dicom(path: Path, salt: str | None) -> Record:
    """Read a DICOM waveform.

    Raises:
        UserError: When it is damaged or holds no ECG.

    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _read(path, salt)
    except UserError:
        raise
    # pydicom reads an element when it is asked for; a damaged one raises what it happens to meet.
    except Exception:
        raise UserError(f"{path.name} is damaged DICOM or lacks what a waveform must have: copy or export it again") from None


def _read(path: Path, salt: str | None) -> Record:
    import pydicom
    from pydicom.filereader import read_file_meta_info

    # What pydicom says of a value that it does not like quotes it, and a UID may tell who it was: none is shown or kept in a log.
    # Its import sets the level, so this comes after it.
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    check_bytes(path)
    syntax = str(read_file_meta_info(path).get("TransferSyntaxUID", ""))
    if syntax == _DEFLATED:
        raise UserError(f"{path.name} is deflated DICOM, which is not read: export it as explicit VR little endian")
    check_parts(path, syntax)
    return _record(path, pydicom.dcmread(path), salt)


def _record(path: Path, data: Any, salt: str | None) -> Record:
    groups = [group for group in data.get("WaveformSequence", []) if str(group.get("WaveformOriginality", "ORIGINAL")) != "DERIVED"]
    if not groups:
        raise UserError(f"{path.name} is DICOM without a recorded waveform: export the ECG, not its picture or report")

    def rank(group: Any) -> tuple[bool, int, float]:
        names = [_lead(channel) for channel in group.ChannelDefinitionSequence]
        return suitability(names, float(group.NumberOfWaveformSamples) / float(group.SamplingFrequency))

    group = max(groups, key=rank)
    channels = list(group.ChannelDefinitionSequence)
    # Blood pressure, breathing and the like beside the ECG are left out.
    taken = [row for row, channel in enumerate(channels) if _lead(channel) in ECG_NAMES or is_voltage(_unit(channel))]
    recorded = str(data.get("AcquisitionDateTime") or data.get("AcquisitionDate") or data.get("StudyDate") or "")
    age = str(data.get("PatientAge") or "")
    return checked_record(
        path,
        _signal(path, group, taken, ">" if data.original_encoding[1] is False else "<"),
        float(group.SamplingFrequency),
        [_lead(channels[row]) for row in taken],
        "dicom",
        patient=_text(data.get("PatientID")),
        salt=salt,
        age=float(age[:-1]) if age[-1:] == "Y" and age[:-1].isdecimal() else age_at(str(data.get("PatientBirthDate") or ""), recorded),
        sex=str(data.get("PatientSex") or ""),
        year=year_of(recorded),
        device=f"{_text(data.get('Manufacturer'))} {_text(data.get('ManufacturerModelName'))}",
    )


def _text(value: Any) -> str:
    """Return the first value of an element that should have one, without the many characters that one of damaged files may have."""
    first = value[0] if isinstance(value, MutableSequence) and value else value
    return str(first or "")[:_LONGEST_TEXT]


def _signal(path: Path, group: Any, taken: list[int], order: str) -> np.ndarray:
    """Return ``(leads, T)`` mV of the channels that are taken."""
    samples, bits = int(group.NumberOfWaveformSamples), int(group.WaveformBitsAllocated)
    kind = order + _DTYPES.get((str(group.WaveformSampleInterpretation), bits), "")
    if kind == order:
        raise UserError(f"{path.name}: samples of {bits} bits and this interpretation are not read: export them as 16-bit integers (SS)")
    raw, channels = bytes(group.WaveformData), list(group.ChannelDefinitionSequence)
    check_size(path, samples, len(channels), len(raw) * 8 // bits, most=MAX_SAMPLES >> 1)
    if not taken:
        return np.empty((0, samples), np.float32)
    numbers = np.frombuffer(raw, kind, samples * len(channels)).reshape(samples, len(channels)).T[taken]
    padding = group.get("WaveformPaddingValue")
    signal = np.empty(numbers.shape, np.float32)
    for row, channel in enumerate(channels[at] for at in taken):
        sensitivity = channel.get("ChannelSensitivity")
        if sensitivity is None:
            raise UserError(f"{path.name}: {told_name(_lead(channel))} has no sensitivity, its amplitude is unknown: export it again")
        unit = _unit(channel)
        step = float(sensitivity) * float(channel.get("ChannelSensitivityCorrectionFactor") or 1)
        baseline = float(channel.get("ChannelBaseline") or 0)
        if not np.isfinite(step + baseline):
            raise UserError(f"{path.name}: the sensitivity of {told_name(_lead(channel))} is not a number: export it again")
        # The baseline is in the units of the sensitivity (PS3.3 C.10.9.1.4.3).
        signal[row] = in_pieces(numbers[row], partial(_scaled, step=step, baseline=baseline, unit=millivolts(path, unit)))
    if padding is not None:
        value = np.frombuffer(padding, kind)[0] if isinstance(padding, bytes) else int(padding)
        signal[_padded(numbers, value)] = np.nan
    return signal


def _scaled(numbers: np.ndarray, *, step: float, baseline: float, unit: float) -> np.ndarray:
    return np.asarray((numbers * step + baseline) * unit)


def _padded(numbers: np.ndarray, value: int) -> np.ndarray:
    """Tell padding from ordinary samples of the same value, of which a declared padding of 0 is the usual case.

    Padding stands in all channels at once, in a stretch that reaches an end of the record, or beyond what the other samples reach.
    """
    equal = numbers == value
    others = numbers[~equal]
    if not equal.any() or not len(others):
        return np.zeros_like(equal)
    if not others.min() <= value <= others.max():
        return np.asarray(equal)
    everywhere = np.flatnonzero(~equal.all(0))
    padded = np.zeros_like(equal)
    start, stop = everywhere[0], everywhere[-1] + 1
    if start > _FEW * numbers.shape[1]:
        padded[:, :start] = True
    if numbers.shape[1] - stop > _FEW * numbers.shape[1]:
        padded[:, stop:] = True
    return padded


def _unit(channel: Any) -> str:
    # Where there is no sensitivity, this is told later on.
    units = channel.get("ChannelSensitivityUnitsSequence")
    return _text(units[0].CodeValue) if units else ""


def _lead(channel: Any) -> str:
    source = channel.ChannelSourceSequence[0]
    code, meaning = _text(source.get("CodeValue")), _text(source.get("CodeMeaning"))
    known = _SCPECG.get(code) or _MDC.get(code)
    return known or lead_name(re.sub(r"\(.*|,.*|Einthoven", "", meaning)) or code
