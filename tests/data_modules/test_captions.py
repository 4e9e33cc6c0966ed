"""The texts of a training batch: what they say, what they never say, and that they replay."""

import json
import re
import unicodedata
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerBase

from data_modules.base import PTBXL_UNSEEN, ECGDataModule
from data_modules.captions import Captions
from ecgclip.errors import UserError
from ecgclip.labels import Catalogue
from ecgclip.paths import cache_dir
from ecgclip.signals.path import SignalPath
from ecgclip.store import StoreWriter
from ecgclip.towers.language_model import LanguageModel
from ecgclip.towers.text_table import TextTable
from ecgclip.towers.tokenizer import japanese_tokenizer, tokenize_texts
from tests.tiny_models import tiny_llama

FIVE = Catalogue.from_entries(
    [
        {"id": "SR", "ja": "洞調律", "synonyms": ["正常洞調律"]},
        {"id": "AMI", "ja": "前壁梗塞", "synonyms": ["前壁心筋梗塞"], "abbreviations": ["前壁MI"]},
        {"id": "IMI", "ja": "下壁梗塞"},
        {"id": "2AVB", "ja": "2度房室ブロック", "synonyms": ["第2度房室ブロック"]},
        {"id": "WENCK", "ja": "ウェンケバッハ型2度房室ブロック", "implies": ["2AVB"]},
    ]
)
JA98 = Catalogue.load("ja98")


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return japanese_tokenizer()


def plain(text: str) -> str:
    """A text as it comes back from tokens: NFKC, without blanks."""
    return re.sub(r"\s", "", unicodedata.normalize("NFKC", text))


def read(tokenizer: PreTrainedTokenizerBase, batch: dict[str, Any]) -> list[str]:
    """The texts of a batch, out of their tokens."""
    assert not (batch["texts"]["input_ids"] == tokenizer.unk_token_id).any()
    return [plain(text) for text in tokenizer.batch_decode(batch["texts"]["input_ids"], skip_special_tokens=True)]


def make(
    tokenizer: PreTrainedTokenizerBase | TextTable, mode: str, usable: Iterable[str] = FIVE.ids, catalogue: Catalogue = FIVE, **options: Any
) -> Captions:
    return Captions(catalogue, tokenizer, mode=mode, usable=np.isin(catalogue.ids, list(usable)), **options)


def records(*positives: list[str], unknown: dict[int, list[str]] | None = None) -> np.ndarray:
    return np.stack([FIVE.states(ids, (unknown or {}).get(row, ())) for row, ids in enumerate(positives)])


def draw(
    captions: Captions, states: np.ndarray, modifiers: dict[int, dict[str, str]] | None = None, epoch: int = 0, step: int = 0
) -> dict[str, Any]:
    words = [json.dumps((modifiers or {}).get(row, {}), ensure_ascii=False) for row in range(len(states))]
    return captions(states, words, epoch, step)


def test_label_mode_has_a_text_per_label_and_all_labels_of_a_record_positive(tokenizer: PreTrainedTokenizerBase) -> None:
    batch = draw(make(tokenizer, "label", synonyms=False), records(["SR"], ["SR", "AMI"], ["WENCK"]))
    assert read(tokenizer, batch) == [plain(label.ja) for label in FIVE]
    assert batch["text_ids"].tolist() == [0, 1, 2, 3, 4]
    assert batch["positives"].int().tolist() == [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 1, 1]]
    assert batch["known"].all()


def test_label_mode_offers_usable_labels_only(tokenizer: PreTrainedTokenizerBase) -> None:
    batch = draw(make(tokenizer, "label", usable=["AMI", "2AVB"], synonyms=False), records(["SR", "AMI"], ["WENCK"]))
    assert read(tokenizer, batch) == ["前壁梗塞", "2度房室ブロック"]
    assert batch["text_ids"].tolist() == [1, 3]
    assert batch["positives"].tolist() == [[True, False], [False, True]]


def test_label_mode_an_unknown_label_is_neither_positive_nor_negative(tokenizer: PreTrainedTokenizerBase) -> None:
    batch = draw(make(tokenizer, "label"), records(["SR"], ["AMI"], unknown={0: ["IMI", "WENCK"]}))
    assert batch["known"].int().tolist() == [[1, 1, 0, 0, 0], [1, 1, 1, 1, 1]]
    assert not (batch["positives"] & ~batch["known"]).any()


@pytest.mark.parametrize("catalogue", [FIVE, JA98], ids=["five", "ja98"])
def test_every_text_of_a_label_is_drawn_and_its_name_most(tokenizer: PreTrainedTokenizerBase, catalogue: Catalogue) -> None:
    captions = make(tokenizer, "label", catalogue.ids, catalogue)
    states = np.stack([catalogue.states([name]) for name in catalogue.ids[:2]])
    drawn: list[list[str]] = [[] for _ in catalogue]
    texts: dict[bytes, str] = {}  # Reading tokens back is slow: each text once.
    for step in range(150):
        for row, ids in enumerate(draw(captions, states, step=step)["texts"]["input_ids"]):
            key = ids[ids != 0].numpy().tobytes()
            if key not in texts:
                texts[key] = plain(tokenizer.decode(ids, skip_special_tokens=True))
            drawn[row].append(texts[key])
    for label, names in zip(catalogue, drawn, strict=True):
        assert set(names) == set(map(plain, label.texts))
        assert names.count(plain(label.ja)) > 0.3 * len(names)


@pytest.mark.parametrize("mode", ["label", "joined"])
def test_without_synonyms_there_are_only_names(tokenizer: PreTrainedTokenizerBase, mode: str) -> None:
    captions = make(tokenizer, mode, synonyms=False)
    terms = {
        term
        for step in range(20)
        for text in read(tokenizer, draw(captions, records(["SR", "AMI"], ["WENCK"]), step=step))
        for term in text.split("、")
    }
    assert terms <= {plain(label.ja) for label in FIVE}


def test_joined_mode_has_one_text_per_record_in_any_order(tokenizer: PreTrainedTokenizerBase) -> None:
    captions = make(tokenizer, "joined")
    states = records(["SR", "AMI"], ["IMI"], ["AMI", "SR"], ["WENCK"])
    orders = set()
    for step in range(20):
        batch = draw(captions, states, step=step)
        assert batch["positives"].int().tolist() == [[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]]
        assert len(set(batch["text_ids"].tolist())) == 3
        assert batch["text_ids"].dtype == torch.int64 and batch["known"].shape == (4, 3)
        texts = [text.replace("正常洞調律", "洞調律") for text in read(tokenizer, batch)]
        orders.add("、".join("前壁梗塞" if "前壁" in term else term for term in texts[0].split("、")))
        assert texts[1] == "下壁梗塞"
        assert len(texts[2].split("、")) == 2
    assert orders == {"洞調律、前壁梗塞", "前壁梗塞、洞調律"}


def test_joined_mode_does_not_name_what_is_unknown_or_not_usable(tokenizer: PreTrainedTokenizerBase) -> None:
    captions = make(tokenizer, "joined", usable=["SR", "AMI", "IMI"], synonyms=False)
    texts = read(tokenizer, draw(captions, records(["SR", "WENCK"], ["AMI"], unknown={1: ["IMI"]})))
    assert texts == ["洞調律", "前壁梗塞"]


def test_modifiers_stand_before_their_label(tokenizer: PreTrainedTokenizerBase) -> None:
    captions = make(tokenizer, "joined", synonyms=False)
    stages = {0: {"AMI": "急性"}, 1: {"AMI": "陳旧性"}, 3: {"AMI": "急性"}}
    batch = draw(captions, records(["AMI"], ["AMI"], ["AMI"], ["AMI"]), stages)
    assert read(tokenizer, batch) == ["急性前壁梗塞", "陳旧性前壁梗塞", "前壁梗塞"]
    assert batch["positives"].int().tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]


def test_modifiers_of_labels_that_are_not_named_change_nothing(tokenizer: PreTrainedTokenizerBase) -> None:
    captions = make(tokenizer, "joined", usable=["SR", "IMI"], synonyms=False)
    states = records(["SR", "AMI"], ["SR"], ["SR"])
    # Of a withheld label, of one that the catalogue does not hold, of one that the record does not have.
    batch = draw(captions, states, {0: {"AMI": "急性"}, 1: {"ASMI": "陳旧性"}, 2: {"IMI": "急性"}})
    assert read(tokenizer, batch) == ["洞調律"]
    assert batch["positives"].all()


@pytest.mark.parametrize("mode", ["label", "joined"])
def test_texts_are_a_function_of_seed_epoch_and_step(tokenizer: PreTrainedTokenizerBase, mode: str) -> None:
    states = records(["SR", "AMI"], ["AMI", "2AVB"], ["SR", "2AVB"], ["SR", "AMI", "2AVB"])

    def texts(seed: int, epoch: int, step: int) -> list[str]:
        return read(tokenizer, draw(make(tokenizer, mode, seed=seed), states, epoch=epoch, step=step))

    assert texts(1, 2, 3) == texts(1, 2, 3)
    for others in (
        [(seed, 2, 3) for seed in range(2, 8)],
        [(1, epoch, 3) for epoch in range(3, 9)],
        [(1, 2, step) for step in range(4, 10)],
    ):
        assert any(texts(*other) != texts(1, 2, 3) for other in others)


@pytest.mark.parametrize("mode", ["label", "joined"])
def test_two_processes_write_the_same_text_for_the_same_findings(tokenizer: PreTrainedTokenizerBase, mode: str) -> None:
    captions = make(tokenizer, mode)
    states = records(["SR", "AMI"], ["AMI", "2AVB"], ["SR", "2AVB"], ["IMI"], ["SR", "AMI"])
    for step in range(10):
        whole = draw(captions, states, step=step)
        known = dict(zip(whole["text_ids"].tolist(), read(tokenizer, whole), strict=True))
        for rows in ([1, 0], [4, 3, 2]):
            part = draw(captions, states[rows], step=step)
            assert {known[i] for i in part["text_ids"].tolist()} == set(read(tokenizer, part))


def test_without_synonyms_a_joined_caption_is_always_the_same(tokenizer: PreTrainedTokenizerBase) -> None:
    captions = make(tokenizer, "joined", synonyms=False)
    states = records(["AMI", "SR"], ["WENCK"])
    for step in range(5):
        assert read(tokenizer, draw(captions, states, step=step)) == [
            "洞調律、前壁梗塞",
            "2度房室ブロック、ウェンケバッハ型2度房室ブロック",
        ]


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TextTable:
    monkeypatch.setenv("ECGCLIP_CACHE", str(tmp_path / "cache"))
    return TextTable(LanguageModel(str(tiny_llama(tmp_path / "llama"))), FIVE.texts)


def test_a_table_gives_vectors_in_place_of_tokens(tokenizer: PreTrainedTokenizerBase, table: TextTable) -> None:
    states = records(["SR"], ["SR", "AMI"], ["WENCK"])
    captions, plain_ones = make(table, "label", synonyms=False), make(tokenizer, "label", synonyms=False)
    batch, of_tokens = draw(captions, states), draw(plain_ones, states)
    assert set(batch["texts"]) == {"vectors"}
    assert batch["texts"]["vectors"].equal(table([label.ja for label in FIVE])["vectors"])
    assert all(batch[name].equal(of_tokens[name]) for name in ("text_ids", "positives", "known", "text_labels"))
    drawn = [draw(make(table, "label"), states, step=step)["texts"]["vectors"][1] for step in range(40)]
    forms = table(FIVE.labels[1].texts)["vectors"]
    assert {int((vector == forms).all(1).nonzero()) for vector in drawn} == {0, 1, 2}


def test_joined_captions_are_read_beforehand(table: TextTable, monkeypatch: pytest.MonkeyPatch) -> None:
    captions = make(table, "joined", usable=["SR", "AMI", "IMI"], synonyms=False)
    states = records(["SR", "AMI"], ["IMI"], ["AMI", "SR"], ["AMI"], ["WENCK", "SR"])
    words = [json.dumps({"AMI": "急性"} if row == 3 else {}, ensure_ascii=False) for row in range(5)]
    assert captions.prepare(states, words) == (0, 4)
    monkeypatch.setattr(LanguageModel, "encode", None)  # From here on nothing new can be read.
    batch = captions(states, words, 0, 0)
    assert batch["texts"]["vectors"].equal(table(["洞調律、前壁梗塞", "下壁梗塞", "急性前壁梗塞", "洞調律"])["vectors"])
    with pytest.raises(TypeError):
        table(["2度房室ブロック、洞調律"])


def test_joined_captions_with_synonyms_cannot_be_read_beforehand(table: TextTable) -> None:
    with pytest.raises(UserError, match=r"frozen text tower .* set data.synonyms to false") as error:
        make(table, "joined")
    assert "\n" not in str(error.value)


def test_captions_that_are_cut_are_counted(tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch) -> None:
    captions = make(tokenizer, "joined", synonyms=False)
    states = records(["SR", "AMI", "IMI", "WENCK"], ["SR"], ["SR"])
    assert captions.prepare(states, ["{}"] * 3) == (0, 2)
    captions.limit = 8
    assert captions.prepare(states, ["{}"] * 3) == (1, 2)
    assert draw(captions, states)["texts"]["input_ids"].shape == (2, 8)


def test_a_name_that_is_too_long_is_never_cut(tokenizer: PreTrainedTokenizerBase) -> None:
    long = Catalogue.from_entries([{"id": "SR", "ja": "洞調律"}, {"id": "X", "ja": "前壁" * 150}])
    for mode in ("label", "joined"):
        with pytest.raises(UserError, match="text '前壁前壁.* tokens, and .* reads at most 128"):
            make(tokenizer, mode, long.ids, long)


def test_another_mode_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(UserError, match="'labels' is not one of label, joined"):
        make(tokenizer, "labels")


class EveryLabel(ECGDataModule):
    """A silent record of each label, and of each pair of neighbours in the catalogue."""

    def build_store(self) -> Path:
        path = cache_dir() / "every_label"
        if not path.is_dir():
            ids = self.labels.ids
            sets = [[name] for name in ids] + [[one, other] for one, other in pairwise(ids)]
            rows = [
                {"id": f"r{i}", "patient": f"p{i}", "split": "train", "labels": labels, "unknown": [], "missing_leads": [], "quality": []}
                | {"modifiers": {labels[0]: "急性"}, "source": "test"}
                for i, labels in enumerate(sets)
            ]
            with StoreWriter(path, signal_path=SignalPath(100.0, 3.0), annotated=None, made_from="test") as writer:
                writer.append(np.zeros((len(rows), 12, 300), np.int16), rows)
                writer.finish()
        return path


@pytest.mark.parametrize("caption", ["label", "joined"])
@pytest.mark.parametrize(
    ("withhold", "gone"),
    [
        (["2AVB", "VT"], {"2AVB", "WENCK", "MOBITZ2", "AVB2TO1", "HIGHAVB", "VT", "NSVT"}),
        ("ptbxl14", set(PTBXL_UNSEEN)),
    ],
    ids=["implied", "ptbxl14"],
)
def test_withheld_labels_are_never_named(tokenizer: PreTrainedTokenizerBase, caption: str, withhold: Any, gone: set[str]) -> None:
    data = EveryLabel(withhold=withhold, caption=caption, batch_size=64)
    data.setup()
    loader = data.train_dataloader()
    terms: set[str] = set()
    for epoch in range(12 if caption == "label" else 4):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        for batch in loader:
            for text in read(tokenizer, batch):
                terms.update(form for term in text.split("、") for form in (term, term.removeprefix("急性")))
    forbidden = {plain(text) for label in JA98 if label.id in gone for text in label.texts}
    allowed = {plain(text) for label in JA98 if label.id not in gone for text in label.texts}
    assert len(forbidden) > 10
    assert not terms & forbidden
    assert len(terms & allowed) > 98 - len(gone)


@pytest.mark.parametrize("mode", ["label", "joined"])
def test_a_loss_is_told_the_labels_of_records_and_texts(tokenizer: PreTrainedTokenizerBase, mode: str) -> None:
    captions = make(tokenizer, mode, usable=["SR", "AMI", "IMI", "2AVB"], synonyms=False)
    batch = draw(captions, records(["SR", "AMI"], ["WENCK"], ["IMI"], ["AMI", "SR"], unknown={2: ["SR"]}))
    # WENCK, which no text may name, is in neither; what it implies is. An unknown label is none that the record has.
    assert batch["record_labels"].int().tolist() == [[1, 1, 0, 0, 0], [0, 0, 0, 1, 0], [0, 0, 1, 0, 0], [1, 1, 0, 0, 0]]
    single = [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 1, 0]]
    joined = [[1, 1, 0, 0, 0], [0, 0, 0, 1, 0], [0, 0, 1, 0, 0]]
    assert batch["text_labels"].int().tolist() == (single if mode == "label" else joined)
    assert batch["text_labels"].dtype == batch["record_labels"].dtype == torch.bool
    assert "prior" not in batch


def test_prior_of_a_label_is_its_share_where_it_is_known(tokenizer: PreTrainedTokenizerBase) -> None:
    training = records(["SR"], ["SR", "AMI"], ["SR", "IMI"], ["SR", "WENCK"], unknown={0: ["AMI"], 2: ["AMI"]})
    captions = make(tokenizer, "label", usable=["SR", "AMI", "IMI", "WENCK"], training=training)
    batch = draw(captions, training[:1])
    # All of 4, 1 of the 2 of which it is known, 1 of 4; never quite 0 or 1.
    assert batch["prior"].tolist() == pytest.approx([1 - 0.5 / 4, 1 / 2, 1 / 4, 1 / 4])
    assert batch["prior"].dtype == torch.float32
    never = make(tokenizer, "label", usable=["AMI", "IMI"], training=training[:1])
    assert draw(never, training)["prior"].tolist() == pytest.approx([0.5, 0.5])
    rare = make(tokenizer, "label", usable=["2AVB"], training=training[:3])
    assert draw(rare, training)["prior"].tolist() == pytest.approx([0.5 / 3])


def test_prior_of_a_line_is_the_share_of_its_label_set(tokenizer: PreTrainedTokenizerBase) -> None:
    training = records(["SR"], ["SR"], ["SR", "AMI"], ["AMI", "SR", "IMI"], ["IMI"])
    captions = make(tokenizer, "joined", usable=["SR", "AMI"], training=training)
    batch = draw(captions, records(["AMI", "SR"], ["SR", "IMI"], ["AMI"]))
    # IMI is not named: the fourth record says what the third does. A set that no training record has is floored.
    assert batch["prior"].tolist() == pytest.approx([2 / 5, 2 / 5, 0.5 / 5])


@pytest.mark.parametrize("caption", ["label", "joined"])
def test_withheld_labels_reach_no_loss(caption: str) -> None:
    data = EveryLabel(withhold="ptbxl14", caption=caption, batch_size=64)
    data.setup()
    withheld = torch.from_numpy(np.isin(data.labels.ids, list(data.withheld)))
    assert withheld.sum() >= 14
    seen = 0
    for batch in data.train_dataloader():
        assert not batch["record_labels"][:, withheld].any() and not batch["text_labels"][:, withheld].any()
        seen += int((batch["labels"][:, withheld] == 1).sum())  # The evaluation's own view has them.
        assert batch["record_labels"].shape == batch["labels"].shape
        assert ((batch["prior"] > 0) & (batch["prior"] < 1)).all()
        # A record's labels are those of its texts, whichever row of the batch it is.
        named = (batch["positives"].int() @ batch["text_labels"].int()) > 0
        assert named.equal(batch["record_labels"])
    assert seen > 0


@pytest.mark.parametrize("caption", ["label", "joined"])
def test_other_withheld_labels_of_the_records_change_nothing_that_a_loss_sees(caption: str) -> None:
    data = EveryLabel(withhold="ptbxl14", caption=caption, batch_size=64)
    data.setup()
    before = next(iter(data.train_dataloader()))
    withheld = np.isin(data.labels.ids, list(data.withheld))
    data.states[:, withheld] = np.random.default_rng(0).choice([-1, 0, 1], (len(data.states), withheld.sum()))
    after = next(iter(data.train_dataloader()))
    assert not before["labels"].equal(after["labels"])
    for name in ("record_labels", "text_labels", "prior", "positives", "known", "text_ids"):
        assert before[name].equal(after[name]), name


def test_the_text_of_a_record_can_be_its_reading(tokenizer: PreTrainedTokenizerBase) -> None:
    captions = make(tokenizer, "reading", training=records(["SR"], ["SR"], ["AMI"]))
    words = ["洞調律、\n正常範囲", "洞調律、 正常範囲", "前壁梗塞"]
    batch = captions(records(["SR"], ["SR"], ["AMI"]), words, 0, 0)
    assert batch["positives"].tolist() == [[True, False], [True, False], [False, True]]  # A line break makes no other text.
    expected = tokenize_texts(tokenizer, ["洞調律、 正常範囲", "前壁梗塞"])
    assert batch["texts"]["input_ids"].equal(expected["input_ids"])
    assert batch["text_labels"].sum(1).tolist() == [1, 1]
    assert batch["prior"].tolist() == pytest.approx([2 / 3, 1 / 3])
    assert captions.prepare(records(["SR"], ["SR"], ["AMI"]), words) == (0, 2)
    again = captions(records(["AMI"]), ["前壁梗塞"], 5, 7)
    assert again["text_ids"].tolist() == batch["text_ids"].tolist()[1:]  # In every process and epoch the same text.
