"""``labels build``, ``check`` and ``audit`` as a cardiologist uses them."""

import csv
from pathlib import Path

import pytest
import yaml

from ecgclip.cli import main
from ecgclip.labels import Catalogue
from ecgclip.tables import read_table

# What a hospital writes, and how often.
WRITTEN = {
    "洞調律": 60,
    "完全右脚ブロック、左軸偏位": 40,
    "CRBBB": 10,
    "心房細動": 30,
    "左室肥大の疑い": 25,
    "異常Q波なし": 22,
    "移行帯の偏位": 30,
    "移行帯の偏位 疑い": 3,
    "移行帯偏位": 24,
    "ペンディング": 4,
    "山田太郎様": 2,
    "": 5,
}


@pytest.fixture
def readings(tmp_path: Path) -> Path:
    with open(tmp_path / "readings.csv", "w", encoding="cp932", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["番号", "所見"])
        writer.writerows([number, text] for text, count in WRITTEN.items() for number in range(count))
    return tmp_path / "readings.csv"


def run(*arguments: str | Path) -> None:
    main(["labels", *map(str, arguments)])


def test_a_catalogue_is_proposed_edited_and_fed_back(tmp_path: Path, readings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "catalogue.yaml"
    run("build", readings, "--out", out, "--min-count", "20")
    said = capsys.readouterr().out
    catalogue = Catalogue.load(out)
    assert {"SR", "CRBBB", "LAXD", "AFIB"} <= set(catalogue.ids)
    assert "LVH" not in catalogue.ids  # Only ever suspected.
    new = [label for label in catalogue if label.id not in Catalogue.load("ja98").ids]
    assert {label.ja for label in new} == {"移行帯の偏位", "移行帯偏位"}
    assert "the same as 移行帯" in said
    assert f"{50:8} {0:9} {0:7}  完全右脚ブロック" in said
    everything = said + out.read_text("utf-8") + out.with_suffix(".csv").read_text("utf-8-sig")
    assert "山田" not in everything

    # The cardiologist: two spellings are one finding, and one label goes.
    table = read_table(out.with_suffix(".csv"))
    table.loc[table["ja"] == "移行帯偏位", "id"] = "移行帯の偏位"
    table.loc[table["ja"] == "左軸偏位", "keep"] = "no"
    table.to_csv(tmp_path / "edited.csv", index=False, encoding="cp932")
    run("build", "--from", tmp_path / "edited.csv", "--out", out)
    edited = Catalogue.load(out)
    assert len(edited) == len(catalogue) - 2
    assert edited.labels[edited.index("移行帯の偏位")].synonyms == ("移行帯偏位",)
    assert edited.labels[edited.index("CRBBB")] == catalogue.labels[catalogue.index("CRBBB")]
    capsys.readouterr()
    run("check", readings, "--catalogue", out)
    said = capsys.readouterr().out
    assert f"{54:8} {3:9} {0:7}  移行帯の偏位" in said


def test_a_suspicion_can_be_a_label_of_its_own(tmp_path: Path, readings: Path) -> None:
    run("build", readings, "--out", tmp_path / "c.yaml", "--min-count", "1", "--hedged", "separate")
    names = {entry["id"]: entry["ja"] for entry in yaml.safe_load((tmp_path / "c.yaml").read_text("utf-8"))}
    assert "LVH?" not in names  # Nobody states it, so there is nothing to suspect it of.
    assert names["移行帯の偏位"] == "移行帯の偏位"


def test_check_says_what_is_kept_and_what_is_not_and_shows_no_rare_text(readings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("check", readings)
    said = capsys.readouterr().out
    assert f"{0:8} {25:9} {0:7}  左室肥大" in said
    assert f"{0:8} {0:9} {22:7}  異常Q波" in said
    assert "255 readings: 140 (54.9%) have a label" in said
    assert "5 are empty" in said
    assert f"{30:8}  移行帯の偏位" in said
    assert "山田" not in said
    assert "ペンディング" not in said


def test_an_audit_becomes_precision_and_recall(tmp_path: Path, readings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("audit", readings, "--n", "100", "--out", tmp_path / "audit.csv")
    assert "keep it inside the hospital" in capsys.readouterr().out
    table = read_table(tmp_path / "audit.csv")
    assert len(table) == 100
    assert (table["parsed"] == table["correct"]).all()
    run("audit", "--score", tmp_path / "audit.csv")
    assert "1.000 (1.000-1.000)" in capsys.readouterr().out
    sinus = table.index[table["reading"] == "洞調律"]
    table.loc[sinus[0], "correct"] = "心房細動"  # One wrong, one missed.
    table.loc[table.index[table["reading"] == "移行帯の偏位"][0], "correct"] = "反時計方向回転 | 左室肥大？"
    table.to_csv(tmp_path / "corrected.csv", index=False)
    run("audit", "--score", tmp_path / "corrected.csv")
    lines = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines() if line}
    n = len(sinus)
    assert lines["洞調律"][1:4] == [str(n - 1), "1", "0"]
    assert float(lines["洞調律"][4]) == pytest.approx((n - 1) / n, abs=5e-4)
    assert lines["反時計方向回転"][1:4] == ["0", "0", "1"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["spell"], "labels 'spell' does not exist: known are build, check, audit"),
        (["check"], "no readings are given"),
        (["check", "{readings}", "--column", "読み"], "has no column 読み, but '番号', '所見'"),
        (["build", "{readings}", "--min_count", "1000"], "no label is in 1000 readings or more"),
        (["build", "{readings}", "--from", "x.csv"], "not both"),
        (["audit", "{readings}", "--n", "0"], "--n 0 is too little"),
        (["audit", "--score", "{readings}"], "has no column parsed"),
    ],
)
def test_a_mistake_is_one_line(readings: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        run(*(argument.format(readings=readings) for argument in arguments))
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert says in said
    assert len(said.strip().splitlines()) == 1
