"""Batches for the losses, and the losses once more: slowly, from their formulas, in Python's 64-bit numbers."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ecgclip.losses import LOSSES, Pairs

Matrix = list[list[float]]

# Every loss in every form that a batch can have for it: loss, arguments, caption mode.
CASES: dict[str, tuple[str, dict[str, Any], str]] = {
    "infonce": ("infonce", {}, "joined"),
    "multi_positive": ("multi_positive", {}, "label"),
    "multi_positive, joined": ("multi_positive", {}, "joined"),
    "soft labels": ("soft", {"targets": "labels"}, "label"),
    "soft labels, joined": ("soft", {"targets": "labels", "target_temperature": 0.3}, "joined"),
    "soft texts": ("soft", {"targets": "texts", "target_temperature": 0.2}, "label"),
    "soft texts, joined": ("soft", {"targets": "texts"}, "joined"),
    "siglip": ("siglip", {}, "label"),
    "siglip, joined": ("siglip", {"bias": -3.0}, "joined"),
    "jaccard_siglip": ("jaccard_siglip", {}, "label"),
    "jaccard_siglip, joined": ("jaccard_siglip", {}, "joined"),
    "label_prompt": ("label_prompt", {}, "label"),
    "label_prompt, balanced": ("label_prompt", {"balance": 0.5, "logit_adjustment": 0.5}, "label"),
    "label_prompt, focal": ("label_prompt", {"focal": 1.5, "bias": 0.4}, "label"),
}
OPTIONS = {
    "plain": {},
    "long tail": {"logit_adjustment": 0.7},
    "hard negatives": {"hard_negatives": 0.2},
    "both": {"logit_adjustment": 1.0, "hard_negatives": 0.1},
}
SCALES = {"infonce": 1 / 0.07, "multi_positive": 1 / 0.07, "soft": 1 / 0.07, "siglip": 10.0, "jaccard_siglip": 10.0, "label_prompt": 10.0}
BIASES = {"siglip": -5.0, "jaccard_siglip": -5.0, "label_prompt": 0.0}


def draw(mode: str, seed: int = 0, *, free: bool = False) -> Pairs:
    """A batch with unknown pairs, and in ``label`` mode with a record and a text without a positive.

    With ``free`` similarities each pair's is a number of its own: the texts are unit vectors at right angles.
    """
    make = torch.Generator().manual_seed(seed)
    records, classes = 7, 5
    labels = torch.rand(records, classes, generator=make) < 0.4
    labels[:, 3] = False
    if mode == "label":
        labels[2] = False
        labels[0, 0] = True
        positives, text_labels = labels, torch.eye(classes).bool()
    else:
        labels[~labels.any(1), 1] = True
        labels[4] = labels[0]
        text_labels, own = torch.unique(labels, dim=0, return_inverse=True)
        positives = F.one_hot(own, len(text_labels)).bool()
    texts = len(text_labels)
    known = positives | (torch.rand(records, texts, generator=make) < 0.7)
    ecg, text = torch.rand(records, texts, generator=make) * 2 - 1, torch.eye(texts)
    if not free:
        ecg, text = (F.normalize(torch.randn(rows, 4, generator=make), dim=1) for rows in (records, texts))
    prior = torch.rand(texts, generator=make) * 0.5 + 0.01
    assert (~known).any() and positives.any()
    return Pairs(ecg, text, torch.arange(texts), positives, known, labels, text_labels, prior)


def transposed(matrix: list[list[Any]]) -> list[list[Any]]:
    return [list(column) for column in zip(*matrix, strict=True)]


def dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def product(ecg: Tensor, text: Tensor, factor: float = 1.0) -> Matrix:
    return [[factor * dot(e, t) for t in text.tolist()] for e in ecg.tolist()]


def hardness(similarity: list[float], negative: list[bool], beta: float) -> list[float]:
    """Weights of one anchor's pairs: exp(beta s) of a negative over its mean among the negatives, 1 for any other."""
    among = [math.exp(beta * s) for s, is_one in zip(similarity, negative, strict=True) if is_one]
    return [math.exp(beta * s) * len(among) / sum(among) if is_one else 1.0 for s, is_one in zip(similarity, negative, strict=True)]


def slow_rows(logits: Matrix, targets: Matrix, positives: list, known: list, weights: Matrix, offsets: list[float]) -> float:
    """Cross entropy of each row that has a positive: -sum_j y_j log(exp(s_j) / sum_k w_k exp(s_k)), over what is known of it."""
    rows = []
    for i, row in enumerate(logits):
        if any(positives[i]):
            columns = [j for j in range(len(row)) if known[i][j]]
            total = sum(weights[i][j] * math.exp(row[j] + offsets[j]) for j in columns)
            rows.append(-sum(targets[i][j] * math.log(math.exp(row[j] + offsets[j]) / total) for j in columns))
    return sum(rows) / len(rows)


def evenly(positives: list[list[bool]]) -> Matrix:
    return [[float(one) / max(1, sum(row)) for one in row] for row in positives]


def softmax(row: list[float], among: list[bool], temperature: float) -> list[float]:
    powers = [math.exp(value / temperature) if counts else 0.0 for value, counts in zip(row, among, strict=True)]
    return [power / sum(powers) if any(among) else 0.0 for power in powers]


def soft_targets(pairs: Pairs, targets: str, temperature: float) -> tuple[Matrix, Matrix]:
    """How alike an ECG and a text are, as shares of the texts and of the ECGs."""
    positives, known = pairs.positives.tolist(), pairs.known.tolist()
    assert pairs.labels is not None and pairs.text_labels is not None
    alike: Matrix = []
    for i, has in enumerate(pairs.labels.tolist()):
        row = []
        for j, named in enumerate(pairs.text_labels.tolist()):
            if targets == "labels":
                size = math.sqrt(sum(has) * sum(named))
                row.append(dot(has, named) / size if size else 0.0)
            else:
                own = [t for t, is_own in enumerate(positives[i]) if is_own]
                row.append(sum(dot(pairs.text[t].tolist(), pairs.text[j].tolist()) for t in own) / max(1, len(own)))
        alike.append(row)
    among = [[k and any(positives[i]) for k in row] for i, row in enumerate(known)]
    there = [softmax(row, counts, temperature) for row, counts in zip(alike, among, strict=True)]
    back = [softmax(row, counts, temperature) for row, counts in zip(transposed(alike), transposed(among), strict=True)]
    return there, back


def slow(name: str, pairs: Pairs, constants: Pairs | None = None, **options: Any) -> float:
    """One loss, from its formula.

    Args:
        name: Of the loss.
        pairs: The batch, in float64.
        constants: The batch as it stands: what a loss takes from it without a gradient. Left out, ``pairs``.
        options: The loss's arguments.

    """
    fixed = constants or pairs
    if name == "infonce":
        own = pairs.positives.int().argmax(1)
        square = {"positives": torch.eye(len(own)).bool(), "known": pairs.known[:, own], "prior": fixed.prior[own]}  # type: ignore[index]
        pairs, fixed = (one._replace(text=one.text[own], **square) for one in (pairs, fixed))
    scale = SCALES[name]
    logits, standing = product(pairs.ecg, pairs.text, scale), product(fixed.ecg, fixed.text, scale)
    positives, known = pairs.positives.tolist(), pairs.known.tolist()
    tau, beta = options.get("logit_adjustment", float(name == "label_prompt")), options.get("hard_negatives", 0.0)
    if name in BIASES:
        return slow_sigmoid(name, fixed, logits, standing, tau=tau, beta=beta, options=options)
    there, back = evenly(positives), evenly(transposed(positives))
    if name == "soft":
        there, back = soft_targets(fixed, options["targets"], options.get("target_temperature", 0.1))
    negative = (pairs.known & ~pairs.positives).tolist()
    weights = [hardness(row, is_one, beta) for row, is_one in zip(standing, negative, strict=True)]
    across = [hardness(row, is_one, beta) for row, is_one in zip(transposed(standing), transposed(negative), strict=True)]
    assert pairs.prior is not None
    offsets = [tau * math.log(p) for p in pairs.prior.tolist()]
    nothing = [0.0] * len(logits)
    one = slow_rows(logits, there, positives, known, weights, offsets)
    other = slow_rows(transposed(logits), back, transposed(positives), transposed(known), across, nothing)
    return (one + other) / 2


def slow_sigmoid(name: str, pairs: Pairs, logits: Matrix, standing: Matrix, *, tau: float, beta: float, options: dict[str, Any]) -> float:
    """The losses that ask about each pair by itself."""
    assert pairs.labels is not None and pairs.text_labels is not None and pairs.prior is not None
    positives, known, prior = pairs.positives.tolist(), pairs.known.tolist(), pairs.prior.tolist()
    has, named = pairs.labels.tolist(), pairs.text_labels.tolist()
    targets: Matrix = [[float(one) for one in row] for row in positives]
    if name == "jaccard_siglip":
        for i, mine in enumerate(has):
            for j, theirs in enumerate(named):
                either = sum(a or b for a, b in zip(mine, theirs, strict=True))
                known[i][j] = known[i][j] and either > 0
                targets[i][j] = sum(a and b for a, b in zip(mine, theirs, strict=True)) / either if either else 0.0
    total, count = 0.0, 0
    for i, row in enumerate(logits):
        negative = [known[i][j] and targets[i][j] == 0 for j in range(len(row))]
        weights = hardness(standing[i], negative, beta)
        for j, logit in enumerate(row):
            if known[i][j]:
                z = logit + options.get("bias", BIASES[name]) + tau * math.log(prior[j] / (1 - prior[j]))
                yes, no, y = 1 / (1 + math.exp(-z)), 1 / (1 + math.exp(z)), targets[i][j]
                term = weights[j] * -(y * math.log(yes) + (1 - y) * math.log(no))
                if name == "label_prompt":
                    term *= (no if y else yes) ** options.get("focal", 0.0)
                    term *= ((1 - prior[j]) / prior[j]) ** (options.get("balance", 0.0) * y)
                total, count = total + term, count + 1
    return total / (count if name == "label_prompt" else len(logits))


def build(case: str, **options: Any) -> torch.nn.Module:
    """The loss of a case, with more options."""
    name, arguments, _ = CASES[case]
    return LOSSES[name](**(arguments | options))
