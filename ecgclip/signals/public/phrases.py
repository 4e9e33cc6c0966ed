"""English statements of ECG programs to labels: a table of phrases, the words that hedge, and those that negate."""

import csv
import re
import unicodedata
from functools import lru_cache
from pathlib import Path

from ecgclip.signals.public.findings import Finding

PHRASES = Path(__file__).with_name("phrases_en.csv")
# One spelling for what the programs write in several; applied in this order, to the table too.
_SPELLINGS = tuple(
    (re.compile(pattern), plain)
    for pattern, plain in (
        (r"\ba-v\b", "av"),
        (r"\bst\s*(?:&|/|and|-)\s*t(?:[- ]waves?)?\b", "st-t"),
        (r"\b([trqpu])-waves?\b", r"\1 wave"),
        (r"\b([trqpu]) waves\b", r"\1 wave"),
        (r"\b1st\b", "first"),
        (r"\b2nd\b", "second"),
        (r"\b3rd\b", "third"),
        (r"-degree\b", " degree"),
        (r"\babnrm\b|\babnormalit(?:y|ies)\b|\bchanges?\b", "abnormality"),
        (r"\brepol\b", "repolarization"),
        (r"\belev\b", "elevation"),
        (r"\bischaem", "ischem"),
        (r"\b(infarct)ion\b|\bmyocardial (infarct)(?:ion)?\b", "infarct"),
        (r"\bnon-?specific\b", "nonspecific"),
        (r"\bant/sept(?:al)?\b|\bantero-septal\b", "anteroseptal"),
        (r"\b(complex|contraction|beat)e?s\b|\b(?:complex|contraction|beat)\(e?s\)", "complex"),
        (r"\b(?:contraction|beat)\b", "complex"),
        (r"\b(pvc|pac)\(?s\)?(?=\W|$)", r"\1"),
        (r"\b(\w+)-(paced|sensed)\b", r"\1 \2"),
        (r"\bvoltages\b", "voltage"),
        (r"\bare\b", "is"),
    )
)
# What stands before a finding and puts it in doubt, and what stands after it. "Probable normal variant" says nothing of a finding.
_HEDGE = re.compile(
    r"\b(?:possibl[ey]|probabl[ey]|prob|consider(?:ed)?|cannot (?:be )?(?:rule(?:d)? out|exclude(?:d)?)|can't rule out|suspect(?:ed|s)?|"
    r"suggests?|suggesting|suggestive of|may be|might be|borderline|questionable|likely|equivocal|or)\b|\?"
)
_HEDGE_AFTER = re.compile(r"\b(?:cannot be (?:excluded|ruled out)|is (?:possible|probable|suspected|borderline|questionable))\b|^\s*\?")
_NEGATION = re.compile(r"\b(?:not|no|without|absence of|negative for|has replaced|replaces)\b")
_NEGATION_AFTER = re.compile(r"\b(?:no longer|not (?:seen|present|evident)|absent|has resolved|has been replaced)\b")
# A clause ends here; a comma alone does not end what "possible" or "no" governs.
_CLAUSES = re.compile(r"\s+-\s+|;|:|\bbut\b|\bthough\b|\.\s+")
_ACUTE = re.compile(r"(?<!possibly )(?<!probably )(?<!or )\bacute\b|\bevolving\b")
_OLD = re.compile(r"(?<!possibly )(?<!probably )\bold\b")
ACUTE, OLD = "急性", "陳旧性"
INFARCTS = frozenset({"AMI", "ASMI", "ALMI", "LMI", "IMI", "ILMI", "PMI", "IPMI", "IPLMI"})


def normalise(text: str) -> str:
    """Return a statement in small letters and one spelling, without the marks around it."""
    text = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    text = re.sub(r"^\W*(?:summary\s*:)?\W*|[\s.*\-,]+$", "", " ".join(text.split()))
    for pattern, plain in _SPELLINGS:
        text = pattern.sub(plain, text)
    return " ".join(text.split())


@lru_cache(maxsize=65536)
def read_statement(text: str) -> Finding | None:
    """Read one statement of an ECG program.

    The longest phrases are taken first, and none within another. A word of doubt before a phrase of its clause, or one of those that
    stand behind, makes its labels hedged; so does an "or" between two phrases. A word of negation makes them negated.

    Args:
        text: Such as ``Possible inferior infarct - age undetermined``.

    Returns:
        What it says; empty where it is known to say nothing of a label, as ``Abnormal ECG``; None where no phrase is known.
    """
    plain = normalise(text)
    table, whole = _table()
    if plain in whole:
        return whole[plain]
    found: list[tuple[int, int, Finding]] = []
    rest = plain
    for match in _pattern().finditer(plain):
        found.append((match.start(), match.end(), table[match.group()]))
        rest = rest[: match.start()] + " " * (match.end() - match.start()) + rest[match.end() :]
    if not found:
        return None
    positive: list[str] = []
    hedged: list[str] = []
    negated: list[str] = []
    unknown: list[str] = []
    for start, end, finding in found:
        state = _state(rest, start, end)
        {"positive": positive, "hedged": hedged, "negated": negated}[state].extend(finding.positive)
        if state != "negated":
            hedged += finding.hedged
            unknown += finding.unknown
    return Finding(_once(positive), _once(hedged), _once(negated), _once(unknown), _stage(plain, positive))


def _state(rest: str, start: int, end: int) -> str:
    """Say how a phrase is meant, from what stands around it in its clause; the phrases themselves are blanked out."""
    breaks = [0, *(match.end() for match in _CLAUSES.finditer(rest)), len(rest)]
    begins = max(place for place in breaks if place <= start)
    before = rest[begins:start]
    hedge = bool(_HEDGE.search(before))
    after = rest[end : next((match.start() for match in _CLAUSES.finditer(rest, end)), len(rest))]
    if not hedge and (_NEGATION.search(before) or _NEGATION_AFTER.search(after)):
        return "negated"
    return "hedged" if hedge or _HEDGE_AFTER.search(after) or re.match(r"\s*(?:and/)?or\b", after) else "positive"


def _stage(plain: str, positive: list[str]) -> dict[str, str]:
    infarcts = [label for label in positive if label in INFARCTS]
    acute, old = bool(_ACUTE.search(plain)), bool(_OLD.search(plain))
    return dict.fromkeys(infarcts, ACUTE if acute else OLD) if acute != old else {}


def _once(labels: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(labels))


@lru_cache(maxsize=1)
def _table() -> tuple[dict[str, Finding], dict[str, Finding]]:
    """Return the phrases of the file in their one spelling, and those that count only as the whole of a statement."""
    table: dict[str, Finding] = {}
    whole: dict[str, Finding] = {}
    with PHRASES.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(line for line in file if not line.startswith("#")):
            finding = Finding(tuple(row["positive"].split()), tuple(row["hedged"].split()), (), tuple(row["unknown"].split()))
            (whole if row["phrase"].startswith("=") else table)[normalise(row["phrase"].removeprefix("="))] = finding
    return table, whole


@lru_cache(maxsize=1)
def _pattern() -> re.Pattern[str]:
    """Return one expression of all phrases, the longest first, each between the borders of words."""
    longest = sorted(_table()[0], key=len, reverse=True)
    return re.compile(rf"(?<![\w'])(?:{'|'.join(map(re.escape, longest))})(?![\w'])")
