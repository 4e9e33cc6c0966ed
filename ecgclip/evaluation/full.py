"""Everything that is said about one split: figures with intervals, decisions, calibration, a row per label, and what a page draws.

The callback calls it at the end of a training and ``ecgclip evaluate`` at any time after; it sees tensors alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ecgclip.evaluation.calibration import Calibration, brier, calibration_error, pooled_calibration_error, reliability
from ecgclip.evaluation.decisions import Applied, Decisions, apply, cross_fit, decide, decision_figures, fit
from ecgclip.evaluation.intervals import Intervals, Patients, zero_shot_intervals
from ecgclip.evaluation.metrics import finite_scores
from ecgclip.evaluation.ptbxl_groups import class_report
from ecgclip.evaluation.subgroups import subgroup_rows
from ecgclip.evaluation.zero_shot import RARE, per_label_table, zero_shot_report
from ecgclip.labels import NEGATIVE, POSITIVE, Catalogue

MAPPED = 2000  # Records on the map.
CONFUSED = 60  # Pairs of labels that are listed.
CURVE = ("low", "high", "confidence", "observed", "count")  # Of a reliability curve, bin by bin.
NEAR = 5  # Records from which a pair of labels is listed.


@dataclass(frozen=True)
class Scored:
    """Records of one split, scored.

    Attributes:
        scores: ``(N, L)`` float32 cosines.
        logits: ``(N, L)`` float, what the loss makes of them: calibration starts from it.
        labels: ``(N, L)`` int8 states.
        patients: ``(N,)`` patient key of each record.
    """

    scores: Tensor
    logits: Tensor
    labels: Tensor
    patients: Patients


@dataclass(frozen=True)
class FullEvaluation:
    """What :func:`full_evaluation` returns.

    Attributes:
        figures: Flat: ``zero_shot/<set>/<figure>`` and ``calibration/<method>/<figure>``.
        rows: One for each label.
        detail: Plain values for a page; NaN is None.
        thresholds: ``(L,)`` float64 cosines from which a label is called, NaN where none could be fitted.
        calibration: From cosines to probabilities, per label (Platt); NaN where it could not be fitted.
    """

    figures: dict[str, float]
    rows: list[dict[str, Any]]
    detail: dict[str, Any]
    thresholds: Tensor
    calibration: Calibration


def full_evaluation(
    scored: Scored,
    catalogue: Catalogue,
    sets: Mapping[str, Tensor],
    *,
    fitted_on: Scored | None = None,
    train_positives: Tensor | None = None,
    groups: Mapping[str, np.ndarray] | None = None,
    replicates: int = 1000,
) -> FullEvaluation:
    """Evaluate one split in full.

    Args:
        scored: Its records.
        catalogue: The labels.
        sets: Of :func:`ecgclip.evaluation.zero_shot.label_sets`.
        fitted_on: The validation records, where thresholds and calibration come from. None where these records are themselves the
            validation records: then each half of the patients is judged by what was fitted on the other half.
        train_positives: ``(L,)`` positives in training.
        groups: Such as ``sex``: for each record its group, empty where it is not known.
        replicates: Of the bootstrap; subgroups take a fifth of it.

    Returns:
        Figures, rows and details.

    Raises:
        UserError: If a score is NaN or infinite.
    """
    scores, labels, patients = finite_scores(scored.scores), scored.labels, scored.patients
    fitted = fit(scored.logits, labels) if fitted_on is None else fit(fitted_on.logits, fitted_on.labels)
    applied = cross_fit(scored.logits, labels, patients) if fitted_on is None else apply(fitted, scored.logits)
    intervals = zero_shot_intervals(scores, labels, patients, sets, replicates=replicates)
    figures = {f"zero_shot/{name}": value for name, value in _averages(scored, sets, applied, intervals, catalogue, replicates).items()}
    figures |= _calibration_figures(applied, labels)
    slope, intercept = _line(scored)
    thresholds = (fitted.thresholds - intercept) / slope
    calibration = Calibration(fitted.platt.scale * slope, fitted.platt.scale * intercept + fitted.platt.offset)
    rows = _rows(catalogue, scored, intervals, applied, thresholds, calibration, train_positives)
    detail = {
        "records": len(scores),
        "patients": len(np.unique(np.asarray(patients))),
        "fitted_on": "val" if fitted_on is not None else "val, each half of the patients by what was fitted on the other",
        "label_sets": {
            name: [i for i, member in zip(catalogue.ids, members.tolist(), strict=True) if member] for name, members in sets.items()
        },
        "labels": rows,
        "reliability": {
            name: dict(zip(CURVE, (values.tolist() for values in reliability(getattr(applied, name), labels)), strict=True))
            for name in ("temperature", "platt")
        },
        "confusion": confused_pairs(scores, labels, catalogue.ids),
        "subgroups": subgroup_rows(
            scores, labels, patients, groups or {}, sets.get("n10", sets["all"]), replicates=max(1, replicates // 5)
        ),
    }
    return FullEvaluation(figures, rows, plain(detail), thresholds, calibration)


def _averages(
    scored: Scored, sets: Mapping[str, Tensor], applied: Applied, intervals: Intervals, catalogue: Catalogue, replicates: int
) -> dict[str, float]:
    """Figures over sets of labels, and over PTB-XL's classes."""
    return (
        zero_shot_report(scored.scores, scored.labels, sets)
        | intervals.report
        | class_report(scored.logits, scored.labels, scored.patients, catalogue.ids, replicates=replicates)
        | decision_figures(applied, scored.labels, sets)
    )


def _calibration_figures(applied: Applied, labels: Tensor) -> dict[str, float]:
    figures = {}
    for name in ("temperature", "platt"):
        probabilities: Tensor = getattr(applied, name)
        figures[f"calibration/{name}/ece"] = float(calibration_error(probabilities, labels).nanmean())
        figures[f"calibration/{name}/ece_pooled"] = pooled_calibration_error(probabilities, labels)
        figures[f"calibration/{name}/brier"] = float(brier(probabilities, labels).nanmean())
    return figures


def _line(scored: Scored) -> tuple[Tensor, Tensor]:
    """Return slope and intercept of each label's logit as a straight line of its cosine, ``(L,)`` float64."""
    scores, logits = scored.scores.double(), scored.logits.double()
    low, high = scores.argmin(0, keepdim=True), scores.argmax(0, keepdim=True)
    x0, x1, y0, y1 = (values.gather(0, rows).squeeze(0) for values in (scores, logits) for rows in (low, high))
    slope = (y1 - y0) / (x1 - x0)
    return slope, y0 - slope * x0


def _rows(
    catalogue: Catalogue,
    scored: Scored,
    intervals: Intervals,
    applied: Applied,
    thresholds: Tensor,
    calibration: Calibration,
    train_positives: Tensor | None,
) -> list[dict[str, Any]]:
    """A row for each label: the table of the zero-shot report, then decisions and calibration."""
    labels = scored.labels
    zero = torch.zeros(labels.shape[1], dtype=torch.float64, device=labels.device)
    called: Decisions = decide(applied.margin, labels, zero)
    strict: Decisions = decide(applied.margin_at_specificity, labels, zero)
    columns = {
        "n_train": torch.full_like(zero, torch.nan) if train_positives is None else train_positives,
        "auprc_low": intervals.auprc[:, 0],
        "auprc_high": intervals.auprc[:, 1],
        "threshold": thresholds,
        "f1": called.f1,
        "jaccard": called.jaccard,
        "sensitivity": called.sensitivity,
        "specificity": called.specificity,
        "ppv": called.ppv,
        "sensitivity_at_specificity90": strict.sensitivity,
        "ece": calibration_error(applied.platt, labels),
        "scale": calibration.scale,
        "offset": calibration.offset,
    }
    values = {name: column.tolist() for name, column in columns.items()}
    table = per_label_table(catalogue, scored.scores, labels, intervals.auroc)
    return [row | {name: column[i] for name, column in values.items()} for i, row in enumerate(table)]


def confused_pairs(scores: Tensor, labels: Tensor, ids: Sequence[str]) -> list[dict[str, Any]]:
    """List which labels are taken for which: of a label's records without another one, the share in which the other scores higher.

    Args:
        scores: ``(N, L)`` float.
        labels: ``(N, L)`` int8 states.
        ids: Label ids, in the order of the columns.

    Returns:
        ``id``, ``other``, ``share`` and ``n`` of the pairs with at least five records, the most confused first.
    """
    pairs = []
    for column, name in enumerate(ids):
        mine = labels[:, column] == POSITIVE
        without = labels[mine] == NEGATIVE
        above = ((scores[mine] > scores[mine, column : column + 1]) & without).sum(0)
        count = without.sum(0)
        share = (above / count.clamp(min=1)).masked_fill(count < NEAR, 0)
        pairs += [
            {"id": name, "other": ids[other], "share": float(share[other]), "n": int(count[other])}
            for other in share.topk(min(5, len(ids))).indices.tolist()
            if share[other] > 0
        ]
    return sorted(pairs, key=lambda pair: -pair["share"])[:CONFUSED]


def text_similarity(classes: Tensor) -> list[list[float]]:
    """Return the cosines between the class vectors ``(L, D)``, to three decimals."""
    unit = F.normalize(classes.double(), dim=1)
    return [[round(value, 3) for value in row] for row in (unit @ unit.T).tolist()]


def embedding_map(vectors: Tensor, labels: Tensor, ids: Sequence[str]) -> dict[str, Any]:
    """Lay records out in the plane of their two principal components.

    Args:
        vectors: ``(N, D)`` float.
        labels: ``(N, L)`` int8 states.
        ids: Label ids, in the order of the columns.

    Returns:
        ``x`` and ``y``, and ``label``: the record's rarest label with at least ten records, or empty. At most 2,000 records, evenly
        spaced.
    """
    chosen = torch.arange(0, len(vectors), max(1, -(-len(vectors) // MAPPED)), device=vectors.device)
    centred = vectors[chosen].double()
    centred = centred - centred.mean(0)
    _, _, axes = torch.linalg.svd(centred, full_matrices=False)
    plane = centred @ axes[:2].T
    sign = torch.where(plane.gather(0, plane.abs().argmax(0, keepdim=True)) < 0, -1.0, 1.0)  # Else another machine mirrors it.
    plane = (plane * sign).cpu()
    count = (labels == POSITIVE).sum(0)
    rarity = torch.where(count >= RARE, count, len(labels) + 1)
    of_record = torch.where(labels[chosen] == POSITIVE, rarity, len(labels) + 1)
    rarest, column = of_record.min(1)
    names = [ids[i] if found else "" for i, found in zip(column.tolist(), (rarest <= len(labels)).tolist(), strict=True)]
    x, y = ([round(value, 4) for value in axis] for axis in plane.T.tolist())
    return {"x": x, "y": y, "label": names}


def ranking_precision(scores: Tensor, labels: Tensor) -> Tensor:
    """Rank each record's labels: label ranking average precision (Tsoumakas et al. 2010, section 34.4.2), ties against the label.

    Args:
        scores: ``(N, L)`` float.
        labels: ``(N, L)`` int8 states; unknown labels do not compete.

    Returns:
        ``(N,)`` float64 in (0, 1], 1 where every positive label stands above every negative one; NaN without a positive.
    """
    value = torch.full((len(scores),), torch.nan, dtype=torch.float64, device=scores.device)
    known = scores.masked_fill((labels != POSITIVE) & (labels != NEGATIVE), -torch.inf)
    order = known.argsort(dim=1, descending=True, stable=True)
    positive = (labels == POSITIVE).gather(1, order)
    ranked = known.gather(1, order)
    # A tie counts against the label: it stands at the last place of its group.
    place = torch.searchsorted(-ranked.contiguous(), -ranked.contiguous(), right=True)
    above = positive.cumsum(1).gather(1, place - 1)
    share = torch.where(positive, above / place, 0.0).double().sum(1)
    count = positive.sum(1)
    has = count > 0
    value[has] = share[has] / count[has]
    return value


def plain(value: Any) -> Any:
    """Return a value as JSON takes it: NaN becomes None."""
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return None if isinstance(value, float) and value != value else value
