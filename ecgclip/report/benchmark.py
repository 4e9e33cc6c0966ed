"""The table of a benchmark, in Markdown, and the file that it is a section of."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ecgclip.errors import UserError
from ecgclip.evaluation.paired import Difference, Paired

Figures = Mapping[str, float | None]
SPLITS = {"test": "fold 10 (test)", "val": "fold 9 (validation)"}
COLUMNS = (  # Of the table: where a figure stands in metrics.json, below the split, and what it is called.
    ("zero_shot/n10/auroc_macro", "n10"),
    ("zero_shot/all/top5_macro", "top-5 of 98"),
    ("zero_shot/ptbxl71/top5_macro", "top-5 of 71"),
    ("zero_shot/ptbxl_diag/auroc_macro", "diagnostic (44)"),
    ("zero_shot/ptbxl_sub/auroc_macro", "subclasses (23)"),
    ("zero_shot/ptbxl_super/auroc_macro", "superclasses (5)"),
    ("zero_shot/ptbxl_form/auroc_macro", "form (19)"),
    ("zero_shot/ptbxl_rhythm/auroc_macro", "rhythm (12)"),
)
UNSEEN = ("zero_shot/unseen/auroc_macro", "unseen")  # Only where a run withheld labels.
DIFFERENCES = (
    ("ptbxl71/auroc_macro", "macro AUROC, 71 statements"),
    ("ptbxl71/top5_macro", "macro top-5, 71 competing"),
    ("all/top5_macro", "macro top-5, the catalogue competing"),
)
AUROC = "zero_shot/ptbxl71/auroc_macro"
COSTS = (("time/epochs", "epochs", 1.0), ("time/train_seconds", "minutes", 60.0))
LEGEND = (
    "AUROC, macro over the 71 statements of PTB-XL that have a positive record, with its interval: with one seed the 95 % patient-level "
    "bootstrap, with several the lowest and the highest seed; every other figure is the mean over the seeds. *n10*: macro AUROC over the "
    "labels with ten or more positives. *top-5*: macro, with the labels of the catalogue or the 71 statements competing. The groups are "
    "PTB-XL's own, macro AUROC; a record is positive for a superclass or subclass with any of its statements, and its score is the "
    "logarithm of the sum of exp(scale * cosine + tau * log prior) over them, the logits of the training. Minutes are of training, with "
    "the validations between the epochs; peak memory is that of the process in training, or of the GPU where there is one."
)


@dataclass(frozen=True)
class Row:
    """One recipe.

    Attributes:
        recipe: Its name.
        seeds: Those that are done.
        figures: The ``metrics.json`` of each of them.
    """

    recipe: str
    seeds: Sequence[int]
    figures: Sequence[Figures]


def benchmark_table(rows: Sequence[Row], split: str) -> str:
    """Lay out a row per recipe.

    Args:
        rows: The recipes, each with at least one run.
        split: ``test`` or ``val``.

    Returns:
        A Markdown table; a figure that no run of a recipe has is a dash.
    """
    unseen = [UNSEEN] if any(f"{split}/{UNSEEN[0]}" in figures for row in rows for figures in row.figures) else []
    columns = [*COLUMNS, *unseen]
    costs = [title for _, title, _ in COSTS]
    heading = ["recipe", "seeds", "AUROC (interval)", *(title for _, title in columns), *costs, "parameters (ECG)", "peak memory"]
    lines = [heading, ["---"] * 2 + ["---:"] * (len(heading) - 2)]
    for row in rows:
        cells = [_cell(_mean(row.figures, f"{split}/{name}")) for name, _ in columns]
        cells += [_cost(_mean(row.figures, name), unit) for name, _, unit in COSTS]
        size = [_millions(_mean(row.figures, f"model/{name}")) for name in ("parameters", "ecg_parameters")]
        memory = _mean(row.figures, "time/peak_memory_mb")
        lines.append(
            [
                row.recipe,
                " ".join(map(str, row.seeds)),
                _with_interval(row.figures, split),
                *cells,
                f"{size[0]} ({size[1]})",
                "-" if memory is None else f"{memory:.0f} MB",
            ]
        )
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def difference_table(first: str, second: str, seeds: Sequence[int], paired: Paired) -> str:
    """Lay out a paired comparison: a row per figure, a column per seed and one for all.

    Args:
        first: Recipe that a positive difference speaks for.
        second: The other one.
        seeds: Of the pairs, in their order.
        paired: The differences.
    """
    heading = ["difference", *(f"seed {seed}" for seed in seeds), "mean over seeds"]
    lines = [heading, ["---"] + ["---:"] * (len(heading) - 1)]
    for name, title in DIFFERENCES:
        if name in paired.pooled:
            lines.append([title, *(_difference(d) for d in paired.each[name]), f"**{_difference(paired.pooled[name])}**"])
    body = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return (
        f"**{first} less {second}**, the same records and seeds, with the 95 % interval of the paired patient-level bootstrap (each "
        f"replicate weighs the patients alike for both, and takes the mean over seeds within it):\n\n{body}"
    )


def _difference(difference: Difference) -> str:
    return f"{difference.value:+.3f} ({difference.low:+.3f} to {difference.high:+.3f})"


def not_run(reasons: Sequence[tuple[str, str]]) -> str:
    """List the runs that could not be made, with the reason of each."""
    return "\n".join(f"- not run: {name}: {' '.join(reason.split())}" for name, reason in reasons)


def replace_section(text: str, name: str, section: str) -> str:
    """Put a section between its markers, and leave everything else of the text as it is.

    Args:
        text: Of the file so far.
        name: Of the section. A new one goes to the end.
        section: What stands between the markers.

    Raises:
        UserError: When the section has a beginning and no end.
    """
    begin, end = f"<!-- benchmark: {name} -->", "<!-- end -->"
    block = f"{begin}\n{section.strip()}\n{end}"
    before, found, after = text.partition(begin)
    if not found:
        return f"{text.rstrip()}\n\n{block}\n" if text.strip() else f"{block}\n"
    old, ended, rest = after.partition(end)
    if not ended or "<!-- benchmark: " in old:
        raise UserError(f"the section {name!r} has no {end}: add it where the section ends")
    return f"{before}{block}{rest}"


def write_section(path: Path, name: str, section: str, start: str = "# Benchmarks\n") -> None:
    """Write a section into a file, made where it is new.

    Args:
        path: Of the file.
        name: Of the section.
        section: What stands in it.
        start: What a new file begins with.

    Raises:
        UserError: When the section has a beginning and no end there, or the file cannot be written.
    """
    try:
        text = path.read_text(encoding="utf-8") if path.is_file() else start
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.part")
        partial.write_text(replace_section(text, name, section), encoding="utf-8")
        partial.replace(path)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror}): free or unlock it, or give another file with --out") from error


def machine() -> str:
    """Return what this machine is, for the line above a table: GPU or cores, and the version of torch."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    gpu = f"{torch.cuda.get_device_name(0)}, " if torch.cuda.is_available() else ""
    return f"{gpu}{cores} CPU core{'' if cores == 1 else 's'}, torch {torch.__version__}"


def _mean(figures: Sequence[Figures], name: str) -> float | None:
    """Mean over the runs; None where one of them has no such figure."""
    values = [run.get(name) for run in figures]
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present and len(present) == len(values) else None


def _with_interval(figures: Sequence[Figures], split: str) -> str:
    mean = _cell(_mean(figures, f"{split}/{AUROC}"))
    if len(figures) == 1:
        low, high = (figures[0].get(f"{split}/{AUROC}_{end}") for end in ("low", "high"))
    else:
        values = [value for value in (run.get(f"{split}/{AUROC}") for run in figures) if value is not None]
        low, high = (min(values), max(values)) if values else (None, None)
    return f"**{mean}** ({_cell(low)}-{_cell(high)})"


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _cost(value: float | None, unit: float) -> str:
    return "-" if value is None else f"{value / unit:.1f}".removesuffix(".0")


def _millions(value: float | None) -> str:
    return "-" if value is None else f"{value / 1e6:.2f} M"
