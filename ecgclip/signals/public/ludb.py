"""LUDB: 200 ECGs of as many people, read by cardiologists (Kalyakulina et al. 2020, doi:10.1109/ACCESS.2020.3029211).

As PhysioNet's ludb 1.0.1 lays it out: ``data/1.hea`` to ``data/200.hea``, the diagnoses in their comments and again in ``ludb.csv``.
"""

import csv
from collections import Counter
from functools import cache
from pathlib import Path

from ecgclip.errors import UserError
from ecgclip.signals.public.findings import Finding, catalogue, label_states, open_note, unmapped_note
from ecgclip.signals.public.phrases import INFARCTS
from ecgclip.signals.public.public_set import PublicSet, about, folder_of, header_comments, public_item, public_set
from ecgclip.tables import find_column, read_table

STATEMENTS = Path(__file__).with_name("ludb_statements.csv")
TABLE = "ludb.csv"
DOWNLOAD = "download LUDB from https://physionet.org/content/ludb/ and give the folder with data/"
# A cell of the table may leave out what its column is called.
_PREFIXES = {"rhythms": "", "non-specific repolarization abnormalities": "Non-specific repolarization abnormalities: "}


def read_ludb(root: str | Path) -> PublicSet:
    """Read the diagnoses of LUDB from the headers, or from the table where the headers hold none.

    Args:
        root: The folder with ``data/``, or ``data`` itself.

    Raises:
        UserError: When there is no record.
    """
    folder = folder_of(root, DOWNLOAD)
    below = folder / "data" if (folder / "data").is_dir() else folder
    headers = sorted((path for path in below.glob("*.hea") if path.stem.isdecimal()), key=lambda path: int(path.stem))
    if not headers:
        raise UserError(f"{folder} holds no header such as data/1.hea: {DOWNLOAD}")
    table = _read_table(folder / TABLE)
    annotated = _spoken_of()
    unmapped: Counter[str] = Counter()
    broad: Counter[str] = Counter()
    items = []
    without: list[str] = []
    for header in headers:
        statements, told = _comments(header)
        if not statements and header.stem in table:
            statements, told = table[header.stem]
        if not statements or not header.with_suffix(".dat").is_file():
            without.append(header.name)
            continue
        findings = []
        for statement in statements:
            finding = ludb_statements().get(_plain(statement))
            if finding is None:
                unmapped[statement] += 1
                continue
            findings.append(finding)
            if finding.unknown and not finding.positive:
                broad[statement] += 1
        items.append(public_item("ludb", header.stem, header, label_states(findings, annotated), about=told))
    notes = [f"{len(without)} records lack diagnoses or signals, first {without[0]}: left out"] if without else []
    notes += [*unmapped_note(unmapped, "statements"), *open_note(broad, "statements")]
    return public_set(folder, items, annotated, notes, remedy=DOWNLOAD)


@cache
def ludb_statements() -> dict[str, Finding]:
    """Return what the statements of LUDB mean, by the statement in small letters."""
    found = {}
    with STATEMENTS.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(line for line in file if not line.startswith("#")):
            positive = tuple(row["positive"].split())
            stages = {label: row["stage"] for label in positive if label in INFARCTS and row["stage"]}
            found[_plain(row["statement"])] = Finding(positive, (), (), tuple(row["unknown"].split()), stages)
    return found


def _spoken_of() -> list[str]:
    positive = {label for finding in ludb_statements().values() for label in finding.positive}
    implied = catalogue().implied(positive)
    return [label for label in catalogue().ids if label in implied]


def _plain(statement: str) -> str:
    return " ".join(statement.split()).rstrip(" .").casefold().removeprefix("rhythm: ")


def _comments(header: Path) -> tuple[list[str], dict[str, object]]:
    """Return the diagnoses of a header, and age and sex."""
    statements = []
    fields: dict[str, str] = {}
    for comment in header_comments(header):
        key, _, value = comment.partition(">:")
        if comment.startswith("<"):
            fields[key.lstrip("<").strip().lower()] = value
        elif "diagnoses" in fields and comment:
            statements.append(comment.rstrip(" ."))
    return statements, about(fields.get("age", ""), fields.get("sex", ""))


def _read_table(path: Path) -> dict[str, tuple[list[str], dict[str, object]]]:
    """Return diagnoses, age and sex by record; nothing where the table is not there, since the headers say the same."""
    if not path.is_file():
        return {}
    table = read_table(path)
    number, age, sex = (find_column(table, [name]) for name in ("ID", "Age", "Sex"))
    if number is None:
        raise UserError(f"{path} has no column ID: {DOWNLOAD}")
    rows = {}
    for row in table.to_dict("records"):
        statements = []
        for column, cell in row.items():
            if column in (number, age, sex):
                continue
            for line in cell.splitlines():
                text = line.strip().rstrip(" .")
                prefix = _PREFIXES.get(str(column).casefold(), "")
                if text:
                    statements.append(text if text.casefold().startswith(prefix.casefold()) else prefix + text)
        told = about(row[age] if age else "", row[sex] if sex else "")
        rows[row[number].strip()] = (statements, told)
    return rows
