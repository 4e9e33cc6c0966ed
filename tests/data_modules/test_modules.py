"""The data modules: what a batch holds, that it replays, and what is refused."""

import pytest
import torch

from data_modules import PTBXLDataModule, SimulatedDataModule
from ecgclip.errors import UserError
from ecgclip.evaluation.few_shot import choose_support
from ecgclip.store import Store
from tests.ptbxl_folder import make_ptbxl


def simulated(**options) -> SimulatedDataModule:
    data = SimulatedDataModule(**({"train": 40, "val": 12, "test": 8, "batch_size": 8} | options))
    data.prepare_data()
    data.setup()
    return data


def batches(data, epoch: int = 0) -> list[dict]:
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return list(loader)


def same(first: dict, second: dict) -> bool:
    tensors = ("ecg", "lead_mask", "labels", "record", "text_ids", "positives", "known")
    return all(first[name].equal(second[name]) for name in tensors) and first["texts"]["input_ids"].equal(second["texts"]["input_ids"])


def test_a_batch_is_what_the_contract_says():
    batch = batches(simulated())[0]
    assert batch["ecg"].shape == (8, 12, 1000) and batch["ecg"].dtype == torch.int16
    assert batch["lead_mask"].shape == (8, 12) and batch["lead_mask"].all()
    assert batch["labels"].shape == (8, 98) and batch["record"].shape == (8,)
    texts = len(batch["text_ids"])
    assert batch["positives"].shape == batch["known"].shape == (8, texts)
    assert batch["texts"]["input_ids"].shape[0] == texts
    assert batch["positives"].any(1).all()


def test_workers_and_a_second_reading_change_nothing():
    here, workers = simulated(), simulated(num_workers=2)
    first, again, elsewhere = batches(here, 3), batches(here, 3), batches(workers, 3)
    assert len(first) == 5
    assert all(same(a, b) and same(a, c) for a, b, c in zip(first, again, elsewhere, strict=True))
    assert not same(first[0], batches(here, 4)[0])


def test_on_the_device_a_batch_is_millivolts():
    data = simulated()
    batch = batches(data)[0]
    moved = data.on_after_batch_transfer(dict(batch), 0)
    torch.testing.assert_close(moved["ecg"], batch["ecg"].float() / 1000)
    assert 0.5 < moved["ecg"].abs().max() < 6


class Training:
    """What a data module asks of its trainer when a batch has come to the device."""

    training, global_rank, world_size = True, 0, 1


@pytest.mark.parametrize("second_view", [False, True])
def test_a_second_view_is_there_when_it_is_asked_for(second_view):
    data = simulated(second_view=second_view)
    data.trainer = Training()
    batch = batches(data)[0]
    moved = data.on_after_batch_transfer(dict(batch), 0)
    assert moved["ecg"].shape == (8, 12, 250)
    assert ("second_ecg" in moved) == ("second_lead_mask" in moved) == second_view
    plain = simulated()
    plain.trainer = Training()
    assert moved["ecg"].equal(plain.on_after_batch_transfer(dict(batch), 0)["ecg"])
    if second_view:
        assert moved["second_ecg"].shape == moved["ecg"].shape and not moved["second_ecg"].equal(moved["ecg"])
        assert (moved["second_ecg"] == 0).all(2).equal(~moved["second_lead_mask"])
        # A record's second view is its own, whatever is beside it in the batch.
        few = {name: batch[name][2:5] for name in ("ecg", "lead_mask", "record")} | {"epoch": batch["epoch"]}
        torch.testing.assert_close(data.on_after_batch_transfer(few, 0)["second_ecg"], moved["second_ecg"][2:5])


def test_more_training_records_change_no_other_split():
    small, large = simulated(), simulated(train=60)
    for split in ("val", "test"):
        rows = [data.rows[split] for data in (small, large)]
        assert (small.store.read(rows[0]) == large.store.read(rows[1])).all()
        assert (small.states[rows[0]] == large.states[rows[1]]).all()


def test_another_seed_is_another_set_of_records():
    first, second = simulated(), simulated(simulation_seed=1)
    assert first.store.path != second.store.path
    assert (first.store.read(first.rows["test"]) != second.store.read(second.rows["test"])).any()


def test_support_is_of_training_patients_with_the_label():
    data = simulated(train=400)
    plan = data.support_plan(2, 3)
    records = data.rows["train"][plan.records]
    assert set(records) <= set(data.rows["train"])
    second = data.val_dataloader()[1]
    assert torch.cat([batch["record"] for batch in second]).tolist() == sorted(records.tolist())
    expected = choose_support(torch.from_numpy(data.states[data.rows["train"]]), data.rows["train"], k_max=2, seeds=range(3))
    assert plan.indices.equal(expected.indices)
    assert data.support_plan(0, 0) is None and len(data.val_dataloader()) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"train": 0}, "at least 1"),
        ({"seconds": 2.0}, "shorter than data.crop_seconds"),
        ({"caption": "words"}, "label, joined"),
        ({"augmentation": {"jitter": 1}}, "jitter"),
        ({"withhold": "STACHY"}, "STACHY"),
        ({"prevalence": "even"}, "even"),
    ],
)
def test_what_is_refused(options, said):
    with pytest.raises(UserError, match=said):
        batches(simulated(**options))


def test_a_run_finds_its_data_by_the_name_of_the_store(tmp_path):
    make_ptbxl(tmp_path, records=30, folds=range(1, 11))
    data = PTBXLDataModule(str(tmp_path))
    data.setup()
    assert str(tmp_path) not in data.cached_name
    again = PTBXLDataModule(data.cached_name)
    assert again.build_store() == data.store.path
    assert again.build_store() == PTBXLDataModule(str(tmp_path)).build_store()
    with pytest.raises(UserError, match=r"give the data again with --data\.root"):
        PTBXLDataModule("cache:ptbxl/gone").build_store()


def test_ptbxl_speaks_of_73_labels_and_leaves_the_others_unknown(tmp_path):
    make_ptbxl(tmp_path, records=30, folds=range(1, 11))
    data = PTBXLDataModule(str(tmp_path))
    data.setup()
    assert int(data.usable.sum()) == 73
    assert data.closing_split == "test"
    patients = data.store.manifest.groupby("patient")["split"].nunique()
    assert patients.max() == 1
    assert Store.open(data.store.path).info["records"] == 30


def ptbxl(folder, **options) -> PTBXLDataModule:
    data = PTBXLDataModule(str(folder), batch_size=8, **options)
    data.setup()
    return data


def patients(data, split: str = "train") -> set[str]:
    return set(data.store.manifest["patient"].iloc[data.rows[split]])


def test_a_fraction_of_the_patients_is_nested_and_drawn_by_the_seed(tmp_path):
    make_ptbxl(tmp_path, records=200, folds=range(1, 11))
    whole, large, small = (ptbxl(tmp_path, fraction=fraction) for fraction in (1.0, 0.5, 0.1))
    assert len(patients(whole)) == 80
    assert patients(small) < patients(large) < patients(whole)
    assert (len(patients(small)), len(patients(large))) == (8, 40)
    assert patients(ptbxl(tmp_path, fraction=0.1)) == patients(small)
    assert patients(ptbxl(tmp_path, fraction=0.1, seed=1)) != patients(small)
    for data in (large, small):
        kept = whole.store.manifest["patient"].iloc[whole.rows["train"]].isin(patients(data)).to_numpy()
        assert (data.rows["train"] == whole.rows["train"][kept]).all()  # All records of a patient, or none.
        assert all((data.rows[split] == whole.rows[split]).all() for split in ("val", "test"))
        assert not patients(data) & (patients(data, "val") | patients(data, "test"))


def test_a_fraction_is_all_that_training_counts_and_draws_from(tmp_path):
    make_ptbxl(tmp_path, records=200, folds=range(1, 11))
    whole, small = ptbxl(tmp_path), ptbxl(tmp_path, fraction=0.2)
    rows = small.rows["train"]
    assert (small.train_counts == (small.states[rows] == 1).sum(0)).all() and (small.train_counts < whole.train_counts).any()
    assert set(torch.cat([batch["record"] for batch in batches(small)]).tolist()) <= set(rows.tolist())
    plan = small.support_plan(2, 3)
    assert set(rows[plan.records]) <= set(rows)
    half = 0.5 / len(rows)
    names = {label: float(prior) for label, prior in zip(small.usable.nonzero()[0], batches(small)[0]["prior"], strict=True)}
    expected = (small.train_counts / (small.states[rows] != -1).sum(0).clip(1)).clip(half, 1 - half)
    assert names == {label: pytest.approx(expected[label]) for label in names}


@pytest.mark.parametrize("fraction", [0, -0.1, 1.01, float("nan")])
def test_a_fraction_outside_is_refused(fraction):
    with pytest.raises(UserError, match=r"data\.fraction .* must be above 0 and at most 1"):
        SimulatedDataModule(fraction=fraction)


def test_a_fraction_without_a_record_is_refused():
    with pytest.raises(UserError, match=r"data\.fraction 0\.01 leaves none of the 40 training patients: give at least 0\.025"):
        simulated(fraction=0.01)


def test_without_a_folder_it_says_how_to_give_one():
    with pytest.raises(UserError, match="DATA_DIR"):
        PTBXLDataModule()
