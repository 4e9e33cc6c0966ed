"""Every experiment runs, from its YAML to its artefact, and its run folder is whole."""

import csv
import json

import numpy as np
import pytest
import torch
import yaml

from ecgclip.artefact import Artefact
from ecgclip.cli import main
from ecgclip.errors import UserError
from ecgclip.simulation import simulate
from tests.ptbxl_folder import make_ptbxl
from tests.running import EXPERIMENTS, SMALL, experiments, fit, metrics

FAST = ["--trainer.max_epochs=1"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A whole small run."""
    return fit(tmp_path_factory.mktemp("run"), "--trainer.max_epochs=2")


@pytest.mark.parametrize("experiment", experiments())
def test_every_experiment_runs_alone(tmp_path, experiment):
    run = fit(tmp_path, *FAST, experiment=experiment)
    assert run.parent.name == experiment
    assert metrics(run)["test/zero_shot/all/labels"] > 20


@pytest.mark.parametrize("experiment", experiments())
def test_data_stacks_on_every_experiment(tmp_path, capfd, experiment):
    make_ptbxl(tmp_path / "ptbxl", records=60, folds=range(1, 10))
    run = fit(
        tmp_path,
        f"--config={EXPERIMENTS / 'data' / 'ptbxl.yaml'}",
        f"--data.root={tmp_path / 'ptbxl'}",
        "--data.batch_size=16",
        "--trainer.max_epochs=1",
        experiment=experiment,
        small=[option for option in SMALL if "init_args" not in option],
    )
    assert "val/zero_shot/all/auroc_macro" in metrics(run)
    assert not any(name.startswith("test/") for name in metrics(run))
    saved = yaml.safe_load((run / "config.yaml").read_text())
    # What only the replaced module takes is gone, what both take stays, and no path of the user's is written down.
    assert "train" not in saved["data"]["init_args"]
    own = yaml.safe_load((EXPERIMENTS / f"{experiment}.yaml").read_text())["data"]["init_args"]
    for name in ("caption", "crop_seconds", "withhold"):
        assert saved["data"]["init_args"][name] == own.get(name, saved["data"]["init_args"][name])
    assert saved["data"]["init_args"]["root"].startswith("cache:ptbxl/")
    assert "fold 10" in "".join(capfd.readouterr())


@pytest.mark.parametrize("path", sorted((EXPERIMENTS / "data").glob("*.yaml")), ids=lambda path: path.stem)
def test_data_to_stack_sets_data_and_names_its_folder_when_it_is_not_given(path, capsys):
    assert set(yaml.safe_load(path.read_text(encoding="utf-8"))) <= {"data", "trainer"}
    with pytest.raises(SystemExit):
        main(["fit", f"--config={EXPERIMENTS / 'debug.yaml'}", f"--config={path}"])
    said = capsys.readouterr().err
    assert "--data.root=" in said
    assert len(said.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "figure"),
    [
        (["--data.caption=joined", "--model.loss=infonce"], "test/zero_shot/all/auroc_macro"),
        (["--data.caption=joined"], "test/zero_shot/all/auroc_macro"),
        (["--model.loss=siglip"], "test/zero_shot/all/auroc_macro"),
        (["--model.loss=label_prompt"], "test/zero_shot/all/auroc_macro"),
        (["--data.caption=joined", "--model.loss=jaccard_siglip"], "test/zero_shot/all/auroc_macro"),
        (["--model.loss=soft", "--model.loss_args={logit_adjustment: 1, hard_negatives: 0.1}"], "test/zero_shot/all/auroc_macro"),
        (["--model.unimodal=0.5", "--model.micro_batch=8"], "test/zero_shot/all/auroc_macro"),
        (["--data.withhold=ptbxl14"], "test/zero_shot/unseen/auroc_macro"),
        (["--data.sampling_rate=500", "--model.ecg_tower_args.stem_stride=8"], "test/zero_shot/all/auroc_macro"),
        (["--model.text_tower_args.pooling=cls", "--model.text_learning_rate=1e-4"], "test/few_shot/prototype/k1/top1_macro"),
    ],
)
def test_what_the_readme_offers_runs(tmp_path, options, figure):
    run = fit(tmp_path, *FAST, *options)
    assert 0 <= metrics(run)[figure] <= 1
    assert Artefact.load(run / "artefact").model.hparams["sampling_rate"] == (500 if "500" in options[0] else 100)


def test_a_run_folder_is_whole(run):
    for name in (
        "config.yaml",
        "metrics.csv",
        "metrics.json",
        "per_label.csv",
        "environment.json",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
    ):
        assert (run / name).is_file(), name
    assert len(list((run / "pictures").glob("test_*.png"))) >= 2
    figures = metrics(run)
    for name in (
        "test/zero_shot/all/auroc_macro",
        "test/zero_shot/all/top5_macro_low",
        "test/zero_shot/n10/top1_micro",
        "test/random_tower/all/top5_macro",
        "test/prevalence/all/auroc_macro",
        "test/few_shot/labels",
        "val/zero_shot/all/auroc_macro",
        "test/zero_shot/ptbxl_super/auroc_macro_low",
        "test/zero_shot/ptbxl_sub/auroc_macro",
        "test/zero_shot/ptbxl_rhythm/auroc_macro_high",
        "protocol/version",
        "data/train/records",
        "model/parameters",
        "time/peak_memory_mb",
        "time/train_seconds",
        "time/loading_share",
    ):
        assert name in figures, name
    assert figures["test/prevalence/all/auroc_macro"] == pytest.approx(0.5)
    with (run / "per_label.csv").open(encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 98 and {"id", "ja", "en", "n", "auroc", "auroc_low", "auprc", "top5"} <= set(rows[0])


def test_nothing_is_written_outside_the_run_folder_and_the_cache(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fit(tmp_path, *FAST, "--wandb=offline")
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}


def test_wandb_offline_holds_no_path_and_no_terminal(tmp_path):
    make_ptbxl(tmp_path / "secret_folder", records=40, folds=range(1, 10))
    run = fit(
        tmp_path,
        f"--config={EXPERIMENTS / 'data' / 'ptbxl.yaml'}",
        f"--data.root={tmp_path / 'secret_folder'}",
        "--trainer.max_epochs=1",
        "--wandb=offline",
        small=[option for option in SMALL if "init_args" not in option and "wandb" not in option],
    )
    files = [path for path in run.rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in files)
    assert not [path for path in files if b"secret_folder" in path.read_bytes()]


def test_predict_prints_and_draws_five_japanese_labels(run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("one.npz", signal=simulate([{"AFIB"}], [1], sampling_rate=250)[0], sampling_rate=250.0)
    main(["predict", str(run / "artefact"), "one.npz", "--plot"])
    lines = capsys.readouterr().out.splitlines()
    assert "threshold" in lines.pop(0)
    assert lines[0] == "one.npz" and len(lines) == 7
    known = [label.ja for label in Artefact.load(run / "artefact").catalogue]
    assert all(any(name in line for name in known) for line in lines[1:6])
    assert (tmp_path / "predictions" / "one.png").stat().st_size > 10_000


def test_a_bad_file_does_not_keep_the_others_from_being_read(run, tmp_path, capsys):
    np.savez(tmp_path / "flat.npz", signal=np.zeros((12, 1000)), sampling_rate=100.0)
    np.savez(tmp_path / "short.npz", signal=np.random.default_rng(0).normal(size=(12, 100)), sampling_rate=100.0)
    np.savez(tmp_path / "good.npz", signal=simulate([{"SR"}], [1])[0], sampling_rate=100.0)
    with pytest.raises(SystemExit) as exit_:
        main(
            [
                "predict",
                str(run / "artefact"),
                *(str(tmp_path / f"{name}.npz") for name in ("flat", "missing", "short", "good")),
            ]
        )
    assert exit_.value.code == 2
    out, err = capsys.readouterr()
    assert "good.npz" in out and "+" in out
    assert [word in err for word in ("flat", "does not exist", "2.5 s are needed")] == [True, True, True]


def test_artefact_reads_as_the_checkpoint_does(run, tmp_path, capsys):
    main(
        [
            "predict",
            f"--ckpt_path={run}/checkpoints/best.ckpt",
            "--trainer.precision=32-true",
            "--trainer.enable_progress_bar=false",
        ]
    )
    with (run / "predictions.csv").open() as file:
        rows = {row.pop("id"): {name: float(value) for name, value in row.items()} for row in csv.DictReader(file)}
    from ecgclip.signals import LEADS, Record
    from ecgclip.store import Store

    saved = yaml.safe_load((run / "config.yaml").read_text())["data"]["init_args"]
    assert saved["test"] == len(rows)
    artefact = Artefact.load(run / "artefact")
    from data_modules import SimulatedDataModule

    store = Store.open(
        SimulatedDataModule(**{k: v for k, v in saved.items() if k in ("train", "val", "test", "sampling_rate")}).build_store()
    )
    row = store.manifest.index[store.manifest["split"] == "test"][3]
    record = Record(store.read(np.array([row]))[0].astype(np.float32) * 1e-3, store.sampling_rate, LEADS)
    findings = {finding.id: finding.score for finding in artefact.read(record)}
    expected = rows[store.manifest["id"].iloc[row]]
    assert findings == pytest.approx(expected, abs=2e-4)


def test_loading_an_artefact_runs_no_code(run, tmp_path):
    import shutil

    folder = tmp_path / "artefact"
    shutil.copytree(run / "artefact", folder)
    config = json.loads((folder / "config.json").read_text())
    config["model"]["ecg_tower"] = "subprocess.Popen"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="subprocess.Popen"):
        Artefact.load(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        Artefact.load(folder)


def test_init_from_takes_weights_and_nothing_else(run, tmp_path):
    again = fit(tmp_path, *FAST, f"--init_from={run / 'artefact'}", "--model.learning_rate=0")
    from safetensors.torch import load_file

    first, second = (load_file(folder / "artefact" / "model.safetensors") for folder in (run, again))
    assert all(first[name].equal(second[name]) for name in first if "weight" in name and "norm" not in name and "stem.1" not in name)
    assert metrics(again)["time/train_seconds"] < metrics(run)["time/train_seconds"] * 5


def test_another_catalogue_is_refused(run, tmp_path, capsys):
    catalogue = tmp_path / "mine.yaml"
    catalogue.write_text("- {id: AFIB, ja: 心房細動}\n- {id: SR, ja: 洞調律}\n", encoding="utf-8")
    for command in ("fit", "test"):
        with pytest.raises(SystemExit) as exit_:
            main(
                [
                    command,
                    f"--ckpt_path={run}/checkpoints/last.ckpt",
                    f"--data.catalogue={catalogue}",
                    "--trainer.enable_progress_bar=false",
                    "--wandb=disabled",
                ]
            )
        assert exit_.value.code == 2
        assert "different label catalogues" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("instructions", "options", "expected"),
    [({}, [], "32-true"), ({}, ["--trainer.precision=bf16-mixed"], "bf16-mixed"), ({"amx_bf16": True}, [], "bf16-mixed")],
)
def test_a_cpu_that_only_emulates_bf16_computes_in_fp32_unless_told_otherwise(
    tmp_path, monkeypatch, capsys, instructions, options, expected
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: instructions)
    run = fit(tmp_path, "--trainer.accelerator=cpu", "--trainer.max_steps=1", *options)
    assert yaml.safe_load((run / "config.yaml").read_text())["trainer"]["precision"] == expected
    assert ("no bf16 instructions" in capsys.readouterr().out) == (expected == "32-true")
