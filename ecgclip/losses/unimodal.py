"""The term between ECGs alone: two views of one ECG belong together."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ecgclip.losses.pairs import gather_rows


def nt_xent(first: Tensor, second: Tensor, temperature: float = 0.1) -> Tensor:
    """Return the normalised, temperature-scaled cross entropy of SimCLR (arXiv 2002.05709, equation 1).

    ``l(i, j) = -log(exp(cos_ij / t) / sum over k other than i of exp(cos_ik / t))``, averaged over all ``2 B`` views ``i``, with ``j``
    the other view of the same ECG. MERL's unimodal alignment (arXiv 2403.06659) is this with two dropout masks as the views.

    Args:
        first: ``(B, D)`` float, one view of each ECG of this process, of any length.
        second: ``(B, D)``, the other one.
        temperature: t.

    Returns:
        A scalar in float32, over the batch of all processes and equal in each.

    """
    with torch.autocast(first.device.type, enabled=False):
        views = F.normalize(torch.cat((gather_rows(first.float()), gather_rows(second.float()))), dim=1)
        number = torch.arange(len(views), device=views.device)
        itself = number.unsqueeze(1) == number
        logits = (views @ views.T / temperature).masked_fill(itself, -torch.inf)
        return F.cross_entropy(logits, number.roll(len(views) // 2))
