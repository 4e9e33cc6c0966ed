"""Japanese text to tokens: the tokenizer of the built-in vocabulary, or the one that a pre-trained text tower brings."""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor
from transformers import AutoConfig, AutoTokenizer, BertJapaneseTokenizer, PreTrainedTokenizerBase
from transformers.models.bert_japanese.tokenization_bert_japanese import MecabTokenizer

from ecgclip.errors import UserError

if TYPE_CHECKING:
    from ecgclip.towers.text_table import TextTable

VOCABULARY = Path(__file__).with_name("vocab.txt")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MAX_TOKENS = 128  # Positions of the small BERT.
MOST_TOKENS = 100_000  # More than any model here reads: a tokenizer that knows no limit says 10^30.
# unidic_lite lies inside its wheel: words are cut alike on every machine, without a download.
MECAB = {"mecab_dic": "unidic_lite"}
# JIS X 0208: punctuation and symbols, digits and letters, kana, Greek; then the kanji of level 1, by pronunciation.
JIS_ROWS = (*range(1, 7), *range(16, 48))
# What readings need beside those: signs of newer keyboards, and kanji of level 2 in findings, history and symptoms.
BEYOND_JIS = "≤≥–—•·⁄" + "攣棘痙疼頸膵脾腱痺眩暈嘔瀉譫痒躁鬱"


def japanese_tokenizer(name_or_path: str = "ecgclip", revision: str | None = None) -> PreTrainedTokenizerBase:
    """Return a tokenizer for Japanese text.

    Args:
        name_or_path: ``ecgclip`` for the built-in one: NFKC, MeCab, then word pieces of the shipped vocabulary. Any other value is a
            Hugging Face id or a local folder, such as one that ``save_pretrained`` wrote; no code of it is run. One that has no
            padding token pads with its end of text, and all pad on the right: the attention mask says what is padding.
        revision: Branch, tag or commit on the hub.

    Raises:
        UserError: When there is no tokenizer under that name.
    """
    if name_or_path == "ecgclip":
        return BertJapaneseTokenizer(str(VOCABULARY), word_tokenizer_type="mecab", mecab_kwargs=MECAB, model_max_length=MAX_TOKENS)
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            name_or_path, revision=revision or "main", trust_remote_code=False
        )
    except Exception as error:  # The hub, the network, the folder and its files each raise their own.
        raise UserError(
            f"tokenizer {name_or_path!r} cannot be loaded ({one_line(error)}): "
            "give ecgclip, a folder, or a Hugging Face id with the network on"
        ) from error
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise UserError(f"tokenizer {name_or_path!r} has no padding and no end token: set pad_token in tokenizer_config.json")
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"
    tokenizer.model_max_length = token_limit(tokenizer, _config(name_or_path, revision))
    return tokenizer


def _config(name_or_path: str, revision: str | None) -> Any:
    """The configuration of the model beside a tokenizer, None where there is none: an artefact's tokenizer lies alone."""
    try:
        return AutoConfig.from_pretrained(name_or_path, revision=revision or "main", trust_remote_code=False)
    except Exception:
        return None


def one_line(error: Exception) -> str:
    """Return the first line of what an error says."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def token_limit(tokenizer: PreTrainedTokenizerBase, config: Any = None) -> int:
    """Return how many tokens a text may have: what the tokenizer says, and the positions that the model's configuration counts."""
    positions = getattr(config, "max_position_embeddings", None) or MOST_TOKENS
    if "roberta" in str(getattr(config, "model_type", "")):
        positions -= config.pad_token_id + 1  # The family counts its positions from there.
    return min(int(tokenizer.model_max_length), int(positions), MOST_TOKENS)


def check_lengths(name: str, texts: Sequence[str], lengths: Sequence[int], limit: int) -> None:
    """Refuse, with a :class:`UserError`, a text of more tokens than a model reads: cut off, two findings could become one."""
    for text, length in zip(texts, lengths, strict=True):
        if length > limit:
            shown = text if len(text) <= 40 else f"{text[:40]}..."
            raise UserError(f"text {shown!r} has {length} tokens, and {name!r} reads at most {limit}: shorten it, or take another model")


def tokenize_texts(source: "PreTrainedTokenizerBase | TextTable", texts: Sequence[str], max_length: int | None = None) -> dict[str, Tensor]:
    """Turn texts into what a text tower reads.

    Args:
        source: The text tower's tokenizer, or the table of a frozen one.
        texts: ``U`` texts.
        max_length: Tokens after which a text is cut, special tokens included; None to cut none.

    Returns:
        ``input_ids`` and ``attention_mask``, each ``(U, L)`` int64 with ``L`` the longest text's tokens; from a table ``vectors``,
        ``(U, D)`` float32.

    Raises:
        UserError: When a text is longer than the model reads, and ``max_length`` is None.
    """
    if not isinstance(source, PreTrainedTokenizerBase):
        return source(texts)
    batch: Any = source(list(texts), padding=True, truncation=max_length is not None, max_length=max_length, return_tensors="pt")
    if max_length is None:
        check_lengths(source.name_or_path or "ecgclip", texts, batch["attention_mask"].sum(1).tolist(), token_limit(source))
    return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}


def build_vocabulary(texts: Iterable[str]) -> list[str]:
    """Return the vocabulary for a catalogue: its words, and single characters for all that it does not hold.

    A word that is not in it is spelled out, so a reading text meets ``[UNK]`` only in a character beyond JIS level 1.

    Args:
        texts: The names and prompts of a catalogue.

    Returns:
        Special tokens, then characters and words in the order of their code points: the same texts give the same list.
    """
    cut = MecabTokenizer(**MECAB)
    words = {word for text in texts for word in cut.tokenize(text)}
    characters = set(_characters()).union(*words)
    pieces = characters | {f"##{character}" for character in characters} | words
    return [*SPECIAL, *sorted(pieces)]


def _characters() -> Iterator[str]:
    """Single characters as NFKC leaves them: printable ASCII, and the rows of JIS X 0208 that Japanese is written in."""
    yield from map(chr, range(0x21, 0x7F))
    yield from BEYOND_JIS
    for row in JIS_ROWS:
        for cell in range(1, 95):
            character = bytes((0xA0 + row, 0xA0 + cell)).decode("euc_jp", errors="ignore")
            character = unicodedata.normalize("NFKC", character).strip()
            if len(character) == 1 and not unicodedata.combining(character):
                yield character
