"""Sections of a run's page that tell of labels and records: each label's figures, how near names lie, what is confused, and ECGs."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ecgclip.report.charts import Point, Series, Ticks, interval_bar, line_chart, matrix, scatter, strips, ticks
from ecgclip.report.figure_sections import NO_HEAD
from ecgclip.report.page import (
    DASH,
    Cell,
    Column,
    Words,
    both,
    count,
    heading,
    interval,
    is_number,
    label_name,
    number,
    picture,
    section,
    table,
)
from ecgclip.report.run_folder import Run
from ecgclip.report.terms import EXAMPLES, GROUPS, SUBGROUP_NAMES, SUBGROUPS, called

LABEL_COLUMNS = (  # Figures of a label after its AUROC; what no label has is left out.
    ("auprc", Words("AUPRC", "AUPRC"), False),
    ("top1", Words("top-1", "top-1"), False),
    ("top5", Words("top-5", "top-5"), False),
    ("f1", Words("F1", "F1"), False),
    ("sensitivity", Words("感度", "Sens."), False),
    ("specificity", Words("特異度", "Spec."), False),
    ("ppv", Words("陽性的中率", "PPV"), True),
    ("sensitivity_at_specificity90", Words("感度 (特異度90 %)", "Sens. at 90 % spec."), False),
    ("ece", Words("ECE", "ECE"), True),
    ("threshold", Words("しきい値", "Threshold"), True),
)
MAP_POINTS = 3000
NONE_IN_LOG = 0.5  # Where none stands on a logarithmic scale.
PICTURE_FOLDER = "pictures"
SHOWN = 5  # Labels below an ECG.
EXAMPLES_SHOWN = 18
CONFUSED, FEWEST = 24, 5  # Pairs shown, and the records that one needs.
UNSEEN = '<span class="mark"><span class="ja">未学習</span><span class="en">unseen</span></span>'


def labels_section(run: Run) -> str:
    """Every label: a dot for each in its group, a table to sort and search, and those without a positive apart."""
    present = run.present
    if not present:
        return ""
    shown = [column for column in LABEL_COLUMNS if any(is_number(row.get(column[0])) for row in present)]
    trained = any(is_number(row.get("n_train")) for row in present)
    columns = [
        Column(Words("ラベル", "Label"), text=True),
        Column(Words("群", "Group"), text=True, extra=True),
        Column(Words("n", "n")),
        *([Column(Words("学習 n", "n in training"), extra=True)] if trained else []),
        Column(Words("AUROC", "AUROC")),
        NO_HEAD,
        *(Column(words, extra=extra) for _, words, extra in shown),
    ]
    rows = [_label_row(row, trained, [name for name, *_ in shown]) for row in sorted(present, key=_by_auroc)]
    text = Words(
        f"陽性例のある {len(present)} ラベルを、AUROCの高い順に。見出しを押すと並べ替わります。"
        "区間のないラベルは、陽性の患者が1人しかいません。",
        f"The {len(present)} labels with a positive, by AUROC. A heading sorts. "
        "A label without an interval has positives of one patient only.",
    )
    return section(
        "labels",
        Words("ラベルごとの成績", "Every label"),
        text,
        _label_strips(present),
        table(columns, rows, name="every-label", find=True),
        _absent(run),
    )


def _by_auroc(row: Mapping[str, Any]) -> float:
    value = row.get("auroc")
    return -float(value) if value is not None and is_number(value) else 1.0


def _label_row(row: Mapping[str, Any], trained: bool, names: Sequence[str]) -> list[Any]:
    value, low, high = (row.get(name) for name in ("auroc", "auroc_low", "auroc_high"))
    name = label_name(str(row.get("ja") or row["id"]), str(row.get("en") or row["id"]), row["id"], UNSEEN if row.get("unseen") else "")
    return [
        name,
        called(GROUPS, str(row.get("group") or "")),
        Cell(row.get("n"), count(row.get("n"))),
        *([Cell(row.get("n_train"), count(row.get("n_train")))] if trained else []),
        Cell(value, f"<b>{number(value)}</b><small>{interval(low, high)}</small>"),
        Cell(value, interval_bar(value, low, high, (0.4, 1.0))),
        *(row.get(name) for name in names),
    ]


def _label_strips(present: Sequence[Mapping[str, Any]]) -> str:
    groups: dict[str, list[tuple[float, str, bool]]] = {}
    for row in present:
        if is_number(row.get("auroc")):
            note = f"{row.get('ja')} / {row.get('en')} ({row['id']}): {row['auroc']:.3f}, n = {row['n']}"
            groups.setdefault(str(row.get("group") or ""), []).append((row["auroc"], note, bool(row.get("unseen"))))
    if not groups:
        return ""
    order = sorted(groups, key=lambda name: -sum(dot[0] for dot in groups[name]) / len(groups[name]))
    lowest = min(dot[0] for dots in groups.values() for dot in dots)
    drawn = strips(
        [(called(GROUPS, name), groups[name]) for name in order],
        title=Words("群ごとのAUROC（点が1ラベル）", "AUROC by group, a dot for each label"),
        x=Words("AUROC", "AUROC"),
        axis=ticks(max(0.0, min(0.5, lowest)), 1.0),
        mark_words=Words("未学習ラベル", "unseen label"),
    )
    return f'<div class="charts">{drawn}{_by_frequency(present)}</div>'


def _by_frequency(present: Sequence[Mapping[str, Any]]) -> str:
    """AUROC over how often a label was in training."""
    rows = [row for row in present if is_number(row.get("auroc")) and is_number(row.get("n_train"))]
    if not rows:
        return ""
    series = []
    for unseen, words in (
        (False, Words("学習済みラベル", "seen label")),
        (True, Words("未学習ラベル（学習データにはあるが、文に使っていない）", "unseen label (in the data, but in no training text)")),
    ):
        points = [
            Point(
                math.log10(max(row["n_train"], NONE_IN_LOG)),
                row["auroc"],
                note=f"{row.get('ja')} / {row.get('en')}: {row['auroc']:.3f}, {row['n_train']:.0f}",
            )
            for row in rows
            if bool(row.get("unseen")) == unseen
        ]
        series.append(Series(words, points, joined=False))
    most = max(point.x for one in series for point in one.points)
    powers = range(0, max(1, math.ceil(most)) + 1)
    return line_chart(
        series,
        title=Words("学習での頻度とAUROC", "AUROC over frequency in training"),
        x=Words("学習データの陽性例（対数目盛）", "positives in training (log scale)"),
        y=Words("AUROC", "AUROC"),
        x_ticks=Ticks(-0.4, powers[-1], [(math.log10(NONE_IN_LOG), "0"), *((float(power), f"{10**power:,}") for power in powers)]),
    )


def _absent(run: Run) -> str:
    absent = [row for row in run.labels if not row.get("n")]
    if not absent:
        return ""
    title = Words(f"この分割に陽性例のないラベル（{len(absent)}）", f"Labels without a positive here ({len(absent)})")
    text = Words(
        "成績は測れず、平均にも入りません。順位づけの競争相手にはなります。",
        "They cannot be measured and are in no mean; they compete in every ranking.",
    )
    names = "".join(
        f"<li>{both(Words(str(row.get('ja') or row['id']), str(row.get('en') or row['id'])))}{UNSEEN if row.get('unseen') else ''}</li>"
        for row in absent
    )
    return f'<details id="absent"><summary>{both(title)}</summary><p>{both(text)}</p><ul class="columns">{names}</ul></details>'


def texts_section(run: Run) -> str:
    """How near the names of labels lie to each other, and where the ECGs lie."""
    text = Words(
        "まず、ラベルの文どうしの近さ（コサイン）を群ごとに。次に、心電図のベクトルを平面に置いたもの。軸に意味はなく、近さだけを見ます。",
        "First, how near the texts of labels lie to each other (cosine), by group. Then the vectors of ECGs laid out in a plane: "
        "its axes mean nothing, only what lies near what.",
    )
    body = _similarity(run) + _map(run)
    return section(
        "texts", Words("文と心電図の空間", "The space of texts and ECGs"), text, f'<div class="charts">{body}</div>' if body else ""
    )


def _similarity(run: Run) -> str:
    values = run.evaluation.get("similarity") or []
    size = len(run.labels)
    if not size or len(values) != size or any(not isinstance(row, list) or len(row) != size for row in values):
        return ""
    frequency = Counter(str(row.get("group") or "") for row in run.labels)
    order = sorted(range(size), key=lambda i: (-frequency[str(run.labels[i].get("group") or "")], str(run.labels[i].get("group") or ""), i))
    names = run.names()
    groups = list(dict.fromkeys(str(run.labels[i].get("group") or "") for i in order))
    return matrix(
        [[values[i][j] for j in order] for i in order],
        [names[run.labels[i]["id"]] for i in order],
        [(called(GROUPS, name), frequency[name]) for name in groups],
        title=Words("ラベルの文どうしの類似度", "Similarity of the label texts"),
    )


def _map(run: Run) -> str:
    of = run.evaluation.get("map") or {}
    points = list(zip(of.get("x") or [], of.get("y") or [], of.get("label") or [], strict=False))
    points = [point for point in points if is_number(point[0]) and is_number(point[1])][:: max(1, -(-len(points) // MAP_POINTS))]
    names = run.names()
    group_of = {row["id"]: str(row.get("group") or "") for row in run.labels}
    frequency = Counter(group_of[label] for *_, label in points if label in group_of)
    groups = [name for name, _ in frequency.most_common()]
    drawn = []
    for x, y, label in points:
        ja, en = names.get(label, ("", ""))
        drawn.append((float(x), float(y), groups.index(group_of[label]) if label in group_of else -1, f"{ja} / {en}" if ja else ""))
    drawn.sort(key=lambda point: point[2] >= 0)
    title = Words("心電図の地図（色と形は最も稀な所見の群）", "Map of the ECGs, by the group of their rarest finding")
    return scatter(drawn, [called(GROUPS, name) for name in groups], title=title)


def confusion_section(run: Run) -> str:
    """Pairs of labels of which one is taken for the other."""
    names = run.names()
    rows = []
    for pair in run.evaluation.get("confusion") or []:
        if isinstance(pair, dict) and pair.get("id") in names and pair.get("other") in names and (pair.get("n") or 0) >= FEWEST:
            first, second = (label_name(*names[pair[which]], pair[which]) for which in ("id", "other"))
            share = pair.get("share")
            rows.append(
                [first, second, Cell(share, f"{share:.0%}" if is_number(share) else DASH), Cell(pair.get("n"), count(pair.get("n")))]
            )
    columns = [
        Column(Words("記録のラベル", "Label of the record"), text=True),
        Column(Words("より高く出たラベル", "Label that scores higher"), text=True),
        Column(Words("割合", "Share")),
        Column(Words("n", "n")),
    ]
    text = Words(
        "あるラベルを持ち、もう一方を持たない記録のうち、もう一方の得点のほうが高かった割合。",
        "Of the records with one label and without the other, the share in which the other scores higher.",
    )
    return section("confusion", Words("取り違え", "Confusion"), text, table(columns, rows[:CONFUSED]) if rows else "")


def subgroups_section(run: Run) -> str:
    """Macro AUROC by age, sex and device."""
    rows = []
    for row in run.evaluation.get("subgroups") or []:
        if isinstance(row, dict):
            by, group = str(row.get("by") or ""), str(row.get("group") or "")
            value, low, high = (row.get(f"auroc_macro{end}") for end in ("", "_low", "_high"))
            counts = [Cell(row.get(name), count(row.get(name))) for name in ("records", "patients", "labels")]
            shown = SUBGROUP_NAMES.get((by, group), Words(group, group))
            rows.append(
                [
                    Words(f"{called(SUBGROUPS, by).ja}: {shown.ja}", f"{called(SUBGROUPS, by).en}: {shown.en}"),
                    *counts,
                    Cell(value, f"{number(value)}<small>{interval(low, high)}</small>"),
                    Cell(value, interval_bar(value, low, high, (0.4, 1.0))),
                ]
            )
    columns = [
        Column(Words("部分集団", "Subgroup"), text=True),
        *(Column(words) for words in (Words("記録", "Records"), Words("患者", "Patients"), Words("ラベル", "Labels"))),
        Column(Words("AUROC", "AUROC")),
        NO_HEAD,
    ]
    text = Words(
        "同じ分け方の集団は同じラベルで平均しています（どの集団にも陽性・陰性が10例以上あるもの）。",
        "Groups of one kind average the same labels: those with ten positives and ten negatives in each of them.",
    )
    return section("subgroups", Words("年齢・性別・機種", "Subgroups"), text, table(columns, rows) if rows else "")


def examples_section(run: Run) -> str:
    """ECGs with their labels and the five best of the model."""
    parts = []
    budget = EXAMPLES_SHOWN
    for kind in ("best", "worst", "label"):
        figures = []
        for example in run.evaluation.get("examples") or []:
            path = _picture_of(run, example) if isinstance(example, dict) and example.get("kind") == kind else None
            if path is not None and budget > 0:
                figures.append(_example(run, example, path))
                budget -= 1
        if figures:
            parts.append(heading(EXAMPLES[kind]) + f'<div class="ecgs">{"".join(figures)}</div>')
    text = Words(
        "25 mm/s、10 mm/mV（図に別の感度が書かれている場合を除く）。✓ は記録についているラベルです。",
        "25 mm/s, 10 mm/mV unless a page says another gain. ✓ marks labels that the record carries.",
    )
    return section("ecgs", Words("心電図の例", "ECGs"), text, *parts)


def _picture_of(run: Run, example: Mapping[str, Any]) -> Path | None:
    """The drawn page of an example; only the run's own pictures are opened, whatever a file says."""
    path = run.folder / PICTURE_FOLDER / Path(str(example.get("picture") or "")).name
    return path if path.suffix == ".png" and path.is_file() else None


def _example(run: Run, example: Mapping[str, Any], path: Path) -> str:
    names = run.names()
    labels = [label for label in example.get("labels") or [] if label in names]
    own = Words("、".join(names[i][0] for i in labels) or "なし", ", ".join(names[i][1] for i in labels) or "none")
    rows = []
    for label, score in [pair for pair in example.get("top") or [] if isinstance(pair, list) and len(pair) == 2 and pair[0] in names][
        :SHOWN
    ]:
        tick = '<span class="hit" title="✓">✓</span>' if label in labels else ""
        rows.append(f"<tr><td class=text>{both(Words(*names[label]))} {tick}</td><td>{number(score, 2)}</td></tr>")
    alt = escape(f"{own.ja} / {own.en}", quote=True)
    said = f"<b>{both(Words('ラベル: ', 'Labels: '))}</b>{both(own)}"
    return (
        f'<figure><div class="paperframe" tabindex="0"><img alt="{alt}" src="{picture(path)}"></div>'
        f"<figcaption>{said}</figcaption><table><tbody>{''.join(rows)}</tbody></table></figure>"
    )
