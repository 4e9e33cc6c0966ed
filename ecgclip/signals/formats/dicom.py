"""DICOM waveforms (PS3.3 C.10.9): the rhythm strip of a file, never its median beat."""

import logging
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ecgclip.errors import UserError
from ecgclip.signals.formats.common import age_at, check_size, checked_record, millivolts, year_of
from ecgclip.signals.leads import LEADS, lead_name
from ecgclip.signals.record import Record

_DEFLATED = "1.2.840.10008.1.2.1.99"
_DTYPES = {("SS", 16): "i2", ("US", 16): "u2", ("SL", 32): "i4", ("UL", 32): "u4", ("SB", 8): "i1", ("UB", 8): "u1"}
# SCP-ECG codes of leads, as some writers put them where MDC has its own (EN 1064, table of leads).
_SCPECG = {"5.6.3-9-1": "I", "5.6.3-9-2": "II", "5.6.3-9-61": "III", "5.6.3-9-62": "aVR", "5.6.3-9-63": "aVL", "5.6.3-9-64": "aVF"} | {
    f"5.6.3-9-{number + 2}": f"V{number}" for number in range(1, 7)
}
_MDC = {"2:1": "I", "2:2": "II", "2:61": "III", "2:62": "aVR", "2:63": "aVL", "2:64": "aVF"} | {f"2:{n + 2}": f"V{n}" for n in range(1, 7)}
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
    if str(read_file_meta_info(path).get("TransferSyntaxUID", "")) == _DEFLATED:
        raise UserError(f"{path.name} is deflated DICOM, which is not read: export it as explicit VR little endian")
    return _record(path, pydicom.dcmread(path), salt)


def _record(path: Path, data: Any, salt: str | None) -> Record:
    groups = [group for group in data.get("WaveformSequence", []) if str(group.get("WaveformOriginality", "ORIGINAL")) != "DERIVED"]
    if not groups:
        raise UserError(f"{path.name} is DICOM without a recorded waveform: export the ECG, not its picture or report")

    def rank(group: Any) -> tuple[int, float]:
        ours = sum(_lead(channel) in LEADS for channel in group.ChannelDefinitionSequence)
        return min(ours, 2), float(group.NumberOfWaveformSamples) / float(group.SamplingFrequency)

    group = max(groups, key=rank)
    channels = list(group.ChannelDefinitionSequence)
    recorded = str(data.get("AcquisitionDateTime") or data.get("AcquisitionDate") or data.get("StudyDate") or "")
    age = str(data.get("PatientAge") or "")
    return checked_record(
        path,
        _signal(path, group, channels, ">" if data.original_encoding[1] is False else "<"),
        float(group.SamplingFrequency),
        [_lead(channel) for channel in channels],
        "dicom",
        patient=str(data.get("PatientID") or ""),
        salt=salt,
        age=float(age[:-1]) if age[-1:] == "Y" and age[:-1].isdecimal() else age_at(str(data.get("PatientBirthDate") or ""), recorded),
        sex=str(data.get("PatientSex") or ""),
        year=year_of(recorded),
        device=f"{data.get('Manufacturer') or ''} {data.get('ManufacturerModelName') or ''}",
    )


def _signal(path: Path, group: Any, channels: list[Any], order: str) -> np.ndarray:
    samples, bits = int(group.NumberOfWaveformSamples), int(group.WaveformBitsAllocated)
    kind = order + _DTYPES.get((str(group.WaveformSampleInterpretation), bits), "")
    if kind == order:
        raise UserError(f"{path.name}: samples of kind {group.WaveformSampleInterpretation} with {bits} bits are not read: export it again")
    raw = bytes(group.WaveformData)
    check_size(path, samples, len(channels), len(raw) * 8 // bits)
    numbers = np.frombuffer(raw, kind, samples * len(channels)).reshape(samples, len(channels)).T
    padding = group.get("WaveformPaddingValue")
    signal = np.empty(numbers.shape)
    for row, channel in enumerate(channels):
        sensitivity = channel.get("ChannelSensitivity")
        if sensitivity is None:
            raise UserError(f"{path.name}: {_lead(channel)} has no sensitivity, its amplitude is unknown: export it again")
        unit = str(channel.ChannelSensitivityUnitsSequence[0].CodeValue)
        factor = float(channel.get("ChannelSensitivityCorrectionFactor") or 1)
        if not np.isfinite(float(sensitivity) * factor + float(channel.get("ChannelBaseline") or 0)):
            raise UserError(f"{path.name}: the sensitivity of {_lead(channel)} is not a number: export it again")
        # The baseline is in the units of the sensitivity (PS3.3 C.10.9.1.4.3).
        signal[row] = (numbers[row] * float(sensitivity) * factor + float(channel.get("ChannelBaseline") or 0)) * millivolts(path, unit)
    if padding is not None:
        value = np.frombuffer(padding, kind)[0] if isinstance(padding, bytes) else int(padding)
        signal[_padded(numbers, value)] = np.nan
    return signal


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


def _lead(channel: Any) -> str:
    source = channel.ChannelSourceSequence[0]
    code, meaning = str(source.get("CodeValue") or ""), str(source.get("CodeMeaning") or "")
    known = _SCPECG.get(code) or _MDC.get(code)
    return known or lead_name(re.sub(r"\(.*|,.*|Einthoven", "", meaning)) or code
