import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from ecgclip.evaluation.ptbxl_groups import statement_classes, statement_sets
from ecgclip.evaluation.tasks import TaskClass, named_tasks, scored_classes, task_report
from ecgclip.labels import Catalogue
from ecgclip.signals.public.cinc2021 import CPSC_CLASSES, snomed_codes

CATALOGUE = Catalogue.load("ja98")
IDS = CATALOGUE.ids


@pytest.mark.parametrize("name", named_tasks())
def test_every_task_is_made_of_labels_that_exist(name):
    task = named_tasks()[name]
    assert scored_classes(task, IDS) == list(task.classes)
    assert len({one.name for one in task.classes}) == len(task.classes)
    assert len({one.ja for one in task.classes}) == len(task.classes)
    assert all(one.ja and one.en and one.members for one in task.classes)
    assert task.ja and task.en and task.source and task.data


@pytest.mark.parametrize("name", ["ptbxl_super", "ptbxl_sub"])
def test_classes_of_ptbxl_are_those_of_its_table(name):
    published = {one: {IDS[i] for i in of.nonzero().flatten()} for one, of in statement_classes(IDS)[name].items()}
    assert {one.name: set(one.labels) for one in named_tasks()[name].classes} == published


@pytest.mark.parametrize("name", ["ptbxl_form", "ptbxl_rhythm"])
def test_statements_of_ptbxl_are_those_of_its_table(name):
    assert [one.labels for one in named_tasks()[name].classes] == [(label,) for label in statement_sets(IDS)[name]]


@pytest.mark.parametrize(
    ("name", "count"), [("ptbxl_super", 5), ("ptbxl_sub", 23), ("ptbxl_form", 19), ("ptbxl_rhythm", 12), ("cpsc2018", 9), ("csn", 33)]
)
def test_tasks_have_as_many_classes_as_they_say(name, count):
    assert len(named_tasks()[name].classes) == count


def test_every_class_of_cpsc2018_follows_from_its_code():
    reached = {frozenset(snomed_codes()[code].finding.positive or snomed_codes()[code].finding.unknown) for code in CPSC_CLASSES.values()}
    assert {frozenset(one.members) for one in named_tasks()["cpsc2018"].classes} == reached


def _made(n=200, seed=0):
    draw = torch.Generator().manual_seed(seed)
    labels = (torch.rand(n, 4, generator=draw) < 0.2).to(torch.int8)
    labels[:, 3] = -1  # A label that the data never settle.
    logits = torch.randn(n, 4, generator=draw, dtype=torch.float64) + 2 * (labels == 1)
    opened = [["d"] if i % 5 == 0 else [] for i in range(n)]
    return logits, labels, opened


def test_a_class_is_positive_by_its_labels_or_by_what_is_left_open():
    logits, labels, opened = _made()
    classes = [TaskClass("ab", "", "", labels=("a", "b")), TaskClass("open", "", "", open=("d",)), TaskClass("c", "", "", labels=("c",))]
    one_prompt = torch.randn(200, 3, generator=torch.Generator().manual_seed(9))
    figures, rows = task_report(classes, logits, labels, opened, np.arange(200), ["a", "b", "c", "d"], one_prompt, replicates=50)
    truth = np.stack([(labels[:, :2] == 1).any(1).numpy(), np.array([bool(of) for of in opened]), (labels[:, 2] == 1).numpy()], axis=1)
    assert [row["n"] for row in rows] == truth.sum(0).tolist()
    scores = np.stack([np.logaddexp(*logits.numpy().T[:2]), logits[:, 3], logits[:, 2]], axis=1)
    expected = [roc_auc_score(truth[:, i], scores[:, i]) for i in range(3)]
    assert np.allclose([row["auroc"] for row in rows], expected, atol=1e-6)
    assert figures["auroc_macro"] == pytest.approx(np.mean(expected), abs=1e-6)
    assert figures["auroc_macro_low"] < figures["auroc_macro"] < figures["auroc_macro_high"]
    assert figures["one_prompt_auroc_macro"] == pytest.approx(
        np.mean([roc_auc_score(truth[:, i], one_prompt[:, i]) for i in range(3)]), abs=1e-6
    )


def test_without_a_positive_there_is_nothing_to_report():
    logits, labels, opened = _made()
    labels[labels == 1] = 0
    assert task_report([TaskClass("a", "", "", labels=("a",))], logits, labels, opened, np.arange(200), ["a", "b", "c", "d"]) == ({}, [])
    assert task_report([], logits, labels, opened, np.arange(200), ["a", "b", "c", "d"]) == ({}, [])
