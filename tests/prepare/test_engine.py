import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ecgclip.errors import UserError
from ecgclip.prepare import prepare
from ecgclip.signals.path import SignalPath
from ecgclip.signals.record import Item
from ecgclip.store import Store, quantise


def archive(folder: Path, count: int, rate: int = 100) -> list[Item]:
    folder.mkdir(exist_ok=True)
    items = []
    for i in range(count):
        signal = np.random.default_rng(i).normal(0, 0.3, (12, rate)).astype(np.float32)
        np.savez(folder / f"{i:03d}.npz", signal=signal, sampling_rate=rate)
        items.append(Item(f"id{i}", f"p{i}", ("train", "val")[i % 2], ("NORM",), folder / f"{i:03d}.npz"))
    return items


def make(items: Sequence[Item], out: Path, workers: int | None = 1) -> Path:
    return prepare(items, out, signal_path=SignalPath(100, 1), annotated=["NORM", "LAXD"], workers=workers)


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(path.iterdir())}


def loud_is_left_axis(item: Item, signal: np.ndarray, sampling_rate: float) -> Item:
    assert signal.shape == (12, sampling_rate)
    return replace(item, labels=(*item.labels, "LAXD")) if signal.max() > 1 else item


def test_an_archive_becomes_a_store_in_its_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = archive(tmp_path / "a", 5)
    items[3] = replace(items[3], unknown=("LAXD",), modifiers={"IMI": "急性"}, flags=("under50:IMI",), reading="洞調律")
    store = Store.open(make(items, tmp_path / "s"))
    assert list(store.manifest["id"]) == [item.id for item in items]
    assert list(store.manifest["split"]) == [item.split for item in items]
    row = store.manifest.iloc[3]
    assert (row["unknown"], json.loads(row["modifiers"]), row["quality"][-1:], row["reading"]) == (
        ["LAXD"],
        {"IMI": "急性"},
        ["under50:IMI"],
        "洞調律",
    )
    signals = [np.load(item.path)["signal"] for item in items]
    np.testing.assert_array_equal(store.read(np.arange(5)), quantise(np.stack(signals)))
    assert capsys.readouterr().err.strip().endswith("s: train 3, val 2; none rejected")


def test_nothing_in_the_store_names_a_file(tmp_path: Path) -> None:
    items = archive(tmp_path / "yamada_taro", 2)
    store = make(items, tmp_path / "s")
    for name, data in contents(store).items():
        assert b"yamada" not in data, name


def test_the_signal_can_settle_a_label(tmp_path: Path) -> None:
    items = archive(tmp_path / "a", 3)
    np.savez(items[1].path, signal=np.random.default_rng(0).normal(0, 2, (12, 100)), sampling_rate=100)
    out = prepare(items, tmp_path / "s", signal_path=SignalPath(100, 1), annotated=None, refine=loud_is_left_axis, workers=1)
    labels = list(Store.open(out).manifest["labels"])
    assert labels[1] == ["NORM", "LAXD"]
    assert labels[0] == ["NORM"]


def test_two_workers_make_what_one_makes(tmp_path: Path) -> None:
    items = archive(tmp_path / "a", 150)
    items[70].path.write_bytes(b"broken")
    one, two = make(items, tmp_path / "one" / "s", 1), make(items, tmp_path / "two" / "s", 2)
    assert contents(one) == contents(two)
    assert len(Store.open(one)) == 149


def test_what_is_left_out_is_listed_with_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = archive(tmp_path / "a", 6)
    items[1].path.unlink()
    np.savez(items[3].path, signal=np.zeros((12, 100)), sampling_rate=100)
    np.savez(items[4].path, signal=np.ones((12, 50)), sampling_rate=100)
    out = make(items, tmp_path / "s")
    assert list(Store.open(out).manifest["id"]) == ["id0", "id2", "id5"]
    with open(tmp_path / "s.rejected.csv", encoding="utf-8-sig", newline="") as file:
        listed = list(csv.DictReader(file))
    assert [line["file"] for line in listed] == [str(items[i].path) for i in (1, 3, 4)]
    for line, reason in zip(listed, ("does not exist", "every lead is flat", "is 0.5 s long, 1 s are needed"), strict=True):
        assert reason in line["reason"]
    assert f"3 rejected, see {tmp_path / 's.rejected.csv'}" in capsys.readouterr().err
    for i in (1, 3, 4):
        np.savez(items[i].path, signal=np.random.default_rng(i).normal(size=(12, 100)), sampling_rate=100)
    assert len(Store.open(make(items, tmp_path / "s"))) == 6  # Mended files are noticed,
    assert not (tmp_path / "s.rejected.csv").exists()  # and the old list does not stay behind.


def test_if_nothing_can_be_used_the_first_reason_is_given(tmp_path: Path) -> None:
    items = archive(tmp_path / "a", 3)
    for item in items:
        item.path.unlink()
    with pytest.raises(UserError, match=r"none of the 3 records can be used: the first, 000.npz: .* does not exist"):
        make(items, tmp_path / "s")
    with pytest.raises(UserError, match="none of the 0 records"):
        make([], tmp_path / "s")
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"id": "id0"}, "same id"),
        ({"patient": "p0"}, "in train and in val: split by patient"),
        ({"split": "dev"}, "split 'dev' of 001.npz does not exist"),
    ],
)
def test_a_deceptive_data_set_is_refused(tmp_path: Path, change: dict[str, str], says: str) -> None:
    items = archive(tmp_path / "a", 2)
    with pytest.raises(UserError, match=says):
        make([items[0], replace(items[1], **change)], tmp_path / "s")


def test_records_without_a_patient_key_may_lie_anywhere(tmp_path: Path) -> None:
    items = [replace(item, patient="") for item in archive(tmp_path / "a", 2)]
    assert len(Store.open(make(items, tmp_path / "s"))) == 2


def test_a_finished_store_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = archive(tmp_path / "a", 3)

    def files() -> dict[str, tuple[int, int]]:
        return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in make(items, tmp_path / "s").iterdir()}

    first = files()
    monkeypatch.setattr("ecgclip.prepare.engine.read_record", lambda path, **_: pytest.fail("read again"))
    assert files() == first
    # Where something has changed, it is.
    monkeypatch.undo()
    items[0] = replace(items[0], labels=("SR",))
    assert files() != first


SLOW = """
import sys, time
from pathlib import Path
from ecgclip.prepare import prepare
from ecgclip.signals.path import SignalPath
from ecgclip.signals.record import Item

def slowly(item, signal, sampling_rate):
    time.sleep(0.004)
    with open("calls", "a") as file:
        file.write("x")
    return item

if __name__ == "__main__":
    folder, out, workers = sys.argv[1:]
    items = [Item(f"id{i}", f"p{i}", "train", ("NORM",), path) for i, path in enumerate(sorted(Path(folder).glob("*.npz")))]
    prepare(items, out, signal_path=SignalPath(100, 1), annotated=None, refine=slowly, workers=int(workers))
"""


def _wait(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "took too long"
        time.sleep(0.01)


def _gone(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("workers", ["1", "2"])
def test_killed_in_the_middle_it_goes_on_to_the_same_store(tmp_path: Path, workers: str) -> None:
    archive(tmp_path / "a", 260)
    (tmp_path / "a" / "007.npz").write_bytes(b"broken")
    (tmp_path / "slow.py").write_text(SLOW)
    command = [sys.executable, str(tmp_path / "slow.py"), str(tmp_path / "a")]
    killed = subprocess.Popen([*command, str(tmp_path / "s"), workers], cwd=tmp_path, start_new_session=True, stderr=subprocess.DEVNULL)
    table = tmp_path / "s.part" / "rows.jsonl"
    _wait(lambda: table.is_file() and table.stat().st_size > 0, 30)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    try:
        _wait(lambda: _gone(killed.pid), 10)  # The workers do not live on without their parent.
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(killed.pid, signal.SIGKILL)
    assert not (tmp_path / "s").exists()
    done = table.read_bytes().count(b"\n")
    assert 0 < done < 259
    (tmp_path / "calls").unlink()
    subprocess.run([*command, str(tmp_path / "s"), workers], check=True, capture_output=True, cwd=tmp_path)
    assert (tmp_path / "calls").stat().st_size == 259 - done  # It went on and did not begin again.
    subprocess.run([*command, str(tmp_path / "whole"), workers], check=True, capture_output=True, cwd=tmp_path)
    assert contents(tmp_path / "s") == contents(tmp_path / "whole")
    assert len(Store.open(tmp_path / "s")) == 259
