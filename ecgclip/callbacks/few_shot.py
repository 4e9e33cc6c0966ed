"""Few-shot evaluation by the published protocol, on the split that a run is judged on."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger

from ecgclip.callbacks.dashboard import show_few_shot
from ecgclip.callbacks.vectors import Vectors
from ecgclip.evaluation.few_shot import SupportPlan, few_shot
from ecgclip.run import add_metrics


class FewShotEvaluation(Callback):
    """Classify by k records of each label: prototypes, a linear probe from the text vectors, Tip-Adapter.

    The support records are of training patients and come as a second evaluation loader; every figure is a mean over ``seeds``
    draws, all k on the same labels (those with at least ``max(ks)`` training records).

    Args:
        ks: Records per label.
        seeds: Draws of the support.

    """

    def __init__(self, ks: list[int] | None = None, seeds: int = 5) -> None:
        self.ks, self.seeds = ks or [1, 2, 4, 8, 16], seeds
        self._plan: SupportPlan | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        closing = {"validate": "val", "test": "test"}.get(stage) == data.closing_split
        self._plan = data.support_plan(max(self.ks) if closing else 0, self.seeds)
        self._support, self._query = Vectors(), Vectors()

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._plan is not None:
            (self._query if dataloader_idx == 0 else self._support).add(batch, outputs)

    on_test_batch_end = on_validation_batch_end

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._evaluate(trainer, pl_module, "val")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._evaluate(trainer, pl_module, "test")

    def _evaluate(self, trainer: Trainer, model: Any, split: str) -> None:
        if self._plan is None:
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        with trainer.precision_plugin.forward_context():
            classes = model.label_vectors()
        support_records, support = self._support.gather()
        query_records, query = self._query.gather()
        patients = data.store.manifest["patient"].to_numpy()

        def states(records: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(data.states[records.cpu()]).to(query.device)

        report = few_shot(
            support,
            states(support_records),
            self._plan.within_records(),
            query,
            states(query_records),
            classes,
            support_patients=patients[support_records.cpu()],
            query_patients=patients[query_records.cpu()],
            ks=self.ks,
        )
        figures = {f"{split}/few_shot/{name}": value for name, value in report.items()}
        model.log_dict(figures)
        if trainer.is_global_zero:
            add_metrics(Path(trainer.default_root_dir), figures)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger) and trainer.is_global_zero:
                show_few_shot(logger, split, report, self.ks)
