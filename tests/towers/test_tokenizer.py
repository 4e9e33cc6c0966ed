"""Japanese names have to stay apart all the way from the catalogue to the numbers that a text tower reads."""

import pickle
import random

import pytest
import torch
from transformers import BertTokenizerFast

from ecgclip.errors import UserError
from ecgclip.labels import Catalogue
from ecgclip.labels.captions import joined_caption
from ecgclip.towers.tokenizer import VOCABULARY, build_vocabulary, japanese_tokenizer, tokenize_texts

JA98 = Catalogue.load("ja98")


@pytest.fixture(scope="module")
def tokenizer():
    return japanese_tokenizer()


def numbers(tokenizer, text: str) -> tuple[int, ...]:
    return tuple(tokenizer(text)["input_ids"])


def test_shipped_vocabulary_is_what_the_catalogue_gives():
    texts = [text for label in JA98 for text in (*label.texts, *label.prompts)]
    built = build_vocabulary(texts)
    assert VOCABULARY.read_text(encoding="utf-8").split("\n") == [*built, ""]
    assert build_vocabulary(reversed(texts)) == built
    assert len(set(built)) == len(built)


def test_no_name_of_the_catalogue_is_unknown(tokenizer):
    texts = {text for label in JA98 for text in (*label.texts, *label.prompts)}
    texts.add(joined_caption([label.ja for label in JA98]))
    assert not [text for text in texts if "[UNK]" in tokenizer.tokenize(text)]


def test_names_of_different_labels_are_different_numbers(tokenizer):
    owner: dict[tuple[int, ...], str] = {}
    for label in JA98:
        for text in label.texts:
            assert owner.setdefault(numbers(tokenizer, text), label.id) == label.id, text


@pytest.mark.parametrize(
    "texts",
    [
        ("完全右脚ブロック", "不完全右脚ブロック", "完全左脚ブロック", "不完全左脚ブロック"),
        tuple(label.ja for label in JA98 if label.id.startswith("INJ")),
        tuple(label.ja for label in JA98 if label.id.startswith("ISC")),
        tuple(label.ja for label in JA98 if label.id.endswith("MI")),
        ("I度房室ブロック", "II度房室ブロック", "III度房室ブロック", "高度房室ブロック"),
        ("時計方向回転", "反時計方向回転"),
        ("左房負荷", "右房負荷"),
    ],
)
def test_names_that_look_alike_stay_apart(tokenizer, texts):
    assert len({numbers(tokenizer, text) for text in texts}) == len(texts) > 1


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("ＱＴ延長", "QT延長"),
        ("Ⅱ度房室ブロック", "II度房室ブロック"),
        ("完全右脚ﾌﾞﾛｯｸ", "完全右脚ブロック"),
        ("心内膜下傷害（下壁）", "心内膜下傷害(下壁)"),
        ("モビッツⅡ型２度房室ブロック", "モビッツII型2度房室ブロック"),
    ],
)
def test_wide_and_narrow_characters_are_one(tokenizer, typed, meant):
    assert numbers(tokenizer, typed) == numbers(tokenizer, meant)


@pytest.mark.parametrize(
    "line",
    [
        "①洞調律、心拍数58/分、②1°AVB（PQ 0.24秒）",
        "心房細動(Af)。HR≥110 bpm、V4〜V6でST低下0.15mV ∴虚血を否定できず",
        "前回(R5.4.1)と著変なし。QTc 472 ms↑ s/o 低K血症、U波(±)…",
        "冠攣縮性狭心症の既往。眩暈・嘔気あり、胸部誘導のR波は漸減",
        "ペースメーカー植込後、心室捕捉良好※要経過観察！",
    ],
)
def test_readings_beyond_the_catalogue_are_spelled_out(tokenizer, line):
    assert "[UNK]" not in tokenizer.tokenize(line)


def test_texts_are_padded_to_the_longest_and_cut(tokenizer):
    batch = tokenize_texts(tokenizer, ["洞調律", "、".join(["完全右脚ブロック"] * 40)], max_length=20)
    assert set(batch) == {"input_ids", "attention_mask"}
    for rows in batch.values():
        assert rows.shape == (2, 20)
        assert rows.dtype == torch.int64
    words = len(tokenizer.tokenize("洞調律"))
    assert batch["attention_mask"].sum(1).tolist() == [words + 2, 20]
    assert (batch["input_ids"][0, words + 2 :] == tokenizer.pad_token_id).all()
    assert batch["input_ids"][1, -1] == tokenizer.sep_token_id
    assert tokenize_texts(tokenizer, ["洞調律"])["input_ids"].shape == (1, words + 2)


def test_a_saved_tokenizer_is_read_back_from_its_folder(tokenizer, tmp_path, monkeypatch):
    tokenizer.save_pretrained(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    again = japanese_tokenizer(str(tmp_path))
    texts = [joined_caption(random.Random(seed).sample([label.ja for label in JA98], 3)) for seed in range(20)]
    for one, other in zip(tokenize_texts(tokenizer, texts).values(), tokenize_texts(again, texts).values(), strict=True):
        assert torch.equal(one, other)
    assert len(again) == len(tokenizer)


def test_a_worker_gets_its_own_copy(tokenizer):
    assert numbers(pickle.loads(pickle.dumps(tokenizer)), "心房細動") == numbers(tokenizer, "心房細動")


def test_a_tokenizer_of_another_kind_is_loaded(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "洞", "##調", "##律"]), encoding="utf-8")
    BertTokenizerFast(str(tmp_path / "vocab.txt"), tokenize_chinese_chars=False).save_pretrained(tmp_path / "theirs")
    theirs = japanese_tokenizer(str(tmp_path / "theirs"))
    assert tokenize_texts(theirs, ["洞調律"])["input_ids"].tolist() == [[2, 5, 6, 7, 3]]


def test_a_tokenizer_that_is_not_there_is_one_line(tmp_path):
    for name in (str(tmp_path), str(tmp_path / "nowhere")):
        with pytest.raises(UserError, match="cannot be loaded .* give ecgclip, a folder") as caught:
            japanese_tokenizer(name)
        assert "\n" not in str(caught.value)


def test_code_in_a_tokenizer_folder_is_not_run(tmp_path):
    (tmp_path / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["evil.Evil", null]}, "tokenizer_class": "Evil"}')
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: pass\n")
    with pytest.raises(UserError, match="cannot be loaded"):
        japanese_tokenizer(str(tmp_path))
    assert not (tmp_path / "ran").exists()
