"""``ecgclip evaluate`` on a whole small run: every protocol, one table for any number of processes, and clear refusals."""

import csv
import json
import shutil

import pytest
import yaml

from ecgclip.cli import main
from ecgclip.evaluate import PROTOCOLS
from tests.ptbxl_folder import make_ptbxl
from tests.running import EXPERIMENTS, fit, metrics
from tests.test_ddp import TWO, run_command

QUIET = "--trainer.enable_progress_bar=false"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return fit(tmp_path_factory.mktemp("evaluate"), "--trainer.max_epochs=2", "--data.init_args.test=80", "--data.withhold=ptbxl14")


@pytest.fixture
def copy(run, tmp_path):
    return shutil.copytree(run, tmp_path / run.parent.name / run.name)


def test_every_protocol_leaves_its_figures(copy, capsys):
    main(["evaluate", str(copy), QUIET])
    said = capsys.readouterr().out
    figures = metrics(copy)
    for name in (
        "test/zero_shot/all/f1_macro",
        "test/zero_shot/all/auprc_macro_low",
        "test/zero_shot/unseen/jaccard_records",
        "test/calibration/platt/ece",
        "test/few_shot/tip_adapter_f/k1/top1_macro",
        "test/prompts/single/all/auroc_macro",
        "test/prompts/english/unseen/auroc_macro",
        "test/linear_probe/p1/all/auroc_macro",
        "test/linear_probe/p100/all/auprc_macro",
        "test/random_probe/p100/all/auroc_macro",
        "test/knn/n10/auroc_macro",
        "test/retrieval/ecg_to_text/r5",
        "test/retrieval/text_to_ecg/r10",
        "test/leads/1/all/auroc_macro",
        "test/drift/rate50/all/auroc_macro",
        "test/tasks/rhythm/one_prompt_auroc_macro",
    ):
        assert 0 <= figures[name] <= 1, name
    assert figures["test/prompts/catalogue/all/auroc_macro"] == pytest.approx(figures["test/zero_shot/all/auroc_macro"], abs=1e-4)
    assert figures["test/leads/12/all/auroc_macro"] == pytest.approx(figures["test/zero_shot/all/auroc_macro"], abs=1e-4)
    assert all(f"{name}: " in said for name in PROTOCOLS if name not in ("zero_shot", "few_shot", "readers"))
    assert f"ecgclip report {copy}" in said
    tasks = json.loads((copy / "tasks_test.json").read_text())
    assert list(tasks) == ["rhythm"] and tasks["rhythm"]["classes"][0]["name"] == "SR"


def test_named_tasks_are_run_alone(copy):
    before = metrics(copy)
    main(["evaluate", str(copy), "--tasks", "ptbxl_super", "knn", "--split", "val", QUIET])
    new = {name for name in metrics(copy) if name not in before}
    assert {name.split("/")[1] for name in new} == {"tasks", "knn"}
    assert all(name.startswith("val/") for name in new)
    assert len(json.loads((copy / "tasks_val.json").read_text())["ptbxl_super"]["classes"]) == 5


def test_a_second_reader_is_compared_with_the_labels_and_the_model(copy, capsys):
    main(["predict", f"--ckpt_path={copy}/checkpoints/best.ckpt", QUIET])
    with (copy / "predictions.csv").open() as file:
        records = [row["id"] for row in csv.DictReader(file)]
    second = copy / "second.csv"
    second.write_text("id,labels\n" + "".join(f"{record},SR\n" for record in records[:30]))
    main(["evaluate", str(copy), "--tasks", "readers", "--second_reader", str(second), QUIET])
    figures = metrics(copy)
    assert figures["test/readers/records"] == 30
    assert {"test/readers/labels_second/kappa_macro", "test/readers/second_model/kappa_macro"} <= set(figures)
    with (copy / "readers.csv").open(encoding="utf-8-sig") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    assert int(rows["AFIB"]["labels_second_n"]) == 30 and rows["AFIB"]["labels_second_kappa"] in ("0.0", "nan", "")
    assert "second reader found is not given" in _refused(capsys, copy, "--tasks", "readers")


def test_on_other_data_the_runs_own_figures_stay(copy, tmp_path):
    make_ptbxl(tmp_path / "ptbxl", records=60, folds=range(1, 11))
    before = metrics(copy)
    other = [f"--config={EXPERIMENTS / 'data' / 'ptbxl.yaml'}", f"--data.root={tmp_path / 'ptbxl'}", QUIET]
    main(["evaluate", str(copy), "--tasks", "zero_shot", "ptbxl_rhythm", *other])
    assert metrics(copy) == before
    assert "test/tasks/ptbxl_rhythm/auroc_macro" in metrics(copy / "ptbxl")
    # Decisions come from the run's own validation records, whatever is judged.
    assert json.loads((copy / "ptbxl" / "evaluation_test.json").read_text())["fitted_on"] == "val"


def test_two_processes_give_the_table_of_one(copy):
    tables = []
    for processes in ([], TWO):
        (copy / "metrics.json").unlink(missing_ok=True)
        run_command("evaluate", str(copy), "--trainer.precision=32-true", QUIET, *processes)
        tables.append(metrics(copy))
    assert tables[0]["data/test/records"] == 80
    assert tables[0] == pytest.approx(tables[1], nan_ok=True, abs=1e-5)


def _refused(capsys, *arguments):
    with pytest.raises(SystemExit):
        main(["evaluate", *map(str, arguments), QUIET])
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_what_cannot_be_evaluated_is_refused_in_one_line(copy, tmp_path, capsys):
    assert "no run folder" in _refused(capsys, tmp_path)
    assert "did you mean" in _refused(capsys, copy, "--tasks", "few_shots")
    fewer = tmp_path / "fewer.yaml"
    fewer.write_text("- {id: AFIB, ja: 心房細動}\n- {id: SR, ja: 洞調律}\n")
    assert "catalogues" in _refused(capsys, copy, "--data.catalogue", fewer, "--data.withhold=null")
    (copy / "checkpoints" / "best.ckpt").write_bytes(b"damaged")
    assert "does not load" in _refused(capsys, copy)
    (copy / "checkpoints" / "best.ckpt").unlink()
    assert "go on with it: ecgclip fit --ckpt_path" in _refused(capsys, copy)


def test_an_older_run_says_that_it_is_older(copy, capsys):
    config = yaml.safe_load((copy / "config.yaml").read_text())
    config["model"]["tower_of_old"] = 1
    (copy / "config.yaml").write_text(yaml.safe_dump(config))
    assert "tower_of_old" in _refused(capsys, copy)
