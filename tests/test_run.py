"""The run folder: its name, its figures, the closing table."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

import ecgclip.run as module
from ecgclip.errors import UserError
from ecgclip.run import COLUMNS, add_metrics, closing_table, git_state, open_run, read_metrics, run_of


def test_two_runs_in_one_second_get_two_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.time, "strftime", lambda form: "2026-01-02_03-04-05")
    folders = [open_run(tmp_path, "debug") for _ in range(3)]
    assert [folder.relative_to(tmp_path).as_posix() for folder in folders] == [
        "debug/2026-01-02_03-04-05",
        "debug/2026-01-02_03-04-05-2",
        "debug/2026-01-02_03-04-05-3",
    ]
    assert all(folder.is_dir() for folder in folders)


def test_a_file_in_the_way_is_said(tmp_path: Path) -> None:
    (tmp_path / "debug").write_text("")
    with pytest.raises(UserError, match="cannot write to"):
        open_run(tmp_path, "debug")


def test_another_process_makes_nothing(tmp_path: Path) -> None:
    assert not open_run(tmp_path / "runs", "debug", make=False).exists()
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_leads_back_to_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = open_run(tmp_path, "debug")
    (run / "config.yaml").write_text("{}")
    checkpoint = run / "checkpoints" / "last.ckpt"
    assert open_run(tmp_path / "elsewhere", "other", checkpoint) == run
    monkeypatch.chdir(run)
    assert run_of(Path("checkpoints/last.ckpt")) == run
    # One that was copied out of its run starts a new folder.
    moved = tmp_path / "kept" / "mine" / "last.ckpt"
    assert run_of(moved) is None
    assert open_run(tmp_path, "debug", moved).parent == tmp_path / "debug"
    assert open_run(tmp_path, "debug", moved) != run


def test_environment_says_what_it_ran_with_and_not_where(tmp_path: Path) -> None:
    text = (open_run(tmp_path, "debug") / "environment.json").read_text()
    environment = json.loads(text)
    assert environment["packages"]["torch"] and environment["python"].startswith("3.")
    assert str(Path.home()) + "/" not in text and str(tmp_path) not in text and str(Path(module.__file__).parents[1]) not in text


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file where a folder is wanted")
    with pytest.raises(UserError, match="--runs") as error:
        open_run(tmp_path / "runs", "debug")
    assert "\n" not in str(error.value)


def test_git_state_of_a_repository_and_of_none(tmp_path: Path) -> None:
    assert git_state(tmp_path) is None
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    (tmp_path / "file").write_text("one")
    for command in (["init", "-q"], ["add", "file"], [*author, "commit", "-q", "-m", "one"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    state = git_state(tmp_path)
    assert state is not None and len(state["commit"]) == 40 and state["changed"] is False
    (tmp_path / "file").write_text("two")
    state = git_state(tmp_path)
    assert state is not None and state["changed"] is True


def test_figures_are_merged_and_nan_is_null(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == {}
    add_metrics(tmp_path, {"b": 1.0, "a": float("nan")})
    add_metrics(tmp_path, {"c": 3, "b": 2.0})
    assert read_metrics(tmp_path) == {"a": None, "b": 2.0, "c": 3}

    def refuse(constant: str) -> Any:
        raise AssertionError(constant)

    text = (tmp_path / "metrics.json").read_text()
    assert list(json.loads(text, parse_constant=refuse)) == ["a", "b", "c"]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


def test_a_kill_while_writing_leaves_the_old_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_metrics(tmp_path, {"a": 1.0})

    def killed(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            add_metrics(tmp_path, {"a": 2.0, "b": 2.0})
    assert read_metrics(tmp_path) == {"a": 1.0}
    add_metrics(tmp_path, {"b": 3.0})
    assert read_metrics(tmp_path) == {"a": 1.0, "b": 3.0}


def figures(prefix: str, start: float) -> dict[str, float | None]:
    return {f"{prefix}/{column}": start + number / 100 for number, column in enumerate(COLUMNS)}


def few_shot(prefix: str, start: float) -> dict[str, float | None]:
    return {f"{prefix}/{column}": start + n / 100 for n, column in enumerate(("top1_macro", "top5_macro", "auroc_macro"))}


METRICS: dict[str, float | None] = {
    **figures("test/zero_shot/all", 0.5),
    "test/zero_shot/all/labels": 97.0,
    **figures("test/zero_shot/unseen", 0.3),
    "test/zero_shot/unseen/labels": 14.0,
    "test/zero_shot/unseen/auroc_macro": None,
    **figures("test/random_tower/all", 0.1),
    "test/few_shot/labels": 60.0,
    **few_shot("test/few_shot/prototype/k16", 0.7),
    **few_shot("test/few_shot/prototype/k2", 0.4),
    **few_shot("test/few_shot/tip_adapter/k2", 0.6),
    **figures("val/zero_shot/all", 0.9),
}


def test_closing_table_line_by_line() -> None:
    lines = closing_table(METRICS, "test").splitlines()
    cells = [line.split() for line in lines]
    assert cells[0] == ["labels", "top-1", "top-5", "top-1", "macro", "top-5", "macro", "AUROC", "AUPRC"]
    assert cells[1] == ["this", "model,", "text-prompted", "97", "0.500", "0.510", "0.520", "0.530", "0.540", "0.550"]
    assert cells[2] == ["labels", "never", "seen", "(zero-shot)", "14", "0.300", "0.310", "0.320", "0.330", "-", "0.350"]
    assert cells[3] == ["random", "tower", "(baseline)", "97", "0.100", "0.110", "0.120", "0.130", "0.140", "0.150"]
    assert lines[4].strip() == "few-shot, 60 labels, mean over draws"
    # By rising k, and only what few-shot measures, each under its heading.
    assert cells[5:] == [
        ["k", "=", "2", "prototype", "0.400", "0.410", "0.420"],
        ["k", "=", "2", "tip", "adapter", "0.600", "0.610", "0.620"],
        ["k", "=", "16", "prototype", "0.700", "0.710", "0.720"],
    ]
    for heading, column in (("top-1 macro", 2), ("top-5 macro", 3), ("AUROC", 4)):
        end = lines[0].index(heading) + len(heading)
        assert lines[1][:end].split()[-1] == cells[1][4 + column]
        assert lines[5][:end].split()[-1] == cells[5][4 + column - 2]


def test_closing_table_of_the_other_split_and_of_nothing() -> None:
    lines = closing_table(METRICS, "val").splitlines()
    assert len(lines) == 2 and "0.900" in lines[1]
    assert len(closing_table({}, "test").splitlines()) == 1
