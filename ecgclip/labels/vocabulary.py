"""The words that mean a label in a reading: the names in a catalogue, and what readings write beside them."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from ecgclip.labels.catalogue import Catalogue
from ecgclip.labels.segments import normalise

POSITIVE = "positive"
NORMAL = "NORM"
SUSPECTED = "?"  # What the id of a label for the suspicion of another ends in.
TERMS = Path(__file__).parent / "terms" / "readings.yaml"
AF = {"fibrillation": "AFIB", "flutter": "AFLT"}
SKIPPED = " の"  # Within a name they are there or not: R波増高不良, R波の増高不良.
# What an infarct of a site is called, and its stage: 陳旧性下壁心筋梗塞, 下壁OMI, OMI(下壁).
_INFARCTS = (
    ("{}omi", "陳旧性"),
    ("omi({})", "陳旧性"),
    ("陳旧性心筋梗塞({})", "陳旧性"),
    ("陳旧性梗塞({})", "陳旧性"),
    ("{}陳旧性心筋梗塞", "陳旧性"),
    ("{}陳旧性梗塞", "陳旧性"),
    ("急性心筋梗塞({})", "急性"),
    ("{}急性心筋梗塞", "急性"),
    ("{}ami", "急性"),
    ("ami({})", "急性"),
    ("心筋梗塞({})", ""),
)
_INFARCTS_EN = (("{}omi", "陳旧性"), ("omi({})", "陳旧性"), ("{}ami", "急性"), ("ami({})", "急性"), ("mi({})", ""), ("oldmi({})", "陳旧性"))
_SHORT_SITES = {"inferior": ("inf", "inf."), "anterior": ("ant", "ant."), "lateral": ("lat", "lat."), "posterior": ("post", "post.")}


@dataclass(frozen=True)
class Term:
    """Words that mean something.

    Attributes:
        text: They, as :func:`name_key` gives them.
        labels: Ids of what they mean.
        state: ``positive``; ``open`` where they say too little to be one label, ``akin`` where they are another thing than the labels
            that they leave open.
        exact: Their spelling, where capitals count.
        stage: The age of an infarct that they tell.
        whole: Whether they count only where nothing else is said in their piece of a reading.

    """

    text: str
    labels: tuple[str, ...]
    state: str = POSITIVE
    exact: str = ""
    stage: str = ""
    whole: bool = False


@cache
def name_key(name: str) -> str:
    """Return a name as it is looked for: as readings are compared, in small letters and without blanks and の."""
    return lowered("".join(character for character in normalise(name) if character not in SKIPPED + "\n"))


def lowered(text: str) -> str:
    """Return a text in small letters, as long as it was."""
    return "".join(c.lower() if len(c.lower()) == 1 else c for c in text)


def terms_of(catalogue: Catalogue, af: str | None) -> Iterable[Term]:
    """Yield the terms of all labels; what the catalogue says of a name goes before the lexicon."""
    lexicon, ids = _lexicon(), set(catalogue.ids)
    exact = set(lexicon["exact"])
    for label in catalogue:
        if label.id.removesuffix(SUSPECTED) in ids - {label.id}:
            continue  # A suspicion is read out of the words around what is suspected.
        for name in (*label.texts, label.en, *label.synonyms_en, *lexicon["labels"].get(label.id, ())):
            if name_key(name):
                yield Term(name_key(name), (label.id,), exact=name if name in exact else "", whole=label.id == NORMAL)
        if label.group == "infarction":
            yield from _infarct_terms(label.ja, label.en, label.id)
    if "AFIB" in ids or "AFLT" in ids:
        meant = [AF[af]] if af else ["AFIB", "AFLT"]
        yield Term("af", tuple(name for name in meant if name in ids), POSITIVE if af else "open", exact="AF")
    for state in ("open", "akin"):
        for name, labels in lexicon[state].items():
            kept = tuple(label for label in labels if label in ids)
            if kept or not labels:
                yield Term(name_key(name), kept, state)


def _infarct_terms(ja: str, en: str, label: str) -> Iterable[Term]:
    for form, stage in _INFARCTS:
        yield Term(form.format(ja.removesuffix("梗塞")), (label,), stage=stage)
    site = en.removesuffix(" myocardial infarction")
    if site != en:
        for place in (site, *_SHORT_SITES.get(site, ())):
            for form, stage in _INFARCTS_EN:
                yield Term(form.format(name_key(place)), (label,), stage=stage)


@cache
def _lexicon() -> dict[str, Any]:
    return dict(yaml.safe_load(TERMS.read_text(encoding="utf-8")))
