"""Twelve ECGs on one sheet, for a quick look: ten seconds of II, and V1 and V5 at full speed."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from unicodedata import east_asian_width

import numpy as np
from numpy.typing import NDArray

from ecgclip.drawing import japanese_font
from ecgclip.labels import Label
from ecgclip.signals.leads import LEADS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.font_manager import FontProperties

COLUMNS, ROWS = 3, 4
PANELS = COLUMNS * ROWS
# Millimetres, as on ECG paper.
_PANEL, _GAP, _MARGIN, _NAME = (128.0, 54.0), 6.0, 6.0, 7.0
_GAIN = 6.0  # mm/mV
_DOTS_PER_MM = 6
_EMS = 34.0  # Japanese characters that fit above a panel.
# Lead, mm/s; its strip's left edge, width and lower edge within the panel; its baseline above that.
_STRIPS = (("II", 12.5, 0.0, 128.0, 27.5, 9.0), ("V1", 25.0, 0.0, 62.5, 0.0, 15.0), ("V5", 25.0, 65.5, 62.5, 0.0, 8.0))
_TALL = 26.5  # mm of a strip.
_COARSE, _INK, _QUIET = "#f0c4ca", "#111111", "#6b6b6b"


def plot_sheet(signals: NDArray[np.float32], sampling_rate: float, labels: Sequence[Label], path: Path) -> Path:
    """Draw up to twelve ECGs of ten seconds side by side.

    Args:
        signals: ``(n, 12, T)``, mV.
        sampling_rate: Hz.
        labels: n, what each shows.
        path: Where to; the folder is there.

    Returns:
        ``path``.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    font = japanese_font()
    width = 2 * _MARGIN + COLUMNS * _PANEL[0] + (COLUMNS - 1) * _GAP
    rows = -(-len(labels) // COLUMNS)
    height = 2 * _MARGIN + rows * (_PANEL[1] + _NAME) + (rows - 1) * _GAP
    figure = Figure(figsize=(width / 25.4, height / 25.4), dpi=25.4 * _DOTS_PER_MM, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    scale = f"II 12.5 mm/s, V1 V5 25 mm/s, {_GAIN:g} mm/mV"
    axes.text(width - _MARGIN, _MARGIN / 3, scale, fontproperties=font, size=8, color=_QUIET, ha="right")
    for place, (signal, label) in enumerate(zip(signals, labels, strict=True)):
        row, column = divmod(place, COLUMNS)
        left = _MARGIN + column * (_PANEL[0] + _GAP)
        top = height - _MARGIN - row * (_PANEL[1] + _NAME + _GAP)
        axes.text(left, top - 4.5, _name(label), fontproperties=font, size=10.5, parse_math=False)
        for strip in _STRIPS:
            _strip(axes, signal, sampling_rate, strip, (left, top - _NAME - _PANEL[1]), font)
    figure.savefig(path)
    return path


def _name(label: Label) -> str:
    """Return a label's names as far as a panel is wide."""
    name = f"{label.ja}  {label.en}  ({label.id})"
    ems = sum(1.0 if east_asian_width(character) in "WF" else 0.5 for character in name)
    return name if ems <= _EMS else f"{label.ja}  ({label.id})"


def _strip(
    axes: "Axes",
    signal: NDArray[np.float32],
    sampling_rate: float,
    strip: tuple[str, float, float, float, float, float],
    corner: tuple[float, float],
    font: "FontProperties",
) -> None:
    """Draw one lead on its piece of paper, cut where it leaves it."""
    from matplotlib.collections import LineCollection
    from matplotlib.patches import Rectangle

    lead, speed, offset, width, low, baseline = strip
    left, low = corner[0] + offset, corner[1] + low
    y, top = low + baseline, low + _TALL
    paper = Rectangle((left, low), width, _TALL, facecolor="none", edgecolor=_COARSE, linewidth=0.6, zorder=1)
    axes.add_patch(paper)
    upright = [((left + x, low), (left + x, top)) for x in np.arange(0.2 * speed, width, 0.2 * speed)]
    step = 0.5 * _GAIN
    level = [((left, at), (left + width, at)) for at in np.arange(y - baseline // step * step, top, step)]
    axes.add_collection(LineCollection(upright + level, colors=_COARSE, linewidths=0.4, zorder=1), autolim=False)
    mv = signal[LEADS.index(lead)]
    x = np.arange(len(mv)) / sampling_rate * speed
    inside = x <= width
    (line,) = axes.plot(left + x[inside], y + (mv[inside] - np.median(mv)) * _GAIN, color=_INK, linewidth=0.7, zorder=3)
    line.set_clip_path(paper)
    axes.text(left + 1, top - 3.5, lead, fontproperties=font, size=8.5, zorder=2)
