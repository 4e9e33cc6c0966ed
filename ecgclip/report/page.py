"""Parts of an HTML page in Japanese and English: words, tables, tiles, pictures, and the page around them.

Every text is there twice, and the page's switch shows one; without JavaScript the Japanese stands with the English beside it.
"""

import base64
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from ecgclip.report.page_design import BEGINNING, SCRIPT, STYLE

COLOURS = 32  # Of a picture on a page: an ECG on its grid needs no more.
SHRINK = 2  # Pixels of a drawn page to one of a picture, each way.
DASH = "–"


class Words(NamedTuple):
    """One text in the two languages of a page."""

    ja: str
    en: str


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        head: Its heading.
        text: Whether it holds text, which stands on the left and sorts upwards first.
        extra: Whether a printed page can do without it.
    """

    head: Words
    text: bool = False
    extra: bool = False


class Cell(NamedTuple):
    """A cell of a table that is more than a value.

    Attributes:
        key: What it sorts by; None sorts last.
        html: What it shows.
        mark: A class of its own, such as ``best``.
    """

    key: Any
    html: str
    mark: str = ""


def both(words: Words) -> str:
    """Return HTML of a text in both languages, once where they are the same."""
    if words.ja == words.en:
        return escape(words.ja)
    return f'<span class="ja" lang="ja">{escape(words.ja)}</span><span class="en" lang="en">{escape(words.en)}</span>'


def plain(words: Words) -> str:
    """Return a text for an attribute, where no switch reaches: both languages."""
    return escape(words.ja if words.ja == words.en else f"{words.ja} / {words.en}", quote=True)


def number(value: Any, digits: int = 3) -> str:
    """Return a figure, or a dash where there is none."""
    return DASH if not is_number(value) else f"{value:.{digits}f}"


def count(value: Any) -> str:
    """Return a count, or a dash where there is none."""
    return DASH if not is_number(value) else f"{value:,.0f}"


def interval(low: Any, high: Any, digits: int = 3) -> str:
    """Return both ends of an interval, or nothing."""
    return f"{low:.{digits}f}{DASH}{high:.{digits}f}" if is_number(low) and is_number(high) else ""


def is_number(value: Any) -> bool:
    """Tell a finite number from what else a file may hold in its place."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def label_name(ja: str, en: str, code: str, mark: str = "") -> Cell:
    """Return a cell with a label's names; the language of the page comes first. It sorts by the Japanese name."""
    names = f'<i class="n-ja" lang="ja">{escape(ja)}{mark}</i><i class="n-en" lang="en">{escape(en)} · {escape(code)}</i>'
    return Cell(ja, f'<span class="name">{names}</span>')


def table(columns: Sequence[Column], rows: Iterable[Sequence[Any]], *, name: str = "", own: Sequence[int] = (), find: bool = False) -> str:
    """Lay out a table that scrolls inside itself and sorts by its headings.

    Args:
        columns: From the left; the first one stays in view.
        rows: A cell is a :class:`Cell`, :class:`Words`, a text, a count (int) or a figure (float, None).
        name: Its id, wanted for ``find``.
        own: Rows to bring out.
        find: Whether a field above it narrows the rows.
    """
    lines = []
    for place, row in enumerate(rows):
        cells = "".join(_cell(column, cell) for column, cell in zip(columns, row, strict=True))
        lines.append(f"<tr{' class=own' if place in own else ''}>{cells}</tr>")
    heads = "".join(f'<th scope="col"{_class(column)}>{_head(column)}</th>' for column in columns)
    box = (
        f'<p><input type="search" data-find="{name}" data-ja="ラベルを探す（日本語・英語・略号）" '
        'data-en="find a label (Japanese, English, id)" '
        'placeholder="ラベルを探す / find a label"><span class="found" role="status"></span></p>'
        if find
        else ""
    )
    called = f' id="{name}"' if name else ""
    body = f"<thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody>"
    return f'{box}<div class="wide" tabindex="0"><table class="sort"{called}>{body}</table></div>'


def _head(column: Column) -> str:
    return f'<button type="button">{both(column.head)}</button>' if column.head.ja else ""


def _cell(column: Column, cell: Any) -> str:
    if isinstance(cell, Words):
        cell = Cell(cell.ja, both(cell))
    elif isinstance(cell, str):
        cell = Cell(cell, escape(cell))
    elif isinstance(cell, int) and not isinstance(cell, bool):
        cell = Cell(cell, count(cell))
    elif not isinstance(cell, Cell):
        cell = Cell(cell, number(cell))
    key = "" if cell.key is None or (isinstance(cell.key, float) and not is_number(cell.key)) else escape(str(cell.key), quote=True)
    return f'<td{_class(column, cell.mark)} data-key="{key}">{cell.html}</td>'


def _class(column: Column, mark: str = "") -> str:
    names = [name for name, there in (("text", column.text), ("extra", column.extra), (mark, bool(mark))) if there]
    return f' class="{" ".join(names)}"' if names else ""


def section(name: str, title: Words, text: Words | None, *parts: str) -> str:
    """Return a section with its heading and explanation, or nothing where it has no part."""
    body = "".join(parts)
    said = f"<p>{both(text)}</p>" if text else ""
    return f'<section id="{name}"><h2>{both(title)}</h2>{said}{body}</section>' if body else ""


def heading(title: Words) -> str:
    """Return the heading of a part of a section."""
    return f"<h3>{both(title)}</h3>"


def tile(what: Words, value: str, spread: str, beside: Sequence[tuple[str, str]] = (), *, drawn: str = "", main: bool = False) -> str:
    """Return one headline figure with its interval and what it is compared with.

    Args:
        what: Its name.
        value: Its text.
        spread: Its interval.
        beside: HTML of a name, and a figure, of each that it is compared with.
        drawn: A picture of all of them.
        main: Whether it is larger than the others.
    """
    rows = "".join(f"<dt>{words}</dt><dd>{escape(figure)}</dd>" for words, figure in beside)
    listed = f"<dl>{rows}</dl>" if rows else ""
    return (
        f'<div class="tile{" main" if main else ""}"><span class="what">{both(what)}</span><b>{escape(value)}</b>'
        f'<span class="range">{escape(spread)}</span>{drawn}{listed}</div>'
    )


def pairs(rows: Mapping[Words, str]) -> str:
    """Return a list of things and what they are; the values are text."""
    return f'<dl class="pairs">{"".join(f"<dt>{both(words)}</dt><dd>{escape(value)}</dd>" for words, value in rows.items())}</dl>'


def commands(lines: Iterable[str]) -> str:
    """Return commands to copy."""
    return f"<pre><code>{escape(chr(10).join(lines))}</code></pre>"


def picture(path: Path) -> str:
    """Return a drawn ECG as the ``src`` of an image: half its size, in few colours."""
    from PIL import Image

    with Image.open(path) as image:
        small = image.convert("RGB").reduce(SHRINK).quantize(COLOURS)
    data = io.BytesIO()
    small.save(data, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"


def page(title: Words, head: str, sections: Sequence[tuple[str, Words, str]], foot: str) -> str:
    """Put a page together.

    Args:
        title: Of the window.
        head: HTML above the sections.
        sections: The id of each, its name in the bar, and its HTML; empty ones are left out.
        foot: HTML below them.

    Returns:
        The whole document.
    """
    there = [part for part in sections if part[2]]
    links = "".join(f'<a href="#{name}">{both(words)}</a>' for name, words, _ in there)
    switches = (
        '<div class="switches" hidden><button type="button" data-switch="lang"><span class="ja" lang="en">English</span>'
        '<span class="en" lang="ja">日本語</span></button><button type="button" data-switch="theme">'
        f"{both(Words('明 / 暗', 'Light / dark'))}</button></div>"
    )
    return (
        f'<!doctype html><html lang="ja" data-title-ja="{escape(title.ja)}" data-title-en="{escape(title.en)}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="referrer" content="no-referrer">'
        f'<link rel="icon" href="data:,"><title>{escape(title.ja)}</title><script>{BEGINNING}</script><style>{STYLE}</style></head>'
        f'<body><header class="head">{switches}{head}</header><nav aria-label="{plain(Words("目次", "contents"))}"><div>{links}</div></nav>'
        f"<main>{''.join(html for *_, html in there)}</main><footer>{foot}</footer><script>{SCRIPT}</script></body></html>\n"
    )
