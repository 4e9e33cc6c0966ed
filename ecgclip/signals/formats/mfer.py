"""MFER (ISO 22077-1): tags with their lengths, and frames of samples between them.

Read here and not by a library: the leads, the interval and the resolution may be given per channel, and a frame lies in the file as
sequences of channels of blocks of samples.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ecgclip.errors import UserError
from ecgclip.signals.formats.common import (
    MAX_PARTS,
    MAX_SAMPLES,
    check_bytes,
    check_size,
    checked_record,
    in_pieces,
    one_line,
    suitability,
    too_many_parts,
    without_calibration,
)
from ecgclip.signals.leads import ECG_NAMES, INVERTED, lead_name
from ecgclip.signals.record import Record

_BYTE_ORDER, _BLOCK, _CHANNELS, _SEQUENCES, _KIND, _LEAD, _TYPE = 0x01, 0x04, 0x05, 0x06, 0x08, 0x09, 0x0A
_INTERVAL, _RESOLUTION, _OFFSET, _COMPRESSION, _NULL, _MODEL = 0x0B, 0x0C, 0x0D, 0x0E, 0x12, 0x17
_WAVEFORM, _CHANNEL, _PREAMBLE = 0x1E, 0x3F, 0x40
_PATIENT, _AGE, _SEX, _TIME = 0x82, 0x83, 0x84, 0x85
_END = 0x80
# Table of leads of the 12-lead ECG.
_NAMES = {1: "I", 2: "II", 61: "III", 62: "aVR", 63: "aVL", 64: "aVF", 65: INVERTED} | {number + 2: f"V{number}" for number in range(1, 7)}
_DTYPES = {0: "i2", 1: "u2", 2: "i4", 3: "u1", 5: "i1", 6: "u4", 7: "f4", 8: "f8"}
_MOST = 256  # Channels.
_NOT_ZERO = re.compile(rb"[^\0]")
# Kinds of waveform (MWF_WFM) that are no rhythm. The first two are averages for late potentials, and 9, in newer versions of part 1, is a
# dominant beat; at least one reader of Japanese files met 8 as an average beat. 25 and 26 are a spectrum and a trend.
_NO_RHYTHM = {7, 8, 9, 25, 26}
_MOST_AT_ONCE = MAX_SAMPLES >> 1  # Samples of all leads, which stay in memory while frames are joined.
_GAP = 0.01  # s; frames whose own times leave more between them are recordings of their own.


@dataclass
class _Frame:
    """Samples of the ECG's leads."""

    names: tuple[str, ...]
    sampling_rate: float
    signal: np.ndarray  # (leads, T) mV
    time: bytes


@dataclass
class _State:
    """What the tags so far say: of all channels, and of one."""

    path: Path
    little: bool = False
    common: dict[int, bytes] = field(default_factory=dict)
    channels: dict[int, dict[int, bytes]] = field(default_factory=dict)
    frames: list[_Frame] = field(default_factory=list)
    parts: int = 0
    samples: int = 0

    def count(self, parts: int = 1) -> None:
        """Count tags, and the channels of frames: each takes time, however small it is."""
        self.parts += parts
        if self.parts > MAX_PARTS:
            raise too_many_parts(self.path)

    def value(self, tag: int, channel: int) -> bytes:
        """Return the content of a tag for a channel, empty where there is none."""
        return self.channels.get(channel, {}).get(tag, self.common.get(tag, b""))

    def number(self, content: bytes, default: int = 0, *, signed: bool = False) -> int:
        """Return a whole number in the byte order of the file."""
        return int.from_bytes(content, "little" if self.little else "big", signed=signed) if content else default


def is_mfer(head: bytes) -> bool:
    """Whether this is the beginning of an MFER file: its preamble, or the byte order followed by another known tag."""
    if head[:1] == b"@" and head[2:5] in (b"MFR", b"MFE"):
        return True
    return (
        head[:2] == b"\x01\x01"
        and head[2:3] in (b"\0", b"\x01")
        and head[3:4] in map(bytes, [[tag] for tag in (*range(4, 14), 0x17, 0x16)])
    )


def read_mfer(path: Path, salt: str | None) -> Record:
    """Read MFER without compression.

    Raises:
        UserError: When it is damaged, compressed, or holds no ECG.

    """
    check_bytes(path)
    state = _State(path)
    _read_tags(state, path.read_bytes())
    if not state.frames:
        raise UserError(f"{path.name} is MFER without a waveform of the twelve leads: export the ECG")
    frame = _best(state)
    age = state.common.get(_AGE, b"")
    time = state.common.get(_TIME, b"")
    return checked_record(
        path,
        without_calibration(frame.signal, frame.sampling_rate),
        frame.sampling_rate,
        frame.names,
        "mfer",
        patient=_text(state.common.get(_PATIENT, b"")),
        salt=salt,
        age=float(age[0]) if any(age) and age[0] < 0xFF else None,  # All zero: not entered.
        sex={1: "M", 2: "F"}.get(state.number(state.common.get(_SEX, b"")), ""),
        year=state.number(time[:2]) if len(time) >= 2 else None,
        device=one_line(" ".join(_text(state.common.get(_MODEL, b"")).split("^")[:2])),
    )


def _read_tags(state: _State, data: bytes) -> None:
    at = 0
    while at < len(data):
        if data[at] == 0:  # Zeros fill the end of some files.
            filled = _NOT_ZERO.search(data, at)
            at = filled.start() if filled else len(data)
            continue
        tag = data[at]
        at += 1
        if tag == _END:
            return
        state.count()
        channel = None
        if tag == _CHANNEL:
            channel, at = _channel_number(state.path, data, at)
        start, stop, at = _extent(state.path, data, at)
        content = data[start:stop]
        if channel is not None:
            _read_channel(state, channel, content)
        elif tag == _WAVEFORM:
            _read_frame(state, content)
        elif tag != _PREAMBLE:
            _define(state, tag, content)


def _define(state: _State, tag: int, content: bytes) -> None:
    if tag == _BYTE_ORDER:
        state.little = content == b"\x01"
    if tag == _CHANNELS:
        state.channels.clear()
    state.common[tag] = content


def _read_channel(state: _State, channel: int, content: bytes) -> None:
    at = 0
    while at < len(content) and content[at]:
        state.count()
        start, stop, after = _extent(state.path, content, at + 1)
        state.channels.setdefault(channel, {})[content[at]] = content[start:stop]
        at = after


def _channel_number(path: Path, data: bytes, at: int) -> tuple[int, int]:
    """Numbers from 128 on stand in several bytes of seven bits, all but the last with their highest bit set."""
    number = 0
    for step in range(3):
        if at + step >= len(data):
            break
        number = number << 7 | data[at + step] & 0x7F
        if data[at + step] < 0x80:
            return number, at + step + 1
    raise UserError(f"{path.name} breaks off within a channel: copy it again")


def _extent(path: Path, data: bytes, at: int) -> tuple[int, int, int]:
    """Return where the content of a tag begins and ends, and where the next tag is. Its length is always big-endian."""
    length = data[at] if at < len(data) else 0x7F
    start, after = at + 1, 0
    if length == 0x80:  # Up to two zeros.
        stop = data.find(b"\0\0", start)
        stop = stop if stop >= 0 else len(data) + 1
        after = stop + 2
    else:
        if length > 0x80:
            size = length & 0x7F
            length, start = int.from_bytes(data[start : start + size], "big"), start + size
        stop = start + length
    if stop > len(data):
        raise UserError(f"{path.name} breaks off within one of its parts: copy or export it again")
    return start, stop, after or stop


def _read_frame(state: _State, content: bytes) -> None:
    path, count = state.path, state.number(state.common.get(_CHANNELS, b""), 1)
    if not 1 <= count <= _MOST:
        raise UserError(f"{path.name} promises {count} channels: copy or export it again")
    state.count(8 * count)  # About as much work as so many tags.
    if state.number(state.common.get(_KIND, b"")[:2]) in _NO_RHYTHM:
        return
    if state.number(state.common.get(_COMPRESSION, b"")[:2]):
        raise UserError(f"{path.name} is compressed MFER, which is not read: export it without compression")
    kinds, blocks = [], []
    for channel in range(count):
        code = state.number(state.value(_TYPE, channel))
        if code not in _DTYPES:
            raise UserError(f"{path.name}: samples of MFER type {code} are not read: export them as 16-bit integers")
        kinds.append(np.dtype(("<" if state.little else ">") + _DTYPES[code]))
        blocks.append(state.number(state.value(_BLOCK, channel), 1))
    # A block's size may be any number in a damaged file: measured before numpy is asked for it.
    size = sum(block * kind.itemsize for block, kind in zip(blocks, kinds, strict=True))
    sequences = state.number(state.common.get(_SEQUENCES, b"")) or (len(content) // size if size else 0)
    check_size(path, sequences * max(blocks), count, MAX_SAMPLES)
    if min(blocks) < 1 or sequences * size > len(content):
        raise UserError(f"{path.name} breaks off: {len(content)} of {sequences * size} bytes of a waveform are there: copy it again")
    table = np.frombuffer(content, np.uint8, sequences * size).reshape(sequences, size)
    rows, names, rates, at = [], [], [], 0
    for channel, (kind, block) in enumerate(zip(kinds, blocks, strict=True)):
        part, at = table[:, at : at + block * kind.itemsize], at + block * kind.itemsize
        name = _name(state, channel)
        if name in ECG_NAMES:
            digital = np.ascontiguousarray(part).view(kind).ravel()
            rows.append(_millivolts(state, channel, kind, digital))
            names.append(name)
            rates.append(_rate(state, channel))
    if not rows:
        return
    if len(set(rates)) > 1 or len({len(row) for row in rows}) > 1:
        raise UserError(f"{path.name} holds leads of several sampling rates or lengths: export them at one")
    state.samples += sum(map(len, rows))
    check_size(path, state.samples, 1, MAX_SAMPLES, most=_MOST_AT_ONCE)
    state.frames.append(_Frame(tuple(names), rates[0], np.stack(rows), state.common.get(_TIME, b"")))


def _name(state: _State, channel: int) -> str:
    content = state.channels.get(channel, {}).get(_LEAD, b"")
    known = _NAMES.get(state.number(content[:2]))
    return known or lead_name(_text(content[2:])) or f"channel {channel + 1}"


def _rate(state: _State, channel: int) -> float:
    content = state.value(_INTERVAL, channel)
    if len(content) < 3 or content[0] not in (0, 1):
        raise UserError(f"{state.path.name} does not say its sampling interval in s or Hz: export it again")
    value = _decimal(state, content)
    rate = round(value if content[0] == 0 else 1 / value, 6) if value > 0 else 0.0
    if rate <= 0:
        raise UserError(f"{state.path.name}: a sampling interval of {value:g} is not possible: export it again")
    return rate


def _millivolts(state: _State, channel: int, kind: np.dtype, digital: np.ndarray) -> np.ndarray:
    """Return ``(T,)`` mV of numbers as they stand in the file."""
    content = state.value(_RESOLUTION, channel)
    if len(content) < 3 or content[0] != 0:
        raise UserError(f"{state.path.name}: the resolution of {_name(state, channel)} is not given in volt: export it again")
    step = _decimal(state, content) * 1000
    if step <= 0:
        raise UserError(f"{state.path.name}: {_name(state, channel)} has resolution 0, its amplitude is unknown: export it again")
    # The offset (0Dh) is what the zero of the samples is off by, and is added: volt = (sample + offset) x resolution. The standard's text
    # (ISO 22077-1, sampling attributes) could be read both ways; BIOSIG's mwfopen and ecgdatakit, which cite it, both add.
    offset = _sample(state, channel, _OFFSET, kind, 0)
    null = _sample(state, channel, _NULL, kind, 0) if state.value(_NULL, channel) else None

    def convert(part: np.ndarray) -> np.ndarray:
        part = part if kind.kind != "f" else np.nan_to_num(part, nan=np.nan, posinf=np.nan, neginf=np.nan)
        volts = (part.astype(np.float64) + offset) * step
        if null is not None:
            volts[part == null] = np.nan
        return volts

    return in_pieces(digital, convert)


def _sample(state: _State, channel: int, tag: int, kind: np.dtype, default: float) -> float:
    """Return a tag that holds one sample in the type of the samples, or a whole number of another length."""
    content = state.value(tag, channel)
    if len(content) == kind.itemsize:
        return float(np.frombuffer(content, kind)[0])
    return float(state.number(content, signed=kind.kind == "i")) if content else default


def _decimal(state: _State, content: bytes) -> float:
    """Return mantissa times a power of ten: unit, exponent (signed) and mantissa follow each other."""
    exponent = int.from_bytes(content[1:2], "big", signed=True)
    return float(state.number(content[2:6]) * 10.0**exponent)


def _best(state: _State) -> _Frame:
    """Join frames that follow each other, and return the most suitable: others are rhythm strips, or beats that do not say so."""
    joined: list[list[_Frame]] = []
    length = 0
    for frame in state.frames:
        if joined and _follows(state, joined[-1][0], length, frame):
            joined[-1].append(frame)
            length += frame.signal.shape[1]
        else:
            joined.append([frame])
            length = frame.signal.shape[1]

    def rank(parts: list[_Frame]) -> tuple[bool, int, float]:
        return suitability(parts[0].names, sum(part.signal.shape[1] for part in parts) / parts[0].sampling_rate)

    best = max(joined, key=rank)
    signal = best[0].signal if len(best) == 1 else np.concatenate([part.signal for part in best], axis=1)
    return _Frame(best[0].names, best[0].sampling_rate, signal, best[0].time)


def _follows(state: _State, first: _Frame, length: int, frame: _Frame) -> bool:
    """Whether a frame goes on where ``length`` samples from the beginning of the first one end."""
    if (first.names, first.sampling_rate) != (frame.names, frame.sampling_rate):
        return False
    if first.time == frame.time:
        return True
    return abs(_seconds(state, frame.time) - _seconds(state, first.time) - length / first.sampling_rate) <= _GAP


def _seconds(state: _State, time: bytes) -> float:
    """Return the time of a recording in s within its day; the day itself does not matter between frames."""
    if len(time) < 7:
        return float("nan")
    return time[4] * 3600 + time[5] * 60 + time[6] + state.number(time[7:9]) / 1e3 + state.number(time[9:11]) / 1e6


def _text(content: bytes) -> str:
    """Return a text in whichever of the encodings of Japanese devices it is."""
    try:
        return content.decode("utf-8").strip("\0 ")
    except UnicodeDecodeError:
        return content.decode("cp932", "replace").strip("\0 ")
