"""Yes or no for every label: thresholds and calibration that are fitted on some records, and how they do on others."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ecgclip.evaluation.calibration import Calibration, fit_platt, fit_temperature
from ecgclip.evaluation.intervals import Patients
from ecgclip.evaluation.metrics import macro
from ecgclip.evaluation.thresholds import best_f1_thresholds, specificity_thresholds
from ecgclip.labels import NEGATIVE, POSITIVE


class Decisions(NamedTuple):
    """How often a label was called, and rightly, among the records where it is known.

    The figures are scikit-learn's, but where one does not exist it is NaN, not 0: F1, Jaccard and sensitivity of a label without a
    positive, specificity without a negative, the predictive values where nothing was called, or everything.

    Attributes:
        tp: ``(L,)`` int64, called and there.
        fp: ``(L,)`` int64, called and not there.
        fn: ``(L,)`` int64, there and not called.
        tn: ``(L,)`` int64, neither.
    """

    tp: Tensor
    fp: Tensor
    fn: Tensor
    tn: Tensor

    @property
    def sensitivity(self) -> Tensor:
        """Share of the positives that are called, ``(L,)`` float64."""
        return self.tp.double() / (self.tp + self.fn)

    @property
    def specificity(self) -> Tensor:
        """Share of the negatives that are not called, ``(L,)`` float64."""
        return self.tn.double() / (self.tn + self.fp)

    @property
    def ppv(self) -> Tensor:
        """Share of the called that are positive, ``(L,)`` float64."""
        return self.tp.double() / (self.tp + self.fp)

    @property
    def npv(self) -> Tensor:
        """Share of those not called that are negative, ``(L,)`` float64."""
        return self.tn.double() / (self.tn + self.fn)

    @property
    def f1(self) -> Tensor:
        """Harmonic mean of sensitivity and predictive value, ``(L,)`` float64."""
        return (2 * self.tp.double() / (2 * self.tp + self.fp + self.fn)).masked_fill(self.tp + self.fn == 0, torch.nan)

    @property
    def jaccard(self) -> Tensor:
        """Called and there, of called or there, ``(L,)`` float64."""
        return (self.tp.double() / (self.tp + self.fp + self.fn)).masked_fill(self.tp + self.fn == 0, torch.nan)


class Fitted(NamedTuple):
    """What is fitted on the records of one split.

    Attributes:
        thresholds: ``(L,)`` float64, of the best F1.
        at_specificity: ``(L,)`` float64, of a specificity of 0.9.
        temperature: One line for all labels.
        platt: A line for each.
    """

    thresholds: Tensor
    at_specificity: Tensor
    temperature: Calibration
    platt: Calibration


class Applied(NamedTuple):
    """What was fitted, applied to records: a label is called where its margin is at least 0. NaN where nothing could be fitted.

    Attributes:
        margin: ``(N, L)`` float64, score less threshold.
        margin_at_specificity: ``(N, L)`` float64.
        temperature: ``(N, L)`` float64, probabilities.
        platt: ``(N, L)`` float64, probabilities.
    """

    margin: Tensor
    margin_at_specificity: Tensor
    temperature: Tensor
    platt: Tensor


def fit(scores: Tensor, labels: Tensor) -> Fitted:
    """Fit thresholds and calibration.

    Args:
        scores: ``(N, L)`` float.
        labels: ``(N, L)`` int8 states; unknown ones are left out.

    Raises:
        UserError: If a score is NaN or infinite.
    """
    return Fitted(
        best_f1_thresholds(scores, labels),
        specificity_thresholds(scores, labels),
        fit_temperature(scores, labels),
        fit_platt(scores, labels),
    )


def apply(fitted: Fitted, scores: Tensor) -> Applied:
    """Apply what was fitted to ``(N, L)`` scores of other records."""
    wide = scores.double()
    return Applied(
        wide - fitted.thresholds,
        wide - fitted.at_specificity,
        fitted.temperature.probabilities(wide),
        fitted.platt.probabilities(wide),
    )


def cross_fit(scores: Tensor, labels: Tensor, patients: Patients, folds: int = 2, seed: int = 0) -> Applied:
    """Judge records that have to serve for fitting too: those of each patient by what was fitted on other patients.

    Args:
        scores: ``(N, L)`` float.
        labels: ``(N, L)`` int8 states.
        patients: ``(N,)`` patient key of each record.
        folds: Parts of the patients, drawn by ``seed`` from the order of their first records.
        seed: Of the draw.

    Returns:
        Of every record.

    Raises:
        UserError: If a score is NaN or infinite.
    """
    _, first, owner = np.unique(np.asarray(patients), return_index=True, return_inverse=True)
    # By first record and not by key: keys depend on the salt of a store.
    number = first.argsort().argsort()[owner]
    fold = torch.from_numpy(np.random.default_rng(seed).permutation(len(first))[number] % folds).to(scores.device)
    columns = [torch.full(scores.shape, torch.nan, dtype=torch.float64, device=scores.device) for _ in Applied._fields]
    for part in range(folds):
        here = fold == part
        if not bool(here.any()):
            continue
        found = apply(fit(scores[~here], labels[~here]), scores[here])
        for column, values in zip(columns, found, strict=True):
            column[here] = values
    return Applied(*columns)


def decide(scores: Tensor, labels: Tensor, thresholds: Tensor) -> Decisions:
    """Count decisions.

    Args:
        scores: ``(N, L)`` float; NaN is never called.
        labels: ``(N, L)`` int8 states; unknown ones are left out.
        thresholds: ``(L,)`` float; a label is called where ``score >= threshold``, never at NaN.

    Returns:
        The counts.
    """
    called, positive, negative = scores >= thresholds, labels == POSITIVE, labels == NEGATIVE
    counts = (called & positive, called & negative, ~called & positive, ~called & negative)
    return Decisions(*(count.sum(0) for count in counts))


def record_jaccard(scores: Tensor, labels: Tensor, thresholds: Tensor) -> float:
    """Return the mean over records of called and there, of called or there, among known labels.

    scikit-learn's ``jaccard_score(average="samples")``, without the records where nothing is called and nothing there; NaN where all are
    so.

    Args:
        scores: ``(N, L)`` float.
        labels: ``(N, L)`` int8 states.
        thresholds: ``(L,)`` float.
    """
    positive = labels == POSITIVE
    called = (scores >= thresholds) & (positive | (labels == NEGATIVE))
    return float(((called & positive).sum(1).double() / (called | positive).sum(1)).nanmean())


def decision_figures(applied: Applied, labels: Tensor, sets: Mapping[str, Tensor]) -> dict[str, float]:
    """Report decisions over sets of labels.

    Args:
        applied: Of all records.
        labels: ``(N, L)`` int8 states.
        sets: Name to ``(L,)`` bool, of :func:`ecgclip.evaluation.zero_shot.label_sets`.

    Returns:
        Flat, each macro figure a mean over the labels of the set that have it: ``<set>/f1_macro``, ``f1_micro``, ``jaccard_macro``,
        ``jaccard_records``, ``sensitivity_macro``, ``specificity_macro``, ``ppv_macro``, and at the threshold of a specificity of 0.9
        ``sensitivity_at_specificity90_macro`` and what the specificity then was, ``specificity_at_specificity90_macro``.
    """
    zero = torch.zeros(labels.shape[1], dtype=torch.float64, device=labels.device)
    called, strict = decide(applied.margin, labels, zero), decide(applied.margin_at_specificity, labels, zero)
    present = (labels == POSITIVE).any(0)
    report: dict[str, float] = {}
    for name, members in sets.items():
        chosen = members & present
        for figure in ("f1", "jaccard", "sensitivity", "specificity", "ppv"):
            report[f"{name}/{figure}_macro"] = macro(getattr(called, figure)[chosen])
        tp, fp, fn, _ = (int(count[chosen].sum()) for count in called)
        report[f"{name}/f1_micro"] = 2 * tp / (2 * tp + fp + fn) if tp + fn else float("nan")
        report[f"{name}/jaccard_records"] = record_jaccard(applied.margin[:, chosen], labels[:, chosen], zero[chosen])
        for figure in ("sensitivity", "specificity"):
            report[f"{name}/{figure}_at_specificity90_macro"] = macro(getattr(strict, figure)[chosen])
    return report
