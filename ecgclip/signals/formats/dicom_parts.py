"""How many elements a DICOM file has, counted before a library makes an object of each."""

import mmap
import struct
from pathlib import Path

from ecgclip.signals.formats.common import MAX_PARTS, too_many_parts

_PREAMBLE = 132
_BIG = "1.2.840.10008.1.2.2"
_META = 0x0002  # Group of the file's own header, which is always explicit and little endian.
_DELIMITERS = 0xFFFE  # Group of items and of the ends of items and sequences: no VR, four bytes of length.
_ITEM = b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00"
_END = b"\xfe\xff\xdd\xe0"
_OPEN = 0xFFFFFFFF
_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}  # VRs with four bytes of length.
_VALUES = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW"}  # Numbers: not looked into.


def check_parts(path: Path, syntax: str) -> None:
    """Refuse a file of more elements than any ECG has.

    The elements are gone over in the order of the file, those of sequences too, and no nesting is kept: sequences and items are headers
    like others, behind which one goes on at once. What is damaged is left to the parser to tell.

    Args:
        path: The file.
        syntax: UID of its transfer syntax, or empty.

    Raises:
        UserError: In one line.

    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at, parts = _PREAMBLE, 0
        order, explicit = "<", True
        in_meta = True
        while at + 8 <= len(data):
            if in_meta and struct.unpack_from("<H", data, at)[0] != _META:
                in_meta = False
                order = ">" if syntax == _BIG or (not syntax and data[at] == 0) else "<"
                explicit = _is_vr(data[at + 4 : at + 6])  # As parsers do: the transfer syntax may be wrong.
            at = _next(data, at, order, explicit)
            parts += 1
            if parts > MAX_PARTS:
                raise too_many_parts(path)


def _is_vr(letters: bytes) -> bool:
    return letters.isalpha() and letters.isupper()


def _next(data: mmap.mmap, at: int, order: str, explicit: bool) -> int:
    """Return where the next header is: within a sequence or an item, or behind a value."""
    group, _ = struct.unpack_from(order + "HH", data, at)
    vr = data[at + 4 : at + 6] if explicit and group != _DELIMITERS else b""
    vr = vr if _is_vr(vr) else b""  # Items may be implicit within a file that is not.
    if vr and vr not in _LONG:
        return int(at + 8 + struct.unpack_from(order + "H", data, at + 6)[0])
    start = at + 12 if vr else at + 8
    if start > len(data):
        return len(data)
    length = int(struct.unpack_from(order + "I", data, start - 4)[0])
    if vr in _VALUES and length == _OPEN:  # Pieces of a compressed picture.
        end = data.find(_END, start)
        return end + 8 if end >= 0 else len(data)
    if group == _DELIMITERS or length == _OPEN:
        return start
    if vr == b"SQ" or (vr not in _VALUES and data[start : start + 4] in _ITEM):
        return start
    return start + length
