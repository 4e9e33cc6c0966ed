import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    TwelveLeadECGWaveformStorage,
)

from ecgclip.errors import UserError
from ecgclip.signals import LEADS, Record
from ecgclip.signals.formats.dicom import is_dicom, read_dicom

COUNTS = np.random.default_rng(0).integers(-400, 400, (12, 1000))
MDC = dict(zip(LEADS, ("2:1", "2:2", "2:61", "2:62", "2:63", "2:64", *(f"2:{n}" for n in range(3, 9))), strict=True))
SCP = {lead: "5.6.3-9-" + code[2:] for lead, code in MDC.items()}


def coded(value: str, meaning: str = "") -> Sequence:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "X", meaning
    return Sequence([code])


def group(
    counts: np.ndarray = COUNTS,
    *,
    codes: list[str] | None = None,
    meanings: tuple[str, ...] = LEADS,
    kind: str = "SS",
    dtype: str = "<i2",
    unit: str = "uV",
    sensitivity: float = 2.5,
    padding: int | None = None,
    rate: float = 500,
    originality: str = "ORIGINAL",
    **more: Any,
) -> Dataset:
    one = Dataset()
    one.WaveformOriginality, one.NumberOfWaveformChannels, one.NumberOfWaveformSamples = originality, len(counts), counts.shape[1]
    one.SamplingFrequency, one.WaveformBitsAllocated, one.WaveformSampleInterpretation = rate, np.dtype(dtype).itemsize * 8, kind
    channels = []
    for code, meaning in zip(codes or list(MDC.values())[: len(counts)], meanings, strict=False):
        channel = Dataset()
        channel.ChannelSourceSequence = coded(code, meaning)
        channel.ChannelSensitivity, channel.ChannelSensitivityUnitsSequence = sensitivity, coded(unit)
        channel.WaveformBitsStored = one.WaveformBitsAllocated
        for name, value in more.items():
            setattr(channel, name, value)
        channels.append(channel)
    one.ChannelDefinitionSequence = Sequence(channels)
    one.WaveformData = np.ascontiguousarray(counts.T).astype(dtype).tobytes()
    one["WaveformData"].VR = "OB" if np.dtype(dtype).itemsize == 1 else "OW"
    if padding is not None:
        one.add_new("WaveformPaddingValue", "OW", np.array([padding]).astype(dtype).tobytes())
    return one


def write(folder: Path, *groups: Dataset, syntax: str = ExplicitVRLittleEndian, **more: str) -> Path:
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.file_meta.MediaStorageSOPClassUID, data.file_meta.MediaStorageSOPInstanceUID = TwelveLeadECGWaveformStorage, "1.2.3"
    data.SOPClassUID, data.SOPInstanceUID = data.file_meta.MediaStorageSOPClassUID, data.file_meta.MediaStorageSOPInstanceUID
    about = {
        "PatientID": "4711",
        "PatientName": "Yamada^Taro",
        "PatientBirthDate": "19800201",
        "PatientSex": "M",
        "AcquisitionDateTime": "20191122",
    }
    for name, value in (about | {"Manufacturer": "Mortara", "ManufacturerModelName": "el250"} | more).items():
        setattr(data, name, value)
    if groups:
        data.WaveformSequence = Sequence(groups)
    path = folder / "d.dcm"
    data.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_a_waveform_gives_leads_millivolts_rate_and_no_identifier(tmp_path: Path, syntax: str) -> None:
    path = write(tmp_path, group(dtype=">i2" if syntax == ExplicitVRBigEndian else "<i2"), syntax=syntax)
    record = read_dicom(path, "salt")
    assert is_dicom(path.read_bytes()[:4096])
    np.testing.assert_allclose(record.signal, COUNTS * 0.0025, rtol=1e-6)
    assert (record.sampling_rate, record.lead_names, record.source) == (500, LEADS, "dicom")
    assert (record.age, record.sex, record.year, record.device) == (39, "M", 2019, "Mortara el250")
    assert record.patient and read_dicom(path, None).patient == ""
    assert not any(secret in repr(record) for secret in ("4711", "Yamada", "1980"))


def test_sensitivity_correction_and_baseline(tmp_path: Path) -> None:
    one = group(unit="mV", sensitivity=0.002, ChannelSensitivityCorrectionFactor=1.25, ChannelBaseline=0.1)
    np.testing.assert_allclose(read_dicom(write(tmp_path, one), None).signal, COUNTS * 0.0025 + 0.1, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("codes", "meanings"),
    [
        (list(SCP.values()), ("",) * 12),
        (["x"] * 12, tuple(f"Lead {lead}" for lead in LEADS)),
        (["x"] * 12, ("Lead I (Einthoven)", "Lead II", "III", "aVR, augmented voltage, right", "AVL", "avf", *LEADS[6:])),
    ],
)
def test_leads_by_code_or_by_meaning(tmp_path: Path, codes: list[str], meanings: tuple[str, ...]) -> None:
    assert read_dicom(write(tmp_path, group(codes=codes, meanings=meanings)), None).lead_names == LEADS


@pytest.mark.parametrize(("kind", "dtype"), [("SS", "<i2"), ("SL", "<i4"), ("SB", "i1")])
def test_kinds_of_samples(tmp_path: Path, kind: str, dtype: str) -> None:
    counts = COUNTS // 4
    np.testing.assert_allclose(read_dicom(write(tmp_path, group(counts, kind=kind, dtype=dtype)), None).signal, counts * 0.0025, rtol=1e-6)


def test_the_rhythm_is_taken_and_never_the_median_beat(tmp_path: Path) -> None:
    beat = group(np.tile(COUNTS, 3), originality="DERIVED")
    short = group(COUNTS[:, :300])
    assert read_dicom(write(tmp_path, beat, short, group()), None).signal.shape == (12, 1000)


def test_the_group_of_twelve_leads_goes_before_a_longer_strip_and_a_beat_that_does_not_say_so(tmp_path: Path) -> None:
    strip = group(np.tile(COUNTS[1:2], 6), codes=[MDC["II"]], meanings=("II",))
    beat = group(np.tile(COUNTS, 2)[:, :1200], rate=1000)
    record = read_dicom(write(tmp_path, beat, strip, group()), None)
    assert (record.signal.shape, record.sampling_rate) == ((12, 1000), 500)
    assert read_dicom(write(tmp_path, beat, strip), None).lead_names == ("II",)
    # Of two with the same leads the longer one; eight leads that all follow from tell as much as twelve.
    eight = [lead for lead in LEADS if lead in ("I", "II") or lead.startswith("V")]
    longer = group(np.tile(COUNTS[:8], 2), codes=[MDC[lead] for lead in eight], meanings=tuple(eight))
    assert read_dicom(write(tmp_path, group(), longer), None).signal.shape == (8, 2000)


def test_channels_beside_the_ecg_are_left_out(tmp_path: Path) -> None:
    one = group()
    one.ChannelDefinitionSequence[5].ChannelSensitivityUnitsSequence = coded("mm[Hg]")
    one.ChannelDefinitionSequence[5].ChannelSourceSequence = coded("2:143", "Arterial pressure")
    record = read_dicom(write(tmp_path, one), None)
    assert record.lead_names == tuple(lead for lead in LEADS if lead != "aVF")
    np.testing.assert_allclose(record.signal, np.delete(COUNTS, 5, 0) * 0.0025, rtol=1e-6)


def test_inverted_avr_is_turned_over(tmp_path: Path) -> None:
    codes = ["2:65" if code == MDC["aVR"] else code for code in MDC.values()]
    record = read_dicom(write(tmp_path, group(codes=codes)), None)
    assert record.lead_names == LEADS
    np.testing.assert_allclose(record.signal[3], -COUNTS[3] * 0.0025, rtol=1e-6)


def test_the_key_of_a_patient_is_that_of_the_number_alone(tmp_path: Path) -> None:
    keys = {read_dicom(write(tmp_path, group(), PatientID=number), "salt").patient for number in ("4711", "4711^^^Hospital", " 4711^5^M11")}
    assert len(keys) == 1 and "" not in keys


def test_padding_that_is_also_an_ordinary_sample_is_kept(tmp_path: Path) -> None:
    assert (COUNTS == 0).any()
    assert np.isfinite(read_dicom(write(tmp_path, group(padding=0)), None).signal).all()


def test_padding_that_marks_missing_samples_is_missing(tmp_path: Path) -> None:
    counts = COUNTS.copy()
    counts[3, 10:20] = -32768
    expected = counts == -32768
    np.testing.assert_array_equal(np.isnan(read_dicom(write(tmp_path, group(counts, padding=-32768)), None).signal), expected)
    counts = COUNTS.copy()
    counts[:, 900:] = 0
    missing = np.isnan(read_dicom(write(tmp_path, group(counts, padding=0)), None).signal)
    assert missing[:, 900:].all() and not missing[:, :900].any()


def test_what_pydicom_does_not_like_is_quoted_nowhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    path = write(tmp_path, group())
    path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.SECRE\0"))
    assert "SECRE" in str(path.read_bytes()) and "SECRE" not in outcome(path)
    assert not caplog.records and not recwarn.list


def without(one: Dataset, name: str) -> Dataset:
    for channel in one.ChannelDefinitionSequence:
        delattr(channel, name)
    return one


def promising(samples: int) -> Dataset:
    one = group()
    one.NumberOfWaveformSamples = samples
    return one


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ([], "without a recorded waveform"),
        ([group(originality="DERIVED")], "without a recorded waveform"),
        ([without(group(), "ChannelSensitivity")], "no sensitivity"),
        ([without(group(), "ChannelSourceSequence")], "damaged"),
        ([group(unit="mm[Hg]")], "not a voltage"),
        ([group(unit="mV", sensitivity=2.5)], "check the unit"),
        ([group(kind="MB", dtype="i1")], "are not read"),
        ([group(rate=0)], "damaged|not possible"),
        ([promising(2**31)], "does not hold them"),
        ([promising(0)], "does not hold them"),
    ],
)
def test_what_is_no_ecg_is_one_line(tmp_path: Path, groups: list[Dataset], words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        read_dicom(write(tmp_path, *groups), "salt")
    assert "\n" not in str(caught.value) and not any(secret in str(caught.value) for secret in ("4711", "Yamada", str(tmp_path)))


def test_deflated_files_are_refused_as_they_may_grow_without_end(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="deflated"):
        read_dicom(write(tmp_path, group(), syntax=DeflatedExplicitVRLittleEndian), None)


def outcome(path: Path) -> str:
    try:
        assert isinstance(read_dicom(path, None), Record)
    except UserError as error:
        return str(error)
    return "a record"


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_a_record_or_one_line(tmp_path: Path, data: st.DataObject) -> None:
    whole = bytearray(write(tmp_path, group(COUNTS[:2, :30])).read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        whole[data.draw(st.integers(132, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "x.dcm"
    path.write_bytes(whole[: data.draw(st.sampled_from([len(whole), data.draw(st.integers(0, len(whole)))]))])
    assert "\n" not in outcome(path)


REAL = get_testdata_file("waveform_ecg.dcm", download=False)


@pytest.mark.skipif(REAL is None or not os.path.exists(str(REAL)), reason="pydicom came without its test files")
def test_the_real_file() -> None:
    record = read_dicom(Path(str(REAL)), "salt")
    assert (record.signal.shape, record.sampling_rate, record.lead_names) == ((12, 10000), 1000, LEADS)
    lead = dict(zip(record.lead_names, record.signal, strict=True))
    np.testing.assert_allclose(lead["III"], lead["II"] - lead["I"], atol=1e-6)
    np.testing.assert_allclose(lead["aVF"], (lead["II"] + lead["III"]) / 2, atol=0.0007)
    assert (record.age, record.sex, record.year) == (42, "F", 2013)
