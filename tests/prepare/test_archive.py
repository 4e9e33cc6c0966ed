import csv
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from ecgclip.errors import UserError
from ecgclip.labels import Catalogue
from ecgclip.labels.reading import ReadingParser
from ecgclip.prepare.archive import ReadingToLabels, read_archive, read_salt
from ecgclip.privacy import patient_key
from ecgclip.signals.record import Item


def table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[str]], encoding: str = "utf-8") -> Path:
    with open(path, "w", encoding=encoding, newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a/1.mwf", "a/2.xml", "b/00001_lr.hea", "b/00001_lr.dat", "b/00001_lr.atr", "b/A0001.mat", "b/A0001.hea", ".DS_Store"):
        (tmp_path / "files" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "files" / name).write_bytes(b"x")
    return tmp_path / "files"


def test_a_folder_is_its_files_in_order_and_a_wfdb_record_is_one(folder: Path) -> None:
    archive = read_archive(folder, salt="s")
    assert [str(item.path.relative_to(folder)) for item in archive.items] == ["a/1.mwf", "a/2.xml", "b/00001_lr.hea", "b/A0001.hea"]
    assert len({item.id for item in archive.items}) == 4
    assert {item.patient for item in archive.items} == {""}


@pytest.mark.parametrize("encoding", ["utf-8", "cp932"])
def test_a_table_of_a_japanese_system_is_understood(tmp_path: Path, folder: Path, encoding: str) -> None:
    columns = ["患者番号", "ファイル名", "所見", "年齢", "性別", "検査日", "機種", "施設"]
    rows = [
        ["00123", "1.mwf", "洞調律", "64歳", "女", "令和6年5月17日", "ECG-2550", "本院"],
        ["123", "b/00001_lr.dat", "心房細動", "93", "M", "20190302", "", "分院"],
        ["124", "A0001", "", "", "", "", "", ""],
    ]
    archive = read_archive(table(tmp_path / "t.csv", columns, rows, encoding), files=folder, salt="s")
    assert [str(item.path.relative_to(folder)) for item in archive.items] == ["a/1.mwf", "b/00001_lr.hea", "b/A0001.hea"]
    first, second, third = archive.items
    assert first.patient == second.patient == patient_key("123", "s") != third.patient
    assert first.about == {"age": 64.0, "sex": "F", "year": 2024, "device": "ECG-2550", "site": "本院"}
    assert second.about == {"age": 90.0, "sex": "M", "year": 2019, "site": "分院"}
    assert third.about == {}
    assert [item.reading for item in archive.items] == ["洞調律", "心房細動", ""]
    assert archive.notes == [f"1 files in {folder} are not in t.csv: they are left out"]


def test_rows_without_a_file_of_their_own_are_listed_and_the_rest_goes_on(tmp_path: Path, folder: Path) -> None:
    (folder / "c").mkdir()
    (folder / "c" / "1.mwf").write_bytes(b"x")
    rows = [["a/1.mwf"], ["nowhere.mwf"], [""], ["a/1.mwf"], ["1.mwf"], ["a\\2.xml"]]
    archive = read_archive(table(tmp_path / "t.csv", ["path"], rows), files=folder, salt="s")
    assert [item.path.name for item in archive.items] == ["1.mwf", "2.xml"]
    assert [(line.file.partition(": ")[0], line.reason.partition(":")[0]) for line in archive.rejected] == [
        ("t.csv row 3", "does not exist"),
        ("t.csv row 4", "has no file"),
        ("t.csv row 5", "is listed twice"),
        ("t.csv row 6", "could be 2 files of that name"),
    ]


def test_only_confirmed_readings_count(tmp_path: Path, folder: Path) -> None:
    path = table(tmp_path / "t.csv", ["path", "状態", "所見"], [["a/1.mwf", "確定", "洞調律"], ["a/2.xml", "自動", "心房細動"]])
    archive = read_archive(path, files=folder, salt="s", confirmed="状態=確定")
    assert [item.reading for item in archive.items] == ["洞調律"]
    assert "not confirmed" in archive.rejected[0].reason
    for condition, says in (("状態", "write COLUMN=VALUE"), ("階=確定", "write COLUMN=VALUE"), ("状態=未", "no row has '未'")):
        with pytest.raises(UserError, match=says):
            read_archive(path, files=folder, salt="s", confirmed=condition)


def test_labels_are_taken_by_id_or_name(tmp_path: Path, folder: Path) -> None:
    catalogue = Catalogue.load("ja98")
    rows = [["a/1.mwf", "AFIB | 完全右脚ブロック"], ["a/2.xml", ""]]
    archive = read_archive(table(tmp_path / "t.csv", ["path", "labels"], rows), files=folder, salt="s", catalogue=catalogue)
    assert [item.labels for item in archive.items] == [("AFIB", "CRBBB"), ()]
    wrong = table(tmp_path / "w.csv", ["path", "labels"], [["a/1.mwf", "完全右脚ブロク"]])
    with pytest.raises(UserError, match="label '完全右脚ブロク' does not exist: did you mean '完全右脚ブロック'"):
        read_archive(wrong, files=folder, salt="s", catalogue=catalogue)


@pytest.mark.parametrize(
    ("columns", "row", "says"),
    [
        (["name"], ["x"], r"has no column path \(or file, ファイル名\), but 'name'"),
        (["path", "age"], ["a/1.mwf", "1950-02-03"], "row 2: the age is not understood: write years"),
        (["path", "sex"], ["a/1.mwf", "?"], "row 2: the sex is not understood"),
        (["path", "date"], ["a/1.mwf", "昨日"], "row 2: the year is not understood"),
        (["path", "split"], ["a/1.mwf", "dev"], "split 'dev' does not exist"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused_before_any_work(
    tmp_path: Path, folder: Path, columns: list[str], row: list[str], says: str
) -> None:
    with pytest.raises(UserError, match=says) as error:
        read_archive(table(tmp_path / "t.csv", columns, [row]), files=folder, salt="s")
    assert "1950" not in str(error.value)


@pytest.mark.parametrize(
    ("source", "says"),
    [(lambda tmp: tmp / "no", "does not exist"), (lambda tmp: (tmp / "empty").mkdir() or tmp / "empty", "holds no file")],
)
def test_a_source_that_is_not_there_is_named(tmp_path: Path, source: Callable[[Path], Path], says: str) -> None:
    with pytest.raises(UserError, match=says):
        read_archive(source(tmp_path), salt="s")


def test_a_salt_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    salt = read_salt(tmp_path / "new" / "s.salt")
    assert len(salt) == 32
    assert read_salt(tmp_path / "new" / "s.salt") == salt != read_salt(tmp_path / "other.salt")
    assert stat.S_IMODE(os.stat(tmp_path / "new" / "s.salt").st_mode) == 0o600
    (tmp_path / "empty.salt").write_text("\n")
    with pytest.raises(UserError, match="is empty"):
        read_salt(tmp_path / "empty.salt")


def states(reading: str | None, **options: str) -> Mapping[str, int]:
    catalogue = Catalogue.load("ja98")
    parser = ReadingParser(catalogue, **options)
    item = Item("i", "p", "", (), Path("x"), reading=reading)
    item = ReadingToLabels(parser, "key", False)(item, np.zeros((12, 10), np.float32), 100.0)
    assert item.reading is None
    return dict(zip(catalogue.ids, catalogue.states(item.labels, item.unknown).tolist(), strict=True))


def test_what_a_reading_says_suspects_denies_and_leaves_out() -> None:
    found = states("完全右脚ブロック、左室肥大の疑い、異常Q波なし")
    assert (found["CRBBB"], found["LVH"], found["QWAVE"], found["LAFB"]) == (1, -1, 0, 0)
    assert found["SR"] == -1  # Sinus rhythm is left out where nothing else is,
    assert states("心房細動")["SR"] == 0  # and not where there is another rhythm,
    assert found["NORM"] == 0  # and a bundle branch block is not normal.
    assert states("洞調律")["NORM"] == -1


@pytest.mark.parametrize("reading", [None, "", "前回と変化なし", "ペンディング"])
def test_of_a_reading_that_says_nothing_nothing_is_known(reading: str | None) -> None:
    assert set(states(reading).values()) == {-1}
