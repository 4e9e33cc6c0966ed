"""``ecgclip benchmark``: recipes by seeds on PTB-XL within one budget, as one table.

Every run is a child process of its own, so that memory, threads and failures stay with the run that they belong to. What is done is
known by ``benchmark.json`` in each run folder: a benchmark that was killed goes on with what is missing.
"""

import argparse
import contextlib
import fcntl
import shlex
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import torch

from ecgclip.benchmark.children import run_all, without_paths
from ecgclip.benchmark.slots import EXPERIMENTS, Budget, Data, Slot, check_protocols, find_data, plan, recipe_file
from ecgclip.errors import CommandParser, UserError
from ecgclip.evaluation import PROTOCOL
from ecgclip.evaluation.paired import paired_differences
from ecgclip.labels import POSITIVE
from ecgclip.labels.statements import ptbxl_statements
from ecgclip.report.benchmark import LEGEND, SPLITS, Figures, Row, benchmark_table, difference_table, machine, not_run, write_section
from ecgclip.run import read_metrics
from ecgclip.scores import load_scores

PATIENCE = 2.0  # Seconds to wait for the folder: the children of a benchmark that was killed take a moment to end.


def benchmark(arguments: Sequence[str]) -> None:
    """Run what is missing of a benchmark, and write its table.

    Raises:
        UserError: For a folder that is not PTB-XL, an unknown recipe, runs of another protocol version, or when no run could be made.
    """
    options = parse(arguments)
    data = find_data(options.data_root)
    options.runs.mkdir(parents=True, exist_ok=True)
    with alone(options.runs) as lock:
        slots = plan([recipe_file(recipe) for recipe in options.recipes], options.seeds, options.budget, data, options.runs)
        run_all(slots, options.budget, data, options.jobs, lock)
    if not any(slot.finished for slot in slots):
        raise UserError(f"none of the {len(slots)} runs could be made; the first, {slots[0].name}: {slots[0].reason}")
    check_protocols(slots)
    section = table(options, data, slots)
    write_section(options.out, options.name, section)
    print(f"\n{section}\n\nThe table is in {options.out}", flush=True)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line. What follows ``--`` goes to every run.

    Raises:
        UserError: For an option that is not there, misses or makes no sense.
    """
    parser = _parser()
    arguments = list(arguments)
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    options = parser.parse_args(arguments[:cut])
    for name, least in (("jobs", 1), ("epochs", 1), ("minutes", 0.01)):
        if getattr(options, name) is not None and getattr(options, name) < least:
            raise UserError(f"--{name} {getattr(options, name)} is too little: give at least {least}")
    names = [recipe_file(recipe).stem for recipe in options.recipes]
    if len(set(names)) < len(names):
        raise UserError(f"--recipes {' '.join(names)}: a name is there twice, and a table has one row of a name: rename one")
    for recipe in (recipe for pair in options.compare for recipe in pair):
        if recipe not in names:
            raise UserError(f"--compare {recipe}: it is not one of the recipes {', '.join(names)}: add it to --recipes")
    options.budget = Budget(options.epochs, options.minutes, tuple(arguments[cut + 1 :]))
    return options


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        "benchmark",
        "Train recipes on PTB-XL within one budget, evaluate them by the protocol, and write one table. A benchmark that was interrupted "
        "goes on with what is missing when it is called again.",
        "What follows -- is passed on to every run: -- --data.withhold=ptbxl14",
    )
    parser.add_argument("--data_root", type=Path, required=True, metavar="DIR", help="PTB-XL as PhysioNet gives it")
    parser.add_argument("--recipes", nargs="+", required=True, metavar="RECIPE", help="experiments/RECIPE.yaml, or the path of a YAML")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="SEED", help="each recipe is run with each of them (0)")
    parser.add_argument("--epochs", type=int, help="train all recipes for so many epochs (each recipe's own)")
    parser.add_argument("--minutes", type=float, help="stop the training of a run after so many minutes (no limit)")
    parser.add_argument(
        "--jobs", type=int, default=1, help="runs at a time; they share the cores, unless OMP_NUM_THREADS says otherwise (1)"
    )
    parser.add_argument(
        "--compare", nargs=2, action="append", default=[], metavar=("A", "B"), help="add a paired comparison of two of the recipes"
    )
    parser.add_argument("--name", default="ptbxl", help="name of the table: the others in the file stay (ptbxl)")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks.md"), help="file of the table (docs/benchmarks.md)")
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmark"), help="folder of the runs (runs/benchmark)")
    return parser


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[IO[str]]:
    """Hold the folder of the runs for one benchmark at a time; the system gives it back however the process ends."""
    with (folder / ".lock").open("w") as lock:
        deadline = time.monotonic() + PATIENCE
        while not _taken(lock):
            if time.monotonic() > deadline:
                raise UserError(f"another benchmark is at work in {folder}: wait for it, or give another folder with --runs")
            time.sleep(0.1)
        yield lock


def _taken(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def table(options: argparse.Namespace, data: Data, slots: Sequence[Slot]) -> str:
    """Return the section of the file: the command, what the figures were measured on, a row per recipe, and the comparisons."""
    rows = []
    for recipe in dict.fromkeys(slot.recipe for slot in slots):
        done = [slot for slot in slots if slot.recipe == recipe and slot.finished]
        if done:
            rows.append(Row(recipe, [slot.seed for slot in done], [read_metrics(slot.run) for slot in done if slot.run]))
    parts = [
        f"```\n{without_paths(command_line(options), data)}\n```",
        _facts(options, data, rows[0].figures[0]),
        benchmark_table(rows, data.split),
        not_run([(slot.name, slot.reason) for slot in slots if not slot.finished]),
        LEGEND,
        *(compare(slots, first, second, data.split) for first, second in options.compare),
    ]
    return "\n\n".join(part for part in parts if part)


def _facts(options: argparse.Namespace, data: Data, figures: Figures) -> str:
    absent = "" if data.split == "test" else "; fold 10 is not there, and a recipe that keeps its best epoch has chosen it on fold 9"
    budget = f"{options.epochs} epoch{'s' if options.epochs > 1 else ''}" if options.epochs else "each recipe's own epochs"
    budget += f", at most {options.minutes:g} minutes of training" if options.minutes else ""
    return (
        f"PTB-XL, evaluated on {SPLITS[data.split]}{absent}. {figures['data/train/records']:.0f} training records, "
        f"{figures[f'data/{data.split}/records']:.0f} evaluated, protocol version {PROTOCOL}. Budget: {budget}. {machine()}, "
        f"{options.jobs} run{'s' if options.jobs > 1 else ''} at a time; {time.strftime('%Y-%m-%d')}."
    )


def command_line(options: argparse.Namespace) -> str:
    """Return the command of a benchmark as one types it, without the folder that the data lie in."""
    recipes = [path.stem if path.parent == EXPERIMENTS else str(path) for path in map(recipe_file, options.recipes)]
    words = ["make bench-ptbxl DATA_DIR=DIR", f'RECIPES="{" ".join(recipes)}"', f'SEEDS="{" ".join(map(str, options.seeds))}"']
    words += [f"EPOCHS={options.epochs}"] if options.epochs else []
    words += [f"MINUTES={options.minutes:g}"] if options.minutes else []
    words += [f"JOBS={options.jobs}"] if options.jobs > 1 else []
    further = [word for pair in options.compare for word in ("--compare", *pair)]
    further += ["--name", options.name] if options.name != "ptbxl" else []
    further += ["--", *options.budget.extra] if options.budget.extra else []
    return " ".join([*words, f"ARGS='{shlex.join(further)}'"] if further else words)


def compare(slots: Sequence[Slot], first: str, second: str, split: str) -> str:
    """Compare two recipes over the seeds that both have: the section of :func:`ecgclip.report.benchmark.difference_table`.

    Raises:
        UserError: When saved scores are missing or damaged, or the two runs did not evaluate the same records.
    """
    runs = {(slot.recipe, slot.seed): slot.run for slot in slots if slot.finished and slot.run}
    seeds = [seed for recipe, seed in runs if recipe == first and (second, seed) in runs]
    if not seeds:
        return f"{first} against {second}: no seed of both is done."
    pairs = [(load_scores(runs[first, seed], split), load_scores(runs[second, seed], split)) for seed in seeds]
    like = pairs[0][0]
    for run in (run for pair in pairs for run in pair):
        if not (
            np.array_equal(run.records, like.records) and np.array_equal(run.ids, like.ids) and np.array_equal(run.labels, like.labels)
        ):
            raise UserError(f"{first} and {second} were not evaluated on the same records and labels: run the benchmark anew with --runs")
    labels = torch.from_numpy(like.labels)
    known = {row["id"] for row in ptbxl_statements()}
    sets = {"ptbxl71": torch.tensor([i in known for i in like.ids]), "all": (labels == POSITIVE).any(0)}
    scores = [(torch.from_numpy(a.scores), torch.from_numpy(b.scores)) for a, b in pairs]
    return difference_table(first, second, seeds, paired_differences(scores, labels, like.patients, sets))
