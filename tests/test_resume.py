"""A run that was killed goes on exactly where its last checkpoint stands."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ecgclip.cli import main
from tests.running import EXPERIMENTS, SMALL, averaged, fit, metrics

ROOT = Path(__file__).parents[1]
EXACT = ["--trainer.max_epochs=3", "--trainer.precision=32-true"]


def figures(run: Path) -> dict[str, float]:
    """All figures but the times."""
    return {name: value for name, value in metrics(run).items() if not name.startswith("time/")}


@pytest.mark.parametrize("average", [False, True])
def test_killed_and_resumed_is_the_same_as_unbroken(tmp_path, average):
    callbacks = [averaged(tmp_path)] if average else []
    unbroken = fit(tmp_path / "unbroken", *callbacks, *EXACT)
    kill = ["--trainer.callbacks+=tests.killer.Kill", "--trainer.callbacks.epoch=1", "--trainer.callbacks.batch=1"]
    command = ["fit", f"--config={EXPERIMENTS / 'debug.yaml'}", *SMALL, *callbacks, f"--runs={tmp_path / 'killed'}", *EXACT, *kill]
    done = subprocess.run([sys.executable, "-m", "ecgclip", *command], cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False)
    assert done.returncode == -signal.SIGKILL
    (killed,) = (tmp_path / "killed" / "debug").iterdir()
    assert not (killed / "metrics.json").exists()

    # Given its checkpoint alone, the run's own configuration lies beneath; the callback that killed it is taken out again.
    config = killed / "config.yaml"
    config.write_text(config.read_text().replace("epoch: 1\n", "epoch: -1\n"))
    main(["fit", f"--ckpt_path={killed / 'checkpoints' / 'last.ckpt'}"])
    assert list((tmp_path / "killed" / "debug").iterdir()) == [killed]
    assert figures(killed) == pytest.approx(figures(unbroken), nan_ok=True, rel=0, abs=0)
    first, second = (torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in (unbroken, killed))
    for state in ("state_dict", *(["current_model_state"] if average else [])):
        assert all(first[state][name].equal(second[state][name]) for name in first[state])
    assert len(list(killed.glob("metrics*.csv"))) == 2  # The curve before the cut is kept.


def test_the_command_line_wins_over_the_configuration_of_the_run(tmp_path):
    run = fit(tmp_path, "--trainer.max_epochs=1")
    main(["fit", f"--ckpt_path={run / 'checkpoints' / 'last.ckpt'}", "--trainer.max_epochs=2"])
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 2 * 3


def test_a_checkpoint_holds_no_path_of_the_data_and_no_code(tmp_path):
    run = fit(tmp_path, "--trainer.max_epochs=1")
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert "catalogue" in checkpoint["hyper_parameters"]
    assert not any("Module" in name for name in checkpoint if name.endswith("DataModule"))
