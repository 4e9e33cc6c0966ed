"""A trained model in one folder, and reading ECG files with it."""

import json
import math
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

import ecgclip
from ecgclip.errors import UserError
from ecgclip.evaluation.zero_shot import zero_shot_scores
from ecgclip.labels import Catalogue
from ecgclip.losses import LOSSES
from ecgclip.model import ECGCLIP
from ecgclip.naming import find
from ecgclip.signals import Record
from ecgclip.signals.leads import LEADS
from ecgclip.signals.path import SignalPath
from ecgclip.towers import ECG_TOWERS, TEXT_TOWERS, FrozenTextTower, TextTower
from ecgclip.towers.text_table import FROZEN, text_input
from ecgclip.towers.tokenizer import japanese_tokenizer

FORMAT = 2
CONFIG, WEIGHTS, CATALOGUE, TOKENIZER = "config.json", "model.safetensors", "catalogue.yaml", "tokenizer"
PROMPTS = "prompts.safetensors"
NAMED = (("ecg tower", "ecg_tower", ECG_TOWERS), ("text tower", "text_tower", TEXT_TOWERS), ("loss", "loss", LOSSES))


@dataclass(frozen=True)
class Finding:
    """One label of a reading.

    Attributes:
        id: Of the label in the catalogue.
        ja: Its Japanese name.
        score: Cosine between the ECG and the label's prompts, in [-1, 1].
        called: Whether the score reaches the threshold that was fitted on validation; None where no threshold could be.
        probability: Of the label in records like those of the validation split, by Platt scaling; None where none could be fitted.

    """

    id: str
    ja: str
    score: float
    called: bool | None
    probability: float | None = None


def save_artefact(
    model: ECGCLIP,
    folder: Path,
    *,
    thresholds: Mapping[str, float] | None = None,
    calibration: Mapping[str, tuple[float, float]] | None = None,
    signal_path: SignalPath,
) -> Path:
    """Write everything that is needed to read ECGs with a model.

    Args:
        model: Trained.
        folder: Made anew; an older artefact there is replaced when the new one is whole.
        thresholds: Label id to the cosine from which it is called.
        calibration: Label id to scale and offset: the sigmoid of ``scale * cosine + offset`` is its probability.
        signal_path: What was done to the ECGs that the model was trained on; the same is done to a file.

    Returns:
        The folder.

    """
    partial = folder.with_name(folder.name + ".part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    arguments = {name: value for name, value in model.hparams.items() if name != "catalogue"}
    arguments["text_tower_args"] = _save_text_side(model, partial)
    config = {
        "format": FORMAT,
        "ecgclip": ecgclip.__version__,
        "model": arguments,
        "preprocessing": signal_path.to_dict(),
        "thresholds": dict(thresholds or {}),
        "calibration": {name: list(line) for name, line in (calibration or {}).items()},
    }
    (partial / CONFIG).write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (partial / CATALOGUE).write_text(yaml.safe_dump(model.catalogue.entries(), allow_unicode=True, sort_keys=False), encoding="utf-8")
    save_file({name: value.contiguous() for name, value in _weights(model).items()}, partial / WEIGHTS)
    for file in partial.glob("*.safetensors"):
        shutil.copymode(partial / CONFIG, file)  # safetensors writes for its owner only; a model is there to be shared.
    shutil.rmtree(folder, ignore_errors=True)
    partial.replace(folder)
    return folder


def _weights(model: ECGCLIP) -> dict[str, torch.Tensor]:
    """The state of a model, as one that is built from the artefact's arguments takes it."""
    state, tower = model.state_dict(), model.text_tower
    if isinstance(tower, TextTower):
        state = {name: value for name, value in state.items() if not name.startswith("text_tower.")}
        state |= {f"text_tower.{name}": value for name, value in tower.encoder_state().items()}
    return state


def _save_text_side(model: ECGCLIP, folder: Path) -> Any:
    """Write what the prompts need, and return the arguments with which the text tower is built again: no hub, no folder of the user's."""
    arguments = model.hparams["text_tower_args"]
    if isinstance(model.text_tower, FrozenTextTower):
        save_file({name: rows.contiguous() for name, rows in model.prompt_texts().items()}, folder / PROMPTS)
        return arguments | {"model": Path(arguments.get("model", model.text_tower.source.model)).name}
    described = text_input(model.hparams["text_tower"], arguments)
    japanese_tokenizer(str(described)).save_pretrained(folder / TOKENIZER)
    if isinstance(model.text_tower, TextTower):
        return {"pooling": model.text_tower.pooling, "config": model.text_tower.encoder_config()}
    return arguments


class Artefact:
    """A trained model that reads ECGs.

    Attributes:
        model: In evaluation mode.
        catalogue: Its labels.
        thresholds: Label id to the cosine from which it is called.
        calibration: Label id to scale and offset of the sigmoid that makes a cosine a probability.
        signal_path: What is done to an ECG before it is read.

    """

    def __init__(
        self, model: ECGCLIP, thresholds: Mapping[str, float], signal_path: SignalPath, calibration: Mapping[str, Sequence[float]] = {}
    ) -> None:
        self.model, self.thresholds, self.signal_path = model.eval(), dict(thresholds), signal_path
        self.calibration = {name: (float(scale), float(offset)) for name, (scale, offset) in calibration.items()}
        self.catalogue = model.catalogue
        with torch.inference_mode():
            self._classes = model.label_vectors()

    @classmethod
    def load(cls, folder: Path | str, *, classes: Collection[type[nn.Module]] = (), device: str | torch.device = "cpu") -> "Artefact":
        """Load an artefact. Nothing in it is run: towers and losses are built-in, or classes that the caller passes.

        Args:
            folder: Written by :func:`save_artefact`.
            classes: Classes of the caller's own that the model was made with.
            device: Where it computes.

        Raises:
            UserError: When the folder is not an artefact, is damaged, or names a class that was not passed.

        """
        folder = Path(folder)
        config = _config(folder)
        own = {f"{c.__module__}.{c.__qualname__}": c for c in classes}
        for kind, argument, builtin in NAMED:
            find(kind, config["model"][argument], {**builtin, **own}, imports=False)
        catalogue = Catalogue.load(folder / CATALOGUE)
        arguments = config["model"] | {"catalogue": catalogue.entries()}
        tower = dict(arguments["text_tower_args"] or {})
        arguments["text_tower_args"] = tower | {"model": str(folder / TOKENIZER)} if "config" in tower else tower
        if arguments["text_tower"] == FROZEN and not tower.get("sizes"):
            raise UserError(f"{folder / CONFIG} is damaged: export the model again")
        model = ECGCLIP(**arguments)
        try:
            model.load_state_dict(load_file(folder / WEIGHTS))
            if arguments["text_tower"] == FROZEN:
                model.take_prompts(load_file(folder / PROMPTS))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise UserError(f"the weights in {folder} do not load ({str(error).splitlines()[0]}): export the model again") from error
        return cls(model.to(device), config["thresholds"], SignalPath.from_dict(config["preprocessing"]), config.get("calibration", {}))

    def standardise(self, record: Record, sampling_rate: float) -> tuple[np.ndarray, np.ndarray]:
        """Bring a record into the twelve leads, at most as long as the ECGs that the model was evaluated on.

        Args:
            record: As read.
            sampling_rate: Hz wanted.

        Returns:
            ``(12, T)`` float32 mV, and ``(12,)`` bool, false for a missing lead.

        Raises:
            UserError: When it is shorter than the crops that the model was trained on, flat or not a number.

        """
        crop, duration = float(self.model.hparams["crop_seconds"]), record.signal.shape[1] / record.sampling_rate
        if duration < crop:
            raise UserError(f"is {duration:.3g} s long, at least {crop:g} s are needed: record a longer ECG")
        path = replace(self.signal_path, sampling_rate=sampling_rate, seconds=min(self.signal_path.seconds, duration))
        standard = path(record)
        return standard.signal, np.array([lead not in standard.missing for lead in LEADS])

    @torch.inference_mode()
    def read(self, record: Record) -> list[Finding]:
        """Read one ECG.

        Args:
            record: Of any sampling rate, with leads in any order.

        Returns:
            All labels of the catalogue, the most likely first.

        Raises:
            UserError: See :meth:`standardise`.

        """
        signal, present = self.standardise(record, float(self.model.hparams["sampling_rate"]))
        ecg = torch.from_numpy(signal).unsqueeze(0).to(self.model.device)
        mask = torch.from_numpy(present).unsqueeze(0).to(ecg.device)
        scores = zero_shot_scores(self.model.encode_ecg(ecg, mask), self._classes)[0].tolist()
        findings = []
        for label, score in zip(self.catalogue, scores, strict=True):
            threshold = self.thresholds.get(label.id)
            called = None if threshold is None else score >= threshold
            findings.append(Finding(label.id, label.ja, score, called, self._probability(label.id, score)))
        return sorted(findings, key=lambda finding: -finding.score)

    def _probability(self, label: str, score: float) -> float | None:
        if label not in self.calibration:
            return None
        scale, offset = self.calibration[label]
        return 1 / (1 + math.exp(-max(-700.0, min(700.0, scale * score + offset))))


def trained_path(folder: Path) -> SignalPath | None:
    """Return what was done to the ECGs that a model was trained on; None where there is no artefact of it."""
    return SignalPath.from_dict(_config(folder)["preprocessing"]) if (folder / CONFIG).is_file() else None


def _config(folder: Path) -> dict[str, Any]:
    if not (folder / CONFIG).is_file():
        raise UserError(f"{folder} is not an artefact (it has no {CONFIG}): give the folder 'artefact' of a finished run")
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if config["format"] != FORMAT:
            raise UserError(f"{folder} has artefact format {config['format']}, this version reads {FORMAT}: export the model again")
        assert {"model", "preprocessing", "thresholds"} <= set(config)
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise UserError(f"{folder / CONFIG} is damaged: export the model again") from error
    return config
