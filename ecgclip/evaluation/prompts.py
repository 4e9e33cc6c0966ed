"""Sets of prompts for the labels of a catalogue, and whether a prompt gives away another class."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from ecgclip.labels import Catalogue, Label

# What stands for a label: the catalogue's own choice, its canonical name alone, all its Japanese names, its English ones, both.
PROMPT_SETS: Mapping[str, Callable[[Label], tuple[str, ...]]] = {
    "catalogue": lambda label: label.prompts,
    "single": lambda label: (label.ja,),
    "synonyms": lambda label: label.texts,
    "english": lambda label: _english(label) or (label.ja,),
    "mixed": lambda label: (*label.texts, *_english(label)),
}


class Prompt(NamedTuple):
    """One text that stands for a label.

    Attributes:
        label: Column of the label.
        text: The text.
    """

    label: int
    text: str


class Leak(NamedTuple):
    """A prompt that names another class.

    Attributes:
        label: Id of the label that the prompt stands for.
        text: The prompt.
        other: Id of the label that it names.
        name: The name that it contains.
    """

    label: str
    text: str
    other: str
    name: str


def prompts_of(catalogue: Catalogue, name: str) -> list[Prompt]:
    """Return the prompts of a set, in the order of the labels; a label without an English name is asked for in Japanese.

    Args:
        catalogue: The labels.
        name: A key of ``PROMPT_SETS``.
    """
    texts_of = PROMPT_SETS[name]
    return [Prompt(row, text) for row, label in enumerate(catalogue) for text in dict.fromkeys(texts_of(label))]


def leaks(catalogue: Catalogue, prompts: Iterable[Prompt]) -> list[Leak]:
    """Find prompts that name another class: such a prompt scores well for the wrong reason, or badly for no reason of the model's.

    A prompt is read from left to right, the longest name of any label first: 不完全左脚ブロック is not taken for its part
    完全左脚ブロック, but "左室肥大、左軸偏位" names two. What a label implies may be named in it.

    Args:
        catalogue: The labels.
        prompts: Of any set, or a user's own.

    Returns:
        One entry for each other class that a prompt names.
    """
    owners: dict[str, str] = {}
    for label in catalogue:
        for text in (*label.texts, *_english(label)):
            owners.setdefault(_key(text), label.id)
    # Longest first, so that the alternatives of the expression try it first; letters do not begin or end within a word.
    names = sorted(owners, key=len, reverse=True)
    pattern = re.compile("|".join(rf"(?<![a-z0-9]){re.escape(name)}(?![a-z0-9])" if name.isascii() else re.escape(name) for name in names))
    found = []
    for prompt in prompts:
        own = catalogue.labels[prompt.label].id
        # A prompt that is one of the label's own names is that, whatever other names it is made of.
        if owners.get(_key(prompt.text)) == own:
            continue
        allowed = catalogue.implied([own])
        named = dict.fromkeys(match[0] for match in pattern.finditer(_key(prompt.text)))
        found += [Leak(own, prompt.text, owners[name], name) for name in named if owners[name] not in allowed]
    return found


def _english(label: Label) -> tuple[str, ...]:
    return tuple(text for text in (label.en, *label.synonyms_en) if text)


def _key(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold().strip()
