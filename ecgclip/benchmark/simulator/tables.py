"""What was measured on the simulator, as sections of a Markdown page."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgclip.benchmark.simulator.realism import AUROC_WANTED, BAND, Verdict, summary
from ecgclip.benchmark.simulator.speed import Memory, Pace
from ecgclip.benchmark.simulator.validity import QUANTILES, WANTED, Row
from ecgclip.report.benchmark import machine
from ecgclip.signals import LEADS

TITLES = {
    "rate": "heart rate", "rr_sd": "SDNN of RR", "pr": "PQ interval", "p_time": "P duration", "qrs": "QRS duration", "qt": "QT interval",
    "qtc": "QTc (Fridericia)", "axis": "QRS axis", "p_axis": "P axis", "amplitude_cv": "QRS height from beat to beat", "q": "Q amplitude",
    "r": "R amplitude", "s": "S amplitude", "t": "T amplitude", "p": "P amplitude", "st": "ST 60 ms after J",
}  # fmt: skip


def markdown(heading: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Lay out a table whose first ``left`` columns are text and the others figures."""
    rule = ["---"] * left + ["---:"] * (len(heading) - left)
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |" for cells in (heading, rule, *rows))


def speed_section(paces: Sequence[Pace], memory: Memory, command: str) -> str:
    """Return the section on speed and memory."""
    rows = [[f"{pace.sampling_rate:g} Hz", str(pace.workers), f"{pace.per_second:,.0f}"] for pace in paces]
    verdict = "flat" if memory.flat else "**not flat**"
    return "\n\n".join(
        [
            f"## Speed\n\n```\n{command}\n```",
            f"Records of 10 s, all layers on, labels as frequent as in a hospital. {machine()}.",
            markdown(["sampling rate", "processes", "records/s"], rows),
            f"Peak memory of a process that makes records a chunk at a time: {memory.few_mb:.0f} MB for {memory.few:,} records, "
            f"{memory.many_mb:.0f} MB for {memory.many:,}: {verdict}.",
        ]
    )


def validity_section(rows: Sequence[Row], records: int, command: str) -> str:
    """Return the section on the criteria of every label."""
    met = sum(row.met for row in rows)
    cells = [
        [row.label, f"{100 * row.share:.0f} %" if row.met else f"**{100 * row.share:.0f} %**", f"`{row.shows}`", _number(row.median),
         f"{_number(row.low)} to {_number(row.high)}", row.source]
        for row in rows
    ]  # fmt: skip
    failing = [
        f"- {row.label}: `{sentence}` fails in {100 * part:.0f} %"
        for row in rows
        if not row.met
        for sentence, part in row.failing
        if part > 1 - WANTED
    ]
    return "\n\n".join(
        part
        for part in [
            f"## Every label against its textbook\n\n```\n{command}\n```",
            f"{records} clean records per label at 500 Hz, measured by `ecgclip/signals/measure.py`, which knows nothing of the simulator, "
            f"and held against `ecgclip/simulation/criteria.yaml`. *met*: part of the records that meet every criterion of the label; "
            f"{met} of {len(rows)} labels reach {100 * WANTED:.0f} %. Seconds, mV, degrees, 1/min; median and 5 to 95 % of the records.",
            markdown(["label", "met", "measured", "median", "5 to 95 %", "source"], cells),
            "What does not hold:\n\n" + "\n".join(failing) if failing else "",
        ]
        if part
    )


def people_section(
    breach: float, simulated: NDArray[np.float64], real: NDArray[np.float64] | None, records: tuple[int, int], command: str
) -> str:
    """Return the section on leads that fit each other and seeds that are people.

    Args:
        breach: Of the limb-lead identities, uV.
        simulated: Correlations of pairs of simulated normal records.
        real: The same of PTB-XL; None without it.
        records: Of each kind, simulated and real.
        command: That made it.
    """
    heading = ["correlation of two median beats", *(f"{q} %" for q in QUANTILES)]
    rows = [
        [title, *(f"{value:.2f}" for value in np.percentile(values, QUANTILES))]
        for title, values in (("two seeds", simulated), ("two patients of PTB-XL", real))
        if values is not None
    ]
    verdict = ""
    if real is not None:
        seeds, patients = float(np.median(simulated)), float(np.median(real))
        verdict = f"Two seeds are {'no more' if seeds <= patients else '**more**'} alike than two patients ({seeds:.2f}, {patients:.2f})."
    return "\n\n".join(
        part
        for part in [
            f"## Leads and people\n\n```\n{command}\n```",
            f"I + III = II and Goldberger's identities hold within {breach:.3f} uV (wanted: 1 uV).",
            f"Normal records ({records[0]} simulated, {records[1]} real), median beats aligned on QRS, all leads together, every pair:",
            markdown(heading, rows),
            verdict,
        ]
        if part
    )


def realism_section(
    distances: pd.DataFrame, spectral: NDArray[np.float64], verdict: Verdict, records: int, pictures: Sequence[tuple[str, Path]],
    page: Path, command: str,
) -> str:  # fmt: skip
    """Return the section on real against simulated normal records.

    Args:
        distances: Of :func:`ecgclip.benchmark.simulator.realism.distances`.
        spectral: ``(12,)`` dB.
        verdict: Of the classifier.
        records: Of either kind.
        pictures: Title and file of each.
        page: That the section stands in; pictures are linked from it.
        command: That made it.
    """
    medians = distances.set_index("feature")
    rows: list[list[str]] = [
        [TITLES[str(row.quantity)], f"{row.ks:.2f}", str(row.worst) or "-", *_medians(medians, str(row.quantity))]
        for row in summary(distances).itertuples(index=False)
    ]
    telling: list[list[str]] = [
        [f"`{row.feature}`", f"{row.drop:+.3f}", f"{row.alone:.2f}", _number(row.real), _number(row.simulated)]
        for row in verdict.telling.head(10).itertuples(index=False)
    ]
    groups = ", ".join(f"{title} {auroc:.2f}" for title, auroc in verdict.groups.items())
    links = "\n\n".join(f"![{title}]({Path(path).relative_to(page.parent).as_posix()})" for title, path in pictures)
    return "\n\n".join(
        [
            f"## Against PTB-XL\n\n```\n{command}\n```",
            f"{records} records of PTB-XL, folds 1-8, whose only statements are normal ECG and sinus rhythm, bradycardia or arrhythmia, "
            "one per patient, against as many simulated with the same rhythms; 100 Hz, noise on. *distance*: Kolmogorov-Smirnov, 0 to 1, "
            "for waves the mean over twelve leads.",
            markdown(["quantity", "distance", "worst lead", "PTB-XL, median", "simulated, median"], rows),
            f"Log-spectral distance of the medians, {BAND[0]:g} to {BAND[1]:g} Hz: mean {spectral.mean():.1f} dB ("
            + ", ".join(f"{lead} {value:.1f}" for lead, value in zip(LEADS, spectral, strict=True))
            + ").",
            "A classifier (gradient boosting, five-fold) that sees rate, intervals and amplitudes only tells simulated from real records "
            f"with an AUROC of **{verdict.auroc:.3f}** (wanted: at most {AUROC_WANTED}; 0.5 is indistinguishable). By one group of "
            f"features alone: {groups}. What it goes by:",
            markdown(["feature", "drop of AUROC", "AUROC alone", "PTB-XL, median", "simulated, median"], telling),
            links,
        ]
    )


def _medians(table: pd.DataFrame, quantity: str) -> list[str]:
    if quantity in table.index:
        return [_number(table.loc[quantity, f"{kind}_50"]) for kind in ("real", "simulated")]
    return ["-", "-"]


def _number(value: object) -> str:
    number = float(value)  # type: ignore[arg-type]
    if math.isnan(number):
        return "-"
    return f"{number:.0f}" if abs(number) >= 100 else f"{number:.1f}" if abs(number) >= 10 else f"{number:.3f}"
