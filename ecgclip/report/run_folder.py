"""The figures of a run, read from its folder: what is there, what is missing and what to do about it.

The folder of a run on other data lies inside the run (``RUN/ptbxl``): its figures are its own, configuration and model are the run's.
"""

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ecgclip.errors import UserError
from ecgclip.labels import Catalogue
from ecgclip.report.page import is_number
from ecgclip.run import CONFIG, METRICS
from ecgclip.scores import FORMAT, evaluation_file, tasks_file

SPLITS = ("test", "val")
PACKAGES = ("torch", "lightning", "transformers", "numpy", "scipy", "neurokit2", "wfdb")
HIDDEN = ("root", "files", "salt", "path", "folder", "store")  # Options of a data module that say where somebody's data lies.
# What a file may hold: a kind of value, a list of one form, or a table of forms by name ("*" for any other name). None is never wrong.
Form = type | list[Any] | dict[str, Any]
FIGURE = float
EVALUATION_FORM: Form = {
    "data": str,
    "fitted_on": str,
    "records": FIGURE,
    "patients": FIGURE,
    "label_sets": {"*": [str]},
    "labels": [{"id": str, "ja": str, "en": str, "group": str, "n": FIGURE, "n_train": FIGURE, "auroc": FIGURE}],
    "similarity": [[FIGURE]],
    "reliability": {"*": {"confidence": [FIGURE], "observed": [FIGURE]}},
    "confusion": [{"id": str, "other": str, "share": FIGURE, "n": FIGURE}],
    "map": {"x": [FIGURE], "y": [FIGURE], "label": [str]},
    "subgroups": [{"by": str, "group": str, "auroc_macro": FIGURE}],
    "examples": [{"kind": str, "picture": str, "labels": [str], "top": [list]}],
}
TASKS_FORM: Form = {"*": {"ja": str, "en": str, "source": str, "classes": [{"name": str, "ja": str, "en": str, "auroc": FIGURE}]}}


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: Where the figures lie.
        root: The folder of the training; the same, or the one above.
        split: ``test`` or ``val``.
        metrics: Flat figures of ``metrics.json``.
        evaluation: Of ``evaluation_<split>.json``.
        tasks: Of ``tasks_<split>.json``, empty without.
        config: Of ``config.yaml``.
        environment: Of ``environment.json``, empty without.
        artefact: Configuration of the model, empty without.
        catalogue: Labels of the model; None without an artefact.
    """

    folder: Path
    root: Path
    split: str
    metrics: Mapping[str, float | None]
    evaluation: Mapping[str, Any]
    tasks: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    artefact: Mapping[str, Any] = field(default_factory=dict)
    catalogue: Catalogue | None = None

    @classmethod
    def open(cls, folder: Path, split: str | None = None) -> "Run":
        """Read a run.

        Args:
            folder: ``runs/<experiment>/<time>``, or a folder of results on other data inside it.
            split: ``test`` or ``val``; None for the test where it was evaluated.

        Raises:
            UserError: When it is no run, not finished, of another format, or damaged.
        """
        folder = Path(folder)
        root = _root(folder)
        checkpoint = f"--ckpt_path {root}/checkpoints/best.ckpt"
        if not (folder / METRICS).is_file():
            raise UserError(
                f"{folder} has no {METRICS}: the run is not finished; `ecgclip validate {checkpoint}`, "
                f"then `ecgclip test {checkpoint}`, write it"
            )
        found = [name for name in SPLITS if evaluation_file(folder, name).is_file()]
        chosen = split or (found[0] if found else "test")
        if chosen not in found:
            command = "validate" if chosen == "val" else "test"
            raise UserError(
                f"{folder} has no {evaluation_file(folder, chosen).name}: make it with `ecgclip evaluate {folder}`, "
                f"or with `ecgclip {command} {checkpoint}`"
            )
        artefact, labels = root / "artefact" / "config.json", root / "artefact" / "catalogue.yaml"
        run = cls(
            folder=folder,
            root=root,
            split=chosen,
            metrics=_metrics(folder / METRICS),
            evaluation=_evaluation(evaluation_file(folder, chosen), folder),
            tasks=_tasks(tasks_file(folder, chosen), folder),
            config=_yaml(root / CONFIG),
            environment=_optional(root / "environment.json"),
            artefact=_optional(artefact),
            catalogue=Catalogue.load(labels) if labels.is_file() else None,
        )
        if run.catalogue is not None and list(run.catalogue.ids) != [row["id"] for row in run.labels]:
            raise UserError(
                f"{evaluation_file(folder, chosen)} is of other labels than {labels}: "
                f"evaluate the run again with `ecgclip evaluate {folder}`"
            )
        return run

    @property
    def name(self) -> str:
        """What it is called on a page: its experiment, its time and, on other data, their folder."""
        parts = [str(self.config.get("experiment") or ""), self.root.resolve().name]
        parts += [self.folder.resolve().name] if self.folder != self.root else []
        return " / ".join(part for part in parts if part)

    @property
    def place(self) -> str:
        """Where it lies, told from the folder of the project: nothing of the machine's own folders."""
        return "/".join(["runs", *self.name.split(" / ")])

    @property
    def root_place(self) -> str:
        """Where the folder of the training lies, told in the same way."""
        return self.place if self.folder == self.root else self.place.rpartition("/")[0]

    @property
    def labels(self) -> Sequence[Mapping[str, Any]]:
        """The labels' figures, in the order of the catalogue."""
        return self.evaluation.get("labels", [])

    @property
    def present(self) -> list[Mapping[str, Any]]:
        """The labels with a positive record."""
        return [row for row in self.labels if row.get("n")]

    def names(self) -> dict[str, tuple[str, str]]:
        """Return label id to its Japanese and its English name."""
        return {row["id"]: (str(row.get("ja") or row["id"]), str(row.get("en") or row["id"])) for row in self.labels}

    def figure(self, name: str) -> float | None:
        """Return a figure of this split, such as ``zero_shot/all/auroc_macro``."""
        return self.metrics.get(f"{self.split}/{name}")

    def below(self, prefix: str) -> list[str]:
        """Return the names that follow a prefix such as ``zero_shot``, in the order of the file."""
        start = f"{self.split}/{prefix}/"
        return list(dict.fromkeys(name[len(start) :].partition("/")[0] for name in self.metrics if name.startswith(start)))

    def option(self, *names: str) -> Any:
        """Return an option of the configuration by its names from the outside in; None where it is not there."""
        value: Any = self.config
        for name in names:
            value = value.get(name) if isinstance(value, Mapping) else None
        return value

    def data_name(self) -> str:
        """Return what the evaluated data is called."""
        return str(self.evaluation.get("data") or self.data_class())

    def data_class(self) -> str:
        """Return the name of the data module that the run was trained with."""
        return str(self.option("data", "class_path") or "").rpartition(".")[2].removesuffix("DataModule")

    def model_options(self) -> dict[str, str]:
        """Return what the model was made with, fit to be shown."""
        return dict(_shown(self.option("model") or {}))

    def data_options(self) -> dict[str, str]:
        """Return how the data was used, without where it lies."""
        options = self.option("data", "init_args") or {}
        return {name: text for name, text in _shown(options) if not any(word in name for word in HIDDEN)}

    def packages(self) -> dict[str, str]:
        """Return the versions that matter most."""
        versions = self.environment.get("packages")
        known = {str(name).lower(): str(version) for name, version in versions.items()} if isinstance(versions, Mapping) else {}
        return {name: known[name] for name in PACKAGES if name in known}

    def reproduce(self) -> list[str]:
        """Return the commands that give the same figures again, from the folder of the project."""
        root = self.root_place
        checkpoint = f"{root}/checkpoints/best.ckpt"
        own_data = " --data.root=DATA" if "root" in (self.option("data", "init_args") or {}) else ""
        other = f" --config experiments/data/{self.folder.resolve().name}.yaml --data.root=DATA" if self.folder != self.root else own_data
        return [
            f"ecgclip fit --config {root}/{CONFIG}{own_data}",
            f"ecgclip validate --ckpt_path {checkpoint}{other}",
            *([f"ecgclip test --ckpt_path {checkpoint}{other}"] if self.split == "test" else []),
            f"ecgclip evaluate {self.place}",
            f"ecgclip report {self.place}",
        ]

    def curves(self) -> dict[str, list[tuple[float, float]]]:
        """Return the curves of the training, by name: epoch and value; of a run that was resumed, all its pieces."""
        found: dict[str, dict[tuple[float, int], float]] = {}
        for file in _pieces(self.root):
            for row in _rows(file):
                if row.get("protocol/version"):
                    continue  # The closing evaluation, of the best weights: no epoch of the training.
                epoch, step = (_float(row.get(name)) for name in ("epoch", "step"))
                for name, text in row.items():
                    value = _float(text)
                    if name and value is not None and step is not None and name not in ("epoch", "step"):
                        found.setdefault(name, {})[0.0 if epoch is None else epoch, int(step)] = value
        return {name: _by_epoch(values) for name, values in found.items()}


def _root(folder: Path) -> Path:
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: give that of a run, runs/<experiment>/<time>")
    above = folder.resolve().parent
    if (folder / CONFIG).is_file():
        return folder
    if (above / CONFIG).is_file() and (above / "checkpoints").is_dir() | (above / METRICS).is_file():
        return folder.parent if folder.parent != folder else above
    raise UserError(f"{folder} is no run: it has no {CONFIG}; give the folder runs/<experiment>/<time>")


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        where = f" at line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise UserError(f"{path} is damaged{where}: evaluate the run again with `ecgclip evaluate {path.parent}`") from error


def _optional(path: Path) -> Mapping[str, Any]:
    value = _json(path) if path.is_file() else {}
    return value if isinstance(value, dict) else {}


def _metrics(path: Path) -> dict[str, float | None]:
    value = _json(path)
    if not isinstance(value, dict):
        raise UserError(f"{path} is damaged: it holds no figures by name; evaluate the run again with `ecgclip evaluate {path.parent}`")
    return {name: figure if is_number(figure) else None for name, figure in value.items()}


def _evaluation(path: Path, folder: Path) -> Mapping[str, Any]:
    value = _json(path)
    again = f"evaluate the run again with `ecgclip evaluate {folder}`"
    if not isinstance(value, dict) or not is_number(value.get("format")):
        raise UserError(f"{path} is damaged: it names no format; {again}")
    if value["format"] > FORMAT:
        raise UserError(f"{path} is of format {value['format']}, newer than the {FORMAT} that this version reads: update ecgclip")
    if value["format"] < FORMAT:
        raise UserError(f"{path} is of format {value['format']}, older than the {FORMAT} that this version reads: {again}")
    _check(value, EVALUATION_FORM, path, folder)
    if not all(row and row.get("id") for row in value.get("labels") or []):
        raise UserError(f"{path} is damaged: a label has no id; {again}")
    return {name: part for name, part in value.items() if part is not None}


def _tasks(path: Path, folder: Path) -> Mapping[str, Any]:
    value = _json(path) if path.is_file() else {}
    _check(value, TASKS_FORM, path, folder)
    return value


def _check(value: Any, form: Form, path: Path, folder: Path, where: str = "it") -> None:
    """Refuse a file in which something is of another kind than it has to be, and name the place."""
    kind = form if isinstance(form, type) else type(form)
    fits = is_number(value) if kind is FIGURE else isinstance(value, kind)
    if value is not None and not fits and not (kind is FIGURE and isinstance(value, float)):
        called = {str: "text", list: "list", dict: "table", FIGURE: "number"}[kind]
        raise UserError(f"{path} is damaged: {where} is no {called}; evaluate the run again with `ecgclip evaluate {folder}`")
    if isinstance(form, list):
        for part in value or []:
            _check(part, form[0], path, folder, where)
    elif isinstance(form, dict):
        for name, part in (value or {}).items():
            if (known := name if name in form else "*") in form:
                _check(part, form[known], path, folder, name)


def _yaml(path: Path) -> Mapping[str, Any]:
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path} is damaged: take it from a copy of the run, or train again") from error
    return value if isinstance(value, dict) else {}


def _shown(options: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Options by name, nested ones with dots; of a path only its last part, since it tells of a machine."""
    for name, value in options.items() if isinstance(options, Mapping) else []:
        if isinstance(value, Mapping):
            yield from _shown(value, f"{prefix}{name}.")
        elif value is not None:
            yield f"{prefix}{name}", _without_folders(str(value))


def _without_folders(text: str) -> str:
    is_hub_name = re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", text) and not text.endswith((".yaml", ".yml", ".csv"))
    return text if is_hub_name or not re.search(r"[/\\]", text) else re.split(r"[/\\]", text.rstrip("/\\"))[-1]


def _pieces(root: Path) -> list[Path]:
    """``metrics.csv`` of the newest piece comes last: the older ones of a resumed run have a number."""
    numbered = [(int(match[1]), path) for path in root.glob("metrics.*.csv") if (match := re.fullmatch(r"metrics\.(\d+)\.csv", path.name))]
    newest = root / "metrics.csv"
    return [path for _, path in sorted(numbered)] + ([newest] if newest.is_file() else [])


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="", errors="replace") as file:
        return [row for row in csv.DictReader(file) if row]


def _float(text: Any) -> float | None:
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if is_number(value) else None


def _by_epoch(values: Mapping[tuple[float, int], float]) -> list[tuple[float, float]]:
    """The mean over an epoch of what is logged in many of its steps."""
    epochs: dict[float, list[float]] = {}
    for (epoch, _), value in sorted(values.items()):
        epochs.setdefault(epoch, []).append(value)
    return [(epoch + 1, sum(of) / len(of)) for epoch, of in epochs.items()]
