"""Files to records: what a file holds says who reads it. Nothing here runs code out of one."""

import importlib
import warnings
from pathlib import Path
from types import ModuleType

from ecgclip.errors import UserError
from ecgclip.signals.formats.plain import is_npy, is_npz, read_npy, read_npz
from ecgclip.signals.formats.wfdb import header_beside, is_wfdb, read_wfdb
from ecgclip.signals.record import Record

_HEAD = 4096  # Bytes from which the kind of a file is told.

# Each is a module of ecgclip.signals.formats with `is_<kind>` and `read_<kind>`, imported when it is first needed. A table may be
# anything that is text, so it comes last.
KINDS = {
    "dicom": "DICOM waveform",
    "aecg": "HL7 aECG",
    "muse": "GE MUSE XML",
    "philips": "Philips XML",
    "mfer": "MFER",
    "scp": "SCP-ECG",
    "edf": "EDF",
    "tabular": "CSV, TSV, Parquet",
}
KNOWN = f"WFDB, NumPy (.npy, .npz), {', '.join(KINDS.values())}"
_WITHOUT_RATE = ("npy", "tabular")
_ENDINGS = {".hea": "wfdb", ".npy": "npy", ".npz": "npz", ".dcm": "dicom", ".mwf": "mfer", ".scp": "scp", ".edf": "edf"}
_ENDINGS |= dict.fromkeys((".csv", ".tsv", ".parquet"), "tabular")


def read_record(path: str | Path, *, sampling_rate: float | None = None, salt: str | None = None) -> Record:
    """Read one ECG.

    Args:
        path: A file of a format in ``KNOWN``, whatever it is called. A WFDB record by its header, a data file beside it, or its bare name.
        sampling_rate: Hz of a ``.npy`` or a table that does not say; not for other formats.
        salt: Of the key of the patient, where the file says who that is; None for no key.

    Returns:
        The record in mV. ``.npy``: ``(12, T)`` or ``(T, 12)`` mV in the order of ``LEADS``. ``.npz``: ``signal`` in mV, ``sampling_rate``
        and, unless the leads are the twelve in order, ``lead_names``.

    Raises:
        UserError: When there is no such file, or it cannot be read: one line with its name.
    """
    path = Path(path)
    if path.parent.is_file():  # A part of a file: an exam of CODE-15 %, a structure of CPSC 2018, a modified lead of MIT-BIH.
        from ecgclip.signals.public.within import read_within

        return read_within(path)
    kind, file = _kind(path)
    if sampling_rate is not None and kind not in _WITHOUT_RATE:
        raise UserError(f"{path.name} says its own sampling rate: leave sampling_rate out")
    try:
        return _read(kind, file, sampling_rate, salt)
    except UserError:
        raise
    except Exception as error:  # The parsers of several libraries raise whatever comes up in a damaged file.
        # Their texts may repeat what the file holds, so only the type is told.
        remedy = "save it again as plain numbers" if kind in ("npy", "npz") else "copy or export it again"
        raise UserError(f"{file.name} cannot be read ({type(error).__name__}): {remedy}") from error


def _kind(path: Path) -> tuple[str, Path]:
    """Return the format, and the file to read: for WFDB the header."""
    ending = path.suffix.lower()
    if (ending in (".dat", ".mat") or not path.is_file()) and (header := header_beside(path)):
        return "wfdb", header
    if path.is_dir():
        raise UserError(f"{path} is a folder: give a file in it")
    if not path.is_file():
        kind = "" if ending in _ENDINGS else " (nor a WFDB record of that name)"
        raise UserError(f"{path} does not exist{kind}: check the path")
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD)
    except OSError as error:
        raise UserError(f"{path.name} cannot be opened ({error.strerror}): check its permissions") from None
    for kind, begins in (("wfdb", is_wfdb), ("npy", is_npy), ("npz", is_npz)):
        if begins(head):
            return kind, path
    for kind in KINDS:
        if getattr(_module(kind), f"is_{kind}")(head):
            return kind, path
    if ending in _ENDINGS:  # A damaged file of a known ending is told what is wrong with it.
        return _ENDINGS[ending], path
    if ending in (".dat", ".mat"):
        raise UserError(f"{path.stem}.hea is not beside {path.name}: a WFDB record needs both, copy it too")
    raise UserError(f"{path.name}: not a file of a known kind: known are {KNOWN}")


def _module(kind: str) -> ModuleType:
    return importlib.import_module(f"ecgclip.signals.formats.{kind}")


def _read(kind: str, file: Path, sampling_rate: float | None, salt: str | None) -> Record:
    if kind == "wfdb":
        return read_wfdb(file, salt)
    if kind == "npz":
        return read_npz(file, salt)
    if kind == "npy":
        return read_npy(file, salt, sampling_rate)
    read = getattr(_module(kind), f"read_{kind}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of a file's oddities; what matters of them is judged on the record.
        record: Record = read(file, salt, sampling_rate=sampling_rate) if kind in _WITHOUT_RATE else read(file, salt)
    return record
