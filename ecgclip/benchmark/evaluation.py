"""``ecgclip bench-eval``: what an evaluation takes in time and memory, against the usual loop with scikit-learn, on made-up vectors."""

import argparse
import shlex
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ecgclip.errors import CommandParser, UserError
from ecgclip.evaluation.few_shot import METHODS, choose_support, few_shot
from ecgclip.evaluation.full import Scored, full_evaluation
from ecgclip.evaluation.intervals import zero_shot_intervals
from ecgclip.evaluation.linear_probe import STRENGTHS, linear_probe
from ecgclip.evaluation.metrics import auroc, average_precision
from ecgclip.evaluation.neighbours import knn_scores
from ecgclip.evaluation.retrieval import retrieval_figures
from ecgclip.evaluation.zero_shot import label_sets, zero_shot_report, zero_shot_scores
from ecgclip.labels import POSITIVE, Catalogue
from ecgclip.report.benchmark import machine, write_section

HEAD = "# Evaluation, measured\n"
LABELS, DIMENSIONS = 98, 256
POSITIVES = 2.0  # Of a record, on average.
TAIL = 1.1  # The prevalence of a label falls with its place to this power.
COMMONEST = 0.7  # Of the records, at most.
SIGNAL = 0.12  # Of a label's direction in a vector, beside noise of length 1.
SCALE = 14.0  # Of a cosine in the logits.
PTBXL, FOLD = 17441, 2183  # Records of PTB-XL's folds 1-8, and of fold 9.
SHARING = 20  # Records to a caption.


class World(NamedTuple):
    """Vectors that know their labels in part.

    Attributes:
        ecg: ``(N, D)`` float32.
        labels: ``(N, L)`` int8 states, common ones first.
        classes: ``(L, D)`` float32.
        patients: ``(N,)``, two records of each.
    """

    ecg: Tensor
    labels: Tensor
    classes: Tensor
    patients: np.ndarray


class Taken(NamedTuple):
    """What a part took.

    Attributes:
        seconds: By the clock.
        megabytes: The peak of the process, all that it holds included; None where the system does not tell.
    """

    seconds: float
    megabytes: float | None


def bench_evaluation(arguments: Sequence[str]) -> None:
    """Measure the evaluation, print the table and write the section of its page.

    Raises:
        UserError: For an option that makes no sense, a missing scikit-learn, or a file that cannot be written.
    """
    options = parse(arguments)
    try:
        import sklearn.metrics  # noqa: F401
    except ImportError as error:
        raise UserError("scikit-learn, which is measured against, is missing: pip install -e '.[dev]'") from error
    with torch.inference_mode():
        section = _section(make_world(options.records), options)
    print(f"{section}\n", flush=True)
    write_section(options.out, "evaluation", f"```\n{options.command}\n```\n\n{section}", HEAD)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line.

    Raises:
        UserError: For an option that is not there, or makes no sense.
    """
    parser = CommandParser("bench-eval", "Measure zero-shot statistics, few-shot, probe, neighbours and retrieval on made-up vectors.")
    parser.add_argument("--records", type=int, default=100_000, help="to evaluate (100000); few-shot queries are a fifth of them")
    parser.add_argument("--replicates", type=int, default=1000, help="of the bootstrap (1000)")
    parser.add_argument("--seconds", type=float, default=20.0, help="for replicates with scikit-learn, one at least (20)")
    parser.add_argument("--out", type=Path, default=Path("docs/evaluation.md"), help="the page (docs/evaluation.md)")
    options = parser.parse_args(list(arguments))
    for name, least in (("records", 200), ("replicates", 2)):
        if getattr(options, name) < least:
            raise UserError(f"--{name} {getattr(options, name)} is too little: give at least {least}")
    words = [f"--{name}={getattr(options, name)}" for name in ("records", "replicates", "seconds")]
    options.command = shlex.join(["ecgclip", "bench-eval", *words])
    return options


def make_world(records: int, seed: int = 0) -> World:
    """Draw records with a long tail of labels, and vectors from them.

    Args:
        records: ``N``.
        seed: Of the draw.
    """
    draw = torch.Generator().manual_seed(seed)
    prevalence = 1 / torch.arange(1, LABELS + 1) ** TAIL
    prevalence = (prevalence * POSITIVES / prevalence.sum()).clamp(max=COMMONEST)
    labels = (torch.rand(records, LABELS, generator=draw) < prevalence).to(torch.int8)
    classes = F.normalize(torch.randn(LABELS, DIMENSIONS, generator=draw), dim=1)
    noise = torch.randn(records, DIMENSIONS, generator=draw) / DIMENSIONS**0.5
    return World(SIGNAL * labels.float() @ classes + noise, labels, classes, np.arange(records) // 2)


def _section(world: World, options: argparse.Namespace) -> str:
    scores = zero_shot_scores(world.ecg, world.classes)
    ours = _take(lambda: _zero_shot(scores, world, options.replicates))
    once, each, drawn, apart = _with_sklearn(scores, world, options.seconds)
    whole = once.seconds + options.replicates * each
    rest = {
        "zero-shot, and all else that a page shows: decisions, calibration, PTB-XL's classes, confusions, two subgroups": lambda: _full(
            world, options.replicates
        ),
        f"few-shot: {len(METHODS)} methods, k of 1 to 16, 5 draws, {options.records // 5:,} queries": lambda: _few_shot(world),
        f"linear probe: {_probe_size(world):,} records, {len(STRENGTHS)} strengths": lambda: _probe(world),
        f"20 nearest neighbours among {_probe_size(world):,} records": lambda: _neighbours(world),
        f"retrieval both ways: {options.records:,} records, {_captions(world):,} captions": lambda: _retrieval(world),
    }
    usual = "zero-shot with scikit-learn, label by label, AUROC and AUPRC only"
    rows = [
        (f"zero-shot: all figures of 8 sets of labels, {options.replicates:,} replicates", ours, f"{whole / ours.seconds:.0f} x"),
        (f"{usual}, {options.replicates:,} replicates, extrapolated from {drawn}", Taken(whole, once.megabytes), "1 x"),
        (f"{usual}, no replicate", once, ""),
        *((name, _take(run), "") for name, run in rest.items()),
    ]
    facts = (
        f"{options.records:,} made-up records of {DIMENSIONS} dimensions, {LABELS} labels with a long tail and "
        f"{float((world.labels == POSITIVE).sum()) / options.records:.1f} positives a record, two records a patient; one process, one run. "
        f"{machine()}, {torch.get_num_threads()} threads, scikit-learn {version('scikit-learn')}; {time.strftime('%Y-%m-%d')}. Peak memory "
        f"is that of the process, with the vectors and all that earlier parts left. AUROC and AUPRC of a label differ from scikit-learn's "
        f"by at most {apart:.0e}."
    )
    lines = [f"| {name} | {_cell(t.seconds)} s | {_memory(t.megabytes)} | {ratio} |" for name, t, ratio in rows]
    return "\n".join([facts, "", "| what | time | peak memory | against scikit-learn |", "| --- | ---: | ---: | ---: |", *lines])


def _cell(seconds: float) -> str:
    return f"{seconds:,.0f}" if seconds >= 100 else f"{seconds:.3g}"


def _memory(megabytes: float | None) -> str:
    return "-" if megabytes is None else f"{megabytes:,.0f} MB"


def _take(run: Callable[[], object]) -> Taken:
    """Run a part and tell what it took."""
    known = _forget_peak()
    start = time.perf_counter()
    run()
    return Taken(time.perf_counter() - start, _peak() if known else None)


def _forget_peak() -> bool:
    """Have Linux start counting the peak of this process anew; tell whether it can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _peak() -> float:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024 / 1e6


# --- the parts -----------------------------------------------------------------------------------------------------------------------


def _zero_shot(scores: Tensor, world: World, replicates: int) -> None:
    ids = [str(label) for label in range(LABELS)]
    sets = label_sets(
        world.labels, ids, ptbxl71=ids[:71], withheld=ids[::7], train_positives=(world.labels == POSITIVE).sum(0) * PTBXL // len(scores)
    )
    zero_shot_report(scores, world.labels, sets)
    zero_shot_intervals(scores, world.labels, world.patients, sets, replicates=replicates)


def _full(world: World, replicates: int) -> None:
    """Evaluate as the end of a training does, with a tenth as many validation records."""
    catalogue, val = Catalogue.load("ja98"), make_world(len(world.ecg) // 10, seed=1)
    scored, fitted_on = (
        Scored(scores, SCALE * scores, one.labels, one.patients)
        for one in (world, val)
        for scores in (zero_shot_scores(one.ecg, one.classes),)
    )
    sets = label_sets(
        world.labels,
        catalogue.ids,
        ptbxl71=[label.id for label in catalogue if "scp" in label.codes],
        train_positives=(world.labels == POSITIVE).sum(0),
    )
    groups = {"sex": np.where(np.arange(len(world.ecg)) % 2, "F", "M")}
    full_evaluation(scored, catalogue, sets, fitted_on=fitted_on, groups=groups, replicates=replicates)


def _with_sklearn(scores: Tensor, world: World, seconds: float) -> tuple[Taken, float, int, float]:
    """Do the same as one writes it with scikit-learn: no top-k, and patients drawn with replacement.

    Returns:
        What the figures themselves took; seconds of a replicate; how many were drawn; the largest difference from ours.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    score, state = scores.numpy(), world.labels.numpy()

    def areas(rows: np.ndarray | slice) -> np.ndarray:
        out = np.full((2, LABELS), np.nan)
        for label in range(LABELS):
            truth, value = state[rows, label], score[rows, label]
            if 0 < truth.sum() < len(truth):
                out[:, label] = roc_auc_score(truth, value), average_precision_score(truth, value)
        return out

    found: list[np.ndarray] = []
    once = _take(lambda: found.append(areas(slice(None))))
    ours = torch.stack((auroc(scores, world.labels), average_precision(scores, world.labels))).numpy()
    apart = float(np.nanmax(np.abs(ours - found[0])))
    draw, start, drawn = np.random.default_rng(0), time.perf_counter(), 0
    records_of = np.split(np.arange(len(scores)), np.unique(world.patients, return_index=True)[1][1:])
    while drawn == 0 or time.perf_counter() - start < seconds:
        areas(np.concatenate([records_of[patient] for patient in draw.integers(len(records_of), size=len(records_of))]))
        drawn += 1
    return once, (time.perf_counter() - start) / drawn, drawn, apart


def _few_shot(world: World) -> None:
    queries = slice(0, len(world.ecg) // 5 // 2 * 2)
    pool = slice(queries.stop, None)
    plan = choose_support(world.labels[pool], world.patients[pool])
    rows = plan.records + queries.stop
    few_shot(
        world.ecg[rows],
        world.labels[rows],
        plan.within_records(),
        world.ecg[queries],
        world.labels[queries],
        world.classes,
        support_patients=world.patients[rows.numpy()],
        query_patients=world.patients[queries],
    )


def _probe_size(world: World) -> int:
    return min(PTBXL, len(world.ecg) // 2)


def _probe(world: World) -> None:
    fold, train = min(FOLD, len(world.ecg) // 8), slice(-_probe_size(world), None)
    linear_probe(
        world.ecg[train], world.labels[train], world.ecg[:fold], world.labels[:fold], world.ecg[fold : 2 * fold]
    )  # The first quarter holds both folds, and the last half at most is trained on.


def _neighbours(world: World) -> None:
    fold, train = min(FOLD, len(world.ecg) // 8), slice(-_probe_size(world), None)
    knn_scores(world.ecg[train], world.labels[train], world.ecg[:fold])


def _captions(world: World) -> int:
    return len(world.ecg) // SHARING


def _retrieval(world: World) -> None:
    captions = _captions(world)
    text_of = torch.arange(len(world.ecg)) % captions
    retrieval_figures(world.ecg, world.ecg[:captions] + world.ecg[captions : 2 * captions], text_of)
