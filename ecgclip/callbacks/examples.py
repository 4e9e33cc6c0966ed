"""ECGs to look at: one for each of some labels, and those that are read best and worst, with their five best labels."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ecgclip.evaluation.full import ranking_precision
from ecgclip.labels import POSITIVE
from ecgclip.signals.leads import LEADS

PICTURES = "pictures"
EXTREMES = 3  # Of the best, and of the worst.
SHOWN = 5  # Labels below an ECG.
MILLIVOLT = 1e-3


def choose_examples(scores: Tensor, labels: Tensor, count: int) -> list[tuple[str, int]]:
    """Choose records, always the same ones.

    Args:
        scores: ``(N, L)`` float.
        labels: ``(N, L)`` int8 states.
        count: Records of different labels, from the rarest to the most frequent; no more than so many of the best, and of the worst.

    Returns:
        Kind (``label``, ``best`` or ``worst``) and row, no row twice. The best have two findings or more, all above every label that
        they do not have, by the widest margin; in the worst the findings stand lowest.
    """
    scores, labels = scores.cpu(), labels.cpu()
    positive = labels == POSITIVE
    frequency = positive.sum(0)
    present = [int(i) for i in frequency.argsort() if frequency[i] > 0]
    chosen: list[tuple[str, int]] = []
    taken: set[int] = set()
    for label in present[:: max(1, len(present) // max(1, count))][:count]:
        row = next((int(i) for i in positive[:, label].nonzero().flatten() if int(i) not in taken), None)
        if row is not None:
            chosen.append(("label", row))
            taken.add(row)
    precision = ranking_precision(scores, labels)
    lowest = scores.masked_fill(~positive, torch.inf).amin(1)
    margin = lowest - scores.masked_fill(positive, -torch.inf).amax(1)
    several = positive.sum(1) >= 2
    best = torch.where(several & (precision == 1), margin, -torch.inf).double()
    worst = -precision.nan_to_num(torch.inf)
    for kind, value in (("best", best), ("worst", worst)):
        rows = [int(i) for i in value.argsort(descending=True, stable=True) if torch.isfinite(value[i]) and int(i) not in taken]
        for row in rows[: min(EXTREMES, count)]:
            chosen.append((kind, row))
            taken.add(row)
    return chosen


def draw_examples(
    folder: Path, data: Any, split: str, records: Tensor, scores: Tensor, labels: Tensor, *, count: int
) -> list[dict[str, Any]]:
    """Draw examples into ``pictures/`` of a folder of results.

    Args:
        folder: Of results.
        data: The data module, set up.
        split: ``val`` or ``test``.
        records: ``(N,)`` rows of the store.
        scores: ``(N, L)`` float.
        labels: ``(N, L)`` int8 states.
        count: See :func:`choose_examples`; 0 draws none at all.

    Returns:
        For each: ``kind``, ``record`` (its hashed id), ``picture`` (relative to the folder), ``labels`` (ids) and ``top`` (id and score).
    """
    from ecgclip.signals.plot import plot_ecg

    names, ids, manifest = [label.ja for label in data.labels], data.labels.ids, data.store.manifest
    examples = []
    for kind, row in choose_examples(scores, labels, count) if count else []:
        record = int(records[row])
        signal = data.store.read(records[row : row + 1].cpu().numpy())[0] * MILLIVOLT
        best = scores[row].topk(min(SHOWN, scores.shape[1]))
        top = [(int(i), float(value)) for value, i in zip(*best, strict=True)]
        shown = [int(i) for i in (labels[row] == POSITIVE).nonzero().flatten()]
        name = f"{split}_{manifest['id'].iloc[record]}"
        plot_ecg(
            signal,
            data.sampling_rate,
            title=f"{name}  ラベル: {'、'.join(names[i] for i in shown)}",
            findings=[(names[i], value) for i, value in top],
            path=folder / PICTURES / f"{name}.png",
            lead_mask=[lead not in manifest["missing_leads"].iloc[record] for lead in LEADS],
        )
        examples.append(
            {
                "kind": kind,
                "record": str(manifest["id"].iloc[record]),
                "picture": f"{PICTURES}/{name}.png",
                "labels": [ids[i] for i in shown],
                "top": [[ids[i], value] for i, value in top],
            }
        )
    return examples
