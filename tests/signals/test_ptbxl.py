import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ecgclip.errors import UserError
from ecgclip.prepare import prepare
from ecgclip.signals.path import SignalPath
from ecgclip.signals.ptbxl import qrs_axis, read_ptbxl, refine_axis
from ecgclip.signals.record import Item
from ecgclip.store import Store
from tests.ptbxl_folder import beats, make_ptbxl

REAL = os.environ.get("ECGCLIP_PTBXL")


def change(folder: Path, record: int, **values: Any) -> None:
    table = pd.read_csv(folder / "ptbxl_database.csv").astype(object)
    for column, value in values.items():
        table.loc[record, column] = value
    table.to_csv(folder / "ptbxl_database.csv", index=False)


def only(folder: Path, **values: Any) -> Item:
    change(make_ptbxl(folder, records=1, folds=[1]), 0, **values)
    return read_ptbxl(folder, 100).items[0]


# --- the table -----------------------------------------------------------------------------------------------------------------------


def test_folds_become_splits_and_codes_labels(tmp_path: Path) -> None:
    found = read_ptbxl(make_ptbxl(tmp_path, records=20), 100)
    assert Counter(item.split for item in found.items) == {"train": 10, "val": 5, "test": 5}
    assert len(found.annotated) == 73
    assert {"LAO/LAE", "PRC(S)", "LAXD", "RAXD"} < set(found.annotated)
    assert found.items[0].labels == ("NORM", "SR")  # SR has the likelihood 0: not stated, not absent.
    assert len({item.patient for item in found.items}) == 12
    assert {note.split(" is not")[0] for note in found.notes} == {f"fold {fold}" for fold in range(3, 9)}


@pytest.mark.parametrize(
    ("axis", "labels", "unknown"),
    [
        ("ALAD", {"LAXD"}, ()),
        ("RAD", {"RAXD"}, ()),
        ("ARAD", {"RAXD"}, ()),
        ("LAD", set(), ("LAXD",)),
        *((axis, set(), ()) for axis in ("MID", "AXL", "AXR", "SAG", None)),
    ],
)
def test_heart_axis(tmp_path: Path, axis: str | None, labels: set[str], unknown: tuple[str, ...]) -> None:
    item = only(tmp_path, heart_axis=axis, scp_codes="{'SR': 0.0}")
    assert set(item.labels) - {"SR"} == labels
    assert item.unknown == unknown


@pytest.mark.parametrize(
    ("codes", "stages", "modifiers"),
    [
        (["SR", "IMI"], ("Stadium I", None), {"IMI": "急性"}),
        (["IMI"], ("Stadium III", None), {"IMI": "陳旧性"}),
        (["ASMI", "SR", "ILMI"], ("Stadium III", "Stadium I"), {"ASMI": "陳旧性", "ILMI": "急性"}),
        (["ASMI", "ILMI"], ("unknown", "Stadium III"), {"ILMI": "陳旧性"}),
        (["ASMI", "ILMI"], ("Stadium I", None), {"ASMI": "急性"}),
        (["IMI"], ("Stadium II", None), {}),
        (["IMI"], ("Stadium II-III", None), {}),
        (["INJAS", "LVH"], ("Stadium I", None), {}),
        (["INJAS", "AMI"], ("Stadium I", None), {"AMI": "急性"}),
    ],
)
def test_infarct_stage(tmp_path: Path, codes: list[str], stages: tuple[str | None, str | None], modifiers: dict[str, str]) -> None:
    text = str(dict.fromkeys(codes, 100.0))
    item = only(tmp_path, scp_codes=text, infarction_stadium1=stages[0], infarction_stadium2=stages[1])
    assert item.modifiers == modifiers
    assert set(codes) <= set(item.labels)


def test_doubtful_diagnoses_are_flagged_and_still_positive(tmp_path: Path) -> None:
    item = only(tmp_path, scp_codes="{'IMI': 15.0, 'LVH': 50.0, 'PVC': 20.0, 'NORM': 0.0}", heart_axis="MID")
    assert item.flags == ("under50:IMI",)
    assert item.labels == ("IMI", "LVH", "PVC", "NORM")


def test_unknown_codes_are_left_out_and_counted(tmp_path: Path) -> None:
    folder = make_ptbxl(tmp_path, records=3, folds=[1])
    change(folder, 0, scp_codes="{'SR': 0.0, 'XYZ': 100.0}")
    change(folder, 2, scp_codes="{'XYZ': 100.0}")
    found = read_ptbxl(folder, 100)
    assert "XYZ is not in scp_statements.csv: left out of 2 records" in found.notes
    assert found.items[0].labels == ("SR",)


def test_ids_and_patients_are_hashed_and_stable(tmp_path: Path) -> None:
    first = read_ptbxl(make_ptbxl(tmp_path / "a", records=4), 100).items
    second = read_ptbxl(make_ptbxl(tmp_path / "b", records=4, seed=1), 100).items
    assert [(item.id, item.patient) for item in first] == [(item.id, item.patient) for item in second]
    assert not any(item.id.isdigit() or "1000" in item.patient for item in first)


# --- the folder ----------------------------------------------------------------------------------------------------------------------


def test_a_fold_that_is_not_on_disk_is_announced_and_skipped(tmp_path: Path) -> None:
    folder = make_ptbxl(tmp_path, records=20)
    for i in (*range(3, 20, 4), *range(1, 20, 4)):  # Fold 10, and fold 2.
        (folder / f"records100/00000/{i + 1:05d}_lr.dat").unlink()
    (folder / "records100/00000/00001_lr.dat").unlink()  # One file of fold 1.
    found = read_ptbxl(folder, 100)
    assert f"fold 10 is not in {folder}: no test split" in found.notes
    assert f"fold 2 is not in {folder}: its records are left out of train" in found.notes
    assert Counter(item.split for item in found.items) == {"train": 5, "val": 5}
    store = Store.open(prepare(found.items, tmp_path / "s", signal_path=SignalPath(100, 10), annotated=found.annotated, workers=1))
    assert len(store) == 9
    assert "00001_lr.dat" in (tmp_path / "s.rejected.csv").read_text("utf-8-sig")


@pytest.mark.parametrize(("on_disk", "wanted"), [(500, 100), (100, 500), (500, 500), (500, 250)])
def test_whichever_rate_is_on_disk_serves(tmp_path: Path, on_disk: int, wanted: int) -> None:
    folder = make_ptbxl(tmp_path / "p", records=2, folds=[1], sampling_rate=on_disk)
    found = read_ptbxl(folder, wanted)
    assert all(f"records{on_disk}" in str(item.path) for item in found.items)
    store = Store.open(prepare(found.items, tmp_path / "s", signal_path=SignalPath(wanted, 10), annotated=None, workers=1))
    signal = store.read(np.array([0]))[0] / 1000
    assert signal.shape == (12, wanted * 10)
    assert qrs_axis(signal, wanted) == pytest.approx(50, abs=3)


def test_where_both_rates_are_on_disk_the_nearer_one_is_read(tmp_path: Path) -> None:
    folder = make_ptbxl(tmp_path, records=2, folds=[1], sampling_rate=500)
    make_ptbxl(folder, records=2, folds=[1], sampling_rate=100)
    for wanted, name in ((100, "records100"), (250, "records500"), (500, "records500")):
        assert all(name in str(item.path) for item in read_ptbxl(folder, wanted).items)


def _without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _one_patient_everywhere(folder: Path) -> None:
    for i in range(4):
        change(folder, i, patient_id=7)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_without("ptbxl_database.csv"), r"holds no ptbxl_database.csv: give the folder of PTB-XL, or download .*physionet.org"),
        (_without("scp_statements.csv"), r"holds no scp_statements.csv: download"),
        (
            lambda folder: (folder / "records100").rename(folder / "elsewhere"),
            r"none of its records \(records100/, records500/\): download",
        ),
        (lambda folder: (folder / "ptbxl_database.csv").write_text("a,b\n1,2\n"), r"ptbxl_database.csv has no column ecg_id"),
        (lambda folder: (folder / "ptbxl_database.csv").write_text(""), r"tables in .* cannot be read"),
        (lambda folder: change(folder, 1, scp_codes="__import__('os')"), r"scp_codes of record 2 are not"),
        (lambda folder: change(folder, 1, scp_codes="['SR']"), r"scp_codes of record 2 are not"),
        (lambda folder: change(folder, 1, strat_fold=11), r"has the fold 11"),
        (_one_patient_everywhere, r"in train and in val: split by patient"),
    ],
)
def test_what_is_wrong_with_the_folder_is_said_in_one_line(tmp_path: Path, damage: Callable[[Path], None], says: str) -> None:
    folder = make_ptbxl(tmp_path, records=4)
    damage(folder)
    with pytest.raises(UserError, match=says) as error:
        read_ptbxl(folder, 100)
    assert "\n" not in str(error.value)


def test_the_folder_above_is_told_from_the_right_one(tmp_path: Path) -> None:
    make_ptbxl(tmp_path / "ptb-xl-1.0.3", records=2)
    with pytest.raises(UserError, match=r"but .*ptb-xl-1.0.3 does: give that folder"):
        read_ptbxl(tmp_path, 100)


# --- the axis ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [-80, -55, -35, -25, 0, 45, 90, 120, 170, -150])
@pytest.mark.parametrize("rate", [100, 500])
def test_the_axis_is_measured(axis: float, rate: int) -> None:
    signal = beats(75, axis, 0.012, sampling_rate=rate, seconds=10, rng=np.random.default_rng(0))
    assert (qrs_axis(signal, rate) - axis + 180) % 360 - 180 == pytest.approx(0, abs=5)


def test_lad_is_settled_by_the_signal_and_nothing_else_is_touched() -> None:
    def refined(axis: float, item: Item) -> Item:
        return refine_axis(item, beats(75, axis, 0.012, sampling_rate=100, seconds=10, rng=np.random.default_rng(0)), 100)

    lad = Item("a", "p", "train", ("NORM",), Path("x"), unknown=("LAXD",))
    settled = refined(-50, lad)
    assert (settled.labels, settled.unknown) == (("NORM", "LAXD"), ())
    for axis in (-15, 40, 120, -150):
        assert refined(axis, lad) == lad
    plain = Item("a", "p", "train", ("NORM",), Path("x"))
    assert refined(-50, plain) == plain
    assert refine_axis(lad, np.zeros((12, 1000), np.float32), 100) == lad


def test_the_store_holds_the_settled_labels(tmp_path: Path) -> None:
    found = read_ptbxl(make_ptbxl(tmp_path / "p", records=10, folds=[1, 9]), 100)
    out = prepare(found.items, tmp_path / "s", signal_path=SignalPath(100, 10), annotated=found.annotated, refine=refine_axis, workers=1)
    manifest = Store.open(out).manifest
    for _, row in manifest.iterrows():
        assert ("LAXD" in row["labels"]) == bool({"LAFB", "ILMI"} & set(row["labels"]))
        assert (row["unknown"] == ["LAXD"]) == ("STACH" in row["labels"])


# --- the real one --------------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(REAL is None, reason="ECGCLIP_PTBXL does not name a folder of PTB-XL")
def test_the_real_one_agrees_with_its_table(tmp_path: Path) -> None:
    import ast

    import wfdb

    found = read_ptbxl(str(REAL), 100)
    table = pd.read_csv(Path(str(REAL)) / "ptbxl_database.csv")
    expected = Counter(code for codes in table["scp_codes"] for code in ast.literal_eval(codes))
    counts = Counter(label for item in found.items for label in item.labels)
    assert {code: counts[code] for code in expected} == dict(expected)
    assert counts["LAXD"] == (table["heart_axis"] == "ALAD").sum()
    assert counts["RAXD"] == table["heart_axis"].isin(["RAD", "ARAD"]).sum()
    assert len({item.patient for item in found.items}) == table["patient_id"].nunique()
    some = found.items[::500]
    store = Store.open(
        prepare(some, tmp_path / "s", signal_path=SignalPath(100, 10), annotated=found.annotated, refine=refine_axis, workers=1)
    )
    for i, item in enumerate(some):
        reference = wfdb.rdrecord(str(item.path.with_suffix(""))).p_signal.T
        np.testing.assert_allclose(store.read(np.array([i]))[0] / 1000, reference, atol=1e-9)


@pytest.mark.skipif(REAL is None, reason="ECGCLIP_PTBXL does not name a folder of PTB-XL")
def test_on_the_real_one_the_axis_tells_what_cardiologists_said() -> None:
    from ecgclip.signals.readers import read_record

    table = pd.read_csv(Path(str(REAL)) / "ptbxl_database.csv")

    def measured(axis: str) -> np.ndarray:
        files = table["filename_lr"][table["heart_axis"] == axis][:100]
        return np.array([qrs_axis(read_record(Path(str(REAL)) / f"{file}.dat").signal, 100) for file in files])

    assert (measured("ALAD") < -30).mean() > 0.8
    assert (measured("MID") < -30).mean() < 0.03
    assert (measured("RAD") > 90).mean() > 0.8


def test_age_sex_and_device_are_kept_where_the_table_has_them(tmp_path: Path) -> None:
    root = make_ptbxl(tmp_path, records=3)
    (plain, *_) = read_ptbxl(root, 100).items
    assert plain.about == {}
    table = pd.read_csv(root / "ptbxl_database.csv")
    table["age"], table["sex"], table["device"], table["site"] = (
        [300.0, 56.0, np.nan],
        [1, 0, 0],
        ["CS-12   E", None, "AT-6"],
        [2.0, np.nan, 0],
    )
    table.to_csv(root / "ptbxl_database.csv", index=False)
    assert [item.about for item in read_ptbxl(root, 100).items] == [
        {"age": 90.0, "sex": "F", "device": "CS-12 E", "site": "2"},
        {"age": 56.0, "sex": "M"},
        {"sex": "M", "device": "AT-6", "site": "0"},
    ]
