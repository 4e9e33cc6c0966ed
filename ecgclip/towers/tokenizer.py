"""Japanese text to tokens: the tokenizer of the built-in vocabulary, or the one that a pre-trained text tower brings."""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import AutoTokenizer, BertJapaneseTokenizer, PreTrainedTokenizerBase
from transformers.models.bert_japanese.tokenization_bert_japanese import MecabTokenizer

from ecgclip.errors import UserError

VOCABULARY = Path(__file__).with_name("vocab.txt")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# unidic_lite lies inside its wheel: words are cut alike on every machine, without a download.
MECAB = {"mecab_dic": "unidic_lite"}
# JIS X 0208: punctuation and symbols, digits and letters, kana, Greek; then the kanji of level 1, by pronunciation.
JIS_ROWS = (*range(1, 7), *range(16, 48))
# What readings need beside those: signs of newer keyboards, and kanji of level 2 in findings, history and symptoms.
BEYOND_JIS = "≤≥–—•·⁄" + "攣棘痙疼頸膵脾腱痺眩暈嘔瀉譫痒躁鬱"


def japanese_tokenizer(name_or_path: str = "ecgclip") -> PreTrainedTokenizerBase:
    """Return a tokenizer for Japanese text.

    Args:
        name_or_path: ``ecgclip`` for the built-in one: NFKC, MeCab, then word pieces of the shipped vocabulary. Any other value is a
            Hugging Face id or a local folder, such as one that ``save_pretrained`` wrote; no code of it is run.

    Raises:
        UserError: When there is no tokenizer under that name.
    """
    if name_or_path == "ecgclip":
        return BertJapaneseTokenizer(str(VOCABULARY), word_tokenizer_type="mecab", mecab_kwargs=MECAB)
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(name_or_path, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"tokenizer {name_or_path!r} cannot be loaded ({reason}): give ecgclip, a folder, or a Hugging Face id with the network on"
        ) from error
    return tokenizer


def tokenize_texts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], max_length: int = 64) -> dict[str, Tensor]:
    """Tokenise texts into one padded batch.

    Args:
        tokenizer: Of the text tower.
        texts: ``U`` texts.
        max_length: Tokens after which a text is cut, special tokens included.

    Returns:
        ``input_ids`` and ``attention_mask``, each ``(U, L)`` int64 with ``L`` the longest text's tokens.
    """
    batch: Any = tokenizer(list(texts), padding=True, truncation=True, max_length=max_length, return_tensors="pt")
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
