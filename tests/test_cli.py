"""The command line: help, mistakes in one line, and where the answers come from."""

import subprocess
import sys

import pytest
import yaml

from ecgclip.cli import COMMANDS, main
from tests.running import EXPERIMENTS, SMALL

DEBUG = f"--config={EXPERIMENTS / 'debug.yaml'}"


def refused(capsys, *arguments: str) -> str:
    """Run a command that must fail, and return its one line."""
    with pytest.raises(SystemExit) as exit_:
        main(list(arguments))
    assert exit_.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("ecgclip: ")]
    assert len(lines) == 1
    return lines[0]


def test_help_lists_every_command(capsys):
    main(["--help"])
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in COMMANDS)


@pytest.mark.parametrize("command", ["ecgclip", "lightning"])
def test_both_console_scripts_are_the_same_program(command):
    script = f"{sys.prefix}/bin/{command}"
    text = subprocess.run([script, "--help"], capture_output=True, text=True, check=True).stdout
    assert "usage: ecgclip COMMAND" in text


def test_help_of_a_command_lists_its_options(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["fit", "--help"])
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    assert all(option in text for option in ("--model.loss", "--trainer.max_epochs", "--wandb", "--init_from", "--ckpt_path"))


def test_unknown_command(capsys):
    assert "did you mean 'test'" in refused(capsys, "tset")


def test_unknown_experiment_names_the_known_ones(capsys):
    line = refused(capsys, "fit", "--config", str(EXPERIMENTS / "resnet_brt.yaml"))
    assert "resnet_bert" in line and "does not exist" in line


def test_wrong_key_in_a_yaml(capsys, tmp_path):
    config = yaml.safe_load((EXPERIMENTS / "debug.yaml").read_text())
    config["model"]["learning_rat"] = 1.0
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(config))
    assert "learning_rat" in refused(capsys, "fit", "--config", str(path))


@pytest.mark.parametrize(
    ("option", "known"),
    [
        ("--model.loss=infonse", "infonce"),
        ("--model.ecg_tower=resnet5", "resnet18"),
        ("--model.text_tower=bart", "bert"),
        ("--data.init_args.withhold=[STACHY]", "STACHY"),
        ("--data.init_args.caption=labels", "joined"),
        ("--data.init_args.catalogue=ja99", "ja98"),
        ("--data.class_path=data_modules.PTBXLModule", "PTBXLDataModule"),
        ("--model.learning_rat=1", "learning_rat"),
        ("--trainer.max_epochs=many", "max_epochs"),
        ("--model.ecg_tower_args.widht=8", "widht"),
        ("--data.init_args.augmentation.gain=0.5", "gain"),
    ],
)
def test_unknown_names_are_answered_with_the_known_ones(capsys, tmp_path, option, known):
    assert known in refused(capsys, "fit", DEBUG, *SMALL, f"--runs={tmp_path}", option)


def test_what_a_frozen_tower_cannot_take_is_said_without_the_parser_around_it(capsys, tmp_path):
    options = ("--model.text_tower=frozen", "--model.text_tower_args.pooling=words", f"--runs={tmp_path}")
    line = refused(capsys, "fit", DEBUG, *SMALL, *options)
    assert line.startswith("ecgclip: text tower: pooling 'words' is not one of cls, mean, last_token")


def test_evaluation_without_a_checkpoint(capsys):
    assert "--ckpt_path" in refused(capsys, "validate", DEBUG)


def test_a_checkpoint_that_does_not_exist(capsys, tmp_path):
    assert "does not exist" in refused(capsys, "test", DEBUG, f"--ckpt_path={tmp_path / 'best.ckpt'}")


def test_no_permission_to_write(capsys, tmp_path):
    (tmp_path / "runs").write_text("a file where a folder is wanted")
    assert "cannot write to" in refused(capsys, "fit", DEBUG, *SMALL, f"--runs={tmp_path / 'runs'}")


def test_a_missing_data_folder(capsys, tmp_path):
    line = refused(
        capsys,
        "fit",
        DEBUG,
        f"--config={EXPERIMENTS / 'data' / 'ptbxl.yaml'}",
        f"--data.root={tmp_path}",
        f"--runs={tmp_path}",
    )
    assert "ptbxl_database.csv" in line


def test_predict_without_an_artefact(capsys, tmp_path):
    assert "not an artefact" in refused(capsys, "predict", str(tmp_path), "a.hea")
