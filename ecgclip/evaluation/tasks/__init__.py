"""Tasks of other papers, one YAML each: classes made of labels of the catalogue, scored by our protocol and by theirs.

Ours scores a class by its labels (:func:`ecgclip.evaluation.ptbxl_groups.class_scores`); theirs by one prompt, the name of the class.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from ecgclip.evaluation.intervals import Patients, zero_shot_intervals
from ecgclip.evaluation.metrics import auroc
from ecgclip.evaluation.ptbxl_groups import class_scores
from ecgclip.evaluation.zero_shot import zero_shot_report
from ecgclip.labels import POSITIVE, Catalogue

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class TaskClass:
    """One class of a task.

    Attributes:
        name: As its paper has it.
        ja: Japanese name, its only prompt in the one-prompt protocol.
        en: English name.
        labels: Ids of the labels that make it positive.
        open: Ids of labels that the data set leaves open, all of them, where the class is there: its code is broader than a label.
    """

    name: str
    ja: str
    en: str
    labels: tuple[str, ...] = ()
    open: tuple[str, ...] = ()

    @property
    def members(self) -> tuple[str, ...]:
        """Labels whose scores speak for the class."""
        return (*self.labels, *self.open)


@dataclass(frozen=True)
class Task:
    """A named task.

    Attributes:
        name: Of its file.
        ja: Japanese title.
        en: English title.
        source: Where it is published.
        data: Data sets that it is meant for.
        classes: Its classes.
    """

    name: str
    ja: str
    en: str
    source: str
    data: tuple[str, ...]
    classes: tuple[TaskClass, ...]


@cache
def named_tasks() -> dict[str, Task]:
    """Return all tasks by name. A class of one label takes its names from the built-in catalogue."""
    catalogue = Catalogue.load("ja98")
    tasks = {}
    for path in sorted(FOLDER.glob("*.yaml")):
        described: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        classes = tuple(_task_class(entry, catalogue) for entry in described["classes"])
        tasks[path.stem] = Task(path.stem, described["ja"], described["en"], described["source"], tuple(described["data"]), classes)
    return tasks


def _task_class(entry: dict[str, Any], catalogue: Catalogue) -> TaskClass:
    labels, opened = tuple(entry.get("labels", ())), tuple(entry.get("open", ()))
    label = catalogue.labels[catalogue.index((*labels, *opened)[0])]
    return TaskClass(entry["name"], entry.get("ja", label.ja), entry.get("en", label.en), labels, opened)


def scored_classes(task: Task, ids: Sequence[str]) -> list[TaskClass]:
    """Return the classes of a task all of whose labels a catalogue has."""
    return [one for one in task.classes if set(one.members) <= set(ids)]


def task_report(
    classes: Sequence[TaskClass],
    logits: Tensor,
    labels: Tensor,
    opened: Sequence[Sequence[str]],
    patients: Patients,
    ids: Sequence[str],
    one_prompt: Tensor | None = None,
    replicates: int = 1000,
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Report a task: macro figures with intervals, and a row for each class.

    Args:
        classes: Of :func:`scored_classes`, ``C`` of them.
        logits: ``(N, L)`` float, see :func:`ecgclip.evaluation.ptbxl_groups.class_scores`.
        labels: ``(N, L)`` int8 states.
        opened: For each record the ids of the labels that its data leave open.
        patients: ``(N,)`` patient key of each record.
        ids: Label ids, in the order of the columns.
        one_prompt: ``(N, C)`` float, cosines with the names of the classes; None leaves that protocol out.
        replicates: Of the bootstrap.

    Returns:
        Flat figures: ``labels`` (classes with a positive), ``auroc_macro`` and ``auprc_macro`` with ``_low`` and ``_high``, and
        ``one_prompt_auroc_macro``; and rows with ``name``, ``ja``, ``en``, ``n``, ``auroc``, ``auroc_low``, ``auroc_high``, ``auprc`` and
        ``one_prompt_auroc``. Both are empty where no class has a positive.

    Raises:
        UserError: If a score is NaN or infinite.
    """
    members = {one.name: torch.tensor([i in one.members for i in ids]) for one in classes}
    if not members:
        return {}, []
    scores, states = class_scores(logits, labels, members)
    for column, one in enumerate(classes):
        if one.open:  # Labels that are open together are how a data set says the broader class; where they are not, it is absent.
            there = np.array([set(one.open) <= set(of) for of in opened], dtype=bool)
            known = states[:, column] == POSITIVE
            states[:, column] = (known | torch.from_numpy(there).to(states.device)).to(torch.int8)
    sets = {"task": (states == POSITIVE).any(0)}
    if not bool(sets["task"].any()):
        return {}, []
    intervals = zero_shot_intervals(scores, states, patients, sets, ks=(), replicates=replicates)
    report = zero_shot_report(scores, states, sets, ks=()) | intervals.report
    figures = {name.removeprefix("task/"): value for name, value in report.items()}
    columns = {
        "n": (states == POSITIVE).sum(0),
        "auroc": auroc(scores, states),
        "auroc_low": intervals.auroc[:, 0],
        "auroc_high": intervals.auroc[:, 1],
    }
    if one_prompt is not None:
        alone = zero_shot_report(one_prompt, states, sets, ks=())
        figures |= {f"one_prompt_{name}": alone[f"task/{name}"] for name in ("auroc_macro", "auprc_macro")}
        columns["one_prompt_auroc"] = auroc(one_prompt, states)
    values = {name: column.tolist() for name, column in columns.items()}
    rows = [
        {"name": one.name, "ja": one.ja, "en": one.en} | {name: column[i] for name, column in values.items()}
        for i, one in enumerate(classes)
    ]
    return figures, rows
