"""CODE-15 %: rows of an HDF5 part by their exam, without the zeros on their sides."""

from pathlib import Path

import numpy as np
import pytest

from ecgclip.errors import UserError
from ecgclip.signals import LEADS
from ecgclip.signals.public import read_code15
from ecgclip.signals.public.within import read_within
from tests.signals.public.layouts import ecg, write_code15

EXAMS: dict[int, dict[str, object]] = {
    1169160: {"age": 38, "normal_ecg": True, "patient_id": 523632},
    2873686: {"1dAVb": True, "RBBB": True, "is_male": False},
    168405: {"AF": True, "age": 95, "patient_id": 523632},
    271011: {"SB": True, "LBBB": True},
    384368: {"ST": True, "trace_file": "exams_part17.hdf5"},
}


def test_the_table(tmp_path: Path) -> None:
    write_code15(tmp_path, EXAMS, ecg(0, 400))
    found = read_code15(tmp_path)
    assert [item.labels for item in found.items] == [("NORM",), ("1AVB",), ("AFIB",), ("SBRAD",)]
    assert {"CRBBB", "IRBBB"} <= set(found.items[1].unknown) and {"CLBBB", "ILBBB"} <= set(found.items[3].unknown)
    assert set(found.annotated) == {"NORM", "1AVB", "AFIB", "SBRAD", "STACH"}
    assert [item.about for item in found.items[:3]] == [{"age": 38, "sex": "M"}, {"age": 50, "sex": "F"}, {"age": 90, "sex": "M"}]
    assert found.items[0].patient == found.items[2].patient != found.items[1].patient
    text = "\n".join(found.notes)
    assert "1 of 2 parts" in text and "exams_part17.hdf5" in text
    assert "RBBB (1), LBBB (1)" in text
    assert "read as mV" in text


@pytest.mark.parametrize("seconds", [7, 10, 10.24])
def test_an_exam_is_read_without_its_padding(tmp_path: Path, seconds: float) -> None:
    signal = ecg(3, 400, seconds)
    write_code15(tmp_path, EXAMS, signal)
    for item in read_code15(tmp_path).items:
        record = read_within(item.path)
        exam = int(item.path.name)
        assert (record.sampling_rate, record.lead_names) == (400.0, LEADS)
        np.testing.assert_allclose(record.signal, signal * (1 + 0.001 * (exam % 7)), rtol=1e-5)


def test_rest_next_to_the_padding_is_signal(tmp_path: Path) -> None:
    signal = ecg(3, 400)
    signal[:, :3] = signal[:, -3:] = 0
    write_code15(tmp_path, EXAMS, signal)
    assert read_within(tmp_path / "exams_part0.hdf5" / "168405").signal.shape == (12, 4000)


def test_what_is_wrong_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no exams\.csv"):
        read_code15(tmp_path)
    write_code15(tmp_path, EXAMS, ecg(0, 400))
    part = tmp_path / "exams_part0.hdf5"
    with pytest.raises(UserError, match="holds no exam 5"):
        read_within(part / "5")
    part.write_bytes(part.read_bytes()[:1000])
    with pytest.raises(UserError, match="is no part of CODE-15"):
        read_within(part / "168405")
    part.unlink()
    with pytest.raises(UserError, match="holds no record of it"):
        read_code15(tmp_path)
    table = tmp_path / "exams.csv"
    table.write_text(table.read_text().replace("1dAVb", "first"))
    with pytest.raises(UserError, match="no column 1dAVb"):
        read_code15(tmp_path)
