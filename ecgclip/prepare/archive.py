"""What a hospital has: a folder of files, and a table that says whose they are and what was read on them."""

import os
import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import pandas as pd

from ecgclip.errors import UserError
from ecgclip.labels import Catalogue
from ecgclip.labels.reading import ReadingParser
from ecgclip.labels.readings import PATIENT_COLUMNS, READING_COLUMNS
from ecgclip.naming import unknown
from ecgclip.prepare.engine import Rejected
from ecgclip.privacy import patient_key, record_key
from ecgclip.signals.formats.common import OLDEST
from ecgclip.signals.record import SPLITS, Item
from ecgclip.tables import find_column, read_table, rows_that_meet

# What the columns of a manifest are called, in English and in the tables of Japanese systems.
COLUMNS = {
    "path": ("path", "file", "filename", "file_name", "ファイル", "ファイル名", "パス"),
    "patient": PATIENT_COLUMNS,
    "reading": READING_COLUMNS,
    "labels": ("labels", "label", "ラベル"),
    "age": ("age", "年齢"),
    "sex": ("sex", "gender", "性別"),
    "year": ("year", "date", "acquired", "年", "検査日", "検査日時", "記録日", "日付"),
    "device": ("device", "model", "機種", "装置", "心電計"),
    "site": ("site", "hospital", "施設", "病院"),
    "setting": ("setting", "ward", "場面", "診療科", "病棟"),
    "split": ("split",),
}
SEXES = {"f": "F", "female": "F", "女": "F", "女性": "F", "2": "F", "m": "M", "male": "M", "男": "M", "男性": "M", "1": "M"}
_ERAS = {"令和": 2018, "R": 2018, "平成": 1988, "H": 1988, "昭和": 1925, "S": 1925}
_COMPANIONS = (".dat", ".mat", ".atr", ".qrs", ".xws", ".hea")
_SEPARATOR = re.compile(r"\s*[|;；｜]\s*")
# A reading that names no other rhythm leaves sinus rhythm out, and "normal" goes without saying as well.
LEFT_OUT = ("SR", "NORM")


@dataclass(frozen=True)
class ReadingToLabels:
    """Gives an item the labels of its reading; a step of :func:`ecgclip.prepare.prepare`.

    Attributes:
        parser: What reads.
        fingerprint: A text that changes with the parser and its catalogue.
        keep_reading: Whether the text stays in the store.

    """

    parser: ReadingParser
    fingerprint: str
    keep_reading: bool

    def __call__(self, item: Item, signal: np.ndarray, sampling_rate: float) -> Item:
        """Return the item with its labels; what is suspected or left open is unknown, and so is what nobody writes."""
        catalogue = self.parser.catalogue
        read = self.parser.parse(item.reading or "")
        if not (read.positive or read.hedged or read.negated or read.open):
            # Nothing that was understood: then nothing is absent either.
            return replace(item, unknown=catalogue.ids, flags=(*item.flags, "unread"), reading=item.reading if self.keep_reading else None)
        ruled_out = {other for label in read.positive for other in catalogue.labels[catalogue.index(label)].excludes}
        said = {*read.positive, *read.negated, *ruled_out}
        left_out = [label for label in LEFT_OUT if label in catalogue.ids and label not in said]
        return replace(
            item,
            labels=read.positive,
            unknown=tuple(dict.fromkeys([*read.hedged, *read.open, *left_out])),
            hedged=read.hedged,
            negated=read.negated,
            modifiers=read.modifiers,
            reading=item.reading if self.keep_reading else None,
        )


@dataclass(frozen=True)
class Archive:
    """The records of an archive.

    Attributes:
        items: In the order of the table, or of the paths.
        rejected: Rows that name no file of their own.
        notes: One line each for the person at the terminal.
        has: The columns that there are, by their names in ``COLUMNS``.

    """

    items: Sequence[Item]
    rejected: list[Rejected]
    notes: list[str] = field(default_factory=list)
    has: frozenset[str] = frozenset()


class _Items(Sequence[Item]):
    """The rows of a table as items, made as they are asked for: a million of them need not lie in memory."""

    def __init__(self, table: pd.DataFrame, folder: Path, salt: str, catalogue: Catalogue | None) -> None:
        self._columns = {name: table[name].array for name in table.columns}
        self._folder, self._salt = folder, salt
        self._labels = {} if catalogue is None else {name: label.id for label in catalogue for name in (label.id, *label.texts)}

    def __len__(self) -> int:
        return len(self._columns["path"])

    @overload
    def __getitem__(self, row: int) -> Item: ...
    @overload
    def __getitem__(self, row: slice) -> list[Item]: ...
    def __getitem__(self, row: int | slice) -> Item | list[Item]:
        if isinstance(row, slice):
            return [self[i] for i in range(*row.indices(len(self)))]
        path = self._columns["path"][row]
        patient = self._cell("patient", row)
        return Item(
            id=record_key(path, f"{self._salt} record"),
            patient=patient_key(patient, self._salt) if patient else "",
            split=self._cell("split", row).lower(),
            labels=tuple(self._labels[name] for name in _SEPARATOR.split(self._cell("labels", row).strip(" |;")) if name),
            path=self._folder / path,
            reading=self._cell("reading", row) if "reading" in self._columns else None,
            about=_about({name: self._cell(name, row) for name in ("age", "sex", "year", "device", "site", "setting")}),
        )

    def _cell(self, name: str, row: int) -> str:
        return str(self._columns[name][row]).strip() if name in self._columns else ""

    def unknown_labels(self) -> set[str]:
        """Return the labels of the table that the catalogue does not have."""
        cells = set(self._columns["labels"]) if "labels" in self._columns else set()
        return {name for cell in cells for name in _SEPARATOR.split(str(cell).strip(" |;")) if name} - self._labels.keys()


def read_archive(
    source: Path, *, files: Path | None = None, salt: str, catalogue: Catalogue | None = None, confirmed: str | None = None
) -> Archive:
    """Find the records of an archive.

    Args:
        source: A table (CSV) with a row per ECG, or a folder of ECG files.
        files: Where the files of a table lie; None for the folder of the table. A file that is not at the path given is looked for by its
            name, with or without its ending, in all folders beneath.
        salt: Of the keys.
        catalogue: What the table's column of labels, if it has one, speaks of.
        confirmed: ``COLUMN=VALUE``, which a row meets whose reading a physician has confirmed; the others are rejected.

    Raises:
        UserError: When there is no such thing, no column of paths, or a value that makes no sense.

    """
    if source.is_dir():
        if files is not None or confirmed:
            raise UserError(f"{source} is a folder: --files and --confirmed belong to a table, give it first")
        table = pd.DataFrame({"path": pd.array(list(_walk(source)), dtype="string[pyarrow]")})
        if table.empty:
            raise UserError(f"{source} holds no file: give the folder with the ECGs, or a table of them")
        return Archive(_Items(table, source, salt, catalogue), [])
    if not source.is_file():
        raise UserError(f"{source} does not exist: give a folder of ECG files, or a table (CSV) with a column path")
    table = read_table(source)
    found = {name: column for name, names in COLUMNS.items() if (column := find_column(table, names))}
    if "path" not in found:
        listed = ", ".join(map(repr, table.columns[:8]))
        raise UserError(f"{source.name} has no column path (or file, ファイル名), but {listed}: name the column with the files so")
    accepted = rows_that_meet(table, confirmed, source.name) if confirmed else None
    table = pd.DataFrame({name: table[column].astype("string[pyarrow]") for name, column in found.items()})
    folder = files or source.parent
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: give the one with the ECG files")
    table, rejected, notes = _with_files(table, folder, source, accepted)
    _check(table, source)
    items = _Items(table, folder, salt, catalogue)
    if strange := sorted(items.unknown_labels()):
        raise UserError(f"{source.name}: {unknown('label', strange[0], sorted(items._labels))}")
    return Archive(items, rejected, notes, frozenset(found))


def read_salt(path: Path) -> str:
    """Return the secret of an archive, made where it is not there yet.

    Args:
        path: Its file.

    Raises:
        UserError: When it is empty or cannot be written.

    """
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_hex(16) + "\n")
        salt = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the salt {path} cannot be read or written ({type(error).__name__}): give another file with --salt") from error
    if not salt:
        raise UserError(f"the salt {path} is empty: delete it, and one is made")
    return salt


def _walk(folder: Path) -> Iterator[str]:
    """Yield the files that may be ECGs, in order: of a WFDB record its header only, and nothing hidden."""
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        headers = {Path(name).stem for name in names if name.lower().endswith(".hea")}
        for name in sorted(names):
            path = Path(name)
            companion = path.suffix.lower() in _COMPANIONS[:-1] and (path.stem in headers or name in headers)
            if not name.startswith(".") and not companion:
                yield str(Path(here, name).relative_to(folder))


def _with_files(
    table: pd.DataFrame, folder: Path, source: Path, accepted: np.ndarray | None
) -> tuple[pd.DataFrame, list[Rejected], list[str]]:
    """Find the file of every row; reject rows without one, with that of an earlier row, or with a reading that does not count."""
    known = dict.fromkeys(_walk(folder))
    by_name: dict[str, list[str]] = {}
    paths: list[str | None] = []
    rejected: list[Rejected] = []
    used: set[str] = set()
    for number, cell in enumerate(table["path"], 2):
        text = str(cell).strip().replace("\\", "/")
        path, reason = _find(text, known, by_name)
        if path in used:
            path, reason = None, "is listed twice: join its readings in one row"
        elif path is not None and accepted is not None and not accepted[number - 2]:
            used.add(path)
            path, reason = None, "its reading is not confirmed: it counts when it is"
        if path is None:
            rejected.append(Rejected(f"{source.name} row {number}: {text}", reason))
        else:
            used.add(path)
        paths.append(path)
    table = table.assign(path=pd.array(paths, dtype="string[pyarrow]"))
    left = len(known.keys() - used - {source.name})
    notes = [f"{left} files in {folder} are not in {source.name}: they are left out"] if left else []
    return table[table["path"].notna()].reset_index(drop=True), rejected, notes


def _find(text: str, known: dict[str, None], by_name: dict[str, list[str]]) -> tuple[str | None, str]:
    """Return the file that a cell means, or why there is none."""
    if not text:
        return None, "has no file: fill the column, or drop the row"
    if text in known:
        return text, ""
    pure = Path(text)
    bare = pure.stem if pure.suffix.lower() in _COMPANIONS else pure.name
    if f"{pure.parent / bare}.hea" in known:
        return f"{pure.parent / bare}.hea", ""
    if not by_name:  # Made for the first path that is not as it is written: in most tables, never.
        for path in known:
            for name in {Path(path).name, Path(path).stem}:
                by_name.setdefault(name, []).append(path)
    for name in (pure.name, bare):
        if len(found := by_name.get(name, [])) == 1:
            return found[0], ""
        if found:
            return None, f"could be {len(found)} files of that name: write the path within the folder"
    return None, "does not exist: copy the file there, or mend the path"


def _check(table: pd.DataFrame, source: Path) -> None:
    """Refuse cells that nobody can use, before hours of work are done."""
    if "split" in table:
        splits = {str(name).strip().lower() for name in table["split"]}
        if strange := sorted(splits - {*SPLITS, ""}):
            raise UserError(f"{source.name}: split {strange[0]!r} does not exist: known are {', '.join(SPLITS)}, or leave it empty")
        if "" in splits and len(splits) > 1:
            raise UserError(f"{source.name}: some rows have a split and some have none: fill the column, or drop it")
    for name, parse in (("age", _age), ("sex", _sex), ("year", _year)):
        for number, cell in enumerate(table.get(name, ()), 2):
            text = str(cell).strip()
            if text and parse(text) is None:  # The cell is not repeated: it may be a birth date.
                raise UserError(f"{source.name} row {number}: the {name} is not understood: {_EXPECTED[name]}, or leave it empty")


_EXPECTED = {"age": "write years", "sex": "write F or M (女, 男)", "year": "write 2024, 2024-05-17 or 令和6年"}


def _about(cells: dict[str, str]) -> dict[str, Any]:
    about: dict[str, Any] = {name: cells[name] for name in ("device", "site", "setting") if cells[name]}
    for name, parse in (("age", _age), ("sex", _sex), ("year", _year)):
        if cells[name]:
            about[name] = parse(cells[name])
    return about


def _age(text: str) -> float | None:
    match = re.fullmatch(r"(\d{1,3}(?:\.\d+)?)\s*(?:歳|才|y|years?)?", text)
    return min(float(match[1]), OLDEST) if match and float(match[1]) <= 130 else None


def _sex(text: str) -> str | None:
    return "" if text.lower() in ("u", "unknown", "不明", "o", "other") else SEXES.get(text.lower())


def _year(text: str) -> int | None:
    if match := re.match(r"((?:19|20)\d{2})(?!\d{5,}|\d{1,3}$)", text):
        return int(match[1])
    match = re.match(r"(令和|平成|昭和|[RHS])\s*(\d{1,2}|元)\s*[年./-]", text)
    return _ERAS[match[1]] + (1 if match[2] == "元" else int(match[2])) if match else None
