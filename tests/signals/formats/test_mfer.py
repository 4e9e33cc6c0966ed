"""MFER files that the tests write, and a real one."""

import contextlib
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecgclip.errors import UserError
from ecgclip.signals.formats.mfer import is_mfer, read_mfer

RATE, SAMPLES = 500, 1000


def tag(code, content):
    length = bytes([len(content)]) if len(content) < 128 else b"\x84" + struct.pack(">I", len(content))
    return bytes([code]) + length + content


def channel(number, content):
    return bytes([0x3F, number, len(content)]) + content


def waves(leads=3):
    time = np.arange(SAMPLES) / RATE
    return np.round(400 * np.sin(2 * np.pi * (1 + np.arange(leads)[:, None]) * time)).astype(int)


def frame(numbers, order, *, block=1, kind="i2"):
    """(leads, T) in sequences of channels of blocks."""
    return tag(0x1E, numbers.reshape(len(numbers), -1, block).transpose(1, 0, 2).astype(order + kind).tobytes())


def header(order, *, block=1, sequences=None, codes=(1, 2, 62), extra=b""):
    def number(value, size=2):
        return value.to_bytes(size, "little" if order == "<" else "big")

    parts = [
        tag(0x40, b"MFR Standard 12 leads ECG       "),
        tag(0x01, b"\x01" if order == "<" else b"\x00"),
        tag(0x17, b"Maker^Model^1.0"),
        tag(0x82, b"SECRET-77"),
        tag(0x83, bytes([61]) + number(3) + number(1960) + b"\x05\x06"),
        tag(0x84, b"\x02"),
        tag(0x85, number(2021) + b"\x02\x03\x04\x05\x06" + number(0) + number(0)),
        tag(0x0B, b"\x01\xfd" + number(2)),
        tag(0x0C, b"\x00\xfa" + number(5)),
        tag(0x04, number(block)),
        tag(0x05, number(len(codes), 1)),
        tag(0x06, number(sequences or SAMPLES // block)),
        extra,
    ]
    return b"".join(parts) + b"".join(channel(row, tag(0x09, number(code))) for row, code in enumerate(codes))


def read(tmp_path, content, salt=None):
    path = tmp_path / "a.mwf"
    path.write_bytes(content)
    return read_mfer(path, salt)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("block", [1, 50, SAMPLES])
def test_orders_of_bytes_and_of_blocks(tmp_path, order, block):
    numbers = waves()
    content = header(order, block=block) + frame(numbers, order, block=block) + b"\x80\x00"
    record = read(tmp_path, content)
    assert is_mfer(content)
    assert record.lead_names == ("I", "II", "aVR")
    assert record.sampling_rate == 500
    np.testing.assert_allclose(record.signal, numbers * 0.005, atol=1e-6)
    assert (record.age, record.sex, record.year, record.device, record.patient) == (61, "F", 2021, "Maker Model", "")


@pytest.mark.parametrize(("code", "kind"), [(0, "i2"), (2, "i4"), (7, "f4"), (8, "f8")])
def test_types_of_samples(tmp_path, code, kind):
    numbers = waves()
    record = read(tmp_path, header("<", extra=tag(0x0A, bytes([code]))) + frame(numbers, "<", kind=kind))
    np.testing.assert_allclose(record.signal, numbers * 0.005, atol=1e-6)


def test_null_is_a_missing_sample(tmp_path):
    numbers = waves()
    numbers[1, 10:20] = -32768
    record = read(tmp_path, header(">", extra=tag(0x12, b"\x80\x00")) + frame(numbers, ">"))
    assert np.isnan(record.signal[1, 10:20]).all() and np.isnan(record.signal).sum() == 10


def test_a_channel_has_its_own_resolution(tmp_path):
    numbers = waves()
    own = channel(1, tag(0x09, b"\x00\x02") + tag(0x0C, b"\x00\xfa\x00\x0a"))
    record = read(tmp_path, header(">") + own + frame(numbers, ">"))
    np.testing.assert_allclose(record.signal[1], numbers[1] * 0.01, atol=1e-6)
    np.testing.assert_allclose(record.signal[0], numbers[0] * 0.005, atol=1e-6)


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_offset_is_added_to_the_samples(tmp_path, order):
    numbers = waves()
    own = channel(2, tag(0x0D, struct.pack(order + "h", -200)))
    record = read(tmp_path, header(order, extra=tag(0x0D, struct.pack(order + "h", 100))) + own + frame(numbers, order))
    np.testing.assert_allclose(record.signal, (numbers + np.array([[100], [100], [-200]])) * 0.005, atol=1e-6)
    assert record.signal[0].mean() == pytest.approx(0.5, abs=1e-3)


def kind_of(code):
    return tag(0x08, struct.pack("<H", code))


@pytest.mark.parametrize("code", [8, 9])
@pytest.mark.parametrize("rhythm", [b"", kind_of(1), kind_of(4)])
def test_mean_beats_are_never_taken(tmp_path, code, rhythm):
    numbers = waves()
    beat = kind_of(code) + frame(numbers * 2, "<")
    # As a device writes them: the rhythm, then the beat, or the other way round.
    record = read(tmp_path, header("<") + rhythm + frame(numbers, "<") + beat)
    np.testing.assert_allclose(record.signal, numbers * 0.005, atol=1e-6)
    if rhythm:
        record = read(tmp_path, header("<") + beat + rhythm + frame(numbers, "<"))
        np.testing.assert_allclose(record.signal, numbers * 0.005, atol=1e-6)
    with pytest.raises(UserError, match="without a waveform"):
        read(tmp_path, header("<") + beat)


def test_more_leads_go_before_a_longer_strip(tmp_path):
    strip = tag(0x05, b"\x01") + tag(0x06, struct.pack("<H", 3000)) + channel(0, tag(0x09, b"\x02\x00"))
    long = np.concatenate([waves()] * 3, axis=1)[1:2]
    record = read(tmp_path, header("<") + frame(waves(), "<") + strip + frame(long, "<"))
    assert record.lead_names == ("I", "II", "aVR")


def test_inverted_avr_is_turned_over(tmp_path):
    record = read(tmp_path, header("<", codes=(1, 2, 65)) + frame(waves(), "<"))
    assert record.lead_names == ("I", "II", "aVR")
    np.testing.assert_allclose(record.signal[2], -waves()[2] * 0.005, atol=1e-6)


def test_the_key_of_a_patient_is_that_of_the_number_alone(tmp_path):
    plain = read(tmp_path, header("<") + frame(waves(), "<"), salt="salt").patient
    for whole in (b"SECRET-77^^^Hospital", b"SECRET-77^5^M11^Hospital^MR", b"SECRET-77 "):
        assert read(tmp_path, header("<") + tag(0x82, whole) + frame(waves(), "<"), salt="salt").patient == plain
    assert read(tmp_path, header("<") + tag(0x82, b"^^^Hospital") + frame(waves(), "<"), salt="salt").patient == ""


def test_frames_follow_each_other(tmp_path):
    numbers = waves()
    record = read(tmp_path, header("<", sequences=500) + frame(numbers[:, :500], "<") + frame(numbers[:, 500:], "<"))
    np.testing.assert_allclose(record.signal, numbers * 0.005, atol=1e-6)


def test_frames_with_a_gap_are_not_joined(tmp_path):
    numbers = waves()
    later = tag(0x85, struct.pack("<H", 2021) + b"\x02\x03\x04\x07\x06" + bytes(4)) + tag(0x06, struct.pack("<H", 300))
    record = read(tmp_path, header("<", sequences=700) + frame(numbers[:, :700], "<") + later + frame(numbers[:, 700:], "<"))
    assert record.signal.shape == (3, 700)


def test_calibration_pulses_are_cut(tmp_path):
    numbers = waves()
    numbers[:, :300] = np.where(np.arange(300) % 100 < 50, 200, 0)
    record = read(tmp_path, header("<") + frame(numbers, "<"))
    assert 690 <= record.signal.shape[1] <= 700


def test_a_length_that_ends_in_the_mark_of_an_open_one(tmp_path):
    numbers = waves(2)[:, :960]  # 3,840 bytes are 0x0F00; 0x0F80 with 32 samples more.
    numbers = np.concatenate([numbers, numbers[:, :32]], axis=1)
    content = frame(numbers, "<")
    assert content[5] == 0x80
    record = read(tmp_path, header("<", codes=(1, 2), sequences=992) + content + content)
    assert record.signal.shape == (2, 1984)


def test_a_sea_of_zeros_takes_no_time(tmp_path):
    content = header("<") + bytes(300_000) + frame(waves(), "<")
    assert read(tmp_path, content).signal.shape == (3, SAMPLES)


def test_nobody_is_named(tmp_path):
    record = read(tmp_path, header("<") + frame(waves(), "<"), salt="salt")
    assert len(record.patient) == 24
    assert "SECRET" not in repr(record)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (header("<")[:60], "breaks off"),
        (header("<"), "without a waveform"),
        (header("<") + frame(waves()[:, :500], "<"), "breaks off"),
        (header("<", extra=tag(0x0E, b"\x01\x00")) + frame(waves(), "<"), "compressed"),
        (header("<", extra=tag(0x0A, b"\x09")) + frame(waves(), "<"), "type 9"),
        (header("<", extra=tag(0x0C, b"\x01\x00\x05\x00")) + frame(waves(), "<"), "volt"),
        (header("<", extra=tag(0x0B, b"\x00\x80\x01\x00")) + frame(waves(), "<"), "not possible"),
        (header("<", extra=tag(0x04, b"\xff\xff\xff\xff") + tag(0x06, b"\xff\xff\xff\x7f")) + frame(waves(), "<"), "promises"),
    ],
)
def test_damage_is_one_line(tmp_path, content, reason):
    with pytest.raises(UserError, match=reason) as error:
        read(tmp_path, content)
    assert "\n" not in str(error.value) and "SECRET" not in str(error.value)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 139), value=st.integers(0, 255), stop=st.integers(0, 7000))
def test_any_byte_may_be_wrong(tmp_path, place, value, stop):
    content = bytearray(header("<") + frame(waves(), "<"))
    content[place] = value
    # Anything but this one error fails the test.
    with contextlib.suppress(UserError):
        record = read(tmp_path, bytes(content[: max(stop, 140)]))
        assert record.signal.shape[0] == len(record.lead_names)


@pytest.mark.skipif("ECGCLIP_FORMATS" not in os.environ, reason="ECGCLIP_FORMATS names no folder of real files")
def test_a_real_holter():
    path = Path(os.environ["ECGCLIP_FORMATS"], "suzuken_cvs01_2lead.mwf")
    record = read_mfer(path, None)
    numbers = np.frombuffer(path.read_bytes(), "<i2", 450_000, offset=0x93).reshape(-1, 2).T
    assert (record.lead_names, record.sampling_rate) == (("I", "II"), 125)
    # The first 114 s are square pulses of 1 mV, and a flat line, in both leads.
    assert record.signal.shape[1] == 210_747
    np.testing.assert_allclose(record.signal, numbers[:, -210_747:] * 0.02, atol=1e-6)
    assert set(np.unique(numbers[0, : 225_000 - 210_747])) == {-6, 0, 44}
