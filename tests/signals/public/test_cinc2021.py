"""The sets of the CinC Challenge 2021: codes to labels, what stays open, and signals as they were written."""

import os
from pathlib import Path

import numpy as np
import pytest

from ecgclip.errors import UserError
from ecgclip.labels import Catalogue
from ecgclip.signals import LEADS, read_record
from ecgclip.signals.public import PublicSet, read_chapman_ningbo, read_cpsc2018, read_georgia
from ecgclip.signals.public.cinc2021 import snomed_codes, speaks_of
from ecgclip.signals.public.within import read_within
from tests.signals.public.layouts import ecg, write_cinc, write_cpsc

FORMATS = os.environ.get("ECGCLIP_FORMATS")
SIGNAL = ecg()


def georgia(folder: Path, *diagnoses: str) -> PublicSet:
    for number, codes in enumerate(diagnoses, 1):
        write_cinc(folder / "g1", f"E{number:05d}", SIGNAL, ["# Age: 78", "# Sex: Male", f"# Dx: {codes}", "# Rx: Unknown"])
    return read_georgia(folder)


def test_the_table_of_codes_names_labels_that_there_are() -> None:
    ids = set(Catalogue.load("ja98").ids)
    codes = snomed_codes()
    assert len(codes) > 130
    for code in codes.values():
        finding = code.finding
        assert {*finding.positive, *finding.hedged, *finding.unknown} <= ids
        assert not set(finding.positive) & {*finding.hedged, *finding.unknown}


@pytest.mark.parametrize(
    ("codes", "positive", "open_"),
    [
        ("426783006", {"SR"}, set()),
        ("59118001", set(), {"CRBBB", "IRBBB"}),  # A right bundle branch block that nobody calls complete.
        ("713427006,426177001", {"CRBBB", "SBRAD"}, {"SR"}),
        ("713426002", {"IRBBB"}, set()),
        ("713427006,59118001", {"CRBBB"}, set()),
        ("164909002", set(), {"ILBBB"}),
        ("63593006", {"PAC"}, set()),
        ("284470004", {"PAC"}, set()),
        ("17338001", {"PVC"}, set()),
        ("427172004", {"PVC"}, set()),
        ("11157007", {"PVC", "BIGU"}, set()),
        ("164889003", {"AFIB"}, set()),
        ("195080001", set(), {"AFIB", "AFLT"}),
        ("270492004", {"1AVB"}, set()),
        ("164934002", {"TAB_"}, {"INVT"}),
        ("55930002", set(), {"STD_", "STE_", "STT"}),
        ("164865005", set(), set()),  # An infarct somewhere: Georgia never says where, so none of the walls is annotated.
    ],
)
def test_codes_become_labels(tmp_path: Path, codes: str, positive: set[str], open_: set[str]) -> None:
    found = georgia(tmp_path, codes)
    (item,) = found.items
    assert set(item.labels) == positive
    assert open_ <= set(item.unknown)
    assert not positive & set(item.unknown)
    # Sinus rhythm is left out of many a record that has it.
    assert ("SR" in item.unknown) == (not {"SR", "AFIB"} & positive)
    states = Catalogue.load("ja98").states(item.labels, item.unknown, found.annotated)
    ids = Catalogue.load("ja98").ids
    assert {label for label, state in zip(ids, states, strict=True) if state == 1} == positive
    assert not open_ & {label for label, state in zip(ids, states, strict=True) if state == 0}


def test_what_cannot_stand_beside_it_is_not_open(tmp_path: Path) -> None:
    (item,) = georgia(tmp_path, "713427006,59118001,195080001,29320008").items
    assert not {"IRBBB", "AFLT", "SR"} & set(item.unknown) and "AFIB" in item.unknown


def test_what_is_only_suspected_is_hedged(tmp_path: Path) -> None:
    (item,) = georgia(tmp_path, "426783006,251139008").items
    assert (item.labels, item.hedged) == (("SR",), ("ALEAD",))
    assert "ALEAD" in item.unknown


def test_a_code_without_a_label_is_counted(tmp_path: Path) -> None:
    found = georgia(tmp_path, "426783006,164896001", "164896001", "999999999,59118001")
    assert "codes without a label here, left out: 164896001 ventricular fibrillation (2), 999999999 (1)" in found.notes
    assert "codes broader than a label, which leave some open: 59118001 right bundle branch block (1)" in found.notes


def test_a_record_is_who_it_is_and_no_one(tmp_path: Path) -> None:
    first, second = georgia(tmp_path, "426783006", "426783006").items
    assert first.about == {"age": 78.0, "sex": "M"}
    assert len({first.id, first.patient, second.id, second.patient}) == 4
    assert "E00001" not in repr((first.id, first.patient))


def test_what_cannot_be_used_is_said(tmp_path: Path) -> None:
    georgia(tmp_path, "426783006")
    write_cinc(tmp_path / "g1", "E00002", SIGNAL, ["# Age: 60"])
    write_cinc(tmp_path / "g1", "E00003", SIGNAL, ["# Dx: 426783006"])
    (tmp_path / "g1" / "E00003.mat").unlink()
    write_cinc(tmp_path, "HR00001", SIGNAL, ["# Dx: 426783006"])
    found = read_georgia(tmp_path)
    assert len(found.items) == 1
    text = "\n".join(found.notes)
    assert "1 records" in text and "of other sets" in text
    assert "1 headers have no .mat" in text
    assert "first E00002.hea" in text
    for folder in (tmp_path / "nowhere", tmp_path / "g1" / "E00001.mat"):
        with pytest.raises(UserError, match="is no folder"):
            read_georgia(folder)
    with pytest.raises(UserError, match="holds no record of it"):
        read_chapman_ningbo(tmp_path)


def test_chapman_and_ningbo_are_told_apart_by_number(tmp_path: Path) -> None:
    # PhysioNet's ecg-arrhythmia 1.0.0: no blank after the mark, and a gain without a baseline.
    comments = ["#Age: 85", "#Sex: Male", "#Dx: 164890007,251198002", "#Rx: Unknown"]
    write_cinc(tmp_path / "WFDBRecords/01/010", "JS00001", SIGNAL, comments, gain="1000/mV")
    write_cinc(tmp_path / "WFDBRecords/11/110", "JS10647", SIGNAL, comments, gain="1000/mV")
    found = read_chapman_ningbo(tmp_path)
    chapman, ningbo = found.items
    assert chapman.labels == ("AFLT", "CWROT")
    # Ningbo calls fibrillation flutter.
    assert ningbo.labels == ("CWROT",) and {"AFIB", "AFLT"} <= set(ningbo.unknown)
    # Poor R progression is Ningbo's, not Chapman's, to report.
    assert "PRWP" in found.annotated and "PRWP" in chapman.unknown and "PRWP" not in ningbo.unknown
    assert any("atrial flutter" in note for note in found.notes)
    np.testing.assert_allclose(read_record(chapman.path).signal, SIGNAL, atol=6e-4)


def test_cpsc_and_its_extra_part_speak_of_different_labels(tmp_path: Path) -> None:
    write_cinc(tmp_path / "cpsc_2018/g1", "A0001", SIGNAL, ["# Dx: 59118001"])
    write_cinc(tmp_path / "cpsc_2018_extra/g1", "Q0001", SIGNAL, ["# Dx: 427084000,426749004"])
    first, extra = read_cpsc2018(tmp_path).items
    assert "STACH" in first.unknown and "CRBBB" in first.unknown
    assert extra.labels == ("STACH", "AFIB")
    assert set(speaks_of("cpsc")) == {"SR", "AFIB", "1AVB", "PAC", "PVC", "STD_", "STE_"}


def test_cpsc_in_its_own_layout(tmp_path: Path) -> None:
    write_cpsc(tmp_path / "TrainingSet1", {"A0001": [5], "A0002": [1], "A0003": [2, 7, 8]}, SIGNAL)
    (tmp_path / "TrainingSet1" / "A0002.mat").unlink()
    found = read_cpsc2018(tmp_path)
    assert [item.labels for item in found.items] == [(), ("AFIB", "PVC", "STD_")]
    assert {"CRBBB", "IRBBB", "SR"} <= set(found.items[0].unknown)
    assert any("1 records of REFERENCE.csv have no .mat" in note for note in found.notes)
    record = read_within(found.items[1].path)
    assert (record.sampling_rate, record.lead_names, record.age, record.sex) == (500.0, LEADS, 57.0, "M")
    np.testing.assert_allclose(record.signal, SIGNAL, atol=1e-6)


@pytest.mark.parametrize("label", ["10", "x", "0"])
def test_a_class_that_cpsc_does_not_have_is_refused(tmp_path: Path, label: str) -> None:
    write_cpsc(tmp_path, {"A0001": [1]}, SIGNAL)
    (tmp_path / "REFERENCE.csv").write_text(f"Recording,First_label,Second_label,Third_label\nA0001,{label},,\n")
    with pytest.raises(UserError, match="the label"):
        read_cpsc2018(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "other", "text"])
def test_a_damaged_structure_is_one_line(tmp_path: Path, damage: str) -> None:
    write_cpsc(tmp_path, {"A0001": [1]}, SIGNAL[:, :100] if damage != "other" else SIGNAL[:3, :100])
    path = tmp_path / "A0001.mat"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:400])
    elif damage == "text":
        path.write_text("no MATLAB at all")
    with pytest.raises(UserError, match="A0001.mat") as error:
        read_within(path / "ECG")
    assert "\n" not in str(error.value)


@pytest.mark.skipif(not FORMATS, reason="ECGCLIP_FORMATS names no folder with real files")
def test_real_records() -> None:
    folder = Path(str(FORMATS)) / "cinc2021"
    (georgian,) = read_georgia(folder).items
    assert georgian.labels == ("LAO/LAE", "SBRAD") and georgian.about == {"age": 78.0, "sex": "M"}
    (chinese,) = read_chapman_ningbo(folder).items
    assert chinese.labels == ("PAC", "STACH", "IVCD") and {"STT", "STD_", "STE_", "SR"} <= set(chinese.unknown)
    for item in (georgian, chinese):
        record = read_record(item.path)
        one, two, three = (record.signal[record.lead_names.index(lead)] for lead in ("I", "II", "III"))
        assert np.abs(one + three - two).max() < 0.01  # mV; Einthoven.
        assert record.signal.shape == (12, 5000) and 0.5 < np.ptp(record.signal, axis=1).max() < 10
