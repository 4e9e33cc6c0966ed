"""``ecgclip evaluate RUN``: every protocol on a trained run, on its own data or on others, into the run's folder."""

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ecgclip.callbacks import FewShotEvaluation, ZeroShotEvaluation
from ecgclip.callbacks.vectors import Vectors
from ecgclip.callbacks.zero_shot import BASELINE_SEED, sets_of
from ecgclip.errors import UserError
from ecgclip.evaluation.agreement import agreement
from ecgclip.evaluation.changes import DRIFTS, LEAD_SETS, keep_leads
from ecgclip.evaluation.full import plain
from ecgclip.evaluation.linear_probe import linear_probe, patient_share
from ecgclip.evaluation.metrics import macro
from ecgclip.evaluation.neighbours import knn_scores
from ecgclip.evaluation.prompts import PROMPT_SETS, leaks, prompts_of
from ecgclip.evaluation.retrieval import retrieval_figures
from ecgclip.evaluation.tasks import named_tasks, scored_classes, task_report
from ecgclip.evaluation.zero_shot import zero_shot_report, zero_shot_scores
from ecgclip.experiment import ExperimentCLI, run_experiment
from ecgclip.labels import POSITIVE, UNKNOWN
from ecgclip.labels.second_reader import read_second
from ecgclip.naming import unknown
from ecgclip.run import CONFIG, add_metrics
from ecgclip.scores import read_evaluation, tasks_file, write_json
from ecgclip.tables import write_table

PROTOCOLS = {
    "zero_shot": "all labels by their Japanese prompts, with intervals, decisions, calibration, subgroups and baselines",
    "few_shot": "k records of each label: prototypes, linear probe, Tip-Adapter, Tip-Adapter-F",
    "prompts": "other sets of prompts: one name, synonyms, English, mixed",
    "linear_probe": "logistic regression on the vectors of 1, 10 and 100 % of the training patients, and on those of an untrained tower",
    "knn": "a vote of the 20 nearest training records",
    "retrieval": "findings by ECG and ECG by findings",
    "leads": "with 6, 3, 2 leads and 1 lead left",
    "drift": "at other sampling rates, shorter, noisier, with another gain",
    "readers": "agreement of the labels with a second reader's, and of the model with both (needs --second_reader)",
}
SHARES = (1, 10, 100)  # Percent of the training patients.
REPORTED = ("all", "n10", "ptbxl71", "seen", "unseen")  # Sets of labels that further protocols are reported on.
TEXTS_AT_ONCE = 256
BEST = "checkpoints/best.ckpt"
READERS = "readers.csv"


def evaluate_command(arguments: list[str]) -> None:
    """``evaluate RUN [--tasks ...] [--split val|test] [options of validate]``."""
    names = [*PROTOCOLS, *named_tasks()]
    listed = "\n".join(f"  {name:14} {what}" for name, what in PROTOCOLS.items())
    published = "\n".join(f"  {task.name:14} {task.en} ({', '.join(task.data)})" for task in named_tasks().values())
    parser = argparse.ArgumentParser(
        prog="ecgclip evaluate",
        description="Evaluate a trained run by every protocol, or by those that are named.",
        epilog=f"tasks:\n{listed}\n\ntasks of other papers, run where the data are theirs:\n{published}\n\nWhat else is given goes to the "
        "experiment: --config experiments/data/cpsc2018.yaml --data.root=DIR evaluates on other data, into a folder of the run.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("run", type=Path, help="folder of a finished run: runs/EXPERIMENT/TIME")
    parser.add_argument("--tasks", nargs="+", metavar="TASK", help="what to run (all that fit the data)")
    parser.add_argument(
        "--second_reader",
        type=Path,
        metavar="TABLE",
        help="CSV with a row per record that was read again: id (as predictions.csv has it), labels (ids or Japanese names)",
    )
    parser.add_argument("--split", choices=("val", "test"), help="what to judge on (test; val where there are no test records)")
    options, rest = parser.parse_known_args(arguments)
    for name in options.tasks or []:
        if name not in names:
            raise unknown("task", name, names)
    checkpoint = _checkpoint(options.run)
    if "readers" in (options.tasks or []) and options.second_reader is None:
        raise UserError("readers: what the second reader found is not given: add --second_reader TABLE.csv")
    cli = partial(EvaluateCLI, tasks=options.tasks, split=options.split, second_reader=options.second_reader)
    run_experiment("validate", ["--config", str(options.run / CONFIG), *rest, "--ckpt_path", str(checkpoint)], cli)


def _checkpoint(run: Path) -> Path:
    """Return the best checkpoint of a run.

    Raises:
        UserError: When the folder is no run, or the run was not finished.
    """
    if not (run / CONFIG).is_file():
        raise UserError(f"{run} is no run folder (it has no {CONFIG}): give runs/EXPERIMENT/TIME, as a training names it")
    if not (run / BEST).is_file():
        last = run / "checkpoints" / "last.ckpt"
        remedy = f"go on with it: ecgclip fit --ckpt_path {last}" if last.is_file() else "train again"
        raise UserError(f"{run} was not finished (it has no {BEST}): {remedy}")
    return run / BEST


class EvaluateCLI(ExperimentCLI):
    """An evaluation by many protocols.

    Args:
        tasks: Names of protocols and tasks; None for all that fit the data.
        split: ``val`` or ``test``; None for the one that the run is judged on.
        second_reader: Table of what a second reader found, if any.
        args: Of the CLI.
        kwargs: Of the CLI.
    """

    def __init__(self, *args: Any, tasks: Sequence[str] | None, split: str | None, second_reader: Path | None, **kwargs: Any) -> None:
        self.tasks, self.split, self.second_reader = tasks, split, second_reader
        super().__init__(*args, **kwargs)

    def validate(self, **kwargs: Any) -> None:
        """Run the protocols one after the other; what is done is written at once."""
        data: Any = self.datamodule
        data.prepare_data()
        data.setup("validate")
        split = self.split or data.closing_split
        if not len(data.rows[split]):
            raise UserError(f"there are no {split} records here: give the data that have them, or another --split")
        wanted = self.tasks or [*PROTOCOLS, *(task.name for task in named_tasks().values() if data.name in task.data)]
        self._run_callbacks(split, wanted)
        judge = Judge(self.trainer, self.model, data, split, self.results, self.second_reader)
        for name in wanted:
            if name not in ("zero_shot", "few_shot") and (name != "readers" or self.second_reader):
                self._run_task(judge, name)
        self._print_results(split)
        if self.trainer.is_global_zero:
            print(f"  a page of it all: ecgclip report {self.results}")

    def _run_callbacks(self, split: str, wanted: Sequence[str]) -> None:
        """Run what a training ends with. Validation comes first: thresholds and calibration are fitted there."""
        kinds = {"zero_shot": ZeroShotEvaluation, "few_shot": FewShotEvaluation}
        left_out = tuple(kind for name, kind in kinds.items() if name not in wanted)
        callbacks = self.trainer.callbacks  # type: ignore[attr-defined]
        self.trainer.callbacks = [one for one in callbacks if not isinstance(one, left_out)]  # type: ignore[attr-defined]
        if len(left_out) < len(kinds):
            self.trainer.validate(self.model, datamodule=self.datamodule, verbose=False)
            if split == "test":
                self.trainer.test(self.model, datamodule=self.datamodule, verbose=False)

    def _run_task(self, judge: "Judge", name: str) -> None:
        start = time.perf_counter()
        try:
            figures = PROTOCOL_FIGURES[name](judge) if name in PROTOCOL_FIGURES else judge.named_task(name)
        except UserError as error:
            if self.tasks:  # Somebody asked for it by name.
                raise
            judge.say(f"{name}: left out: {error}")
            return
        if self.trainer.is_global_zero:
            add_metrics(self.results, {f"{judge.split}/{key}": value for key, value in figures.items()})
        judge.say(f"{name}: {time.perf_counter() - start:.0f} s{_headline(figures)}")


def _headline(figures: dict[str, float]) -> str:
    """Return the first macro AUROC among figures, for the terminal."""
    found = next(((key, value) for key, value in figures.items() if key.endswith("auroc_macro")), None)
    return "" if found is None else f", {found[0]} {found[1]:.3f}"


class Judge:
    """A trained model, the records it is judged on, and what several protocols need of them.

    Args:
        trainer: Reads ECGs on its device, in its precision, on all its processes.
        model: Trained.
        data: The data module, set up.
        split: ``val`` or ``test``.
        folder: Of results.
        second_reader: Table of what a second reader found, if any.
    """

    def __init__(self, trainer: Any, model: Any, data: Any, split: str, folder: Path, second_reader: Path | None = None) -> None:
        # Lightning puts a model back into the mode that it found, and texts are read between its loops: without dropout.
        self.trainer, self.model, self.data, self.split, self.folder = trainer, model.eval(), data, split, folder
        self.second_reader = second_reader
        self.rows = data.rows[split]
        self.labels = self.states(self.rows)
        self.patients = data.store.manifest["patient"].to_numpy()
        self.sets = {name: members for name, members in sets_of(data, self.labels).items() if name in REPORTED}
        self._read: dict[str, Tensor] = {}

    def say(self, line: str) -> None:
        """Tell the person at the terminal, once for all processes."""
        if self.trainer.is_global_zero:
            print(line, flush=True)

    def states(self, rows: np.ndarray) -> Tensor:
        """Return the states of some rows of the store, ``(N, L)`` int8 on the CPU."""
        return torch.from_numpy(self.data.states[rows])

    def vectors(self, split: str | None = None, change: Callable[[dict[str, Any]], dict[str, Any]] | None = None) -> Tensor:
        """Read a split, by default the one that is judged: ``(N, D)`` float32 on the CPU, in the order of its rows."""
        split = split or self.split
        if change is None and split in self._read:
            return self._read[split]
        found = self._encode(self.data.rows[split], change)
        if change is None:
            self._read[split] = found
        return found

    def _encode(self, rows: np.ndarray, change: Callable[[dict[str, Any]], dict[str, Any]] | None = None) -> Tensor:
        self.data.predicted, self.data.change = rows, change
        try:
            batches = self.trainer.predict(self.model, datamodule=self.data, return_predictions=True)
        finally:
            self.data.predicted = self.data.change = None
        collected = Vectors()
        for batch in batches:
            collected.add(batch, batch["vectors"])
        records, vectors = collected.gather()
        order = torch.searchsorted(records.cpu(), torch.from_numpy(rows))
        return vectors.cpu()[order]

    def untrained(self, split: str) -> Tensor:
        """Read a split with an untrained tower of the model's kind, the same for every run of that kind."""
        with _untrained_tower(self.model):
            return self._encode(self.data.rows[split])

    def classes(self) -> Tensor:
        """Return the vectors of the catalogue's prompts, ``(L, D)`` on the CPU."""
        with torch.inference_mode(), self.trainer.precision_plugin.forward_context():
            return self.model.label_vectors().float().cpu()

    def read_texts(self, texts: Sequence[str], label: Sequence[int], labels: int) -> Tensor:
        """Return class vectors of any texts, ``(labels, D)`` on the CPU."""
        with torch.inference_mode(), self.trainer.precision_plugin.forward_context():
            return self.model.encode_prompts(texts, label, labels).float().cpu()

    def report(self, prefix: str, scores: Tensor) -> dict[str, float]:
        """Return the figures of scores over the reported sets, each name behind a prefix."""
        return {f"{prefix}/{name}": value for name, value in zero_shot_report(scores, self.labels, self.sets).items()}

    def logits(self) -> Tensor:
        """Return what the loss makes of the cosines."""
        device = self.model.device
        scores = zero_shot_scores(self.vectors(), self.classes()).to(device)
        return self.model.logits(scores, torch.from_numpy(self.data.prior).to(device)).cpu()

    def named_task(self, name: str) -> dict[str, float]:
        """Run a task of another paper, and keep its table.

        Raises:
            UserError: Where the data have no record of any of its classes.
        """
        task, ids = named_tasks()[name], self.data.labels.ids
        classes = scored_classes(task, ids)
        one_prompt = None
        if classes:
            try:
                texts = self.read_texts([one.ja for one in classes], range(len(classes)), len(classes))
                one_prompt = zero_shot_scores(self.vectors(), texts)
            except UserError as error:
                self.say(f"{name}: without the one-prompt protocol: {error}")
        opened = self.data.store.manifest["unknown"].iloc[self.rows].tolist()
        figures, rows = task_report(classes, self.logits(), self.labels, opened, self.patients[self.rows], ids, one_prompt)
        if not rows:
            raise UserError(f"{name}: no record of these data has one of its classes: it is meant for {', '.join(task.data)}")
        if self.trainer.is_global_zero:
            _keep_task(tasks_file(self.folder, self.split), name, {"ja": task.ja, "en": task.en, "source": task.source, "classes": rows})
        return {f"tasks/{name}/{key}": value for key, value in figures.items()}


@contextmanager
def _untrained_tower(model: Any) -> Iterator[None]:
    """Put an untrained tower in the place of the trained ones, for a while."""
    trained = model.ecg_encoder, model.further_encoders
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(BASELINE_SEED)
        model.ecg_encoder, model.further_encoders = model.new_ecg_encoder().to(model.device).eval(), nn.ModuleList()
    try:
        yield
    finally:
        model.ecg_encoder, model.further_encoders = trained


def _prompts(judge: Judge) -> dict[str, float]:
    figures: dict[str, float] = {}
    catalogue = judge.data.labels
    for name in PROMPT_SETS:
        prompts = prompts_of(catalogue, name)
        leaking = leaks(catalogue, prompts)
        if leaking:
            first = leaking[0]
            judge.say(f"prompts {name}: {len(leaking)} name another label (first: {first.text!r} of {first.label} names {first.other})")
        classes = judge.read_texts([prompt.text for prompt in prompts], [prompt.label for prompt in prompts], len(catalogue))
        figures |= judge.report(f"prompts/{name}", zero_shot_scores(judge.vectors(), classes))
        figures[f"prompts/{name}/leaks"] = float(len(leaking))
    return figures


def _linear_probe(judge: Judge) -> dict[str, float]:
    """The strength is chosen on validation, or left in the middle where validation is what is judged."""
    rows = judge.data.rows
    if not len(rows["train"]):
        raise UserError("linear probe: there are no training records here")
    labels, patients = judge.states(rows["train"]), judge.patients[rows["train"]]
    val_labels = judge.states(rows["val"]) if judge.split == "test" and len(rows["val"]) else None

    def probe(read: Callable[[str], Tensor], share: int) -> Tensor:
        kept = patient_share(patients, share / 100, seed=0)
        val = None if val_labels is None else read("val")
        return linear_probe(read("train")[kept], labels[kept], val, val_labels, read(judge.split))

    figures: dict[str, float] = {}
    for share in SHARES:
        figures |= judge.report(f"linear_probe/p{share}", probe(judge.vectors, share))
    return figures | judge.report("random_probe/p100", probe(judge.untrained, 100))


def _knn(judge: Judge) -> dict[str, float]:
    rows = judge.data.rows["train"]
    if not len(rows):
        raise UserError("knn: there are no training records here")
    return judge.report("knn", knn_scores(judge.vectors("train"), judge.states(rows), judge.vectors()))


def _retrieval(judge: Judge) -> dict[str, float]:
    """A record's text is the names of its findings in the catalogue's order; equal texts are one."""
    names = [label.ja for label in judge.data.labels]
    positive = (judge.labels == POSITIVE).numpy()
    described = np.flatnonzero(positive.any(1))
    texts = ["、".join(names[i] for i in np.flatnonzero(positive[row])) for row in described]
    distinct = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    blocks = np.array_split(list(distinct), max(1, -(-len(distinct) // TEXTS_AT_ONCE)))
    vectors = torch.cat([judge.read_texts([str(text) for text in block], range(len(block)), len(block)) for block in blocks])
    patients = judge.patients[judge.rows[described]]
    figures = retrieval_figures(judge.vectors()[described], vectors, torch.tensor([distinct[text] for text in texts]), patients=patients)
    return {f"retrieval/{name}": value for name, value in figures.items()} | {"retrieval/texts": float(len(distinct))}


def _leads(judge: Judge) -> dict[str, float]:
    figures: dict[str, float] = {}
    for count, leads in LEAD_SETS.items():
        figures |= judge.report(f"leads/{count}", zero_shot_scores(judge.vectors(change=keep_leads(leads)), judge.classes()))
    return figures


def _drift(judge: Judge) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name, change in DRIFTS.items():
        figures |= judge.report(f"drift/{name}", zero_shot_scores(judge.vectors(change=change), judge.classes()))
    return figures


def _readers(judge: Judge) -> dict[str, float]:
    """Compare the labels of the data, a second reader, and the model at its thresholds, pair by pair."""
    assert judge.second_reader is not None
    second = read_second(judge.second_reader, judge.data.labels, judge.data.store.manifest["id"].iloc[judge.rows].tolist())
    again = torch.tensor([row for row in second])
    states = torch.from_numpy(np.stack(list(second.values())))
    detail = read_evaluation(judge.folder, judge.split)
    thresholds = torch.tensor([math.nan if row["threshold"] is None else row["threshold"] for row in detail["labels"]])
    called = (zero_shot_scores(judge.vectors()[again], judge.classes()) >= thresholds).to(torch.int8)
    called[:, torch.isnan(thresholds)] = UNKNOWN
    first, patients = judge.labels[again], judge.patients[judge.rows[again.numpy()]]
    pairs = {"labels_second": (first, states), "labels_model": (first, called), "second_model": (states, called)}
    figures = {"readers/records": float(len(again))}
    table = [{"id": label.id, "ja": label.ja, "en": label.en} for label in judge.data.labels]
    for name, (one, other) in pairs.items():
        found = agreement(one, other, patients)
        figures[f"readers/{name}/kappa_macro"] = macro(found.kappa)
        for row, *values in zip(table, *(column.tolist() for column in found), strict=True):
            row |= {f"{name}_{column}": value for column, value in zip(found._fields, values, strict=True)}
    if judge.trainer.is_global_zero:
        write_table(judge.folder / READERS, table, list(table[0]))
        judge.say(f"readers: kappa of every label, with its interval: {judge.folder / READERS}")
    return figures


PROTOCOL_FIGURES: dict[str, Callable[[Judge], dict[str, float]]] = {
    "prompts": _prompts,
    "linear_probe": _linear_probe,
    "knn": _knn,
    "retrieval": _retrieval,
    "leads": _leads,
    "drift": _drift,
    "readers": _readers,
}


def _keep_task(path: Path, name: str, table: dict[str, Any]) -> None:
    """Put the table of a task beside those that are there."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    write_json(path, known | {name: plain(table)})
