"""MIMIC-IV-ECG: machine statements to labels, patients, and lead order by name."""

from pathlib import Path

import numpy as np
import pytest

from ecgclip.errors import UserError
from ecgclip.signals import LEADS, read_record
from ecgclip.signals.public import read_mimic_iv_ecg
from tests.signals.public.layouts import MIMIC_LEADS, ecg, write_mimic

SIGNAL = ecg()
STUDIES = {
    ("10000032", "40689238"): ["Sinus rhythm", "Possible right atrial abnormality", "", "Borderline ECG"],
    ("10000032", "44458630"): ["Atrial fibrillation", "Inferior infarct, old", "Some new statement."],
    ("10000117", "45090959"): ["Some new statement", "Right bundle branch block", "Abnormal ECG"],
    ("10000764", "90000001"): ["Right atrial enlargement", "Normal ECG"],
    ("10000980", "41014257"): ["Only something unheard of"],
}


def test_statements_become_labels(tmp_path: Path) -> None:
    write_mimic(tmp_path, STUDIES, SIGNAL)
    found = read_mimic_iv_ecg(tmp_path)
    first, second, third = found.items
    assert (first.labels, first.hedged) == (("SR",), ("RAO/RAE",))
    assert {"RAO/RAE", "NORM"} <= set(first.unknown)
    assert second.labels == ("AFIB", "IMI") and second.modifiers == {"IMI": "陳旧性"}
    assert third.labels == () and {"CRBBB", "IRBBB"} <= set(third.unknown)
    # What some ECG of the whole table has, on disk or not.
    assert found.annotated == ("NORM", "IMI", "RAO/RAE", "SR", "AFIB")
    assert {item.about["reader"] for item in found.items} == {"machine"}
    text = "\n".join(found.notes)
    assert "Some new statement (2), Only something unheard of (1)" in text
    assert "no doctor confirmed" in text
    assert "1 of 5 ECGs are not in" in text and "1 ECGs have no statement" in text


def test_a_patient_has_one_key_and_no_number(tmp_path: Path) -> None:
    write_mimic(tmp_path, STUDIES, SIGNAL)
    items = read_mimic_iv_ecg(tmp_path).items
    assert items[0].patient == items[1].patient != items[2].patient
    assert len({item.id for item in items}) == 3
    assert not [number for pair in STUDIES for number in pair if number in repr([(item.id, item.patient) for item in items])]


def test_leads_are_taken_by_name(tmp_path: Path) -> None:
    write_mimic(tmp_path, STUDIES, SIGNAL)
    record = read_record(read_mimic_iv_ecg(tmp_path).items[0].path)
    assert record.lead_names == MIMIC_LEADS != LEADS
    ordered = record.signal[[record.lead_names.index(lead) for lead in LEADS]]
    np.testing.assert_allclose(ordered, SIGNAL, atol=3e-3)


def test_a_folder_that_is_not_the_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no record_list\.csv"):
        read_mimic_iv_ecg(tmp_path)
    write_mimic(tmp_path, STUDIES, SIGNAL)
    (tmp_path / "machine_measurements.csv").write_text("subject_id,study_id,report_0\n1,2,Sinus rhythm\n")
    with pytest.raises(UserError, match="no column report_1"):
        read_mimic_iv_ecg(tmp_path)


def test_a_path_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    write_mimic(tmp_path / "set", {("10000032", "40689238"): ["Sinus rhythm"]}, SIGNAL)
    table = tmp_path / "set" / "record_list.csv"
    inside = "files/p1000/p10000032/s40689238/40689238"
    (tmp_path / "40689238.hea").write_text((tmp_path / "set" / f"{inside}.hea").read_text())
    table.write_text(table.read_text().replace(inside, "../40689238"))
    with pytest.raises(UserError, match="holds no record of it"):
        read_mimic_iv_ecg(tmp_path / "set")
