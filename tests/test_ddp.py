"""Two processes are one: the same figures, and a run folder made once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.running import EXPERIMENTS, SMALL, fit, metrics

ROOT = Path(__file__).parents[1]
TWO = ["--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.accelerator=cpu"]


def run_command(*arguments: str) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", "ecgclip", *arguments], cwd=ROOT, env=environment, check=True, timeout=300)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_validation_is_the_same_in_one_and_two_processes(tmp_path, precision):
    run = fit(tmp_path, "--trainer.max_epochs=1", "--data.init_args.val=77")
    (run / "metrics.json").unlink()
    tables = []
    for processes in ([], TWO):
        run_command("validate", f"--ckpt_path={run / 'checkpoints' / 'best.ckpt'}", f"--trainer.precision={precision}", *processes)
        tables.append(metrics(run))
        (run / "metrics.json").unlink()
    assert tables[0]["data/val/records"] == 77  # Not a multiple of two: the padding is dropped.
    assert tables[0] == pytest.approx(tables[1], nan_ok=True, abs=1e-6)


def test_training_with_two_processes_makes_one_run_folder(tmp_path):
    run_command("fit", f"--config={EXPERIMENTS / 'debug.yaml'}", *SMALL, "--trainer.max_epochs=1", f"--runs={tmp_path}", *TWO)
    (run,) = (tmp_path / "debug").iterdir()
    assert metrics(run)["data/test/records"] == 64
    assert (run / "artefact" / "model.safetensors").is_file()
