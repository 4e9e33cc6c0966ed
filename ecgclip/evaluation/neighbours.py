"""Classification by the nearest training records: what the space of ECG vectors knows without any fitting."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ecgclip.errors import UserError
from ecgclip.evaluation.metrics import finite_scores
from ecgclip.labels import POSITIVE, UNKNOWN

BLOCK = 2**22  # Elements of a (queries, training records) block of cosines.


def knn_scores(train: Tensor, train_labels: Tensor, query: Tensor, k: int = 20, temperature: float = 0.07) -> Tensor:
    """Score each label by a vote of the nearest training records, weighted by similarity.

    A neighbour with cosine ``s`` votes with ``exp(s / temperature)`` (Wu et al., arXiv 1805.01978, section 3.4). The score
    is the positive share of the votes of those neighbours for which the label is known. Of neighbours with equal cosines
    at the k-th place it is not defined which are taken.

    Args:
        train: ``(N, D)`` float, ECG vectors of any length.
        train_labels: ``(N, L)`` int8 states.
        query: ``(Q, D)`` float, ECG vectors of other patients.
        k: Neighbours; all where there are fewer.
        temperature: Of the votes, above 0; infinite for votes of equal weight.

    Returns:
        ``(Q, L)`` float32 in [0, 1]. Where the label is unknown for every neighbour, its share among the training records
        where it is known; 0 without any.

    Raises:
        UserError: If a vector is not finite, there is no training record, or ``k`` or the temperature is not above 0.
    """
    if len(train) == 0 or k < 1 or not temperature > 0:
        raise UserError("nearest neighbours: give at least one training record, k of at least 1, and a temperature above 0")
    # Float64, as for zero-shot scores: neither autocast nor TF32 may change who the neighbours are.
    keys = F.normalize(finite_scores(train).double(), dim=1).T
    positive, known = (train_labels == POSITIVE).sum(0), (train_labels != UNKNOWN).sum(0)
    prior = positive.double() / known.clamp(min=1)
    height = max(1, BLOCK // max(len(train), min(k, len(train)) * train_labels.shape[1]))
    scores = []
    for block in finite_scores(query).split(height):
        nearest = (F.normalize(block.double(), dim=1) @ keys).topk(min(k, len(train)), dim=1)
        # The nearest one has a vote of 1, so that a low temperature does not overflow.
        votes = ((nearest.values - nearest.values[:, :1]) / temperature).exp().unsqueeze(1)
        states = train_labels[nearest.indices]
        share, total = (torch.bmm(votes, side.double()).squeeze(1) for side in (states == POSITIVE, states != UNKNOWN))
        scores.append(torch.where(total > 0, share / total, prior).float())
    return torch.cat(scores) if scores else prior.new_zeros(0, len(prior), dtype=torch.float32)
