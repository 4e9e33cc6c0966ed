"""``ecgclip report``: one run as one page, for a screen, a phone and paper."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ecgclip.errors import CommandParser, UserError
from ecgclip.report.charts import Point, Series, Ticks, line_chart, ticks
from ecgclip.report.figure_sections import (
    baselines_section,
    calibration_section,
    few_shot_section,
    headline,
    sets_section,
    tasks_section,
    ways_section,
)
from ecgclip.report.label_sections import confusion_section, examples_section, labels_section, subgroups_section, texts_section
from ecgclip.report.page import Cell, Column, Words, both, commands, count, heading, page, pairs, section, table
from ecgclip.report.run_folder import SPLITS as RUN_SPLITS
from ecgclip.report.run_folder import Run
from ecgclip.report.terms import RESEARCH, SPLITS, STRICTLY

REPORT = "report.html"
CURVES = (  # What of the training is drawn: figures that share an axis.
    (Words("損失", "Loss"), (("train/loss", Words("学習", "training")), ("val/loss", Words("検証", "validation")))),
    (
        Words("AUROC（検証）", "AUROC (validation)"),
        (
            ("val/zero_shot/all/auroc_macro", Words("全ラベル", "all labels")),
            ("val/zero_shot/seen/auroc_macro", Words("学習済み", "seen")),
            ("val/zero_shot/unseen/auroc_macro", Words("未学習", "unseen")),
        ),
    ),
    (
        Words("top-k マクロ（検証）", "top-k macro (validation)"),
        (("val/zero_shot/all/top1_macro", Words("top-1", "top-1")), ("val/zero_shot/all/top5_macro", Words("top-5", "top-5"))),
    ),
)


def report_command(arguments: Sequence[str]) -> None:
    """``report RUN [--out FILE] [--split SPLIT]``: write the page of a run, and say where it is.

    Raises:
        UserError: When the folder is no finished run, or the page cannot be written.
    """
    run, out = given_run(arguments, "report", "Write a run as one HTML page that needs nothing else: no network, no other file.", REPORT)
    path = write_text(out, run_page(run))
    print(f"{path}  ({path.stat().st_size / 1e6:.1f} MB, {run.name}, {run.split})")


def given_run(arguments: Sequence[str], command: str, what: str, name: str) -> tuple[Run, Path]:
    """Read the command line of what is written about one run: ``RUN [--out FILE] [--split SPLIT]``.

    Args:
        arguments: What follows the command.
        command: Its name.
        what: What it does, for its help.
        name: Of the file, in the folder of the run where no other is given.

    Returns:
        The run, and where to write.

    Raises:
        UserError: When the folder is no finished run.
    """
    parser = CommandParser(command, what)
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run, runs/<experiment>/<time>; or of its results on other data")
    parser.add_argument("--out", type=Path, metavar="FILE", help=f"where to (RUN/{name})")
    parser.add_argument("--split", choices=RUN_SPLITS, help="which figures (the test where it was evaluated)")
    options = parser.parse_args(arguments)
    return Run.open(options.run, options.split), options.out or options.run / name


def write_text(path: Path, text: str) -> Path:
    """Write a page; whoever is killed in the middle leaves the old one.

    Raises:
        UserError: When it cannot be written there.
    """
    partial = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror}): give another place with --out") from error
    return path


def run_page(run: Run) -> str:
    """Return the page of a run."""
    alone = {run.name: run}
    summary = headline(run)
    sections = [
        ("headline", Words("概要", "Summary"), summary and f'<div id="headline">{summary}</div>'),
        ("baselines", Words("基準", "Baselines"), baselines_section(run)),
        ("sets", Words("集合", "Sets"), sets_section(run)),
        ("few-shot", Words("少数例", "Few-shot"), few_shot_section(alone)),
        ("labels", Words("ラベル", "Labels"), labels_section(run)),
        ("ways", Words("プローブほか", "Probes and more"), ways_section(run)),
        ("tasks", Words("課題", "Tasks"), tasks_section(run)),
        ("calibration", Words("較正", "Calibration"), calibration_section(alone)),
        ("texts", Words("空間", "Space"), texts_section(run)),
        ("confusion", Words("取り違え", "Confusion"), confusion_section(run)),
        ("subgroups", Words("部分集団", "Subgroups"), subgroups_section(run)),
        ("ecgs", Words("心電図", "ECGs"), examples_section(run)),
        ("training", Words("データと学習", "Data and training"), training_section(run)),
        ("again", Words("再現", "Reproduce"), again_section(run)),
    ]
    return page(Words(f"{run.name} の成績", f"{run.name}: results"), _head(run), sections, notes(run))


def _head(run: Run) -> str:
    split, data = SPLITS[run.split], run.data_name()
    records, patients = run.evaluation.get("records"), run.evaluation.get("patients")
    said = Words(
        f"{data} の{split.ja}データ: {count(records)} 記録、{count(patients)} 患者、{len(run.labels)} ラベル",
        f"{data}, {split.en.lower()} split: {count(records)} records of {count(patients)} patients, {len(run.labels)} labels",
    )
    model = " · ".join(
        str(part) for part in (run.option("model", "ecg_tower"), run.option("model", "text_tower"), run.option("model", "loss")) if part
    )
    eyebrow = Words("心電図と日本語診断文の対照学習", "Contrastive learning of ECGs and Japanese diagnostic text")
    names = Words(run.name, run.name)
    return (
        f'<p class="eyebrow">{both(eyebrow)}</p><h1>{both(names)}</h1><p class="lead">{both(said)}'
        f'{f"<br>{both(Words(model, model))}" if model else ""}</p><p class="notice">{both(RESEARCH)}</p>'
    )


def training_section(run: Run) -> str:
    """How much data there was, what the model is made of, and how the training went."""
    rows = []
    for split, words in SPLITS.items():
        records = run.metrics.get(f"data/{split}/records")
        if records is not None:
            rows.append([words, Cell(records, count(records))])
    data = (
        heading(Words("記録", "Records")) + table([Column(Words("分割", "Split"), text=True), Column(Words("記録", "Records"))], rows)
        if rows
        else ""
    )
    curves = run.curves()
    charts = []
    for title, lines in CURVES:
        series = [
            Series(words, [Point(x, y) for x, y in curves.get(name, [])], marked=len(curves.get(name, [])) <= 20) for name, words in lines
        ]
        series = [one for one in series if len(one.points) > 1]
        charts.append(line_chart(series, title=title, x=Words("エポック", "epoch"), y=title, x_ticks=epoch_ticks(series)))
    drawn = "".join(charts)
    parts = [
        data,
        heading(Words("学習曲線", "Training")) + f'<div class="charts">{drawn}</div>' if drawn else "",
        f'<div class="two">{_options(Words("モデルの設定", "Model"), run.model_options())}'
        f"{_options(Words('データの設定', 'Data options'), run.data_options())}</div>",
    ]
    text = Words("どの患者も2つの分割にまたがりません。", "No patient is in two splits.")
    return section("training", Words("データと学習", "Data and training"), text, *parts)


def epoch_ticks(series: Sequence[Series]) -> Ticks | None:
    """Return marks at whole epochs, from the first to the last."""
    epochs = [point.x for one in series for point in one.points]
    return ticks(min(epochs), max(epochs), whole=True) if epochs else None


def _options(title: Words, values: Mapping[str, str]) -> str:
    return f"<div>{heading(title)}{pairs({Words(name, name): value for name, value in values.items()})}</div>" if values else ""


def again_section(run: Run) -> str:
    """The commands that give the same figures, and what they ran on."""
    lines = run.reproduce()
    text = Words("プロジェクトのフォルダで、次のコマンドが同じ値を出します。", "From the folder of the project.")
    if any("=DATA" in line for line in lines):
        text = Words(text.ja + "DATA は手元のデータの場所です。", text.en + " DATA is where your data lies.")
    return section("again", Words("再現のしかた", "How to reproduce"), text, commands(lines), pairs(environment(run)))


def environment(run: Run) -> dict[Words, str]:
    """Return what the run was made with, by what it is called: nothing that names a machine or a person."""
    source = run.environment.get("git")
    commit = str(source.get("commit") or "")[:12] if isinstance(source, dict) else ""
    changed = " +" if isinstance(source, dict) and source.get("changed") else ""
    devices = run.environment.get("gpus")
    rows = {
        Words("Python", "Python"): str(run.environment.get("python") or ""),
        Words("パッケージ", "Packages"): ", ".join(f"{name} {version}" for name, version in run.packages().items()),
        Words("ソース", "Source"): f"{commit}{changed}",
        Words("GPU", "GPU"): ", ".join(map(str, devices)) if isinstance(devices, list) else "",
        Words("CPUコア", "CPU cores"): str(run.environment.get("cpus") or ""),
        Words("プロトコル", "Protocol"): count(run.metrics.get("protocol/version")) if run.metrics.get("protocol/version") else "",
    }
    return {words: value for words, value in rows.items() if value}


def notes(run: Run | None = None) -> str:
    """What stands below every page."""
    return f"<p>{both(RESEARCH)}</p><p>{both(STRICTLY)}</p>"
