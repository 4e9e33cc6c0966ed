"""``ecgclip compare``: runs side by side on the same records, and their differences with intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ecgclip.errors import CommandParser, UserError
from ecgclip.report.compare_page import Comparison, compare_page
from ecgclip.report.page import is_number, number
from ecgclip.report.run_folder import SPLITS, Run
from ecgclip.report.run_page import write_text
from ecgclip.scores import SavedScores, evaluation_file, load_scores

if TYPE_CHECKING:
    from ecgclip.evaluation.paired import Difference

PAGE = "compare.html"
REPLICATES = 1000
TERMINAL = ("auroc_macro", "top1_macro", "top5_macro")


def compare_command(arguments: Sequence[str]) -> None:
    """``compare RUN RUN ... [--out FILE] [--split SPLIT]``: print a short table, write the page, say where it is.

    Raises:
        UserError: When the runs cannot be compared.
    """
    parser = CommandParser("compare", "Compare runs that were evaluated on the same records: figures, paired differences, curves.")
    parser.add_argument("runs", type=Path, nargs="*", metavar="RUN", help="folders of runs; the others are compared with the first")
    parser.add_argument("--out", type=Path, default=Path(PAGE), metavar="FILE", help=f"where to ({PAGE})")
    parser.add_argument("--split", choices=SPLITS, help="which figures (the test where all have it)")
    parser.add_argument("--replicates", type=int, default=REPLICATES, help=f"of the bootstrap over patients ({REPLICATES})")
    options = parser.parse_args(arguments)
    if options.replicates < 1:
        raise UserError(f"--replicates {options.replicates} is not possible: give 1 or more")
    comparison = compare(options.runs, options.split, options.replicates)
    path = write_text(options.out, compare_page(comparison))
    print(summary(comparison))
    print(f"\n{path}  ({path.stat().st_size / 1e6:.1f} MB)")


def compare(folders: Sequence[Path], split: str | None = None, replicates: int = REPLICATES) -> Comparison:
    """Compare runs with the first of them.

    Args:
        folders: Of two runs or more.
        split: ``test`` or ``val``; None for the test where all have it.
        replicates: Of the bootstrap.

    Raises:
        UserError: For fewer than two runs, or runs of another split, catalogue, version of the protocol or other records.
    """
    runs = _open(folders, split)
    names = _names(runs)
    saved = [load_scores(run.folder, run.split) for run in runs]
    aligned = [_aligned(saved[0], one, names[0], name) for name, one in zip(names, saved, strict=True)]
    sets, dropped = _shared_sets(runs, saved[0])
    differences, labels = {}, {}
    for name, one in zip(names[1:], aligned[1:], strict=True):
        differences[name], labels[name] = _differences(one, aligned[0], sets, replicates)
    return Comparison(dict(zip(names, runs, strict=True)), differences, labels, len(saved[0].records), dropped)


def _open(folders: Sequence[Path], split: str | None) -> list[Run]:
    if len(folders) < 2:
        raise UserError(f"{len(folders)} run is given: give two or more, `ecgclip compare RUN RUN`")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UserError("a run is given twice: give different runs")
    for folder in folders:  # What is no run is said before what runs have in common.
        if not any(evaluation_file(folder, name).is_file() for name in SPLITS):
            Run.open(folder, split)
    if split is None:
        common = [name for name in SPLITS if all(evaluation_file(folder, name).is_file() for folder in folders)]
        if not common:
            raise UserError("the runs have no split in common: evaluate each with `ecgclip test --ckpt_path RUN/checkpoints/best.ckpt`")
        split = common[0]
    runs = [Run.open(folder, split) for folder in folders]
    versions = [run.metrics.get("protocol/version") for run in runs]
    for folder, run, version in zip(folders, runs, versions, strict=True):
        if version != versions[0]:
            raise UserError(
                f"{folder} is of protocol version {_version(version)}, {folders[0]} of {_version(versions[0])}: "
                "evaluate the older one again with `ecgclip evaluate RUN`"
            )
        if run.evaluation.get("data") != runs[0].evaluation.get("data"):
            raise UserError(
                f"{folder} was evaluated on {run.data_name()}, {folders[0]} on {runs[0].data_name()}: compare runs on the same data"
            )
    return runs


def _version(version: float | None) -> str:
    return "an unknown" if version is None else f"{version:g}"


def _names(runs: Sequence[Run]) -> list[str]:
    """What tells the runs apart: the experiment where that does, else with its time."""
    short = [str(run.config.get("experiment") or run.name) for run in runs]
    if len(set(short)) == 1:
        short = [" ".join(run.name.split(" / ")[1:]) or run.name for run in runs]
    if len(set(short)) == len(short):
        return short
    full = [run.name for run in runs]
    return full if len(set(full)) == len(full) else [f"{number} {name}" for number, name in enumerate(full, 1)]


def _aligned(first: SavedScores, other: SavedScores, first_name: str, name: str) -> SavedScores:
    """Put the records of a run into the order of the first run's.

    Raises:
        UserError: When labels or records are not the same.
    """
    if list(first.ids) != list(other.ids):
        raise UserError(
            f"{name} is of another label catalogue than {first_name} ({len(other.ids)} labels, {len(first.ids)}): "
            "compare runs of one catalogue"
        )
    mine, theirs = set(first.records.tolist()), set(other.records.tolist())
    if mine != theirs:
        raise UserError(
            f"{name} was evaluated on other records than {first_name} ({len(theirs - mine)} are only in it, "
            f"{len(mine - theirs)} are missing): "
            "compare runs on the same data"
        )
    place = {record: row for row, record in enumerate(other.records.tolist())}
    order = np.array([place[record] for record in first.records.tolist()], dtype=np.int64)
    ordered = replace(other, scores=other.scores[order], labels=other.labels[order], records=first.records, patients=other.patients[order])
    if not np.array_equal(ordered.labels, first.labels):
        raise UserError(
            f"the records of {name} carry other labels than those of {first_name}: prepare the data once and evaluate both on it"
        )
    return ordered


def _shared_sets(runs: Sequence[Run], saved: SavedScores) -> tuple[dict[str, np.ndarray], list[str]]:
    """Sets of labels that are the same in every run, by ``(L,)`` bool; and the names of those that are not."""
    given = [run.evaluation.get("label_sets") or {} for run in runs]
    everywhere = [name for name in given[0] if all(set(sets.get(name, [])) == set(given[0][name]) for sets in given)]
    sets = {name: np.isin(saved.ids, given[0][name]) for name in everywhere}
    if "all" not in sets:
        sets["all"] = (saved.labels == 1).any(0)
    dropped = sorted({name for of in given for name in of} - set(sets))
    return sets, dropped


def _differences(
    other: SavedScores, first: SavedScores, sets: Mapping[str, np.ndarray], replicates: int
) -> "tuple[dict[str, Difference], dict[str, Difference]]":
    """The other run less the first: its figures by set, and the AUROC of each label."""
    import torch

    from ecgclip.evaluation.paired import Difference, paired_differences, paired_label_differences

    pair = (torch.from_numpy(other.scores), torch.from_numpy(first.scores))
    states = torch.from_numpy(first.labels)
    masks = {name: torch.from_numpy(members) for name, members in sets.items()}
    figures = paired_differences([pair], states, first.patients, masks, replicates=replicates).pooled
    by_label = paired_label_differences(*pair, states, first.patients, replicates=replicates)
    return figures, {name: Difference(*row) for name, row in zip(first.ids.tolist(), by_label.tolist(), strict=True)}


def summary(comparison: Comparison) -> str:
    """Lay out the figures and differences over all labels for the terminal."""
    width = max(len(name) for name in comparison.runs) + 2
    run = next(iter(comparison.runs.values()))
    lines = [
        f"{comparison.records} records, {run.split}, all labels with a positive",
        f"  {'':{width}}" + "".join(f"{name:>26}" for name in TERMINAL),
    ]
    for name, one in comparison.runs.items():
        lines.append(f"  {name:{width}}" + "".join(f"{number(one.figure(f'zero_shot/all/{figure}')):>26}" for figure in TERMINAL))
    first = next(iter(comparison.runs))
    for name, differences in comparison.differences.items():
        cells = [_cell(differences.get(f"all/{figure}")) for figure in TERMINAL]
        lines += [f"  {name} less {first}", f"  {'':{width}}" + "".join(f"{cell:>26}" for cell in cells)]
    return "\n".join(lines)


def _cell(difference: Any) -> str:
    if difference is None or not is_number(difference.value):
        return "-"
    return f"{difference.value:+.3f} ({difference.low:+.3f} {difference.high:+.3f})"
