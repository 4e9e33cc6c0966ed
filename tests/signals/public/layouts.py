"""Small folders in the layouts of the public sets, byte for byte as they are published, without a patient."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import scipy.io
import wfdb

from ecgclip.signals.leads import LEADS
from tests.ptbxl_folder import beats

MIMIC_LEADS = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")
LUDB_LEADS = tuple(lead.lower() for lead in LEADS)
CODE15_COLUMNS = (
    *("exam_id", "age", "is_male", "nn_predicted_age", "1dAVb", "RBBB", "LBBB", "SB", "ST", "AF"),
    *("patient_id", "death", "timey", "normal_ecg", "trace_file"),
)


def ecg(seed: int = 0, sampling_rate: int = 500, seconds: float = 10.0) -> np.ndarray:
    """Draw ``(12, T)`` mV in the order of ``LEADS``; fifty seeds in a row have each a rate of their own."""
    rng = np.random.default_rng(seed)
    return beats(50 + 13 * seed % 50, 50, 0.012, sampling_rate=sampling_rate, seconds=seconds, rng=rng)


def write_cinc(folder: Path, record: str, signal: np.ndarray, comments: Sequence[str], gain: str = "1000.0(0)/mV") -> None:
    """Write a header and a MATLAB v4 file with one matrix ``val``, 24 bytes of header before the samples."""
    folder.mkdir(parents=True, exist_ok=True)
    digital = np.round(signal * 1000).astype("<i2")
    head = np.array([30, *digital.shape, 0, 4], "<i4").tobytes() + b"val\0"
    (folder / f"{record}.mat").write_bytes(head + digital.T.tobytes())
    lines = [f"{record} 12 500 {digital.shape[1]}"]
    for lead, row in zip(LEADS, digital, strict=True):
        lines.append(f"{record}.mat 16x1+24 {gain} 16 0 {row[0]} {row.sum(dtype=np.int16)} 0 {lead}")
    (folder / f"{record}.hea").write_text("\n".join([*lines, *comments]) + "\n")


def write_cpsc(folder: Path, labels: Mapping[str, Sequence[int]], *signals: np.ndarray) -> None:
    """Write CPSC 2018's own layout: a structure ``ECG`` for each record, and the table of up to three classes.

    One signal serves all records, or each has its own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for record, signal in zip(labels, signals if len(signals) > 1 else signals * len(labels), strict=True):
        held = {"ECG": {"sex": "Male", "age": np.array([[57]]), "data": signal}}
        scipy.io.savemat(folder / f"{record}.mat", held, format="5")
    with (folder / "REFERENCE.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Recording", "First_label", "Second_label", "Third_label"])
        writer.writerows([record, *numbers, *[""] * (3 - len(numbers))] for record, numbers in labels.items())


def write_wfdb(folder: Path, record: str, signal: np.ndarray, names: Sequence[str], sampling_rate: int, comments: Sequence[str]) -> None:
    """Write format 16 by hand, 200 units a millivolt as MIMIC-IV-ECG has them, its rows in the order of ``names``."""
    folder.mkdir(parents=True, exist_ok=True)
    digital = np.round(signal * 200).astype("<i2")
    (folder / f"{record}.dat").write_bytes(digital.T.tobytes())
    lines = [f"{record} {len(names)} {sampling_rate} {digital.shape[1]}"]
    for name, row in zip(names, digital, strict=True):
        lines.append(f"{record}.dat 16 200.0(0)/mV 16 0 {row[0]} {row.sum(dtype=np.int16)} 0 {name}")
    (folder / f"{record}.hea").write_text("\n".join([*lines, *comments]) + "\n")


def write_mimic(folder: Path, studies: Mapping[tuple[str, str], Sequence[str]], signal: np.ndarray) -> None:
    """Write both tables and the files of ``(subject, study)``; study numbers that begin with 9 get no file."""
    order = [LEADS.index(lead) for lead in MIMIC_LEADS]
    records, measured = [], []
    for subject, study in studies:
        path = f"files/p{subject[:4]}/p{subject}/s{study}/{study}"
        records.append([subject, study, study, "2180-07-23 08:44:00", path])
        said = [*studies[subject, study], *[""] * (18 - len(studies[subject, study]))]
        measured.append([subject, study, "6848296", "2180-07-23 08:44:00", *said, "0.005-150 Hz", "60 Hz notch", "659"])
        if not study.startswith("9"):
            write_wfdb((folder / path).parent, study, signal[order], MIMIC_LEADS, 500, [f"#<subject_id>: {subject}"])
    reports = [f"report_{i}" for i in range(18)]
    _write(folder / "record_list.csv", ["subject_id", "study_id", "file_name", "ecg_time", "path"], records)
    columns = ["subject_id", "study_id", "cart_id", "ecg_time", *reports, "bandwidth", "filtering", "rr_interval"]
    _write(folder / "machine_measurements.csv", columns, measured)


def write_code15(folder: Path, exams: Mapping[int, Mapping[str, object]], signal: np.ndarray, part: str = "exams_part0.hdf5") -> None:
    """Write a table and one part: all exams hold ``signal (12, T)`` mV at 400 Hz, with zeros on both sides up to 4096 samples."""
    folder.mkdir(parents=True, exist_ok=True)
    padding = (4096 - signal.shape[1]) // 2
    tracing = np.zeros((4096, 12), np.float32)
    tracing[padding : padding + signal.shape[1]] = signal.T
    with h5py.File(folder / part, "w") as file:
        # As in the published parts, the last row is no exam, and the rows are not in the order of the table.
        ids = [*reversed(exams), 0]
        file["exam_id"] = np.array(ids, np.int64)
        file["tracings"] = np.stack([tracing * (1 + 0.001 * (number % 7)) for number in ids])
    usual: dict[str, object] = dict.fromkeys(CODE15_COLUMNS, False) | {
        "age": 50,
        "is_male": True,
        "nn_predicted_age": 51.5,
        "timey": 2.1,
        "trace_file": part,
    }
    rows = [list((usual | {"exam_id": exam, "patient_id": exam + 10**6} | dict(values)).values()) for exam, values in exams.items()]
    _write(folder / "exams.csv", list(CODE15_COLUMNS), rows)


def write_mitbih(
    folder: Path,
    record: str,
    marks: Sequence[tuple[float, str, str]],
    *,
    channels: Sequence[str] = ("MLII", "V5"),
    seconds: float = 60.0,
    comment: str = "69 M 1085 1629 x1",
) -> np.ndarray:
    """Write format 212 at 360 Hz and the annotations ``(s, symbol, note)``; returns the two rows in mV."""
    folder.mkdir(parents=True, exist_ok=True)
    signal = ecg(1, 360, seconds)[[1, 10]]
    wfdb.wrsamp(
        record,
        360,
        ["mV", "mV"],
        list(channels),
        signal.T,
        fmt=["212", "212"],
        adc_gain=[200.0, 200.0],
        baseline=[1024, 1024],
        comments=[comment, "Aldomet, Inderal"],
        write_dir=str(folder),
    )
    times, symbols, notes = zip(*sorted(marks), strict=True)
    samples = np.round(np.array(times) * 360).astype(int)
    wfdb.wrann(record, "atr", samples, list(symbols), aux_note=list(notes), write_dir=str(folder))
    return signal


def write_ludb(folder: Path, records: Mapping[int, Sequence[str]], signal: np.ndarray, *, in_headers: bool = True) -> None:
    """Write ``data/`` and ``ludb.csv``, with line ends in its cells as in the published one."""
    for record, statements in records.items():
        said = [f"#{statement}." for statement in statements]
        comments = ["#<age>: >89", "#<sex>: F", "#<diagnoses>:", *said] if in_headers else []
        write_wfdb(folder / "data", str(record), signal, LUDB_LEADS, 500, comments)
    columns = ["ID", "Sex", "Age", "Rhythms", "Electric axis of the heart", "Non-specific repolarization abnormalities", "Other states"]
    rows = []
    for record, statements in records.items():
        cells = {"ID": str(record), "Sex": "F\n", "Age": ">89\n"} | dict.fromkeys(columns[3:], "")
        for statement in statements:
            kind, _, what = statement.partition(": ")
            column, text = {
                "Rhythm": ("Rhythms", what),
                "Electric axis of the heart": ("Electric axis of the heart", statement),
                "Non-specific repolarization abnormalities": ("Non-specific repolarization abnormalities", what),
            }.get(kind, ("Other states", statement))
            cells[column] += f"{text}\n"
        rows.append([cells[column] for column in columns])
    _write(folder / "ludb.csv", columns, rows)


def _write(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
