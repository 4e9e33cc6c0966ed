"""Zero-shot classification: ECG vectors against vectors of label prompts, and its report over sets of labels.

A label that was trained and is scored through its text is *text-prompted*; only a withheld label is zero-shot in the
strict sense.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ecgclip.evaluation.metrics import auroc, average_precision, count_hits, macro, topk_hits
from ecgclip.labels import POSITIVE, Label

RECORDS_AT_ONCE = 16384
RARE = 10  # Positives from which a label counts in the set `n10`.
HEAD, MEDIUM = 100, 20  # Training positives from which a label is head or medium; fewer is tail.
RANKED_WITHIN = frozenset({"ptbxl71"})  # Sets whose labels compete among themselves; else the catalogue competes.


def zero_shot_scores(ecg: Tensor, classes: Tensor) -> Tensor:
    """Score records against labels by cosine.

    Args:
        ecg: ``(N, D)`` ECG vectors of any floating type and length.
        classes: ``(L, D)`` class vectors, on the same device.

    Returns:
        ``(N, L)`` float32 cosines. They are computed in float64, so that neither autocast nor TF32 blurs a ranking.
    """
    columns = F.normalize(classes.double(), dim=1).T
    blocks = [(F.normalize(block.double(), dim=1) @ columns).float() for block in ecg.split(RECORDS_AT_ONCE)]
    return torch.cat(blocks)


def label_sets(
    labels: Tensor,
    ids: Sequence[str],
    *,
    ptbxl71: Collection[str] = (),
    visible: Collection[str] = (),
    withheld: Collection[str] = (),
    train_positives: Tensor | None = None,
    others: Mapping[str, Collection[str]] | None = None,
) -> dict[str, Tensor]:
    """Name the sets of labels that a report averages over.

    ``all``: every label with a positive among these records. ``ptbxl71``: the PTB-XL statements. ``visible``: labels
    with a criterion one can see on the ECG. ``n10``: labels with at least 10 positives here. ``unseen`` and ``seen``:
    labels withheld from training and the rest, only where something is withheld. ``head``, ``medium`` and ``tail``:
    labels with at least 100, 20 to 99, and fewer than 20 positive training records, a withheld label by what the data
    has. A set without a positive among these records is absent.

    Args:
        labels: ``(N, L)`` int8 states of the records to report on.
        ids: Label ids, in the order of the columns.
        ptbxl71: Ids of the PTB-XL statements in the catalogue.
        visible: Ids of the visible labels.
        withheld: Ids of the labels that no training text named.
        train_positives: ``(L,)`` count of positive training records of each label; None leaves out head, medium and
            tail.
        others: Further sets by name: the ids of each.

    Returns:
        Name to ``(L,)`` bool on the device of ``labels``. ``ptbxl71`` keeps its members without a positive, because
        they compete.
    """
    positives = (labels == POSITIVE).sum(0)
    present = positives > 0

    def named(chosen: Collection[str]) -> Tensor:
        return torch.tensor([i in chosen for i in ids], dtype=torch.bool, device=labels.device)

    sets = {"all": present, "ptbxl71": named(ptbxl71), "visible": named(visible) & present, "n10": positives >= RARE}
    if withheld:
        unseen = named(withheld)
        sets |= {"seen": ~unseen & present, "unseen": unseen & present}
    if train_positives is not None:
        trained = train_positives.to(labels.device)
        head, tail = trained >= HEAD, trained < MEDIUM
        sets |= {"head": head & present, "medium": ~head & ~tail & present, "tail": tail & present}
    sets |= {name: named(chosen) & present for name, chosen in (others or {}).items()}
    return {name: members for name, members in sets.items() if bool((members & present).any())}


def ranking_of(name: str) -> str:
    """Return which labels compete in a set's top-k: the set's own name, or ``catalogue``."""
    return name if name in RANKED_WITHIN else "catalogue"


def hits_by_ranking(scores: Tensor, labels: Tensor, sets: Mapping[str, Tensor], ks: Iterable[int]) -> dict[tuple[str, int], Tensor]:
    """Compute top-k hits once for each distinct ranking that the sets need.

    Args:
        scores: ``(N, L)`` float.
        labels: ``(N, L)`` int8 states.
        sets: Name to ``(L,)`` bool.
        ks: Places that count.

    Returns:
        ``(ranking_of(name), k)`` to ``(N, L)`` bool.
    """
    rankings = {"catalogue": None} | {name: members for name, members in sets.items() if name in RANKED_WITHIN}
    return {(ranking, k): topk_hits(scores, labels, k, competing) for ranking, competing in rankings.items() for k in ks}


def zero_shot_report(scores: Tensor, labels: Tensor, sets: Mapping[str, Tensor], ks: Sequence[int] = (1, 5)) -> dict[str, float]:
    """Report AUROC, AUPRC and top-k over sets of labels.

    A set chooses which labels are averaged (macro) and which count as a record's findings (micro: over the records that
    have one of the set). It does not choose the rivals: the whole catalogue competes for the top k, or a set of rare
    labels would look easy. Only ``ptbxl71`` is ranked within itself, because PTB-XL annotates nothing else and naming
    another finding is not known to be an error there.

    Args:
        scores: ``(N, L)`` float.
        labels: ``(N, L)`` int8 states.
        sets: Name to ``(L,)`` bool, of :func:`label_sets`.
        ks: Places that count.

    Returns:
        Flat: ``<set>/labels`` (labels with a positive), ``<set>/auroc_macro``, ``<set>/auprc_macro``,
        ``<set>/top<k>_micro`` and ``<set>/top<k>_macro``. Macro AUROC and AUPRC average the labels with a positive and
        a negative.

    Raises:
        UserError: If a score is NaN or infinite.
    """
    area, precision = auroc(scores, labels), average_precision(scores, labels)
    hits = hits_by_ranking(scores, labels, sets, ks)
    present = (labels == POSITIVE).any(0)
    report: dict[str, float] = {}
    for name, members in sets.items():
        report[f"{name}/labels"] = float((members & present).sum())
        report[f"{name}/auroc_macro"] = macro(area[members])
        report[f"{name}/auprc_macro"] = macro(precision[members])
        for k in ks:
            accuracy = count_hits(hits[ranking_of(name), k], labels, members)
            report |= {f"{name}/top{k}_micro": accuracy.micro, f"{name}/top{k}_macro": accuracy.macro}
    return report


def per_label_table(
    catalogue: Iterable[Label],
    scores: Tensor,
    labels: Tensor,
    auroc_interval: Tensor | None = None,
    ks: Sequence[int] = (1, 5),
) -> list[dict[str, Any]]:
    """Tabulate every label of the catalogue, with the whole catalogue competing for the top k.

    Args:
        catalogue: The labels, in the order of the columns.
        scores: ``(N, L)`` float.
        labels: ``(N, L)`` int8 states.
        auroc_interval: ``(L, 2)`` float64, low and high, of :func:`ecgclip.evaluation.intervals.zero_shot_intervals`;
            None for NaN.
        ks: Places that count.

    Returns:
        Rows with ``id``, ``ja``, ``en``, ``group``, ``n`` (positive records), ``auroc``, ``auroc_low``, ``auroc_high``,
        ``auprc`` and ``top<k>`` (recall). What a label has no value for is NaN.

    Raises:
        UserError: If a score is NaN or infinite.
    """
    interval = torch.full((scores.shape[1], 2), torch.nan) if auroc_interval is None else auroc_interval
    columns = {
        "n": (labels == POSITIVE).sum(0),
        "auroc": auroc(scores, labels),
        "auroc_low": interval[:, 0],
        "auroc_high": interval[:, 1],
        "auprc": average_precision(scores, labels),
        **{f"top{k}": count_hits(topk_hits(scores, labels, k), labels).recall for k in ks},
    }
    values = {name: column.tolist() for name, column in columns.items()}
    return [
        {
            "id": label.id,
            "ja": label.ja,
            "en": label.en,
            "group": label.group,
            **{name: column[i] for name, column in values.items()},
        }
        for i, label in enumerate(catalogue)
    ]
