"""``ecgclip labels``: a hospital's readings to a label catalogue, how much of them it covers, and how well they are parsed."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from unicodedata import east_asian_width

from ecgclip.errors import CommandParser, UserError
from ecgclip.labels.audit import Score, score_audit, write_audit
from ecgclip.labels.build import MAX_LABELS, MIN_COUNT, catalogue_of, propose, read_sheet, with_hedged, write_catalogue, write_sheet
from ecgclip.labels.catalogue import Catalogue
from ecgclip.labels.reading import ReadingParser
from ecgclip.labels.readings import FEWEST, Counts, count_findings, load_readings

BASE = "ja98"
SHOWN = 20
USAGE = """usage: ecgclip labels COMMAND ...

  build READINGS.csv --out catalogue.yaml    propose a catalogue from the counts, as a YAML and as a table to edit
  build --from catalogue.csv --out ...       make the catalogue of the edited table
  check READINGS.csv --catalogue ...         how many readings keep which labels, and what is dropped and why
  audit READINGS.csv --n 200 --out ...       a sample of readings beside their labels, for a cardiologist to correct
  audit --score audit.csv --catalogue ...    precision and recall out of the corrections

`ecgclip labels COMMAND --help` lists the options of each.
"""


def labels_command(arguments: Sequence[str]) -> None:
    """``labels build | check | audit``.

    Raises:
        UserError: For anything that the user can mend.
    """
    commands = {"build": _build, "check": _check, "audit": _audit}
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, end="")
        return
    if arguments[0] not in commands:
        raise UserError(f"labels {arguments[0]!r} does not exist: known are {', '.join(commands)}")
    commands[arguments[0]](arguments[1:])


def _build(arguments: Sequence[str]) -> None:
    parser = _parser("build", "Propose a label catalogue from the counts of readings; or make the one of a table that was edited.")
    add = parser.add_argument
    add("--max_labels", type=int, default=MAX_LABELS, help=f"labels at most ({MAX_LABELS})")
    add("--min_count", type=int, default=MIN_COUNT, help=f"readings that a label needs ({MIN_COUNT})")
    add("--from", dest="sheet", type=Path, metavar="CSV", help="the edited table, instead of readings")
    add("--out", type=Path, default=Path("catalogue.yaml"), metavar="YAML", help="catalogue to write, its table beside it (catalogue.yaml)")
    options = parser.parse_args(arguments)
    base = Catalogue.load(options.catalogue)
    if options.sheet:
        if options.readings:
            raise UserError("labels build: give readings, or --from with an edited table, not both")
        catalogue = read_sheet(options.sheet, base)
        write_catalogue(options.out, catalogue)
        print(f"{len(catalogue)} labels -> {options.out}")
        return
    if options.max_labels < 1 or options.min_count < 1:
        raise UserError("labels build: --max_labels and --min_count must be at least 1")
    counts = count_findings(ReadingParser(base, af=options.af), *_readings(options))
    proposals = propose(counts, base, max_labels=options.max_labels, min_count=options.min_count)
    catalogue = catalogue_of((p.entry for p in proposals), where=str(options.out))
    if options.hedged == "separate":
        catalogue = with_hedged(catalogue, {p.entry["id"] for p in proposals if p.suspected >= options.min_count})
    write_catalogue(options.out, catalogue)
    sheet = write_sheet(options.out.with_suffix(".csv"), proposals)
    print(f"{'records':>8} {'suspected':>9} {'denied':>7}")
    for p in proposals:
        names = [name for kind in ("synonyms", "abbreviations") for name in p.entry.get(kind, ())]
        also = f"  = {'、'.join(names[:5])}{'…' if len(names) > 5 else ''}" if names else ""
        new = "" if p.known else "  NEW" + (f", the same as {' or '.join(p.similar_to)}?" if p.similar_to else "")
        print(f"{p.records:8} {p.suspected:9} {p.denied:7}  {p.entry['ja']}{new}{also}")
    print(_coverage(counts))
    print(f"\n  catalogue  {options.out}   ({len(catalogue)} labels)")
    print(f"  table      {sheet}   (edit it: keep, names, one id for two rows that are")
    print(f"             one finding; then `ecgclip labels build --from {sheet} --out {options.out}`)")


def _check(arguments: Sequence[str]) -> None:
    parser = _parser("check", "Report how many readings keep which labels, and what is dropped and why.")
    options = parser.parse_args(arguments)
    catalogue = Catalogue.load(options.catalogue)
    if options.hedged == "separate":
        catalogue = with_hedged(catalogue)
    counts = count_findings(ReadingParser(catalogue, hedged=options.hedged, af=options.af), *_readings(options))
    print(f"{'records':>8} {'suspected':>9} {'denied':>7}")
    order = sorted(catalogue, key=lambda label: -counts.positive[label.id])
    for label in order:
        row = (counts.positive[label.id], counts.hedged[label.id], counts.negated[label.id])
        if any(row):
            print(f"{row[0]:8} {row[1]:9} {row[2]:7}  {label.ja}  [{label.id}]")
    absent = [label.ja for label in order if not counts.positive[label.id]]
    print(_coverage(counts))
    if absent:
        print(f"{len(absent)} labels are in no reading: {'、'.join(absent[:SHOWN])}{' …' if len(absent) > SHOWN else ''}")


def _audit(arguments: Sequence[str]) -> None:
    parser = _parser("audit", "Write a sample of readings beside their labels; or turn the corrected sample into precision and recall.")
    add = parser.add_argument
    add("--n", type=int, default=200, help="readings (200)")
    add("--seed", type=int, default=0, help="of the sample (0)")
    add("--out", type=Path, default=Path("audit.csv"), metavar="CSV", help="table to write (audit.csv)")
    add("--score", type=Path, metavar="CSV", help="the corrected table, instead of readings")
    options = parser.parse_args(arguments)
    catalogue = Catalogue.load(options.catalogue)
    if options.score:
        if options.readings:
            raise UserError("labels audit: give readings, or --score with a corrected table, not both")
        positive, hedged = score_audit(options.score, catalogue)
        names = {label.id: label.ja for label in catalogue}
        print(_score_table("labels", positive, names))
        if len(hedged) > 1:
            print(_score_table("suspected labels", hedged, names))
        print("95 % intervals: over resampled readings for all, Wilson's for one label")
        return
    if options.n < 1:
        raise UserError(f"labels audit: --n {options.n} is too little: give at least 1")
    written = write_audit(options.out, _readings(options)[0], ReadingParser(catalogue, af=options.af), n=options.n, seed=options.seed)
    print(f"{written} readings -> {options.out}: it holds texts of patients, keep it inside the hospital")
    print(f"Correct the column `correct` (labels joined by |, suspected ones with ？), then `ecgclip labels audit --score {options.out}`")


def _readings(options: argparse.Namespace) -> tuple[list[str], list[str] | None]:
    if not options.readings:
        raise UserError("no readings are given: name a table (CSV) with a column reading (or 所見)")
    return load_readings(options.readings, column=options.column, confirmed=options.confirmed)


def _coverage(counts: Counts) -> str:
    """What becomes of the readings, and what no label covers: only texts that several readings share."""
    n = max(1, counts.readings)
    share = counts.labelled / n
    mean = sum(k * m for k, m in counts.per_reading.items()) / n
    lines = [
        "",
        f"{counts.readings} readings: {counts.labelled} ({share:.1%}) have a label, {mean:.2f} labels each; {counts.empty} are empty",
        f"suspected: {sum(counts.hedged.values())}, denied: {sum(counts.negated.values())}, "
        f"not understood: {sum(counts.unmatched.values())} pieces of text",
    ]
    lines += [f"{records} readings: {note}" for note, records in counts.notes.most_common(SHOWN) if records >= FEWEST]
    lines += [
        f"{records} readings have {one} and {other}, which exclude each other" for (one, other), records in counts.conflicts.most_common(5)
    ]
    common = [(text, records) for text, records in counts.unmatched.most_common(SHOWN) if records >= FEWEST]
    if common:
        lines.append("most frequent texts that no label covers:")
        lines += [f"{records:8}  {text}" for text, records in common]
    rare = sum(records for records in counts.unmatched.values() if records < FEWEST)
    if rare:
        lines.append(f"{rare:8}  others, each in fewer than {FEWEST} readings, are not shown: they may say who they are of")
    return "\n".join(lines)


def _score_table(title: str, scores: Sequence[Score], names: dict[str, str]) -> str:
    lines = [f"{_wide(title, 30)} {'right':>6} {'wrong':>6} {'missed':>7}   {'precision':22} recall"]
    for score in scores:
        cells = ["-" if value is None else f"{value[0]:.3f} ({value[1]:.3f}-{value[2]:.3f})" for value in (score.precision, score.recall)]
        name = names.get(score.label, score.label)
        lines.append(f"{_wide(name, 30)} {score.right:6} {score.wrong:6} {score.missed:7}   {cells[0]:22} {cells[1]}")
    return "\n".join(lines)


def _wide(text: str, columns: int) -> str:
    """Pad a text to a width on a terminal, where a Japanese character takes two columns."""
    return text + " " * max(0, columns - sum(2 if east_asian_width(c) in "WF" else 1 for c in text))


def _parser(command: str, description: str) -> CommandParser:
    parser = CommandParser(f"labels {command}", description)
    add = parser.add_argument
    add("readings", type=Path, nargs="?", help="table (CSV, UTF-8 or Shift_JIS) with a column reading (or 所見)")
    add("--column", help="name of the column of readings")
    add("--confirmed", metavar="COLUMN=VALUE", help="rows of which the reading counts, such as 状態=確定")
    add("--catalogue", default=BASE, metavar="YAML", help="labels to look for (ja98)")
    add(
        "--hedged",
        choices=("drop", "keep", "separate"),
        default="drop",
        help="suspected findings: left out, positive, or labels of their own",
    )
    add("--af", choices=("fibrillation", "flutter"), help="what AF means in your hospital (without it AF is not counted)")
    return parser
