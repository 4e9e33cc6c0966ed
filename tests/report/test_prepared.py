"""An archive to a trained model, as a hospital does it: and whose ECGs they were is in none of it."""

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import wfdb

from ecgclip.cli import main
from ecgclip.labels import Catalogue
from ecgclip.signals.leads import LEADS
from ecgclip.simulation import simulate
from ecgclip.store import Store
from tests.ptbxl_folder import make_ptbxl
from tests.running import SMALL, fit, metrics

PLANTED = ("山田太郎", "YAMADA", "19500203", "1950-02-03", "4711-0815", "yamada_archive")
READINGS = (
    (("SR", "CRBBB"), "洞調律、完全右脚ブロック"),
    (("AFIB",), "心房細動"),
    (("SBRAD",), "洞性徐脈 / 左室肥大の疑い"),
    (("SR", "NORM"), "正常範囲"),
)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty recordings of twenty patients in two formats, some damaged, and their readings in Shift_JIS."""
    folder = tmp_path_factory.mktemp("hospital") / "yamada_archive"
    folder.mkdir()
    sets = [READINGS[i % 4][0] for i in range(40)]
    signals = simulate([list(labels) for labels in sets], range(40), sampling_rate=250, seconds=10)
    rows = []
    for i, signal in enumerate(signals):
        name = f"YAMADA_{i:03}"
        if i % 2:
            comments = ["Name: 山田太郎 YAMADA", "ID: 4711-0815", "DOB: 1950-02-03", "Age: 64", "Sex: Male"]
            wfdb.wrsamp(
                name,
                fs=250,
                units=["mV"] * 12,
                sig_name=list(LEADS),
                p_signal=signal.T.astype(float),
                fmt=["16"] * 12,
                comments=comments,
                write_dir=str(folder),
            )
            name += ".hea"
        else:
            name += ".npz"
            np.savez(folder / name, signal=signal, sampling_rate=250)
        rows.append([name, f"4711-0815-{i // 2}", READINGS[i % 4][1] + " 山田太郎" * (i < 8), "64歳", "男", "1950-02-03", "2024-05-17"])
    (folder / "YAMADA_004.npz").write_bytes(b"PK\x03\x04 4711-0815")
    (folder / "YAMADA_007.dat").write_bytes((folder / "YAMADA_007.dat").read_bytes()[:1000])
    rows.append(["YAMADA_999.npz", "4711-0815-99", "心房細動", "", "", "", ""])
    with open(folder / "readings.csv", "w", encoding="cp932", newline="") as file:
        csv.writer(file).writerows([["ファイル名", "患者番号", "所見", "年齢", "性別", "生年月日", "検査日"], *rows])
    return folder


def prepare(archive: Path, out: Path, *options: str) -> Store:
    main(["prepare", str(archive / "readings.csv"), "--out", str(out), "--workers", "1", "--val", "0.2", "--test", "0.2", *options])
    return Store.open(out)


def found_in(folder: Path, but: tuple[str, ...] = ()) -> list[str]:
    """Which planted text is in which file, in any encoding that text is written in."""
    hits = []
    for path in folder.rglob("*"):
        if path.is_file() and not path.name.endswith(but):
            data = path.read_bytes()
            hits += [f"{path}: {text}" for text in PLANTED for code in ("utf-8", "utf-16-le", "cp932") if text.encode(code) in data]
            hits += [f"{path}: its name" for text in PLANTED if text in str(path.relative_to(folder))]
    return hits


def test_an_archive_becomes_a_data_set_and_a_page(archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = prepare(archive, tmp_path / "s")
    said = capsys.readouterr()
    assert len(store) == 38
    assert set(store.info["splits"]) == {"train", "val", "test"}
    manifest = store.manifest
    assert (manifest.groupby("patient")["split"].nunique() == 1).all()
    assert manifest["patient"].nunique() == 20
    assert {(row.age, row.sex, row.year) for row in manifest.itertuples()} == {(64.0, "M", 2024)}
    by_label = {label: sum(label in labels for labels in manifest["labels"]) for label in ("CRBBB", "AFIB", "SBRAD", "NORM")}
    assert by_label == {"CRBBB": 9, "AFIB": 10, "SBRAD": 10, "NORM": 9}
    assert sum("LVH" in labels for labels in manifest["hedged"]) == 10
    with open(tmp_path / "s.rejected.csv", encoding="utf-8-sig", newline="") as file:
        listed = {Path(row["file"]).name: row["reason"] for row in csv.DictReader(file)}
    assert len(listed) == 3
    assert all(reason for reason in listed.values())
    page = (tmp_path / "s.html").read_text("utf-8")
    assert "完全右脚ブロック" in page
    assert "http" not in page.replace("http-equiv", "")  # Nothing is fetched.
    assert "make train EXP=resnet_bert DATA=archive" in said.out
    assert "3 rejected" in said.err
    main(["check", str(tmp_path / "s")])
    assert "is whole: 38 records" in capsys.readouterr().out
    # Done is done.
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "s").iterdir()}
    prepare(archive, tmp_path / "s")
    assert "nothing to do" in capsys.readouterr().err
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "s").iterdir()}


def test_nobody_is_in_the_store_the_page_the_run_or_a_message(
    archive: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECGCLIP_CACHE", str(tmp_path / "cache"))
    prepare(archive, tmp_path / "s", "--seconds", "5", "--long", "segments")
    capfd.readouterr()
    small = [option for option in SMALL if "init_args" not in option and "wandb" not in option]
    run = fit(
        tmp_path,
        "--config=experiments/data/archive.yaml",
        f"--data.root={tmp_path / 's'}",
        "--data.batch_size=8",
        "--trainer.max_epochs=1",
        experiment="debug",
        small=small,
    )
    assert "test/zero_shot/all/top5_macro" in metrics(run)
    said = "".join(capfd.readouterr())
    assert (run / "checkpoints" / "last.ckpt").exists()
    assert list(run.glob("wandb/*/*.wandb"))
    # The list of what was left out names files: it is for who made the store.
    assert found_in(tmp_path, but=(".rejected.csv",)) == []
    assert [text for text in PLANTED if text in said] == []
    # Nor does the run say where the store lies: that the cache of this machine knows, and the run can be gone on with.
    assert str(tmp_path / "s") not in (run / "config.yaml").read_text("utf-8")
    main(["validate", "--ckpt_path", str(run / "checkpoints" / "last.ckpt"), "--trainer.enable_progress_bar=false"])


def test_a_model_can_be_trained_on_the_readings_themselves(
    archive: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECGCLIP_CACHE", str(tmp_path / "cache"))

    def options(store: str) -> list[str]:
        data = ["--config=experiments/data/archive.yaml", f"--data.root={tmp_path / store}", "--data.batch_size=8"]
        return [*data, "--data.caption=reading", "--model.loss=infonce", "--trainer.max_epochs=1"]

    small = [option for option in SMALL if "init_args" not in option]
    prepare(archive, tmp_path / "s", "--keep_reading")
    run = fit(tmp_path, *options("s"), experiment="debug", small=small)
    assert "test/zero_shot/all/top5_macro" in metrics(run)
    assert found_in(run) == []  # The store has the texts, since that was asked for; the run has not.
    capfd.readouterr()
    prepare(archive, tmp_path / "without")
    for store, more, says in (
        ("without", [], "holds no readings: prepare it with --keep_reading"),
        ("s", ["--data.withhold=AFIB"], "use label or joined"),
    ):
        with pytest.raises(SystemExit):
            fit(tmp_path, *options(store), *more, experiment="debug", small=small)
        assert says in capfd.readouterr().err


def test_killed_it_goes_on_to_the_same_store(archive: Path, tmp_path: Path) -> None:
    """Many records, so that there is something to kill."""
    rows = [["path", "患者番号", "所見"]]
    (tmp_path / "many").mkdir()
    signals = simulate([["SR"]] * 300, range(300), sampling_rate=100, seconds=10)
    for i, signal in enumerate(signals):
        np.savez(tmp_path / "many" / f"{i:03}.npz", signal=np.tile(signal, (1, 3)), sampling_rate=100)
        rows.append([f"{i:03}.npz", str(i), "洞調律"])
    with open(tmp_path / "many" / "t.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    salt = tmp_path / "salt"
    salt.write_text("secret")

    def command(out: Path) -> list[str]:
        options = ["--salt", str(salt), "--workers", "1", "--long", "segments", "--keep_duplicates"]
        return [sys.executable, "-m", "ecgclip", "prepare", str(tmp_path / "many" / "t.csv"), "--out", str(out), *options]

    killed = subprocess.Popen(command(tmp_path / "s"), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    rows_file = tmp_path / "s.part" / "rows.jsonl"
    end = time.monotonic() + 60
    while not (rows_file.is_file() and rows_file.stat().st_size):
        assert time.monotonic() < end
        time.sleep(0.005)
    killed.kill()
    killed.wait()
    assert not (tmp_path / "s").exists()
    for out in ("s", "whole"):
        subprocess.run(command(tmp_path / out), check=True, capture_output=True)
    assert Store.open(tmp_path / "s").info["checksums"] == Store.open(tmp_path / "whole").info["checksums"]
    assert len(Store.open(tmp_path / "s")) == 900


def test_one_command_builds_the_catalogue_too(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecgclip.report.prepared.MIN_COUNT", 5)
    store = prepare(archive, tmp_path / "s", "--catalogue", "build")
    built = Catalogue.load(store.path / "catalogue.yaml")
    assert {"SR", "CRBBB", "AFIB", "SBRAD", "NORM"} == set(built.ids)
    assert "完全右脚ブロック" in (tmp_path / "s.catalogue.csv").read_text("utf-8-sig")
    assert found_in(tmp_path, but=(".rejected.csv",)) == []


def test_a_catalogue_of_any_length_is_trained_with(archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "catalogue.yaml"
    main(["labels", "build", str(archive / "readings.csv"), "--min_count", "5", "--out", str(out)])
    catalogue = Catalogue.load(out)
    assert 3 <= len(catalogue) < 12
    prepare(archive, tmp_path / "s", "--catalogue", str(out))
    run = fit(
        tmp_path,
        "--config=experiments/data/archive.yaml",
        f"--data.root={tmp_path / 's'}",
        "--data.batch_size=8",
        "--trainer.max_epochs=1",
        experiment="debug",
        small=[option for option in SMALL if "init_args" not in option],
    )
    assert metrics(run)["val/zero_shot/all/labels"] <= len(catalogue)
    # And what it has learnt is tried on another data set, with its own labels.
    make_ptbxl(tmp_path / "ptbxl", records=40, folds=range(1, 10))
    checkpoint = run / "checkpoints" / "last.ckpt"
    other = ["--config", "experiments/data/ptbxl.yaml", f"--data.root={tmp_path / 'ptbxl'}", "--trainer.enable_progress_bar=false"]
    main(["validate", "--ckpt_path", str(checkpoint), *other])
    assert "val/zero_shot/all/auroc_macro" in json.loads((run / "ptbxl" / "metrics.json").read_text())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["nowhere.csv", "--out", "s"], "nowhere.csv does not exist"),
        (["{archive}/readings.csv"], "--out"),
        (["{archive}/readings.csv", "--out", "s", "--split_by", "site"], "needs the sites to test on"),
        (["{archive}/readings.csv", "--out", "s", "--catalogue", "no.yaml"], "catalogue 'no.yaml' cannot be read"),
        (["{archive}/readings.csv", "--out", "s", "--sampling_rate", "0"], "sampling_rate 0"),
    ],
)
def test_a_mistake_is_one_line(
    archive: Path, tmp_path: Path, options: list[str], says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["prepare", *(option.format(archive=archive) for option in options)])
    said = capsys.readouterr().err.strip()
    assert says in said
    assert len(said.splitlines()) == 1
    assert not os.path.exists("s")


def test_a_store_that_was_changed_is_found(archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = prepare(archive, tmp_path / "s")
    data = bytearray((store.path / "signals.i16").read_bytes())
    data[100] ^= 1
    (store.path / "signals.i16").write_bytes(data)
    with pytest.raises(SystemExit):
        main(["check", str(tmp_path / "s")])
    assert "signals.i16 has changed since it was made" in capsys.readouterr().err
