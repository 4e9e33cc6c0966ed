"""From simulated ECGs to real ones: a run evaluated on other data, and the whole benchmark on tiny sizes."""

import csv
import hashlib
from pathlib import Path

import pytest
import yaml

from ecgclip.benchmark.sim2real import command_line, parse
from ecgclip.cli import main
from ecgclip.report.sim2real import Reading, headline_table, label_table
from tests.ptbxl_folder import make_ptbxl
from tests.running import EXPERIMENTS, fit, metrics

pytestmark = pytest.mark.xdist_group("benchmark")  # It leaves the cores to the others.


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def ptbxl(tmp_path_factory) -> Path:
    """PTB-XL in small, with folds 1 to 9."""
    return make_ptbxl(tmp_path_factory.mktemp("ptbxl"), records=90, folds=range(1, 10))


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder, and what is in it."""
    return {str(path.relative_to(folder)): hashlib.md5(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def evaluate(command: str, run: Path, *arguments: str) -> None:
    quiet = ("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false")
    main([command, f"--ckpt_path={run}/checkpoints/best.ckpt", *arguments, *quiet])


def test_a_run_evaluated_on_other_data_keeps_its_own_results(tmp_path, ptbxl, capsys):
    run = fit(tmp_path, "--trainer.max_epochs=1", "--data.init_args.prevalence=hospital")
    before = contents(run)
    capsys.readouterr()
    evaluate("validate", run, f"--config={EXPERIMENTS / 'data' / 'ptbxl.yaml'}", f"--data.root={ptbxl}")
    said = capsys.readouterr().out
    after = contents(run)
    assert {name: after[name] for name in before} == before
    new = set(after) - set(before)
    assert {"ptbxl/metrics.json", "ptbxl/per_label.csv", "ptbxl/scores_val.npz"} <= new
    assert {Path(name).parts[0] for name in new} == {"ptbxl"}
    assert "on the val split of ptbxl: 10 records" in said and f"{run}/ptbxl/metrics.json" in said and f"stay as they are in {run}" in said

    own, other = metrics(run), metrics(run / "ptbxl")
    same = [name for name in own if name.startswith("val/zero_shot/ptbxl71/")]
    assert same and set(same) <= set(other) and other["data/val/records"] == 10 and own["data/val/records"] == 64
    rows = rows_of(run / "ptbxl" / "per_label.csv")
    assert rows[0].keys() == rows_of(run / "per_label.csv")[0].keys() and sum(int(row["n"]) for row in rows) > 20
    assert not [path for path in run.rglob("*") if path.is_file() and str(ptbxl).encode() in path.read_bytes()]

    evaluate("predict", run, f"--config={EXPERIMENTS / 'data' / 'ptbxl.yaml'}", f"--data.root={ptbxl}")
    assert len(rows_of(run / "ptbxl" / "predictions.csv")) == 10 and not (run / "predictions.csv").exists()


def test_an_evaluation_on_its_own_data_stays_in_the_run(tmp_path, capsys):
    run = fit(tmp_path, "--trainer.max_epochs=1")
    (run / "metrics.json").write_text("{}")
    evaluate("validate", run)
    assert "val/zero_shot/all/auroc_macro" in metrics(run) and not (run / "simulated").exists()
    assert "on the val split: 64 records" in capsys.readouterr().out


def recipe(folder: Path, name: str) -> str:
    """Write the debug experiment under another name, of a few dozen records and one epoch."""
    content = yaml.safe_load((EXPERIMENTS / "debug.yaml").read_text())
    content["experiment"] = name
    content["data"]["init_args"] |= {"train": 64, "val": 24, "test": 24}
    content["trainer"] |= {"max_epochs": 1}
    content["trainer"]["callbacks"] = [c for c in content["trainer"]["callbacks"] if "FewShot" not in c["class_path"]]
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


@pytest.fixture(scope="module")
def done(tmp_path_factory, ptbxl):
    """The whole benchmark: one simulated training, and one of few records from each beginning."""
    folder = tmp_path_factory.mktemp("sim2real")
    call = ["bench-sim2real", f"--data_root={ptbxl}", f"--runs={folder / 'runs'}", f"--out={folder / 'sim2real.md'}"]
    call += ["--recipe", recipe(folder, "simulated"), "--few_recipe", recipe(folder, "few")]
    call += ["--few_seeds", "0", "--few_epochs=1", "--rates", "1e-3", "--fraction=0.5", "--", "--data.seed=3"]
    main(call)
    return folder, call


def sections(folder: Path) -> dict[str, str]:
    text = (folder / "sim2real.md").read_text()
    parts = [part.partition(" -->\n") for part in text.split("<!-- benchmark: ")[1:]]
    return {name: section.partition("<!-- end -->")[0] for name, _, section in parts}


def table(section: str, first: str) -> dict[str, list[str]]:
    """The rows of the table whose first heading is this, by their second cell where the first is no key."""
    block = section[section.index(f"| {first} |") :].split("\n\n")[0]
    return {cells[0].strip(): [cell.strip() for cell in cells] for cells in (line.strip("|").split("|") for line in block.splitlines()[2:])}


def test_the_file_has_every_section_and_every_evaluated_label(done, ptbxl):
    folder, _ = done
    (run,) = (path.parent for path in (folder / "runs" / "simulated" / "seed0").glob("*/metrics.json"))
    found = sections(folder)
    assert list(found) == ["zero-shot", "labels", "few labels"]
    assert all("make bench-sim2real DATA_DIR=DIR ARGS='" in section and str(ptbxl) not in section for section in found.values())
    assert (
        "Trained on 64 simulated ECGs alone (1 epochs" in found["zero-shot"]
        and "fold 9 (validation) of PTB-XL, 10 records" in found["zero-shot"]
    )

    evaluated = [row for row in rows_of(run / "ptbxl" / "per_label.csv") if int(row["n"])]
    rows = table(found["labels"], "label")
    assert len(evaluated) > 8 and list(rows) == [row["ja"] for row in evaluated]
    for row in evaluated:
        assert rows[row["ja"]][1] == row["id"] and rows[row["ja"]][3:5] == [row["n"], f"{float(row['auroc']):.3f}"]
    assert rows["洞性頻脈"][2] == "yes" and rows["左軸偏位"][2] == ""

    macros = table(found["zero-shot"], "macro AUROC over")
    auroc = metrics(run / "ptbxl")["val/zero_shot/ptbxl71/auroc_macro"]
    assert macros["the 71 statements"][2].startswith(f"**{auroc:.3f} (")
    visible = [row for row in evaluated if rows[row["ja"]][2]]
    mean = sum(float(row["auroc"]) for row in visible) / len(visible)
    assert macros["labels that can be checked on the ECG alone"][1:3][0] == str(len(visible))
    assert macros["labels that can be checked on the ECG alone"][2].startswith(f"**{mean:.3f} (")
    findings = table(found["zero-shot"], "finding")
    assert findings["洞性頻脈 (STACH)"][1] == "2" and findings["AFIB"][2] == "-"


def test_few_labels_start_from_nothing_and_from_the_simulated_model(done):
    folder, _ = done
    rows = table(sections(folder)["few labels"], "weights in the beginning")
    assert list(rows) == ["simulated ECGs, as in the first section", "drawn anew", "simulated ECGs"]
    for title, name in (("drawn anew", "few_untrained_lr0.001"), ("simulated ECGs", "few_simulated_lr0.001")):
        (run,) = (path.parent for path in (folder / "runs" / name / "seed0").glob("*/metrics.json"))
        assert rows[title][1:3] == ["0.001", "0"]
        assert rows[title][4] == f"{metrics(run)['val/zero_shot/ptbxl71/auroc_macro']:.3f}"
        config = yaml.safe_load((run / "config.yaml").read_text())
        assert config["data"]["init_args"]["fraction"] == 0.5 and config["model"]["text_learning_rate"] == pytest.approx(2.5e-4)
        assert 0 < metrics(run)["data/train/records"] <= 48


def test_a_second_call_trains_nothing(done, capsys):
    folder, call = done
    before, text = contents(folder / "runs"), (folder / "sim2real.md").read_text()
    main(call)
    said = capsys.readouterr().out
    assert said.count("already done") == 3 and "already read PTB-XL" in said and "started" not in said
    assert contents(folder / "runs") == before and (folder / "sim2real.md").read_text() == text


def reading(seed: int, stach: float, visible: float) -> Reading:
    rows = [
        {"id": "LVH", "ja": "左室肥大", "n": "0", "auroc": "", "auroc_low": "", "auroc_high": ""},
        {"id": "STACH", "ja": "洞性頻脈", "n": "12", "auroc": str(stach), "auroc_low": "0.7", "auroc_high": "0.99"},
        {"id": "NDT", "ja": "診断的意義に乏しいT波異常", "n": "1", "auroc": "0.5", "auroc_low": "", "auroc_high": ""},
    ]
    macros = {"visible/auroc_macro": visible, "visible/auroc_macro_low": 0.6, "visible/auroc_macro_high": 0.9, "visible/labels": 1.0}
    return Reading(seed, {}, {}, macros, rows, ["LVH", "STACH"])


def test_one_model_has_its_bootstrap_and_several_have_their_range():
    one, three = [reading(0, 0.8, 0.7)], [reading(0, 0.8, 0.7), reading(1, 0.9, 0.75), reading(2, 0.85, 0.8)]
    assert table(label_table(one), "label") == {
        "洞性頻脈": ["洞性頻脈", "STACH", "yes", "12", "0.800", "0.700-0.990"],
        "診断的意義に乏しいT波異常": ["診断的意義に乏しいT波異常", "NDT", "", "1", "0.500", "-"],
    }
    assert table(label_table(three), "label")["洞性頻脈"][3:] == ["12", "0.850", "0.800-0.900"]
    title = "labels that can be checked on the ECG alone"
    assert table(headline_table(one, "val"), "macro AUROC over")[title][1:3] == ["1", "**0.700 (0.600-0.900)**"]
    assert table(headline_table(three, "val"), "macro AUROC over")[title][2] == "**0.750 (0.700-0.800)**"


def test_the_command_is_told_as_it_is_typed(tmp_path):
    given = ["--data_root=there", "--seeds", "1", "2", "--", "--data.train=20000"]
    assert command_line(parse(given)) == "make bench-sim2real DATA_DIR=DIR ARGS='--seeds 1 2 -- --data.train=20000'"
    assert command_line(parse(["--data_root=there"])) == "make bench-sim2real DATA_DIR=DIR"


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["--recipe", "sim2rael"], "known in experiments are"),
        (["--few_epochs", "0"], "at least 1"),
        (["--fraction", "2"], "at most 1"),
        (["--seed", "1"], "--seed"),
        ([], "ptbxl_database.csv"),
    ],
)
def test_mistakes_are_answered_in_one_line(tmp_path, capsys, arguments, answer):
    with pytest.raises(SystemExit) as exit_:
        main(["bench-sim2real", f"--data_root={tmp_path}", f"--runs={tmp_path / 'runs'}", *arguments])
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("ecgclip: ")]
    assert exit_.value.code == 2 and answer in line and not (tmp_path / "runs").exists()


def test_a_simulated_training_that_fails_says_why(tmp_path, ptbxl, capsys):
    call = ["bench-sim2real", f"--data_root={ptbxl}", f"--runs={tmp_path / 'runs'}", f"--out={tmp_path / 'x.md'}"]
    with pytest.raises(SystemExit):
        main([*call, "--recipe", recipe(tmp_path, "simulated"), "--", "--model.loss=infonse"])
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("ecgclip: ")]
    assert "simulated, seed 0" in line and "infonce" in line and not (tmp_path / "x.md").exists()
