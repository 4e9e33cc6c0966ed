"""SCP-ECG files that the tests write from the standard, with an encoder of their own."""

import builtins
import contextlib
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecgclip.errors import UserError
from ecgclip.signals.formats.scp import is_scp, read_scp

pytest.importorskip("ecgdatakit")

SAMPLES, STEP = 500, 2500  # nV
CODES = (1, 2, 3, 62)


def waves():
    time = np.arange(SAMPLES) / 500
    return np.round(300 * np.sin(2 * np.pi * (1 + np.arange(len(CODES))[:, None]) * time)).astype(int)


def differences(numbers, order):
    if order == 0:
        return numbers
    out = numbers.copy()
    out[:, order:] = np.diff(numbers, order, axis=1)
    return out


def huffman(values):
    """Encode with the default table of the standard: 0, 100, 101, 1100, ... and two escapes."""
    bits = ""
    for value in map(int, values):
        size = abs(value)
        if size == 0:
            bits += "0"
        elif size <= 8:
            bits += "1" * size + "0" + "01"[value < 0]
        elif -128 <= value < 128:
            bits += "1111111110" + f"{value & 0xFF:08b}"
        else:
            bits += "1111111111" + f"{value & 0xFFFF:016b}"
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def section(number, body):
    return number, body + b"\0" * (len(body) % 2)


def assemble(sections, version=20):
    sections = dict(sections)
    length0 = 16 + 10 * 12
    at, pointers, blob = 6 + length0, b"", b""
    for number in range(12):
        size = length0 if number == 0 else 16 + len(sections[number]) if number in sections else 0
        pointers += struct.pack("<HII", number, size, 7 if number == 0 else at + 1 if size else 0)
        if number and size:
            blob += struct.pack("<HHIBB6x", 0, number, size, version, version) + sections[number]
            at += size
    zero = struct.pack("<HHIBB6s", 0, 0, length0, version, version, b"SCPECG") + pointers
    return struct.pack("<HI", 0, 6 + len(zero) + len(blob)) + zero + blob


def patient():
    def one(number, content):
        return struct.pack("<BH", number, len(content)) + content

    return section(
        1,
        one(0, b"SECRETNAME\0") + one(2, b"SECRET-77\0") + one(4, struct.pack("<HB", 93, 1)) + one(8, b"\x02")
        + one(25, struct.pack("<HBB", 2019, 4, 5)) + one(26, b"\x01\x02\x03") + one(255, b""),
    )  # fmt: skip


def rhythm(numbers, *, order=0, coded=False, step=STEP, interval=2000, number=6, flag=0):
    coder = huffman if coded else lambda values: values.astype("<i2").tobytes()
    parts = [coder(row) for row in differences(numbers, order)]
    return section(
        number, struct.pack("<HHBB", step, interval, order, flag) + struct.pack(f"<{len(parts)}H", *map(len, parts)) + b"".join(parts)
    )


def leads(*, starts=None, flags=0x04, samples=SAMPLES):
    starts = starts or [1] * len(CODES)
    rows = [struct.pack("<IIB", start, start + samples - 1, code) for start, code in zip(starts, CODES, strict=True)]
    return section(3, bytes([len(CODES), flags]) + b"".join(rows))


def read(tmp_path, sections, salt=None):
    path = tmp_path / "a.scp"
    content = assemble(sections)
    path.write_bytes(content)
    assert is_scp(content)
    return read_scp(path, salt)


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("coded", [False, True])
def test_differences_and_default_codes(tmp_path, order, coded):
    numbers = waves()
    table = [section(2, struct.pack("<H", 19999))] if coded else []
    record = read(tmp_path, [patient(), *table, leads(), rhythm(numbers, order=order, coded=coded)])
    assert record.lead_names == ("I", "II", "V1", "aVR")
    assert record.sampling_rate == 500
    np.testing.assert_allclose(record.signal, numbers * STEP / 1e6, atol=1e-6)
    assert (record.age, record.sex, record.year, record.patient) == (90, "F", 2019, "")


def test_the_reference_beat_is_added_back(tmp_path):
    numbers = waves()
    beat = np.round(200 * np.hanning(100))[None].repeat(len(CODES), 0).astype(int) * (1 + np.arange(len(CODES))[:, None])
    fiducials = (101, 301)  # Samples, the first is 1; the beat's own fiducial is its 50th sample.
    rest = numbers.copy()
    for fiducial in fiducials:
        rest[:, fiducial - 50 : fiducial + 50] -= beat
    zones = b"".join(struct.pack("<HIII", 0, f - 49, f, f + 50) for f in fiducials)
    protected = b"".join(struct.pack("<II", f - 49, f + 50) for f in fiducials)
    beats = section(4, struct.pack("<HHH", 200, 50, len(fiducials)) + zones + protected)
    record = read(tmp_path, [leads(flags=0x05), beats, rhythm(beat, number=5, order=1), rhythm(rest, order=1)])
    np.testing.assert_allclose(record.signal, numbers * STEP / 1e6, atol=1e-6)


def test_leads_that_begin_later(tmp_path):
    numbers = waves()
    record = read(tmp_path, [leads(starts=[1, 1, 501, 501], flags=0), rhythm(numbers)])
    assert record.signal.shape == (4, 1000)
    assert np.isnan(record.signal[0, 500:]).all() and np.isnan(record.signal[2, :500]).all()
    np.testing.assert_allclose(record.signal[2, 500:], numbers[2] * STEP / 1e6, atol=1e-6)


def test_nobody_is_named(tmp_path):
    record = read(tmp_path, [patient(), leads(), rhythm(waves())], salt="salt")
    assert len(record.patient) == 24
    assert "SECRET" not in repr(record)


@pytest.mark.parametrize(
    ("sections", "reason"),
    [
        ([leads()], "cannot be read"),
        ([leads(samples=1 << 31), rhythm(waves())], "promises"),
        ([leads(), rhythm(waves()[:, :100])], "cannot be read"),
        ([leads(), rhythm(waves(), step=0)], "multiplier"),
        ([leads(), rhythm(waves(), interval=0)], "cannot be read"),
        ([leads(), rhythm(waves(), flag=1)], "bimodal"),
    ],
)
def test_damage_is_one_line(tmp_path, sections, reason):
    with pytest.raises(UserError, match=reason) as error:
        read(tmp_path, [patient(), *sections])
    assert "\n" not in str(error.value) and "SECRET" not in str(error.value)


def test_without_the_extra_the_remedy_is_named(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("ecgdatakit"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"pip install 'ecgclip\[formats\]'"):
        read(tmp_path, [leads(), rhythm(waves())])


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 400), value=st.integers(0, 255), stop=st.integers(32, 5000))
def test_any_byte_may_be_wrong(tmp_path, place, value, stop):
    content = bytearray(assemble([patient(), section(2, struct.pack("<H", 19999)), leads(), rhythm(waves(), order=2, coded=True)]))
    content[place] = value
    path = tmp_path / "a.scp"
    path.write_bytes(bytes(content[:stop]))
    # Anything but this one error fails the test.
    with contextlib.suppress(UserError):
        record = read_scp(path, None)
        assert record.signal.shape[0] == len(record.lead_names)
