"""One picture per quantity: how real and simulated normal ECGs are distributed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgclip.signals import LEADS

REAL, SIMULATED = "#444444", "#c8102e"
NAMES = {
    "rate": ("Heart rate", "1/min", 1.0),
    "rr_sd": ("Beat to beat: SDNN of RR", "ms", 1000.0),
    "pr": ("PQ interval", "ms", 1000.0),
    "p_time": ("P duration", "ms", 1000.0),
    "qrs": ("QRS duration", "ms", 1000.0),
    "qtc": ("QTc (Fridericia)", "ms", 1000.0),
    "axis": ("Frontal QRS axis", "degrees", 1.0),
    "amplitude_cv": ("Beat to beat: QRS height, standard deviation over mean", "%", 100.0),
}
WAVES = {"r": "R", "s": "S", "t": "T", "p": "P", "q": "Q", "st": "ST 60 ms after J"}


def draw_all(
    real: pd.DataFrame,
    simulated: pd.DataFrame,
    spectra: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
    folder: Path,
) -> list[tuple[str, Path]]:
    """Draw every quantity.

    Args:
        real: Of :func:`ecgclip.benchmark.simulator.realism.features`.
        simulated: The same.
        spectra: Frequencies ``(F,)`` Hz, and power of the real and of the simulated records, ``(N, 12, F)`` dB.
        folder: Where the pictures go; made where it is new.

    Returns:
        Title and file of each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, (title, unit, factor) in NAMES.items():
        panels = [("", factor * real[name].to_numpy(), factor * simulated[name].to_numpy())]
        drawn.append((title, _histograms(f"{title}, {unit}", panels, folder / f"{name}.png")))
    for wave, title in WAVES.items():
        panels = [(lead, real[f"{wave}_{lead}"].to_numpy(), simulated[f"{wave}_{lead}"].to_numpy()) for lead in LEADS]
        drawn.append((f"{title} amplitude", _histograms(f"{title} amplitude, mV", panels, folder / f"{wave}.png")))
    drawn.append(("Power spectrum", _spectrum(*spectra, folder / "spectrum.png")))
    return drawn


def _histograms(title: str, panels: Sequence[tuple[str, NDArray[np.floating], NDArray[np.floating]]], path: Path) -> Path:
    figure, axes = _page(len(panels))
    for axis, (name, real, simulated) in zip(axes, panels, strict=True):
        real, simulated = real[np.isfinite(real)], simulated[np.isfinite(simulated)]
        both = np.concatenate([real, simulated])
        # Half a per cent on either side would squeeze all the others.
        low, high = np.percentile(both, (0.5, 99.5)) if len(both) else (0.0, 1.0)
        bins = np.linspace(low, max(high, low + 1e-6), 41)
        for values, colour, label in ((real, REAL, "PTB-XL"), (simulated, SIMULATED, "simulated")):
            if len(values):
                weights = np.full(len(values), 100 / len(values))
                axis.hist(np.clip(values, low, high), bins, weights=weights, histtype="step", color=colour, linewidth=1.4, label=label)
        axis.set_title(name, fontsize=9, loc="left")
        axis.set_ylabel("% of records" if len(panels) == 1 else "", fontsize=9)
    axes[0].legend(frameon=False, fontsize=8)
    return _save(figure, title, path)


def _spectrum(frequencies: NDArray[np.float64], real: NDArray[np.float64], simulated: NDArray[np.float64], path: Path) -> Path:
    figure, axes = _page(len(LEADS))
    for row, (axis, lead) in enumerate(zip(axes, LEADS, strict=True)):
        for power, colour, label in ((real, REAL, "PTB-XL"), (simulated, SIMULATED, "simulated")):
            low, middle, high = np.percentile(power[:, row], (5, 50, 95), axis=0)
            axis.fill_between(frequencies, low, high, color=colour, alpha=0.15, linewidth=0)
            axis.plot(frequencies, middle, color=colour, linewidth=1.2, label=label)
        axis.set_title(lead, fontsize=9, loc="left")
    axes[0].legend(frameon=False, fontsize=8)
    return _save(figure, "Power spectrum, dB over 1 mV²/Hz against Hz; median and 5 to 95 % of the records", path)


def _page(panels: int) -> tuple[Any, list[Any]]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    columns = min(panels, 4)
    rows = -(-panels // columns)
    figure = Figure(figsize=(6.0, 3.4) if panels == 1 else (3.0 * columns, 2.1 * rows), layout="constrained")
    axes = [axis for line in figure.subplots(rows, columns, squeeze=False) for axis in line]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    return figure, axes


def _save(figure: Any, title: str, path: Path) -> Path:
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=90)
    return path
