"""How long training takes, and how much of it is waiting for data."""

import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from ecgclip.run import add_metrics

WARM_UP = 5  # Steps at the start of an epoch that say more about the machine's caches than about training.


class Timing(Callback):
    """Measure training, and write ``time/train_seconds``, ``time/records_per_second`` and ``time/loading_share``.

    ``loading_share`` is the share of a training step that passes before the next batch lies on the device ready for the towers:
    reading, captions, moving, and crop and augmentation with them. ``train_seconds`` counts the validations between the epochs.
    """

    def __init__(self) -> None:
        self.seconds = self.loading = self.stepping = 0.0
        self.records = 0
        self._epoch_start = self._batch_end = self._batch_start = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._epoch_start = self._batch_end = time.perf_counter()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._batch_start = time.perf_counter()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        now = time.perf_counter()
        if batch_idx >= WARM_UP:
            self.loading += self._batch_start - self._batch_end
            self.stepping += now - self._batch_end
            self.records += len(batch["record"]) * trainer.world_size
        self._batch_end = now

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seconds += time.perf_counter() - self._epoch_start

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            add_metrics(Path(trainer.default_root_dir), self.figures())

    def figures(self) -> dict[str, float]:
        """Return the figures so far."""
        return {
            "time/train_seconds": self.seconds,
            "time/records_per_second": self.records / max(self.stepping, 1e-9),
            "time/loading_share": self.loading / max(self.stepping, 1e-9),
        }

    def state_dict(self) -> dict[str, float]:
        return {"seconds": self.seconds, "loading": self.loading, "stepping": self.stepping, "records": self.records}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self.seconds, self.loading, self.stepping = state_dict["seconds"], state_dict["loading"], state_dict["stepping"]
        self.records = int(state_dict["records"])
