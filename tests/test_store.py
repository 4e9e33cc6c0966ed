import json
import pickle
import resource
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecgclip.errors import UserError
from ecgclip.signals.path import SignalPath
from ecgclip.store import Store, StoreWriter, quantise

RATE, SECONDS, SAMPLES = 50.0, 1.0, 50


def signals(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-32768, 32767, (count, 12, SAMPLES)).astype(np.int16)


def rows(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [
        {
            "id": f"r{i}",
            "patient": f"p{i // 2}",
            "split": "train" if i < 6 else "val",
            "labels": ["LAFB"] if i % 2 else ["NORM", "SR"],
            "unknown": ("LAXD",) if i % 3 == 0 else (),
            "modifiers": {"IMI": "陳旧性"} if i == 1 else {},
            "missing_leads": ["V3"] if i == 2 else [],
            "quality": [],
            "source": "test",
        }
        for i in range(start, start + count)
    ]


def writer(path: Path, made_from: str = "a", annotated: Sequence[str] | None = ("NORM", "SR", "LAFB", "LAXD")) -> StoreWriter:
    return StoreWriter(path, signal_path=SignalPath(RATE, SECONDS), annotated=annotated, made_from=made_from)


def make(path: Path, count: int = 8, seed: int = 0, made_from: str = "a") -> Path:
    with writer(path, made_from) as store:
        store.append(signals(count, seed), rows(count))
        return store.finish()


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(path.iterdir())}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    store = Store.open(make(tmp_path / "s"))
    assert (len(store), store.sampling_rate, store.info["splits"]) == (8, RATE, {"train": 6, "val": 2})
    order = np.array([7, 0, 3, 3])
    got = store.read(order)
    np.testing.assert_array_equal(got, signals(8)[order])
    assert got.dtype == np.int16
    got += 1  # A batch is the reader's own: torch.from_numpy wants to write.
    manifest = store.manifest
    assert list(manifest["id"]) == [f"r{i}" for i in range(8)]
    assert manifest["labels"][0] == ["NORM", "SR"]
    assert manifest["missing_leads"][2] == ["V3"]
    assert json.loads(manifest["modifiers"][1]) == {"IMI": "陳旧性"}
    assert "reading" not in manifest
    store.warm()
    store.verify()
    assert not [path for path in tmp_path.iterdir() if path.name != "s"]
    assert set(contents(store.path)) == {"signals.i16", "manifest.parquet", "store.json"}


def test_readings_are_kept_only_where_they_are_given(tmp_path: Path) -> None:
    with writer(tmp_path / "s") as store:
        store.append(signals(2), [{**row, "reading": text} for row, text in zip(rows(2), ("洞調律", None), strict=True)])
        store.finish()
    assert list(Store.open(tmp_path / "s").manifest["reading"]) == ["洞調律", None]


def test_a_pickled_store_maps_its_file_again(tmp_path: Path) -> None:
    store = Store.open(make(tmp_path / "s"))
    store.read(np.array([0]))
    assert len(store.manifest) == 8
    text = pickle.dumps(store)
    assert len(text) < 2000  # Not the signals, not the table.
    np.testing.assert_array_equal(pickle.loads(text).read(np.array([5])), signals(8)[[5]])


def test_quantising_is_to_the_nearest_microvolt_and_never_wraps() -> None:
    millivolts = np.array([0.0, 0.0014, -0.0016, 40.0, -40.0], np.float32)
    np.testing.assert_array_equal(quantise(millivolts), np.array([0, 1, -2, 32767, -32767], np.int16))


# --- labels --------------------------------------------------------------------------------------------------------------------------


class Catalogue:
    """Stands for a catalogue in which LAFB implies LAXD."""

    def __init__(self, *ids: str) -> None:
        self.ids = ids

    def __len__(self) -> int:
        return len(self.ids)

    def states(self, positives: Any, unknown: Any = (), annotated: Any = None) -> np.ndarray:
        assert {*positives, *unknown, *(annotated or ())} <= set(self.ids)
        states = np.zeros(len(self.ids), np.int8)
        for i, label in enumerate(self.ids):
            if label in unknown or (annotated is not None and label not in annotated):
                states[i] = -1
            if label in positives or (label == "LAXD" and "LAFB" in positives):
                states[i] = 1
        return states


def test_states_come_in_the_order_of_the_catalogue(tmp_path: Path) -> None:
    store = Store.open(make(tmp_path / "s", 4))
    catalogue: Any = Catalogue("ERP", "LAXD", "LAFB", "SR")  # Without NORM, and with one that the data set does not speak of.
    expected = [[-1, -1, 0, 1], [-1, 1, 1, 0], [-1, 0, 0, 1], [-1, 1, 1, 0]]
    np.testing.assert_array_equal(store.labels(catalogue), np.array(expected, np.int8))
    assert store.labels(catalogue).dtype == np.int8


def test_a_catalogue_of_other_labels_is_refused(tmp_path: Path) -> None:
    catalogue: Any = Catalogue("X", "Y")
    with pytest.raises(UserError, match="no label in common"):
        Store.open(make(tmp_path / "s")).labels(catalogue)


# --- folders that are no store -------------------------------------------------------------------------------------------------------


def _edit(name: str, change: Any) -> Any:
    def damage(path: Path) -> None:
        (path / name).write_bytes(change((path / name).read_bytes()))

    return damage


def _info(**changes: Any) -> Any:
    return _edit("store.json", lambda text: json.dumps(json.loads(text) | changes).encode())


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_edit("signals.i16", lambda data: data[:-1]), r"signals.i16 has 9599 bytes instead of 9600"),
        (_edit("signals.i16", lambda data: data + b"x"), r"has 9601 bytes"),
        (lambda path: (path / "signals.i16").unlink(), r"has 0 bytes"),
        (lambda path: (path / "manifest.parquet").unlink(), r"manifest.parquet is missing or damaged"),
        (_edit("manifest.parquet", lambda data: data[:100]), r"manifest.parquet is missing or damaged"),
        (lambda path: (path / "store.json").unlink(), r"not a store of ECGs \(no store.json\)"),
        (_edit("store.json", lambda data: data[:40]), r"store.json is not that of a store"),
        (_edit("store.json", lambda data: b"[]"), r"store.json is not that of a store"),
        (_info(format="zarr"), r"store.json is not that of a store"),
        (_info(leads=["I", "II"]), r"store.json is not that of a store"),
        (_info(records="8"), r"does not belong to the 8 records"),
        (_info(version=1), r"a store of version 1, this program reads version 2: prepare it again"),
    ],
)
def test_a_damaged_or_foreign_folder_is_refused_in_one_line(tmp_path: Path, damage: Any, says: str) -> None:
    path = make(tmp_path / "s")
    damage(path)
    with pytest.raises(UserError, match=says) as error:
        Store.open(path)
    assert "\n" not in str(error.value)


def test_a_manifest_of_another_store_is_refused(tmp_path: Path) -> None:
    path, other = make(tmp_path / "s"), make(tmp_path / "t", 7)
    (path / "manifest.parquet").write_bytes((other / "manifest.parquet").read_bytes())
    with pytest.raises(UserError, match="does not belong to the 8 records"):
        Store.open(path)


def test_a_store_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist: prepare it first"):
        Store.open(tmp_path / "none")
    with writer(tmp_path / "s") as store:
        store.append(signals(1), rows(1))
    with pytest.raises(UserError, match="is not finished: prepare it again"):
        Store.open(tmp_path / "s")


def test_one_changed_bit_is_found(tmp_path: Path) -> None:
    path = make(tmp_path / "s")
    _edit("signals.i16", lambda data: data[:500] + bytes([data[500] ^ 1]) + data[501:])(path)
    with pytest.raises(UserError, match="signals.i16 has changed"):
        Store.open(path).verify()


# --- interruptions -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("torn", ["signals", "rows", "none"])
def test_going_on_gives_the_same_store(tmp_path: Path, torn: str) -> None:
    whole = contents(make(tmp_path / "whole"))
    with writer(tmp_path / "s") as store:
        store.append(signals(8)[:3], rows(3))
    part = tmp_path / "s.part"
    if torn == "signals":  # Killed within the second write: half a record, and its row was not reached.
        with open(part / "signals.i16", "ab") as file:
            file.write(b"x" * 700)
    if torn == "rows":
        with open(part / "signals.i16", "ab") as file:
            file.write(signals(8)[3:].tobytes())
        with open(part / "rows.jsonl", "ab") as file:
            file.write(b'{"id": "r3", "pat')
    with writer(tmp_path / "s") as store:
        assert store.ids == {"r0", "r1", "r2"}
        store.append(signals(8)[3:], rows(5, 3))
        store.finish()
    assert contents(tmp_path / "s") == whole


def test_another_job_does_not_go_on_with_it(tmp_path: Path) -> None:
    with writer(tmp_path / "s") as store:
        store.append(signals(3), rows(3))
    with writer(tmp_path / "s", made_from="b") as store:
        assert not store.ids
        store.append(signals(2, seed=1), rows(2))
        store.finish()
    np.testing.assert_array_equal(Store.open(tmp_path / "s").read(np.arange(2)), signals(2, seed=1))


def test_the_old_store_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = make(tmp_path / "s")
    before = contents(path)
    with writer(path, made_from="b") as store:
        store.append(signals(2, seed=1), rows(2))
    assert contents(path) == before
    with writer(path, made_from="b") as store:
        store.finish()
    np.testing.assert_array_equal(Store.open(path).read(np.arange(2)), signals(2, seed=1))
    assert [folder.name for folder in tmp_path.iterdir()] == ["s"]


def test_what_does_not_fit_is_refused_before_it_is_written(tmp_path: Path) -> None:
    with writer(tmp_path / "s") as store:
        store.append(signals(2), rows(2))
        for wrong, said in ((signals(1), rows(1, 1)), (signals(2)[:, :6], rows(2, 2)), (signals(2) / 1000, rows(2, 2))):
            with pytest.raises(ValueError, match="int16 of shape|twice"):
                store.append(wrong, said)
        store.finish()
    assert len(Store.open(tmp_path / "s")) == 2


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path: Path) -> None:
    path = make(tmp_path / "s")
    before = contents(path)
    path.rename(tmp_path / "s.old")
    with writer(path) as store:
        assert store.finished
    assert contents(path) == before


def test_a_finished_store_is_left_as_it_is_and_a_foreign_folder_too(tmp_path: Path) -> None:
    make(tmp_path / "s")
    with writer(tmp_path / "s") as store:
        assert store.finished
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("cat")
    with pytest.raises(UserError, match="exists and is not a store: give another folder"), writer(tmp_path / "photos"):
        pass
    assert contents(tmp_path / "photos") == {"cat.jpg": b"cat"}


def test_an_empty_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no record to store"), writer(tmp_path / "s") as store:
        store.finish()


@pytest.fixture
def small_disk() -> Iterator[int]:
    """No file may grow beyond 10,000 bytes: to the writer the same as a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    yield 10_000
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_keeps_the_old_store_and_what_was_written(tmp_path: Path, small_disk: int) -> None:
    path = make(tmp_path / "s", 4)
    before = contents(path)
    with writer(path, made_from="b") as store:
        store.append(signals(6), rows(6))
        with pytest.raises(UserError, match=r"cannot write .*: free space") as error:
            store.append(signals(6), rows(6, 6))
    assert "\n" not in str(error.value)
    assert contents(path) == before
    with writer(path, made_from="b") as store:
        assert store.ids == {f"r{i}" for i in range(6)}


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file/s \(.*\): free space or unlock the folder"), writer(tmp_path / "file" / "s"):
        pass


def test_the_second_of_two_writers_waits_and_finds_the_store_finished(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    found: list[bool] = []
    waiting = threading.Event()

    def second() -> None:
        waiting.set()
        with writer(tmp_path / "s") as store:
            found.append(store.finished)

    with writer(tmp_path / "s") as first:
        other = threading.Thread(target=second)
        other.start()
        waiting.wait()
        other.join(0.3)
        assert other.is_alive()
        first.append(signals(8), rows(8))
        first.finish()
    other.join(10)
    assert found == [True]
    assert "waiting for it" in capfd.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["s"]
