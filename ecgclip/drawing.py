"""What pictures have in common: Japanese letters, and a map of how alike texts are."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from matplotlib.font_manager import FontProperties

MM_PER_NAME = 2.6  # Of a map: a name is still legible.


def japanese_font(size: float | None = None) -> "FontProperties":
    """Return the font that pictures are written in.

    Importing ``matplotlib_fontja`` would change the font of every figure of the process: only its file is wanted.

    Args:
        size: Points; None for matplotlib's own.
    """
    from matplotlib.font_manager import FontProperties

    folder = find_spec("matplotlib_fontja").submodule_search_locations[0]  # type: ignore[union-attr, index]
    return FontProperties(fname=str(Path(folder) / "fonts" / "ipaexg.ttf"), size=size)


def plot_similarity(maps: Mapping[str, ArrayLike], names: Sequence[str], path: Path) -> Path:
    """Draw cosines between labels, one map beside the other.

    Args:
        maps: Title to ``(L, L)`` cosines.
        names: ``L`` names.
        path: Where to, ``.png``; missing folders are made.

    Returns:
        ``path``.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    side = max(60.0, MM_PER_NAME * len(names)) / 25.4
    figure = Figure(figsize=(side * len(maps) + 2.5, side + 2.5), dpi=110, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(maps), squeeze=False)[0]
    small = japanese_font(5)
    for number, (axes, (title, cosines)) in enumerate(zip(panels, maps.items(), strict=True)):
        picture = axes.imshow(np.asarray(cosines), vmin=-1, vmax=1, cmap="RdBu_r", interpolation="nearest")
        axes.set_title(title, fontproperties=japanese_font(12))
        axes.set_xticks(range(len(names)), names, rotation=90, fontproperties=small)
        axes.set_yticks(range(len(names)), names if number == 0 else [], fontproperties=small)
        axes.tick_params(length=0)
    figure.colorbar(picture, ax=panels, shrink=0.5, label="cosine")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path
