"""``ecgclip gallery``: a simulated ECG for every label, sheets of twelve for a quick look, and a page to search them."""

import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from html import escape
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

import ecgclip
from ecgclip.errors import CommandParser, UserError
from ecgclip.labels import Label
from ecgclip.report.sheet import PANELS, plot_sheet
from ecgclip.report.simulated import catalogue, check_length, file_name, find_labels, make_folder
from ecgclip.signals.plot import plot_ecg
from ecgclip.simulation import simulate

SHRINK = 3  # Pixels of a page to one of its thumbnail, each way.


class Page(NamedTuple):
    """What a process needs to draw a label.

    Attributes:
        label: What to show.
        seed: The person.
        sampling_rate: Hz.
        folder: Where to.
    """

    label: Label
    seed: int
    sampling_rate: float
    folder: Path

    @property
    def name(self) -> str:
        """The file's name."""
        return f"{file_name([self.label.id])}.png"


def gallery_command(arguments: Sequence[str]) -> None:
    """``gallery [--labels LABEL...] [--out gallery]``: draw pages, sheets and their index, and say where they lie.

    Pages that are there already are drawn again: a gallery that was stopped is whole after the next call.

    Raises:
        UserError: For an unknown label, or a figure that makes no sense.
    """
    options = _parser().parse_args(arguments)
    for name, value, least in (("jobs", options.jobs, 1), ("seed", options.seed, 0)):
        if value < least:
            raise UserError(f"gallery: --{name} {value} is too little: give at least {least}")
    check_length("gallery", options.sampling_rate)
    labels = find_labels(options.labels, "gallery") if options.labels else list(catalogue())
    for folder in ("pages", "thumbnails", "sheets"):
        make_folder(options.out / folder, "gallery")
    pages = [Page(label, options.seed, options.sampling_rate, options.out) for label in labels]
    try:
        for _ in tqdm(_draw_all(pages, options.jobs), total=len(pages), desc="gallery", unit="page", leave=False):
            pass
    except KeyboardInterrupt:
        raise UserError(f"gallery: stopped, {options.out} is not whole: call it again to draw all pages") from None
    sheets = []
    for first in range(0, len(labels), PANELS):
        twelve = labels[first : first + PANELS]
        signals = simulate([[label.id] for label in twelve], [options.seed] * len(twelve), sampling_rate=options.sampling_rate)
        path = options.out / "sheets" / f"sheet-{first // PANELS + 1:02}.png"
        sheets.append(plot_sheet(signals, options.sampling_rate, twelve, path))
    index = options.out / "index.html"
    index.write_text(index_html(pages, sheets), encoding="utf-8")
    print(f"{len(pages)} pages and {len(sheets)} sheet{'s'[: len(sheets) - 1]}: open {index}")


def _draw_all(pages: Sequence[Page], jobs: int) -> Iterator[None]:
    """Draw pages side by side, yielding after each."""
    if min(jobs, len(pages)) == 1:
        yield from map(draw_page, pages)
        return
    # Ctrl-C is this process's to answer.
    context, mute = multiprocessing.get_context("spawn"), (signal.SIGINT, signal.SIG_IGN)
    with ProcessPoolExecutor(min(jobs, len(pages)), context, initializer=signal.signal, initargs=mute) as pool:
        drawn = [pool.submit(draw_page, page) for page in pages]
        try:
            for page in as_completed(drawn):
                yield page.result()
        finally:
            pool.shutdown(cancel_futures=True)


def draw_page(page: Page) -> None:
    """Draw the page of a label and its thumbnail."""
    from matplotlib.image import imread, imsave

    label = page.label
    ecg = simulate([[label.id]], [page.seed], sampling_rate=page.sampling_rate)[0]
    note = f"基準: {label.criterion}" if label.criterion else ""
    path = page.folder / "pages" / page.name
    plot_ecg(ecg, page.sampling_rate, title=f"{label.ja}　{label.en} ({label.id})", note=note, path=path)
    pixels = imread(path)[..., :3]
    height, width = (side // SHRINK for side in pixels.shape[:2])
    blocks = pixels[: height * SHRINK, : width * SHRINK].reshape(height, SHRINK, width, SHRINK, 3)
    imsave(page.folder / "thumbnails" / page.name, blocks.mean((1, 3)))


def index_html(pages: Sequence[Page], sheets: Sequence[Path]) -> str:
    """Return the page that shows and searches a gallery; it needs no network."""
    cards = []
    for page in pages:
        label = page.label
        words = " ".join((label.id, label.en, label.group, *label.texts, *label.synonyms_en))
        cards.append(
            f'<a class="card" href="pages/{page.name}" data-words="{escape(words)}">'
            f'<img src="thumbnails/{page.name}" alt="" loading="lazy" width="594" height="420">'
            f'<b lang="ja">{escape(label.ja)}</b><span>{escape(label.en)}</span><code>{escape(label.id)}</code>'
            f"<small>{escape(label.criterion)}</small></a>"
        )
    links = " ".join(f'<a href="sheets/{sheet.name}">{number}</a>' for number, sheet in enumerate(sheets, 1))
    first = pages[0]
    about = f"ecgclip {ecgclip.__version__}, seed {first.seed}, {first.sampling_rate:g} Hz"
    return _HTML.format(count=len(pages), about=about, sheets=links, cards="\n".join(cards))


_HTML = """<!doctype html>
<html lang="ja">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>ECG gallery</title>
<style>
:root {{ color-scheme: light dark; --page: #f6f6f4; --card: #fff; --ink: #1c1c1c; --quiet: #5f6368; --edge: #dcdcd8; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --page: #161718; --card: #222426; --ink: #ececec; --quiet: #a4a9ae; --edge: #3a3d40; }}
  img {{ filter: brightness(.88); }}
}}
body {{ margin: 0 auto; max-width: 1500px; padding: 1.5rem; background: var(--page); color: var(--ink);
  font: 15px/1.45 "Hiragino Sans", "Yu Gothic UI", "Noto Sans CJK JP", system-ui, sans-serif; }}
h1 {{ font-size: 1.4rem; margin: 0; }}
p {{ color: var(--quiet); margin: .3rem 0; }}
a {{ color: inherit; }}
input {{ font: inherit; width: min(28rem, 100%); box-sizing: border-box; padding: .5rem .7rem; margin: .8rem 0 1rem;
  color: inherit; background: var(--card); border: 1px solid var(--edge); border-radius: 6px; }}
main {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(290px, 1fr)); gap: 1rem; }}
.card {{ display: flex; flex-direction: column; gap: .1rem; padding: .6rem .7rem .8rem; text-decoration: none;
  background: var(--card); border: 1px solid var(--edge); border-radius: 8px; }}
.card:hover, .card:focus-visible {{ border-color: var(--quiet); }}
.card[hidden] {{ display: none; }}
.card img {{ width: 100%; height: auto; border-radius: 4px; margin-bottom: .4rem; }}
code, small, .card span {{ color: var(--quiet); overflow-wrap: anywhere; }}
</style>
<h1>心電図ギャラリー <span lang="en">ECG gallery</span></h1>
<p>シミュレーションによる心電図で、患者の記録ではありません。Simulated ECGs: nobody's heart was recorded. {about}</p>
<p>一覧 Sheets of twelve: {sheets}</p>
<input type="search" placeholder="検索 Search: 右脚ブロック, AFIB, bundle" aria-label="検索 Search" autofocus>
<p><output>{count}</output> / {count}</p>
<main>
{cards}
</main>
<script>
const plain = text => text.normalize("NFKC").toLowerCase();
const cards = [...document.querySelectorAll(".card")].map(card => [card, plain(card.dataset.words)]);
const box = document.querySelector("input");
box.addEventListener("input", () => {{
  const words = plain(box.value).split(/\\s+/);
  for (const [card, names] of cards) card.hidden = !words.every(word => names.includes(word));
  document.querySelector("output").value = cards.filter(([card]) => !card.hidden).length;
}});
</script>
</html>
"""


def _parser() -> CommandParser:
    parser = CommandParser("gallery", "Draw a simulated ECG for every label, sheets of twelve for a quick look, and a page to search them.")
    add = parser.add_argument
    add("--labels", nargs="+", metavar="LABEL", help="names in Japanese or English, abbreviations or ids (all of the catalogue)")
    add("--out", type=Path, default=Path("gallery"), metavar="DIR", help="where to (gallery)")
    add("--seed", type=int, default=0, help="the person, the same on every page (0)")
    add("--sampling_rate", type=float, default=500.0, help="Hz (500)")
    add("--jobs", type=int, default=2, help="pages to draw side by side (2)")
    return parser
