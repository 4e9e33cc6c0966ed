"""From the counts of a hospital's readings to a label catalogue of its own, by way of a spreadsheet that a cardiologist edits."""

import difflib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ecgclip.errors import UserError
from ecgclip.labels.catalogue import Catalogue
from ecgclip.labels.readings import Counts
from ecgclip.tables import read_table, write_table

SHEET = ("keep", "id", "ja", "en", "synonyms", "records", "suspected", "denied", "similar_to")
SUSPECTED, OF_SUSPICION = "?", "の疑い"
_JOIN = re.compile(r"\s*[|｜]\s*")
_NAMES = ("synonyms", "abbreviations")
_NO = ("no", "n", "0", "false", "いいえ", "×", "削除")
# What a piece of text holds that is no name of a finding: a doubt, a denial, a comparison, an instruction.
_NO_NAME = re.compile(r"正常|疑|否定|なし|無し|ない|認め|可能性|前回|以前|変化な|比較|再検|必要|お願い|先生|様|[?？]|\(-\)|\d{3,}")
_LONGEST = 24  # Characters; a longer piece of text is a sentence.
MAX_LABELS, MIN_COUNT = 98, 20
NEAR = 0.75  # Of difflib's ratio, from which two names are asked about.


@dataclass(frozen=True)
class Proposal:
    """A label of the catalogue to be.

    Attributes:
        entry: Its fields, as a catalogue's YAML has them.
        records: Readings that say it.
        suspected: Readings that suspect it.
        denied: Readings that deny it.
        known: Whether the catalogue that the readings were parsed with has it.
        similar_to: Names of other proposals that may be the same finding.

    """

    entry: Mapping[str, Any]
    records: int
    suspected: int
    denied: int
    known: bool
    similar_to: tuple[str, ...] = ()


def propose(counts: Counts, base: Catalogue, *, max_labels: int, min_count: int) -> list[Proposal]:
    """Propose labels, the most frequent first.

    Args:
        counts: Of the readings.
        base: What they were parsed with.
        max_labels: At most so many.
        min_count: None that fewer readings say.

    Returns:
        Labels of ``base``, and frequent pieces of text that no label covers as labels of their own. Names alone are copied from the
        readings, and only such as ``min_count`` of them share.

    Raises:
        UserError: When no label is frequent enough.

    """
    found = [
        Proposal(entry, counts.positive[entry["id"]], counts.hedged[entry["id"]], counts.negated[entry["id"]], True)
        for entry in base.entries()
    ]
    found += [
        Proposal({"id": text, "ja": text}, records, 0, 0, False)
        for text, records in counts.unmatched.items()
        if len(text) <= _LONGEST and len(text) > 1 and not _NO_NAME.search(text)
    ]
    kept = sorted((p for p in found if p.records >= min_count), key=lambda p: -p.records)[:max_labels]
    if not kept:
        raise UserError(f"no label is in {min_count} readings or more (of {counts.readings}): give a smaller --min-count")
    return [_with_similar(proposal, kept) for proposal in kept]


def catalogue_of(entries: Iterable[Mapping[str, Any]], *, where: str = "the catalogue") -> Catalogue:
    """Make a catalogue, dropping relations to labels that are not in it."""
    listed = [dict(entry) for entry in entries]
    kept = {entry["id"] for entry in listed}
    for entry in listed:
        for relation in ("implies", "excludes"):
            if relation in entry:
                entry[relation] = [other for other in entry[relation] if other in kept]
    return Catalogue.from_entries(listed, where=where)


def with_hedged(catalogue: Catalogue, only: Collection[str] | None = None) -> Catalogue:
    """Return a catalogue with a label of its own for the suspicion of each label: ``IMI?``, 下壁梗塞の疑い.

    Args:
        catalogue: Without them.
        only: Ids of the labels that get one; None for all.

    """
    suspicions = [
        {
            "id": label.id + SUSPECTED,
            "ja": label.ja + OF_SUSPICION,
            "en": f"suspected {label.en}" if label.en else "",
            "group": label.group,
            "visible": label.visible,
        }
        for label in catalogue
        if only is None or label.id in only
    ]
    return Catalogue.from_entries([*catalogue.entries(), *suspicions])


def write_sheet(path: Path, proposals: Sequence[Proposal]) -> Path:
    """Write the proposals as a table that a spreadsheet opens."""
    rows = [
        {
            "keep": "yes",
            "id": p.entry["id"],
            "ja": p.entry["ja"],
            "en": p.entry.get("en", ""),
            "synonyms": " | ".join(name for kind in _NAMES for name in p.entry.get(kind, ())),
            "records": p.records,
            "suspected": p.suspected,
            "denied": p.denied,
            "similar_to": " | ".join(p.similar_to),
        }
        for p in proposals
    ]
    return write_table(path, rows, SHEET)


def read_sheet(path: Path, base: Catalogue) -> Catalogue:
    """Make a catalogue of an edited table.

    Rows with ``no`` in ``keep`` go. Rows of one id become one label: the first row gives its name, the names of the others are synonyms.
    A label of ``base`` keeps what the table does not show: its codes, its criterion, what it implies and excludes.

    Args:
        path: Written by :func:`write_sheet`, edited.
        base: What the proposals were made with.

    Raises:
        UserError: When a column is missing, a name is empty, or two labels share a name.

    """
    table = read_table(path)
    for column in ("id", "ja"):
        if column not in table:
            raise UserError(f"{path.name} has no column {column}: give the table that `ecgclip labels build` wrote")
    known = {entry["id"]: entry for entry in base.entries()}
    merged: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(table.to_dict("records"), 2):
        if str(row.get("keep", "")).strip().lower() in _NO:
            continue
        name, ja = str(row["id"]).strip(), str(row["ja"]).strip()
        if not name or not ja:
            raise UserError(f"{path.name} row {number}: id or ja is empty: fill it, or write no under keep")
        names = [ja, *(text for text in _JOIN.split(str(row.get("synonyms", "")).strip(" |｜")) if text)]
        entry = merged.setdefault(name, {"id": name, "ja": ja, "en": str(row.get("en", "")).strip(), "names": []})
        entry["names"] += names
    if not merged:
        raise UserError(f"{path.name} keeps no label: write yes under keep")
    return catalogue_of((_entry(entry, known.get(name)) for name, entry in merged.items()), where=path.name)


def write_catalogue(path: Path, catalogue: Catalogue) -> Path:
    """Write a catalogue as a YAML that :meth:`ecgclip.labels.Catalogue.load` reads and a person edits."""
    head = "# Label catalogue: id and ja are needed, all else may go. Names stand for their label in readings and in training texts.\n"
    entries = [{name: value for name, value in entry.items() if value not in ("", [], {})} for entry in catalogue.entries()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(head + yaml.safe_dump(entries, allow_unicode=True, sort_keys=False, width=120), encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror}): free space or unlock the folder and run it again") from error
    return path


def _entry(edited: Mapping[str, Any], known: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the fields of a label: those of the known one, under the edited names."""
    synonyms = [name for name in dict.fromkeys(edited["names"]) if name != edited["ja"]]
    if known is None:
        return {"id": edited["id"], "ja": edited["ja"], "en": edited["en"], "synonyms": synonyms}
    entry = dict(known) | {"ja": edited["ja"], "en": edited["en"] or known["en"]}
    short = [name for name in synonyms if name in known["abbreviations"]]
    entry |= {"synonyms": [name for name in synonyms if name not in short], "abbreviations": short}
    if any(entry[field] != known[field] for field in ("ja", *_NAMES)):
        entry["prompts"] = []  # Of the names as they are now.
    return entry


def _with_similar(proposal: Proposal, others: Sequence[Proposal]) -> Proposal:
    """Ask about new names that are near to another: they may be one finding, written in two ways."""
    if proposal.known:
        return proposal
    name = proposal.entry["ja"]
    near = Counter(
        {
            other.entry["ja"]: max(difflib.SequenceMatcher(None, name, text).ratio() for text in _texts(other))
            for other in others
            if other is not proposal
        }
    )
    similar = tuple(text for text, ratio in near.most_common(3) if ratio >= NEAR or (len(name) > 2 and (name in text or text in name)))
    return Proposal(proposal.entry, proposal.records, proposal.suspected, proposal.denied, False, similar)


def _texts(proposal: Proposal) -> list[str]:
    return [proposal.entry["ja"], *(name for kind in _NAMES for name in proposal.entry.get(kind, ()))]
