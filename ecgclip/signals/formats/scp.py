"""SCP-ECG (EN 1064, ISO 11073-91064), decoded by ecgdatakit: Huffman codes, differences and the reference beat are added back.

Tested against files written from the standard. What it cannot do, rhythm data of a lower rate between the QRS complexes
(bimodal compression), it refuses.
"""

import re
import struct
import warnings
from pathlib import Path

import numpy as np

from ecgclip.errors import UserError
from ecgclip.signals.formats.common import check_bytes, check_size, checked_record, one_line
from ecgclip.signals.leads import ECG_NAMES, lead_name
from ecgclip.signals.record import Record

_PREAMBLE, _HEADER, _POINTER = 6, 16, 10  # Bytes.
_LONGEST = 1 << 24  # Bytes.
_LARGEST = 4_000_000  # Samples of all leads: five minutes of twelve at 1,000 Hz, which take some seconds to decode.


def is_scp(head: bytes) -> bool:
    """Whether this is the beginning of an SCP-ECG file: section 0 comes first, and its first pointer is to itself."""
    if len(head) < 32:
        return False
    section, length = struct.unpack_from("<HI", head, 8)
    pointed, _, index = struct.unpack_from("<HII", head, _PREAMBLE + _HEADER)
    return section == 0 and length >= 26 and (length - _HEADER) % _POINTER == 0 and pointed == 0 and index == 7


def read_scp(path: Path, salt: str | None) -> Record:
    """Read the rhythm data of SCP-ECG, never its reference beat.

    Raises:
        UserError: When ecgdatakit is not installed, or the file is damaged, compressed in a way that is not read, or holds no ECG.

    """
    try:
        from ecgdatakit.exceptions import ECGDataKitError
        from ecgdatakit.parsing.parsers.scp_ecg import SCPECGParser
    except ImportError:
        raise UserError(f"{path.name} is SCP-ECG, which needs a package more: pip install 'ecgclip[formats]'") from None
    check_bytes(path, _LONGEST)
    _check_sizes(path, path.read_bytes())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Check sums are wrong in files of several makers.
            record = SCPECGParser().parse(path)
    except Exception as error:  # The library's own errors, and whatever comes up in a damaged file.
        # The library's tell sections and sizes; what it passes on from elsewhere stands in brackets, and may quote the file.
        own = str(error).removeprefix("SCP-ECG: ") if isinstance(error, ECGDataKitError) else ""
        reason = one_line(re.sub(r"(inconsistent data).*", r"\1", own, flags=re.DOTALL)) or type(error).__name__
        raise UserError(f"{path.name} is SCP-ECG that cannot be read ({reason}): copy or export it again") from None
    leads = [lead for lead in record.leads if lead_name(lead.label) in ECG_NAMES]
    if not leads:
        raise UserError(f"{path.name} is SCP-ECG without one of the twelve leads: export the ECG")
    starts = [int(lead.annotations.get("start_sample", 1)) - 1 for lead in leads]
    first = min(starts)
    longest = max(start - first + len(lead.samples) for start, lead in zip(starts, leads, strict=True))
    check_size(path, longest, len(leads), _LARGEST)
    signal = np.full((len(leads), longest), np.nan, np.float32)
    for row, start, lead in zip(signal, starts, leads, strict=True):
        if lead.resolution <= 0 or lead.resolution_unit != "uV":
            raise UserError(f"{path.name}: its amplitude multiplier is 0, its amplitude is unknown: export it again")
        row[start - first : start - first + len(lead.samples)] = lead.samples * (lead.resolution / 1000)
    device, date = record.recording.device, record.recording.date
    return checked_record(
        path,
        signal,
        1e6 / record.raw_metadata["rhythm_sample_interval_us"],
        [lead.label for lead in leads],
        "scp",
        patient=str(record.patient.patient_id or ""),
        salt=salt,
        age=record.patient.age,
        sex=str(record.patient.sex or ""),
        year=date.year if date else None,
        device=f"{device.manufacturer or ''} {device.model or ''}",
    )


def _check_sizes(path: Path, data: bytes) -> None:
    """Refuse what the leads of section 3 promise beyond the file, or beyond what is decoded within seconds."""
    if not is_scp(data[:32]):
        raise UserError(f"{path.name} is not SCP-ECG: copy or export it again")
    stop = min(_PREAMBLE + struct.unpack_from("<I", data, 10)[0], len(data))
    for at in range(_PREAMBLE + _HEADER, stop - _POINTER + 1, _POINTER):
        section, length, index = struct.unpack_from("<HII", data, at)
        body = data[index - 1 + _HEADER : index - 1 + length] if section == 3 and index else b""
        leads = body[0] if body else 0
        ranges = [struct.unpack_from("<II", body, start) for start in range(2, min(2 + 9 * leads, len(body) - 7), 9)]
        if ranges:
            # The shortest code of a sample is one bit.
            check_size(path, sum(max(last - first + 1, 0) for first, last in ranges), 1, min(_LARGEST, 8 * len(data)))
