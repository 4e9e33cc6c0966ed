"""LUDB: the cardiologists' statements to labels, from the headers or the table."""

from pathlib import Path

import numpy as np
import pytest

from ecgclip.errors import UserError
from ecgclip.labels import Catalogue
from ecgclip.signals import LEADS, read_record
from ecgclip.signals.public import read_ludb
from ecgclip.signals.public.ludb import ludb_statements
from tests.signals.public.layouts import ecg, write_ludb

SIGNAL = ecg()
RECORDS = {
    1: ["Rhythm: Sinus bradycardia", "Electric axis of the heart: left axis deviation", "Left ventricular hypertrophy"],
    2: ["Rhythm: Sinus rhythm", "Non-specific repolarization abnormalities: inferior wall", "Scar formation: inferior wall"],
    10: ["Rhythm: Atrial fibrillation", "Scar formation: septal", "Something new"],
    34: ["Rhythm: Sinus rhythm", "STEMI: anterior wall", "Ventricular extrasystole, type: couplet"],
}


@pytest.mark.parametrize("in_headers", [True, False])
def test_statements_become_labels(tmp_path: Path, in_headers: bool) -> None:
    write_ludb(tmp_path, RECORDS, SIGNAL, in_headers=in_headers)
    found = read_ludb(tmp_path)
    assert [set(item.labels) for item in found.items] == [
        {"SBRAD", "LAXD", "LVH"},
        {"SR", "STT", "IMI"},
        {"AFIB"},
        {"SR", "STEMI", "AMI", "VCOUP"},
    ]
    assert [item.modifiers for item in found.items] == [{}, {"IMI": "陳旧性"}, {}, {"AMI": "急性"}]
    assert "SR" in found.items[0].unknown and "SR" not in found.items[2].unknown
    assert "ASMI" in found.items[2].unknown
    assert {item.about["age"] for item in found.items} == {90.0} and {item.about["sex"] for item in found.items} == {"F"}
    text = "\n".join(found.notes)
    assert "Something new (1)" in text and "Scar formation: septal (1)" in text
    states = Catalogue.load("ja98").states(found.items[3].labels, found.items[3].unknown, found.annotated)
    # What is implied is annotated with what implies it.
    assert states[Catalogue.load("ja98").index("PVC")] == states[Catalogue.load("ja98").index("STE_")] == 1


def test_signals_are_as_they_were_written(tmp_path: Path) -> None:
    write_ludb(tmp_path, RECORDS, SIGNAL)
    record = read_record(read_ludb(tmp_path / "data").items[2].path)
    assert record.lead_names == LEADS
    np.testing.assert_allclose(record.signal, SIGNAL, atol=3e-3)


def test_every_published_statement_is_known() -> None:
    ids = set(Catalogue.load("ja98").ids)
    assert len(ludb_statements()) == 84
    for finding in ludb_statements().values():
        assert {*finding.positive, *finding.unknown} <= ids and not set(finding.positive) & set(finding.unknown)


def test_what_is_wrong_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no header"):
        read_ludb(tmp_path)
    write_ludb(tmp_path, RECORDS, SIGNAL)
    (tmp_path / "data" / "2.dat").unlink()
    found = read_ludb(tmp_path)
    assert len(found.items) == 3 and any("first 2.hea" in note for note in found.notes)
