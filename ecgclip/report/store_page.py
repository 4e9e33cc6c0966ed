"""One page that says what is in a store: labels, splits, quality, what was left out, and ECGs to look at."""

import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ecgclip.labels import Catalogue
from ecgclip.report.page import picture
from ecgclip.signals.leads import LEADS
from ecgclip.signals.plot import plot_ecg
from ecgclip.signals.record import SPLITS
from ecgclip.store import Store

EXAMPLES = 6
MILLIVOLT = 1e-3
MEANING = {  # Of a quality flag.
    "gap": "short gaps were bridged",
    "flat": "a lead is constant",
    "clipped": "a lead runs into its limit",
    "noisy": "a lead is noisy",
    "swapped": "electrodes look swapped",
    "padded": "shorter than a record, zeros at the end",
    "gain": "the device's amplitudes differ from the others'",
    "under50": "a diagnosis stated with less than 50 % likelihood",
    "unread": "nothing in the reading was understood",
}
_STYLE = """
:root{
color-scheme:light dark;--ink:#1b1f24;--quiet:#5c6672;--paper:#fff;--soft:#f3f5f7;--line:#dde2e7;--train:#3b6ea8;--val:#d08a2e;
--test:#4b9a6a}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ec;--quiet:#9aa5b1;--paper:#15181c;--soft:#1e2329;--line:#333b44;--train:#6fa3dd}
}*{box-sizing:border-box}body{
margin:0 auto;max-width:70rem;padding:1.5rem;background:var(--paper);color:var(--ink);
font:15px/1.55 system-ui,"Hiragino Sans","Noto Sans JP",sans-serif}
h1{font-size:1.5rem;margin:.2rem 0}h2{font-size:1.1rem;margin:2.2rem 0 .6rem}p,small{color:var(--quiet)}.tiles{
display:grid;grid-template-columns:repeat(auto-fit,minmax(8.5rem,1fr));gap:.7rem;margin:1rem 0}.tile{
background:var(--soft);border-radius:.5rem;padding:.7rem .9rem}.tile b{display:block;font-size:1.5rem;line-height:1.25}.tile span{
color:var(--quiet)}.wide{overflow-x:auto}table{border-collapse:collapse;width:100%}th,td{
padding:.3rem .6rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}th{color:var(--quiet);font-weight:600}
td:first-child,th:first-child,.text{text-align:left;white-space:normal}.text:first-child{min-width:9.5em}td{
font-variant-numeric:tabular-nums}.sort th{cursor:pointer}
.bar{display:flex;height:.7rem;min-width:9rem}.bar i{display:block}input{
font:inherit;padding:.35rem .6rem;width:min(100%,22rem);border:1px solid var(--line);border-radius:.4rem;background:var(--paper);
color:inherit}
figure{margin:0}figcaption{color:var(--quiet);padding:.3rem 0 1rem}img{width:100%;border-radius:.4rem;background:#fff}.ecgs{
display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));gap:1rem}@media print{body{
max-width:none;padding:0;font-size:10pt}input{display:none}figure,tr{break-inside:avoid}.ecgs{grid-template-columns:1fr 1fr}}
"""
_SCRIPT = """
document.querySelectorAll('.sort').forEach(function(table){var body=table.tBodies[0];
 table.querySelectorAll('th').forEach(function(head,column){head.onclick=function(){
  var way=head.dataset.way==='down'?1:-1;head.dataset.way=way<0?'down':'up';
  var key=function(row){var text=row.cells[column].dataset.key||row.cells[column].textContent;return isNaN(text)?text:+text};
  Array.from(body.rows).sort(function(a,b){a=key(a);b=key(b);return a<b?-way:a>b?way:0}).forEach(function(row){body.append(row)})}})});
document.querySelectorAll('input[data-find]').forEach(function(box){box.oninput=function(){var wanted=box.value.toLowerCase();
 document.querySelectorAll(box.dataset.find+' tbody tr').forEach(function(row){
  row.hidden=row.textContent.toLowerCase().indexOf(wanted)<0})}});
"""


def write_store_page(store: Store, catalogue: Catalogue, path: Path) -> Path:
    """Write the page of a store: self-contained, naming neither a file nor a patient.

    Args:
        store: Finished.
        catalogue: Its labels.
        path: An ``.html``.

    Returns:
        ``path``.

    """
    manifest, notes = store.manifest, store.info.get("notes", {})
    parts = [
        f"<h1>{len(store):,} ECGs, {len(catalogue)} labels</h1><p>{escape(_made(store))}</p>",
        _tiles(store, manifest, notes),
        _splits(manifest),
        _quality(manifest, notes),
        _counted("除外 Left out", "reason", notes.get("rejected", {}), "Nothing was left out."),
        _origin(manifest),
        _examples(store, manifest, catalogue),
        _labels(manifest, catalogue),
    ]
    page = (
        f'<!doctype html><html lang="ja"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{len(store):,} ECGs</title><style>{_STYLE}</style></head><body>{''.join(parts)}<script>{_SCRIPT}</script></body></html>\n"
    )
    path.write_text(page, encoding="utf-8")
    return path


def count_patients(manifest: pd.DataFrame) -> int:
    """Return how many patients a manifest has; a record that names none counts as one."""
    nameless = manifest["patient"] == ""
    return int(manifest["patient"][~nameless].nunique() + nameless.sum())


def _made(store: Store) -> str:
    path = store.info["signal_path"]
    said = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in path.items() if value is not None)
    return f"Signals: {said}. Store version {store.info['version']}, checksum {store.info['checksums']['signals.i16'][:12]}."


def _tiles(store: Store, manifest: pd.DataFrame, notes: Mapping[str, Any]) -> str:
    patients = count_patients(manifest)
    labelled = int((manifest["labels"].str.len() > 0).sum())
    flagged = int((manifest["quality"].str.len() > 0).sum())
    rejected = sum(notes.get("rejected", {}).values())
    tiles = [
        (f"{len(store):,}", "records"),
        (f"{patients:,}", "patients"),
        (f"{labelled / len(store):.0%}", "of records have a label"),
        (f"{manifest['labels'].str.len().mean():.2f}", "labels a record"),
        (f"{flagged / len(store):.0%}", "carry a quality flag"),
        (f"{rejected:,}", "files left out"),
    ]
    return f'<div class="tiles">{"".join(f"<div class=tile><b>{value}</b><span>{what}</span></div>" for value, what in tiles)}</div>'


def _labels(manifest: pd.DataFrame, catalogue: Catalogue) -> str:
    positive = {split: _count(manifest["labels"][manifest["split"] == split]) for split in SPLITS}
    hedged, negated = _count(manifest["hedged"]), _count(manifest["negated"])
    total = {label.id: sum(positive[split][label.id] for split in SPLITS) for label in catalogue}
    most = max([1, *total.values()])
    rows = []
    for label in sorted(catalogue, key=lambda label: -total[label.id]):
        counts = [positive[split][label.id] for split in SPLITS]
        bar = "".join(
            f'<i style="width:{100 * n / most:.2f}%;background:var(--{split})"></i>' for split, n in zip(SPLITS, counts, strict=True)
        )
        rows.append(
            [label.ja, label.en, label.id, total[label.id], *counts, hedged[label.id], negated[label.id], (total[label.id], bar)],
        )
    head = ["ラベル", "English", "id", "records", *SPLITS, "suspected", "denied", ""]
    without = sum(not count for count in total.values())
    note = f"{without} of {len(catalogue)} labels have no record." if without else "Every label has a record."
    return (
        f'<h2>ラベル Labels</h2><p>{note} Click a column to sort.</p><input data-find="#labels" placeholder="絞り込み / find a label">'
        f"{_table(head, rows, texts=3, name='labels')}"
    )


def _splits(manifest: pd.DataFrame) -> str:
    rows = []
    for split in SPLITS:
        of = manifest[manifest["split"] == split]
        if of.empty:
            continue
        sexes, ages, years = of["sex"].dropna(), of["age"].dropna(), of["year"].dropna()
        rows.append(
            [
                split,
                len(of),
                count_patients(of),
                f"{len(of) / len(manifest):.1%}",
                len({label for labels in of["labels"] for label in labels}),
                f"{ages.median():.0f}" if len(ages) else "-",
                f"{(sexes == 'F').mean():.0%}" if len(sexes) else "-",
                f"{years.min():.0f}-{years.max():.0f}" if len(years) else "-",
            ]
        )
    head = ["split", "records", "patients", "share", "labels with a record", "median age", "women", "years"]
    return f"<h2>分割 Splits</h2><p>No patient is in two splits.</p>{_table(head, rows)}"


def _quality(manifest: pd.DataFrame, notes: Mapping[str, Any]) -> str:
    counts: Counter[str] = Counter()
    leads: dict[str, Counter[str]] = {}
    for flags in manifest["quality"]:
        counts.update({flag.split(":")[0] for flag in flags})
        for flag in flags:
            kind, _, where = flag.partition(":")
            leads.setdefault(kind, Counter())[where] += 1
    missing = _count(manifest["missing_leads"])
    rows = [
        [flag, (count, f"{count:,}"), f"{count / len(manifest):.1%}", MEANING.get(flag, ""), _most(leads[flag])]
        for flag, count in counts.most_common()
    ]
    if missing:
        absent = int((manifest["missing_leads"].str.len() > 0).sum())
        rows.append(["missing", (absent, f"{absent:,}"), f"{absent / len(manifest):.1%}", "a lead was not recorded", _most(missing)])
    gain = "".join(
        f"<p><strong>{escape(batch)}</strong> has {factor:g} times the amplitude of the other devices: check the gain of its export. "
        "Nothing was corrected.</p>"
        for batch, factor in notes.get("gain", {}).items()
    )
    if not rows:
        return "<h2>品質 Quality</h2><p>No record carries a flag.</p>"
    return f"<h2>品質 Quality</h2>{gain}{_table(['flag', 'records', 'share', 'means', 'where most'], rows, texts=1, also=(3, 4))}"


def _origin(manifest: pd.DataFrame) -> str:
    parts = []
    for column, title in (("source", "format"), ("device", "device"), ("site", "site"), ("setting", "setting")):
        counts = manifest[column].dropna()
        counts = counts[counts != ""].value_counts()
        if len(counts) > (0 if column == "source" else 1):
            parts.append(_table([title, "records"], [[str(name), int(n)] for name, n in counts.head(20).items()]))
    return f"<h2>由来 Where they come from</h2>{''.join(parts)}"


def _examples(store: Store, manifest: pd.DataFrame, catalogue: Catalogue) -> str:
    names = {label.id: label.ja for label in catalogue}
    figures = []
    for row in _chosen(manifest):
        record = manifest.iloc[row]
        labels = "、".join(names.get(label, label) for label in record["labels"]) or "ラベルなし"
        flags = f" ({', '.join(record['quality'])})" if record["quality"] else ""
        source = _picture(store, row, f"{record['id'][:8]}  {labels}", [lead not in record["missing_leads"] for lead in LEADS])
        caption = escape(f"{labels}{flags}")
        figures.append(f'<figure><img alt="{caption}" src="{source}"><figcaption>{caption}</figcaption></figure>')
    return f'<h2>例 Examples</h2><p>25 mm/s, 10 mm/mV.</p><div class="ecgs">{"".join(figures)}</div>'


def _chosen(manifest: pd.DataFrame) -> list[int]:
    """Records of the labels that are most frequent, one each, then some with a quality flag: always the same ones."""
    chosen: list[int] = []
    labels = manifest["labels"].tolist()
    clean = [not flags for flags in manifest["quality"]]
    for label, _ in _count(labels).most_common(EXAMPLES - 2):
        rows = [row for row, of in enumerate(labels) if label in of and row not in chosen]
        chosen += sorted(rows, key=lambda row: not clean[row])[:1]
    flagged = [row for row, is_clean in enumerate(clean) if not is_clean and row not in chosen]
    rest = [row for row in range(len(labels)) if row not in chosen and row not in flagged]
    return [*chosen, *flagged, *rest][:EXAMPLES]


def _picture(store: Store, row: int, title: str, lead_mask: Sequence[bool]) -> str:
    """Draw a record; return it as the ``src`` of an image."""
    signal = store.read(np.array([row]))[0] * np.float32(MILLIVOLT)
    with tempfile.TemporaryDirectory() as folder:
        page = plot_ecg(signal, store.sampling_rate, title=title, path=Path(folder) / "ecg.png", lead_mask=list(lead_mask))
        return picture(page)


def _counted(title: str, what: str, counts: Mapping[str, int], none: str) -> str:
    body = _table([what, "files"], [[name, n] for name, n in counts.items()]) if counts else f"<p>{none}</p>"
    return f"<h2>{title}</h2>{body}"


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]], *, texts: int = 1, also: Sequence[int] = (), name: str = "") -> str:
    """Lay out a table that sorts by a click. A cell is a value, or what it sorts by and its HTML."""
    left = {*range(texts), *also}
    lines = []
    for row in rows:
        cells = []
        for column, cell in enumerate(row):
            key, shown = cell if isinstance(cell, tuple) else (cell, f"{cell:,}" if isinstance(cell, int) else escape(str(cell)))
            shown = f'<div class="bar">{shown}</div>' if shown.startswith("<i") else shown
            mark = ' class="text"' if column in left else ""
            cells.append(f"<td{mark} data-key={json.dumps(escape(str(key)), ensure_ascii=False)}>{shown}</td>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    heads = "".join(f"<th{' class=text' if column in left else ''}>{escape(title)}</th>" for column, title in enumerate(head))
    called = f' id="{name}"' if name else ""
    return f'<div class="wide"><table class="sort"{called}><thead><tr>{heads}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def _count(lists: Iterable[Sequence[str]]) -> Counter[str]:
    return Counter(name for names in lists for name in names)


def _most(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in counts.most_common(4) if name)
