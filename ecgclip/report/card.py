"""``ecgclip card``: what a model is, what it was trained on, how well it reads and where it does not, out of the files of its run."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from ecgclip.report.page import DASH, count, interval, is_number, number
from ecgclip.report.run_folder import Run
from ecgclip.report.run_page import environment, given_run, write_text
from ecgclip.report.terms import (
    CALIBRATION_FIGURES,
    CALIBRATIONS,
    COMPARED,
    DECIDING,
    FEW_SHOT,
    FIGURES,
    GROUPS,
    RANKING,
    RESEARCH,
    SETS,
    SPLITS,
    STRICTLY,
    SUBGROUP_NAMES,
    SUBGROUPS,
    called,
)

CARD = "model_card.md"
WEAK, FEW = 0.75, 10  # A label is named as weak below this AUROC, and as uncertain with fewer positives than this.
NAMED = 20  # Weak labels that are listed.
LICENCE = "# license: fill in what you release the weights under, and check what the training data and the text model allow"


def card_command(arguments: Sequence[str]) -> None:
    """``card RUN [--out FILE] [--split SPLIT]``: write the model card of a run, and say where it is.

    Raises:
        UserError: When the folder is no finished run, or the card cannot be written.
    """
    run, out = given_run(arguments, "card", "Write a model card in the form of Hugging Face, out of the files of a run.", CARD)
    path = write_text(out, model_card(run))
    print(f"{path}  (say under which licence you release the weights: it is left open)")


def model_card(run: Run) -> str:
    """Return the card of a run as Markdown. What its files do not tell is left out."""
    sections = [
        ("", _summary(run)),
        ("Intended use", _use()),
        ("Model", _model(run)),
        ("Training data", _data(run)),
        ("Evaluation", _evaluation(run)),
        ("By group of labels", _groups(run)),
        ("Subgroups of patients", _subgroups(run)),
        ("Decisions and calibration", _calibration(run)),
        ("Limits", _limits(run)),
        ("How to use", _how(run)),
        ("How to reproduce", _again(run)),
    ]
    body = "\n\n".join(f"## {title}\n\n{text}" if title else text for title, text in sections if text)
    return f"{_front_matter(run)}\n\n# {run.name}\n\n{body}\n"


def _front_matter(run: Run) -> str:
    metrics = [
        {"type": "roc_auc" if name.startswith("auroc") else name, "name": FIGURES[name].en, "value": round(value, 4)}
        for name in RANKING
        if (value := run.figure(f"zero_shot/all/{name}")) is not None
    ]
    result = {
        "task": {"type": "zero-shot-classification", "name": "ECG findings by their Japanese names"},
        "dataset": {"name": run.data_name(), "type": run.data_name().lower(), "split": run.split},
        "metrics": metrics,
    }
    matter: dict[str, Any] = {
        "language": ["ja", "en"],
        "library_name": "ecgclip",
        "tags": ["ecg", "electrocardiography", "contrastive-learning", "zero-shot-classification", "japanese"],
        "model-index": [{"name": run.name, "results": [result]}],
    }
    return f"---\n{LICENCE}\n{yaml.safe_dump(matter, allow_unicode=True, sort_keys=False).strip()}\n---"


def _summary(run: Run) -> str:
    auroc, low, high = (run.figure(f"zero_shot/all/auroc_macro{end}") for end in ("", "_low", "_high"))
    labels = count(run.figure("zero_shot/all/labels"))
    reach = interval(low, high)
    japanese = [
        f"**概要**: 12誘導心電図を日本語の所見名と照合するモデルです。{run.data_name()} の{SPLITS[run.split].ja}データ"
        f"（{count(run.evaluation.get('records'))} 記録、{count(run.evaluation.get('patients'))} 患者）で、"
        f"{labels} ラベルのマクロAUROCは {number(auroc)}{f'（95 %区間 {reach}）' if reach else ''}。"
    ]
    unseen = run.figure("zero_shot/unseen/auroc_macro")
    if unseen is not None:
        japanese.append(f"学習のどの文にも現れない {count(run.figure('zero_shot/unseen/labels'))} ラベルでは {number(unseen)}。")
    english = (
        f"A model that matches a 12-lead ECG with the Japanese names of findings. Macro AUROC over {labels} labels on the "
        f"{SPLITS[run.split].en.lower()} split of {run.data_name()}: {number(auroc)}{f' (95 % interval {reach})' if reach else ''}."
    )
    return f"> {RESEARCH.en}\n>\n> {RESEARCH.ja}\n\n{english}\n\n{''.join(japanese)}"


def _use() -> str:
    return (
        "Research on ECGs and Japanese diagnostic text: searching an archive by findings, few-shot classification, a starting point for "
        "training on one's own data.\n\n"
        f"{RESEARCH.en} It does not replace a reading by a physician, and a finding that it does not name is not "
        f"excluded by that.\n\n{STRICTLY.en}"
    )


def _model(run: Run) -> str:
    options = run.model_options()
    lines = [
        ("ECG tower", _with_options(options, "ecg_tower")),
        ("Text tower", _with_options(options, "text_tower")),
        ("Loss", _with_options(options, "loss")),
        ("ECG towers read together", options.get("members", "")),
        ("Dimensions of the shared space", options.get("embed_dim", "")),
        ("Parameters", _optional_count(run.metrics.get("model/parameters"))),
        ("of these, ECG encoder", _optional_count(run.metrics.get("model/ecg_parameters"))),
        ("Labels", str(len(run.labels)) if run.labels else ""),
    ]
    return (
        _list(lines)
        + "\n\nA label's score is the cosine between the vector of the ECG and the mean vector of the label's Japanese prompts."
    )


def _with_options(options: Mapping[str, str], name: str) -> str:
    more = ", ".join(f"{key.partition('.')[2]} {value}" for key, value in options.items() if key.startswith(f"{name}_args."))
    return f"{options[name]}{f' ({more})' if more else ''}" if name in options else ""


def _optional_count(value: float | None) -> str:
    return "" if value is None else count(value)


def _list(lines: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"- {name}: {text}" for name, text in lines if text)


def _data(run: Run) -> str:
    records = [(f"Records, {SPLITS[name].en.lower()}", _optional_count(run.metrics.get(f"data/{name}/records"))) for name in SPLITS]
    options = run.data_options()
    kept = (
        "sampling_rate",
        "seconds",
        "crop_seconds",
        "filter",
        "caption",
        "catalogue",
        "withhold",
        "fraction",
        "unmentioned",
        "prevalence",
    )
    lines = [("Data set", run.data_class()), *records, ("Split", "by patient: none is in two splits")]
    lines += [(name.replace("_", " ").capitalize(), options.get(name, "")) for name in kept]
    trained = [row for row in run.labels if is_number(row.get("n_train"))]
    if trained:
        most = sorted(trained, key=lambda row: -row["n_train"])[:10]
        none = sum(not row["n_train"] for row in trained)
        lines.append(("Most frequent labels", ", ".join(f"{row.get('ja')} ({row.get('en')}) {count(row['n_train'])}" for row in most)))
        lines.append(("Labels without a training record", f"{none} of {len(trained)}"))
    unseen = [row for row in run.labels if row.get("unseen")]
    if unseen:
        lines.append(("Withheld from every training text", ", ".join(f"{row.get('ja')} ({row['id']})" for row in unseen)))
    if run.catalogue is not None:
        systems = Counter(system for label in run.catalogue for system in label.codes)
        codes = ", ".join(f"{system} for {number_of}" for system, number_of in systems.most_common())
        lines.append(
            ("Label catalogue", f"{len(run.catalogue)} labels with Japanese and English names{f'; codes: {codes}' if codes else ''}")
        )
    return _list(lines)


def _evaluation(run: Run) -> str:
    head = f"{run.data_name()}, {SPLITS[run.split].en.lower()} split: {count(run.evaluation.get('records'))} records of "
    head += f"{count(run.evaluation.get('patients'))} patients. Brackets hold 95 % intervals of a bootstrap over patients. "
    head += "Macro is the mean over labels; micro a share of the records, which common labels flatter."
    sets = [(called(SETS, name).en, f"zero_shot/{name}") for name in SETS]
    compared = [(words.en, f"{name}/all") for name, words in COMPARED.items() if name != "zero_shot"]
    shots = []
    for method, words in FEW_SHOT.items():
        for shot in sorted(run.below(f"few_shot/{method}"), key=lambda name: int(name[1:]) if name[1:].isdigit() else 0):
            shots.append((f"{words.en}, {shot}" if method != "zero_shot" else words.en, f"few_shot/{method}/{shot}"))
    few = ("auroc_macro", "top1_macro", "top5_macro")
    title = f"Few-shot, {count(run.figure('few_shot/labels'))} labels"
    parts = [
        head,
        _figures(run, "Set of labels", sets, RANKING),
        _figures(run, "Baseline, all labels", compared, RANKING),
        _figures(run, title, shots, few),
    ]
    return "\n\n".join(part for part in parts if part)


def _figures(run: Run, first: str, rows: Sequence[tuple[str, str]], names: Sequence[str]) -> str:
    there = [(title, where) for title, where in rows if any(run.figure(f"{where}/{name}") is not None for name in names)]
    shown = [name for name in names if any(run.figure(f"{where}/{name}") is not None for _, where in there)]
    lines = [[title, count(run.figure(f"{where}/labels")), *(_ranged(run, f"{where}/{name}") for name in shown)] for title, where in there]
    if lines and all(line[1] == DASH for line in lines):
        return _table([first, *(FIGURES[name].en for name in shown)], [[line[0], *line[2:]] for line in lines])
    return _table([first, "labels", *(FIGURES[name].en for name in shown)], lines)


def _ranged(run: Run, name: str) -> str:
    reach = interval(run.figure(f"{name}_low"), run.figure(f"{name}_high"))
    return f"{number(run.figure(name))}{f' ({reach})' if reach else ''}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/').replace('<', '&lt;') for cell in line)} |" for line in lines)


def _groups(run: Run) -> str:
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in run.present:
        if is_number(row.get("auroc")):
            groups.setdefault(str(row.get("group") or ""), []).append(row)
    rows = []
    for name in sorted(groups):
        of = groups[name]
        ordered = sorted(of, key=lambda row: row["auroc"])
        mean = sum(row["auroc"] for row in of) / len(of)
        worst, best = (f"{row.get('ja')} {number(row['auroc'])}" for row in (ordered[0], ordered[-1]))
        rows.append([f"{called(GROUPS, name).ja} ({called(GROUPS, name).en})", str(len(of)), number(mean), worst, best])
    return _table(["Group", "labels", "mean AUROC", "lowest", "highest"], rows)


def _subgroups(run: Run) -> str:
    rows = []
    for row in run.evaluation.get("subgroups") or []:
        if isinstance(row, dict):
            by, group = str(row.get("by") or ""), str(row.get("group") or "")
            value, low, high = (row.get(f"auroc_macro{end}") for end in ("", "_low", "_high"))
            reach = interval(low, high)
            shown = SUBGROUP_NAMES[by, group].en if (by, group) in SUBGROUP_NAMES else group
            counts = [count(row.get(name)) for name in ("records", "patients", "labels")]
            rows.append([f"{called(SUBGROUPS, by).en}: {shown}", *counts, f"{number(value)}{f' ({reach})' if reach else ''}"])
    return _table(["Subgroup", "records", "patients", "labels", "macro AUROC"], rows)


def _calibration(run: Run) -> str:
    sets = [(called(SETS, name).en, f"zero_shot/{name}") for name in SETS]
    rows = []
    for method, words in CALIBRATIONS.items():
        values = [run.figure(f"calibration/{method}/{name}") for name in CALIBRATION_FIGURES]
        if any(value is not None for value in values):
            rows.append([words.en, *map(number, values)])
    fitted = run.evaluation.get("fitted_on")
    parts = [
        f"Thresholds and calibration were fitted on: {fitted}." if fitted else "",
        _figures(run, "At the thresholds", sets, DECIDING),
        _table(["Calibration", *(words.en for words in CALIBRATION_FIGURES.values())], rows),
    ]
    return "\n\n".join(part for part in parts if part)


def _limits(run: Run) -> str:
    absent = [row for row in run.labels if not row.get("n")]
    measured = [row for row in run.present if is_number(row.get("auroc"))]
    weak = sorted((row for row in measured if row["auroc"] < WEAK), key=lambda row: row["auroc"])
    few = [row for row in measured if row["n"] < FEW]
    path = run.artefact.get("preprocessing")
    lines = [f"- Measured on {run.data_name()} alone: other hospitals, devices and populations were not, unless stated above."]
    if absent:
        names = ", ".join(f"{row.get('ja')} ({row['id']})" for row in absent)
        lines.append(f"- **{len(absent)} labels without a positive record** could not be measured: {names}.")
    if few:
        lines.append(f"- {len(few)} labels have fewer than {FEW} positive records: their figures are uncertain.")
    if weak:
        names = ", ".join(f"{row.get('ja')} ({row['id']}) {number(row['auroc'])}, n = {row['n']}" for row in weak[:NAMED])
        lines.append(
            f"- **Read poorly** (AUROC below {WEAK}, {len(weak)} of {len(measured)} labels): {names}{', ...' if len(weak) > NAMED else ''}."
        )
    if isinstance(path, Mapping):
        said = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in path.items() if value is not None)
        lines.append(f"- Every ECG is brought into one form before it is read: {said}. What lies outside of it is not seen.")
    fewer = [name for name in run.below("leads") if name != "12" and run.figure(f"leads/{name}/all/auroc_macro") is not None]
    if fewer:
        told = ", ".join(f"{name}: {number(run.figure(f'leads/{name}/all/auroc_macro'))}" for name in fewer)
        lines.append(f"- Twelve leads are expected. Macro AUROC with fewer: {told}.")
    else:
        lines.append("- Twelve leads are expected; fewer were not measured.")
    return "\n".join(lines)


def _how(run: Run) -> str:
    lines = ["```", f"ecgclip predict {run.root_place}/artefact ECG.dcm --plot", "```"]
    known = run.artefact.get("thresholds")
    said = (
        f"Thresholds are kept for {len(known)} of {len(run.labels)} labels; the others are ranked only."
        if isinstance(known, Mapping)
        else ""
    )
    return "\n".join(lines) + f"\n\nIt prints the five best Japanese labels of each file. {said}".rstrip()


def _again(run: Run) -> str:
    commands = "\n".join(run.reproduce())
    details = _list((words.en, value) for words, value in environment(run).items())
    where = "From the folder of the project" + ("; `DATA` is where your data lies." if "=DATA" in commands else ".")
    return f"{where}\n\n```\n{commands}\n```\n\n{details}".rstrip()
