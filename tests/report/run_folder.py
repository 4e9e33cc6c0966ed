"""A run folder as a training leaves it, made in seconds: noisy vectors that point at their labels, every figure computed from them."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import yaml

from ecgclip.callbacks.zero_shot import record_groups, write_per_label
from ecgclip.evaluation import PROTOCOL
from ecgclip.evaluation.baselines import prevalence_scores
from ecgclip.evaluation.few_shot import choose_support, few_shot
from ecgclip.evaluation.full import Scored, embedding_map, full_evaluation, text_similarity
from ecgclip.evaluation.ptbxl_groups import statement_sets
from ecgclip.evaluation.retrieval import retrieval_figures
from ecgclip.evaluation.zero_shot import label_sets, zero_shot_report, zero_shot_scores
from ecgclip.labels import POSITIVE, Catalogue
from ecgclip.run import add_metrics, environment
from ecgclip.scores import SavedScores, save_evaluation, save_scores
from ecgclip.signals.plot import plot_ecg
from ecgclip.simulation import simulate
from ecgclip.simulation.label_sets import draw_label_sets

WITHHELD = ("STACH", "CLBBB", "LPFB", "RVH", "RAO/RAE", "ILMI", "ALMI", "LMI", "ISCIN", "ISCLA", "INJAL", "INVT", "LVOLT", "PAC")
EXPERIMENT, TIME = "resnet_bert", "2026-11-26_10-00-00"
SCALE = 12.0  # Of the cosines, to logits.
DIMENSIONS = 48


def make_run(
    folder: Path,
    *,
    noise: float = 1.0,
    seed: int = 0,
    records: int = 400,
    time: str = TIME,
    splits: Sequence[str] = ("val", "test"),
    pictures: int = 4,
    replicates: int = 40,
) -> Path:
    """Make ``folder/runs/<experiment>/<time>``.

    Args:
        folder: Where ``runs`` is.
        noise: How far the vectors of ECGs are from those of their labels; more is a worse model.
        seed: Of the model; the records are the same for every seed.
        records: In each split.
        time: Name of the run.
        splits: Those that were evaluated.
        pictures: ECGs to draw, of the test or of what there is.
        replicates: Of the bootstrap.
    """
    run = folder / "runs" / EXPERIMENT / time
    (run / "checkpoints").mkdir(parents=True)
    catalogue = Catalogue.load("ja98")
    classes = _classes(catalogue)
    scored: dict[str, Scored] = {}
    for number, split in enumerate(("train", "val", "test")):
        sets = draw_label_sets(records, seed=number, prevalence="hospital")
        labels = torch.from_numpy(np.stack([np.isin(np.array(catalogue.ids), sorted(of)) for of in sets])).to(torch.int8)
        vectors = _vectors(labels, classes, noise, seed * 10 + number)
        scores = zero_shot_scores(vectors, classes)
        scored[split] = Scored(scores, scores * SCALE, labels, np.array([f"{split}{i // 2}" for i in range(records)]))
        if split in splits:
            _evaluate(run, split, catalogue, vectors, classes, scored, replicates, pictures if split == splits[-1] else 0)
    add_metrics(run, {f"data/{name}/records": float(records) for name in ("train", "val", "test")} | {"protocol/version": float(PROTOCOL)})
    _describe(run, catalogue)
    return run


def _classes(catalogue: Catalogue) -> torch.Tensor:
    """Label vectors, those of a group near each other."""
    draw = torch.Generator().manual_seed(99)
    groups = {name: torch.randn(DIMENSIONS, generator=draw) for name in sorted({label.group for label in catalogue})}
    return torch.stack([groups[label.group] + 0.9 * torch.randn(DIMENSIONS, generator=draw) for label in catalogue])


def _vectors(labels: torch.Tensor, classes: torch.Tensor, noise: float, seed: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    clean = F.normalize((labels == POSITIVE).float() @ F.normalize(classes, dim=1), dim=1)
    return clean + noise * torch.randn(clean.shape, generator=draw) / DIMENSIONS**0.5


def _evaluate(
    run: Path,
    split: str,
    catalogue: Catalogue,
    vectors: torch.Tensor,
    classes: torch.Tensor,
    scored: dict[str, Scored],
    replicates: int,
    pictures: int,
) -> None:
    """What the callbacks do at the end of a training, on these vectors."""
    here, train = scored[split], scored["train"]
    train_positives = (train.labels == POSITIVE).sum(0)
    sets = label_sets(
        here.labels,
        catalogue.ids,
        ptbxl71=[label.id for label in catalogue if "scp" in label.codes],
        visible=[label.id for label in catalogue if label.visible],
        withheld=WITHHELD,
        train_positives=train_positives,
        others=statement_sets(catalogue.ids),
    )
    evaluation = full_evaluation(
        here,
        catalogue,
        sets,
        fitted_on=None if split == "val" else scored["val"],
        train_positives=train_positives,
        groups=record_groups(_manifest(len(here.labels))),
        replicates=replicates,
    )
    figures = evaluation.figures | _beside(vectors, classes, here, train_positives, sets)
    caption = torch.arange(len(vectors)) // 2
    figures |= {f"retrieval/{name}": value for name, value in retrieval_figures(vectors, vectors[::2], caption).items()}
    figures |= {f"few_shot/{name}": value for name, value in _few_shot(vectors, classes, here, train).items()}
    add_metrics(run, {f"{split}/{name}": value for name, value in figures.items()})
    _, patients = np.unique(np.asarray(here.patients), return_inverse=True)
    ids = np.array([f"{split}{i:05x}" for i in range(len(vectors))])
    save_scores(run, split, SavedScores(here.scores.numpy(), here.labels.numpy(), ids, patients.astype(np.int32), np.array(catalogue.ids)))
    write_per_label(run / ("per_label.csv" if split == "test" else f"{split}_per_label.csv"), evaluation.rows)
    detail = evaluation.detail | {
        "split": split,
        "data": "simulated",
        "similarity": text_similarity(classes),
        "map": embedding_map(vectors, here.labels, catalogue.ids),
        "examples": _examples(run, split, catalogue, here, ids, pictures),
    }
    for row in detail["labels"]:
        row["unseen"] = row["id"] in WITHHELD
    save_evaluation(run, split, detail)


def _beside(
    vectors: torch.Tensor, classes: torch.Tensor, here: Scored, train_positives: torch.Tensor, sets: dict[str, torch.Tensor]
) -> dict[str, float]:
    """Baselines, probes, prompts, leads and a drift."""
    random = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(5))
    others = {"random_tower": zero_shot_scores(random, classes), "prevalence": prevalence_scores(train_positives, len(vectors))}
    # Stand-ins for what is fitted on other vectors: the page shows figures, wherever they come from.
    better = zero_shot_scores(_vectors(here.labels, classes, 0.4, 77), classes)
    others |= {f"linear_probe/p{share}": better for share in (1, 10, 100)} | {
        "random_probe/p100": others["random_tower"],
        "knn": here.scores,
    }
    others |= {f"prompts/{name}": here.scores for name in ("single", "synonyms", "english", "mixed")}
    others |= {f"leads/{leads}": here.scores for leads in (12, 6, 3, 2, 1)} | {"drift/noise": here.scores}
    return {f"{name}/{key}": value for name, scores in others.items() for key, value in zero_shot_report(scores, here.labels, sets).items()}


def _few_shot(vectors: torch.Tensor, classes: torch.Tensor, here: Scored, train: Scored) -> dict[str, float]:
    support = _vectors(train.labels, classes, 1.0, 3)
    plan = choose_support(train.labels, train.patients, 4, range(2))
    return few_shot(
        support,
        train.labels,
        plan,
        vectors,
        here.labels,
        classes,
        support_patients=train.patients,
        query_patients=here.patients,
        ks=(1, 2, 4),
    )


def _manifest(records: int):  # type: ignore[no-untyped-def]
    import pandas as pd

    draw = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "sex": draw.choice(["F", "M"], records),
            "age": draw.integers(20, 95, records).astype(float),
            "device": draw.choice(["FCP-8800", "ECG-2550"], records),
            "site": [None] * records,
        }
    )


def _examples(run: Path, split: str, catalogue: Catalogue, here: Scored, ids: np.ndarray, pictures: int) -> list[dict[str, object]]:
    examples = []
    for row in range(pictures):
        labels = [catalogue.ids[int(i)] for i in (here.labels[row] == POSITIVE).nonzero().flatten()]
        name = f"{split}_{ids[row]}"
        best = here.scores[row].topk(5)
        top = [(catalogue.ids[int(i)], round(float(value), 3)) for value, i in zip(*best, strict=True)]
        signal = simulate([labels], [row], sampling_rate=100, seconds=10)[0]
        plot_ecg(signal, 100, title=name, path=run / "pictures" / f"{name}.png")
        kind = ("best", "worst", "label")[row % 3]
        examples.append({"kind": kind, "record": str(ids[row]), "picture": f"pictures/{name}.png", "labels": labels, "top": top})
    return examples


def _describe(run: Path, catalogue: Catalogue) -> None:
    """Configuration, environment, artefact and curves."""
    config = yaml.safe_load((Path(__file__).parents[2] / "experiments" / f"{EXPERIMENT}.yaml").read_text(encoding="utf-8"))
    config["runs"] = "/home/yamada/runs"
    config["data"]["init_args"]["root"] = "/mnt/yamada/archive"
    config["data"]["init_args"]["catalogue"] = "/home/yamada/labels/own.yaml"
    (run / "config.yaml").write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    (run / "environment.json").write_text(json.dumps(environment()), encoding="utf-8")
    artefact = run / "artefact"
    artefact.mkdir()
    path = {"sampling_rate": 100.0, "seconds": 10.0, "filter": "default", "mains": None}
    described = {"format": 2, "ecgclip": "0", "model": config["model"], "preprocessing": path, "thresholds": {"SR": 0.1}}
    (artefact / "config.json").write_text(json.dumps(described), encoding="utf-8")
    (artefact / "catalogue.yaml").write_text(yaml.safe_dump(catalogue.entries(), allow_unicode=True), encoding="utf-8")
    for name, epochs in (("metrics.1.csv", range(3)), ("metrics.csv", range(3, 8))):
        with (run / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(
                file,
                ["epoch", "step", "protocol/version", "train/loss", "val/zero_shot/all/auroc_macro", "val/zero_shot/unseen/auroc_macro"],
            )
            writer.writeheader()
            for epoch in epochs:
                writer.writerow({"epoch": epoch, "step": epoch * 20 + 10, "train/loss": 4 - 0.4 * epoch})
                area = {"val/zero_shot/all/auroc_macro": 0.6 + 0.04 * epoch, "val/zero_shot/unseen/auroc_macro": 0.55 + 0.02 * epoch}
                writer.writerow({"epoch": epoch, "step": epoch * 20 + 19} | area)
            # The evaluation of the best weights that closes a training.
            writer.writerow({"epoch": 8, "step": 160, "protocol/version": PROTOCOL, "val/zero_shot/all/auroc_macro": 0.9})
