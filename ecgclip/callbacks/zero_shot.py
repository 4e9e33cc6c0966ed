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

from ecgclip.callbacks.dashboard import show_evaluation
from ecgclip.callbacks.examples import draw_examples
from ecgclip.callbacks.vectors import Vectors
from ecgclip.errors import UserError
from ecgclip.evaluation import PROTOCOL
from ecgclip.evaluation.baselines import prevalence_scores
from ecgclip.evaluation.full import FullEvaluation, Scored, embedding_map, full_evaluation, text_similarity
from ecgclip.evaluation.ptbxl_groups import statement_sets
from ecgclip.evaluation.subgroups import age_bands
from ecgclip.evaluation.zero_shot import label_sets, zero_shot_report, zero_shot_scores
from ecgclip.run import add_metrics
from ecgclip.scores import SavedScores, load_scores, save_evaluation, save_scores

BASELINE_SEED = 0  # Of the random tower: the same baseline for every run of a tower.
PER_LABEL = "per_label.csv"


class ZeroShotEvaluation(Callback):
    """Score every record against the Japanese prompts of every label.

    In training the figures of each validation go to the loggers. In ``validate`` and ``test``, and so at the end of a training, all of
    :func:`ecgclip.evaluation.full.full_evaluation`, baselines, example pages and the scores themselves come with them, in the run
    folder. The label vectors and the ECG vectors are made on the trainer's device in its precision, gathered from all processes; each
    process computes the same figures.

    Args:
        replicates: Of the patient-level bootstrap.
        examples: ECG pages to draw of different labels, of the split that the run is judged on; up to three of the best and three of
            the worst read records come with them.

    """

    def __init__(self, replicates: int = 1000, examples: int = 6) -> None:
        self.replicates, self.examples = replicates, examples
        # Fitted on validation, for the artefact: of each label the cosine from which it is called, and what makes it a probability.
        self.thresholds: dict[str, float] = {}
        self.calibration: dict[str, tuple[float, float]] = {}
        # Where the data are others than the run's own: its folder, whose validation records are what is fitted on.
        self.fitted_in: Path | None = None
        self._val: Scored | None = None  # In memory, because only the first process of a training knows its folder.
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
        sets = sets_of(data, labels)
        figures = {f"{split}/zero_shot/{name}": value for name, value in zero_shot_report(scores, labels, sets).items()}
        if trainer.state.fn == TrainerFn.FITTING:
            model.log_dict(figures)
            model.log("val/auroc", figures["val/zero_shot/all/auroc_macro"], prog_bar=True, logger=False)
            return
        prior = torch.from_numpy(data.prior).to(scores.device)
        patients = data.store.manifest["patient"].to_numpy()[records.cpu()]
        scored = Scored(scores, model.logits(scores, prior), labels, patients)
        figures |= self._baselines(data, split, labels, sets, classes)
        evaluation = full_evaluation(
            scored,
            data.labels,
            sets,
            fitted_on=self._validation(trainer, model, data, split, prior),
            train_positives=torch.from_numpy(data.train_counts).to(scores.device),
            groups=record_groups(data.store.manifest.iloc[records.cpu().numpy()]),
            replicates=self.replicates,
        )
        figures |= {f"{split}/{name}": value for name, value in evaluation.figures.items()}
        model.log_dict(figures)
        if split == "val" and self.fitted_in is None:
            self._val = scored
            fitted = zip(data.labels.ids, evaluation.thresholds.tolist(), *(c.tolist() for c in evaluation.calibration), strict=True)
            for name, threshold, *line in fitted:
                if threshold == threshold:
                    self.thresholds[name] = threshold
                if line[0] == line[0]:
                    self.calibration[name] = (line[0], line[1])
        if trainer.is_global_zero:
            add_metrics(Path(trainer.default_root_dir), figures)
            self._write(trainer, data, split, records, scored, vectors, classes, evaluation)

    def _baselines(self, data: Any, split: str, labels: Tensor, sets: dict[str, Tensor], classes: Tensor) -> dict[str, float]:
        """Figures of an untrained tower and of label frequency, and how many records there are."""
        _, random = self._random_vectors.gather()
        baselines = {
            "random_tower": zero_shot_scores(random, classes),
            "prevalence": prevalence_scores(torch.from_numpy(data.train_counts).to(labels.device), len(labels)),
        }
        figures = {f"data/{name}/records": float(len(rows)) for name, rows in data.rows.items()}
        figures["protocol/version"] = float(PROTOCOL)
        for name, against in baselines.items():
            figures |= {f"{split}/{name}/{key}": value for key, value in zero_shot_report(against, labels, sets).items()}
        return figures

    def _validation(self, trainer: Trainer, model: Any, data: Any, split: str, prior: Tensor) -> Scored | None:
        """Return the run's own validation records, which thresholds and calibration are fitted on; None where they are what is judged."""
        if self.fitted_in is None and (split == "val" or self._val is not None):
            return None if split == "val" else self._val
        own = self.fitted_in or Path(trainer.default_root_dir)
        saved = load_scores(own, "val")
        if list(saved.ids) != list(data.labels.ids):
            raise UserError(f"the scores in {own.name} are of another label catalogue than these data: evaluate on data with the run's own")
        scores = torch.from_numpy(saved.scores).to(prior.device)
        return Scored(scores, model.logits(scores, prior), torch.from_numpy(saved.labels).to(prior.device), saved.patients)

    def _write(
        self,
        trainer: Trainer,
        data: Any,
        split: str,
        records: Tensor,
        scored: Scored,
        vectors: Tensor,
        classes: Tensor,
        evaluation: FullEvaluation,
    ) -> None:
        """Leave tables, scores and pictures in the folder of results, and on the dashboard."""
        folder = Path(trainer.default_root_dir)
        save_scores(folder, split, _to_keep(data, records, scored.scores, scored.labels))
        write_per_label(folder / (PER_LABEL if split == data.closing_split else f"{split}_{PER_LABEL}"), evaluation.rows)
        drawn = self.examples if split == data.closing_split else 0  # Nobody looks at pages of the other split, and they take seconds.
        examples = draw_examples(folder, data, split, records, scored.scores, scored.labels, count=drawn)
        detail = evaluation.detail | {
            "split": split,
            "data": data.name,
            "similarity": text_similarity(classes),
            "map": embedding_map(vectors, scored.labels, data.labels.ids),
            "examples": examples,
        }
        for row in detail["labels"]:
            row["unseen"] = row["id"] in data.withheld
        save_evaluation(folder, split, detail)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                show_evaluation(logger, split, detail, folder)


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


def sets_of(data: Any, labels: Tensor) -> dict[str, Tensor]:
    """Return the sets of labels that records of a data module are reported on.

    Args:
        data: The data module, set up.
        labels: ``(N, L)`` int8 states of the records.
    """
    return label_sets(
        labels,
        data.labels.ids,
        ptbxl71=[label.id for label in data.labels if "scp" in label.codes],
        visible=[label.id for label in data.labels if label.visible],
        withheld=data.withheld,
        train_positives=torch.from_numpy(data.train_counts),
        others=statement_sets(data.labels.ids),
    )


def record_groups(manifest: Any) -> dict[str, np.ndarray]:
    """Return the groups that records of a manifest fall into: by sex, age, device and site, as far as they are known."""
    groups = {name: manifest[name].fillna("").to_numpy().astype(str) for name in ("sex", "device", "site")}
    groups["age"] = age_bands(manifest["age"].to_numpy(dtype=float, na_value=np.nan))
    return {name: values for name, values in groups.items() if (values != "").any()}


def write_per_label(path: Path, table: list[dict[str, Any]]) -> None:
    """Write the table of labels as CSV, with a mark that makes a spreadsheet read its Japanese."""
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows({name: "" if value != value else value for name, value in row.items()} for row in table)
