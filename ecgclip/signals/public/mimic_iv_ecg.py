"""MIMIC-IV-ECG 1.0: 800,035 ECGs of Beth Israel Deaconess Medical Center (Gow et al. 2023, doi:10.13026/4nqg-sb35).

``record_list.csv`` names the files, ``machine_measurements.csv`` holds what the electrocardiograph wrote, ``report_0`` to ``report_17``.
"""

from collections import Counter
from pathlib import Path

import pandas as pd

from ecgclip.errors import UserError
from ecgclip.signals.public.findings import Finding, catalogue, label_states, unmapped_note
from ecgclip.signals.public.phrases import read_statement
from ecgclip.signals.public.public_set import PublicSet, folder_of, public_item, public_set

RECORDS, STATEMENTS = "record_list.csv", "machine_measurements.csv"
REPORTS = tuple(f"report_{i}" for i in range(18))
DOWNLOAD = "download MIMIC-IV-ECG from https://physionet.org/content/mimic-iv-ecg/ and give the folder with record_list.csv"
MACHINE = "all labels are the electrocardiograph's own reading, which no doctor confirmed"
ABOUT = {"reader": "machine"}  # Dates are shifted for privacy, so that the year says nothing.


def read_mimic_iv_ecg(root: str | Path) -> PublicSet:
    """Read the tables of MIMIC-IV-ECG, and the ECGs whose files are on disk.

    Args:
        root: The folder with ``record_list.csv``, ``machine_measurements.csv`` and ``files/``.

    Returns:
        The set. It speaks of the labels that some ECG of its table has: a program that never says a thing does not look for it.

    Raises:
        UserError: When a table is missing or damaged, or no ECG is on disk.
    """
    folder = folder_of(root, DOWNLOAD)
    records = _read(folder / RECORDS, ["subject_id", "study_id", "path"]).set_index("study_id", drop=False)
    said = _read(folder / STATEMENTS, ["study_id", *REPORTS]).set_index("study_id")
    # A list of statements for each study, each read once however often it stands there.
    findings: dict[str, list[Finding]] = {}
    unread: Counter[str] = Counter()
    annotated: set[str] = set()
    for study, texts in zip(said.index, said[list(REPORTS)].itertuples(index=False, name=None), strict=True):
        known = []
        for text in texts:
            if not text:
                continue
            finding = read_statement(text)
            if finding is None:
                unread[text.strip().rstrip(".")] += 1
            else:
                known.append(finding)
                annotated.update(finding.positive)
        findings[study] = known
    labels = [label for label in catalogue().ids if label in catalogue().implied(annotated)]
    items = []
    without_file = without_reading = 0
    for subject, study, name in records[["subject_id", "study_id", "path"]].itertuples(index=False, name=None):
        header = folder / f"{name}.hea"
        if not _inside(name) or not header.is_file():
            without_file += 1
        elif not findings.get(study):
            without_reading += 1
        else:
            states = label_states(findings[study], labels)
            items.append(public_item("mimic_iv_ecg", study, header, states, patient=subject, about=ABOUT))
    notes = [MACHINE]
    if without_file:
        notes.append(f"{without_file} of {len(records)} ECGs are not in {folder}: left out")
    if without_reading:
        notes.append(f"{without_reading} ECGs have no statement that is understood: left out")
    notes += unmapped_note(unread, "statements")
    return public_set(folder, items, labels, notes, remedy=DOWNLOAD)


def _inside(name: str) -> bool:
    parts = Path(name).parts
    return bool(parts) and not Path(name).is_absolute() and ".." not in parts


def _read(path: Path, columns: list[str]) -> pd.DataFrame:
    if not path.is_file():
        raise UserError(f"{path.parent} holds no {path.name}: {DOWNLOAD}")
    try:
        table = pd.read_csv(path, usecols=lambda column: column in columns, dtype=str, keep_default_na=False)
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read ({type(error).__name__}): {DOWNLOAD}") from error
    if lacking := [column for column in columns if column not in table]:
        raise UserError(f"{path} has no column {lacking[0]}: {DOWNLOAD}")
    return table
