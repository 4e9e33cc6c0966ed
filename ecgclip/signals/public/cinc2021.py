"""CPSC 2018, Chapman-Shaoxing with Ningbo, and Georgia, as the PhysioNet/CinC Challenge 2021 gives them (doi:10.13026/34va-7q14).

CPSC 2018 (Liu et al. 2018, doi:10.1166/jmihi.2018.2442) is read in its own layout too; Chapman-Shaoxing with Ningbo (Zheng et al. 2020,
doi:10.1038/s41597-020-0386-x) also as PhysioNet's ecg-arrhythmia 1.0.0.
"""

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ecgclip.errors import UserError
from ecgclip.signals.public.findings import Finding, catalogue, label_states, open_note, unmapped_note
from ecgclip.signals.public.public_set import PublicSet, about, folder_of, header_comments, public_item, public_set
from ecgclip.tables import read_table

CODES = Path(__file__).with_name("snomed.csv")
REFERENCE = "REFERENCE.csv"
# The nine classes of CPSC 2018 by their numbers, as the challenge codes them.
CPSC_CLASSES = dict(
    enumerate(
        ("426783006", "164889003", "270492004", "164909002", "59118001", "284470004", "164884008", "429622005", "164931005"),
        1,
    )
)
FIRST_NINGBO = 10647  # JS00001 to JS10646 are of Chapman-Shaoxing.
FLUTTER = "164890007"
NEITHER = {"AFIB", "AFLT"}
NO_PATIENTS = "the set gives no patient numbers: every record counts as a patient of its own"
NINGBO_FLUTTER = (
    "Ningbo has the code of atrial flutter in a fifth of its records and that of atrial fibrillation in none: it leaves both open there"
)


@dataclass(frozen=True)
class Code:
    """One SNOMED CT code.

    Attributes:
        name: As the challenge has it.
        finding: What it says about labels.
        sources: The parts of the challenge that use it: ``cpsc``, ``cpsc_extra``, ``georgia``, ``chapman``, ``ningbo``.
    """

    name: str
    finding: Finding
    sources: frozenset[str]


@cache
def snomed_codes() -> Mapping[str, Code]:
    """Return the codes of ``snomed.csv``, each with the labels of its own and those that the catalogue gives it."""
    codes = {}
    with CODES.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(line for line in file if not line.startswith("#")):
            hedged = tuple(row["hedged"].split())
            named = [label for label in catalogue().by_code("snomed", row["code"]) if label not in hedged]
            positive = tuple(dict.fromkeys([*named, *row["positive"].split()]))
            finding = Finding(positive, hedged, (), tuple(row["unknown"].split()))
            sources = frozenset(name for name in ("cpsc", "cpsc_extra", "georgia", "chapman", "ningbo") if int(row[name]))
            codes[row["code"]] = Code(row["name"], finding, sources)
    return codes


def speaks_of(source: str) -> tuple[str, ...]:
    """Return the labels that a part of the challenge can make positive, in the order of the catalogue."""
    found = {label for code in snomed_codes().values() if source in code.sources for label in code.finding.positive}
    if source == "ningbo":
        found |= NEITHER  # Where its one code for both is not given, there is neither.
    implied = catalogue().implied(found)
    return tuple(label for label in catalogue().ids if label in implied)


def read_georgia(root: str | Path) -> PublicSet:
    """Read the records of Georgia: ``E00001`` to ``E10344``, wherever they lie below the folder.

    Raises:
        UserError: When there is none.
    """
    return _read(root, "georgia", lambda record: "georgia" if re.fullmatch(r"E\d{5}", record) else None, "training/georgia")


def read_chapman_ningbo(root: str | Path) -> PublicSet:
    """Read the records of Chapman-Shaoxing and Ningbo: ``JS00001`` to ``JS45551``, wherever they lie below the folder.

    Raises:
        UserError: When there is none.
    """

    def source(record: str) -> str | None:
        if not re.fullmatch(r"JS\d{5}", record):
            return None
        return "ningbo" if int(record[2:]) >= FIRST_NINGBO else "chapman"

    return _read(root, "chapman_ningbo", source, "training/chapman_shaoxing and training/ningbo, or ecg-arrhythmia's WFDBRecords")


def read_cpsc2018(root: str | Path) -> PublicSet:
    """Read the records of CPSC 2018, ``A0001`` to ``A6877``, and of its unused part, ``Q0001`` to ``Q3581``.

    Where ``REFERENCE.csv`` is in the folder or below, its own layout is read: MATLAB files without headers.

    Raises:
        UserError: When there is none.
    """
    folder = folder_of(root, "give the folder of CPSC 2018")
    tables = sorted(folder.rglob(REFERENCE))
    if tables:
        return _read_reference(folder, tables)

    def source(record: str) -> str | None:
        return {"A": "cpsc", "Q": "cpsc_extra"}.get(record[:1]) if re.fullmatch(r"[AQ]\d{4}", record) else None

    return _read(root, "cpsc2018", source, "training/cpsc_2018 and training/cpsc_2018_extra")


def _read(root: str | Path, name: str, source_of: Callable[[str], str | None], where: str) -> PublicSet:
    remedy = f"give the folder of the PhysioNet/CinC Challenge 2021, or its {where}"
    folder = folder_of(root, remedy)
    records: list[_Annotated] = []
    notes: list[str] = []
    broken: list[str] = []
    others = without_signal = 0
    for header in sorted(folder.rglob("*.hea")):
        source = source_of(header.stem)
        if source is None:
            others += 1
            continue
        signal = header.with_suffix(".mat")
        if not signal.is_file():
            without_signal += 1
            continue
        said = dict(_fields(header_comments(header)))
        if "dx" not in said:
            broken.append(header.stem)
            continue
        codes = [code.strip() for code in said["dx"].split(",") if code.strip()]
        records.append(_Annotated(header.stem, signal, source, codes, about(said.get("age", ""), said.get("sex", ""))))
    if others:
        notes.append(f"{others} records in {folder} are of other sets: passed over")
    if without_signal:
        notes.append(f"{without_signal} headers have no .mat beside them: left out")
    if broken:
        notes.append(f"{len(broken)} headers hold no diagnosis line, first {broken[0]}.hea: left out")
    return _annotated_set(folder, name, records, notes, remedy)


@dataclass(frozen=True)
class _Annotated:
    """One record and its codes."""

    name: str
    path: Path
    source: str
    codes: Sequence[str]
    about: Mapping[str, object]


def _annotated_set(folder: Path, name: str, records: Sequence[_Annotated], notes: list[str], remedy: str) -> PublicSet:
    spoken = {source: speaks_of(source) for source in dict.fromkeys(record.source for record in records)}
    annotated = [label for label in catalogue().ids if any(label in labels for labels in spoken.values())]
    unmapped: Counter[str] = Counter()
    broad: Counter[str] = Counter()
    items = []
    for record in records:
        findings = [_finding(code, record.source) for code in record.codes]
        for code, finding in zip(record.codes, findings, strict=True):
            if finding == Finding():
                unmapped[_shown(code)] += 1
            elif not finding.positive and not finding.hedged:
                broad[_shown(code)] += 1
        states = label_states(findings, annotated, spoken[record.source])
        items.append(public_item(name, record.name, record.path, states, about=record.about))
    notes += [*unmapped_note(unmapped, "codes"), *open_note(broad, "codes")]
    if "ningbo" in spoken:
        notes.append(NINGBO_FLUTTER)
    if name != "chapman_ningbo":  # Which has one record of each patient.
        notes.append(NO_PATIENTS)
    return public_set(folder, items, annotated, notes, remedy=remedy)


def _finding(code: str, source: str) -> Finding:
    if code == FLUTTER and source == "ningbo":
        return Finding(unknown=("AFIB", "AFLT"))
    known = snomed_codes().get(code)
    if known is not None:
        return known.finding
    return Finding(positive=tuple(catalogue().by_code("snomed", code)))


def _shown(code: str) -> str:
    known = snomed_codes().get(code)
    return f"{code} {known.name}" if known else code


def _fields(comments: Sequence[str]) -> Iterator[tuple[str, str]]:
    for comment in comments:
        key, colon, value = comment.partition(":")
        if colon:
            yield key.strip().lower(), value.strip()


def _read_reference(folder: Path, tables: Sequence[Path]) -> PublicSet:
    """Read CPSC 2018's own layout: the numbers of up to three classes for each record."""
    files = {path.stem: path for path in folder.rglob("*.mat")}
    records: dict[str, _Annotated] = {}
    missing = 0
    for table_path in tables:
        table = read_table(table_path)
        columns = [column for column in table.columns if column.endswith("_label")]
        if "Recording" not in table or not columns:
            raise UserError(
                f"{table_path.name} has no columns Recording and First_label: it is not the table of CPSC 2018, give its folder"
            )
        for row in table.to_dict("records"):
            record, numbers = row["Recording"].strip(), [row[column].strip() for column in columns if row[column].strip()]
            strange = [number for number in numbers if not number.isdecimal() or int(number) not in CPSC_CLASSES]
            if strange:
                raise UserError(f"{table_path.name} gives {record} the label {strange[0]!r}: known are 1 to 9, download it again")
            path = files.get(record)
            if path is None:
                missing += 1
                continue
            codes = [CPSC_CLASSES[int(number)] for number in numbers]
            # Its .mat holds a structure called ECG and needs no header: the path goes on into the file.
            inside = path if path.with_suffix(".hea").is_file() else path / "ECG"
            records[record] = _Annotated(record, inside, "cpsc", codes, {})
    notes = [f"{missing} records of {REFERENCE} have no .mat in {folder}: left out"] if missing else []
    return _annotated_set(folder, "cpsc2018", list(records.values()), notes, "unpack TrainingSet1 to 3 of CPSC 2018 there")
