"""The page of a comparison: the form of a run's page, several runs side by side."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ecgclip.report.charts import Point, Series, interval_bar, line_chart
from ecgclip.report.figure_sections import NO_HEAD, calibration_section, few_shot_section, spread
from ecgclip.report.page import Cell, Column, Words, both, commands, count, heading, is_number, label_name, number, page, section, table
from ecgclip.report.run_folder import Run
from ecgclip.report.run_page import environment, epoch_ticks, notes
from ecgclip.report.terms import FIGURES, RANKING, RESEARCH, SETS, SPLITS, called

if TYPE_CHECKING:
    from ecgclip.evaluation.paired import Difference

COMPARED = ("auroc_macro", "auprc_macro", "top1_macro", "top5_macro", "top1_micro", "top5_micro")
VALIDATION = "val/zero_shot/all/auroc_macro"


@dataclass(frozen=True)
class Comparison:
    """Runs on the same records.

    Attributes:
        runs: By name, the first one is what the others are compared with.
        differences: Of every other run less the first, by figure such as ``all/auroc_macro``; each has ``value``, ``low``, ``high`` and
            ``p``.
        labels: Of every other run less the first, the difference in AUROC by label id.
        records: How many.
        dropped: Sets of labels that are not the same in all runs, and so were not compared.
    """

    runs: Mapping[str, Run]
    differences: Mapping[str, Mapping[str, "Difference"]]
    labels: Mapping[str, Mapping[str, "Difference"]]
    records: int
    dropped: Sequence[str]

    @property
    def first(self) -> tuple[str, Run]:
        """Name and run that the others are compared with."""
        return next(iter(self.runs.items()))


def compare_page(comparison: Comparison) -> str:
    """Return the page of a comparison."""
    title = Words(" / ".join(comparison.runs), " / ".join(comparison.runs))
    sections = [
        ("figures", Words("成績", "Figures"), _figures(comparison)),
        ("differences", Words("差", "Differences"), _differences(comparison)),
        ("labels", Words("ラベル", "Labels"), _labels(comparison)),
        ("few-shot", Words("少数例", "Few-shot"), few_shot_section(comparison.runs)),
        ("calibration", Words("較正", "Calibration"), calibration_section(comparison.runs)),
        ("training", Words("学習", "Training"), _training(comparison)),
        ("settings", Words("設定の違い", "Settings"), _settings(comparison)),
        ("again", Words("再現", "Reproduce"), _again(comparison)),
    ]
    return page(title, _head(comparison, title), sections, notes())


def _head(comparison: Comparison, title: Words) -> str:
    name, run = comparison.first
    said = Words(
        f"{run.data_name()} の{SPLITS[run.split].ja}データ、同じ {count(comparison.records)} 記録。差はすべて {name} を引いたものです。",
        f"{run.data_name()}, {SPLITS[run.split].en.lower()} split, the same {count(comparison.records)} records. "
        f"Differences are less {name}.",
    )
    eyebrow = Words("学習の比較", "Comparison of runs")
    top = f'<p class="eyebrow">{both(eyebrow)}</p><h1>{both(title)}</h1><p class="lead">{both(said)}</p>'
    return f'{top}<p class="notice">{both(RESEARCH)}</p>'


def _figures(comparison: Comparison) -> str:
    """Every run's own figures, by set of labels."""
    _, first = comparison.first
    parts = []
    for name in [name for name in SETS if name in first.below("zero_shot")]:
        shown = [
            figure for figure in RANKING if any(run.figure(f"zero_shot/{name}/{figure}") is not None for run in comparison.runs.values())
        ]
        rows = []
        for called_as, run in comparison.runs.items():
            where = f"zero_shot/{name}"
            labels, value = run.figure(f"{where}/labels"), run.figure(f"{where}/auroc_macro")
            bar = interval_bar(value, run.figure(f"{where}/auroc_macro_low"), run.figure(f"{where}/auroc_macro_high"), (0.4, 1.0))
            cells = [spread(run, f"{where}/{figure}") for figure in shown]
            rows.append([called_as, Cell(labels, count(labels)), Cell(value, bar), *cells])
        columns = [
            Column(Words("学習", "Run"), text=True),
            Column(Words("ラベル", "labels")),
            NO_HEAD,
            *(Column(FIGURES[figure]) for figure in shown),
        ]
        body = heading(called(SETS, name)) + table(columns, rows) if shown else ""
        parts.append(body if name in ("all", "unseen", "seen") else _folded(called(SETS, name), table(columns, rows)) if shown else "")
    text = Words("小さい数字は患者単位ブートストラップの95 %区間です。", "Small figures are 95 % intervals of a bootstrap over patients.")
    return section("figures", Words("それぞれの成績", "Figures of each run"), text, *parts)


def _folded(title: Words, body: str) -> str:
    return f"<details><summary>{both(title)}</summary>{body}</details>"


def _differences(comparison: Comparison) -> str:
    parts = []
    for name, differences in comparison.differences.items():
        sets = list(dict.fromkeys(key.partition("/")[0] for key in differences))
        sets.sort(key=lambda one: list(SETS).index(one) if one in SETS else len(SETS))
        limit = _limit([difference for name, difference in differences.items() if name.endswith("/auroc_macro")])
        columns = [Column(Words("ラベルの集合", "Set of labels"), text=True)]
        for figure in COMPARED:
            columns += [Column(FIGURES[figure]), *([NO_HEAD] if figure == "auroc_macro" else [])]
        rows = []
        for one in sets:
            row: list[Any] = [called(SETS, one)]
            for figure in COMPARED:
                difference = differences.get(f"{one}/{figure}")
                row.append(difference_cell(difference))
                row += [difference_bar(difference, limit)] if figure == "auroc_macro" else []
            rows.append(row)
        title = Words(f"{name} − {comparison.first[0]}", f"{name} − {comparison.first[0]}")
        parts.append(heading(title) + table(columns, rows))
    text = Words(
        "同じ患者の重みで両方を測ったブートストラップの差。区間が0を含まないものを太字にしています。区間は評価した患者についてのもので、学習の乱数の違いは含みません。",
        "Differences within each replicate of a bootstrap over patients; bold where the interval leaves out 0. "
        "It is about which patients were evaluated, not about the seed of the training.",
    )
    if comparison.dropped and parts:
        names = Words(
            "、".join(called(SETS, one).ja for one in comparison.dropped), ", ".join(called(SETS, one).en for one in comparison.dropped)
        )
        parts.append(
            f"<p>{both(Words(f'集合が同じでなく、比べなかったもの: {names.ja}', f'Not compared, because the sets differ: {names.en}'))}</p>"
        )
    return section("differences", Words("差と区間", "Differences with intervals"), text, *parts)


def difference_cell(difference: "Difference | None") -> Cell:
    """Return a difference, its interval and its p-value where there is one; bold where the interval leaves out zero."""
    if difference is None or not is_number(difference.value):
        return Cell(None, number(None))
    known = is_number(difference.low) and is_number(difference.high)
    spread_text = f"<small>{_signed(difference.low)} {_signed(difference.high)}</small>" if known else ""
    said = f"<small>p = {difference.p:.3f}</small>" if known and is_number(difference.p) else ""
    apart = known and not difference.low <= 0 <= difference.high
    return Cell(difference.value, f"{_signed(difference.value)}{spread_text}{said}", "best" if apart else "")


def difference_bar(difference: "Difference | None", limit: float) -> Cell:
    """Return the picture of a difference as a cell."""
    if difference is None:
        return Cell(None, "")
    return Cell(difference.value, interval_bar(difference.value, difference.low, difference.high, (-limit, limit), zero=True))


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _limit(differences: Iterable["Difference"]) -> float:
    """How far a picture of differences has to reach: one scale for all of them."""
    return max([0.02, *(abs(end) for one in differences for end in (one.value, one.low, one.high) if is_number(end))])


def _labels(comparison: Comparison) -> str:
    """AUROC of every label in every run, and its difference."""
    _, first = comparison.first
    of_run = {name: {row["id"]: row for row in run.labels} for name, run in comparison.runs.items()}
    several = len(comparison.differences) > 1
    limits = {name: _limit(differences.values()) for name, differences in comparison.labels.items()}
    rows = []
    for row in first.present:
        line: list[Any] = [
            label_name(str(row.get("ja") or row["id"]), str(row.get("en") or row["id"]), row["id"]),
            Cell(row["n"], count(row["n"])),
        ]
        line += [of_run[name].get(row["id"], {}).get("auroc") for name in comparison.runs]
        for name, differences in comparison.labels.items():
            difference = differences.get(row["id"])
            line += [difference_cell(difference), difference_bar(difference, limits[name])]
        rows.append(line)
    place = 2 + len(comparison.runs)
    rows.sort(key=lambda line: -(line[place].key if is_number(line[place].key) else -9.0))
    columns = [Column(Words("ラベル", "Label"), text=True), Column(Words("n", "n"))]
    columns += [Column(Words(name, name)) for name in comparison.runs]
    for name in comparison.differences:
        title = Words(f"差: {name}", f"difference: {name}") if several else Words("差", "difference")
        columns += [Column(title), NO_HEAD]
    text = Words(
        f"AUROC。{len(rows)} ラベルのうち20に1つほどは、差がなくても区間が0を外れます。",
        f"AUROC. Of {len(rows)} labels about one in twenty leaves out 0 without any difference.",
    )
    return section(
        "labels", Words("ラベルごとの差", "Every label"), text, table(columns, rows, name="every-label", find=True) if rows else ""
    )


def _training(comparison: Comparison) -> str:
    series = []
    for name, run in comparison.runs.items():
        points = [Point(x, y) for x, y in run.curves().get(VALIDATION, [])]
        series.append(Series(Words(name, name), points, marked=len(points) <= 20))
    title = Words("AUROC（検証）", "AUROC (validation)")
    drawn = line_chart(series, title=title, x=Words("エポック", "epoch"), y=title, x_ticks=epoch_ticks(series))
    return section("training", Words("学習曲線", "Training"), None, f'<div class="charts">{drawn}</div>' if drawn else "")


def _settings(comparison: Comparison) -> str:
    """Options in which the runs are not the same."""
    options = {
        name: run.model_options() | {f"data: {key}": value for key, value in run.data_options().items()}
        for name, run in comparison.runs.items()
    }
    names = sorted({key for of in options.values() for key in of})
    rows = [[key, *(of.get(key, "") for of in options.values())] for key in names if len({of.get(key, "") for of in options.values()}) > 1]
    columns = [Column(Words("設定", "Option"), text=True), *(Column(Words(name, name), text=True) for name in options)]
    return section("settings", Words("設定の違い", "Settings that differ"), None, table(columns, rows) if rows else "")


def _again(comparison: Comparison) -> str:
    places = [run.place for run in comparison.runs.values()]
    _, first = comparison.first
    lines = [f"ecgclip evaluate {place}" for place in places] + [f"ecgclip compare {' '.join(places)} --split {first.split}"]
    sources = {environment(run).get(Words("ソース", "Source"), "") for run in comparison.runs.values()} - {""}
    said = ", ".join(sorted(sources))
    note = f"<p>{both(Words(f'ソース: {said}', f'Source: {said}'))}</p>" if sources else ""
    return section("again", Words("再現のしかた", "How to reproduce"), None, commands(lines), note)
