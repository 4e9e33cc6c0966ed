"""The page of a run: its figures are those of the files, nothing of the machine is on it, and what is wrong is said in one line."""

import html
import json
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ecgclip.errors import UserError
from ecgclip.report.run_folder import Run
from ecgclip.report.run_page import report_command, run_page
from tests.report.run_folder import EXPERIMENT, TIME, WITHHELD

OUTSIDE = re.compile(r"""(?:src|href|action|data)=["'](?!data:|#)|url\((?!["']?data:|#)|@import|https?://""")


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    report_command([str(run)])
    return (run / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def own(run: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return shutil.copytree(run, tmp_path / "runs" / EXPERIMENT / TIME)


def metrics(run: Path) -> dict[str, float]:
    return json.loads((run / "metrics.json").read_text())


def text_of(page: str) -> str:
    return html.unescape(re.sub(r"<(script|style).*?</\1>|<[^>]+>", " ", page, flags=re.S))


def test_the_command_says_where_the_page_is(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report_command([str(run), "--out", str(tmp_path / "new" / "page.html"), "--split", "val"])
    said = capsys.readouterr().out
    assert str(tmp_path / "new" / "page.html") in said and "val" in said
    assert "検証データ" in (tmp_path / "new" / "page.html").read_text(encoding="utf-8")


def test_the_page_is_one_file_of_a_few_megabytes_that_asks_for_nothing(page: str) -> None:
    assert not OUTSIDE.search(page)
    assert len(page) < 6e6
    assert page.count("data:image/png;base64,") == 4


def test_the_headline_is_the_figure_of_the_file_with_its_interval_and_baselines(run: Path, page: str) -> None:
    figures = metrics(run)
    tiles = page[page.index('class="tile main"') : page.index("</dl>")]
    for name in ("auroc_macro", "auroc_macro_low", "auroc_macro_high"):
        assert f"{figures[f'test/zero_shot/all/{name}']:.3f}" in tiles
    for name in ("prevalence", "random_tower", "linear_probe/p100"):
        assert f"{figures[f'test/{name}/all/auroc_macro']:.3f}" in tiles


def test_every_section_is_there(page: str) -> None:
    found = re.findall(r'<section id="([\w-]+)"', page)
    assert found[:5] == ["baselines", "sets", "few-shot", "labels", "ways"]
    assert found[5:] == ["calibration", "texts", "confusion", "subgroups", "ecgs", "training", "again"]


def test_every_label_with_a_positive_is_in_the_table_and_the_others_are_apart(run: Path, page: str) -> None:
    rows = json.loads((run / "evaluation_test.json").read_text())["labels"]
    start = page.index('id="every-label"')
    table = page[start : page.index("</table>", start)]
    absent = page[page.index('id="absent"') : page.index("</details>", page.index('id="absent"'))]
    assert table.count("<tr>") == 1 + sum(row["n"] > 0 for row in rows)
    for row in rows:
        assert (f">{html.escape(row['ja'])}<" in absent) == (row["n"] == 0), row["id"]
    assert (table + absent).count('class="mark"') == len(WITHHELD)
    best = max((row for row in rows if row["n"]), key=lambda row: row["auroc"])
    assert f"<b>{best['auroc']:.3f}</b>" in table


def test_a_section_without_figures_is_left_out(own: Path) -> None:
    kept = {name: value for name, value in metrics(own).items() if "few_shot" not in name and "calibration" not in name}
    (own / "metrics.json").write_text(json.dumps(kept | {"test/new/all/thing": 1.0, "unheard_of": None}))
    evaluation = own / "evaluation_test.json"
    detail = json.loads(evaluation.read_text())
    slim = {name: detail[name] for name in ("format", "split", "labels")} | {"confusion": None, "map": {"x": [1.0]}, "something": [1]}
    evaluation.write_text(json.dumps(slim))
    found = re.findall(r'<section id="([\w-]+)"', run_page(Run.open(own)))
    assert found == ["baselines", "sets", "labels", "ways", "training", "again"]


def test_nothing_but_metrics_and_an_empty_evaluation_is_still_a_page(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "x" / "y"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("experiment: x\n")
    (run / "metrics.json").write_text("{}")
    (run / "evaluation_test.json").write_text('{"format": 1}')
    assert "ecgclip evaluate runs/x/y" in run_page(Run.open(run))


def test_the_page_tells_nothing_of_the_machine_or_a_patient(run: Path, page: str) -> None:
    said = text_of(page) + page
    saved = json.loads((run / "evaluation_test.json").read_text())
    assert str(run.parent) not in said and "/home/" not in said and "/mnt/" not in said and "yamada" not in said.lower()
    assert not re.search(r"""["'\s=](?:/(?!/)[a-z]+){2,}""", text_of(page)), "an absolute path"
    assert socket.gethostname() not in text_of(page)
    assert "DATA" in said and f"runs/{EXPERIMENT}/{TIME}" in said
    assert saved["records"] and "test0" not in text_of(page), "a record's id"


def test_text_of_the_files_is_no_html(own: Path) -> None:
    evaluation = own / "evaluation_test.json"
    evil = "<img src=x onerror=alert(1)>\"'"
    for place in ("ja", "en", "group"):
        detail = json.loads(evaluation.read_text())
        for row in detail["labels"]:
            row[place] = evil
        detail |= {"data": evil, "fitted_on": evil}
        detail["subgroups"][0]["group"] = evil
        evaluation.write_text(json.dumps(detail))
    assert "<img src=x" not in run_page(Run.open(own))


def test_a_picture_outside_of_the_run_is_not_opened(own: Path) -> None:
    evaluation = own / "evaluation_test.json"
    detail = json.loads(evaluation.read_text())
    shutil.copy(own / detail["examples"][0]["picture"], own.parent / "secret.png")
    detail["examples"] = [detail["examples"][0] | {"picture": "../secret.png"}]
    evaluation.write_text(json.dumps(detail))
    assert "data:image/png" not in run_page(Run.open(own))


def test_the_curve_of_a_resumed_run_has_all_its_pieces(run: Path) -> None:
    curves = Run.open(run).curves()
    assert [epoch for epoch, _ in curves["train/loss"]] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [round(area, 2) for _, area in curves["val/zero_shot/all/auroc_macro"]] == [0.6, 0.64, 0.68, 0.72, 0.76, 0.8, 0.84, 0.88]


def test_results_on_other_data_take_the_configuration_from_above(own: Path) -> None:
    other = own / "ptbxl"
    other.mkdir()
    for name in ("metrics.json", "evaluation_test.json"):
        shutil.copy(own / name, other / name)
    page = text_of(run_page(Run.open(other)))
    assert f"ecgclip evaluate runs/{EXPERIMENT}/{TIME}/ptbxl" in page
    assert f"ecgclip fit --config runs/{EXPERIMENT}/{TIME}/config.yaml" in page
    assert "resnet18" in page and "--config experiments/data/ptbxl.yaml" in page


def test_a_page_is_made_without_torch(run: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from ecgclip.report.run_page import report_command; from ecgclip.report.card import card_command;"
        f"report_command([{str(run)!r}, '--out', {str(tmp_path / 'r.html')!r}]);"
        f"card_command([{str(run)!r}, '--out', {str(tmp_path / 'c.md')!r}]);"
        "assert not {'torch', 'matplotlib', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2], capture_output=True)


def damage(run: Path, name: str, content: str | None) -> None:
    (run / name).unlink() if content is None else (run / name).write_text(content)


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("config.yaml", None, "is no run: it has no config.yaml"),
        ("config.yaml", "a: [", "config.yaml is damaged"),
        ("metrics.json", None, "not finished; `ecgclip validate --ckpt_path .*best.ckpt`"),
        ("metrics.json", '{"a": ', "metrics.json is damaged at line 1"),
        ("metrics.json", "[1]", "holds no figures by name"),
        ("evaluation_test.json", "\x00", "evaluation_test.json is damaged"),
        ("evaluation_test.json", "[]", "names no format"),
        ("evaluation_test.json", '{"format": 2}', "newer than the 1 that this version reads: update ecgclip"),
        ("evaluation_test.json", '{"format": 0}', "older than the 1 .*: evaluate the run again with `ecgclip evaluate"),
        ("evaluation_test.json", '{"format": 1, "labels": 3}', "labels is no list"),
        ("evaluation_test.json", '{"format": 1, "labels": [{"id": 3}]}', "id is no text"),
        ("evaluation_test.json", '{"format": 1, "map": {"x": 3}}', "x is no list"),
        ("evaluation_test.json", '{"format": 1, "examples": [{"labels": [[1]]}]}', "labels is no text"),
        ("evaluation_test.json", '{"format": 1, "subgroups": [{"auroc_macro": "high"}]}', "auroc_macro is no number"),
        ("tasks_test.json", '{"csn": []}', "tasks_test.json is damaged: csn is no table"),
        ("evaluation_test.json", '{"format": 1, "labels": [{"id": "X"}]}', "is of other labels than .*catalogue.yaml"),
    ],
)
def test_what_is_wrong_is_one_line_that_says_what_to_do(own: Path, file: str, content: str | None, says: str) -> None:
    damage(own, file, content)
    with pytest.raises(UserError, match=says) as error:
        report_command([str(own)])
    assert "\n" not in str(error.value) and not (own / "report.html.part").exists()


def test_an_evaluation_that_is_missing_is_said_with_the_command(own: Path) -> None:
    for name in ("test", "val"):
        (own / f"evaluation_{name}.json").unlink()
    with pytest.raises(UserError, match=r"no evaluation_test.json: make it with `ecgclip evaluate .*`, or with `ecgclip test --ckpt_path"):
        report_command([str(own)])
    with pytest.raises(UserError, match=r"no evaluation_val.json: .*`ecgclip validate --ckpt_path"):
        report_command([str(own), "--split", "val"])


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no folder: give that of a run"):
        report_command([str(tmp_path / "nowhere")])


def test_every_prompt_set_and_every_drift_has_a_name_on_the_page() -> None:
    from ecgclip.evaluation.changes import DRIFTS as CHANGES
    from ecgclip.evaluation.prompts import PROMPT_SETS
    from ecgclip.report.terms import DRIFTS, PROMPTS

    assert set(DRIFTS) == set(CHANGES)
    assert set(PROMPTS) == set(PROMPT_SETS) - {"catalogue"}  # The catalogue's own prompts are the model itself.
