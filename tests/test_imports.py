"""Who imports whom: the floors of the house, and what a light import must not pull in."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from ecgclip.cli import COMMANDS

ROOT = Path(__file__).parents[1]
FLOORS = (  # From the ground up. A floor may use only what stands below it.
    {"ecgclip", "errors"},
    {"drawing", "naming", "paths", "privacy", "run", "scores", "tables"},
    {"labels", "losses", "signals", "towers"},
    {"evaluation", "model", "simulation", "store"},
    {"prepare"},  # Below the data modules: the first run on an archive makes its store.
    {"artefact", "baseline_speed", "callbacks", "data_modules", "report"},
    {"benchmark", "cli", "evaluate", "experiment", "speed"},
    {"__main__"},
)
BESIDE = {  # On one floor, and why.
    ("signals", "labels"),  # PTB-XL's statements are labels.
    ("cli", "experiment"),  # One part in two files: what answers at once, and what costs seconds to import.
    ("cli", "benchmark"),
    ("cli", "evaluate"),
    ("cli", "speed"),
    ("evaluate", "experiment"),
    ("speed", "experiment"),
}
UNPLACED = -1
HEAVY = ("torch", "transformers", "matplotlib", "neurokit2", "lightning")


def floor(part: str) -> int:
    return next((number for number, parts in enumerate(FLOORS) if part in parts), UNPLACED)


def part_of(module: str) -> str:
    """``ecgclip.signals.plot`` belongs to ``signals``, ``data_modules.base`` to ``data_modules``."""
    first, _, rest = module.partition(".")
    return rest.partition(".")[0] or first if first == "ecgclip" else first


def imported(source: str, package: str) -> set[str]:
    """Parts of the house that a source imports anywhere: at the top, inside a function or for its type annotations."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*package.split(".")[: len(package.split(".")) + 1 - node.level], *base.split(".")]).strip(".")
            # `from ecgclip import store` names a part, `from ecgclip import __version__` does not.
            names = [f"ecgclip.{a.name}" if floor(a.name) > 0 else base for a in node.names] if base == "ecgclip" else [base]
        found |= {part_of(name) for name in names if name.split(".")[0] in ("ecgclip", "data_modules")}
    return found


def breaches(module: str, source: str, *, package: str | None = None) -> list[str]:
    """What one module imports that it may not."""
    part = part_of(module)
    wrong = []
    for other in sorted(imported(source, package or module.rpartition(".")[0])):
        below = UNPLACED < floor(other) < floor(part)
        if not (below or other == part or (part, other) in BESIDE):
            wrong.append(f"{module} (of {part}) imports {other}")
        if other == "data_modules" and part not in ("cli", "experiment", "data_modules"):
            wrong.append(f"{module} imports data_modules")
    return wrong


def sources() -> dict[str, tuple[str, str]]:
    """Every module of the house by name: its source, and the package that its relative imports start from."""
    found = {}
    for path in sorted([*ROOT.glob("ecgclip/**/*.py"), *ROOT.glob("data_modules/**/*.py")]):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        package = name.rpartition(".")[0]
        found[name.removesuffix(".__init__")] = (path.read_text(encoding="utf-8"), package)
    return found


def test_every_part_stands_on_a_floor() -> None:
    parts = {part_of(name) for name in sources()}
    assert len(parts) > 15
    assert parts <= set().union(*FLOORS), "say in FLOORS where the new part stands"


def test_a_floor_uses_only_what_stands_below_it() -> None:
    wrong = [line for name, (source, package) in sources().items() for line in breaches(name, source, package=package)]
    assert wrong == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("ecgclip.losses", "from ecgclip.model import ECGCLIP"),
        ("ecgclip.losses", "import ecgclip.towers.text"),
        ("ecgclip.labels.catalogue", "from ecgclip.signals import LEADS"),
        ("ecgclip.signals.plot", "def draw():\n    from ecgclip.store import Store"),
        ("ecgclip.errors", "if TYPE_CHECKING:\n    from ecgclip.labels import Label"),
        ("ecgclip.store", "from ecgclip import simulation"),
        ("ecgclip.evaluation.metrics", "from ecgclip.model import ECGCLIP"),
        ("ecgclip.signals.record", "from ..store import Store"),
        ("ecgclip.signals.record", "from .. import prepare"),
        ("ecgclip.artefact", "from data_modules import ECGDataModule"),
        ("ecgclip.model", "def build():\n    import data_modules.base"),
        ("ecgclip.callbacks.timing", "from ecgclip.experiment import run_experiment"),
        ("data_modules.base", "from ecgclip.cli import main"),
        ("data_modules.base", "from ecgclip.prepare import prepare; from ecgclip.nowhere import x"),
    ],
)
def test_a_breach_is_seen(module: str, source: str) -> None:
    assert breaches(module, source)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("ecgclip.signals.ptbxl", "from ecgclip.labels import Catalogue"),
        ("ecgclip.signals.record", "from . import leads\nfrom .leads import LEADS\nfrom ..errors import UserError"),
        ("ecgclip.artefact", "import ecgclip\nfrom ecgclip import __version__\nfrom ecgclip.model import ECGCLIP\nimport torch"),
        ("ecgclip.experiment", "from data_modules import ECGDataModule"),
    ],
)
def test_what_is_allowed_is_no_breach(module: str, source: str) -> None:
    assert breaches(module, source) == []


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=True)


def test_light_imports_stay_light() -> None:
    program = "import importlib, sys\n" + "".join(
        f"importlib.import_module({name!r}); print({name!r}, *[m for m in {HEAVY} if m in sys.modules])\n"
        for name in ("ecgclip", "ecgclip.labels", "ecgclip.signals")
    )
    assert python("-c", program).stdout.split("\n") == ["ecgclip", "ecgclip.labels", "ecgclip.signals", ""]


def test_plot_and_augment_bring_along_only_what_they_need() -> None:
    # What this file calls heavy is found where it is wanted, so that an empty answer above means something.
    seen = python("-c", "import sys, ecgclip.signals.augment; print('torch' in sys.modules, 'transformers' in sys.modules)").stdout
    assert seen.split() == ["True", "False"]


def test_help_comes_before_torch() -> None:
    answer = python("-X", "importtime", "-m", "ecgclip", "--help")
    for command, what in COMMANDS.items():
        assert any(line.split()[:1] == [command] and what in line for line in answer.stdout.splitlines()), command
    loaded = {line.rpartition("|")[2].strip().split(".")[0] for line in answer.stderr.splitlines()}
    assert "ecgclip" in loaded
    assert not loaded & {*HEAVY, "numpy", "pandas", "scipy"}
