"""The runs that a benchmark wants, and those of them that are there already."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from ecgclip.errors import UserError
from ecgclip.evaluation import PROTOCOL
from ecgclip.paths import cache_key
from ecgclip.run import read_metrics
from ecgclip.signals.ptbxl import read_ptbxl

EXPERIMENTS = Path("experiments")
PTBXL_MODULE = "data_modules.PTBXLDataModule"
RECORD = "benchmark.json"
LAST = Path("checkpoints") / "last.ckpt"
BEST = Path("checkpoints") / "best.ckpt"


@dataclass
class Slot:
    """One run that is wanted, and what has become of it.

    Attributes:
        recipe: Name of the recipe.
        seed: Of everything that is drawn.
        configs: The YAMLs that make up the experiment, the later over the earlier.
        key: Hash of the recipe, the budget and the data: a run with another key is another run.
        folder: Where the runs of this recipe and seed lie.
        run: The folder of the run, once there is one.
        finished: Whether the run is whole.
        reason: Why there is no run.
        extra: Arguments of ``fit`` that the other slots of the budget do not have.
    """

    recipe: str
    seed: int
    configs: list[Path]
    key: str
    folder: Path
    run: Path | None = None
    finished: bool = False
    reason: str = ""
    extra: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What the terminal calls it."""
        return f"{self.recipe}, seed {self.seed}"


@dataclass
class Data:
    """The data of a benchmark: where they are (None where they are simulated), how many of each split, and the split that counts."""

    root: Path | None
    counts: dict[str, int]

    @property
    def split(self) -> str:
        """``test``, or ``val`` where fold 10 is not there."""
        return "test" if self.counts.get("test") else "val"


@dataclass(frozen=True)
class Budget:
    """What every run of a benchmark is given.

    Attributes:
        epochs: Of the training; None for each recipe's own.
        minutes: After which the training stops; None for no limit.
        extra: Further arguments of ``fit``.
    """

    epochs: int | None = None
    minutes: float | None = None
    extra: tuple[str, ...] = ()


def find_data(root: Path) -> Data:
    """Count the records of each split, and say what is not there.

    Raises:
        UserError: When the folder is not PTB-XL.
    """
    folder = read_ptbxl(root, 100)
    data = Data(root, dict(Counter(item.split for item in folder.items)))
    if not data.counts.get("train") or not data.counts.get(data.split):
        raise UserError(f"{root} holds {data.counts}: a benchmark needs training folds (1-8) and fold 9 or 10")
    return data


def plan(recipes: Sequence[Path], seeds: Sequence[int], budget: Budget, data: Data, runs: Path) -> list[Slot]:
    """List the runs that are wanted, and find those that are there.

    Args:
        recipes: YAMLs of experiments.
        seeds: Each recipe is wanted with each of them.
        budget: Of every run.
        data: Of every run.
        runs: Folder of the runs.

    Raises:
        UserError: For an unknown recipe, or a finished run of another protocol version.
    """
    slots = []
    for recipe in dict.fromkeys(recipes):
        configs = stack(recipe)
        contents = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in configs]
        key = cache_key(configs=contents, data=data.counts, budget=vars(budget))
        for seed in dict.fromkeys(seeds):
            slot = Slot(recipe.stem, seed, configs, key, runs / recipe.stem / f"seed{seed}")
            find(slot)
            slots.append(slot)
    check_protocols(slots)
    return slots


def stack(recipe: Path) -> list[Path]:
    """Return the YAMLs of a recipe on PTB-XL on this machine.

    A recipe whose own data are others gets ``data/ptbxl.yaml`` on top; where there is no GPU, ``cpu.yaml`` comes between if it is there.
    """
    content = yaml.safe_load(recipe.read_text(encoding="utf-8")) or {}
    own = content.get("data", {}).get("class_path") == PTBXL_MODULE
    return on_this_machine(recipe) if own else [*on_this_machine(recipe), _beside(recipe) / "data" / "ptbxl.yaml"]


def on_this_machine(recipe: Path) -> list[Path]:
    """Return the YAMLs of a recipe on its own data: itself, and ``cpu.yaml`` on top where there is no GPU."""
    cpu = _beside(recipe) / "cpu.yaml"
    return [recipe, cpu] if cpu.is_file() and not _has_gpu() else [recipe]


def _beside(recipe: Path) -> Path:
    """Return where the YAMLs lie that are stacked on a recipe."""
    return recipe.parent if (recipe.parent / "data").is_dir() else EXPERIMENTS


def check_protocols(slots: Sequence[Slot]) -> None:
    """Refuse runs of another protocol version: their figures mean something else.

    Raises:
        UserError: Naming the first, and what can be done.
    """
    for slot in slots:
        if slot.finished and slot.run is not None:
            version = read_metrics(slot.run).get("protocol/version")
            if version != PROTOCOL:
                was = "an older protocol" if version is None else f"protocol version {version:g}"
                raise UserError(
                    f"{slot.run} was evaluated by {was}, and this is version {PROTOCOL}: the two do not go into one table. Evaluate it "
                    f"again (ecgclip validate, then test, --ckpt_path {slot.run}/checkpoints/best.ckpt), or give another folder with --runs"
                )


def recipe_file(recipe: str) -> Path:
    """Return the YAML of a recipe: ``experiments/<recipe>.yaml``, or the path of one.

    Raises:
        UserError: When it is not there, with those that are.
    """
    path = Path(recipe) if recipe.endswith(".yaml") else EXPERIMENTS / f"{recipe}.yaml"
    if not path.is_file():
        known = sorted(sibling.stem for sibling in path.parent.glob("*.yaml"))
        raise UserError(f"recipe {recipe!r} does not exist: known in {path.parent} are {', '.join(known) or 'none'}")
    return path


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def find(slot: Slot) -> None:
    """Find the finished run of a slot, or else the newest that can be gone on with."""
    for path in sorted(slot.folder.glob(f"*/{RECORD}")):
        record = json.loads(path.read_text())
        if record["key"] != slot.key:
            continue
        if record["finished"] or (path.parent / LAST).is_file():
            slot.run, slot.finished = path.parent, record["finished"]
        if slot.finished:
            return
