"""``ecgclip simulate`` and ``ecgclip gallery``, through the command line."""

import re
from pathlib import Path

import numpy as np
import pytest

from ecgclip.cli import main
from ecgclip.signals import read_record
from ecgclip.signals.leads import LEADS
from ecgclip.simulation import simulate


def run(capsys, *arguments: object) -> list[str]:
    main([str(argument) for argument in arguments])
    return capsys.readouterr().out.splitlines()


def refused(capsys, *arguments: object) -> str:
    """Run a command that must fail, and return its one line."""
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    assert exit_.value.code == 2
    caught = capsys.readouterr()
    assert caught.out == ""
    (line,) = caught.err.splitlines()
    return line


@pytest.fixture(autouse=True)
def _there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_page_is_drawn_and_said_where(capsys, tmp_path):
    (line,) = run(capsys, "simulate", "--labels", "完全右脚ブロック", "心房細動", "--plot", "new/out.png", "--seed", 3)
    assert line == "seed 3  完全右脚ブロック (CRBBB), 心房細動 (AFIB)  -> new/out.png"
    assert (tmp_path / "new" / "out.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert 50_000 < (tmp_path / "new" / "out.png").stat().st_size < 2_000_000


def test_without_anything_a_random_page_lies_where_the_command_runs(capsys, tmp_path):
    (line,) = run(capsys, "simulate", "--sampling_rate", 100)
    assert line.endswith("-> simulated.png") and re.search(r"\([A-Z_]+\)", line)
    assert [path.name for path in tmp_path.iterdir()] == ["simulated.png"]


def test_several_records_are_several_people(capsys, tmp_path):
    lines = run(capsys, "simulate", "--labels", "SBRAD", "--n", 2, "--seed", 5, "--plot", "x.png", "--sampling_rate", 100)
    assert [line.split("  ")[0] for line in lines] == ["seed 5", "seed 6"]
    one, two = ((tmp_path / f"x-0{number}.png").read_bytes() for number in (1, 2))
    assert one != two


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("心房細動", ["AFIB"]),
        ("CRBBB", ["CRBBB"]),
        ("crbbb", ["CRBBB"]),
        ("ＣＲＢＢＢ", ["CRBBB"]),
        ("Af", ["AFIB"]),
        ("Complete Right  Bundle Branch Block", ["CRBBB"]),
        ("Ⅱ度房室ブロック", ["2AVB"]),
        ("LAO/LAE", ["LAO/LAE"]),
        ("心房細動 (AFIB)", ["AFIB"]),
        ("心室期外収縮、完全右脚ブロック", ["CRBBB", "PVC"]),
    ],
)
def test_every_way_to_name_a_label(capsys, name, ids):
    (line,) = run(capsys, "simulate", "--labels", name, "--save", "records", "--sampling_rate", 100)
    assert re.findall(r"\(([^)]+)\)", line) == ids


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--labels", "完全右脚ブロク"), "simulate: no label '完全右脚ブロク': did you mean 完全右脚ブロック (CRBBB)"),
        (("--labels", "atrial fibrilation"), "心房細動 (AFIB)"),
        (("--labels", "CRBB"), "完全右脚ブロック (CRBBB)"),
        (("--labels", "xyzzy"), "simulate: no label 'xyzzy'"),
        (("--labels", ""), "simulate: no label ''"),
        (("--labels", "AF"), "心房細動 (AFIB) or 心房粗動 (AFLT)"),
        (("--labels",), "--labels"),
        (("--labels", "CRBBB", "IRBBB"), "不完全右脚ブロック (IRBBB) and 完全右脚ブロック (CRBBB) exclude each other"),
        (("--labels", "NORM", "心房細動"), "正常心電図 (NORM) and 心房細動 (AFIB) exclude each other"),
        (("--sampling_rate", 0), "--sampling_rate 0 must be above 0"),
        (("--sampling_rate", "nan"), "--sampling_rate nan must be above 0"),
        (("--seconds", 0), "--seconds 0 must be above 0"),
        (("--seconds", -1), "--seconds -1 must be above 0"),
        (("--seconds", 1e9), "too long"),
        (("--n", -1), "--n -1 is too little"),
        (("--n", 0), "--n 0 is too little"),
        (("--n", "two"), "invalid int value"),
        (("--seed", -1), "--seed -1 is too little"),
        (("--plot", "out.docx"), ".png, .pdf, .svg"),
        (("--save", "file"), "file is no folder"),
        (("--plot", "file/out.png"), "file is no folder"),
        (("--label", "AFIB"), "--label"),
    ],
)
def test_a_mistake_is_one_line(capsys, tmp_path, arguments, says):
    (tmp_path / "file").write_text("no folder")
    assert says in refused(capsys, "simulate", *arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(("rate", "seconds", "noise"), [(500, 10, True), (257.5, 3, False)])
def test_a_saved_record_reads_back(capsys, tmp_path, rate, seconds, noise):
    options = ["--sampling_rate", rate, "--seconds", seconds, *([] if noise else ["--no-noise"])]
    (line,) = run(capsys, "simulate", "--labels", "LAO/LAE", "CRBBB", "--seed", 7, "--save", "records", *options)
    header = Path(line.split("-> ")[1])
    assert sorted(path.name for path in (tmp_path / "records").iterdir()) == ["CRBBB_LAO-LAE_seed7.dat", header.name]
    record = read_record(header)
    assert (record.sampling_rate, record.lead_names) == (rate, LEADS)
    made = simulate([["CRBBB", "LAO/LAE"]], [7], sampling_rate=rate, seconds=seconds, noise=noise)[0]
    assert record.signal.shape == made.shape
    assert np.abs(record.signal - made).max() <= 0.001
    comments = [text for text in header.read_text(encoding="utf-8").splitlines() if text.startswith("#")]
    assert "SYNTHETIC" in comments[0] and "not recorded from a patient" in comments[0]
    assert "CRBBB" in comments[1] and "完全右脚ブロック" in comments[2]


def test_a_gallery_holds_pages_sheet_and_index(capsys, tmp_path):
    labels = ("左室肥大", "AFIB", "LAO/LAE")
    for _ in range(2):  # A gallery that is there is drawn again.
        lines = run(capsys, "gallery", "--labels", *labels, "--out", "album", "--sampling_rate", 100, "--jobs", 1)
    assert lines == ["3 pages and 1 sheet: open album/index.html"]
    album = tmp_path / "album"
    for folder in ("pages", "thumbnails"):
        assert sorted(path.name for path in (album / folder).iterdir()) == ["AFIB.png", "LAO-LAE.png", "LVH.png"]
    assert (album / "sheets" / "sheet-01.png").stat().st_size > 30_000
    index = (album / "index.html").read_text(encoding="utf-8")
    for name in ("左室肥大", "左房負荷", "atrial fibrillation", "LAO/LAE"):
        assert name in index
    links = re.findall(r'(?:href|src)="([^"]+)"', index)
    assert len(links) == 7
    for link in links:
        assert (album / link).is_file(), link
    assert "http" not in index


def test_side_by_side_the_pages_are_the_same(capsys, tmp_path):
    for jobs in (1, 2):
        run(capsys, "gallery", "--labels", "AFIB", "PVC", "--out", f"by{jobs}", "--sampling_rate", 100, "--jobs", jobs)
    for name in ("pages/AFIB.png", "pages/PVC.png", "thumbnails/PVC.png"):
        assert (tmp_path / "by1" / name).read_bytes() == (tmp_path / "by2" / name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--labels", "右脚"), "gallery: no label '右脚': did you mean"),
        (("--jobs", 0), "--jobs 0 is too little"),
        (("--seed", -1), "--seed -1 is too little"),
        (("--sampling_rate", 0), "must be above 0"),
        (("--out", "file"), "is no folder"),
    ],
)
def test_a_mistake_of_the_gallery_is_one_line(capsys, tmp_path, arguments, says):
    (tmp_path / "file").write_text("no folder")
    assert says in refused(capsys, "gallery", *arguments)
