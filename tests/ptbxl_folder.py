"""A small folder in the layout of PTB-XL, without a patient."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import wfdb

_DIAGNOSTIC = (
    "NDT NST_ DIG LNGQT NORM IMI ASMI LVH LAFB ISC_ IRBBB 1AVB IVCD ISCAL CRBBB CLBBB ILMI LAO/LAE AMI ALMI ISCIN INJAS LMI ISCIL LPFB "
    "ISCAS INJAL ISCLA RVH ANEUR RAO/RAE EL WPW ILBBB IPLMI ISCAN IPMI SEHYP INJIN INJLA PMI 3AVB INJIL 2AVB"
)
_OTHER = (
    "ABQRS PVC STD_ VCLVH QWAVE LOWT NT_ PAC LPR INVT LVOLT HVOLT TAB_ STE_ PRC(S) SR AFIB STACH SARRH SBRAD PACE SVARR BIGU AFLT SVTAC "
    "PSVT TRIGU"
)
DIAGNOSTIC, OTHER = _DIAGNOSTIC.split(), _OTHER.split()
HEADER_LEADS = ["I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6"]  # In capitals, as PTB-XL has them.
# Rate per minute, frontal axis in degrees, width of the QRS in s: enough to tell these records apart.
KINDS: tuple[tuple[dict[str, float], str | None, tuple[float, float, float]], ...] = (
    ({"NORM": 100.0, "SR": 0.0}, "MID", (70, 50, 0.012)),
    ({"NORM": 80.0, "STACH": 0.0}, "LAD", (125, -10, 0.012)),
    ({"LAFB": 100.0, "SR": 0.0}, "LAD", (70, -55, 0.014)),
    ({"CRBBB": 100.0, "IMI": 35.0, "SR": 0.0}, "ARAD", (70, 120, 0.035)),
    ({"ASMI": 100.0, "ILMI": 50.0, "SBRAD": 0.0}, "ALAD", (45, -50, 0.012)),
)


def beats(rate: float, axis: float, width: float, *, sampling_rate: float, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Draw P, QRS and T as Gaussians; the frontal leads follow the axis. Returns ``(12, T)`` mV."""
    time = np.arange(round(seconds * sampling_rate)) / sampling_rate
    signal = np.zeros((12, len(time)))
    spread = np.array([*np.cos(np.radians(axis - np.array([0, 60]))), 0, 0, 0, 0, -0.6, -0.2, 0.4, 0.9, 1.1, 0.9])
    for beat in np.arange(rng.uniform(0.1, 0.5), seconds, 60 / rate):
        for shift, height, sigma in ((-0.16, 0.1, 0.02), (0.0, 1.0, width), (0.25, 0.25, 0.05)):
            signal += height * spread[:, None] * np.exp(-(((time - beat - shift) / sigma) ** 2) / 2)
    signal += 0.005 * rng.standard_normal(signal.shape)
    one, two = signal[0], signal[1]
    signal[2:6] = two - one, -(one + two) / 2, one - two / 2, two - one / 2
    return signal


def write_record(folder: Path, name: str, signal: np.ndarray, sampling_rate: int) -> None:
    """Write ``(12, T)`` mV as PTB-XL does: WFDB, format 16, 1 uV per unit."""
    folder.mkdir(parents=True, exist_ok=True)
    wfdb.wrsamp(
        name,
        sampling_rate,
        ["mV"] * 12,
        HEADER_LEADS,
        signal.T,
        fmt=["16"] * 12,
        adc_gain=[1000.0] * 12,
        baseline=[0] * 12,
        write_dir=str(folder),
    )


def make_ptbxl(folder: Path, records: int = 30, folds: Sequence[int] = (1, 2, 9, 10), sampling_rate: int = 100, seed: int = 0) -> Path:
    """Make a folder with both tables and ``records`` ECGs of 10 s.

    Args:
        folder: Where; made if it is not there.
        records: How many. Each fold gets every kind of record in turn.
        folds: The folds that they are spread over. Two records in a row of a fold are one patient's.
        sampling_rate: 100 (``records100``) or 500 (``records500``).
        seed: Of the signals.

    Returns:
        ``folder``.
    """
    rng = np.random.default_rng(seed)
    where, ending = ("records500", "hr") if sampling_rate == 500 else ("records100", "lr")
    rows: list[dict[str, Any]] = []
    for i in range(records):
        turn, fold = i // len(folds), folds[i % len(folds)]
        codes, axis, shape = KINDS[turn % len(KINDS)]
        number = f"{i + 1:05d}"
        signal = beats(*shape, sampling_rate=sampling_rate, seconds=10, rng=rng)
        write_record(folder / where / "00000", f"{number}_{ending}", signal, sampling_rate)
        infarct = "ASMI" in codes
        rows.append(
            {
                "ecg_id": i + 1,
                "patient_id": float(1000 * fold + turn // 2),
                "report": "trace only requested.",
                "scp_codes": str(codes),
                "heart_axis": axis,
                "infarction_stadium1": "Stadium I" if infarct else None,
                "infarction_stadium2": "Stadium III" if infarct else None,
                "strat_fold": fold,
                "filename_lr": f"records100/00000/{number}_lr",
                "filename_hr": f"records500/00000/{number}_hr",
            }
        )
    pd.DataFrame(rows).to_csv(folder / "ptbxl_database.csv", index=False)
    statements = pd.DataFrame({"diagnostic": [1.0] * len(DIAGNOSTIC) + [np.nan] * len(OTHER)}, index=DIAGNOSTIC + OTHER)
    statements.to_csv(folder / "scp_statements.csv")
    return folder
