"""What training takes: time, how much of it is waiting for data, memory, and the parameters trained."""

import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from ecgclip.run import add_metrics

WARM_UP = 5  # Steps at the start of an epoch that say more about the machine's caches than about training.


class Timing(Callback):
    """Measure training, and write ``time/train_seconds``, ``time/epochs``, ``time/records_per_second`` and ``time/loading_share``.

    With them come ``time/peak_memory_mb``, ``model/parameters`` and, of the ECG encoder among them, ``model/ecg_parameters``.
    ``loading_share`` is the share of a training step that passes before the next batch lies on the device ready for the towers:
    reading, captions, moving, and crop and augmentation with them. ``train_seconds`` counts the validations between the epochs.
    """

    def __init__(self) -> None:
        self.seconds = self.loading = self.stepping = 0.0
        self.records = self.epochs = 0
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
        self.epochs += 1

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            size = {"model/parameters": parameters(pl_module), "model/ecg_parameters": sum(map(parameters, pl_module.encoders))}  # type: ignore[arg-type]
            memory = {"time/peak_memory_mb": peak_memory(pl_module.device) / 1e6}
            add_metrics(Path(trainer.default_root_dir), self.figures() | size | memory)

    def figures(self) -> dict[str, float]:
        """Return the figures so far."""
        return {
            "time/train_seconds": self.seconds,
            "time/epochs": float(self.epochs),
            "time/records_per_second": self.records / max(self.stepping, 1e-9),
            "time/loading_share": self.loading / max(self.stepping, 1e-9),
        }

    def state_dict(self) -> dict[str, float]:
        names = ("seconds", "loading", "stepping", "records", "epochs")
        return {name: float(getattr(self, name)) for name in names}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self.seconds, self.loading, self.stepping = state_dict["seconds"], state_dict["loading"], state_dict["stepping"]
        self.records, self.epochs = int(state_dict["records"]), int(state_dict["epochs"])


def parameters(module: torch.nn.Module) -> float:
    """Return how many parameters a module holds, trained and frozen."""
    return float(sum(parameter.numel() for parameter in module.parameters()))


def peak_memory(device: torch.device) -> float:
    """Return the most bytes held so far: of the GPU where the model is on one, else of this process."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    status = Path("/proc/self/status")
    if status.is_file():  # Unlike getrusage, this does not count the process that started this one.
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return float(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
