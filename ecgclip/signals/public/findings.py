"""What the codes and statements of a data set say about the labels of the catalogue."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from ecgclip.labels import Catalogue

CATALOGUE = "ja98"  # The ids that the tables of this package are written in.
SINUS = "SR"
MOST_NAMED = 30  # Codes in one note; the others are counted.


@dataclass(frozen=True)
class Finding:
    """What one code or statement says.

    Attributes:
        positive: Ids of the labels that are there.
        hedged: Those that are suspected.
        negated: Those that are ruled out.
        unknown: Those that are left open: an unspecified right bundle branch block may be complete or not.
        modifiers: What goes before a label's name: ``{"IMI": "陳旧性"}``.
    """

    positive: tuple[str, ...] = ()
    hedged: tuple[str, ...] = ()
    negated: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    modifiers: Mapping[str, str] = field(default_factory=dict)


def label_states(findings: Iterable[Finding], annotated: Iterable[str], speaks_of: Iterable[str] | None = None) -> dict[str, Any]:
    """Put together what a record's findings say.

    The clearest word on a label counts: there, suspected, ruled out, open. Open are also the kinds of what is there (a second-degree
    block may be a Wenckebach block where nobody says which), sinus rhythm where it is not mentioned, since readers leave it out, and
    every label that this part of the set does not speak of. What cannot stand beside what is there is not open.

    Args:
        findings: Of one record.
        annotated: Ids of the labels that the data set speaks of.
        speaks_of: Ids of those that this record's part of it speaks of; None for all of them.

    Returns:
        ``labels``, ``hedged``, ``negated``, ``unknown`` and ``modifiers`` of an :class:`ecgclip.signals.record.Item`.
    """
    all_ = list(findings)
    labels = list(dict.fromkeys(label for finding in all_ for label in finding.positive))
    hedged = [label for label in dict.fromkeys(label for finding in all_ for label in finding.hedged) if label not in labels]
    said = {*labels, *hedged}
    negated = [label for label in dict.fromkeys(label for finding in all_ for label in finding.negated) if label not in said]
    open_ = dict.fromkeys([*hedged, *(label for finding in all_ for label in finding.unknown), *_kinds(tuple(labels)), SINUS])
    if speaks_of is not None:
        spoken = set(speaks_of)
        open_ |= dict.fromkeys(label for label in annotated if label not in spoken)
    settled = {*labels, *negated, *(label for positive in labels for label in _excluded(positive) if label not in hedged)}
    modifiers: dict[str, str] = {}
    for finding in all_:
        modifiers |= {label: word for label, word in finding.modifiers.items() if label in labels}
    return {
        "labels": tuple(labels),
        "hedged": tuple(hedged),
        "negated": tuple(negated),
        "unknown": tuple(label for label in open_ if label not in settled),
        "modifiers": modifiers,
    }


def unmapped_note(counts: Mapping[str, int], kind: str) -> list[str]:
    """Return the line that lists what has no label here, most frequent first; none where there is nothing to list."""
    return _counted(counts, f"{kind} without a label here, left out")


def open_note(counts: Mapping[str, int], kind: str) -> list[str]:
    """Return the line that lists what leaves labels open in more than it makes one positive; none where there is nothing to list."""
    return _counted(counts, f"{kind} broader than a label, which leave some open")


@cache
def catalogue() -> Catalogue:
    """Return the catalogue that the tables of this package are written for."""
    return Catalogue.load(CATALOGUE)


@cache
def _kinds(labels: tuple[str, ...]) -> tuple[str, ...]:
    """Return the labels that are a kind of one of these."""
    kinds = catalogue().with_implying(labels) - catalogue().implied(labels)
    return tuple(label for label in catalogue().ids if label in kinds)


@cache
def _excluded(positive: str) -> frozenset[str]:
    """Return the labels that cannot stand beside one."""
    return frozenset(label for label in catalogue().ids if catalogue().conflicts([positive, label]))


def _counted(counts: Mapping[str, int], what: str) -> list[str]:
    if not counts:
        return []
    ordered = Counter(counts).most_common()
    named = ", ".join(f"{name} ({count})" for name, count in ordered[:MOST_NAMED])
    others = ordered[MOST_NAMED:]
    rest = f", and {len(others)} others ({sum(count for _, count in others)})" if others else ""
    return [f"{what}: {named}{rest}"]
