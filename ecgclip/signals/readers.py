"""Files to records. Nothing else in the project parses a file of signals, and nothing here runs code out of one."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ecgclip.errors import UserError
from ecgclip.signals.leads import LEADS, lead_name
from ecgclip.signals.record import Record

_MILLIVOLTS = {"nv": 1e-6, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "mv": 1.0, "v": 1e3}
_STORAGE = re.compile(r"^(\d+)(?:x(\d+))?(?::(\d+))?(?:\+(\d+))?$")
_GAIN = re.compile(r"^([-+]?[\d.]+(?:[eE][-+]?\d+)?)(?:\((-?\d+)\))?(?:/(\S+))?$")
_NO_SAMPLE = -32768  # Format 16's mark for a sample that is missing.


def read_record(path: str | Path, *, sampling_rate: float | None = None, salt: str | None = None) -> Record:
    """Read one ECG.

    Args:
        path: WFDB (``.hea``, ``.dat``, ``.mat`` with its ``.hea``, or the bare record name) or NumPy (``.npy``, ``.npz``).
        sampling_rate: Hz of a ``.npy``, which does not say; not for other formats.
        salt: Of the key of the patient, where the file says who that is; None for no key.

    Returns:
        The record in mV. ``.npy``: ``(12, T)`` or ``(T, 12)`` mV in the order of ``LEADS``. ``.npz``: ``signal`` in mV, ``sampling_rate``
        and, unless the leads are the twelve in order, ``lead_names``.

    Raises:
        UserError: When there is no such file, or it cannot be read: one line with its name.
    """
    path = Path(path)
    if path.parent.is_file():  # A part of a file: an exam of CODE-15 %, a structure of CPSC 2018, a modified lead of MIT-BIH.
        from ecgclip.signals.public.within import read_within

        return read_within(path)
    reader = _read_wfdb if Path(f"{path}.hea").is_file() else READERS.get(path.suffix.lower())
    if reader is not _read_wfdb and not path.exists():
        kind = "" if reader else " (nor a WFDB record of that name)"
        raise UserError(f"{path} does not exist{kind}: check the path")
    if reader is None:
        raise UserError(f"{path}: not a file of a known kind: known are {', '.join(READERS)}")
    try:
        return reader(path, sampling_rate)
    except UserError:
        raise
    except Exception as error:  # The parsers of three libraries raise whatever comes up in a damaged file.
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        remedy = "save it again as plain numbers" if path.suffix in (".npy", ".npz") else "copy or export it again"
        raise UserError(f"{path.name} cannot be read ({reason}): {remedy}") from error


def _record(path: Path, signal: np.ndarray, sampling_rate: float, names: Sequence[str], source: str) -> Record:
    """Check what all formats have in common."""
    if not (np.isfinite(sampling_rate) and sampling_rate > 0):
        raise UserError(f"{path.name}: sampling rate {sampling_rate:g} Hz is not possible: mend the file")
    leads = tuple(lead_name(name) for name in names)
    twice = sorted({lead for lead in leads if lead in LEADS and leads.count(lead) > 1})
    if twice:
        raise UserError(f"{path.name} holds {twice[0]} more than once: export one waveform per file")
    if not any(lead in LEADS for lead in leads):
        listed = ", ".join(leads) or "none"
        raise UserError(f"{path.name}: none of its channels ({listed}) is one of the twelve leads: name them I, II, ... V6")
    return Record(np.ascontiguousarray(signal, np.float32), float(sampling_rate), leads, source=source)


# --- NumPy ---------------------------------------------------------------------------------------------------------------------------


def _read_npy(path: Path, sampling_rate: float | None) -> Record:
    if sampling_rate is None:
        raise UserError(f"{path.name}: a .npy does not say its sampling rate: pass sampling_rate, or save an .npz with it")
    array = np.load(path, allow_pickle=False)
    return _record(path, _leads_first(path, array, len(LEADS)), sampling_rate, LEADS, "npy")


def _read_npz(path: Path, sampling_rate: float | None) -> Record:
    _refuse_rate(path, sampling_rate)
    with np.load(path, allow_pickle=False) as archive:
        for name in ("signal", "sampling_rate"):
            if name not in archive:
                raise UserError(f"{path.name} holds no {name!r}: save it with signal (mV), sampling_rate (Hz) and lead_names")
        signal, rate = archive["signal"], archive["sampling_rate"]
        names = archive["lead_names"] if "lead_names" in archive else np.array(LEADS)
    if rate.size != 1 or rate.dtype.kind not in "iuf":
        raise UserError(f"{path.name}: sampling_rate is not one number: save it in Hz")
    if names.ndim != 1 or names.dtype.kind != "U":
        raise UserError(f"{path.name}: lead_names is not a list of texts: save it as such")
    return _record(path, _leads_first(path, signal, len(names)), float(rate.item()), names.tolist(), "npz")


def _leads_first(path: Path, array: Any, leads: int) -> np.ndarray:
    shape = np.shape(array)
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind not in "iuf" or leads not in shape or 0 in shape:
        raise UserError(f"{path.name}: signal has shape {shape}: numbers in mV of shape ({leads}, T) are needed")
    return array if shape[0] == leads else array.T


# --- WFDB (PhysioNet): https://physionet.org/physiotools/wag/header-5.htm ------------------------------------------------------------


@dataclass(frozen=True)
class _Channel:
    """One signal line of a header."""

    file: str
    storage: str
    gain: str
    name: str


@dataclass(frozen=True)
class _Header:
    sampling_rate: float
    samples: int | None
    channels: tuple[_Channel, ...]


def _read_wfdb(path: Path, sampling_rate: float | None) -> Record:
    _refuse_rate(path, sampling_rate)
    # A bare name may hold a dot of its own, so the header beside it goes first.
    header_path = Path(f"{path}.hea") if Path(f"{path}.hea").is_file() else path.with_suffix(".hea")
    if not (path.exists() or header_path.is_file()):
        raise UserError(f"{path} does not exist: check the path")
    if not header_path.is_file():
        raise UserError(f"{header_path.name} is not beside {path.name}: a WFDB record needs both, copy it too")
    header = _parse_header(header_path)
    for channel in header.channels:
        if Path(channel.file).name != channel.file or "\\" in channel.file or channel.file in ("", ".", ".."):
            raise UserError(f"{header_path.name} names the file {channel.file!r}: only files beside it are read")
        data = header_path.with_name(channel.file)
        if not data.is_file():
            raise UserError(f"{data} does not exist, but {header_path.name} names it: copy it too")
    signal, units = _read_plain(header_path, header) or _read_with_wfdb(header_path)
    scale = np.array([_millivolts(header_path, unit) for unit in units])
    names = [channel.name for channel in header.channels]
    return _record(header_path, signal if (scale == 1).all() else signal * scale[:, None], header.sampling_rate, names, "wfdb")


def _parse_header(path: Path) -> _Header:
    # Comments may be in any encoding and may hold names and numbers of patients: they are dropped unread.
    lines = [line for line in path.read_text("latin-1").splitlines() if line.strip() and not line.startswith("#")]
    try:
        fields = lines[0].split()
        if "/" in fields[0]:
            raise UserError(f"{path.name} is a record of several segments: export it in one piece")
        rate = float(fields[2].split("/")[0]) if len(fields) > 2 else 250.0
        samples = int(fields[3]) if len(fields) > 3 else 0
        channels = []
        for line in lines[1 : int(fields[1]) + 1]:
            parts = line.split(maxsplit=8)
            channels.append(_Channel(parts[0], parts[1], parts[2], parts[8].strip() if len(parts) > 8 else ""))
        if len(channels) != int(fields[1]) or not channels:
            raise ValueError
    except (ValueError, IndexError):
        raise UserError(f"{path.name} is not a WFDB header: copy or export it again") from None
    return _Header(rate, samples or None, tuple(channels))


def _read_plain(path: Path, header: _Header) -> tuple[np.ndarray, list[str]] | None:
    """Read 16-bit samples of one file, which nearly every 12-lead archive has, at the speed of the disk.

    Returns:
        ``(leads, T)`` float64 in the units of the header, and the units; None where the record is of another form.
    """
    first = header.channels[0]
    storage, gains = _STORAGE.match(first.storage), [_GAIN.match(channel.gain) for channel in header.channels]
    if any((channel.file, channel.storage) != (first.file, first.storage) for channel in header.channels) or storage is None:
        return None
    form, per_frame, skew, offset = storage.groups()
    # Without a baseline of its own a channel takes the ADC zero, a field further on: left to the library.
    if form != "16" or per_frame not in (None, "1") or skew or any(gain is None or gain[2] is None for gain in gains):
        return None
    factors = np.array([float(gain[1]) for gain in gains if gain])
    if (factors == 0).any():
        raise UserError(f"{path.name}: gain 0 means that the amplitude is unknown: export it with its calibration")
    data, start, leads = path.with_name(first.file), int(offset or 0), len(header.channels)
    here = (data.stat().st_size - start) // (2 * leads)
    samples = here if header.samples is None else header.samples
    if here < samples:
        raise UserError(f"{data.name} breaks off after {max(here, 0)} of {samples} samples: copy it again")
    digital = np.fromfile(data, "<i2", samples * leads, offset=start).reshape(samples, leads)
    baselines = np.array([float(gain[2]) for gain in gains if gain])
    signal = (digital - baselines) / factors
    signal[digital == _NO_SAMPLE] = np.nan
    return signal.T, [(gain[3] or "mV") for gain in gains if gain]


def _read_with_wfdb(path: Path) -> tuple[np.ndarray, list[str]]:
    import wfdb  # Pulls in pandas and aiohttp: only for the rarer forms.

    record = wfdb.rdrecord(str(path.with_suffix("")))
    return record.p_signal.T, list(record.units)


def _millivolts(path: Path, unit: str) -> float:
    try:
        return _MILLIVOLTS[unit.lower()]
    except KeyError:
        raise UserError(f"{path.name}: unit {unit!r} is not a voltage: known are {', '.join(_MILLIVOLTS)}") from None


def _refuse_rate(path: Path, sampling_rate: float | None) -> None:
    if sampling_rate is not None:
        raise UserError(f"{path.name} says its own sampling rate: leave sampling_rate out")


READERS: dict[str, Callable[[Path, float | None], Record]] = {
    ".hea": _read_wfdb,
    ".dat": _read_wfdb,
    ".mat": _read_wfdb,
    ".npy": _read_npy,
    ".npz": _read_npz,
}
