"""Labels with their Japanese names, and how they depend on each other, read from a YAML."""

import difflib
import hashlib
import json
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from ecgclip.errors import UserError

POSITIVE, NEGATIVE, UNKNOWN = 1, 0, -1

BUILT_IN = Path(__file__).parent


@dataclass(frozen=True)
class Label:
    """One finding.

    Attributes:
        id: What data and reports call it; an SCP code where there is one.
        ja: Canonical Japanese name.
        en: English name.
        group: Family of findings, such as ``rhythm``.
        synonyms: Other Japanese names.
        abbreviations: Short forms that Japanese readers write.
        synonyms_en: Other English names and abbreviations.
        codes: Coding system (``scp``, ``snomed``, ``aha``) to its codes.
        prompts: The Japanese texts that stand for the label in zero-shot classification.
        implies: Ids of labels that are present whenever this one is.
        excludes: Ids of labels that cannot be present beside this one.
        visible: Whether a criterion can be checked on the ECG alone.
        criterion: That criterion, with where it is published.
        source: Where the Japanese names are published.
    """

    id: str
    ja: str
    en: str = ""
    group: str = ""
    synonyms: tuple[str, ...] = ()
    abbreviations: tuple[str, ...] = ()
    synonyms_en: tuple[str, ...] = ()
    codes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    prompts: tuple[str, ...] = ()
    implies: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    visible: bool = True
    criterion: str = ""
    source: str = ""

    @property
    def texts(self) -> tuple[str, ...]:
        """All Japanese names, the canonical one first, each once."""
        return tuple(dict.fromkeys((self.ja, *self.synonyms, *self.abbreviations)))


_FIELDS = [entry.name for entry in fields(Label)]
_NAMES = ("id", "ja")
_TEXTS = ("en", "group", "criterion", "source")
_LISTS = ("synonyms", "abbreviations", "synonyms_en", "prompts", "implies", "excludes")
# What explains a label to a person and changes neither a score nor a figure.
_NOTES = ("criterion", "source")


class Catalogue:
    """An ordered list of labels; the columns of every label matrix are in this order.

    Args:
        labels: The labels.
        where: What they come from, for errors: a file's name.

    Raises:
        UserError: When an id or a name stands twice, a label refers to one that does not exist, an exclusion holds in one direction only,
            or there is no label.
    """

    def __init__(self, labels: Iterable[Label], *, where: str = "the catalogue") -> None:
        self.labels = tuple(labels)
        self.ids = tuple(label.id for label in self.labels)
        self._where = where
        self._column = {name: column for column, name in enumerate(self.ids)}
        if not self.labels:
            raise UserError(f"{where} holds no label: give a list of entries such as '- {{id: AFIB, ja: 心房細動}}'")
        self._check_ids()
        self._check_names()
        self._check_relations()

    @classmethod
    def load(cls, name_or_path: str | Path) -> "Catalogue":
        """Read a catalogue.

        Args:
            name_or_path: A built-in catalogue (``ja98``), or the path of a YAML of the same form: a list of entries, of which only
                ``id`` and ``ja`` are required.

        Raises:
            UserError: When the file is missing, not UTF-8, not YAML or not a catalogue.
        """
        known = sorted(path.stem for path in BUILT_IN.glob("*.yaml"))
        path = BUILT_IN / f"{name_or_path}.yaml" if str(name_or_path) in known else Path(name_or_path)
        where = path.name or str(name_or_path)
        try:
            entries = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
        except OSError as error:
            raise UserError(
                f"catalogue {str(name_or_path)!r} cannot be read ({error.strerror}): give the path of a YAML, or one of {', '.join(known)}"
            ) from error
        except UnicodeDecodeError as error:
            raise UserError(f"{where} is not UTF-8 (byte {error.start}): save it as UTF-8") from error
        except yaml.YAMLError as error:
            raise UserError(f"{where} is not YAML: {_one_line(error)}") from error
        return cls.from_entries(entries, where=where)

    @classmethod
    def from_entries(cls, entries: Sequence[Mapping[str, Any]], *, where: str = "the catalogue") -> "Catalogue":
        """Make a catalogue from plain values, as a YAML holds them and :meth:`entries` returns them.

        Args:
            entries: A mapping for each label.
            where: What they come from, for errors.

        Raises:
            UserError: When an entry is malformed.
        """
        if not isinstance(entries, list | tuple):
            raise UserError(f"{where} is no list of labels: write each as an entry that begins with '- id:'")
        return cls((_label(entry, f"{where}, entry {number}") for number, entry in enumerate(entries, 1)), where=where)

    def entries(self) -> list[dict[str, Any]]:
        """Return the labels as plain values that YAML, JSON and a checkpoint can hold."""
        return [_plain({name: getattr(label, name) for name in _FIELDS}) for label in self.labels]

    @cached_property
    def fingerprint(self) -> str:
        """A hash of everything but notes for people: catalogues that share it give the same columns, texts and figures."""
        kept = [{name: value for name, value in entry.items() if name not in _NOTES} for entry in self.entries()]
        return hashlib.blake2b(json.dumps(kept, ensure_ascii=False, sort_keys=True).encode(), digest_size=8).hexdigest()

    @property
    def texts(self) -> list[str]:
        """Every name and prompt, each once."""
        return self.texts_without(())

    def texts_without(self, withheld: Collection[str]) -> list[str]:
        """Return every name and prompt but those of some labels, by their ids, each once."""
        kept = (label for label in self.labels if label.id not in withheld)
        return list(dict.fromkeys(text for label in kept for text in (*label.texts, *label.prompts)))

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[Label]:
        return iter(self.labels)

    def __repr__(self) -> str:
        return f"Catalogue({self._where}, {len(self)} labels)"

    def index(self, name: str) -> int:
        """Return the column of a label.

        Raises:
            UserError: When the catalogue does not hold it.
        """
        if name not in self._column:
            raise UserError(f"{self._where} holds no label {name!r}: {_hint(name, self.ids)}")
        return self._column[name]

    def by_code(self, system: str, code: str) -> list[str]:
        """Return the ids of all labels with a code, such as ``("snomed", "164889003")``."""
        return [label.id for label in self.labels if code in label.codes.get(system, ())]

    def implied(self, ids: Iterable[str]) -> frozenset[str]:
        """Return the labels that are present when these are: themselves, what they imply, what that implies, and so on.

        Raises:
            UserError: When the catalogue does not hold one.
        """
        return frozenset().union(*(self._closures[self.index(name)] for name in ids))

    def with_implying(self, ids: Iterable[str]) -> frozenset[str]:
        """Return these labels and every one whose implication reaches them: naming one of those would give these away.

        Raises:
            UserError: When the catalogue does not hold one.
        """
        wanted = frozenset(ids)
        for name in wanted:
            self.index(name)
        return frozenset(label.id for label, reached in zip(self.labels, self._closures, strict=True) if reached & wanted)

    def conflicts(self, ids: Iterable[str]) -> list[tuple[str, str]]:
        """Return the pairs of these labels that exclude each other, by themselves or through what they imply.

        Args:
            ids: Labels of one record.

        Returns:
            Pairs in the order of the catalogue.

        Raises:
            UserError: When the catalogue does not hold one.
        """
        columns = sorted({self.index(name) for name in ids})
        return [
            (self.ids[one], self.ids[other])
            for place, one in enumerate(columns)
            for other in columns[place + 1 :]
            if self._exclude(self._closures[one], self._closures[other])
        ]

    def states(
        self, positives: Collection[str], unknown: Collection[str] = (), annotated: Collection[str] | None = None
    ) -> NDArray[np.int8]:
        """Return the state of every label in one record.

        What a positive label implies is positive. What an uncertain one implies is not negative either: a suspected Wenckebach block
        leaves open whether there is a second-degree block.

        Args:
            positives: Ids of the labels that the record has.
            unknown: Ids of the labels that are suspected or undecided in this record.
            annotated: Ids of the labels that the data set speaks of, others being unknown; None where it speaks of all. Ids that the
                catalogue does not hold are passed over here: a data set may annotate more.

        Returns:
            ``(L,)`` int8: POSITIVE, NEGATIVE or UNKNOWN.

        Raises:
            UserError: When ``positives`` or ``unknown`` holds a label that the catalogue does not.
        """
        out = np.full(len(self), NEGATIVE, np.int8)
        if annotated is not None:
            out[[column for column, name in enumerate(self.ids) if name not in annotated]] = UNKNOWN
        out[[self._column[name] for name in self.implied(unknown)]] = UNKNOWN
        out[[self._column[name] for name in self.implied(positives)]] = POSITIVE
        return out

    @cached_property
    def _closures(self) -> tuple[frozenset[str], ...]:
        """What each label implies, itself included."""
        return tuple(frozenset(self._reach(label.id)) for label in self.labels)

    def _reach(self, name: str) -> set[str]:
        reached, ahead = {name}, [name]
        while ahead:
            new = set(self.labels[self._column[ahead.pop()]].implies) - reached
            reached |= new
            ahead += new
        return reached

    def _exclude(self, ones: Iterable[str], others: Collection[str]) -> bool:
        return any(not set(self.labels[self._column[one]].excludes).isdisjoint(others) for one in ones)

    def _check_ids(self) -> None:
        for number, label in enumerate(self.labels, 1):
            first = self.ids.index(label.id) + 1
            if first != number:
                raise UserError(f"{self._where}, entry {number}: id {label.id!r} is that of entry {first} too: give each label its own")

    def _check_names(self) -> None:
        """A text that two labels share would be the right answer and the wrong one at once."""
        owner: dict[str, tuple[str, str]] = {}
        for label in self.labels:
            for text in (*label.texts, *label.prompts):
                known, spelling = owner.setdefault(_key(text), (label.id, text))
                if known != label.id:
                    also = "" if spelling == text else f" (as {spelling!r}, which is the same text after NFKC)"
                    raise UserError(f"{self._where}, {label.id}: {text!r} is a name of {known} too{also}: keep it with one of them")

    def _check_relations(self) -> None:
        for label in self.labels:
            for relation in ("implies", "excludes"):
                for other in getattr(label, relation):
                    if other not in self._column:
                        raise UserError(f"{self._where}, {label.id}: {relation} names {other!r}, no label here: {_hint(other, self.ids)}")
            for other in label.excludes:
                if label.id not in self.labels[self._column[other]].excludes:
                    raise UserError(f"{self._where}, {label.id}: excludes {other}, which does not exclude {label.id}: add it there too")
        for name, reached in zip(self.ids, self._closures, strict=True):
            if self._exclude(reached, reached):
                raise UserError(f"{self._where}, {name}: excludes what it implies: take one of the two out")


def _label(entry: object, where: str) -> Label:
    """Check one entry and make its label; what is left out has a default."""
    if not isinstance(entry, Mapping):
        raise UserError(f"{where} is {_shown(entry)}, no mapping: write '- id: ...' and its fields below")
    if isinstance(entry.get("id"), str):
        where = f"{where} ({entry['id']})"
    values: dict[str, Any] = {}
    for name, value in entry.items():
        if name not in _FIELDS:
            raise UserError(f"{where}: no field is called {name!r}: {_hint(str(name), _FIELDS)}")
        values[name] = _value(name, value, where)
    for name in _NAMES:
        if name not in values:
            raise UserError(f"{where}: {name} is missing: every label needs id and ja")
    label = Label(**values)
    return label if label.prompts else Label(**values | {"prompts": label.texts})


def _value(name: str, value: object, where: str) -> object:
    if name in _NAMES:
        return _name(value, f"{where}: {name}")
    if name in _TEXTS:
        if not isinstance(value, str):
            raise UserError(f"{where}: {name} is {_shown(value)}, not text: put it in quotes")
        return value
    if name in _LISTS:
        return _names(value, f"{where}: {name}")
    if name == "visible":
        if not isinstance(value, bool):
            raise UserError(f"{where}: visible is {_shown(value)}: write true or false")
        return value
    if not isinstance(value, Mapping):
        raise UserError(f"{where}: codes is {_shown(value)}: write each system with a list of its codes, such as {{scp: [AFIB]}}")
    return {str(system): _names(codes, f"{where}: codes.{system}") for system, codes in value.items()}


def _names(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise UserError(f"{where} is {_shown(value)}, no list: write [..., ...]")
    return tuple(_name(item, where) for item in value)


def _name(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise UserError(f"{where} holds {_shown(value)}, not text: put it in quotes")
    if not value.strip():
        raise UserError(f"{where} is empty: write a name")
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _key(text: str) -> str:
    """What two spellings of one text have in common."""
    return unicodedata.normalize("NFKC", text).casefold().strip()


def _hint(name: str, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known[:14])}{', ...' if len(known) > 14 else ''}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _one_line(error: yaml.YAMLError) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"line {mark.line + 1}, {problem}" if mark else str(problem)
