"""WFDB, the format of PhysioNet: https://physionet.org/physiotools/wag/header-5.htm and signal-5.htm."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ecgclip.errors import UserError
from ecgclip.signals.formats.common import MAX_CHANNELS, MAX_SAMPLES, check_size, checked_record, is_voltage, millivolts
from ecgclip.signals.leads import ECG_NAMES, lead_name
from ecgclip.signals.record import Record

_THREES = ("310", "311")  # Three samples in four bytes.
# Bits of a sample, and the value that marks a missing one. Format 8 holds differences and has no such mark.
_BITS = {"8": 8, "16": 16, "24": 24, "32": 32, "61": 16, "80": 8, "160": 16, "212": 12, "310": 10, "311": 10}
_MISSING = {"80": -(1 << 7), "310": -(1 << 9), "311": -(1 << 9), "212": -(1 << 11), "24": -(1 << 23), "32": -(1 << 31)}
_MISSING |= dict.fromkeys(("16", "61", "160"), -(1 << 15))
_COMPRESSED = ("508", "516", "524")
_COMPRESSION = 1000  # Samples per byte: eight flat channels in FLAC need about one byte for a thousand.
_GAPS = 20  # A record of segments may hold this many times more pauses than signal.
_LONGEST_HEADER = 1 << 20  # Bytes.
_MOST_SEGMENTS = 1 << 12  # Entries of a header. Each is a file to open.
_UNEVEN = MAX_SAMPLES >> 3  # Samples where channels differ in how they are stored: those take several times the memory.
_AT_ONCE = 3 << 20  # Samples that are taken from a file at a time.
_STORAGE = re.compile(r"(\d+)(?:x(\d{1,6}))?(?::(\d{1,9}))?(?:\+(\d{1,12}))?")
_GAIN = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?:\((-?\d{1,12})\))?(?:/(\S+))?")
# Only these two: other comments may hold names and numbers of patients.
_ABOUT = re.compile(r"#\s*<?(age|sex)>?\s*:\s*(\w+)", re.IGNORECASE)
_RECORD_LINE = re.compile(rb"\S+\s+\d+(\s+[\d.]+(/\S+)?)?(\s+\d+)?(\s+[\d:.]+)?(\s+[\d/]+)?\s*")
_SIGNAL_LINE = re.compile(rb"\S*[A-Za-z_~]\S*\s+\d+\S*(\s|$)")


@dataclass(frozen=True)
class _Channel:
    """One signal line of a header."""

    file: str
    form: str
    per_frame: int = 1
    skew: int = 0
    offset: int = 0
    gain: float = 1.0
    baseline: float = 0.0
    initial: int = 0
    unit: str = "mV"
    name: str = ""
    taken: bool = True


@dataclass(frozen=True)
class _Header:
    """A header; ``samples`` of each channel, in frames."""

    sampling_rate: float
    samples: int | None
    channels: tuple[_Channel, ...]
    segments: tuple[tuple[str, int], ...]
    age: float | None
    sex: str
    year: int | None


def is_wfdb(head: bytes) -> bool:
    """Tell whether a file begins like a header, whatever it is called."""
    lines = [line for line in head.splitlines() if line.strip() and not line.startswith(b"#")]
    return len(lines) > 1 and _RECORD_LINE.fullmatch(lines[0]) is not None and _SIGNAL_LINE.match(lines[1]) is not None


def header_beside(path: Path) -> Path | None:
    """Return the header of a record that is named by its data file or without an ending, or None."""
    # A bare name may hold a dot of its own, so the header beside it goes first.
    names = [Path(f"{path}.hea")]
    if path.suffix.lower() in (".dat", ".mat"):
        names.append(path.with_suffix(".hea"))
    return next((name for name in names if name.is_file()), None)


def read_wfdb(path: Path, salt: str | None = None) -> Record:
    """Read a record by its header, in one segment or in several.

    Args:
        path: The header, ``.hea``.
        salt: Not needed: a header holds no number of a patient.

    Returns:
        The record in mV. Channels with several samples per frame have the rate of the leads that have most; extra channels
        of another rate are left out.

    Raises:
        UserError: In one line.
    """
    header = _parse_header(path)
    signal, names, rate = _read_segments(path, header) if header.segments else _read_channels(path, _without_others(path, header))
    return checked_record(path, signal, rate, names, "wfdb", age=header.age, sex=header.sex, year=header.year)


# --- the header ----------------------------------------------------------------------------------------------------------------------


def _parse_header(path: Path) -> _Header:
    if path.stat().st_size > _LONGEST_HEADER:
        raise UserError(f"{path.name} is not a WFDB header: copy or export it again")
    text = path.read_bytes().decode("latin-1").splitlines()
    lines = [line for line in text if line.strip() and not line.startswith("#")]
    try:
        fields = lines[0].split()
        rate = float(fields[2].split("/")[0].split("(")[0]) if len(fields) > 2 else 250.0
        samples = int(fields[3]) if len(fields) > 3 else 0
        _, several, pieces = fields[0].partition("/")
        wanted = int(pieces if several else fields[1])
        if wanted > (_MOST_SEGMENTS if several else MAX_CHANNELS):
            raise UserError(f"{path.name} lists more than an ECG has ({'segments' if several else 'channels'}): export a shorter part")
        below = lines[1 : wanted + 1]
        segments = [(line.split()[0], int(line.split()[1])) for line in below] if several else []
        channels = [] if several else [_channel(path, line) for line in below]
        if wanted < 1 or len(below) != wanted or samples < 0:
            raise ValueError
    except (ValueError, IndexError):
        raise UserError(f"{path.name} is not a WFDB header: copy or export it again") from None
    about = {match[1].lower(): match[2] for match in map(_ABOUT.match, text) if match}
    year = re.fullmatch(r"\d{1,2}/\d{1,2}/(\d{4})", fields[5]) if len(fields) > 5 else None
    age = float(about["age"]) if re.fullmatch(r"[0-9]{1,3}", about.get("age", "")) else None
    return _Header(rate, samples or None, tuple(channels), tuple(segments), age, about.get("sex", ""), int(year[1]) if year else None)


def _without_others(path: Path, header: _Header) -> _Header:
    """Mark the channels that are no voltage, such as blood pressure, pulse or breathing beside an ECG: they are not read."""
    # They keep their place, as samples of all channels of a file take turns.
    others = [lead_name(channel.name) not in ECG_NAMES and not is_voltage(channel.unit) for channel in header.channels]
    channels = tuple(replace(channel, taken=not other) for channel, other in zip(header.channels, others, strict=True))
    return replace(header, channels=channels) if any(others) else header


def _check_any(path: Path, names: Sequence[str]) -> None:
    if not names:
        raise UserError(f"{path.name} holds no ECG: no channel has the name of a lead, and none is a voltage: export the ECG's channels")


def _channel(path: Path, line: str) -> _Channel:
    """Parse a signal line; a ValueError or IndexError means that it is none."""
    parts = line.split(maxsplit=8)
    name = parts[8].strip() if len(parts) > 8 else ""
    if parts[0] == "~":  # A channel of a layout, that no file holds.
        return _Channel("~", "0", name=name)
    storage = _STORAGE.fullmatch(parts[1])
    if storage is None:
        raise ValueError
    if storage[1] not in _BITS and storage[1] not in _COMPRESSED:
        known = ", ".join((*_BITS, *_COMPRESSED))
        raise UserError(f"{path.name} stores signals in format {storage[1][:9]}: known are {known}")
    gain = _GAIN.fullmatch(parts[2])
    if gain is None:
        raise ValueError
    if float(gain[1]) == 0:
        raise UserError(f"{path.name}: gain 0 means that the amplitude is unknown: export it with its calibration")
    if not 1e-9 < abs(float(gain[1])) < 1e12:
        raise UserError(f"{path.name}: gain {float(gain[1]):g} is not possible: export it with its calibration")
    zero = parts[4] if len(parts) > 4 else "0"  # Of the converter: the baseline, where no other is given.
    per_frame = int(storage[2] or 1)
    if per_frame < 1:
        raise ValueError
    return _Channel(
        file=parts[0],
        form=storage[1],
        per_frame=per_frame,
        skew=int(storage[3] or 0),
        offset=int(storage[4] or 0),
        gain=float(gain[1]),
        baseline=float(gain[2] if gain[2] is not None else int(zero[:12])),
        initial=int(parts[5][:12]) if len(parts) > 5 else 0,
        unit=gain[3] or "mV",
        name=name,
    )


def _absent(path: Path, name: str) -> UserError:
    """Return the error of a file that a header names, and that is not there; a name that is not the record's own may be a patient's."""
    if not name.startswith(path.stem):
        return UserError(f"{path.name} names a file that is not beside it: copy that, too")
    return UserError(f"{path.with_name(name)} does not exist, but {path.name} names it: copy it too")


def _beside(path: Path, name: str) -> Path:
    """Return the file that a header names; never one in another folder."""
    if Path(name).name != name or "\\" in name or "\0" in name or name in ("", ".", ".."):
        raise UserError(f"{path.name} names a file in another folder: only files beside it are read")
    return path.with_name(name)


# --- the samples ---------------------------------------------------------------------------------------------------------------------


def _read_channels(path: Path, header: _Header) -> tuple[np.ndarray, list[str], float]:
    """Read one segment: ``(leads, T)`` mV, the names, Hz."""
    _check_any(path, [channel.name for channel in header.channels if channel.taken])
    files: dict[str, list[int]] = {}
    for row, channel in enumerate(header.channels):
        files.setdefault(channel.file, []).append(row)
    rows: dict[int, np.ndarray] = {}
    for name, held in files.items():
        channels = [header.channels[row] for row in held]
        if not any(channel.taken for channel in channels):
            continue
        data = _beside(path, name)
        if not data.is_file():
            raise _absent(path, name)
        first = channels[0]
        if any((channel.form, channel.offset) != (first.form, first.offset) for channel in channels):
            raise UserError(f"{path.name} stores one file in two ways at once: copy or export it again")
        read = _flac if first.form in _COMPRESSED else _even if _is_even(channels) else _uneven
        signal = read(path, data, header.samples, channels)
        taken = [row for row, channel in zip(held, channels, strict=True) if channel.taken]
        if len(taken) == sum(channel.taken for channel in header.channels) and len({header.channels[row].per_frame for row in taken}) == 1:
            return (
                np.asarray(signal),
                [header.channels[row].name for row in taken],
                header.sampling_rate * header.channels[taken[0]].per_frame,
            )
        rows |= dict(zip(taken, signal, strict=True))
    order = sorted(rows)
    return _one_rate(header.sampling_rate, [header.channels[row] for row in order], [rows[row] for row in order])


def _one_rate(frame_rate: float, channels: Sequence[_Channel], rows: Sequence[np.ndarray]) -> tuple[np.ndarray, list[str], float]:
    """Bring channels with several samples per frame together."""
    names, per_frame = ([getattr(channel, field) for channel in channels] for field in ("name", "per_frame"))
    if len(set(per_frame)) == 1:
        length = min(len(row) for row in rows)  # Without a number of samples, files may end at different ones.
        return np.stack([row[:length] for row in rows]), names, frame_rate * per_frame[0]
    ours = [row for row, name in enumerate(names) if lead_name(name) in ECG_NAMES] or list(range(len(rows)))
    most = max(per_frame[row] for row in ours)
    taken = [row for row in range(len(rows)) if row in ours or per_frame[row] == most]
    frames = min(len(rows[row]) // per_frame[row] for row in taken)
    grid = np.arange(frames * most) / most
    # A lead of a lower rate than others is rare, and is interpolated, so that all stay together.
    signal = [
        rows[row][: len(grid)] if per_frame[row] == most else np.interp(grid, np.arange(len(rows[row])) / per_frame[row], rows[row])
        for row in taken
    ]
    return np.stack(signal), [names[row] for row in taken], frame_rate * most


def _is_even(channels: Sequence[_Channel]) -> bool:
    """Tell whether samples stand in turns of one of each channel, as in nearly every 12-lead archive."""
    return channels[0].form != "8" and all(channel.per_frame == 1 and not channel.skew for channel in channels)


def _frames(path: Path, data: Path, frames: int | None, channels: Sequence[_Channel], most: int) -> int:
    """Return how many frames to read of a file whose samples take a fixed number of bits."""
    form, width = channels[0].form, sum(channel.per_frame for channel in channels)
    size = data.stat().st_size - channels[0].offset
    here = (size * 3 // 4 if form in _THREES else size * 8 // _BITS[form]) // width
    frames = here if frames is None else frames
    if here < frames:
        raise UserError(f"{data.name} breaks off after {max(here, 0)} of {frames} samples: copy it again")
    check_size(path, frames, width, max(frames * width, 1), most=most)
    return frames


def _even(path: Path, data: Path, frames: int | None, channels: Sequence[_Channel]) -> np.ndarray:
    """Read ``(leads, T)`` mV float32 of the channels that are taken, some frames at a time."""
    form, width = channels[0].form, len(channels)
    frames = _frames(path, data, frames, channels, MAX_SAMPLES)
    taken = [row for row, channel in enumerate(channels) if channel.taken]
    ours = [channels[row] for row in taken]
    scales = np.array([millivolts(path, channel.unit) for channel in ours])
    baselines, gains = np.array([channel.baseline for channel in ours]), np.array([channel.gain for channel in ours])
    signal = np.empty((len(ours), frames), np.float32)
    step = max(_AT_ONCE // width // 12 * 12, 12)  # Packed formats begin with a whole byte after every second or third sample.
    for start in range(0, frames, step):
        count = min(step, frames - start)
        skipped = start * width
        at = channels[0].offset + (skipped // 3 * 4 if form in _THREES else skipped * _BITS[form] // 8)
        digital = _digital(data, form, at, count * width).reshape(count, width)
        digital = digital if len(taken) == width else digital[:, taken]
        part = (digital - baselines) / gains
        part[digital == _MISSING.get(form)] = np.nan
        signal[:, start : start + count] = (part if (scales == 1).all() else part * scales).T
    return signal


def _uneven(path: Path, data: Path, frames: int | None, channels: Sequence[_Channel]) -> list[np.ndarray]:
    """Read one array in mV for each channel that is taken, whatever its rate, its skew, or the differences that it is stored in."""
    form, width = channels[0].form, sum(channel.per_frame for channel in channels)
    frames = _frames(path, data, frames, channels, _UNEVEN)
    digital = _digital(data, form, channels[0].offset, frames * width).reshape(frames, width)
    missing = _MISSING.get(form)
    rows, column = [], 0
    for channel in channels:
        part = digital[:, column : column + channel.per_frame].ravel()
        column += channel.per_frame
        if not channel.taken:
            continue
        if form == "8":
            part = channel.initial + np.cumsum(part, dtype=np.int64)
        row = (part - channel.baseline) / channel.gain * millivolts(path, channel.unit)
        if missing is not None:
            row[part == missing] = np.nan
        late = min(channel.skew * channel.per_frame, len(row))
        rows.append(np.concatenate([row[late:], np.full(late, np.nan)]) if late else row)
    return rows


def _digital(data: Path, form: str, offset: int, count: int) -> np.ndarray:
    """Read ``count`` samples, as integers."""
    plain = {"8": "i1", "16": "<i2", "32": "<i4", "61": ">i2", "80": "u1", "160": "<u2"}
    if form in plain:
        read = np.fromfile(data, plain[form], count, offset=offset)
        return read if form not in ("80", "160") else read.astype(np.int32) - (1 << (7 if form == "80" else 15))
    raw = np.fromfile(data, "u1", -(-count // 3) * 4 if form in _THREES else -(-count * _BITS[form] // 8), offset=offset)
    group = 4 if form in _THREES else 3
    raw = np.concatenate([raw, np.zeros(-len(raw) % group, np.uint8)]).reshape(-1, group).astype(np.int32)
    if form == "24":
        return _signed(raw[:, 0] | raw[:, 1] << 8 | raw[:, 2] << 16, 24)
    if form == "212":
        return _signed(np.stack([raw[:, 0] | (raw[:, 1] & 0x0F) << 8, raw[:, 2] | (raw[:, 1] & 0xF0) << 4], 1).ravel(), 12)[:count]
    low, high = raw[:, 0] | raw[:, 1] << 8, raw[:, 2] | raw[:, 3] << 8
    if form == "310":
        three = [low >> 1 & 0x3FF, high >> 1 & 0x3FF, low >> 11 | high >> 11 << 5]
    else:
        three = [low & 0x3FF, low >> 10 | (high & 0x0F) << 6, high >> 4 & 0x3FF]
    return _signed(np.stack(three, 1).ravel(), 10)[:count]


def _signed(values: np.ndarray, bits: int) -> np.ndarray:
    """Take the highest of ``bits`` bits for the sign."""
    return (values ^ 1 << bits - 1) - (1 << bits - 1)


def _flac(path: Path, data: Path, frames: int | None, channels: Sequence[_Channel]) -> list[np.ndarray]:
    """Read a compressed file with the wfdb library."""
    if frames is None:
        raise UserError(f"{path.name} does not say how many samples {data.name} holds: copy or export it again")
    check_size(path, frames, sum(channel.per_frame for channel in channels), data.stat().st_size * _COMPRESSION, most=_UNEVEN)
    import tempfile

    import wfdb  # Pulls in pandas and aiohttp: only for this form.

    # The library reads a header as well: one with these channels alone, and with nothing of the other one's text.
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "r.dat").symlink_to(data.resolve())
        lines = [f"r {len(channels)} 100 {frames}"]
        for channel in channels:
            storage = f"{channel.form}x{channel.per_frame}:{channel.skew}+{channel.offset}"
            lines.append(f"r.dat {storage} {channel.gain!r}({int(channel.baseline)})/mV 0 0 {channel.initial} 0 0 x")
        (Path(folder) / "r.hea").write_text("\n".join(lines) + "\n")
        record = wfdb.rdrecord(f"{folder}/r", smooth_frames=False)
    pairs = zip(record.e_p_signal, channels, strict=True)
    return [row * millivolts(path, channel.unit) for row, channel in pairs if channel.taken]


# --- records of several segments -----------------------------------------------------------------------------------------------------


def _read_segments(path: Path, header: _Header) -> tuple[np.ndarray, list[str], float]:
    """Read the segments that a header lists, by the names of their channels; a pause between them is NaN."""
    headers, available = _segment_headers(path, header)
    total = sum(length for _, length in header.segments)
    names = list(dict.fromkeys(channel.name for held in headers.values() for channel in held.channels if channel.taken))
    _check_any(path, names)
    check_size(path, total, len(names), available * _GAPS)
    # A segment may be listed any number of times, and is read as often.
    read = sum((headers[name].samples or length) * len(headers[name].channels) for name, length in header.segments if name != "~")
    check_size(path, read, 1, max(read, 1))
    whole, rate, times, at = np.empty((0, 0), np.float32), 0.0, 0, 0
    for name, length in header.segments:
        if name != "~" and length and any(channel.taken for channel in headers[name].channels):
            one = headers[name]
            signal, held, own = _read_channels(path.with_name(f"{name}.hea"), replace(one, samples=one.samples or length))
            if not times:
                rate, times = own, int(own / header.sampling_rate) if header.sampling_rate > 0 else 0
                check_size(path, total * times or total, len(names), available * _GAPS)
                whole = np.full((len(names), total * times), np.nan, np.float32)
            if own != rate or times < 1 or times * header.sampling_rate != rate:
                raise UserError(f"{path.name}: its segments differ in their sampling rate: export it in one piece")
            if signal.shape[1] < length * times:
                raise UserError(f"{path.name}: a segment breaks off after {signal.shape[1]} of {length * times} samples: copy it again")
            for row, lead in zip(signal, held, strict=True):
                whole[names.index(lead), at * times : (at + length) * times] = row[: length * times]
        at += length
    return whole, names, rate


def _segment_headers(path: Path, header: _Header) -> tuple[dict[str, _Header], int]:
    """Return the headers of the segments by name, and the bytes of their files."""
    headers: dict[str, _Header] = {}
    files: set[Path] = set()
    for name, length in header.segments:
        if length < 0:
            raise UserError(f"{path.name} is not a WFDB header: copy or export it again")
        if name == "~" or name in headers:
            continue
        beside = _beside(path, f"{name}.hea")
        if not beside.is_file():
            raise _absent(path, beside.name)
        parsed = _parse_header(beside)
        if parsed.segments:
            raise UserError(f"{path.name}: its segment {beside.name} has segments of its own: export it in one piece")
        headers[name] = _without_others(beside, parsed)
        files |= {_beside(path, channel.file) for channel in headers[name].channels if channel.file != "~"}
    return headers, sum(file.stat().st_size for file in files if file.is_file())
