"""Contrastive losses between ECGs and texts, by name, exact when the batch is spread over processes."""

from torch import nn

from ecgclip.losses.pairs import Pairs, gather_pairs, gather_rows
from ecgclip.losses.sigmoid import JaccardSigLIP, LabelPrompt, SigLIP
from ecgclip.losses.softmax import InfoNCE, MultiPositive, SoftTargets
from ecgclip.losses.unimodal import nt_xent

LOSSES: dict[str, type[nn.Module]] = {
    "infonce": InfoNCE,
    "multi_positive": MultiPositive,
    "soft": SoftTargets,
    "siglip": SigLIP,
    "jaccard_siglip": JaccardSigLIP,
    "label_prompt": LabelPrompt,
}

__all__ = [
    "LOSSES",
    "InfoNCE",
    "JaccardSigLIP",
    "LabelPrompt",
    "MultiPositive",
    "Pairs",
    "SigLIP",
    "SoftTargets",
    "gather_pairs",
    "gather_rows",
    "nt_xent",
]
