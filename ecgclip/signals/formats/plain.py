"""NumPy's own files: ``.npy`` and ``.npz``."""

import io
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from ecgclip.errors import UserError
from ecgclip.signals.formats.common import MAX_PARTS, check_size, checked_record, too_many_parts
from ecgclip.signals.leads import LEADS
from ecgclip.signals.record import Record

_LARGEST_MEMBER = 1 << 26  # Bytes that a member may always have, however well it was compressed.
_MOST = 1 << 28  # Bytes that any member may have: it is read as a whole.
_DIRECTORY = 64 * 1024 + 22  # Bytes at the end of a zip archive within which its directory is told of.
_COMPRESSION = 200  # Times; a compressed member that grows by more than this beyond that size is no ECG.


def is_npy(head: bytes) -> bool:
    """Tell whether a file begins like an array of NumPy."""
    return head.startswith(b"\x93NUMPY")


def is_npz(head: bytes) -> bool:
    """Tell whether a file begins like a zip archive."""
    return head.startswith((b"PK\x03\x04", b"PK\x05\x06"))


def read_npy(path: Path, salt: str | None = None, sampling_rate: float | None = None) -> Record:
    """Read ``(12, T)`` or ``(T, 12)`` mV in the order of ``LEADS``; the file does not say its sampling rate, Hz."""
    if sampling_rate is None:
        raise UserError(f"{path.name}: a .npy does not say its sampling rate: pass sampling_rate, or save an .npz with it")
    with path.open("rb") as file:
        array = _array(path, file, path.stat().st_size, mapped=True)
    return checked_record(path, _leads_first(path, array, len(LEADS)), sampling_rate, LEADS, "npy")


def read_npz(path: Path, salt: str | None = None) -> Record:
    """Read ``signal`` in mV, ``sampling_rate`` in Hz and, unless the leads are the twelve in order, ``lead_names``."""
    _check_directory(path)
    with zipfile.ZipFile(path) as archive:
        arrays = {name: _member(path, archive, name) for name in ("signal", "sampling_rate", "lead_names")}
    signal, rate, names = arrays["signal"], arrays["sampling_rate"], arrays["lead_names"]
    for name in ("signal", "sampling_rate"):
        if arrays[name] is None:
            raise UserError(f"{path.name} holds no {name!r}: save it with signal (mV), sampling_rate (Hz) and lead_names")
    if rate is None or rate.size != 1 or rate.dtype.kind not in "iuf":
        raise UserError(f"{path.name}: sampling_rate is not one number: save it in Hz")
    if names is None:
        names = np.array(LEADS)
    if names.ndim != 1 or names.dtype.kind != "U":
        raise UserError(f"{path.name}: lead_names is not a list of texts: save it as such")
    return checked_record(path, _leads_first(path, signal, len(names)), float(rate.item()), names.tolist(), "npz")


def _check_directory(path: Path) -> None:
    """Refuse an archive of countless members, whose directory alone would take gigabytes."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _DIRECTORY))
        tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    # The second one is of directories of more than 65,535 members, or beyond 4 GB.
    if at >= 0 and (int.from_bytes(tail[at + 12 : at + 16], "little") > 16 * MAX_PARTS or b"PK\x06\x06" in tail):
        raise too_many_parts(path)


def _member(path: Path, archive: zipfile.ZipFile, name: str) -> np.ndarray | None:
    try:
        info = archive.getinfo(f"{name}.npy")
    except KeyError:
        return None
    if info.file_size > max(_LARGEST_MEMBER, min(_COMPRESSION * info.compress_size, _MOST)):
        raise UserError(f"{path.name}: {name} would become {info.file_size / 1e6:.0f} MB, too much for an ECG: export it again")
    with archive.open(info) as member:
        return _array(path, io.BytesIO(member.read()), info.file_size)


def _array(path: Path, stream: Any, size: int, *, mapped: bool = False) -> np.ndarray:
    """Read an array whose header promises no more than is there; a mapped one is taken into memory where it is used."""
    version = np.lib.format.read_magic(stream)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise UserError(f"{path.name} is of version {version[0]}.{version[1]} of NumPy's format: save it again as plain numbers")
    shape, fortran, dtype = read(stream)
    if dtype.hasobject:
        raise UserError(f"{path.name} holds Python objects, which may run code: save it again as plain numbers")
    count = math.prod(map(int, shape))
    if any(length < 0 for length in shape) or count * max(dtype.itemsize, 1) > size - stream.tell():
        raise UserError(f"{path.name} promises an array of shape {str(shape)[:60]}, and does not hold it: save it again as plain numbers")
    if len(shape) == 2 and min(shape):
        check_size(path, max(shape), min(shape), count)
    if mapped and count and dtype.kind in "iuf":
        return np.memmap(stream, dtype, "r", stream.tell(), shape, "F" if fortran else "C")
    stream.seek(0)
    return np.lib.format.read_array(stream, allow_pickle=False)


def _leads_first(path: Path, array: Any, leads: int) -> np.ndarray:
    shape = np.shape(array)
    if array is None or array.ndim != 2 or array.dtype.kind not in "iuf" or leads not in shape or 0 in shape:
        raise UserError(f"{path.name}: signal has shape {str(shape)[:60]}: numbers in mV of shape ({leads}, T) are needed")
    return array if shape[0] == leads else array.T
