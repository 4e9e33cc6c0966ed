"""The tables of a model that was trained on simulated ECGs alone and reads real ones."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ecgclip.report.benchmark import Figures

SETS = (  # Of labels: what they are called in the figures, and in the table.
    ("visible", "labels that can be checked on the ECG alone"),
    ("visible10", "those of them with 10 positives or more"),
    ("ptbxl71", "the 71 statements"),
)
HEADLINE = ("AFIB", "CRBBB", "CLBBB", "PVC", "PACE", "STACH", "SBRAD", "1AVB")
LEGEND = (
    "AUROC through the Japanese names of a label, with its interval: of one model the 95 % patient-level bootstrap, of several the lowest "
    "and the highest beside their mean. *Visible* are the 53 of the 71 statements with a criterion that can be checked on the ECG alone; "
    "they were chosen before anything was measured. A macro figure is the mean over the labels with a positive record."
)
FEW_LEGEND = (
    "Mean over the seeds, the lowest and the highest in brackets; a seed draws the patients as well as everything else of a training, the "
    "same ones for both beginnings. Both are trained for the same steps at the same peak learning rate (the text tower's is a quarter of "
    "it), and the last step is evaluated: no validation record chooses an epoch."
)


@dataclass(frozen=True)
class Reading:
    """What one model says of real ECGs.

    Attributes:
        seed: Of its training.
        own: The ``metrics.json`` of its run.
        figures: The ``metrics.json`` of its evaluation on real ECGs.
        macros: Flat: ``<set>/auroc_macro``, ``_low``, ``_high`` and ``<set>/labels`` of the sets of this table.
        labels: The rows of ``per_label.csv``, in the order of the catalogue.
        visible: Ids of the visible statements.
    """

    seed: int
    own: Figures
    figures: Figures
    macros: Figures
    labels: Sequence[Mapping[str, str]]
    visible: Collection[str]


@dataclass(frozen=True)
class FewLabels:
    """One row of the table of few labels.

    Attributes:
        start: What the weights were in the beginning.
        rate: Peak learning rate; None where nothing was trained.
        seeds: Those that are done.
        macros: Of each of them, see :class:`Reading`.
        minutes: Of training, the mean over the seeds.
    """

    start: str
    rate: float | None
    seeds: Sequence[int]
    macros: Sequence[Figures]
    minutes: float | None = None


def headline_table(readings: Sequence[Reading], split: str) -> str:
    """Lay out the macro figures, and the AUROC of the labels that the headline is about.

    Args:
        readings: One for each seed.
        split: ``test`` or ``val``.
    """
    untrained = readings[0].figures.get(f"{split}/random_tower/ptbxl71/auroc_macro")
    lines = [["macro AUROC over", "labels", "AUROC (interval)", "untrained tower"], ["---"] + ["---:"] * 3]
    for name, title in SETS:
        count = readings[0].macros.get(f"{name}/labels")
        baseline = cell(untrained) if name == "ptbxl71" else "-"
        lines.append([title, "-" if count is None else f"{count:.0f}", f"**{macro_cell([r.macros for r in readings], name)}**", baseline])
    rows = {row["id"]: row for row in label_rows(readings)}
    findings = [["finding", "n", "AUROC", "interval"], ["---"] + ["---:"] * 3]
    for name in HEADLINE:
        row = rows.get(name)
        findings.append([f"{row['ja']} ({name})", row["n"], f"**{row['auroc']}**", row["interval"]] if row else [name, "0", "-", "-"])
    return f"{_markdown(lines)}\n\n{_markdown(findings)}"


def label_table(readings: Sequence[Reading]) -> str:
    """Lay out every label with a positive record, in the order of the catalogue."""
    lines = [["label", "id", "visible", "n", "AUROC", "interval"], ["---"] * 3 + ["---:"] * 3]
    for row in label_rows(readings):
        lines.append([row[name] for name in ("ja", "id", "visible", "n", "auroc", "interval")])
    return _markdown(lines)


def label_rows(readings: Sequence[Reading]) -> list[dict[str, str]]:
    """Return ``id``, ``ja``, ``visible``, ``n``, ``auroc`` and ``interval`` of every label with a positive record, ready for a table."""
    found = []
    for rows in zip(*(reading.labels for reading in readings), strict=True):
        if int(rows[0]["n"]) == 0:
            continue
        values = [float(row["auroc"]) for row in rows if row["auroc"]]
        mean = sum(values) / len(values) if values else None
        ends = [rows[0]["auroc_low"], rows[0]["auroc_high"]] if len(rows) == 1 else [str(min(values)), str(max(values))]
        interval = "-".join(cell(float(end)) for end in ends) if all(ends) else "-"
        named = {name: rows[0][name] for name in ("id", "ja", "n")} | {"visible": "yes" if rows[0]["id"] in readings[0].visible else ""}
        found.append(named | {"auroc": cell(mean), "interval": interval})
    return found


def few_labels_table(rows: Sequence[FewLabels]) -> str:
    """Lay out a row for each beginning and learning rate."""
    lines = [["weights in the beginning", "learning rate", "seeds", "visible", "the 71", "minutes"], ["---"] * 3 + ["---:"] * 3]
    for row in rows:
        figures = [macro_cell(row.macros, name) for name in ("visible", "ptbxl71")]
        rate = "not trained" if row.rate is None else f"{row.rate:g}"
        lines.append([row.start, rate, " ".join(map(str, row.seeds)), *figures, "-" if row.minutes is None else f"{row.minutes:.1f}"])
    return _markdown(lines)


def macro_cell(figures: Sequence[Figures], name: str) -> str:
    """Return the macro AUROC over a set: of several models their mean and range, of one its interval where that was computed."""
    values = [value for value in (run.get(f"{name}/auroc_macro") for run in figures) if value is not None and value == value]
    if not values:
        return "-"
    low, high = (min(values), max(values)) if len(figures) > 1 else (figures[0].get(f"{name}/auroc_macro_{end}") for end in ("low", "high"))
    mean = cell(sum(values) / len(values))
    return mean if low is None or high is None else f"{mean} ({cell(low)}-{cell(high)})"


def cell(value: float | None) -> str:
    """Return a figure with three decimals, or a dash where there is none."""
    return "-" if value is None or value != value else f"{value:.3f}"


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
