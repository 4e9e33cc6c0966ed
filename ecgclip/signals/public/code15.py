"""CODE-15 %: 345,779 exams of the Telehealth Network of Minas Gerais (Ribeiro et al. 2021, doi:10.5281/zenodo.4916206).

``exams.csv`` has a row for each exam; ``exams_part0.hdf5`` to ``exams_part17.hdf5`` hold ``exam_id (N,)`` and ``tracings (N, 4096, 12)``
at 400 Hz, zeros on both sides of what is shorter.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from ecgclip.errors import UserError
from ecgclip.signals.leads import LEADS
from ecgclip.signals.public.findings import Finding, label_states, open_note
from ecgclip.signals.public.public_set import OLDEST, PublicSet, folder_of, public_item, public_set
from ecgclip.signals.record import Item, Record

TABLE = "exams.csv"
RATE = 400.0  # Hz
PADDING = (648, 48)  # Samples on each side of exams of 7 s and of 10 s, as published.
NEAR = 8  # Samples at rest next to the padding that are taken for it.
DOWNLOAD = "download exams.csv and the parts from https://zenodo.org/records/4916206 into one folder"
COLUMNS = {
    "1dAVb": Finding(("1AVB",), unknown=("LPR",)),
    "RBBB": Finding(unknown=("CRBBB", "IRBBB")),
    "LBBB": Finding(unknown=("CLBBB", "ILBBB")),
    "SB": Finding(("SBRAD",)),
    "ST": Finding(("STACH",)),
    "AF": Finding(("AFIB",)),
    "normal_ecg": Finding(("NORM",)),
}
ANNOTATED = ("NORM", "1AVB", "AFIB", "STACH", "SBRAD")
# The authors' texts: "at the scale 1e-4V", and "in V it should be multiplied by 1000", which is mV. In tenths of a millivolt a QRS would be
# about a tenth of what it is in other sets. The PhysioNet/CinC Challenge 2025 converts the values as mV too.
UNIT = "what is published on the unit of the tracings contradicts itself: read as mV, do not trust amplitudes to a factor of 2"
SHORT = "some exams are of 7 s: with longer records they are rejected, --data.seconds=7 takes them all"


def read_code15(root: str | Path) -> PublicSet:
    """Read the table of CODE-15 %, the exams whose part is on disk.

    Args:
        root: Folder with ``exams.csv`` and parts.

    Returns:
        The set; the path of an exam goes on into its part, see :mod:`ecgclip.signals.public.within`.

    Raises:
        UserError: When the folder is not CODE-15 %.
    """
    folder = folder_of(root, DOWNLOAD)
    table = _read_table(folder)
    parts = {part: folder / part for part in sorted(set(table["trace_file"])) if Path(part).name == part and (folder / part).is_file()}
    here = table[table["trace_file"].isin(parts)]
    notes = []
    absent = sorted(set(table["trace_file"]) - parts.keys())
    if absent:
        notes.append(f"{len(absent)} of {len(absent) + len(parts)} parts are not in {folder}, first {absent[0]}: left out")
    broad = {column: int(here[column].sum()) for column in ("RBBB", "LBBB") if here[column].any()}
    notes += [*open_note(broad, "columns"), UNIT, SHORT]
    states = {}
    items: list[Item] = []
    flags = here[list(COLUMNS)].to_numpy()
    for row, said in zip(here.itertuples(index=False), map(tuple, flags), strict=True):
        if said not in states:
            findings = [finding for finding, is_set in zip(COLUMNS.values(), said, strict=True) if is_set]
            states[said] = label_states(findings, ANNOTATED)
        exam = str(row.exam_id)
        known = {"age": min(float(str(row.age)), OLDEST), "sex": "M" if row.is_male else "F"}
        items.append(public_item("code15", exam, parts[str(row.trace_file)] / exam, states[said], patient=str(row.patient_id), about=known))
    return public_set(folder, items, ANNOTATED, notes, remedy=DOWNLOAD)


def read_exam(file: Path, exam: str) -> Record:
    """Read one exam out of a part.

    Args:
        file: Such as ``exams_part0.hdf5``.
        exam: Its ``exam_id``.

    Returns:
        The record ``(12, T)`` in mV without the zeros on its sides.

    Raises:
        UserError: When the part cannot be read or does not hold it.
    """
    import h5py

    try:
        rows = _rows(file, file.stat().st_mtime_ns)
        if exam not in rows:
            raise UserError(f"{file.name} holds no exam {exam}: download it again, with exams.csv")
        with h5py.File(file, "r") as part:
            tracing = np.asarray(part["tracings"][rows[exam]], np.float32)
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"{file.name} is no part of CODE-15 % ({type(error).__name__}): {DOWNLOAD}") from error
    if tracing.ndim != 2 or tracing.shape[1] != len(LEADS):
        raise UserError(f"{file.name}: its tracings have shape {tracing.shape}, (4096, {len(LEADS)}) is needed: {DOWNLOAD}")
    padding = _padding(tracing)
    return Record(np.ascontiguousarray(tracing[padding : len(tracing) - padding].T), RATE, LEADS, source="code15")


def _padding(tracing: np.ndarray) -> int:
    """Return how many samples on each side are no signal: the same number on both."""
    alive = np.flatnonzero(tracing.any(axis=1))
    if not len(alive):
        return 0
    still = min(int(alive[0]), len(tracing) - 1 - int(alive[-1]))
    return next((padding for padding in PADDING if padding <= still < padding + NEAR), still)


@lru_cache(maxsize=32)
def _rows(file: Path, changed: int) -> dict[str, int]:
    import h5py

    with h5py.File(file, "r") as part:
        return {str(exam): row for row, exam in enumerate(part["exam_id"][:].tolist())}


def _read_table(folder: Path) -> pd.DataFrame:
    path = folder / TABLE
    if not path.is_file():
        raise UserError(f"{folder} holds no {TABLE}: {DOWNLOAD}")
    columns = ["exam_id", "age", "is_male", "patient_id", "trace_file", *COLUMNS]
    try:
        table = pd.read_csv(path, dtype={"exam_id": str, "patient_id": str, "trace_file": str})
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read ({type(error).__name__}): {DOWNLOAD}") from error
    if lacking := [column for column in columns if column not in table]:
        raise UserError(f"{path} has no column {lacking[0]}: {DOWNLOAD}")
    table = table[columns]
    truth = [*COLUMNS, "is_male"]
    if strange := [column for column in truth if not set(table[column].astype(str)) <= {"True", "False", "0", "1"}]:
        raise UserError(f"{path}: {strange[0]} is not True or False throughout: {DOWNLOAD}")
    return table.assign(**{column: table[column].astype(str).isin(["True", "1"]) for column in truth})
