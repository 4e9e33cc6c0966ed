"""Averaged weights: what is evaluated and kept is the mean over the last steps, not the last step."""

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class AveragedWeights(WeightAveraging):
    """Exponential moving average of the weights, whose memory grows with the training.

    With the weights ``w`` of update ``n``, the average becomes ``a + (1 - d_n) (w - a)``, ``d_n = min(decay, (1 + n) / (10 + n))``: in a
    short training the untrained weights of its beginning would otherwise stay in it. Validation, checkpoints and the artefact
    have the average; a resumption goes on with both.

    Args:
        decay: Where ``d_n`` ends; 0.998 remembers about 500 steps.

    """

    def __init__(self, decay: float = 0.998) -> None:
        def average(averaged: Tensor, current: Tensor, updates: Tensor | int) -> Tensor:
            now = min(decay, (1 + int(updates)) / (10 + int(updates)))
            # What counts, such as batch norm's batches, has no average.
            return torch.lerp(averaged, current, 1 - now) if averaged.is_floating_point() else current

        super().__init__(avg_fn=average)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Not yet: callbacks that read the texts at the end of an epoch need the average too, wherever they stand in the list."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_validation_epoch_end(trainer, pl_module)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # From here on a checkpoint's own weights count, which are the average, and Lightning would swap them for the last step's.
        self._average_model = None

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self._average_model is not None:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)
