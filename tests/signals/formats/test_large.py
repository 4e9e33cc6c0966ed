"""Files that are large, or claim to be: each is a record or one line within seconds, whatever it holds."""

import io
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecgclip.errors import UserError
from ecgclip.signals import LEADS, read_record

Make = Callable[[Path], Path]


def saved(name: str, *pieces: bytes | tuple[bytes, int]) -> Make:
    """Write pieces, or pieces so many times: only when the test runs, as all together would fill the memory."""

    def make(folder: Path) -> Path:
        with (folder / name).open("wb") as file:
            for piece in pieces:
                file.write(piece if isinstance(piece, bytes) else piece[0] * piece[1])
        return folder / name

    return make


def dicom(*elements: bytes | tuple[bytes, int]) -> Make:
    uid = struct.pack("<HH2sH", 2, 0x10, b"UI", 20) + b"1.2.840.10008.1.2.1\0"
    meta = struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(uid)) + uid
    return saved("a.dcm", bytes(128) + b"DICM" + meta, *elements)


ELEMENT = struct.pack("<HH2sH", 8, 0x60, b"CS", 0)
SEQUENCE = struct.pack("<HH2sHI", 0x5400, 0x100, b"SQ", 0, 0xFFFFFFFF)
ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
MFER = b"\x40\x08MFR 12  \x01\x01\x01"
FRAMED = b"\x0b\x04\x01\xfd\x02\x00\x0c\x04\x00\xfa\x05\x00\x06\x01\x01\x05\x01\x01\x3f\x00\x04\x09\x02\x01\x00"


def wfdb_header(frames: int, *, form: str = "16", name: str = "r") -> str:
    return f"{name} 12 1000 {frames}\n" + "".join(f"{name}.dat {form} 200/mV 16 0 0 0 0 {lead}\n" for lead in LEADS)


def sparse_wfdb(frames: int) -> Make:
    def make(folder: Path) -> Path:
        (folder / "r.hea").write_text(wfdb_header(frames))
        with (folder / "r.dat").open("wb") as file:
            file.truncate(24 * frames)
        return folder / "r.hea"

    return make


def segments(count: int, length: int, held: int = 50_000) -> Make:
    def make(folder: Path) -> Path:
        (folder / "r.hea").write_text(wfdb_header(held))
        (folder / "r.dat").write_bytes(bytes(24 * held))
        (folder / "m.hea").write_text(f"m/{count} 12 1000 {count * length}\n" + f"r {length}\n" * count)
        return folder / "m.hea"

    return make


def sparse_npy(length: int) -> Make:
    def make(folder: Path) -> Path:
        with (folder / "a.npy").open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (12, length)})
            file.truncate(file.tell() + 48 * length)
        return folder / "a.npy"

    return make


def npz_of_zeros(folder: Path) -> Path:
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f4", "fortran_order": False, "shape": (12, 3_000_000)})
    with (
        zipfile.ZipFile(folder / "a.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("signal.npy", "w") as member,
    ):
        member.write(head.getvalue())
        for _ in range(144):
            member.write(bytes(1_000_000))
    return folder / "a.npz"


def npz_of_many(folder: Path) -> Path:
    entry = b"PK\x01\x02" + bytes(24) + struct.pack("<H", 1) + bytes(16) + b"x"
    content = b"PK\x03\x04" + bytes(26) + entry * 1_000_000
    end = b"PK\x05\x06" + struct.pack("<4H2IH", 0, 0, 0xFFFF, 0xFFFF, len(entry) * 1_000_000, 30, 0)
    (folder / "a.npz").write_bytes(content + end)
    return folder / "a.npz"


def parquet(columns: dict[str, Any], **how: Any) -> Make:
    def make(folder: Path) -> Path:
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.table({name: value() if callable(value) else value for name, value in columns.items()})
        pq.write_table(table, folder / "a.parquet", **how)
        return folder / "a.parquet"

    return make


def sparse_edf(rate: int, seconds: int, signals: int = 12) -> Make:
    def make(folder: Path) -> Path:
        start = ["0", "X", "X", "01.02.20", "10.00.00", str(256 * (signals + 1)), "", str(seconds), "1", str(signals)]
        head = "".join(f"{text:<{size}}" for text, size in zip(start, (8, 80, 80, 8, 8, 8, 44, 8, 8, 4), strict=True))
        columns = (("", 80), ("uV", 8), ("-32768", 8), ("32767", 8), ("-32768", 8), ("32767", 8), ("", 80), (str(rate), 8), ("", 32))
        names = "".join(f"{LEADS[row] if row < 12 else 'x':<16}" for row in range(signals))
        with (folder / "a.edf").open("wb") as file:
            file.write((head + names + "".join(f"{text:<{size}}" * signals for text, size in columns)).encode())
            file.truncate(256 * (signals + 1) + 2 * rate * seconds * signals)
        return folder / "a.edf"

    return make


def xml(root: str, *inside: bytes | tuple[bytes, int]) -> Make:
    return saved("a.xml", f'<?xml version="1.0"?><{root}>'.encode(), *inside, f"</{root}>".encode())


ZEROS = {"I": lambda: np.zeros(40_000_000, np.int8)}
REFUSED: dict[str, tuple[Make, str]] = {
    "dicom, elements": (dicom((ELEMENT, 7_000_000)), "parts, which no ECG has"),
    "dicom, elements of a sequence": (dicom(SEQUENCE + ITEM, (ELEMENT, 7_000_000)), "parts, which no ECG has"),
    "dicom, items": (dicom(SEQUENCE, (ITEM, 7_000_000)), "parts, which no ECG has"),
    "dicom, depth": (dicom((SEQUENCE + ITEM, 50_000)), "damaged"),
    "mfer, tags": (saved("a.mwf", MFER, (b"\x16\0", 30_000_000)), "parts, which no ECG has"),
    "mfer, tags between zeros": (saved("a.mwf", MFER, (b"\x16\0\0", 20_000_000)), "parts, which no ECG has"),
    "mfer, zeros": (saved("a.mwf", MFER, (b"\0", 60_000_000)), "without a waveform"),
    "mfer, frames": (saved("a.mwf", MFER, FRAMED, (b"\x1e\x02\x07\x00", 100_000)), "parts, which no ECG has"),
    "csv, columns": (saved("a.csv", (b"I,", 3_000_000), b"I\n", (b"1,", 3_000_000), b"1\n"), "1024 columns"),
    "csv, first line": (saved("a.csv", b"I,II,", (b"1", 100_000_000)), "1024 columns"),
    "csv, first row": (saved("a.csv", b"I,II\n", (b"1,", 20_000_000)), "one row per sample"),
    "csv, first row in quotes": (saved("a.csv", b'I,II\n"\n",', (b"1,", 20_000_000)), "one row per sample"),
    "csv, a cell without an end": (saved("a.csv", b'I,II\n0.1,0.2\n"', (b"1,\n", 20_000_000)), "one row per sample|something else"),
    "csv, later row": (saved("a.csv", b"I,II\n0.1,0.2\n", (b"1,", 20_000_000)), "one row per sample"),
    "csv, size": (saved("a.csv", b"I,II\n", (b"1.0,2.0\n", 17_000_000)), "larger than 128 MB"),
    "npy": (sparse_npy(1 << 28), r"at most \d+ are read at once"),
    "npz, size": (npz_of_zeros, "too much for an ECG"),
    "npz, members": (npz_of_many, "parts, which no ECG has"),
    "wfdb, 24 h of twelve leads at 1,000 Hz": (sparse_wfdb(86_400_000), "12 x 8.64e[+]07 samples, and at most .* export a shorter part$"),
    "wfdb, segments of one sample": (segments(4000, 1), r"at most \d+ are read at once"),
    "wfdb, many segments": (segments(40_000, 1), "lists more than an ECG has"),
    "wfdb, lines": (saved("r.hea", b"r 12 1000 100\n", (b"r.dat 16 200/mV 16 0 0 0 0 II\n", 3_000_000)), "not a WFDB header"),
    "edf, 24 h of twelve leads at 1,000 Hz": (sparse_edf(1000, 86_400), "12 x 8.64e[+]07 samples, and at most"),
    "edf, signals": (sparse_edf(1, 1_000_000, 1024), r"at most \d+ are read at once"),
    "parquet, one row group": (parquet(ZEROS, row_group_size=1 << 30), r"at most \d+ are read at once"),
    "parquet, columns": (parquet({f"c{row}": [1.0] for row in range(20_000)}), "more columns or row groups"),
    "parquet, text": (parquet({"I": lambda: ["x" * 50_000_000]}, compression="zstd"), "column I holds something else"),
    "aecg, size": (xml("AnnotatedECG", (b"<a/>", 25_000_000)), "larger than 32 MB"),
    "aecg, elements": (xml("AnnotatedECG", (b"<a/>", 7_000_000)), "parts, which no ECG has"),
    "muse, attributes": (xml("RestingECG", (b"<a b=''/>", 3_000_000)), "parts, which no ECG has"),
    "philips, depth": (xml("restingecgdata", (b"<a>", 100_000), (b"</a>", 100_000)), "no rhythm"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_too_large_is_one_line_within_seconds(tmp_path: Path, kind: str) -> None:
    make, words = REFUSED[kind]
    path = make(tmp_path)
    began = time.monotonic()
    with pytest.raises(UserError, match=words) as error:
        read_record(path, sampling_rate=1000 if path.suffix in (".npy", ".csv", ".parquet") else None)
    # Far below what is promised, as other tests run beside this one.
    assert time.monotonic() - began < 10
    assert "\n" not in str(error.value) and error.value.args[0].startswith(path.name)
    path.unlink()


@pytest.mark.parametrize("make", [sparse_wfdb(3_600_000), sparse_edf(1000, 3600), sparse_npy(3_600_000)])
def test_an_hour_of_twelve_leads_at_1000_hz_is_read_in_little_memory(tmp_path: Path, make: Make) -> None:
    """In a process of its own, as only its own memory tells."""
    path = make(tmp_path)
    code = (
        "import resource, sys\nfrom ecgclip.signals import read_record\nimport numpy\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "record = read_record(sys.argv[1], sampling_rate=1000 if sys.argv[1].endswith('npy') else None)\n"
        "print(record.signal.shape[1], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True, timeout=60)
    samples, kilobytes = map(int, ended.stdout.split())
    assert samples == 3_600_000
    # The record itself takes 173 MB, and mapped pages of the file that it is made of as much.
    assert kilobytes < 500_000
