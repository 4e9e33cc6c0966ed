"""What an evaluation does to ECGs to see how a model bears it: fewer leads, another rate, shorter, noisier.

A change takes a batch on its device (``ecg (B, 12, T)`` mV, ``lead_mask (B, 12)``, ``record (B,)``, ``sampling_rate``) and returns it
changed. Noise and gain are a function of the record alone, so that every model meets the same disturbance.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from ecgclip.signals.augment import Augmentation, resample
from ecgclip.signals.leads import LEADS

Change = Callable[[dict[str, Any]], dict[str, Any]]

# As the PhysioNet/CinC Challenge 2021 asked for (doi:10.1088/1361-6579/ac79fd); one lead is what a watch records.
LEAD_SETS: Mapping[int, tuple[str, ...]] = {
    12: LEADS,
    6: ("I", "II", "III", "aVR", "aVL", "aVF"),
    3: ("I", "II", "V2"),
    2: ("I", "II"),
    1: ("I",),
}


def keep_leads(leads: Sequence[str]) -> Change:
    """Return the change that leaves some leads: the others are zeros, and are marked as missing."""

    def change(batch: dict[str, Any]) -> dict[str, Any]:
        kept = torch.tensor([lead in leads for lead in LEADS], device=batch["ecg"].device)
        return batch | {"ecg": batch["ecg"] * kept[:, None], "lead_mask": batch["lead_mask"] & kept}

    return change


def at_rate(rate: float) -> Change:
    """Return the change that resamples to a rate in Hz."""

    def change(batch: dict[str, Any]) -> dict[str, Any]:
        return batch | {"ecg": resample(batch["ecg"], batch["sampling_rate"], rate), "sampling_rate": rate}

    return change


def first_seconds(seconds: float) -> Change:
    """Return the change that cuts an ECG off."""

    def change(batch: dict[str, Any]) -> dict[str, Any]:
        return batch | {"ecg": batch["ecg"][:, :, : round(seconds * batch["sampling_rate"])]}

    return change


def disturbed(**disturbance: float) -> Change:
    """Return the change by one disturbance of :class:`ecgclip.signals.augment.Augmentation`, the others left out."""
    augmentation = Augmentation(**({"gain": 0.0, "noise_mv": 0.0, "wander_mv": 0.0, "lead_dropout": 0.0} | disturbance))

    def change(batch: dict[str, Any]) -> dict[str, Any]:
        ecg, mask = augmentation(batch["ecg"], batch["lead_mask"], batch["record"], batch["sampling_rate"], seed=0, epoch=0)
        return batch | {"ecg": ecg, "lead_mask": mask}

    return change


DRIFTS: Mapping[str, Change] = {
    "rate50": at_rate(50.0),
    "rate250": at_rate(250.0),
    "seconds5": first_seconds(5.0),
    "noise": disturbed(noise_mv=0.1),
    "wander": disturbed(wander_mv=0.5),
    "gain": disturbed(gain=0.1),
}
