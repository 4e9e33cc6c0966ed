"""Zero-shot evaluation by the published protocol: while a model trains, and in full when it is done."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from ecgclip.callbacks.vectors import Vectors
from ecgclip.evaluation import PROTOCOL
from ecgclip.evaluation.baselines import prevalence_scores
from ecgclip.evaluation.intervals import zero_shot_intervals
from ecgclip.evaluation.ptbxl_groups import class_report, statement_sets
from ecgclip.evaluation.thresholds import best_f1_thresholds
from ecgclip.evaluation.zero_shot import label_sets, per_label_table, zero_shot_report, zero_shot_scores
from ecgclip.labels import POSITIVE
from ecgclip.run import add_metrics
from ecgclip.scores import SavedScores, save_scores
from ecgclip.signals import LEADS

BASELINE_SEED = 0  # Of the random tower: the same baseline for every run of a tower.
PICTURES = "pictures"
PER_LABEL = "per_label.csv"


class ZeroShotEvaluation(Callback):
    """Score every record against the Japanese prompts of every label.

    In training the figures of each validation go to the loggers. In ``validate`` and ``test``, and so at the end of a training,
    intervals, a table per label, baselines, example pages and the scores themselves come with them, all in the run folder. The label
    vectors and the ECG vectors are made on the trainer's device in its precision, gathered from all processes; each process computes
    the same figures.

    Args:
        replicates: Of the patient-level bootstrap.
        examples: ECG pages to draw, of different labels.

    """

    def __init__(self, replicates: int = 1000, examples: int = 6) -> None:
        self.replicates, self.examples = replicates, examples
        self.thresholds: dict[str, float] = {}
        self._vectors, self._random_vectors = Vectors(), Vectors()
        self._random: torch.nn.Module | None = None

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if dataloader_idx == 0:
            self._vectors.add(batch, outputs)
            if self._random is not None:
                with trainer.precision_plugin.forward_context():
                    random = self._random.read(batch["ecg"], batch["lead_mask"], batch["sampling_rate"])  # type: ignore[operator]
                self._random_vectors.add(batch, random)

    on_test_batch_end = on_validation_batch_end

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Anew: an evaluation that was broken off, or Lightning's sanity check, leaves vectors of another model behind.
        self._vectors, self._random_vectors, self._random = Vectors(), Vectors(), None
        if trainer.state.fn != TrainerFn.FITTING:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(BASELINE_SEED)
                self._random = pl_module.new_ecg_encoder().to(pl_module.device).eval()  # type: ignore[operator]

    on_test_epoch_start = on_validation_epoch_start

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._evaluate(trainer, pl_module, "val")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._evaluate(trainer, pl_module, "test")

    def _evaluate(self, trainer: Trainer, model: Any, split: str) -> None:
        if trainer.sanity_checking:
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        records, vectors = self._vectors.gather()
        with trainer.precision_plugin.forward_context():
            classes = model.label_vectors()
        scores = zero_shot_scores(vectors, classes)
        labels = torch.from_numpy(data.states[records.cpu()]).to(scores.device)
        sets = label_sets(
            labels,
            data.labels.ids,
            ptbxl71=[label.id for label in data.labels if "scp" in label.codes],
            visible=[label.id for label in data.labels if label.visible],
            withheld=data.withheld,
            train_positives=torch.from_numpy(data.train_counts),
            others=statement_sets(data.labels.ids),
        )
        figures = {f"{split}/zero_shot/{name}": value for name, value in zero_shot_report(scores, labels, sets).items()}
        if trainer.state.fn == TrainerFn.FITTING:
            model.log_dict(figures)
            model.log("val/auroc", figures["val/zero_shot/all/auroc_macro"], prog_bar=True, logger=False)
            return
        prior = torch.from_numpy(data.train_counts).to(scores.device).clamp(min=0.5) / max(1, len(data.rows["train"]))
        figures |= self._close(trainer, data, split, records, scores, labels, sets, classes, model.logits(scores, prior))
        model.log_dict(figures)
        if trainer.is_global_zero:
            add_metrics(Path(trainer.default_root_dir), figures)

    def _close(
        self,
        trainer: Trainer,
        data: Any,
        split: str,
        records: Tensor,
        scores: Tensor,
        labels: Tensor,
        sets: dict[str, Tensor],
        classes: Tensor,
        logits: Tensor,
    ) -> dict[str, float]:
        """Add what only the last evaluation needs: baselines, intervals, thresholds, tables and pictures."""
        patients = data.store.manifest["patient"].to_numpy()[records.cpu()]
        if split == "val":
            fitted = best_f1_thresholds(scores, labels).tolist()
            self.thresholds = {label.id: value for label, value in zip(data.labels, fitted, strict=True) if value == value}
        _, random = self._random_vectors.gather()
        baselines = {
            "random_tower": zero_shot_scores(random, classes),
            "prevalence": prevalence_scores(torch.from_numpy(data.train_counts).to(scores.device), len(scores)),
        }
        figures = {f"data/{name}/records": float(len(rows)) for name, rows in data.rows.items()}
        figures["protocol/version"] = float(PROTOCOL)
        for name, against in baselines.items():
            figures |= {f"{split}/{name}/{key}": value for key, value in zero_shot_report(against, labels, sets).items()}
        intervals = zero_shot_intervals(scores, labels, patients, sets, replicates=self.replicates)
        classes_of_ptbxl = class_report(logits, labels, patients, data.labels.ids, replicates=self.replicates)
        figures |= {f"{split}/zero_shot/{name}": value for name, value in (intervals.report | classes_of_ptbxl).items()}
        if trainer.is_global_zero:
            folder = Path(trainer.default_root_dir)
            save_scores(folder, split, _to_keep(data, records, scores, labels))
            table = per_label_table(data.labels, scores, labels, intervals.auroc)
            write_per_label(folder / (PER_LABEL if split == data.closing_split else f"{split}_{PER_LABEL}"), table)
            pages = self._draw(folder / PICTURES, data, split, records, scores, labels)
            _to_wandb(trainer, split, table, pages)
        return figures

    def _draw(self, folder: Path, data: Any, split: str, records: Tensor, scores: Tensor, labels: Tensor) -> list[Path]:
        """Draw one record for each of the first labels that have one, the rarest finding of a record first."""
        from ecgclip.signals.plot import plot_ecg

        names = [label.ja for label in data.labels]
        positive = labels.cpu() == POSITIVE
        count = positive.sum(0)
        present = [int(i) for i in count.argsort() if count[i] > 0]
        step = max(1, len(present) // max(1, self.examples))
        chosen: list[int] = []
        for label in present[::step][: self.examples]:
            candidates = [int(i) for i in positive[:, label].nonzero().flatten() if int(i) not in chosen]
            chosen += candidates[:1]
        pages = []
        for row in chosen:
            record = int(records[row])
            signal = data.store.read(records[row : row + 1].cpu().numpy())[0] * 1e-3
            best = scores[row].topk(min(5, scores.shape[1]))
            findings = [(names[int(i)], float(value)) for value, i in zip(*best, strict=True)]
            known = "、".join(names[int(i)] for i in positive[row].nonzero().flatten())
            name = f"{split}_{data.store.manifest['id'].iloc[record]}"
            pages.append(
                plot_ecg(
                    signal,
                    data.sampling_rate,
                    title=f"{name}  ラベル: {known}",
                    findings=findings,
                    path=folder / f"{name}.png",
                    lead_mask=[lead not in data.store.manifest["missing_leads"].iloc[record] for lead in LEADS],
                )
            )
        return pages


def _to_keep(data: Any, records: Tensor, scores: Tensor, labels: Tensor) -> SavedScores:
    rows = records.cpu().numpy()
    manifest = data.store.manifest
    _, patients = np.unique(manifest["patient"].to_numpy()[rows], return_inverse=True)
    return SavedScores(
        scores=scores.cpu().numpy().astype(np.float32),
        labels=labels.cpu().numpy(),
        records=manifest["id"].to_numpy()[rows].astype(str),
        patients=patients.astype(np.int32),
        ids=np.array(data.labels.ids),
    )


def write_per_label(path: Path, table: list[dict[str, Any]]) -> None:
    """Write the table of labels as CSV, with a mark that makes a spreadsheet read its Japanese."""
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows({name: "" if value != value else value for name, value in row.items()} for row in table)


def _to_wandb(trainer: Trainer, split: str, table: list[dict[str, Any]], pages: list[Path]) -> None:
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.log_table(f"{split}/per_label", columns=list(table[0]), data=[list(row.values()) for row in table])
            if pages:
                logger.log_image(f"{split}/examples", [str(page) for page in pages])
