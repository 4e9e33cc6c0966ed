"""``ecgclip prepare`` and ``ecgclip check``: an archive to a data set, and whether it is still whole."""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ecgclip.errors import CommandParser, UserError
from ecgclip.labels import Catalogue
from ecgclip.labels.build import MAX_LABELS, MIN_COUNT, catalogue_of, propose, with_hedged, write_sheet
from ecgclip.labels.reading import ReadingParser
from ecgclip.labels.readings import count_findings
from ecgclip.paths import cache_key
from ecgclip.prepare import SplitPlan, prepare
from ecgclip.prepare.archive import Archive, ReadingToLabels, read_archive, read_salt
from ecgclip.prepare.split import BY
from ecgclip.report.store_page import count_patients, write_store_page
from ecgclip.signals.path import FILTERS, SignalPath
from ecgclip.store import CATALOGUE, Store

BUILT_IN, BUILD = "ja98", "build"
SHOWN = 10  # Labels in the closing summary.


def prepare_command(arguments: Sequence[str]) -> None:
    """``prepare SOURCE --out STORE``: make a store, its page, and the list of what was left out.

    Raises:
        UserError: For anything that the user can mend.
    """
    options = _parser().parse_args(arguments)
    out: Path = options.out
    signal_path = SignalPath(
        sampling_rate=options.sampling_rate,
        seconds=options.seconds,
        filter=options.filter,
        mains=options.mains,
        long="start" if options.long == "segments" else options.long,
        short=options.short,
    )
    plan = SplitPlan(options.split_by, options.val, options.test, tuple(options.test_sites), options.seed)
    salt = read_salt(options.salt or out.with_name(f"{out.name}.salt"))
    given = Catalogue.load(BUILT_IN if options.catalogue == BUILD else options.catalogue)
    archive = read_archive(options.source, files=options.files, salt=salt, catalogue=given, confirmed=options.confirmed)
    for note in archive.notes:
        _say(note)
    catalogue, reads = given, "reading" in archive.has
    if options.catalogue == BUILD:
        catalogue = _built(archive, given, out, options.af)
    if reads and options.hedged == "separate":
        catalogue = with_hedged(catalogue)
    parser = ReadingParser(catalogue, hedged=options.hedged, af=options.af)
    key = cache_key(catalogue=catalogue.fingerprint, hedged=options.hedged, af=options.af, keep=options.keep_reading)
    if not (reads or "labels" in archive.has):
        _say("neither readings nor labels are given: the store can be read by a model, not trained on; give a table with a column reading")
    prepare(
        archive.items,
        out,
        signal_path=signal_path,
        annotated=catalogue.ids if reads or "labels" in archive.has else [],
        refine=ReadingToLabels(parser, key, options.keep_reading) if reads else None,
        split=None if "split" in archive.has else plan,
        salt=salt,
        duplicates=not options.keep_duplicates,
        segments=options.long == "segments",
        catalogue=catalogue,
        rejected=archive.rejected,
        workers=options.workers,
    )
    store = Store.open(out)
    page = out.with_name(f"{out.name}.html")
    write_store_page(store, catalogue, page)
    print(_summary(store, catalogue, page))


def _built(archive: Archive, base: Catalogue, out: Path, af: str | None) -> Catalogue:
    """Build the catalogue out of the readings, as ``labels build`` does, and leave its table beside the store."""
    if "reading" not in archive.has:
        raise UserError("--catalogue build needs readings: give a table with a column reading (or 所見)")
    items = archive.items
    counts = count_findings(ReadingParser(base, af=af), (item.reading or "" for item in items), (item.patient for item in items))
    proposals = propose(counts, base, max_labels=MAX_LABELS, min_count=MIN_COUNT)
    sheet = write_sheet(out.with_name(f"{out.name}.catalogue.csv"), proposals)
    _say(f"{len(proposals)} labels are built from the readings. To change them: edit {sheet}, `ecgclip labels build --from`, prepare again")
    return catalogue_of(proposal.entry for proposal in proposals)


def check_command(arguments: Sequence[str]) -> None:
    """``check STORE``: compare every byte with the checksums, and the manifest with itself.

    Raises:
        UserError: At the first thing that is wrong.
    """
    parser = CommandParser("check", "Verify a store: every byte against its checksums, every row against the rules.")
    parser.add_argument("store", type=Path, help="folder made by prepare")
    store = Store.open(parser.parse_args(arguments).store)
    store.verify()
    manifest = store.manifest
    if manifest["id"].duplicated().any():
        raise UserError(f"{store.path}: a record is there twice: prepare it again")
    named = manifest[manifest["patient"] != ""]
    astray = named.groupby("patient")["split"].nunique() > 1
    if astray.any():
        raise UserError(f"{store.path}: {int(astray.sum())} patients are in two splits: prepare it again")
    if (store.path / CATALOGUE).is_file():
        known = set(Catalogue.load(store.path / CATALOGUE).ids)
        strange = sorted({label for labels in manifest["labels"] for label in labels} - known)
        if strange:
            raise UserError(f"{store.path}: its catalogue has no label {strange[0]!r}: prepare it again")
    splits = ", ".join(f"{name} {count}" for name, count in store.info["splits"].items())
    print(f"{store.path} is whole: {len(store)} records ({splits}), {store.sampling_rate:g} Hz, no patient in two splits")


def _summary(store: Store, catalogue: Catalogue, page: Path) -> str:
    """What a person wants to know at the end."""
    manifest, notes = store.manifest, store.info["notes"]
    counts = Counter(label for labels in manifest["labels"] for label in labels)
    labelled = int((manifest["labels"].str.len() > 0).sum())
    lines = [
        "",
        f"{len(store)} records of {count_patients(manifest)} patients, {labelled} with a label; "
        f"{len(counts)} of {len(catalogue)} labels have a record",
    ]
    names = {label.id: label.ja for label in catalogue}
    lines += [f"  {count:7}  {names.get(label, label)}  [{label}]" for label, count in counts.most_common(SHOWN)]
    if len(counts) > SHOWN:
        lines.append(f"           and {len(counts) - SHOWN} more on the page")
    if notes.get("quality"):
        lines.append("quality: " + ", ".join(f"{flag} {count}" for flag, count in notes["quality"].items()))
    lines += [
        f"gain: the amplitudes of {batch} are {factor:g} times those of the others: check its export, nothing was corrected"
        for batch, factor in notes.get("gain", {}).items()
    ]
    if notes.get("without_patient"):
        lines.append(f"{notes['without_patient']} records name no patient and count as one each: give a column patient, or splits may leak")
    rejected = store.path.with_name(f"{store.path.name}.rejected.csv")
    where = [("store", store.path), ("page", page), *([("left out", rejected)] if rejected.exists() else [])]
    lines += ["", *(f"  {what:10}{place}" for what, place in where)]
    if labelled:
        lines.append(f"  train with it: make train EXP=resnet_bert DATA=archive DATA_DIR={store.path}")
    return "\n".join(lines)


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        "prepare",
        "Make a data set out of an archive: de-identified, split by patient, with labels out of the readings, and a page that says what "
        "happened. Killed, it goes on when it is called again; finished, it does nothing.",
        "A table has the columns path and, as far as they are there, patient, reading or labels, age, sex, date, device, site, setting, "
        "split; their Japanese names (ファイル名, 患者番号, 所見, 年齢, 性別, 検査日, 機種, 施設) are understood.",
    )
    add = parser.add_argument
    add("source", type=Path, help="table (CSV, UTF-8 or Shift_JIS) with a row per ECG, or a folder of ECG files")
    add("--out", type=Path, required=True, metavar="STORE", help="folder to make; beside it .html, .rejected.csv and .salt")
    add("--files", type=Path, metavar="DIR", help="where the files of a table lie (its own folder); they are found by name as well")
    add("--catalogue", default=BUILT_IN, metavar="YAML", help="labels: of `ecgclip labels build`; or build, to have that done here (ja98)")
    add("--confirmed", metavar="COLUMN=VALUE", help="rows of which the reading counts, such as 状態=確定; those of others are left out")
    add(
        "--hedged",
        choices=("drop", "keep", "separate"),
        default="drop",
        help="suspected findings: unknown, positive, or labels of their own (drop)",
    )
    add("--af", choices=("fibrillation", "flutter"), help="what AF means in your hospital (without it AF is not counted)")
    add("--keep_reading", action="store_true", help="keep the text of the readings in the store")
    add("--sampling_rate", type=float, default=100.0, help="Hz of the store (100)")
    add("--seconds", type=float, default=10.0, help="length of a record (10)")
    add("--filter", choices=FILTERS, default="default", help="default: zero-phase, 0.5 Hz up; none; or a method of neurokit2 (default)")
    add("--mains", type=float, choices=(50, 60), help="Hz of a notch filter: 50 in the east of Japan, 60 in the west (none)")
    add(
        "--long",
        choices=("start", "middle", "segments"),
        default="start",
        help="which part of a longer recording, or all as segments (start)",
    )
    add("--short", choices=("refuse", "pad"), default="refuse", help="a shorter recording: left out, or padded with zeros (refuse)")
    add(
        "--split_by",
        choices=BY,
        default="patient",
        help="patient: at random; time: newest patients are the test; site: see --test_sites (patient)",
    )
    add("--val", type=float, default=0.1, help="share for validation (0.1)")
    add("--test", type=float, default=0.1, help="share for the test (0.1)")
    add("--test_sites", nargs="+", default=[], metavar="SITE", help="for --split_by site")
    add("--seed", type=int, default=0, help="of the split (0)")
    add(
        "--salt",
        type=Path,
        metavar="FILE",
        help="secret of the patient keys (STORE.salt, made where it is not there): keep it, pass it on to nobody",
    )
    add("--keep_duplicates", action="store_true", help="keep recordings that are there twice")
    add("--workers", type=int, help="processes (one per core)")
    return parser
