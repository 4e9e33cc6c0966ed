"""The groups that PTB-XL sorts its 71 statements into, and scores of its diagnostic classes.

PTB-XL marks each statement as diagnostic (44), form (19, four of them diagnostic too) or rhythm (12), and puts the diagnostic ones into 5
superclasses and 23 subclasses (Wagner et al. 2020, doi:10.1038/s41597-020-0495-6). Diagnostic, form and rhythm are sets of labels like any
other. A class is scored by its statements: a record is positive with any of them (Strodthoff et al. 2020, doi:10.1109/JBHI.2020.3022989,
take the labels of a class in the same way), and its score is the logarithm of the sum of what they weigh, so that a common
statement counts for more than a rare one that looks a little like the record.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ecgclip.evaluation.intervals import Patients, zero_shot_intervals
from ecgclip.evaluation.metrics import finite_scores
from ecgclip.evaluation.zero_shot import zero_shot_report
from ecgclip.labels import NEGATIVE, POSITIVE, UNKNOWN
from ecgclip.labels.statements import ptbxl_statements

SET_COLUMNS = {"ptbxl_diag": "diagnostic", "ptbxl_form": "form", "ptbxl_rhythm": "rhythm"}
CLASS_COLUMNS = {"ptbxl_super": "superclass", "ptbxl_sub": "subclass"}


def statement_sets(ids: Sequence[str]) -> dict[str, list[str]]:
    """Return the sets ``ptbxl_diag``, ``ptbxl_form`` and ``ptbxl_rhythm``, each where all of it is in the catalogue.

    Args:
        ids: Label ids of a catalogue.

    Returns:
        Name to ids, for :func:`ecgclip.evaluation.zero_shot.label_sets`.
    """
    sets = {name: [row["id"] for row in ptbxl_statements() if row[column]] for name, column in SET_COLUMNS.items()}
    return {name: members for name, members in sets.items() if set(members) <= set(ids)}


def statement_classes(ids: Sequence[str]) -> dict[str, dict[str, Tensor]]:
    """Return the diagnostic classes of ``ptbxl_super`` (5) and ``ptbxl_sub`` (23), where all diagnostic statements are in the catalogue.

    Args:
        ids: Label ids of a catalogue, in the order of the columns.

    Returns:
        Name of the grouping to the name of each class to ``(L,)`` bool, its statements.
    """
    diagnostic = [row for row in ptbxl_statements() if row["diagnostic"]]
    if not {row["id"] for row in diagnostic} <= set(ids):
        return {}
    groupings = {}
    for name, column in CLASS_COLUMNS.items():
        classes = dict.fromkeys(row[column] for row in diagnostic)
        members = {c: {row["id"] for row in diagnostic if row[column] == c} for c in classes}
        groupings[name] = {c: torch.tensor([i in members[c] for i in ids]) for c in classes}
    return groupings


def class_scores(logits: Tensor, labels: Tensor, classes: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Turn logits and states of labels into scores and states of classes of labels.

    Args:
        logits: ``(N, L)`` float, logarithms of what each label weighs for a record, up to a constant of the record.
        labels: ``(N, L)`` int8 states.
        classes: ``C`` names to ``(L,)`` bool, the labels of each class.

    Returns:
        ``(N, C)`` float, the logarithm of the sum of what a class's labels weigh; and ``(N, C)`` int8: positive with a positive
        label, else unknown with an unknown one, else negative.
    """
    scores, states = [], []
    for members in classes.values():
        of_class = labels[:, members.to(labels.device)]
        scores.append(logits[:, members.to(logits.device)].logsumexp(1))
        state = torch.where((of_class == UNKNOWN).any(1), UNKNOWN, NEGATIVE)
        states.append(torch.where((of_class == POSITIVE).any(1), POSITIVE, state).to(torch.int8))
    return torch.stack(scores, dim=1), torch.stack(states, dim=1)


def class_report(logits: Tensor, labels: Tensor, patients: Patients, ids: Sequence[str], replicates: int = 1000) -> dict[str, float]:
    """Report AUROC and AUPRC over PTB-XL's superclasses and subclasses, with patient-level bootstrap intervals of the AUROC.

    Args:
        logits: ``(N, L)`` float, see :func:`class_scores`.
        labels: ``(N, L)`` int8 states.
        patients: ``(N,)`` patient key of each record.
        ids: Label ids, in the order of the columns.
        replicates: Of the bootstrap.

    Returns:
        Flat, for ``ptbxl_super`` and ``ptbxl_sub``: ``<grouping>/labels`` (classes with a positive), ``auroc_macro``, ``auroc_macro_low``,
        ``auroc_macro_high`` and ``auprc_macro``. Empty where the catalogue lacks a diagnostic statement, without a grouping that has no
        positive.

    Raises:
        UserError: If a logit is NaN or infinite.
    """
    report: dict[str, float] = {}
    for name, classes in statement_classes(ids).items():
        scores, states = class_scores(finite_scores(logits), labels, classes)
        sets = {name: (states == POSITIVE).any(0)}
        if bool(sets[name].any()):
            report |= zero_shot_report(scores, states, sets, ks=())
            report |= zero_shot_intervals(scores, states, patients, sets, ks=(), replicates=replicates).report
    return report
