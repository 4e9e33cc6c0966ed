"""Public sets as data modules: from the published folder to a batch, split by patient, and named without their folder."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from data_modules.public import PublicDataModule
from ecgclip.errors import UserError
from ecgclip.signals import LEADS
from ecgclip.signals.public import PUBLIC_SETS
from tests.running import EXPERIMENTS
from tests.signals.public.layouts import ecg, write_cinc, write_code15, write_cpsc, write_ludb, write_mimic, write_mitbih

SIGNAL = ecg(5)
RECORDS = 24


def cinc(folder: Path, form: str) -> None:
    for number in range(RECORDS):
        codes = ("426783006", "164889003", "426177001,284470004")[number % 3]
        write_cinc(
            folder / "g1",
            form.format(number + 1),
            SIGNAL if number == 0 else ecg(100 + number),
            ["# Age: 60", "# Sex: Female", f"# Dx: {codes}"],
        )


def mimic(folder: Path) -> None:
    said = (["Sinus rhythm"], ["Atrial fibrillation"], ["Sinus bradycardia", "Right axis deviation"])
    # Two ECGs of each patient.
    write_mimic(folder, {(str(10000000 + i // 2), str(40000000 + i)): said[i % 3] for i in range(RECORDS)}, SIGNAL)


def code15(folder: Path) -> None:
    kinds: tuple[dict[str, object], ...] = ({"normal_ecg": True}, {"AF": True}, {"SB": True})
    write_code15(folder, {i: kinds[i % 3] | {"patient_id": i // 2} for i in range(1, RECORDS + 1)}, ecg(5, 400))


def mitbih(folder: Path) -> None:
    for number in range(100, 110):
        marks = [(0.05, "+", "(N" if number % 2 else "(AFIB"), *((at, "N", "") for at in np.arange(0.4, 30, 0.8).tolist())]
        write_mitbih(folder, str(number), marks, seconds=30)


FOLDERS: dict[str, Callable[[Path], None]] = {
    "georgia": lambda folder: cinc(folder, "E{:05d}"),
    "chapman_ningbo": lambda folder: cinc(folder, "JS{:05d}"),
    "cpsc2018": lambda folder: write_cpsc(
        folder, {f"A{i:04d}": [1 + i % 3] for i in range(1, RECORDS + 1)}, SIGNAL, *(ecg(100 + i) for i in range(1, RECORDS))
    ),
    "mimic_iv_ecg": mimic,
    "code15": code15,
    "mitbih": mitbih,
    "ludb": lambda folder: write_ludb(
        folder, {i: [f"Rhythm: {('Sinus rhythm', 'Atrial fibrillation', 'Sinus bradycardia')[i % 3]}"] for i in range(RECORDS)}, SIGNAL
    ),
}


def module(name: str, folder: Path) -> PublicDataModule:
    data = PublicDataModule(name=name, root=str(folder), batch_size=4)  # type: ignore[arg-type]
    data.prepare_data()
    data.setup()
    return data


@pytest.mark.parametrize("name", sorted(PUBLIC_SETS))
def test_from_the_folder_to_a_batch(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    FOLDERS[name](tmp_path)
    data = module(name, tmp_path)
    manifest = data.store.manifest
    assert set(manifest["split"]) == {"train", "val", "test"}
    assert (manifest.groupby("patient")["split"].nunique() == 1).all()
    batch = next(iter(data.train_dataloader()))
    assert batch["ecg"].shape == (4, 12, 1000)
    assert batch["positives"].any(1).all()
    # Leads are where their names say, in mV, whatever their order in the file.
    present = [LEADS.index(lead) for lead in (["II", "V5"] if name == "mitbih" else LEADS)]
    assert torch.equal(batch["lead_mask"][0].nonzero()[:, 0], torch.tensor(present))
    height = np.ptp(data.store.read([0])[0] / 1000, axis=1)[present]
    wanted = np.ptp(SIGNAL, axis=1)[present]
    np.testing.assert_allclose(height, wanted, rtol=0.25)
    # What a set does not say is announced; in these two folders there is nothing of the kind.
    assert (f"{name}: " in capsys.readouterr().out) == (name not in ("chapman_ningbo", "ludb"))


def test_a_run_names_its_data_without_the_folder(tmp_path: Path) -> None:
    FOLDERS["georgia"](tmp_path)
    data = module("georgia", tmp_path)
    assert data.cached_name.startswith("cache:public/georgia/") and str(tmp_path) not in data.cached_name
    again = PublicDataModule(name="georgia", root=data.cached_name)
    again.setup()
    assert again.store.manifest.equals(data.store.manifest)
    with pytest.raises(UserError, match="the cache has no"):
        PublicDataModule(name="georgia", root="cache:public/georgia/nothing").prepare_data()


def test_a_recording_that_is_there_twice_is_left_out_where_patients_are_not_told_apart(tmp_path: Path) -> None:
    FOLDERS["georgia"](tmp_path)
    write_cinc(tmp_path / "g2", "E00999", SIGNAL, ["# Age: 60", "# Sex: Female", "# Dx: 426783006"])
    data = module("georgia", tmp_path)
    assert len(data.store.manifest) == RECORDS
    report = data.store.path.with_name(f"{data.store.path.name}.rejected.csv").read_text(encoding="utf-8-sig")
    assert "E00999" in report and "the same recording" in report


def test_no_folder_is_one_line() -> None:
    with pytest.raises(UserError, match="ludb: no folder given"):
        PublicDataModule(name="ludb")


@pytest.mark.parametrize("name", sorted(PUBLIC_SETS))
def test_every_set_has_its_yaml(name: str) -> None:
    held = yaml.safe_load((EXPERIMENTS / "data" / f"{name}.yaml").read_text(encoding="utf-8"))
    assert held == {"data": {"class_path": "data_modules.PublicDataModule", "init_args": {"name": name, "root": None}}}
