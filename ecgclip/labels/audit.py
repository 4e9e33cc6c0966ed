"""How well readings are parsed, as a cardiologist sees it: a sample to correct, and precision and recall out of the corrections."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ecgclip.errors import UserError
from ecgclip.labels.catalogue import Catalogue
from ecgclip.labels.reading import ReadingParser
from ecgclip.naming import unknown
from ecgclip.tables import read_table, write_table

SHEET = ("row", "reading", "parsed", "correct", "comment")
HEDGED = "？"
RESAMPLES = 2000
_JOIN = re.compile(r"\s*[|｜]\s*")
_Z = 1.959964  # Of the normal distribution, 95 %, two-sided.


@dataclass(frozen=True)
class Score:
    """Agreement of parsed with corrected labels.

    Attributes:
        label: Its id, or ``all``.
        right: Found, and there.
        wrong: Found, and not there.
        missed: There, and not found.
        precision: With its 95 % interval, None where nothing was found: (value, low, high).
        recall: The same, None where nothing is there.

    """

    label: str
    right: int
    wrong: int
    missed: int
    precision: tuple[float, float, float] | None
    recall: tuple[float, float, float] | None


def write_audit(path: Path, readings: Sequence[str], parser: ReadingParser, *, n: int, seed: int = 0) -> int:
    """Write a random sample of readings beside their parsed labels.

    Every reading is as likely as every other, so that the figures hold for all of them. ``correct`` is filled with what was parsed:
    who audits changes only what is wrong. A suspected label ends in ``？``.

    Args:
        path: A CSV. It holds the texts of readings.
        readings: All of them; empty ones are passed over.
        parser: What reads.
        n: How many.
        seed: Of the sample.

    Returns:
        How many were written.

    Raises:
        UserError: When there is no reading, or the file cannot be written.

    """
    filled = [row for row, text in enumerate(readings) if text.strip()]
    if not filled:
        raise UserError("no reading has a text: check the column")
    rng = np.random.default_rng([seed, *b"audit"])
    chosen = sorted(rng.choice(filled, min(n, len(filled)), replace=False).tolist())
    names = {label.id: label.ja for label in parser.catalogue}
    rows = []
    for row in chosen:
        read = parser.parse(readings[row])
        labels = [names[name] for name in read.positive] + [names[name] + HEDGED for name in read.hedged if name not in read.positive]
        said = " | ".join(labels)
        rows.append({"row": row + 2, "reading": readings[row], "parsed": said, "correct": said})
    write_table(path, rows, SHEET)
    return len(rows)


def score_audit(path: Path, catalogue: Catalogue) -> tuple[list[Score], list[Score]]:
    """Turn a corrected sample into precision and recall.

    Args:
        path: Written by :func:`write_audit`, corrected.
        catalogue: What it was parsed with.

    Returns:
        Scores of the positive labels, all together first and then by label, the most frequent first; and the same of the suspected
        ones. Intervals of all together are percentiles over resampled readings, whose labels belong together; those of one label are
        Wilson's (1927, doi:10.1080/01621459.1927.10502953).

    Raises:
        UserError: When a column is missing, or a name is no label.

    """
    table = read_table(path)
    for column in ("parsed", "correct"):
        if column not in table:
            raise UserError(f"{path.name} has no column {column}: give the table that `ecgclip labels audit` wrote")
    names = {_key(text): label.id for label in catalogue for text in (label.id, *label.texts)}
    parsed = [_labels(cell, names, f"{path.name} row {row}") for row, cell in enumerate(table["parsed"], 2)]
    correct = [_labels(cell, names, f"{path.name} row {row}") for row, cell in enumerate(table["correct"], 2)]
    return tuple(  # type: ignore[return-value]
        _scores([one[state] for one in parsed], [other[state] for other in correct]) for state in ("positive", "hedged")
    )


def _labels(cell: str, names: Mapping[str, str], where: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {"positive": set(), "hedged": set()}
    for text in _JOIN.split(str(cell).strip(" |｜")):
        if not text:
            continue
        hedged = _key(text) not in names and text[-1] in "?？"
        name = text[:-1].strip() if hedged else text
        if _key(name) not in names:
            raise UserError(f"{where}: {unknown('label', name, list(names))}")
        found["hedged" if hedged else "positive"].add(names[_key(name)])
    return found


def _scores(parsed: Sequence[set[str]], correct: Sequence[set[str]]) -> list[Score]:
    counts = np.array([[len(p & c), len(p - c), len(c - p)] for p, c in zip(parsed, correct, strict=True)]).reshape(-1, 3)
    right, wrong, missed = counts.sum(0).tolist()
    rng = np.random.default_rng(0)
    drawn = counts[rng.integers(0, max(1, len(counts)), (RESAMPLES, len(counts)))].sum(1) if len(counts) else np.zeros((1, 3))
    scores = [
        Score("all", right, wrong, missed, _resampled(right, wrong, drawn[:, 1], drawn), _resampled(right, missed, drawn[:, 2], drawn))
    ]
    labels = sorted({label for found in (*parsed, *correct) for label in found})
    single = []
    for label in labels:
        right = sum(label in p and label in c for p, c in zip(parsed, correct, strict=True))
        wrong = sum(label in p for p in parsed) - right
        missed = sum(label in c for c in correct) - right
        single.append(Score(label, right, wrong, missed, _wilson(right, right + wrong), _wilson(right, right + missed)))
    return scores + sorted(single, key=lambda score: -(score.right + score.missed))


def _resampled(right: int, failed: int, drawn_failed: np.ndarray, drawn: np.ndarray) -> tuple[float, float, float] | None:
    if right + failed == 0:
        return None
    total = drawn[:, 0] + drawn_failed
    shares = drawn[total > 0, 0] / total[total > 0]
    low, high = np.percentile(shares, (2.5, 97.5)).tolist()
    return right / (right + failed), low, high


def _wilson(right: int, n: int) -> tuple[float, float, float] | None:
    if n == 0:
        return None
    p, z2 = right / n, _Z * _Z
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z * (p * (1 - p) / n + z2 / (4 * n * n)) ** 0.5 / (1 + z2 / n)
    return p, max(0.0, middle - half), min(1.0, middle + half)


def _key(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold().strip()
