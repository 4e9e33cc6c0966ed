"""A whole small run through the command line, in this process."""

import json
from collections.abc import Sequence
from pathlib import Path

from ecgclip.cli import main

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
SMALL = [
    "--data.init_args.train=96",
    "--data.init_args.val=64",
    "--data.init_args.test=64",
    "--data.init_args.batch_size=32",
    "--model.ecg_tower_args.width=8",
    "--model.ecg_tower_args.stem_stride=4",
    "--model.text_tower_args.hidden_size=32",
    "--model.text_tower_args.layers=1",
    "--wandb=disabled",
    "--trainer.enable_progress_bar=false",
]


def fit(folder: Path, *arguments: str, experiment: str = "debug", small: Sequence[str] = SMALL) -> Path:
    """Train, and return the run folder."""
    known = set(folder.glob("runs/*/*"))
    main(["fit", f"--config={EXPERIMENTS / experiment}.yaml", *small, f"--runs={folder / 'runs'}", *arguments])
    (run,) = set(folder.glob("runs/*/*")) - known
    return run


def metrics(run: Path) -> dict[str, float]:
    """Return the figures of a run."""
    return json.loads((run / "metrics.json").read_text())
