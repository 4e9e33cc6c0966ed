"""Speed: the yardstick is the same model, both are measured in one call, and the towers' table is written."""

import re

import numpy as np
import pytest
import torch

from ecgclip.baseline_speed import PlainModel, PlainRecords, plain_records_per_second
from ecgclip.cli import main
from ecgclip.labels.captions import joined_caption
from ecgclip.model import ECGCLIP
from ecgclip.signals.path import SignalPath
from ecgclip.speed import has_yardstick, plain_model
from ecgclip.store import Store, StoreWriter, quantise
from ecgclip.towers.tokenizer import japanese_tokenizer
from tests.running import EXPERIMENTS, SMALL

ECG = {"width": 8, "kernel": 5, "stem_kernel": 9, "stem_stride": 4}
TEXT = {"hidden_size": 32, "layers": 1, "heads": 2, "dropout": 0.0}


def pair(tower: str) -> tuple[ECGCLIP, PlainModel]:
    ours = ECGCLIP(ecg_tower=tower, ecg_tower_args=ECG, text_tower_args=TEXT, embed_dim=16)
    return ours, plain_model(ours.hparams, len(japanese_tokenizer()))


@pytest.mark.parametrize("tower", ["resnet18", "resnet34"])
def test_the_yardstick_is_the_same_model(tower):
    ours, plain = pair(tower)
    assert has_yardstick(ours.hparams)
    towers = (ours.ecg_encoder, ours.text_tower, ours.text_projection)
    size = sum(p.numel() for module in towers for p in module.parameters())
    assert size == sum(p.numel() for p in plain.parameters())
    # With our weights, it computes what ours does.
    weights = list(ours.ecg_encoder.tower.state_dict().values())
    own = plain.ecg_tower.state_dict()
    assert len(own) == len(weights)
    plain.ecg_tower.load_state_dict({name: w.reshape(own[name].shape) for name, w in zip(own, weights, strict=True)})
    plain.ecg_projection.load_state_dict(ours.ecg_encoder.projection.state_dict())
    plain.text_tower.load_state_dict(ours.text_tower.encoder.state_dict())
    plain.text_projection.load_state_dict(ours.text_projection.state_dict())
    ecg = torch.randn(3, 12, 250)
    texts = japanese_tokenizer()(["洞調律、心房細動", "左脚ブロック", "正常"], padding=True, return_tensors="pt")
    for model in (ours, plain):
        model.eval()
    with torch.no_grad():
        vectors, _ = plain(ecg, texts)
        torch.testing.assert_close(vectors, ours.ecg_encoder(ecg), atol=1e-5, rtol=1e-4)


def test_it_trains(tmp_path):
    with StoreWriter(tmp_path / "store", signal_path=SignalPath(100, 3), annotated=None, made_from="x") as writer:
        signals = np.random.default_rng(0).normal(0, 0.5, (8, 12, 300))
        row = {"split": "train", "labels": [], "unknown": [], "modifiers": {}, "missing_leads": [], "quality": [], "source": "test"}
        writer.append(quantise(signals), [row | {"id": f"r{i}", "patient": f"p{i}"} for i in range(8)])
        writer.finish()
    records = PlainRecords(Store.open(tmp_path / "store"), np.arange(8), [joined_caption(["正常", f"所見{i}"]) for i in range(8)], 250)
    crop, caption = records[3]
    assert crop.shape == (12, 250) and crop.dtype == np.float32 and caption == "正常、所見3"
    whole = quantise(signals)[3] * 1e-3
    assert any(np.allclose(crop, whole[:, start : start + 250]) for start in range(51))
    _, model = pair("resnet18")
    before = {name: value.clone() for name, value in model.named_parameters()}
    speed = plain_records_per_second(model, records, japanese_tokenizer(), batch_size=4, steps=3, warm_up=1, device=torch.device("cpu"))
    assert speed > 0
    for part in ("ecg_tower", "ecg_projection", "text_tower", "text_projection"):
        assert any(not value.equal(before[name]) for name, value in model.named_parameters() if name.startswith(part)), part


def number(text: str, pattern: str) -> float:
    found = re.search(pattern, text)
    assert found, text
    return float(found[1])


def test_bench_measures_both_in_turns_and_keeps_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["bench", f"--config={EXPERIMENTS / 'debug.yaml'}", *SMALL, "--data.init_args.train=320", "--steps=8", "--repeats=2"])
    text = capsys.readouterr().out
    ours = number(text, r"real loading: (\d+) records/s \(median of")
    plain = number(text, r"Straightforward implementation .*: (\d+) records/s")
    assert ours > 0 and plain > 0 and number(text, r"Ratio: ([\d.]+) \(") > 0
    assert 0 <= number(text, r"spent on data .*: ([\d.]+) %") <= 100
    assert list(tmp_path.iterdir()) == []


def test_bench_of_another_model_says_that_it_has_no_yardstick(tmp_path, capsys):
    options = [option for option in SMALL if "stem_stride" not in option] + ["--data.init_args.train=320"]
    main(["bench", f"--config={EXPERIMENTS / 'debug.yaml'}", *options, "--model.ecg_tower=xresnet18", "--steps=6", "--repeats=1"])
    assert "Ratio: none" in capsys.readouterr().out


@pytest.mark.parametrize(
    "change",
    [
        {"ecg_tower": "xresnet18"},
        {"text_tower": "frozen"},
        {"ecg_tower_args": {"pooling": "attention"}},
        {"text_tower_args": {"model": "tohoku-nlp/bert-base-japanese-v3"}},
        {"text_tower_args": {"lora_rank": 4}},
    ],
)
def test_a_model_that_differs_is_not_compared(change):
    same = {"ecg_tower": "resnet18", "text_tower": "bert", "ecg_tower_args": None, "text_tower_args": {"model": "ecgclip"}}
    assert has_yardstick(same) and not has_yardstick(same | change)


def test_towers_are_measured_and_their_table_is_written(tmp_path, capsys):
    out = tmp_path / "table.md"
    out.write_text("# Kept\n")
    main(["bench-towers", "--towers", "resnet18", "vit", "--seconds=0.01", "--batch=4", "--device=cpu", f"--out={out}"])
    text = out.read_text()
    assert text.startswith("# Kept\n\n<!-- benchmark: towers -->")
    rows = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in text.splitlines() if "| " in line}
    assert rows["resnet18"][0].endswith(" M") and int(rows["vit"][2]) > 0
    with pytest.raises(SystemExit):
        main(["bench-towers", "--towers", "resnet19"])
    assert "resnet18" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--steps=5"], ["--repeats=0"], [*SMALL, "--repeats=1"]])
def test_a_measurement_of_nothing_is_refused(capsys, options):
    with pytest.raises(SystemExit):
        main(["bench", f"--config={EXPERIMENTS / 'debug.yaml'}", *options])
    assert "warm-up" in capsys.readouterr().err
