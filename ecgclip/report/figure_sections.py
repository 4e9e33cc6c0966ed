"""Sections of a run's page that are made of its flat figures; one without figures is empty."""

from collections.abc import Mapping, Sequence
from typing import Any

from ecgclip.report.charts import Point, Series, Ticks, interval_bar, key, line_chart, scale_strip, ticks
from ecgclip.report.page import Cell, Column, Words, both, count, heading, interval, is_number, number, section, table, tile
from ecgclip.report.run_folder import Run
from ecgclip.report.terms import (
    BASELINES,
    CALIBRATION_FIGURES,
    CALIBRATIONS,
    COMPARED,
    DECIDING,
    DRIFTS,
    FEW_SHOT,
    FIGURES,
    PROMPTS,
    RANKING,
    RETRIEVAL,
    SETS,
    STRICTLY,
    called,
)

TILES = ("auroc_macro", "auprc_macro", "top1_macro", "top5_macro", "top1_micro", "top5_micro")
KS = (0, 1, 2, 4, 8, 16)
AUROC_ENDS = (0.4, 1.0)
NO_HEAD = Column(Words("", ""), extra=True)  # Of a picture of what stands beside it.


def headline(run: Run) -> str:
    """Tiles of the figures that count most, each beside what it has to beat."""
    tiles = [_tile(run, "zero_shot/all", name, FIGURES[name], main=not place) for place, name in enumerate(TILES)]
    unseen = _tile(
        run,
        "zero_shot/unseen",
        "auroc_macro",
        Words("AUROC 未学習ラベル（真のゼロショット）", "AUROC, unseen labels (strictly zero-shot)"),
    )
    chosen = [one for one in (tiles[0], unseen, *tiles[1:]) if one]
    return f'<div class="tiles">{"".join(chosen)}</div>' if chosen else ""


def _tile(run: Run, where: str, name: str, words: Words, main: bool = False) -> str:
    value = run.figure(f"{where}/{name}")
    if value is None:
        return ""
    low, high = ends(run, f"{where}/{name}")
    labels = count(run.figure(f"{where}/labels"))
    if main:
        words = Words(f"マクロAUROC（{labels} ラベルの平均）", f"Macro AUROC, mean of {labels} labels")
    elif "/all" not in where:
        return tile(words, number(value), interval(low, high), [(both(Words("ラベル数", "labels")), labels)])
    others = {other: figure for other in BASELINES if (figure := run.figure(f"{other}/all/{name}")) is not None}
    drawn = (
        scale_strip([(0, value, low, high), *((place, figure, None, None) for place, figure in enumerate(others.values(), 1))])
        if main
        else ""
    )
    mine = [(f"{key(0, line=False)} {both(COMPARED['zero_shot'])}", number(value))] if main else []
    beside = [
        (f"{key(place, line=False) if main else ''} {both(BASELINES[other])}", number(figure))
        for place, (other, figure) in enumerate(others.items(), 1)
    ]
    return tile(words, number(value), interval(low, high), mine + beside, drawn=drawn, main=main)


def ends(run: Run, name: str) -> tuple[float | None, float | None]:
    """Return both ends of a figure's interval."""
    return run.figure(f"{name}_low"), run.figure(f"{name}_high")


def spread(run: Run, name: str) -> Cell:
    """Return a figure with its interval as a cell."""
    value, (low, high) = run.figure(name), ends(run, name)
    reach = interval(low, high)
    return Cell(value, f"{number(value)} <small>{reach}</small>" if reach else number(value))


def bar(run: Run, name: str) -> Cell:
    """Return the picture of an AUROC and its interval as a cell."""
    value = run.figure(name)
    return Cell(value, interval_bar(value, *ends(run, name), AUROC_ENDS))


def figure_table(
    run: Run, rows: Sequence[tuple[Words, str]], first: Words, figures: Sequence[str] = RANKING, own: Sequence[int] = ()
) -> str:
    """Lay out figures of several places, as far as any of them has them.

    Args:
        run: Their run.
        rows: What each is called and where its figures stand, such as ``zero_shot/all``.
        first: Heading of the first column.
        figures: Names of the columns.
        own: Rows to bring out.
    """
    there = [(words, where) for words, where in rows if any(run.figure(f"{where}/{name}") is not None for name in figures)]
    shown = [name for name in figures if any(run.figure(f"{where}/{name}") is not None for _, where in there)]
    if not there or not shown:
        return ""
    with_count = any(run.figure(f"{where}/labels") is not None for _, where in there)
    columns = [Column(first, text=True)]
    columns += [Column(Words("ラベル", "labels"))] if with_count else []
    for name in shown:
        columns.append(Column(called(FIGURES, name)))
        columns += [NO_HEAD] if name == "auroc_macro" else []
    lines = []
    for words, where in there:
        line: list[Any] = [words]
        labels = run.figure(f"{where}/labels")
        line += [Cell(labels, count(labels))] if with_count else []
        for name in shown:
            line.append(spread(run, f"{where}/{name}"))
            line += [bar(run, f"{where}/{name}")] if name == "auroc_macro" else []
        lines.append(line)
    return table(columns, lines, own=own)


def baselines_section(run: Run) -> str:
    """The model beside what it has to beat."""
    rows = [(words, f"{name}/all") for name, words in COMPARED.items()]
    if sum(run.figure(f"{where}/auroc_macro") is not None for _, where in rows) < 2:
        return ""
    text = Words(
        "頻度のみ: 心電図を見ず、学習データに多い順に並べたもの。未学習の塔: 同じ構造で乱数の重み。"
        "線形プローブ: 同じ特徴に教師ありで当てはめた目安。",
        "Label frequency ranks without looking at the ECG. The untrained tower has the same form and random weights. "
        "The linear probe is fitted with labels on the same features, a mark for what they hold.",
    )
    return section(
        "baselines", Words("基準との比較", "Against baselines"), text, figure_table(run, rows, Words("方法", "Method"), own=(0,))
    )


def sets_section(run: Run) -> str:
    """Figures by set of labels."""
    names = [name for name in SETS if name in run.below("zero_shot")]
    names += [name for name in run.below("zero_shot") if name not in SETS]
    rows = [(called(SETS, name), f"zero_shot/{name}") for name in names]
    deciding = figure_table(run, rows, Words("ラベルの集合", "Set of labels"), DECIDING)
    fitted = run.evaluation.get("fitted_on")
    said = (
        f"<p>{both(Words('しきい値を定めた分割: ', 'Thresholds were fitted on: '))}{_plain_split(fitted)}</p>"
        if fitted and deciding
        else ""
    )
    text = Words(
        "マクロはラベルごとの値の平均、ミクロは記録ごとの割合です。多いラベルはミクロの値をよく見せるので、"
        "マクロを先に読んでください。小さい数字は患者単位ブートストラップの95 %区間です。",
        "Macro is the mean over labels, micro a share of the records. Common labels flatter micro figures: read macro first. "
        "Small figures are 95 % intervals of a bootstrap over patients.",
    )
    return section(
        "sets",
        Words("ラベルの集合ごとの成績", "By set of labels"),
        text,
        figure_table(run, rows, Words("ラベルの集合", "Set of labels"), own=(0,)),
        heading(Words("しきい値での判定", "Decisions at the thresholds")) + said + deciding if deciding else "",
    )


def _plain_split(text: Any) -> str:
    known = {
        "val": Words("検証データ", "validation"),
        "val, each half of the patients by what was fitted on the other": Words(
            "検証データ（患者を半分に分け、互いに他方で定めた値を使用）",
            "validation, each half of the patients by what was fitted on the other",
        ),
    }
    return both(known.get(str(text), Words(str(text), str(text))))


def few_shot_section(runs: Mapping[str, Run]) -> str:
    """Curves over the number of records per label: of one run a line for each method, of several runs the same method of each."""
    first = next(iter(runs.values()))
    labels = count(first.figure("few_shot/labels"))
    charts = []
    for name in ("auroc_macro", "top1_macro", "top5_macro"):
        series = few_shot_series(first, name) if len(runs) == 1 else _overlaid(runs, name)
        if series:
            charts.append(
                line_chart(
                    series,
                    title=called(FIGURES, name),
                    x=Words("ラベルあたりの記録数 k", "records per label, k"),
                    y=called(FIGURES, name),
                    x_ticks=_shot_ticks(series),
                    bounds=(0.0, 1.0),
                )
            )
    said = Words(
        f"学習患者からラベルごとに k 件を与えたときの成績。{labels} ラベル、抽出を変えた平均と区間。k = 0 はゼロショットそのもの。",
        f"What k records of training patients per label add. {labels} labels, mean and interval over draws; k = 0 is zero-shot itself.",
    )
    if len(runs) > 1:
        said = Words(said.ja + "線は線形プローブ（テキストから開始）です。", said.en + " The lines are the linear probe from the text.")
    body = f'<div class="charts three">{"".join(charts)}</div>' if charts else ""
    return section("few-shot", Words("少数例での学習", "Few-shot"), said, body)


def _shot_ticks(series: Sequence[Series]) -> Ticks:
    last = round(max((point.x for one in series for point in one.points), default=0.0))
    return Ticks(-0.35, last + 0.35, [(i, str(k)) for i, k in enumerate(KS[: last + 1])])


def few_shot_series(run: Run, name: str) -> list[Series]:
    """A line for each few-shot method, from zero-shot on where that is known."""
    series = []
    start = _shot(run, "zero_shot", 0, name)
    for method in [method for method in FEW_SHOT if method != "zero_shot"]:
        points = [point for point in (_shot(run, method, k, name) for k in KS[1:]) if point]
        if points:
            series.append(Series(FEW_SHOT[method], [start, *points] if start else points))
    return series or ([Series(FEW_SHOT["zero_shot"], [start])] if start else [])


def _shot(run: Run, method: str, k: int, name: str) -> Point | None:
    where = f"few_shot/{method}/k{k}/{name}"
    value = run.figure(where)
    return None if value is None else Point(float(KS.index(k)), value, *ends(run, where))


def _overlaid(runs: Mapping[str, Run], name: str) -> list[Series]:
    """The linear probe of every run, the one method that starts from its own text."""
    series = []
    for called_as, run in runs.items():
        points = [point for point in (_shot(run, "zero_shot" if k == 0 else "linear_probe", k, name) for k in KS) if point]
        series.append(Series(Words(called_as, called_as), points))
    return [one for one in series if one.points]


def ways_section(run: Run) -> str:
    """Linear probe, retrieval, prompts, leads, drift: other ways to ask the same vectors, as far as they were."""
    parts = [
        _part(run, Words("線形プローブと最近傍", "Linear probe and nearest neighbours"), _probes(run), Words("方法", "Method")),
        _part(
            run,
            Words("プロンプト", "Prompts"),
            [(words, f"prompts/{name}/all") for name, words in PROMPTS.items()],
            Words("文", "Text"),
        ),
        _part(run, Words("誘導の数", "Leads"), _leads(run), Words("誘導", "Leads")),
        _part(
            run,
            Words("信号を変えたとき", "Changed signals"),
            [(called(DRIFTS, name), f"drift/{name}/all") for name in run.below("drift")],
            Words("変化", "Change"),
        ),
        _retrieval(run),
    ]
    return section("ways", Words("ほかの尋ね方", "Asked in other ways"), None, *parts)


def _part(run: Run, title: Words, rows: Sequence[tuple[Words, str]], first: Words) -> str:
    body = figure_table(run, rows, first)
    return heading(title) + body if body else ""


def _probes(run: Run) -> list[tuple[Words, str]]:
    names = [
        *(f"linear_probe/{share}" for share in run.below("linear_probe")),
        *(f"random_probe/{share}" for share in run.below("random_probe")),
    ]
    return [(called(COMPARED, name), f"{name}/all") for name in [*names, *(["knn"] if run.below("knn") else [])]]


def _leads(run: Run) -> list[tuple[Words, str]]:
    numbers = sorted(run.below("leads"), key=lambda name: -int(name) if name.isdigit() else 0)
    return [(Words(f"{name} 誘導", f"{name} leads" if name != "1" else "1 lead"), f"leads/{name}/all") for name in numbers]


def _retrieval(run: Run) -> str:
    rows = []
    for way, words in RETRIEVAL.items():
        names = ("r1", "r5", "r10", "median_rank", "chance_r1", "chance_r5", "chance_r10")
        values = {name: run.figure(f"retrieval/{way}/{name}") for name in names}
        if values["r1"] is not None:
            cells = [
                Cell(values[f"r{k}"], f"{number(values[f'r{k}'])} <small>({number(values[f'chance_r{k}'])})</small>") for k in (1, 5, 10)
            ]
            rows.append([words, *cells, Cell(values["median_rank"], count(values["median_rank"]))])
    if not rows:
        return ""
    columns = [
        Column(Words("向き", "Way"), text=True),
        *(Column(Words(f"R@{k}", f"R@{k}")) for k in (1, 5, 10)),
        Column(Words("順位の中央値", "Median rank")),
    ]
    note = f"<p>{both(Words('括弧内は偶然の値です。', 'By chance in brackets.'))}</p>"
    return heading(Words("検索", "Retrieval")) + note + table(columns, rows)


def calibration_section(runs: Mapping[str, Run]) -> str:
    """Reliability curves, and the errors they sum up to."""
    charts, rows = [], []
    for method, words in CALIBRATIONS.items():
        series = [Series(Words(name, name), reliability_points(run, method)) for name, run in runs.items()]
        charts.append(
            line_chart(
                [one for one in series if one.points],
                title=words,
                x=Words("予測した確率", "predicted probability"),
                y=Words("実際の割合", "observed share"),
                x_ticks=ticks(0, 1),
                y_ticks=ticks(0, 1),
                diagonal=True,
            )
        )
        for name, run in runs.items():
            values = [run.figure(f"calibration/{method}/{figure}") for figure in CALIBRATION_FIGURES]
            if any(value is not None for value in values):
                rows.append([Words(f"{words.ja} {name}", f"{words.en} {name}") if len(runs) > 1 else words, *values])
    columns = [Column(Words("較正", "Calibration"), text=True), *(Column(words) for words in CALIBRATION_FIGURES.values())]
    text = Words(
        "コサイン類似度を確率に直したものが、実際の頻度とどれだけ合うか。点線に近いほどよく、ECEは小さいほどよい値です。",
        "How well probabilities made of the cosines agree with what is there. The dotted line is ideal; a smaller ECE is better.",
    )
    drawn = "".join(charts)
    return section(
        "calibration",
        Words("較正", "Calibration"),
        text,
        f'<div class="charts">{drawn}</div>' if drawn else "",
        table(columns, rows) if rows else "",
    )


def reliability_points(run: Run, method: str) -> list[Point]:
    """Return confidence and observed share of each bin that has records."""
    of = run.evaluation.get("reliability", {}).get(method) or {}
    pairs = zip(of.get("confidence") or [], of.get("observed") or [], strict=False)
    return [Point(x, y) for x, y in pairs if is_number(x) and is_number(y)]


def tasks_section(run: Run) -> str:
    """Tasks of other papers: their figures, and their classes."""
    parts = []
    for name in run.below("tasks"):
        task = run.tasks.get(name) or {}
        title = Words(str(task.get("ja") or name), str(task.get("en") or name))
        figures = (*RANKING[:2], "one_prompt_auroc_macro", "f1_macro")
        body = figure_table(run, [(title, f"tasks/{name}")], Words("課題", "Task"), figures)
        classes = [
            [
                Words(str(c.get("ja") or c.get("name")), str(c.get("en") or c.get("name"))),
                c.get("n"),
                _ranged(c),
                c.get("auprc"),
                c.get("one_prompt_auroc"),
            ]
            for c in filter(None, task.get("classes") or [])
        ]
        columns = [
            Column(Words("クラス", "Class"), text=True),
            *(Column(Words(head, head)) for head in ("n", "AUROC", "AUPRC")),
            Column(Words("AUROC（文1つ）", "AUROC (one prompt)")),
        ]
        more = f"<details><summary>{both(Words('クラスごと', 'By class'))}</summary>{table(columns, classes)}</details>" if classes else ""
        source = (
            f"<p>{both(Words('出典: ', 'Source: '))}{both(Words(str(task['source']), str(task['source'])))}</p>"
            if task.get("source")
            else ""
        )
        parts.append(f"{heading(title)}{source}{body}{more}" if body or more else "")
    return section("tasks", Words("ほかの論文の課題", "Tasks of other papers"), Words(STRICTLY.ja, STRICTLY.en), *parts)


def _ranged(row: Mapping[str, Any]) -> Cell:
    reach = interval(row.get("auroc_low"), row.get("auroc_high"))
    return Cell(row.get("auroc"), f"{number(row.get('auroc'))} <small>{reach}</small>")
