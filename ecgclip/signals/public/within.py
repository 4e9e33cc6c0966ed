"""Records that are not a file of their own: a path that goes on into a file says which part of it, or how to take it.

``exams_part0.hdf5/1169160`` is an exam of CODE-15 %, ``A0001.mat/ECG`` the structure of that name in a MATLAB file of CPSC 2018, and
``100.dat/MLII=II`` record 100 of MIT-BIH with its channel MLII taken for II.
"""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from ecgclip.errors import UserError
from ecgclip.signals.leads import LEADS
from ecgclip.signals.public.code15 import read_exam
from ecgclip.signals.public.public_set import OLDEST, SEXES
from ecgclip.signals.readers import read_record
from ecgclip.signals.record import Record

CPSC_RATE = 500.0  # Hz; the file does not say.


def read_within(path: str | Path) -> Record:
    """Read a part of a file.

    Args:
        path: Of the file, and of the part below it as if the file were a folder.

    Returns:
        The record in mV.

    Raises:
        UserError: When there is no such part: one line with the file's name.
    """
    path = Path(path)
    file, part = path.parent, path.name
    if file.suffix == ".hdf5":
        return read_exam(file, part)
    if file.suffix == ".mat":
        return _read_structure(file, part)
    channel, equals, lead = part.partition("=")
    if not equals or lead not in LEADS:
        raise UserError(f"{file.name} is a file and {part!r} no part of it: check the path")
    return _taken_for(file, file.stat().st_mtime_ns, channel, lead)


@lru_cache(maxsize=1)
def _taken_for(file: Path, changed: int, channel: str, lead: str) -> Record:
    """Keep the last file: half an hour of MIT-BIH is asked for once for each of its segments."""
    record = read_record(file)
    if channel not in record.lead_names or lead in record.lead_names:
        raise UserError(f"{file.name} has no channel {channel} to take for {lead}: it has {', '.join(record.lead_names)}")
    return replace(record, lead_names=tuple(lead if name == channel else name for name in record.lead_names))


def _read_structure(file: Path, name: str) -> Record:
    from scipy.io import loadmat

    try:
        held = loadmat(file, variable_names=[name])
        structure = held[name][0, 0]
        fields = structure.dtype.names or ()
        signal = np.asarray(structure["data"], np.float32)
        told = {field: structure[field].ravel()[0] for field in ("sex", "age") if field in fields and structure[field].size}
    except Exception as error:  # The parser raises whatever comes up in a damaged file.
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise UserError(f"{file.name} is no file of CPSC 2018 ({reason}): copy it again") from error
    if signal.ndim != 2 or len(signal) != len(LEADS) or signal.shape[1] == 0:
        raise UserError(f"{file.name}: {name}.data has shape {signal.shape}, ({len(LEADS)}, T) is needed: copy it again")
    age = told.get("age")
    years = min(float(age), OLDEST) if age is not None and np.isreal(age) and 0 <= age <= 120 else None
    return Record(signal, CPSC_RATE, LEADS, source="cpsc2018", age=years, sex=SEXES.get(str(told.get("sex", "")).strip().lower(), ""))
