"""What a run shows on W&B: a few curves out of many figures, and tables, charts and ECGs of its evaluations, in offline runs too."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger

from ecgclip.callbacks.examples import PICTURES
from ecgclip.drawing import plot_similarity

# A training logs hundreds of figures, and W&B makes a panel of each. Those of a whole family are hidden, and come back by name.
FAMILIES = ("val/zero_shot/*", "val/random_tower/*", "val/prevalence/*", "val/few_shot/*", "val/calibration/*")
SHOWN = tuple(
    f"val/zero_shot/{of}/{figure}"
    for of in ("all", "n10", "unseen", "tail")
    for figure in ("auroc_macro", "auprc_macro", "top5_macro", "top1_macro")
)
BARS = 30  # Labels in a bar chart.
METHODS = ("prototype", "linear_probe", "tip_adapter", "tip_adapter_f")


def lay_out(logger: WandbLogger) -> None:
    """Choose the panels of a run: the curves of the training, the headline figures of each validation, and all that is charted later."""
    run: Any = logger.experiment
    for family in FAMILIES:
        run.define_metric(family, step_metric="trainer/global_step", hidden=True)
        run.define_metric(family.replace("val/", "test/", 1), step_metric="trainer/global_step", hidden=True)
    for name in SHOWN:
        run.define_metric(name, step_metric="trainer/global_step", summary="max")


def show_evaluation(logger: WandbLogger, split: str, detail: Mapping[str, Any], folder: Path) -> None:
    """Log an evaluation: tables that can be sorted and filtered, charts, and example ECGs with their five best labels.

    Args:
        logger: Of the run.
        split: ``val`` or ``test``.
        detail: Content of ``evaluation_<split>.json``.
        folder: Of results, in which the pictures lie.
    """
    import wandb

    rows, names = detail["labels"], {row["id"]: row["ja"] for row in detail["labels"]}
    named = [row for row in rows if row["auroc"] is not None]
    weakest = sorted(named, key=lambda row: row["auroc"])[:BARS]
    shown: dict[str, Any] = {
        "per label": _table(rows),
        "weakest labels": wandb.plot.bar(
            wandb.Table(columns=["label", "AUROC"], data=[[row["ja"], row["auroc"]] for row in weakest]),
            "label",
            "AUROC",
            title=f"AUROC, the {len(weakest)} weakest labels",
        ),
        "reliability": _reliability(detail["reliability"]),
        "embeddings": wandb.plot.scatter(
            wandb.Table(
                columns=["x", "y", "label"],
                data=[[x, y, names.get(label, "")] for x, y, label in zip(*detail["map"].values(), strict=True)],
            ),
            "x",
            "y",
            title="ECG vectors, two principal components",
        ),
        "text similarity": wandb.Image(str(_similarity(detail, folder))),
    }
    if detail["confusion"]:
        shown["confusion"] = _table(
            {"label": names[pair["id"]], "taken for": names[pair["other"]], **{k: pair[k] for k in ("share", "n")}}
            for pair in detail["confusion"]
        )
    if detail["subgroups"]:
        shown["subgroups"] = _table(detail["subgroups"])
    if detail["examples"]:
        shown["examples"] = _examples(detail["examples"], names, folder)
    logger.experiment.log({f"{split} evaluation/{name}": value for name, value in shown.items()})


def show_few_shot(logger: WandbLogger, split: str, figures: Mapping[str, float], ks: Sequence[int]) -> None:
    """Log curves over k, one for each figure, with zero-shot as k = 0.

    Args:
        logger: Of the run.
        split: ``val`` or ``test``.
        figures: Of :func:`ecgclip.evaluation.few_shot.few_shot`.
        ks: Records per label.
    """
    import wandb

    for name, title in (("top5_macro", "top-5, macro"), ("top1_macro", "top-1, macro"), ("auroc_macro", "macro AUROC")):
        methods = [method for method in METHODS if f"{method}/k{ks[0]}/{name}" in figures]
        lines = [
            [figures[f"zero_shot/k0/{name}"], *(figures[f"{m}/k{k}/{name}"] for k in ks if f"{m}/k{k}/{name}" in figures)] for m in methods
        ]
        if lines:
            xs = [0, *ks][: len(lines[0])]
            chart = wandb.plot.line_series(xs=xs, ys=lines, keys=methods, title=f"Few-shot: {title}", xname="records per label")
            logger.experiment.log({f"{split} evaluation/few-shot {name}": chart})


def _table(rows: Iterable[Mapping[str, Any]]) -> Any:
    import wandb

    rows = list(rows)
    return wandb.Table(columns=list(rows[0]), data=[list(row.values()) for row in rows])


def _reliability(curves: Mapping[str, Mapping[str, Sequence[float | None]]]) -> Any:
    import wandb

    xs, ys = [[0.0, 1.0]], [[0.0, 1.0]]
    for curve in curves.values():
        points = [(x, y) for x, y in zip(curve["confidence"], curve["observed"], strict=True) if x is not None and y is not None]
        xs.append([x for x, _ in points])
        ys.append([y for _, y in points])
    return wandb.plot.line_series(xs=xs, ys=ys, keys=["perfect", *curves], title="Reliability", xname="predicted probability")


def _similarity(detail: Mapping[str, Any], folder: Path) -> Path:
    """Draw the cosines between labels; a picture, because a table of ten thousand numbers says nothing."""
    return plot_similarity({"": detail["similarity"]}, [row["ja"] for row in detail["labels"]], folder / PICTURES / "text_similarity.png")


def _examples(examples: Sequence[Mapping[str, Any]], names: Mapping[str, str], folder: Path) -> list[Any]:
    """Return the pages with their labels as captions; pictures within a table would not lie in the folder of an offline run."""
    import wandb

    pages = []
    for example in examples:
        best = ", ".join(f"{names[name]} {score:+.2f}" for name, score in example["top"])
        labels = "、".join(names[name] for name in example["labels"])
        pages.append(wandb.Image(str(folder / example["picture"]), caption=f"{example['kind']}: {labels} | {best}"))
    return pages
