"""Philips Sierra ECG XML 1.03 and 1.04: the rhythm, XLI-compressed or not, without the test pulse at its end.

ecgdatakit unpacks XLI. On real files of both versions its limb leads keep Einthoven's and Goldberger's laws within two units, and the
test pulse is 200 units of 5 µV, which is 1 mV, in all twelve leads.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ecgclip.errors import UserError
from ecgclip.signals.formats.common import age_at, check_size, checked_record, without_calibration, year_of
from ecgclip.signals.formats.xml_text import base64_of, numbers_of, parse_xml, text_of, xml_root
from ecgclip.signals.leads import LEADS, lead_name
from ecgclip.signals.record import Record

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_LONGEST = 1 << 20  # Samples of all leads in XLI, 3 min of twelve at 500 Hz: it is unpacked byte by byte.
_LABELS = 4096  # Characters of the leads' names.
_HEADER = 8  # Bytes before each lead in XLI: int32 size, 2 unused, int16 start.
_SET = "dataacquisition/signalcharacteristics/"


def is_philips(head: bytes) -> bool:
    """Whether this is the beginning of a Philips export."""
    return xml_root(head) == "restingecgdata"


def read_philips(path: Path, salt: str | None) -> Record:
    """Read a Philips export.

    Raises:
        UserError: When it holds no rhythm, or in a way that is not understood; or ecgdatakit is needed and missing.

    """
    root = parse_xml(path)
    waveform = root.find(".//parsedwaveforms")
    if waveform is None or not (waveform.text or "").strip():
        raise UserError(f"{path.name} holds no rhythm waveform: export the ECG with its waveform")
    rate = _number(path, root, waveform, "sampling rate", ("samplespersecond",), ("samplingrate",))
    step = _number(path, root, waveform, "resolution", ("resolution",), ("resolution", "signalresolution")) / 1000  # From µV.
    zero = _number(path, root, waveform, "offset", ("signaloffset",), ("signaloffset",), "0")
    seconds = _number(path, root, waveform, "duration", ("durationperchannel",), ()) / 1000
    names = _names(path, root, waveform)
    counts = _counts(path, root, waveform, names, rate * seconds)
    general = root.find("patient/generalpatientdata")
    acquired = root.find("dataacquisition")
    recorded = "" if acquired is None else acquired.get("date") or ""
    about = {name: "" if general is None else text_of(general, name) for name in ("patientid", "age/years", "age/dateofbirth", "sex")}
    years = about["age/years"]
    return checked_record(
        path,
        without_calibration((counts - zero) * step, rate),
        rate,
        names,
        "philips",
        patient=about["patientid"],
        salt=salt,
        age=float(years) if years.isdecimal() else age_at(about["age/dateofbirth"], recorded),
        sex=about["sex"],
        year=year_of(recorded),
        device="Philips " + text_of(root, "dataacquisition/machine"),
    )


def _said(root: "Element", waveform: "Element", attributes: tuple[str, ...], elements: tuple[str, ...]) -> str:
    """Version 1.04 says at the waveform what 1.03 says in the characteristics of the signal."""
    said = [waveform.get(name) or "" for name in attributes] + [text_of(root, _SET + name) for name in elements]
    return next((text.strip() for text in said if text.strip()), "")


def _number(
    path: Path,
    root: "Element",
    waveform: "Element",
    what: str,
    attributes: tuple[str, ...],
    elements: tuple[str, ...],
    default: str = "",
) -> float:
    try:
        number = float(_said(root, waveform, attributes, elements) or default)
    except ValueError:
        number = np.nan
    if not abs(number) < 1e9 or (number <= 0 and not default):  # Not a number fails, too.
        raise UserError(f"{path.name} does not say its {what}: export it again")
    return number


def _names(path: Path, root: "Element", waveform: "Element") -> list[str]:
    names = (waveform.get("leadlabels") or "")[:_LABELS].split()
    count = _said(root, waveform, ("numberofleads",), ("numberchannelsallocated", "numberchannelsvalid"))
    many = int(count) if count.isdecimal() and len(count) < 4 else 0
    if not names and _said(root, waveform, (), ("acquisitiontype", "leadset")).upper() in ("STD-12", "10-WIRE"):
        names = list(LEADS) if many in (0, len(LEADS)) else []
    if not names or (many and many > len(names)):
        raise UserError(f"{path.name} does not say which leads it holds: export it as version 1.04")
    return names[:many] if many else names


def _counts(path: Path, root: "Element", waveform: "Element", names: list[str], length: float) -> np.ndarray:
    """Return the rhythm as ``(leads, T)`` units of the converter."""
    bits = waveform.get("bitspersample") or waveform.get("nbitspersample") or text_of(root, _SET + "bitspersample") or "16"
    signed = _said(root, waveform, ("signalsigned",), ("signalsigned",)).lower() != "false"
    method = (waveform.get("compression") or waveform.get("compressmethod") or "").lower()
    packed = method not in ("", "none", "uncompressed") and (waveform.get("compressflag") or "").lower() != "false"
    encoding = (waveform.get("dataencoding") or "").lower()
    if encoding not in ("base64", "plain") or bits != "16" or (packed and (method, encoding, signed) != ("xli", "base64", True)):
        raise UserError(f"{path.name}: waveforms that are stored like this are not read: export them as XLI or plain, with 16 bits")
    text = waveform.text or ""
    if encoding == "plain":
        try:
            numbers = numbers_of(text)
        except ValueError:
            raise UserError(f"{path.name}: samples are not numbers: export it again") from None
        check_size(path, round(length), len(names), len(numbers))
        return numbers[: round(length) * len(names)].reshape(len(names), -1)
    try:
        data = base64_of(text)
    except ValueError:
        raise UserError(f"{path.name}: the samples are not base64: copy or export it again") from None
    if packed:
        check_size(path, round(length), len(names), _LONGEST)
        return _limb_leads(path, _unpack(path, data, len(names), round(length)), names)
    check_size(path, round(length), len(names), len(data) // 2)
    return np.frombuffer(data, "<i2" if signed else "<u2", round(length) * len(names)).reshape(len(names), -1).astype(np.float64)


def _unpack(path: Path, data: bytes, leads: int, length: int) -> np.ndarray:
    """Return what XLI holds: ``(leads, length)`` integers, limb leads still as what is left of them."""
    try:
        from ecgdatakit.exceptions import CorruptedFileError
        from ecgdatakit.parsing.codecs.lzw import LzwDecoder
        from ecgdatakit.parsing.codecs.xli import xli_decode_deltas
    except ImportError:
        raise UserError(f"{path.name} is compressed; to read it: pip install 'ecgclip[formats]'") from None
    counts, at = np.empty((leads, length), np.int64), 0
    for row in counts:
        size = int.from_bytes(data[at : at + 4], "little", signed=True)
        start = int.from_bytes(data[at + 6 : at + _HEADER], "little", signed=True)
        packed = data[at + _HEADER : at + _HEADER + max(size, 0)]
        at += _HEADER + size
        if not 0 < size == len(packed):
            raise UserError(f"{path.name} breaks off within its samples: copy or export it again")
        decoder, bytes_ = LzwDecoder(packed, bits=10), bytearray()
        samples: list[int] = []
        try:
            # A few bytes can stand for a great many; no more than twice the promise is unpacked.
            while len(bytes_) <= 4 * length and (byte := decoder.read()) >= 0:
                bytes_.append(byte)
            samples = list(xli_decode_deltas(bytes(bytes_), start)) if 2 * length <= len(bytes_) <= 4 * length else samples
        except (CorruptedFileError, OverflowError):
            samples = []
        if len(samples) < length:
            raise UserError(f"{path.name}: its compressed samples are damaged: copy or export it again")
        row[:] = samples[:length]
    return counts


def _limb_leads(path: Path, counts: np.ndarray, names: list[str]) -> np.ndarray:
    """XLI stores III, aVR, aVL and aVF as what I and II do not explain; return them whole.

    Integers are halved downwards, as the device does it: only then is its test pulse the same in all leads.
    """
    leads = tuple(map(lead_name, names))
    if leads[:6] != LEADS[:6]:
        if set(leads) & set(LEADS[2:6]):
            order = " ".join(lead if lead in LEADS else "?" for lead in leads[:6])
            raise UserError(f"{path.name}: compressed limb leads in the order {order} are not read: export it uncompressed")
        return counts
    whole = counts.copy()
    one, two = counts[:2]
    whole[2] = two - one - counts[2]
    whole[3] = -((one + two) // 2) - counts[3]
    whole[4] = (one - whole[2]) // 2 - counts[4]
    whole[5] = (two + whole[2]) // 2 - counts[5]
    return whole
