import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ecgclip.prepare import prepare
from ecgclip.prepare.duplicates import Twins, same_recording, sketch
from ecgclip.signals.path import SignalPath
from ecgclip.signals.record import Item
from ecgclip.simulation import simulate
from ecgclip.store import Store, quantise


@pytest.fixture(scope="module")
def ecgs() -> np.ndarray:
    """Two hundred persons in sinus rhythm: as alike as recordings of different people get. ``(200, 12, 1000)`` mV."""
    return simulate([["SR", "NORM"]] * 200, range(200), sampling_rate=100, seconds=10)


def test_a_second_export_is_found_and_another_heart_is_not(ecgs: np.ndarray) -> None:
    store = quantise(ecgs)
    twins = Twins()
    for number, signal in enumerate(store):
        assert twins.find(sketch(signal), signal, store.__getitem__) is None
        twins.add(number, sketch(signal))
    rng = np.random.default_rng(0)
    for number in range(0, 200, 7):
        coarse = quantise(np.round(ecgs[number] / 0.005) * 0.005 + rng.normal(0, 0.002, ecgs[number].shape).astype(np.float32))
        halved = quantise(0.5 * ecgs[number])  # A wrong gain makes no new recording.
        for copy in (store[number], coarse, halved):
            assert twins.find(sketch(copy), copy, store.__getitem__) == number


def test_the_next_ten_seconds_of_a_heart_are_another_recording(ecgs: np.ndarray) -> None:
    assert not same_recording(ecgs[0], np.roll(ecgs[0], 40, axis=1))
    assert not same_recording(np.zeros((12, 1000)), np.zeros((12, 1000)))  # Nothing is in common where there is nothing.


def test_a_double_is_left_out_whichever_chunk_it_is_in(tmp_path: Path, ecgs: np.ndarray) -> None:
    items = []
    for i, signal in enumerate([*ecgs[:100], ecgs[3], ecgs[99]]):
        np.savez(tmp_path / f"{i:03}.npz", signal=signal, sampling_rate=100)
        items.append(Item(f"id{i}", f"p{i}", "train", ("NORM",), tmp_path / f"{i:03}.npz"))

    def made(name: str, duplicates: bool, workers: int = 1) -> Store:
        path = SignalPath(100, 10)
        return Store.open(prepare(items, tmp_path / name, signal_path=path, annotated=None, duplicates=duplicates, workers=workers))

    assert len(made("all", False)) == 102
    store = made("s", True)
    assert store.manifest["id"].tolist() == [f"id{i}" for i in range(100)]
    with open(tmp_path / "s.rejected.csv", encoding="utf-8-sig", newline="") as file:
        listed = {Path(line["file"]).name: line["reason"] for line in csv.DictReader(file)}
    assert listed.keys() == {"100.npz", "101.npz"}
    assert f"is the same recording as {tmp_path / '003.npz'}: leave one of them out" == listed["100.npz"]
    assert store.info["notes"]["rejected"] == {"is the same recording as another: leave one of them out": 2}
    assert made("two", True, 2).info["checksums"] == store.info["checksums"]
    items[3] = replace(items[3], path=tmp_path / "gone.npz")  # The first is gone: the second takes its place.
    assert "id100" in set(made("s", True).manifest["id"])


def test_a_longer_export_of_the_same_recording_goes_whole_and_a_kill_changes_nothing(
    tmp_path: Path, ecgs: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second file holds the first one and twenty seconds more."""
    long = np.concatenate(ecgs[:3], axis=1)
    items = []
    for i, signal in enumerate([ecgs[0], long, np.concatenate(ecgs[3:6], axis=1)]):
        np.savez(tmp_path / f"{i}.npz", signal=signal, sampling_rate=100)
        items.append(Item(f"id{i}", f"p{i}", "train", ("NORM",), tmp_path / f"{i}.npz"))

    def made(name: str) -> Store:
        options = {"signal_path": SignalPath(100, 10), "annotated": None, "duplicates": True, "segments": True, "workers": 1}
        return Store.open(prepare(items, tmp_path / name, **options))

    whole = made("whole")
    assert whole.manifest["id"].tolist() == ["id0", "id2", "id2-1", "id2-2"]
    assert whole.info["notes"]["rejected"] == {"is the same recording as another: leave one of them out": 1}
    # As a run leaves it that was killed after the first file.
    part = tmp_path / "s.part"
    monkeypatch.setattr("ecgclip.prepare.engine.CHUNK", 1)
    monkeypatch.setattr("ecgclip.store.StoreWriter.finish", _interrupted)
    with pytest.raises(KeyboardInterrupt):
        made("s")
    monkeypatch.undo()
    rows = (part / "rows.jsonl").read_text().splitlines()
    assert [json.loads(row)["id"] for row in rows] == ["id0", "id2", "id2-1", "id2-2"]
    (part / "rows.jsonl").write_text("\n".join(rows[:3]) + "\n")  # In the middle of the third file.
    assert made("s").info["checksums"] == whole.info["checksums"]


def _interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_a_key_that_all_records_share_costs_no_more_than_what_is_looked_at() -> None:
    twins, looked_at = Twins(), []
    for number in range(5000):
        twins.add(number, 5)
    signal = np.random.default_rng(0).normal(size=(12, 1000))

    def read(number: int) -> np.ndarray:
        looked_at.append(number)
        return signal[:, ::-1]

    assert twins.find(5, signal, read) is None
    assert looked_at == list(range(32))  # The first ones, in their order.
