"""Runs side by side: differences belong to the same records, and runs that cannot be compared are refused."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ecgclip.errors import UserError
from ecgclip.report.compare import compare, compare_command
from ecgclip.scores import SavedScores, load_scores, save_scores
from tests.report.run_folder import EXPERIMENT


@pytest.fixture
def own(other_run: Path, tmp_path: Path) -> Path:
    """A copy of the second run to change."""
    return shutil.copytree(other_run, tmp_path / "runs" / EXPERIMENT / other_run.name)


def change_scores(run: Path, change: Callable[[SavedScores], SavedScores]) -> None:
    save_scores(run, "test", change(load_scores(run, "test")))


def change_json(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_difference_is_that_of_the_figures_and_the_page_and_the_table_have_it(
    run: Path, other_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compare_command([str(run), str(other_run), "--out", str(tmp_path / "c.html"), "--replicates", "20"])
    said, page = capsys.readouterr().out, (tmp_path / "c.html").read_text(encoding="utf-8")
    first, second = (json.loads((of / "metrics.json").read_text())["test/zero_shot/all/auroc_macro"] for of in (run, other_run))
    assert f"{second - first:+.3f}" in said and str(tmp_path / "c.html") in said
    assert f"{first:.3f}" in said and f"{second:.3f}" in said
    assert f"{second - first:+.3f}".replace("-", "−") in page
    assert page.count("<section") >= 6 and "https://" not in page
    assert not re.search(r"yamada|/home/|/mnt/|/tmp/", page)


def test_records_are_matched_by_their_id_not_by_their_place(run: Path, own: Path) -> None:
    before = compare([run, own], replicates=20)
    order = np.random.default_rng(0).permutation(len(load_scores(own, "test").records))
    change_scores(
        own,
        lambda s: replace(s, scores=s.scores[order], labels=s.labels[order], records=s.records[order], patients=s.patients[order]),
    )
    assert compare([run, own], replicates=20).differences == before.differences


def test_a_run_is_no_different_from_its_copy(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "runs" / EXPERIMENT / "copy")
    (only,) = compare([run, copy], replicates=20).differences.values()
    assert {(one.value, one.low, one.high) for one in only.values()} == {(0.0, 0.0, 0.0)}


def test_the_split_is_one_that_all_have(run: Path, other_run: Path, own: Path) -> None:
    assert next(iter(compare([run, other_run], replicates=5).runs.values())).split == "test"
    with pytest.raises(UserError, match="no evaluation_val.json"):
        compare([run, other_run], "val")
    (own / "evaluation_test.json").rename(own / "evaluation_val.json")
    alone = shutil.copytree(run, own.parent / "alone")
    (alone / "evaluation_val.json").unlink()
    with pytest.raises(UserError, match="no split in common"):
        compare([alone, own])


def test_sets_that_differ_are_not_compared_and_named(run: Path, own: Path) -> None:
    detail = json.loads((own / "evaluation_test.json").read_text())
    change_json(own / "evaluation_test.json", label_sets=detail["label_sets"] | {"unseen": ["AFIB"], "seen": ["SR"]})
    comparison = compare([run, own], replicates=5)
    assert comparison.dropped == ["seen", "unseen"]
    assert not any(name.startswith("seen") for only in comparison.differences.values() for name in only)


def test_runs_that_cannot_be_compared_are_refused_in_one_line(run: Path, own: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="1 run is given"):
        compare_command([str(run)])
    with pytest.raises(UserError, match="given twice"):
        compare_command([str(run), str(run)])
    with pytest.raises(UserError, match="--replicates 0"):
        compare_command([str(run), str(own), "--replicates", "0"])
    with pytest.raises(UserError, match="is no folder"):
        compare_command([str(run), str(tmp_path / "nowhere")])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: replace(s, ids=s.ids[::-1]), "another label catalogue"),
        (lambda s: replace(s, records=np.char.add("x", s.records)), "other records .* are only in it, .* are missing"),
        (lambda s: replace(s, labels=1 - s.labels), "carry other labels"),
    ],
)
def test_other_records_labels_and_catalogues_are_refused(
    run: Path, own: Path, change: Callable[[SavedScores], SavedScores], says: str
) -> None:
    change_scores(own, change)
    with pytest.raises(UserError, match=says) as error:
        compare([run, own])
    assert "\n" not in str(error.value)


def test_another_protocol_or_other_data_are_refused(run: Path, own: Path) -> None:
    change_json(own / "evaluation_test.json", data="ptbxl")
    with pytest.raises(UserError, match="evaluated on ptbxl, .* on simulated"):
        compare([run, own])
    change_json(own / "metrics.json", **{"protocol/version": 1.0})
    with pytest.raises(UserError, match="protocol version 1, .* of 2"):
        compare([run, own])


def test_scores_that_are_gone_are_said(run: Path, own: Path) -> None:
    (own / "scores_test.npz").unlink()
    with pytest.raises(UserError, match="scores_test.npz is missing"):
        compare([run, own])
