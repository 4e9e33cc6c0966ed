"""``ecgclip bench-sim2real``: train on simulated ECGs alone, and read PTB-XL with it.

Three sections of one file: the figures of the headline, every label, and what the simulated model is worth where few real records are
labelled. What is done is known by ``benchmark.json`` in each run folder, and in its folder ``ptbxl`` where it has been evaluated.
"""

import argparse
import csv
import json
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

import ecgclip.simulation
from ecgclip.benchmark.children import evaluate, run_all, without_paths
from ecgclip.benchmark.command import alone
from ecgclip.benchmark.slots import RECORD, Budget, Data, Slot, check_protocols, find, find_data, on_this_machine, recipe_file, stack
from ecgclip.errors import CommandParser, UserError
from ecgclip.evaluation import PROTOCOL
from ecgclip.evaluation.intervals import zero_shot_intervals
from ecgclip.evaluation.zero_shot import RARE, zero_shot_report
from ecgclip.labels import POSITIVE, Catalogue
from ecgclip.paths import cache_key
from ecgclip.report.benchmark import SPLITS, machine, not_run, write_section
from ecgclip.report.sim2real import FEW_LEGEND, LEGEND, FewLabels, Reading, cell, few_labels_table, headline_table, label_table
from ecgclip.run import read_metrics
from ecgclip.scores import load_scores

SIMULATED_MODULE = "data_modules.SimulatedDataModule"
RESULTS = "ptbxl"  # Where in a run its figures on PTB-XL lie.
TEXT_SHARE = 0.25  # The text tower's learning rate, as a share of the ECG tower's: that of resnet_bert.
START = """# From simulated ECGs to real ones

Models that have seen nothing but simulated ECGs in training, reading PTB-XL at 100 Hz through Japanese text. The command writes
the sections of this file; DIR is the folder of PTB-XL.
"""


def bench_sim2real(arguments: Sequence[str]) -> None:
    """Run what is missing of the benchmark, and write its sections.

    Raises:
        UserError: For a folder that is not PTB-XL, a recipe that does not fit, or a simulated training or its evaluation that fails.
    """
    options = parse(arguments)
    data = find_data(options.data_root)
    options.runs.mkdir(parents=True, exist_ok=True)
    command = f"```\n{without_paths(command_line(options), data)}\n```"
    with alone(options.runs) as lock:
        simulated = simulated_slots(options)
        check_protocols(simulated)
        run_all(simulated, Budget(extra=options.extra), _own_data(options.recipe), 1, lock)
        for slot in simulated:
            if slot.run is None:
                raise UserError(f"{slot.name}, the training on simulated ECGs, could not be made: {slot.reason}")
            read_real(slot.run, stack(options.recipe)[-1], data, lock)
        readings = [read(slot.run, slot.seed, data.split) for slot in simulated if slot.run]
        # Now already: the trainings that follow take a while, and may be interrupted.
        headline = headline_section(command, readings, data.split)
        write_section(options.out, "zero-shot", headline, START)
        write_section(options.out, "labels", label_section(command, readings, data.split), START)
        print(f"\n{headline}\n", flush=True)
        few = few_slots(options, data, simulated[0])
        check_protocols(few)
        run_all(few, _few_budget(options), data, 1, lock)
    section = few_section(options, command, few, readings[0], data.split)
    write_section(options.out, "few labels", section, START)
    print(f"\n{section}\n\nThe tables are in {options.out}", flush=True)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line. What follows ``--`` goes to the training on simulated ECGs.

    Raises:
        UserError: For an option that is not there, misses or makes no sense.
    """
    parser = _parser()
    arguments = list(arguments)
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    options = parser.parse_args(arguments[:cut])
    options.extra = tuple(arguments[cut + 1 :])
    options.recipe, options.few_recipe = recipe_file(options.recipe), recipe_file(options.few_recipe)
    if _data_of(options.recipe).get("class_path") != SIMULATED_MODULE:
        raise UserError(
            f"--recipe {options.recipe}: its data are not simulated ones: give a recipe with data.class_path {SIMULATED_MODULE}"
        )
    if options.few_epochs < 1:
        raise UserError(f"--few_epochs {options.few_epochs} is too little: give at least 1")
    if not 0 < options.fraction <= 1:
        raise UserError(f"--fraction {options.fraction} must be above 0 and at most 1")
    return options


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        "bench-sim2real",
        "Train on simulated ECGs alone, read PTB-XL with it through Japanese text, and fine-tune it on a few of PTB-XL's "
        "patients. A benchmark that was interrupted goes on with what is missing when it is called again.",
        "What follows -- is passed on to the training on simulated ECGs: -- --data.train=20000",
    )
    parser.add_argument("--data_root", type=Path, required=True, metavar="DIR", help="PTB-XL as PhysioNet gives it")
    parser.add_argument("--recipe", default="sim2real", help="trained on simulated ECGs: experiments/RECIPE.yaml or a path (sim2real)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="SEED", help="of the trainings on simulated ECGs (0)")
    parser.add_argument("--few_recipe", default="resnet_bert", help="trained on few real records; of the same towers (resnet_bert)")
    parser.add_argument("--few_seeds", type=int, nargs="+", default=[0, 1, 2], metavar="SEED", help="of these trainings (0 1 2)")
    parser.add_argument("--few_epochs", type=int, default=50, help="of these trainings (50)")
    parser.add_argument("--rates", type=float, nargs="+", default=[2e-3, 5e-4], metavar="RATE", help="their learning rates (2e-3 5e-4)")
    parser.add_argument("--fraction", type=float, default=0.01, help="share of PTB-XL's training patients that they are trained on (0.01)")
    parser.add_argument("--out", type=Path, default=Path("docs/sim2real.md"), help="file of the tables (docs/sim2real.md)")
    parser.add_argument("--runs", type=Path, default=Path("runs/bench-sim2real"), help="folder of the runs (runs/bench-sim2real)")
    return parser


def command_line(options: argparse.Namespace) -> str:
    """Return the command as one types it, without the folder of the data, and with the options that are not as they are by default."""
    parser = _parser()
    further: list[str] = []
    for name in ("recipe", "seeds", "few_recipe", "few_seeds", "few_epochs", "rates", "fraction"):
        value, usual = getattr(options, name), parser.get_default(name)
        if isinstance(value, Path):
            value, usual = str(value), str(recipe_file(usual))
        if value != usual:
            further += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    further += ["--", *options.extra] if options.extra else []
    return "make bench-sim2real DATA_DIR=DIR" + (f" ARGS='{shlex.join(further)}'" if further else "")


def simulated_slots(options: argparse.Namespace) -> list[Slot]:
    """List the trainings on simulated ECGs, and find those that are there: of this simulator, since another one makes other records."""
    configs = on_this_machine(options.recipe)
    source = Path(ecgclip.simulation.__path__[0])
    simulator = {path.name: path.read_text(encoding="utf-8") for path in sorted(source.iterdir()) if path.suffix in (".py", ".yaml")}
    key = cache_key(configs=_contents(configs), extra=options.extra, simulator=simulator)
    name = options.recipe.stem
    slots = [Slot(name, seed, configs, key, options.runs / name / f"seed{seed}") for seed in dict.fromkeys(options.seeds)]
    for slot in slots:
        find(slot)
    return slots


def few_slots(options: argparse.Namespace, data: Data, simulated: Slot) -> list[Slot]:
    """List the trainings on few real records, from nothing and from the simulated model at each learning rate; find what is there."""
    configs, budget, run = stack(options.few_recipe), _few_budget(options), simulated.run
    slots = []
    for rate in options.rates:
        for start, init in (("untrained", ""), ("simulated", f"{simulated.key}/{run.name if run else ''}")):
            key = cache_key(configs=_contents(configs), data=data.counts, budget=vars(budget), rate=rate, init=init)
            extra = [f"--model.learning_rate={rate:g}", f"--model.text_learning_rate={rate * TEXT_SHARE:g}"]
            extra += [f"--init_from={run}/artefact"] if init else []
            name = few_name(options, start, rate)
            slots += [
                Slot(name, seed, configs, key, options.runs / name / f"seed{seed}", extra=tuple(extra))
                for seed in dict.fromkeys(options.few_seeds)
            ]
    for slot in slots:
        find(slot)
    return slots


def few_name(options: argparse.Namespace, start: str, rate: float) -> str:
    """Return what the trainings on few records are called that begin and learn alike."""
    return f"{options.few_recipe.stem}_{start}_lr{rate:g}"


def _few_budget(options: argparse.Namespace) -> Budget:
    # One validation, at the end: the last step is evaluated, and fold 9 chooses no epoch.
    extra = (f"--data.fraction={options.fraction:g}", "--data.batch_size=32", f"--trainer.check_val_every_n_epoch={options.few_epochs}")
    return Budget(epochs=options.few_epochs, extra=extra)


def _contents(configs: Sequence[Path]) -> list[Any]:
    return [yaml.safe_load(path.read_text(encoding="utf-8")) for path in configs]


def _data_of(recipe: Path) -> dict[str, Any]:
    found: dict[str, Any] = (yaml.safe_load(recipe.read_text(encoding="utf-8")) or {}).get("data") or {}
    return found


def _own_data(recipe: Path) -> Data:
    """Return the simulated data of a recipe; they have a test split."""
    given = _data_of(recipe).get("init_args") or {}
    return Data(None, {"test": given.get("test", 1)})


def read_real(run: Path, config: Path, data: Data, lock: Any) -> None:
    """Evaluate a simulated model on PTB-XL, unless that is done."""
    results, wanted = run / RESULTS, {"data": data.counts, "protocol": PROTOCOL}
    record = results / RECORD
    if record.is_file() and json.loads(record.read_text()) == wanted:
        print(f"already read PTB-XL: {results}", flush=True)
        return
    print(f"reading {SPLITS[data.split]} of PTB-XL with {run}", flush=True)
    record.unlink(missing_ok=True)
    evaluate(run, config, data, lock)
    record.write_text(json.dumps(wanted) + "\n")


def read(run: Path, seed: int, split: str) -> Reading:
    """Gather what the tables say of a simulated model."""
    with (run / RESULTS / "per_label.csv").open(encoding="utf-8-sig", newline="") as file:
        labels = list(csv.DictReader(file))
    macros = macro_figures(run, split, RESULTS, intervals=True)
    return Reading(seed, read_metrics(run), read_metrics(run / RESULTS), macros, labels, statements_of(run, visible=True))


def statements_of(run: Path, *, visible: bool) -> list[str]:
    """Return the ids of PTB-XL's statements in the catalogue of a run, all or those that can be checked on the ECG alone."""
    catalogue = Catalogue.load(str(run / "artefact" / "catalogue.yaml"))
    return [label.id for label in catalogue if "scp" in label.codes and (label.visible or not visible)]


def macro_figures(run: Path, split: str, results: str = "", *, intervals: bool = False) -> dict[str, float | None]:
    """Compute the macro AUROC over the sets of the tables, from the scores that an evaluation has kept.

    Args:
        run: Folder of the run.
        split: ``test`` or ``val``.
        results: Where in the run the scores lie.
        intervals: Add the patient-level bootstrap.

    Returns:
        See :class:`ecgclip.report.sim2real.Reading`; a set without a positive is absent.
    """
    saved = load_scores(run / results, split)
    scores, labels = torch.from_numpy(saved.scores), torch.from_numpy(saved.labels)
    positives = (labels == POSITIVE).sum(0)
    visible, every = (torch.from_numpy(np.isin(saved.ids, statements_of(run, visible=only))) for only in (True, False))
    chosen = {"visible": visible & (positives > 0), "visible10": visible & (positives >= RARE), "ptbxl71": every & (positives > 0)}
    sets = {name: members for name, members in chosen.items() if bool(members.any())}
    report: dict[str, float | None] = dict(zero_shot_report(scores, labels, sets, ks=()))
    if intervals:
        report |= zero_shot_intervals(scores, labels, saved.patients, sets, ks=()).report
    return report


def headline_section(command: str, readings: Sequence[Reading], split: str) -> str:
    """Return the section of the figures that the benchmark is about."""
    own, figures = readings[0].own, readings[0].figures
    seeds = " ".join(str(reading.seed) for reading in readings)
    budget = f"{own['time/epochs'] or 0:.0f} epochs, {(own['time/train_seconds'] or 0) / 60:.1f} minutes, seed {seeds}"
    facts = (
        f"Trained on {own['data/train/records']:.0f} simulated ECGs alone ({budget}): no record of PTB-XL in training, in the choice of "
        f"the checkpoint or in any statistic of the model. Evaluated on {SPLITS[split]} of PTB-XL, "
        f"{figures[f'data/{split}/records']:.0f} records, protocol version {PROTOCOL}. "
        f"On simulated ECGs that it has not seen, its macro AUROC over all labels is "
        f"{cell(own.get('test/zero_shot/all/auroc_macro'))}. {machine()}; {time.strftime('%Y-%m-%d')}."
    )
    return "\n\n".join(["## Without one real record", command, facts, headline_table(readings, split), LEGEND])


def label_section(command: str, readings: Sequence[Reading], split: str) -> str:
    """Return the section of every label."""
    facts = (
        f"Every label with a positive record in {SPLITS[split]} of PTB-XL, good or bad, in the order of the catalogue; the same models as "
        "in the section above. *n* is the number of its positive records: with few of them an AUROC says little. The two of the heart axis "
        "are not among the 71 statements."
    )
    return "\n\n".join(["## Label by label", command, facts, label_table(readings)])


def few_section(options: argparse.Namespace, command: str, slots: Sequence[Slot], reading: Reading, split: str) -> str:
    """Return the section of the trainings on few real records."""
    rows = [FewLabels("simulated ECGs, as in the first section", None, [reading.seed], [reading.macros])]
    done = [slot for slot in slots if slot.finished and slot.run]
    for rate in options.rates:
        for start, title in (("untrained", "drawn anew"), ("simulated", "simulated ECGs")):
            of_row = [slot for slot in done if slot.recipe == few_name(options, start, rate)]
            if of_row:
                runs = [slot.run for slot in of_row if slot.run]
                minutes = sum((read_metrics(run).get("time/train_seconds") or 0) / 60 for run in runs) / len(runs)
                rows.append(FewLabels(title, rate, [s.seed for s in of_row], [macro_figures(run, split) for run in runs], minutes))
    counts = sorted({round(read_metrics(slot.run)["data/train/records"] or 0) for slot in done if slot.run})
    records = f"{', '.join(map(str, counts))} records" if counts else "none is done"
    facts = (
        f"`{options.few_recipe.stem}` on {100 * options.fraction:g} % of the training patients of PTB-XL ({records}), {options.few_epochs} "
        f"epochs, with weights drawn anew and with those of the simulated model of seed {reading.seed}; macro AUROC on {SPLITS[split]}. "
        f"{machine()}; {time.strftime('%Y-%m-%d')}."
    )
    missing = not_run([(slot.name, slot.reason) for slot in slots if not slot.finished])
    return "\n\n".join(part for part in ["## With few real records", command, facts, few_labels_table(rows), missing, FEW_LEGEND] if part)
