"""A table of readings, and what a parser finds in all of them."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path

from tqdm import tqdm

from ecgclip.errors import UserError
from ecgclip.labels.reading import ReadingParser
from ecgclip.tables import find_column, read_table, rows_that_meet

# What the column of readings is called, in English and in the tables of Japanese systems.
READING_COLUMNS = (
    "reading",
    "report",
    "text",
    "所見",
    "判読",
    "判読所見",
    "心電図所見",
    "判読結果",
    "診断",
    "心電図診断",
    "コメント",
)
PATIENT_COLUMNS = ("patient", "patient_id", "patientid", "患者", "患者id", "患者番号", "id番号", "カルテ番号", "mrn")
# A text that so few readings share may say who they are of: it is counted and never shown.
FEWEST = 5


@dataclass
class Counts:
    """What a parser found.

    Attributes:
        readings: How many.
        empty: Of them without a text.
        labelled: Of them with a positive label.
        positive: Label id to the number of readings.
        hedged: The same of suspected ones.
        negated: The same of denied ones.
        unmatched: A normalised piece of text that no label covers, to the number of readings; of patients, where they are known: what
            stands in many readings of one patient may be the name.
        notes: What the parser remarked, to the number of readings.
        conflicts: Pairs of positive labels that exclude each other, to the number of readings.
        per_reading: Number of positive labels to the number of readings.

    """

    readings: int = 0
    empty: int = 0
    labelled: int = 0
    positive: Counter[str] = field(default_factory=Counter)
    hedged: Counter[str] = field(default_factory=Counter)
    negated: Counter[str] = field(default_factory=Counter)
    unmatched: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    conflicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    per_reading: Counter[int] = field(default_factory=Counter)


def load_readings(path: Path, *, column: str | None = None, confirmed: str | None = None) -> tuple[list[str], list[str] | None]:
    """Read the texts of a table, and whose they are where it has a column ``patient``.

    Args:
        path: CSV, UTF-8 or CP932.
        column: Its column of readings; None for one that is called as in ``READING_COLUMNS``.
        confirmed: ``COLUMN=VALUE``, which a row meets whose reading a physician has confirmed; the others are passed over.

    Raises:
        UserError: When there is no such table or column.

    """
    table = read_table(path)
    name = find_column(table, (column,) if column else READING_COLUMNS)
    if name is None:
        listed = ", ".join(map(repr, table.columns[:8]))
        raise UserError(f"{path.name} has no column {column or 'reading (or 所見)'}, but {listed}: name it with --column")
    if confirmed:
        table = table[rows_that_meet(table, confirmed, path.name)]
    patient = find_column(table, PATIENT_COLUMNS)
    return [str(text) for text in table[name]], [str(number) for number in table[patient]] if patient else None


def count_findings(parser: ReadingParser, readings: Iterable[str], patients: Iterable[str] | None = None) -> Counts:
    """Parse all readings and count what is in them.

    Args:
        parser: What reads.
        readings: Texts.
        patients: Whose they are; None where nobody knows, and every reading counts.

    """
    counts = Counts()
    said: set[tuple[str, str]] = set()
    whose = repeat("") if patients is None else iter(patients)
    # A bar on a terminal only.
    for text, patient in zip(tqdm(readings, unit=" readings", disable=None), whose, strict=False):
        counts.readings += 1
        counts.empty += not text.strip()
        read = parser.parse(text)
        counts.labelled += bool(read.positive)
        counts.per_reading[len(read.positive)] += 1
        counts.positive.update(set(read.positive))
        counts.hedged.update(set(read.hedged))
        counts.negated.update(set(read.negated))
        new = {piece for piece in read.unmatched if not patient or (piece, patient) not in said}
        counts.unmatched.update(new)
        if patient:
            said.update((piece, patient) for piece in new)
        counts.notes.update(set(read.notes))
        counts.conflicts.update(parser.catalogue.conflicts(read.positive))
    return counts
