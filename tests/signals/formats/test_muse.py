import base64
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecgclip.errors import UserError
from ecgclip.signals import Record
from ecgclip.signals.formats.muse import is_muse, read_muse

EIGHT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
COUNTS = np.random.default_rng(0).integers(-200, 200, (8, 5000))
DOCTYPE = '<?xml version="1.0" encoding="ISO-8859-1"?><!DOCTYPE RestingECG SYSTEM "restecg.dtd">'
PERSON = (
    "<PatientDemographics><PatientID>4711</PatientID><PatientLastName>Yamada</PatientLastName><PatientAge>93</PatientAge>"
    "<AgeUnits>YEARS</AgeUnits><DateofBirth>02-01-1930</DateofBirth><Gender>FEMALE</Gender></PatientDemographics>"
    "<TestDemographics><AcquisitionDevice>MAC55</AcquisitionDevice><AcquisitionDate>11-22-2019</AcquisitionDate></TestDemographics>"
)


def lead(
    name: str, counts: np.ndarray, *, step: str = "4.88", unit: str = "MICROVOLTS", size: str = "2", promised: int | None = None
) -> str:
    data = base64.encodebytes(counts.astype("<i2").tobytes()).decode()
    return (
        f"<LeadData><LeadSampleCountTotal>{len(counts) if promised is None else promised}</LeadSampleCountTotal>"
        f"<LeadAmplitudeUnitsPerBit>{step}</LeadAmplitudeUnitsPerBit><LeadAmplitudeUnits>{unit}</LeadAmplitudeUnits>"
        f"<LeadSampleSize>{size}</LeadSampleSize><LeadID>{name}</LeadID><WaveFormData>\n{data}</WaveFormData></LeadData>"
    )


def waveform(leads: str, *, kind: str = "Rhythm", base: str = "500", exponent: str = "0") -> str:
    rate = f"<SampleBase>{base}</SampleBase><SampleExponent>{exponent}</SampleExponent>"
    return f"<Waveform><WaveformType>{kind}</WaveformType>{rate}{leads}</Waveform>"


def eight(**how: str) -> str:
    return "".join(lead(name, row, **how) for name, row in zip(EIGHT, COUNTS, strict=True))  # type: ignore[arg-type]


def write(folder: Path, *waveforms: str, person: str = PERSON) -> Path:
    path = folder / "m.xml"
    path.write_text(f"{DOCTYPE}<RestingECG>{person}{''.join(waveforms)}</RestingECG>", "latin-1")
    return path


def test_the_rhythm_is_read_and_never_the_median_beat(tmp_path: Path) -> None:
    path = write(tmp_path, waveform("".join(lead(n, COUNTS[0, :600]) for n in EIGHT), kind="Median"), waveform(eight()))
    record = read_muse(path, "salt")
    assert is_muse(path.read_bytes()[:4096])
    np.testing.assert_allclose(record.signal, COUNTS * 0.00488, rtol=1e-6)
    assert (record.sampling_rate, record.lead_names, record.source) == (500, EIGHT, "muse")
    assert (record.age, record.sex, record.year, record.device) == (90, "F", 2019, "GE MAC55")
    assert record.patient and read_muse(path, None).patient == ""
    assert not any(secret in repr(record) for secret in ("4711", "Yamada", "1930"))


def test_twelve_leads_go_before_a_longer_strip_and_a_beat_that_does_not_say_so(tmp_path: Path) -> None:
    beat = waveform("".join(lead(name, row[:900]) for name, row in zip(EIGHT, COUNTS, strict=True)))
    strip = waveform(lead("II", np.tile(COUNTS[1], 6)))
    assert read_muse(write(tmp_path, beat, strip, waveform(eight())), None).signal.shape == (8, 5000)


def test_the_age_is_that_on_the_day_of_the_recording(tmp_path: Path) -> None:
    person = PERSON.replace("<PatientAge>93</PatientAge>", "").replace("1930", "1980")
    assert read_muse(write(tmp_path, waveform(eight()), person=person), None).age == 39
    months = PERSON.replace("YEARS", "MONTHS").replace("02-01-1930", "")
    assert read_muse(write(tmp_path, waveform(eight()), person=months), None).age is None


@pytest.mark.parametrize(("step", "unit"), [("4.88", "MICROVOLTS"), ("0.00488", "MILLIVOLTS"), ("4.88", "uV"), ("4.88", "")])
def test_units(tmp_path: Path, step: str, unit: str) -> None:
    record = read_muse(write(tmp_path, waveform(eight(step=step, unit=unit))), None)
    np.testing.assert_allclose(record.signal, COUNTS * 0.00488, rtol=1e-6)


def test_the_rate_has_an_exponent(tmp_path: Path) -> None:
    assert read_muse(write(tmp_path, waveform(eight(), base="25", exponent="1")), None).sampling_rate == 250


def test_a_sample_that_was_not_taken_is_missing(tmp_path: Path) -> None:
    counts = COUNTS[0].copy()
    counts[7] = -32768
    record = read_muse(write(tmp_path, waveform(lead("I", counts) + lead("II", COUNTS[1, :4000]))), None)
    assert np.flatnonzero(np.isnan(record.signal[0])).tolist() == [7]
    assert np.isnan(record.signal[1, 4000:]).all()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("", "no rhythm"),
        (waveform(""), "no rhythm"),
        (waveform(eight(), kind="Median"), "no rhythm"),
        (waveform(eight(), base="x"), "SampleBase"),
        (waveform(eight(), base="0"), "sampling rate"),
        (waveform(eight(), exponent="999"), "SampleExponent"),
        (waveform(eight(step="")), "LeadAmplitudeUnitsPerBit"),
        (waveform(eight(unit="FURLONGS")), "not a voltage"),
        (waveform(eight(size="4")), "not understood"),
        (waveform(lead("I", COUNTS[0], promised=6000)), "breaks off"),
        (waveform(lead("I", COUNTS[0]).replace("<WaveFormData>\n", "<WaveFormData>*")), "base64"),
        (waveform(lead("I", COUNTS[0, :0])), "does not hold them"),
    ],
)
def test_what_is_no_ecg_is_one_line(tmp_path: Path, body: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        read_muse(write(tmp_path, body), "salt")
    assert "\n" not in str(caught.value) and not any(secret in str(caught.value) for secret in ("4711", "Yamada", str(tmp_path)))


def outcome(path: Path) -> str:
    try:
        assert isinstance(read_muse(path, None), Record)
    except UserError as error:
        return str(error)
    return "a record"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_a_record_or_one_line(tmp_path: Path, data: st.DataObject) -> None:
    whole = bytearray(write(tmp_path, waveform(lead("I", COUNTS[0, :300]))).read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "d.xml"
    path.write_bytes(whole)
    assert "\n" not in outcome(path)
