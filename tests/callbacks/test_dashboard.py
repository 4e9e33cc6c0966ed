"""What a run shows on W&B lies in the folder of an offline run, whole."""

import json

from tests.running import SMALL, fit


def test_an_offline_run_holds_tables_charts_and_ecgs(tmp_path):
    run = fit(tmp_path, "--trainer.max_epochs=1", "--wandb=offline", small=[option for option in SMALL if "wandb" not in option])
    media = {path for path in run.glob("wandb/offline-run-*/files/media/**/*") if path.is_file()}
    names = {path.name.split("_")[0] for path in media if path.parent.name == "test evaluation"}
    assert {
        "per label",
        "confusion",
        "examples",
        "text similarity",
        "few-shot auroc",
        "reliability",
        "embeddings",
        "weakest labels",
    } <= names
    (table,) = (path for path in media if path.name.startswith("per label") and path.parent.name == "test evaluation")
    content = json.loads(table.read_text())
    assert len(content["data"]) == 98 and {"ja", "auroc_low", "f1", "ece"} <= set(content["columns"])
    assert sum(path.name.startswith("examples") for path in media) >= 2
