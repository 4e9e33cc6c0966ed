"""Retrieval between ECGs and captions, both ways, where several records may share a caption."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ecgclip.errors import UserError
from ecgclip.evaluation.intervals import Patients, owners, patient_weights
from ecgclip.evaluation.metrics import finite_scores
from ecgclip.evaluation.zero_shot import zero_shot_scores

BLOCK = 2**22  # Elements of a (records, captions) block of cosines.


def retrieval_figures(
    ecg: Tensor,
    text: Tensor,
    text_of: Tensor,
    ks: Sequence[int] = (1, 5, 10),
    patients: Patients | None = None,
    replicates: int = 1000,
    seed: int = 0,
) -> dict[str, float]:
    """Find the caption of each record among all captions, and a record of each caption among all records.

    Order is by cosine. A tie counts against the right answer: the rank of a record's caption is the number of captions
    that score at least as high, itself included; that of a caption's best record counts every record of another caption
    that scores at least as high.

    Args:
        ecg: ``(N, D)`` float, ECG vectors of any length.
        text: ``(U, D)`` float, vectors of the distinct captions.
        text_of: ``(N,)`` int64, the row of each record's caption in ``text``.
        ks: Places that count.
        patients: ``(N,)`` patient key of each record, for intervals; None for none. A caption belongs to no patient, so
            only figures of records have them.
        replicates: Of the bootstrap over patients.
        seed: Fixes its weights.

    Returns:
        Flat, for the ways ``ecg_to_text`` and ``text_to_ecg``: ``<way>/r<k>``, the share of right answers among the first ``k``;
        ``<way>/median_rank``; ``<way>/chance_r<k>``, what a random order reaches on average. ``text_to_ecg`` is over
        the captions that have a record, and one is found where any of its records is. With patients
        ``ecg_to_text/r<k>_low`` and ``_high``, the 95 % interval of the Bayesian bootstrap.

    Raises:
        UserError: If a vector is not finite, there is no record, or ``text_of`` names no row of ``text``.
    """
    _check(ecg, text, text_of)
    ecg, text, text_of = finite_scores(ecg), finite_scores(text), text_of.to(ecg.device)
    of_record, of_caption = _ranks(ecg, text, text_of)
    sizes = torch.bincount(text_of, minlength=len(text))
    of_caption, sizes = of_caption[sizes > 0], sizes[sizes > 0].double()
    figures = {}
    for way, ranks in (("ecg_to_text", of_record), ("text_to_ecg", of_caption)):
        for k in ks:
            figures[f"{way}/r{k}"] = float((ranks <= k).double().mean())
            chance = min(1.0, k / len(text)) if way == "ecg_to_text" else float(_chance(len(ecg), sizes, k).mean())
            figures[f"{way}/chance_r{k}"] = chance
        figures[f"{way}/median_rank"] = float(ranks.double().quantile(0.5))
    if patients is not None:
        figures |= _intervals(of_record, ks, patients, replicates, seed)
    return figures


def _check(ecg: Tensor, text: Tensor, text_of: Tensor) -> None:
    if len(ecg) == 0:
        raise UserError("retrieval: there is no record to retrieve: give at least one with its caption")
    if text_of.shape != ecg.shape[:1] or int(text_of.min()) < 0 or int(text_of.max()) >= len(text):
        raise UserError(f"retrieval: text_of must name for each of {len(ecg)} records one of the {len(text)} captions, counted from 0")


def _ranks(ecg: Tensor, text: Tensor, text_of: Tensor) -> tuple[Tensor, Tensor]:
    """Rank of each record's caption, ``(N,)``, and of each caption's best record, ``(U,)`` int64.

    The cosines are computed twice, block by block, because all of a caption's records must be seen before anyone can be
    counted against the best of them.
    """
    height = max(1, BLOCK // len(text))
    rows = [slice(start, start + height) for start in range(0, len(ecg), height)]
    best = torch.full((len(text),), -torch.inf, device=ecg.device)
    of_record = []
    for chosen in rows:
        cosine, own = zero_shot_scores(ecg[chosen], text), text_of[chosen]
        right = cosine.gather(1, own.unsqueeze(1))
        best.scatter_reduce_(0, own, right.squeeze(1), "amax")
        of_record.append((cosine >= right).sum(1))
    of_caption = torch.ones(len(text), dtype=torch.int64, device=ecg.device)
    for chosen in rows:
        cosine = zero_shot_scores(ecg[chosen], text).scatter_(1, text_of[chosen].unsqueeze(1), -torch.inf)
        of_caption += (cosine >= best).sum(0)
    return torch.cat(of_record), of_caption


def _chance(records: int, sizes: Tensor, k: int) -> Tensor:
    """Chance that one of a caption's ``m`` records is among the first ``k`` of ``N``: ``1 - C(N - m, k) / C(N, k)``."""
    places = torch.arange(min(k, records), dtype=torch.float64, device=sizes.device)
    return 1 - ((records - sizes.unsqueeze(1) - places).clamp(min=0) / (records - places)).prod(1)


def _intervals(ranks: Tensor, ks: Sequence[int], patients: Patients, replicates: int, seed: int) -> dict[str, float]:
    """Ends of the 95 % intervals of the figures of records."""
    found = torch.stack([ranks <= k for k in ks], dim=1).double()
    shares = [w.T @ found / w.sum(0).unsqueeze(1) for w in patient_weights(*owners(patients, ranks.device), replicates, seed)]
    ends = torch.tensor([0.025, 0.975], dtype=torch.float64, device=ranks.device)
    low, high = torch.cat(shares).quantile(ends, dim=0).tolist()
    return {f"ecg_to_text/r{k}_{end}": values[i] for i, k in enumerate(ks) for end, values in (("low", low), ("high", high))}
