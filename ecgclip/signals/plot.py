"""One ECG as a page of paper: 3 x 4 leads and a rhythm strip, true to scale on A4."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ecgclip.drawing import japanese_font
from ecgclip.errors import UserError
from ecgclip.signals.leads import LEADS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Everything is laid out in millimetres of an A4 page, so that a printed page can be measured with calipers.
_PAGE = (297.0, 210.0)
_DOTS_PER_MM = 6  # A whole number: every grid line falls on a pixel.
_SPEED = 25.0  # mm/s
_GAINS = (10.0, 5.0, 2.5)  # mm/mV: the next one is taken where a trace would run into its neighbour.
# The grid: 12 mm for calibration, 250 mm for ten seconds, 3 mm to spare.
_LEFT, _WIDTH, _TOP = 16.0, 265.0, 192.0
_HEIGHT, _HEIGHT_ALONE = 150.0, 180.0  # With findings below it, and without.
_NOTE = 9.0  # What the grid gives up for a note.
_FIRST = _LEFT + 12.0
_COLUMN = 2.5  # s
_ROWS = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"))
_RHYTHM, _STRIP = "II", 4 * _COLUMN
_NAME = (9.0, 3.5)  # mm that a lead's name takes, wide and tall

_FINE, _COARSE, _INK, _QUIET, _BAR = "#f8d7da", "#eba9b1", "#111111", "#6b6b6b", "#3b6ea8"
_MAX_FINDINGS = 10
_FORMATS = (".png", ".pdf", ".svg")


def plot_ecg(
    signal: np.ndarray,
    sampling_rate: float,
    *,
    title: str = "",
    note: str = "",
    findings: Sequence[tuple[str, float]] = (),
    path: Path,
    lead_mask: Sequence[bool] | np.ndarray | None = None,
) -> Path:
    """Draw an ECG the way it is printed: 25 mm/s and 10 mm/mV on a pink grid.

    Three rows of four leads, 2.5 s each and one after the other in time, above ten seconds of lead II. Each lead lies with its median
    on its row. Where traces would meet, the rows move, and if that is not enough the gain goes down to 5 or 2.5 mm/mV; the page says
    which. A record of less than ten seconds shows its last 2.5 s in the columns it does not reach; of a longer one, the first ten
    seconds are drawn.

    Args:
        signal: ``(12, T)``, mV, leads in the order of :data:`ecgclip.signals.leads.LEADS`. NaN leaves a gap.
        sampling_rate: Hz.
        title: Above the grid, two lines at most.
        note: Below the grid, two lines at most.
        findings: Labels and their scores, best first; the first ten are listed below the grid.
        path: Where to; ``.png``, ``.pdf`` or ``.svg``. Missing folders are made.
        lead_mask: ``(12,)`` bool, false for a missing lead: its place says so.

    Returns:
        ``path``.

    Raises:
        UserError: For a signal of another shape, an impossible sampling rate or another kind of file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    path = Path(path)
    signal = np.asarray(signal, dtype=np.float64)
    signal = np.where(np.isfinite(signal), signal, np.nan)
    _check(signal, sampling_rate, path)
    missing = np.isnan(signal).all(1)
    if lead_mask is not None:
        missing |= ~np.asarray(lead_mask, dtype=bool)

    figure = Figure(figsize=(_PAGE[0] / 25.4, _PAGE[1] / 25.4), dpi=25.4 * _DOTS_PER_MM, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, _PAGE[0]), ylim=(0, _PAGE[1]))
    axes.set_axis_off()
    page = _Page(axes, bottom=_TOP - (_HEIGHT if findings else _HEIGHT_ALONE) + (_NOTE if note else 0.0))
    page.grid()
    gain = page.ecg(_traces(signal, sampling_rate, missing))
    page.title(title)
    page.scale(signal.shape[1], sampling_rate, gain)
    page.note(note)
    page.findings(findings[:_MAX_FINDINGS], page.bottom - 8.0 - (_NOTE if note else 0.0))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


def _check(signal: np.ndarray, sampling_rate: float, path: Path) -> None:
    if signal.ndim != 2 or len(signal) != len(LEADS) or signal.shape[1] < 2:
        raise UserError(f"ECG page {path.name}: the signal has shape {signal.shape}, not (12, samples): give twelve leads in their order")
    if not 0 < sampling_rate < math.inf:
        raise UserError(f"ECG page {path.name}: a sampling rate of {sampling_rate!r} Hz is impossible: check the record's")
    if path.suffix.lower() not in _FORMATS:
        raise UserError(f"ECG page {path.name}: cannot draw this kind of file: name it {', '.join(_FORMATS)}")


@dataclass(frozen=True)
class _Trace:
    """One lead's piece on the page.

    Attributes:
        lead: Its name.
        row: From the top, 0 to 3.
        start, width: Where it lies, mm from the first second's place.
        x: ``(n,)``, mm from the same place.
        mv: ``(n,)``, mV above its row; empty for a missing lead.
    """

    lead: str
    row: int
    start: float
    width: float
    x: np.ndarray
    mv: np.ndarray

    def name_height(self, gain: float) -> float:
        """Return how far above its row the trace's name has room, mm."""
        beginning = self.mv[self.x < self.start + _NAME[0]]
        return max(2.0, float(np.nanmax(beginning, initial=0.0)) * gain + 1.0)


def _traces(signal: np.ndarray, sampling_rate: float, missing: np.ndarray) -> list[_Trace]:
    """Cut the pieces of the page out of a record."""
    seconds = signal.shape[1] / sampling_rate
    places = [(lead, row, column) for row, leads in enumerate(_ROWS) for column, lead in enumerate(leads)]
    traces = []
    for lead, row, column in [*places, (_RHYTHM, len(_ROWS), 0)]:
        length = _COLUMN if row < len(_ROWS) else _STRIP
        begin = min(_COLUMN * column, max(0.0, seconds - length))
        # One sample more than the piece has, so that the line reaches its end.
        cut = slice(round(begin * sampling_rate), round((begin + length) * sampling_rate) + 1)
        mv = np.empty(0) if missing[LEADS.index(lead)] else signal[LEADS.index(lead)]
        if np.isfinite(mv).any():
            mv = mv[cut] - np.nanmedian(mv)
        x = (_COLUMN * column + np.arange(len(mv)) / sampling_rate) * _SPEED
        traces.append(_Trace(lead, row, _COLUMN * column * _SPEED, length * _SPEED, x, mv))
    return traces


def _reach(traces: Sequence[_Trace], gain: float) -> tuple[np.ndarray, np.ndarray]:
    """Return how far each row goes up and down along the page, both ``(4, 250)`` mm, a column per mm."""
    up = np.zeros((len(_ROWS) + 1, round(_STRIP * _SPEED)))
    down = up.copy()
    for trace in traces:
        there = np.isfinite(trace.mv)
        column = np.minimum(trace.x[there].astype(int), up.shape[1] - 1)
        np.maximum.at(up[trace.row], column, trace.mv[there] * gain)
        np.maximum.at(down[trace.row], column, -trace.mv[there] * gain)
        name = slice(int(trace.start), int(trace.start + _NAME[0]))
        up[trace.row, name] = np.maximum(up[trace.row, name], trace.name_height(gain) + _NAME[1])
    return up, down


def _layout(traces: Sequence[_Trace], height: float) -> tuple[float, np.ndarray]:
    """Choose the gain and the rows' places so that no trace meets another.

    The leads of a column are simultaneous, so what counts is how near they come at one time, not how tall they are.

    Returns:
        mm/mV, and the four rows' distances from the top of the grid, mm.
    """
    rows = len(_ROWS) + 1
    even = np.array([0.5, *[1.0] * (rows - 1), 0.5]) * height / rows
    for gain in _GAINS:
        up, down = _reach(traces, gain)
        up, down = (sliding_window_view(np.pad(side, ((0, 0), (2, 2))), 5, axis=1).max(2) for side in (up, down))
        between = (down[:-1] + up[1:]).max(1)
        needs = np.array([up[0].max(), *between, down[-1].max()]) + 1.0
        if needs.sum() <= height:
            # Rows that need more than their even share take it from those that need less.
            slack = np.maximum(even - needs, 0.0)
            return gain, np.cumsum(needs + slack * (height - needs.sum()) / max(slack.sum(), 1e-9))[:-1]
    return _GAINS[-1], np.cumsum(even)[:-1]


class _Page:
    """A sheet of ECG paper; all lengths in mm from its lower left corner."""

    def __init__(self, axes: "Axes", bottom: float) -> None:
        self.font = japanese_font()
        self.axes, self.bottom = axes, bottom

    def text(self, x: float, y: float, text: str, size: float, **style: Any) -> Any:
        """Write at a place, in points of ``size``, in the Japanese font; ``$`` is a dollar."""
        style = dict[str, Any](color=_INK, va="baseline", parse_math=False) | style
        return self.axes.text(x, y, text, fontproperties=self.font, size=size, **style)

    def fitted(self, text: str, size: float, width: float, lines: int = 1) -> str:
        """Break a text into lines of at most ``width``; what does not fit ends in an ellipsis."""
        probe = self.text(0, 0, "", size)
        renderer = self.axes.figure.canvas.get_renderer()  # type: ignore[attr-defined]

        def wide(piece: str) -> bool:
            probe.set_text(piece)
            return bool(probe.get_window_extent(renderer).width > width * _DOTS_PER_MM)

        out = [""]
        for character in " ".join(text.split()):
            if wide(out[-1] + character):
                if len(out) == lines:
                    while out[-1] and wide(out[-1] + "…"):
                        out[-1] = out[-1][:-1]
                    out[-1] += "…"
                    break
                out.append("")
            out[-1] += character
        probe.remove()
        return "\n".join(out)

    def lines(self, segments: Sequence[Any], color: str, width: float, **style: Any) -> None:
        """Draw straight lines, each a sequence of points."""
        from matplotlib.collections import LineCollection

        self.axes.add_collection(LineCollection(segments, colors=color, linewidths=width, **style), autolim=False)

    def grid(self) -> None:
        """Draw the millimetre paper."""
        height = _TOP - self.bottom
        for step, color, width in ((1.0, _FINE, 0.4), (5.0, _COARSE, 0.6)):
            upright = [((_LEFT + x, self.bottom), (_LEFT + x, _TOP)) for x in np.arange(0, _WIDTH + step / 2, step)]
            level = [((_LEFT, self.bottom + y), (_LEFT + _WIDTH, self.bottom + y)) for y in np.arange(0, height + step / 2, step)]
            self.lines(upright + level, color, width, zorder=1)

    def ecg(self, traces: Sequence[_Trace]) -> float:
        """Draw calibration pulses, traces and their names, and return the gain in mm/mV."""
        from matplotlib.patches import Rectangle

        gain, below = _layout(traces, _TOP - self.bottom)
        pulse = np.array(((1.0, 0), (3, 0), (3, gain), (8, gain), (8, 0), (10, 0)))
        self.lines([pulse + np.array((_LEFT, _TOP - y)) for y in below], _INK, 0.8, zorder=3)
        ground = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.8}
        paper = Rectangle((_LEFT, self.bottom), _WIDTH, _TOP - self.bottom, transform=self.axes.transData)
        for trace in traces:
            y, x = _TOP - below[trace.row], _FIRST + trace.start
            (line,) = self.axes.plot(_FIRST + trace.x, y + trace.mv * gain, color=_INK, linewidth=0.8, solid_joinstyle="round", zorder=3)
            line.set_clip_path(paper)
            name = min(y + trace.name_height(gain), _TOP - _NAME[1])
            self.text(x + 1.0, name, trace.lead, 9.5, zorder=2, bbox=ground)
            if trace.start:
                self.lines([((x, y - 3), (x, y - 1.2)), ((x, y + 1.2), (x, y + 3))], _INK, 0.8, zorder=3)
            if not len(trace.mv):
                self.text(x + trace.width / 2, y, "記録なし", 9, color=_QUIET, ha="center", va="center", zorder=4)
        return gain

    def title(self, title: str) -> None:
        """Write the title above the grid."""
        self.text(_LEFT, (_TOP + _PAGE[1]) / 2, self.fitted(title, 12, _WIDTH, lines=2), 12, va="center", linespacing=1.3)

    def scale(self, samples: int, sampling_rate: float, gain: float) -> None:
        """Write speed, gain and length below the grid."""
        seconds = samples / sampling_rate
        shown = f"（初めの{_STRIP:g}秒を表示）" if seconds > _STRIP + 1 / sampling_rate else ""
        reduced = "（感度を下げて表示）" if gain < _GAINS[0] else ""
        scale = f"{_SPEED:g} mm/s    {gain:g} mm/mV{reduced}    {sampling_rate:g} Hz    {seconds:.1f} 秒{shown}"
        self.text(_LEFT, self.bottom - 5.0, scale, 8.5, color=_QUIET)

    def note(self, note: str) -> None:
        """Write a note below that."""
        self.text(_LEFT, self.bottom - 7.5, self.fitted(note, 9, _WIDTH, lines=2), 9, va="top", linespacing=1.2)

    def findings(self, findings: Sequence[tuple[str, float]], top: float) -> None:
        """List labels and scores from ``top`` down, in two columns of five, a bar to each score."""
        from matplotlib.patches import Rectangle

        if not findings:
            return
        half = _MAX_FINDINGS // 2
        columns, rows = math.ceil(len(findings) / half), min(half, len(findings))
        width, step = _WIDTH / 2, 5.3
        frame = Rectangle((_LEFT, top), columns * width, -(rows * step + 2.2), facecolor="none", edgecolor=_QUIET, linewidth=0.6)
        self.axes.add_patch(frame)
        scale = 30.0 / max([1.0, *(score for _, score in findings if math.isfinite(score))])
        for place, (label, score) in enumerate(findings):
            x = _LEFT + 3.0 + width * (place // half)
            y = top - 4.9 - step * (place % half)
            self.text(x + 3.5, y, f"{place + 1}", 8.5, color=_QUIET, ha="right")
            self.text(x + 6.0, y, self.fitted(label, 10.5, 72.0), 10.5)
            if math.isfinite(score):
                self.axes.add_patch(Rectangle((x + 80.0, y - 0.2), 30.0, 2.8, facecolor="#eef1f5", linewidth=0))
                self.axes.add_patch(Rectangle((x + 80.0, y - 0.2), max(score, 0.0) * scale, 2.8, facecolor=_BAR, linewidth=0))
                self.text(x + 124.0, y, f"{score:.2f}", 10, ha="right")
