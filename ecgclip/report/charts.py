"""Charts as inline SVG: their colours are the page's, so they turn dark with it; forms and dashes tell apart what colour may not."""

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from ecgclip.report.page import Words, both, is_number, number, plain

WIDTH, HEIGHT = 460.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 56.0, 20.0, 12.0, 46.0  # Room for the axes.
COLOURS = 8
APART = 3.0  # Between the intervals of two series at one place.
LEVELS = 8  # Of a similarity, each way from zero.


class Point(NamedTuple):
    """A value at a place, with its interval where there is one; ``note`` is its tooltip, else the series and the value are."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    note: str = ""


class Series(NamedTuple):
    """Points that belong together.

    Attributes:
        words: Its name.
        points: From the left.
        marked: Whether each point gets its form; else there is only the line.
        joined: Whether there is a line.
    """

    words: Words
    points: Sequence[Point]
    marked: bool = True
    joined: bool = True


class Ticks(NamedTuple):
    """An axis: its ends, and where it says what."""

    low: float
    high: float
    at: Sequence[tuple[float, str]]


def ticks(low: float, high: float, about: int = 5, *, whole: bool = False) -> Ticks:
    """Choose round marks between two values, which end on a mark; ``whole`` for counts."""
    span = max(high - low, 1e-9)
    raw = span / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    step = float(math.ceil(step)) if whole else step
    first, last = math.floor(low / step + 1e-6), math.ceil(high / step - 1e-6)
    digits = max(0, -math.floor(math.log10(step) + 1e-9)) + (1 if math.isclose(step / power, 2.5) else 0)
    return Ticks(first * step, last * step, [(i * step, f"{i * step:.{digits}f}") for i in range(first, last + 1)])


def line_chart(
    series: Sequence[Series],
    *,
    title: Words,
    x: Words,
    y: Words,
    x_ticks: Ticks | None = None,
    y_ticks: Ticks | None = None,
    diagonal: bool = False,
    bounds: tuple[float, float] | None = None,
) -> str:
    """Draw lines with their intervals, a legend below, and what each point is as its tooltip.

    Args:
        series: Up to eight; those without a point are left out.
        title: What the chart is, also for those who do not see it.
        x: What the axis below is.
        y: What the axis on the left is.
        x_ticks: Ends and marks of the axis below; chosen from the points where None.
        y_ticks: Ends and marks of the axis on the left.
        diagonal: Whether to draw where both axes are equal.
        bounds: Values beyond which no figure can be; an interval is cut there.

    Returns:
        HTML of a figure; nothing without a point.
    """
    series = [_within(one, bounds) for one in series if one.points]
    if not series:
        return ""
    points = [point for one in series for point in one.points]
    heights = [value for point in points for value in (point.y, point.low, point.high) if value is not None]
    across = x_ticks or ticks(min(point.x for point in points), max(point.x for point in points))
    up = y_ticks or ticks(min(heights), max(heights))
    to_x, to_y = _scale(across, LEFT, WIDTH - RIGHT), _scale(up, HEIGHT - BOTTOM, TOP)
    parts = [_axes(across, up, to_x, to_y, x, None if y == title else y)]
    if diagonal:
        parts.append(
            f'<path class="ideal" d="M{to_x(across.low):.1f} {to_y(across.low):.1f}L{to_x(across.high):.1f} {to_y(across.high):.1f}"/>'
        )
    parts += [_line(one, place, to_x, to_y, (place - (len(series) - 1) / 2) * APART) for place, one in enumerate(series)]
    keys = "".join(f"<li>{key(place, one.marked, one.joined)}{both(one.words)}</li>" for place, one in enumerate(series))
    legend = f'<ul class="legend">{keys}</ul>' if len(series) > 1 else ""
    return f'<figure class="chart"><h3>{both(title)}</h3>{_svg(title, WIDTH, HEIGHT, parts)}{legend}</figure>'


def _within(one: Series, bounds: tuple[float, float] | None) -> Series:
    if bounds is None:
        return one
    least, most = bounds
    cut = [p._replace(low=max(least, p.low), high=min(most, p.high)) if p.low is not None and p.high is not None else p for p in one.points]
    return one._replace(points=cut)


def _scale(axis: Ticks, start: float, end: float) -> Callable[[float], float]:
    span = axis.high - axis.low or 1.0
    return lambda value: start + (value - axis.low) / span * (end - start)


def _svg(title: Words, width: float, height: float, parts: Sequence[str], more: str = "") -> str:
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{plain(title)}"{more}>'
        f"<title>{plain(title)}</title>{''.join(parts)}</svg>"
    )


def _text(words: Words, place: str) -> str:
    if words.ja == words.en:
        return f"<text {place}>{escape(words.ja)}</text>"
    return f'<text {place} class="ja">{escape(words.ja)}</text><text {place} class="en">{escape(words.en)}</text>'


def _axes(across: Ticks, up: Ticks, to_x: Callable[[float], float], to_y: Callable[[float], float], x: Words, y: Words | None) -> str:
    parts = []
    for value, text in up.at:
        parts.append(f'<path class="grid" d="M{LEFT:g} {to_y(value):.1f}H{WIDTH - RIGHT:g}"/>')
        parts.append(f'<text x="{LEFT - 8:g}" y="{to_y(value) + 4.5:.1f}" text-anchor="end">{text}</text>')
    for value, text in across.at:
        parts.append(f'<text x="{to_x(value):.1f}" y="{HEIGHT - BOTTOM + 18:g}" text-anchor="middle">{text}</text>')
    parts.append(f'<path class="axis" d="M{LEFT:g} {HEIGHT - BOTTOM:g}H{WIDTH - RIGHT:g}"/>')
    parts.append(_text(x, f'x="{(LEFT + WIDTH - RIGHT) / 2:g}" y="{HEIGHT - 8:g}" text-anchor="middle"'))
    if y is not None:
        parts.append(_text(y, f'transform="translate(13 {(TOP + HEIGHT - BOTTOM) / 2:g}) rotate(-90)" text-anchor="middle"'))
    return "".join(parts)


def _line(one: Series, place: int, to_x: Callable[[float], float], to_y: Callable[[float], float], aside: float) -> str:
    """Draw one series; its intervals stand a little aside, so that those of several at one place are all seen."""
    colour = f"s{place % COLOURS}"
    path = "L".join(f"{to_x(point.x):.1f} {to_y(point.y):.1f}" for point in one.points)
    parts = [f'<path class="line {colour}" d="M{path}"/>'] if one.joined else []
    ranged = [point for point in one.points if is_number(point.low) and is_number(point.high)]
    if len(ranged) == len(one.points) > 1:
        over = "L".join(f"{to_x(point.x):.1f} {to_y(point.high or 0):.1f}" for point in ranged)
        under = "L".join(f"{to_x(point.x):.1f} {to_y(point.low or 0):.1f}" for point in reversed(ranged))
        parts.insert(0, f'<path class="band" d="M{over}L{under}Z"/>')
    else:
        parts += [
            f'<path class="bars" d="M{to_x(point.x) + aside:.1f} {to_y(point.low or 0):.1f}V{to_y(point.high or 0):.1f}"/>'
            for point in ranged
        ]
    if one.marked:
        for point in one.points:
            reach = f" ({number(point.low)}–{number(point.high)})" if is_number(point.low) else ""
            note = escape(point.note) if point.note else f"{plain(one.words)}: {point.y:.3f}{reach}"
            parts.append(mark(place, to_x(point.x) + (aside if one.joined and ranged else 0.0), to_y(point.y), note))
    return f'<g class="{colour}">{"".join(parts)}</g>'


def mark(place: int, x: float, y: float, note: str = "", size: float = 4.2) -> str:
    """Draw the form of a series at a place: circle, square, triangle, diamond, then the same four open.

    Args:
        place: Number of the series.
        x: Where, from the left.
        y: Where, from above.
        note: Its tooltip, escaped.
        size: Half its width.
    """
    form, style = place % 4, "point open" if place % COLOURS >= 4 else "point"
    said = f"<title>{note}</title>" if note else ""
    if form == 0:
        return f'<circle class="{style}" cx="{x:.1f}" cy="{y:.1f}" r="{size:g}">{said}</circle>'
    corners = {
        1: ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
        2: ((0, -1.2), (1.1, 0.9), (-1.1, 0.9)),
        3: ((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)),
    }
    path = "L".join(f"{x + dx * size:.1f} {y + dy * size:.1f}" for dx, dy in corners[form])
    return f'<path class="{style}" d="M{path}Z">{said}</path>'


def key(place: int, marked: bool = True, line: bool = True) -> str:
    """Draw what stands for a series in a legend."""
    colour = f"s{place % COLOURS}"
    drawn = f'<path class="line {colour}" d="M1 7H25"/>' if line else ""
    form = mark(place, 13, 7) if marked else ""
    return f'<svg class="key" viewBox="0 0 26 14" aria-hidden="true"><g class="{colour}">{drawn}{form}</g></svg>'


def interval_bar(value: Any, low: Any, high: Any, ends: tuple[float, float] = (0.5, 1.0), zero: bool = False) -> str:
    """Draw a figure and its interval in a cell of a table, beside its number.

    Args:
        value: The figure.
        low: Lower end of its interval.
        high: Upper end.
        ends: Values at the left and right.
        zero: Whether to mark where zero is, and to colour by the sign.
    """
    if not is_number(value):
        return ""

    def at(figure: float) -> float:
        return 4 + 96 * min(1.0, max(0.0, (figure - ends[0]) / (ends[1] - ends[0])))

    reach = f'<path class="reach" d="M{at(low):.1f} 7H{at(high):.1f}"/>' if is_number(low) and is_number(high) else ""
    origin = f'<path class="axis" d="M{at(0):.1f} 1V13"/>' if zero else ""
    sign = ' class="minus"' if zero and value < 0 else ""
    return (
        f'<svg class="spark" viewBox="0 0 104 14" aria-hidden="true"><path class="track" d="M4 7H100"/>{origin}'
        f'<g{sign}>{reach}<circle class="dot" cx="{at(value):.1f}" cy="7" r="3.6"/></g></svg>'
    )


def scale_strip(values: Sequence[tuple[int, float, Any, Any]], ends: tuple[float, float] = (0.4, 1.0)) -> str:
    """Draw some figures on one scale, each with the form of its place and its interval; the numbers stand beside it."""
    axis = ticks(*ends, about=6)
    to_x = _scale(axis, 12.0, 408.0)
    parts = [
        f'<path class="grid" d="M{to_x(value):.1f} 6V26"/><text x="{to_x(value):.1f}" y="42" text-anchor="middle">{text}</text>'
        for value, text in axis.at
    ]
    parts.append('<path class="track" d="M12 16H408"/>')
    for place, value, low, high in reversed(values):
        reach = (
            f'<path class="bars" style="stroke-width:7" d="M{to_x(low):.1f} 16H{to_x(high):.1f}"/>'
            if is_number(low) and is_number(high)
            else ""
        )
        parts.append(f'<g class="s{place % COLOURS}">{reach}{mark(place, to_x(min(ends[1], max(ends[0], value))), 16, size=6)}</g>')
    return f'<svg class="span" viewBox="0 0 420 46" aria-hidden="true">{"".join(parts)}</svg>'


def strips(
    rows: Sequence[tuple[Words, Sequence[tuple[float, str, bool]]]], *, title: Words, x: Words, axis: Ticks, mark_words: Words
) -> str:
    """Draw a row of dots for each group, so that the spread within it is seen.

    Args:
        rows: Name of a group; of each of its dots the value, the tooltip (text) and whether it is brought out.
        title: What the chart is.
        x: What the values are.
        axis: Ends and marks of the values.
        mark_words: What brings a dot out.
    """
    left, step = 118.0, 25.0
    height = TOP + step * len(rows) + 44
    to_x = _scale(axis, left, WIDTH - RIGHT)
    parts = []
    for value, text in axis.at:
        parts.append(f'<path class="grid" d="M{to_x(value):.1f} {TOP:g}V{height - 40:g}"/>')
        parts.append(f'<text x="{to_x(value):.1f}" y="{height - 24:g}" text-anchor="middle">{text}</text>')
    for row, (words, dots) in enumerate(rows):
        y = TOP + step * (row + 0.5)
        parts.append(_text(words, f'x="{left - 10:g}" y="{y + 4.5:.1f}" text-anchor="end"'))
        for value, note, brought_out in dots:
            place = 1 if brought_out else 0
            drawn = mark(place, to_x(min(axis.high, max(axis.low, value))), y, escape(note), 4.6)
            parts.append(f'<g class="{"s1" if brought_out else "s0 thin"}">{drawn}</g>')
    parts.append(_text(x, f'x="{(left + WIDTH - RIGHT) / 2:g}" y="{height - 5:g}" text-anchor="middle"'))
    swatch = f'<svg class="key" viewBox="0 0 26 14" aria-hidden="true"><g class="s1">{mark(1, 13, 7)}</g></svg>'
    legend = f'<ul class="legend"><li>{swatch}{both(mark_words)}</li></ul>' if any(dot[2] for _, dots in rows for dot in dots) else ""
    return f'<figure class="chart"><h3>{both(title)}</h3>{_svg(title, WIDTH, height, parts)}{legend}</figure>'


def scatter(points: Sequence[tuple[float, float, int, str]], groups: Sequence[Words], *, title: Words) -> str:
    """Draw a map without axes, since its directions mean nothing.

    Args:
        points: x, y, the number of its group, -1 for none, and its tooltip (text).
        groups: Their names, most of the points first; those after the eighth share one grey form.
        title: What the map is.
    """
    if not points:
        return ""
    size, rim = 460.0, 8.0
    columns, rows = ticks(min(p[0] for p in points), max(p[0] for p in points)), ticks(min(p[1] for p in points), max(p[1] for p in points))
    low_x, high_x = min(p[0] for p in points), max(p[0] for p in points)
    low_y, high_y = min(p[1] for p in points), max(p[1] for p in points)
    to_x = _scale(columns._replace(low=low_x, high=high_x), rim, size - rim)
    to_y = _scale(rows._replace(low=low_y, high=high_y), size * 0.8 - rim, rim)
    drawn: dict[int, list[str]] = {}
    for x, y, group, note in points:
        place = group if 0 <= group < COLOURS else -1
        form = mark(max(place, 0), to_x(x), to_y(y), escape(note), 3.0)
        drawn.setdefault(place, []).append(form)
    parts = [f'<g class="{"s6" if place < 0 else f"s{place}"} thin">{"".join(forms)}</g>' for place, forms in sorted(drawn.items())]
    keys = "".join(f"<li>{key(place, line=False)}{both(words)}</li>" for place, words in enumerate(groups[:COLOURS]))
    return (
        f'<figure class="chart large"><h3>{both(title)}</h3>{_svg(title, size, size * 0.8, parts)}<ul class="legend">{keys}</ul></figure>'
    )


def matrix(values: Sequence[Sequence[Any]], names: Sequence[tuple[str, str]], groups: Sequence[tuple[Words, int]], *, title: Words) -> str:
    """Draw a square of values between -1 and 1 as a map of colours; pointing at a cell tells what it is.

    Args:
        values: L rows of L.
        names: Japanese and English name of each row.
        groups: Name and number of rows of each group, in the order of the rows.
        title: What the map is.
    """
    import json

    size, left, top = len(values), 112.0, 8.0
    scale = (WIDTH - left - 4) / max(1, size)
    cells = "".join(f'<path fill="{_shade(level)}" d="{path}"/>' for level, path in sorted(_runs(values).items()))
    parts = [f'<g transform="translate({left:g} {top:g}) scale({scale:.4f})"><g class="cells" shape-rendering="crispEdges">']
    parts.append(f'<rect width="{size}" height="{size}" fill="var(--mid)"/>{cells}</g>')
    start = 0
    for _, rows in groups:
        if start:
            parts.append(f'<path d="M0 {start}H{size}M{start} 0V{size}" stroke="var(--paper)" stroke-width=".35" fill="none"/>')
        start += rows
    parts.append('<rect class="pick" visibility="hidden" width="1" height="1" fill="none" stroke="var(--ink)" stroke-width=".45"/></g>')
    start = 0
    for words, rows in groups:
        if rows * scale >= 11:
            parts.append(_text(words, f'x="{left - 8:g}" y="{top + (start + rows / 2) * scale + 4:.1f}" text-anchor="end"'))
        start += rows
    told = {
        "ja": [ja for ja, _ in names],
        "en": [en for _, en in names],
        "values": [[round(100 * value) if is_number(value) else None for value in row] for row in values],
    }
    data = json.dumps(told, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    steps = [(-1, "−1"), (-0.5, "−0.5"), (0, "0"), (0.5, "0.5"), (1, "1")]
    boxes = "".join(
        '<li><svg class="key" viewBox="0 0 26 14" aria-hidden="true">'
        f'<rect width="26" height="14" rx="2" fill="{_shade(_level(value))}"/></svg>{text}</li>'
        for value, text in steps
    )
    hint = both(Words("図に触れると名前と値が出ます。", "Point at the map for names and value."))
    return (
        f'<figure class="chart large matrix"><h3>{both(title)}</h3><p class="tell" aria-live="polite">{hint}</p>'
        f'{_svg(title, WIDTH, top + size * scale + 4, parts)}<ul class="legend">{boxes}</ul>'
        f'<script type="application/json">{data}</script></figure>'
    )


def _level(value: Any) -> int:
    return max(-LEVELS, min(LEVELS, round(value * LEVELS))) if is_number(value) else 0


def _shade(level: int) -> str:
    return f"color-mix(in oklab,var(--{'high' if level > 0 else 'low'}) {round(100 * abs(level) / LEVELS)}%,var(--mid))"


def _runs(values: Sequence[Sequence[Any]]) -> Mapping[int, str]:
    """One path for each shade, of rectangles as wide as equal cells go: a tenth of the size of a cell at a time."""
    paths: dict[int, str] = {}
    for y, row in enumerate(values):
        levels = [_level(value) for value in row]
        x = 0
        while x < len(levels):
            end = next((i for i in range(x, len(levels)) if levels[i] != levels[x]), len(levels))
            if levels[x]:
                paths[levels[x]] = paths.get(levels[x], "") + f"M{x} {y}h{end - x}v1h-{end - x}z"
            x = end
    return paths
