"""EDF files that the tests write."""

import contextlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecgclip.errors import UserError
from ecgclip.signals.formats.edf import is_edf, read_edf

RATE, BLOCKS = 250, 4
PLUS = "SECRET-77 F 02-MAY-1951 Secret_Name"


def waves(leads=2, rate=RATE):
    time = np.arange(rate * BLOCKS) / rate
    return np.round(500 * np.sin(2 * np.pi * (1 + np.arange(leads)[:, None]) * time)).astype(int)


def edf(signals, *, reserved="EDF+C", blocks=BLOCKS, seconds="1", patient=PLUS):
    """Signals are (label, unit, (low, high), (least, most), numbers (BLOCKS * samples of a block,))."""
    count = len(signals)
    head = f"{'0':8}{patient:80}{'Startdate 10-JUN-2015 X X X':80}{'10.06.15':8}{'01.02.03':8}"
    head += f"{256 * (count + 1):<8}{reserved:44}{blocks:<8}{seconds:8}{count:<4}"
    columns = [
        (16, [s[0] for s in signals]),
        (80, [""] * count),
        (8, [s[1] for s in signals]),
        (8, [s[2][0] for s in signals]),
        (8, [s[2][1] for s in signals]),
        (8, [s[3][0] for s in signals]),
        (8, [s[3][1] for s in signals]),
        (80, [""] * count),
        (8, [len(s[4]) // BLOCKS for s in signals]),
        (32, [""] * count),
    ]
    head += "".join(f"{cell!s:<{width}}" for width, cells in columns for cell in cells)
    body = b"".join(np.array_split(s[4], BLOCKS)[block].astype("<i2").tobytes() for block in range(BLOCKS) for s in signals)
    return head.encode("latin-1") + body


def lead(label, numbers, unit="uV", physical=(-3276.8, 3276.7), digital=(-32768, 32767)):
    return label, unit, physical, digital, numbers


def read(tmp_path, content, salt=None):
    path = tmp_path / "a.edf"
    path.write_bytes(content)
    return read_edf(path, salt)


def test_units_and_ranges(tmp_path):
    first, second = waves()
    content = edf([lead("ECG I", first), lead("II", second, "mV", (-5, 5), (-1000, 1000))])
    record = read(tmp_path, content)
    assert is_edf(content)
    assert (record.lead_names, record.sampling_rate) == (("I", "II"), RATE)
    np.testing.assert_allclose(record.signal[0], first * 1e-4, atol=1e-6)
    np.testing.assert_allclose(record.signal[1], second * 5e-3, atol=1e-6)
    assert (record.age, record.sex, record.year, record.patient) == (64, "F", 2015, "")


def test_channels_beside_the_ecg_are_left_out(tmp_path):
    first, second = waves()
    content = edf([lead("Resp", first, "degC"), lead("EKG II-", second), lead("SaO2", first, "%"), lead("V5R", first, "?")])
    record = read(tmp_path, content)
    assert record.lead_names == ("II",)
    np.testing.assert_allclose(record.signal[0], second * 1e-4, atol=1e-6)


def test_a_record_of_many_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("ecgclip.signals.formats.edf._AT_ONCE", 1200)
    first, second = waves()
    record = read(tmp_path, edf([lead("I", first), lead("Resp", first, "degC"), lead("II", second)]))
    np.testing.assert_allclose(record.signal, np.stack([first, second]) * 1e-4, atol=1e-6)


def test_a_range_may_be_turned_or_off_centre(tmp_path):
    first, second = waves()
    record = read(tmp_path, edf([lead("V1", first, "mV", (5, -5), (-1000, 1000)), lead("V2", second, "mV", (0, 10), (-1000, 1000))]))
    np.testing.assert_allclose(record.signal[0], -first * 5e-3, atol=1e-6)
    np.testing.assert_allclose(record.signal[1], 5 + second * 5e-3, atol=1e-6)


def test_annotations_and_other_rates_are_left_out(tmp_path):
    first, second = waves()
    others = [
        lead("Resp", waves(1, 25)[0], "", (-1, 1)),
        lead("EDF Annotations", np.zeros(BLOCKS * 20, int), "", (-1, 1)),
        lead("aVF", waves(1, 50)[0]),
    ]
    record = read(tmp_path, edf([lead("ecg II", first), others[0], lead("EKG V5", second), *others[1:]]))
    assert record.lead_names == ("II", "V5")
    np.testing.assert_allclose(record.signal, np.stack([first, second]) * 1e-4, atol=1e-6)


def test_a_recording_that_was_not_closed(tmp_path):
    assert read(tmp_path, edf([lead("I", waves()[0])], blocks=-1)).signal.shape == (1, RATE * BLOCKS)


def test_blocks_of_another_length(tmp_path):
    assert read(tmp_path, edf([lead("I", waves()[0])], seconds="0.5")).sampling_rate == 2 * RATE


def test_plain_edf_says_nothing_of_the_patient(tmp_path):
    record = read(tmp_path, edf([lead("I", waves()[0])], reserved=""), salt="salt")
    assert (record.patient, record.age, record.sex, record.year) == ("", None, "", 2015)


def test_nobody_is_named(tmp_path):
    record = read(tmp_path, edf([lead("I", waves()[0])]), salt="salt")
    assert len(record.patient) == 24
    assert "secret" not in repr(record).lower() and "1951" not in repr(record)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (edf([lead("I", waves()[0])])[:-10], "does not hold"),
        (edf([lead("I", waves()[0])])[:400], "header"),
        (edf([lead("I", waves()[0])], blocks=99999999), "promises"),
        (edf([lead("I", waves()[0])], reserved="EDF+D"), "interruptions"),
        (edf([lead("Resp", waves()[0])]), "none of its channels"),
        (edf([lead("I", waves()[0], "degC")]), "not a voltage"),
        (edf([lead("I", waves()[0], digital=(5, 5))]), "no range"),
        (edf([lead("I", waves()[0], physical=("a", "b"))]), "not a number"),
        (edf([lead("I", waves()[0])], seconds="0"), "not possible"),
        (b"0       " + b"x" * 300, "not EDF"),
    ],
)
def test_damage_is_one_line(tmp_path, content, reason):
    with pytest.raises(UserError, match=reason) as error:
        read(tmp_path, content)
    assert "\n" not in str(error.value) and "SECRET" not in str(error.value)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 511), value=st.integers(0, 255), stop=st.integers(0, 3000))
def test_any_byte_may_be_wrong(tmp_path, place, value, stop):
    content = bytearray(edf([lead("I", waves()[0])]))
    content[place] = value
    # Anything but this one error fails the test.
    with contextlib.suppress(UserError):
        record = read(tmp_path, bytes(content[:stop] if stop > 600 else content))
        assert record.signal.shape[0] == len(record.lead_names)
