"""The model card: all of it out of the run's files, its form that of Hugging Face, nothing of a machine or patient in it."""

import json
import re
import shutil
import socket
from pathlib import Path

import pytest
import yaml

from ecgclip.report.card import card_command
from tests.report.run_folder import EXPERIMENT, TIME


@pytest.fixture(scope="module")
def card(run: Path) -> str:
    card_command([str(run)])
    return (run / "model_card.md").read_text(encoding="utf-8")


def test_the_front_matter_is_yaml_and_leaves_the_licence_open(run: Path, card: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, front, _ = card.split("---\n", 2)
    matter = yaml.safe_load(front)
    assert matter["language"] == ["ja", "en"] and "license" not in matter and "# license: fill in" in front
    (result,) = matter["model-index"][0]["results"]
    figures = json.loads((run / "metrics.json").read_text())
    assert result["metrics"][0]["value"] == pytest.approx(figures["test/zero_shot/all/auroc_macro"], abs=1e-4)
    card_command([str(run), "--out", str(run / "again.md")])
    assert "licence" in capsys.readouterr().out


def test_the_card_says_what_a_reader_has_to_know(run: Path, card: str) -> None:
    for title in ("Intended use", "Model", "Training data", "Evaluation", "Limits", "How to use", "How to reproduce"):
        assert f"## {title}\n" in card
    assert "Not a medical device" in card and "医療機器ではなく" in card and "概要" in card
    assert f"ecgclip predict runs/{EXPERIMENT}/{TIME}/artefact" in card
    detail = json.loads((run / "evaluation_test.json").read_text())
    limits = card[card.index("## Limits") :]
    for row in detail["labels"]:
        if not row["n"] or row["auroc"] < 0.75:
            assert row["ja"] in limits, row["id"]


def test_every_figure_of_the_evaluation_is_one_of_the_files(run: Path, card: str) -> None:
    figures = {f"{value:.3f}" for value in json.loads((run / "metrics.json").read_text()).values() if value is not None}
    told = re.findall(r"-?\d\.\d{3}\b", card[card.index("## Evaluation") : card.index("## By group")])
    assert len(told) > 50 and set(told) <= figures


def test_tables_are_whole(card: str) -> None:
    for block in re.findall(r"(?:^\|.*\|\n?)+", card, flags=re.M):
        assert len({line.count("|") for line in block.strip().splitlines()}) == 1


def test_what_the_files_do_not_tell_is_left_out(run: Path, tmp_path: Path) -> None:
    own = shutil.copytree(run, tmp_path / "runs" / "x" / "y")
    shutil.rmtree(own / "artefact")
    (own / "environment.json").unlink()
    (own / "metrics.json").write_text('{"test/zero_shot/all/auroc_macro": null}')
    (own / "evaluation_test.json").write_text('{"format": 1}')
    card_command([str(own)])
    card = (own / "model_card.md").read_text(encoding="utf-8")
    assert "## Subgroups" not in card and "nan" not in card.lower().split("##", 1)[1] and "None" not in card


def test_the_card_tells_nothing_of_the_machine_or_a_patient(run: Path, card: str) -> None:
    assert not re.search(r"yamada|/home/|/mnt/|/tmp/", card)
    assert socket.gethostname() not in card and str(run.parent) not in card and "test0" not in card
