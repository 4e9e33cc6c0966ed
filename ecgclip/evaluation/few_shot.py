"""Few-shot classification on frozen ECG vectors: prototypes, a linear probe from the text vectors, Tip-Adapter and Tip-Adapter-F.

The design is N-way k-shot: k support records are drawn for each label, and a record stands for the label it was drawn
for, whatever else it shows. Every label then weighs the same, and a rare one is not outranked by the sinus rhythm
beside it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ecgclip.errors import UserError
from ecgclip.evaluation.intervals import Patients
from ecgclip.evaluation.metrics import auroc, macro, topk
from ecgclip.evaluation.zero_shot import RECORDS_AT_ONCE, zero_shot_scores
from ecgclip.labels import POSITIVE, UNKNOWN

# Fixed on made-up vectors before any measurement; the same for every k, model and data set.
PROBE_SCALE = 1 / 0.07  # Of the cosines: the temperature of arXiv 2504.09302.
PROBE_PRIOR = 0.1  # Precision of the Gaussian around the text vectors: the fewer shots, the closer to zero-shot.
PROBE_STEPS = 100
TIP_ALPHA, TIP_BETA, TIP_SCALE = 1.0, 5.5, 100.0  # arXiv 2111.03930, section 4.1, and its code.
TIP_RATE, TIP_EPSILON = 1e-3, 1e-4  # Of Adam on the keys, as in that paper's code.
TIP_STEPS = 50
TIP_MOMENTS = (0.9, 0.999)  # Adam's own (arXiv 1412.6980, algorithm 1).

BLOCK = 2**21  # Elements of a (queries, keys) block.
FIGURES = ("top1_macro", "top5_macro", "auroc_macro")


@dataclass(frozen=True)
class SupportPlan:
    """Which records support which label, for several draws.

    Attributes:
        labels: ``(M,)`` int64, the labels with enough positive records, rising; the same for every k.
        indices: ``(S, M, k_max)`` int64, for each seed and label distinct positive records; the first k of them serve
            k-shot.
    """

    labels: Tensor
    indices: Tensor

    @property
    def records(self) -> Tensor:
        """All records of the plan, ``(R,)`` int64, rising and without repetition."""
        return self.indices.unique()

    def within_records(self) -> "SupportPlan":
        """The same plan with indices that count in :attr:`records`, for embeddings of these records alone."""
        return SupportPlan(self.labels, torch.searchsorted(self.records, self.indices))


def choose_support(
    labels: Tensor,
    patients: Patients,
    k_max: int = 16,
    seeds: Iterable[int] = range(5),
    label_mask: Tensor | None = None,
) -> SupportPlan:
    """Draw the support records of every label that has enough of them.

    A draw depends on its seed and the label's position alone. It takes one record of each patient before it takes a
    second of anyone.

    Args:
        labels: ``(N, L)`` int8 states of the pool.
        patients: ``(N,)`` patient key of each record.
        k_max: Records per label; a label with fewer positives is left out for every k.
        seeds: One draw each, not negative.
        label_mask: ``(L,)`` bool, labels to choose among; None for all.

    Returns:
        The plan, on the CPU. It has no label where none has ``k_max`` positives.
    """
    positive = (labels == POSITIVE).cpu().numpy()
    enough = positive.sum(0) >= k_max
    if label_mask is not None:
        enough &= label_mask.cpu().numpy()
    chosen = np.flatnonzero(enough)
    owner = np.unique(np.asarray(patients), return_inverse=True)[1]
    draws = [[_draw(np.flatnonzero(positive[:, i]), owner, k_max, (seed, int(i))) for i in chosen] for seed in seeds]
    return SupportPlan(
        torch.from_numpy(chosen),
        torch.from_numpy(np.array(draws, dtype=np.int64).reshape(len(draws), len(chosen), k_max)),
    )


def _draw(candidates: np.ndarray, owner: np.ndarray, count: int, seed: tuple[int, int]) -> np.ndarray:
    """Draw distinct records in random order, those of new patients first."""
    order = np.random.default_rng(seed).permutation(candidates)
    is_new = np.zeros(len(order), dtype=bool)
    is_new[np.unique(owner[order], return_index=True)[1]] = True
    return np.concatenate((order[is_new], order[~is_new]))[:count]


def few_shot(
    support: Tensor,
    support_labels: Tensor,
    plan: SupportPlan,
    query: Tensor,
    query_labels: Tensor,
    classes: Tensor,
    *,
    support_patients: Patients,
    query_patients: Patients,
    ks: Sequence[int] = (1, 2, 4, 8, 16),
) -> dict[str, float]:
    """Evaluate few-shot classification on the plan's labels, which alone compete, with zero-shot itself as k = 0.

    Args:
        support: ``(R, D)`` float, ECG vectors of the support records.
        support_labels: ``(R, L)`` int8 states.
        plan: Indices into ``support``; see :meth:`SupportPlan.within_records`.
        query: ``(Q, D)`` float, ECG vectors of other patients.
        query_labels: ``(Q, L)`` int8 states.
        classes: ``(L, D)`` float, class vectors.
        support_patients: ``(R,)`` patient key of each support record.
        query_patients: ``(Q,)`` patient key of each query record.
        ks: Shots; those above the plan's ``k_max`` are left out.

    Returns:
        Flat: ``labels`` (of the plan) and, if there are any, ``<method>/k<k>/<figure>``, the mean over seeds, with
        ``_low`` and ``_high``, its 95 % t-interval over seeds (NaN for one seed; it covers the draw of the support, not
        of the queries). Methods are ``prototype``, ``linear_probe``, ``tip_adapter`` and ``tip_adapter_f``; figures
        ``top1_macro``, ``top5_macro`` and ``auroc_macro``. ``zero_shot/k0/<figure>`` has no interval.

    Raises:
        UserError: If a patient is on both sides, a support record lacks its label, or a vector is not finite.
    """
    _check_support(support_labels, plan, support_patients, query_patients)
    report = {"labels": float(len(plan.labels))}
    if len(plan.labels) == 0:
        return report
    used, indices = plan.labels.to(query.device), plan.indices.to(query.device)
    text, shown = F.normalize(classes[used].float(), dim=1), support_labels[:, used]
    query, support = F.normalize(query.float(), dim=1), F.normalize(support.float(), dim=1)
    truth = query_labels[:, used]
    for name, value in zip(FIGURES, _figures(zero_shot_scores(query, text), truth), strict=True):
        report[f"zero_shot/k0/{name}"] = value
    for k in (k for k in ks if k <= indices.shape[2]):
        shots = indices[:, :, :k]
        for method, score in METHODS.items():
            draws = [_figures(scores, truth) for scores in score(support[shots], shown[shots], text, query)]
            for name, values in zip(FIGURES, zip(*draws, strict=True), strict=True):
                key = f"{method}/k{k}/{name}"
                report[key], report[f"{key}_low"], report[f"{key}_high"] = _t_interval(values)
    return report


def _check_support(labels: Tensor, plan: SupportPlan, patients: Patients, query_patients: Patients) -> None:
    """Refuse a support that shares a patient with the queries, or whose rows are not those that were drawn."""
    shared = np.intersect1d(np.asarray(patients), np.asarray(query_patients))
    if len(shared):
        raise UserError(f"few-shot: {len(shared)} patients are both in the support and among the queries: split the data by patient")
    drawn = plan.indices.to(labels.device)
    in_range = plan.indices.numel() == 0 or int(drawn.max()) < len(labels)
    if not in_range or bool((labels[drawn, plan.labels.to(labels.device)[:, None]] != POSITIVE).any()):
        raise UserError(
            "few-shot: support records lack the label that they were drawn for: pass SupportPlan.within_records() with "
            "rows in the order of SupportPlan.records"
        )


def _figures(scores: Tensor, labels: Tensor) -> tuple[float, float, float]:
    """The values of ``FIGURES``."""
    return topk(scores, labels, 1).macro, topk(scores, labels, 5).macro, macro(auroc(scores, labels))


def _t_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and two-sided 95 % Student interval of the mean."""
    from scipy.special import stdtrit

    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, float("nan"), float("nan")
    half = float(stdtrit(len(values) - 1, 0.975) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return mean, mean - half, mean + half


def _prototype(shots: Tensor, labels: Tensor, text: Tensor, query: Tensor) -> list[Tensor]:
    """Cosine with the normalised mean of a label's support (Snell et al., arXiv 1703.05175, equation 1, on the sphere).

    Args:
        shots: ``(S, M, k, D)`` float32, of length 1.
        labels: ``(S, M, k, M)`` int8 states of these records.
        text: ``(M, D)`` float32, of length 1.
        query: ``(Q, D)`` float32, of length 1.

    Returns:
        ``(Q, M)`` scores for each seed.
    """
    return [zero_shot_scores(query, prototypes) for prototypes in shots.mean(2)]


def _linear_probe(shots: Tensor, labels: Tensor, text: Tensor, query: Tensor) -> list[Tensor]:
    """Logistic regression started from, and drawn to, the text vectors; arguments as for :func:`_prototype`.

    It minimises the cross entropy of the label that each support record was drawn for, against those not unknown for
    it, summed over records, plus ``PROBE_PRIOR / 2`` times the squared distance of the weights from the scaled text
    vectors and of the bias from 0 (L2-SP, arXiv 1802.01483, equation 3). The problem is convex, and Nesterov's method
    with the step of its Lipschitz bound needs no learning rate. The gradient is written out, because evaluation runs in
    inference mode.
    """
    seeds, ways, k, _ = shots.shape
    x = F.pad(shots.flatten(1, 2).double(), (0, 1), value=1.0)  # The bias is the weight of a constant.
    target = torch.eye(ways, dtype=x.dtype, device=x.device).repeat_interleave(k, dim=0)
    unknown = labels.flatten(1, 2) == UNKNOWN
    start = F.pad(PROBE_SCALE * text.double(), (0, 1)).expand(seeds, -1, -1)
    # Largest curvature: half the largest eigenvalue of x'x (Boehning 1992), plus that of the prior.
    step = 1 / (torch.linalg.matrix_norm(x, ord=2).square() / 2 + PROBE_PRIOR).view(-1, 1, 1)
    weights = ahead = start
    for i in range(PROBE_STEPS):
        logits = (x @ ahead.mT).masked_fill(unknown, -torch.inf)
        gradient = (logits.softmax(2) - target).mT @ x + PROBE_PRIOR * (ahead - start)
        previous, weights = weights, ahead - step * gradient
        ahead = weights + i / (i + 3) * (weights - previous)
    return [torch.cat([(block.double() @ w[:, :-1].T + w[:, -1]).float() for block in query.split(RECORDS_AT_ONCE)]) for w in weights]


def _tip_adapter(shots: Tensor, labels: Tensor, text: Tensor, query: Tensor) -> list[Tensor]:
    """Tip-Adapter without training (arXiv 2111.03930, section 3.1): zero-shot logits and a vote of similar records.

    ``100 cos(q, text) + alpha * sum over the support of a label of exp(-beta (1 - cos(q, s)))``; arguments as for
    :func:`_prototype`.
    """
    return [_cache_scores(query, keys.double(), text) for keys in shots.flatten(1, 2)]


def _tip_adapter_f(shots: Tensor, labels: Tensor, text: Tensor, query: Tensor) -> list[Tensor]:
    """Tip-Adapter whose cached keys are trained (arXiv 2111.03930, section 3.2); arguments as for :func:`_prototype`.

    The support serves as training records and as keys. Only the keys change, and as in the paper's code they are not
    brought back to length 1. Nothing is chosen by validation: rate, steps and alpha are the same everywhere.
    """
    return [
        _cache_scores(query, _tuned_keys(keys, states == UNKNOWN, text.double()), text)
        for keys, states in zip(shots.flatten(1, 2).double(), labels.flatten(1, 2), strict=True)
    ]


def _cache_scores(query: Tensor, keys: Tensor, text: Tensor) -> Tensor:
    """Logits of all queries, ``(Q, M)`` float32, in blocks; in float64 within, as in :func:`zero_shot_scores`."""
    blocks = query.split(max(1, BLOCK // len(keys)))
    return torch.cat([_cache_logits(block.double(), keys, text.double())[0].float() for block in blocks])


def _cache_logits(query: Tensor, keys: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of Tip-Adapter, ``(Q, M)``, and ``exp(-beta (1 - q . k))``, ``(Q, M k)``; keys stand label by label."""
    affinity = (query @ keys.T).sub_(1).mul_(TIP_BETA).exp_()
    votes = affinity.view(len(query), len(text), -1).sum(2)
    return TIP_SCALE * (query @ text.T) + TIP_ALPHA * votes, affinity


def _tuned_keys(support: Tensor, unknown: Tensor, text: Tensor) -> Tensor:
    """Train the keys by full-batch steps of Adam on the mean cross entropy of the label that each record was drawn for.

    With ``p`` the softmax over the labels that are not unknown for a record and ``y`` the label drawn for, the gradient of key
    ``s`` of label ``c`` is ``alpha beta mean over i of (p - y)[i, c] exp(-beta (1 - q_i . k_s)) q_i``. It is written
    out, because evaluation runs in inference mode.

    Args:
        support: ``(M k, D)`` float64, of length 1, label by label: the records, and the keys to start from.
        unknown: ``(M k, M)`` bool.
        text: ``(M, D)`` float64, of length 1.

    Returns:
        The keys, ``(M k, D)`` float64.
    """
    ways = len(text)
    k = len(support) // ways
    target = torch.eye(ways, dtype=support.dtype, device=support.device).repeat_interleave(k, dim=0)
    keys, mean, square = support.clone(), torch.zeros_like(support), torch.zeros_like(support)
    first, second = TIP_MOMENTS
    for step in range(1, TIP_STEPS + 1):
        logits, affinity = _cache_logits(support, keys, text)
        error = logits.masked_fill(unknown, -torch.inf).softmax(1) - target
        affinity.view(-1, ways, k).mul_(error.unsqueeze(2))
        gradient = TIP_ALPHA * TIP_BETA / len(support) * (affinity.T @ support)
        mean.lerp_(gradient, 1 - first)
        square.lerp_(gradient.square(), 1 - second)
        scale = (square / (1 - second**step)).sqrt_().add_(TIP_EPSILON)
        keys -= TIP_RATE / (1 - first**step) * mean / scale
    return keys


METHODS: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], list[Tensor]]] = {
    "prototype": _prototype,
    "linear_probe": _linear_probe,
    "tip_adapter": _tip_adapter,
    "tip_adapter_f": _tip_adapter_f,
}
