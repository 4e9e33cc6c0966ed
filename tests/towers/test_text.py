"""The text tower: the small BERT that is built here, and any encoder of a local folder."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, BertConfig, BertModel

from ecgclip.errors import UserError
from ecgclip.towers import TextTower
from ecgclip.towers.tokenizer import japanese_tokenizer, tokenize_texts
from tests.tiny_models import tiny_bert, tiny_llama

SMALL = {"hidden_size": 32, "layers": 2, "heads": 2}
TEXTS = ["洞調律", "心房細動、完全右脚ブロック、非特異的ST-T変化", "左脚前枝ブロック"]
TINY: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
}


def small(**arguments: Any) -> TextTower:
    torch.manual_seed(0)
    return TextTower(**(SMALL | arguments))


def tokens(*texts: str) -> dict[str, Tensor]:
    return tokenize_texts(japanese_tokenizer(), texts or TEXTS)


def numbers(*rows: list[int]) -> dict[str, Tensor]:
    """Texts as token numbers, padded."""
    longest = max(map(len, rows))
    return {
        "input_ids": torch.tensor([row + [0] * (longest - len(row)) for row in rows]),
        "attention_mask": torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows]),
    }


@pytest.fixture
def pretrained(tmp_path: Path) -> tuple[str, BertModel]:
    """A model as a hub or a colleague gives it: a folder, its weights in half precision and with a pooler."""
    torch.manual_seed(3)
    model = BertModel(BertConfig(**TINY)).to(torch.bfloat16)
    model.save_pretrained(tmp_path / "encoder")
    return str(tmp_path / "encoder"), model.float().eval()


@pytest.mark.parametrize("pooling", ["words", "mean", "cls", "last_token"])
def test_padding_does_not_change_a_vector(pooling: str) -> None:
    tower = small(pooling=pooling).eval()
    together = tower(tokens())
    assert together.shape == (3, 32) == (3, tower.features)
    for text, vector in zip(TEXTS, together, strict=True):
        torch.testing.assert_close(tower(tokens(text))[0], vector, rtol=1e-4, atol=1e-6)
    wider = {name: torch.cat((rows, rows.new_zeros(3, 20)), dim=1) for name, rows in tokens().items()}
    torch.testing.assert_close(tower(wider), together, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("pooling", ["words", "mean", "cls"])
def test_pooling_is_what_it_says(pooling: str) -> None:
    tower, texts = small(pooling=pooling).eval(), tokens()
    states = tower.encoder(**texts).last_hidden_state
    for row, vector in enumerate(tower(texts)):
        length = int(texts["attention_mask"][row].sum())
        first, last = (1, length - 1) if pooling == "words" else (0, length)
        expected = states[row, 0] if pooling == "cls" else sum(states[row, i] for i in range(first, last)) / (last - first)
        torch.testing.assert_close(vector, expected)


def learns(tower: nn.Module, texts: dict[str, Tensor]) -> list[str]:
    """Names of the parameters that get no gradient."""
    tower.train()
    torch.manual_seed(1)
    output = tower(texts)
    (output * torch.randn_like(output)).sum().backward()
    return [name for name, p in tower.named_parameters() if not p.requires_grad or p.grad is None or not p.grad.any()]


@pytest.mark.parametrize("pooling", ["words", "mean", "cls"])
def test_every_parameter_gets_a_gradient(pooling: str) -> None:
    assert learns(small(pooling=pooling), tokens()) == []


def test_every_parameter_of_a_pretrained_encoder_gets_a_gradient(pretrained: tuple[str, BertModel]) -> None:
    # A parameter without one stops DistributedDataParallel at the second step.
    assert learns(TextTower(model=pretrained[0]), numbers([2, 7, 9, 3], [2, 30, 3])) == []


def test_different_texts_have_different_vectors() -> None:
    vectors = small().eval()(tokens("右脚ブロック", "左脚ブロック", "完全右脚ブロック"))
    assert torch.pdist(vectors).min() > 1e-3


def test_a_local_folder_brings_its_weights(pretrained: tuple[str, BertModel], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, model = pretrained
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    tower = TextTower(model=folder, pooling="mean")
    assert tower.features == 16
    # In full precision, whatever it was stored in, and with its dropout on, as a module is until somebody says otherwise.
    assert {p.dtype for p in tower.parameters()} == {torch.float32}
    assert all(module.training for module in tower.modules())
    texts = numbers([2, 7, 9, 3], [2, 30, 3])
    states = model(**texts).last_hidden_state
    expected = torch.stack((states[0].mean(0), states[1, :3].mean(0)))
    torch.testing.assert_close(tower.eval()(texts), expected)


def test_a_small_tower_is_built_again_from_its_configuration() -> None:
    tower = small(pooling="cls").eval()
    again = TextTower(pooling="cls", config=json.loads(json.dumps(tower.encoder_config()))).eval()
    again.load_state_dict(tower.state_dict())
    torch.testing.assert_close(again(tokens()), tower(tokens()), rtol=0, atol=0)


def test_a_pretrained_tower_is_built_again_without_its_folder(pretrained: tuple[str, BertModel], monkeypatch: pytest.MonkeyPatch) -> None:
    tower = TextTower(model=pretrained[0]).eval()
    config = json.loads(json.dumps(tower.encoder_config()))
    assert pretrained[0] not in json.dumps(config)
    monkeypatch.setattr(Path, "open", None)
    again = TextTower(config=config).eval()
    assert {p.dtype for p in again.parameters()} == {torch.float32}
    again.load_state_dict(tower.state_dict())
    texts = numbers([2, 7, 9, 3], [2, 30, 3])
    torch.testing.assert_close(again(texts), tower(texts), rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["roberta", "distilbert", "electra", "deberta-v2", "modernbert"])
def test_other_encoders_work_too(kind: str, tmp_path: Path) -> None:
    sizes = TINY | {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 24, "embedding_size": 16, "pad_token_id": 0}
    if kind == "modernbert":
        sizes |= {"cls_token_id": 2, "bos_token_id": 2, "sep_token_id": 3, "eos_token_id": 3}
    config = AutoConfig.for_model(kind, **sizes)
    tower = TextTower(config=config.to_dict())
    assert tower(numbers([2, 7, 9, 3], [2, 30, 3])).shape == (2, 16)
    tower.encoder.save_pretrained(tmp_path)
    again = TextTower(model=str(tmp_path))
    texts = numbers([2, 7, 9, 3], [2, 30, 3])
    torch.testing.assert_close(again.eval()(texts), tower.eval()(texts))


def test_bf16_autocast_is_close_to_fp32() -> None:
    tower = small().eval()
    exact = tower(tokens())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = tower(tokens())
    assert torch.nn.functional.cosine_similarity(exact, rough.float()).min() > 0.999


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({"pooling": "max"}, "pooling 'max' is not one of words, mean, cls, last_token"),
        ({"model": "no/such/folder"}, "cannot load 'no/such/folder'"),
        ({"hidden_size": 30, "heads": 4}, "hidden_size 30 must be a multiple of heads 4"),
    ],
)
def test_bad_arguments_are_one_line(arguments: dict[str, Any], found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match=found) as error:
        TextTower(**arguments)
    assert "\n" not in str(error.value)


def test_a_folder_without_a_model_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="cannot load") as error:
        TextTower(model=str(tmp_path))
    assert "\n" not in str(error.value)


def moved(tower: TextTower, steps: int = 2) -> set[str]:
    """Names of the parameters that training changes; two steps, as the second matrix of an addition starts at zero."""
    before = {name: p.detach().clone() for name, p in tower.named_parameters()}
    optimizer = torch.optim.SGD([p for p in tower.parameters() if p.requires_grad], lr=0.5)
    target = torch.randn(2, tower.features)
    for _ in range(steps):
        optimizer.zero_grad()
        (tower(numbers([2, 7, 9, 3], [2, 30, 3])) - target).square().sum().backward()
        optimizer.step()
    return {name for name, p in tower.named_parameters() if not p.equal(before[name])}


@pytest.fixture(params=[tiny_bert, tiny_llama], ids=["bert", "llama"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(request.param(tmp_path / "model"))


@pytest.mark.parametrize("layers", [0, 1, 2, None])
def test_exactly_the_last_layers_move(folder: str, layers: int | None) -> None:
    tower = TextTower(model=folder, tune_layers=layers)
    depth = tower.encoder.config.num_hidden_layers
    names = {name for name, _ in tower.named_parameters()}
    stack = {name: int(re.search(r"layers?\.(\d+)\.", name)[1]) for name in names if re.search(r"layers?\.\d+\.", name)}
    expected = names if layers is None else {name for name, number in stack.items() if number >= depth - layers}
    if layers and "encoder.norm.weight" in names:
        expected.add("encoder.norm.weight")
    # A key's bias shifts all of a query's scores alike: it never gets a gradient.
    changed = moved(tower) if layers != 0 else set()
    assert {name for name in expected if not name.endswith("key.bias")} == {name for name in changed if not name.endswith("key.bias")}
    assert {name for name, p in tower.named_parameters() if p.requires_grad} == expected


def test_lora_moves_its_additions_and_nothing_else(folder: str) -> None:
    texts = numbers([2, 7, 9, 3], [2, 30, 3])
    tower = TextTower(model=folder, lora_rank=2)
    torch.testing.assert_close(tower.eval()(texts), TextTower(model=folder).eval()(texts))
    changed = moved(tower.train())
    additions = {name for name, _ in tower.named_parameters() if "lora_" in name}
    # Of every linear layer; the key's of the last BERT layer gets a gradient only through the softmax, which may be tiny.
    assert changed <= additions and len(changed) > 0.9 * len(additions) > 10
    assert {name for name, p in tower.named_parameters() if p.requires_grad} == additions


def test_lora_is_merged_for_an_artefact_and_built_again_for_a_checkpoint(folder: str) -> None:
    texts = numbers([2, 7, 9, 3], [2, 30, 3])
    tower = TextTower(model=folder, lora_rank=2)
    untrained = tower.eval()(texts)
    moved(tower.train())
    trained = tower.eval()(texts)
    assert (trained - untrained).abs().max() > 1e-2
    merged = TextTower(pooling=tower.pooling, config=json.loads(json.dumps(tower.encoder_config()))).eval()
    merged.load_state_dict(tower.encoder_state())
    torch.testing.assert_close(merged(texts), trained, rtol=1e-4, atol=1e-5)
    again = TextTower(model=folder, lora_rank=2).eval()
    again.load_state_dict(tower.state_dict())
    torch.testing.assert_close(again(texts), trained)


def test_a_decoder_takes_its_last_token(tmp_path: Path) -> None:
    tower = TextTower(model=str(tiny_llama(tmp_path))).eval()
    texts = tokenize_texts(japanese_tokenizer(str(tmp_path)), ["AF", "洞調律"])
    assert tower.pooling == "last_token"
    states = tower.encoder(**texts).last_hidden_state
    torch.testing.assert_close(tower(texts), torch.stack((states[0, 2], states[1, 9])))
    alone = tokenize_texts(japanese_tokenizer(str(tmp_path)), ["AF"])
    torch.testing.assert_close(tower(alone)[0], tower(texts)[0], rtol=1e-4, atol=1e-5)


def test_peft_that_is_not_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UserError, match=r"pip install 'ecgclip\[lora\]'"):
        TextTower(model=str(tiny_bert(tmp_path)), lora_rank=2)


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({"tune_layers": 4}, "tune_layers 4 is not one of 0 to 3"),
        ({"tune_layers": 1, "lora_rank": 2}, "lora_rank 2 and tune_layers 1: give one"),
        ({"lora_rank": -1}, "no negative rank"),
    ],
)
def test_a_part_that_cannot_be_trained_is_one_line(tmp_path: Path, arguments: dict[str, Any], found: str) -> None:
    with pytest.raises(UserError, match=found) as error:
        TextTower(model=str(tiny_bert(tmp_path)), **arguments)
    assert "\n" not in str(error.value)
