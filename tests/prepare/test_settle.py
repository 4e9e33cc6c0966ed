from pathlib import Path

import numpy as np
import pytest

from ecgclip.errors import UserError
from ecgclip.prepare import SplitPlan, prepare
from ecgclip.signals.path import SignalPath
from ecgclip.signals.record import Item
from ecgclip.simulation import simulate
from ecgclip.store import Store


def items_of(folder: Path, signals: np.ndarray, **about: list[str]) -> list[Item]:
    folder.mkdir()
    items = []
    for i, signal in enumerate(signals):
        np.savez(folder / f"{i:03}.npz", signal=signal, sampling_rate=100)
        item = Item(f"id{i}", "", "", ("NORM",) if i % 3 else ("NORM", "SR"), folder / f"{i:03}.npz")
        items.append(Item(**{**vars(item), "about": {name: values[i] for name, values in about.items()}}))
    return items


def test_a_device_with_another_gain_is_named_and_nothing_is_changed(tmp_path: Path) -> None:
    signals = simulate([["SR", "NORM"]] * 90, range(90), sampling_rate=100, seconds=10)
    signals[60:] /= 5
    devices = ["Nihon Kohden ECG-2550"] * 30 + ["Fukuda Denshi FX-8400"] * 30 + ["Suzuken Kenz"] * 30
    items = items_of(tmp_path / "a", signals, device=devices)
    store = Store.open(prepare(items, tmp_path / "s", signal_path=SignalPath(), annotated=None, split=SplitPlan(), workers=1))
    assert list(store.info["notes"]["gain"]) == ["npz / Suzuken Kenz"]
    assert store.info["notes"]["gain"]["npz / Suzuken Kenz"] == pytest.approx(0.2, rel=0.3)
    assert ["gain:low" in flags for flags in store.manifest["quality"]] == [False] * 60 + [True] * 30
    np.testing.assert_allclose(store.read(np.array([70]))[0] / 1000, signals[70], atol=0.001)


def test_one_record_of_low_voltage_is_a_finding(tmp_path: Path) -> None:
    signals = simulate([["SR", "NORM"]] * 30, range(30), sampling_rate=100, seconds=10)
    signals[7] /= 5
    store = Store.open(
        prepare(items_of(tmp_path / "a", signals), tmp_path / "s", signal_path=SignalPath(), annotated=None, split=SplitPlan(), workers=1)
    )
    assert store.info["notes"]["gain"] == {}
    assert not any(flag.startswith("gain") for flags in store.manifest["quality"] for flag in flags)


def test_the_split_is_of_what_could_be_read(tmp_path: Path) -> None:
    signals = simulate([["SR", "NORM"]] * 20, range(20), sampling_rate=100, seconds=10)
    items = items_of(tmp_path / "a", signals)
    for item in items[:10]:
        item.path.write_bytes(b"broken")
    plan = SplitPlan(val=0.2, test=0.2)
    store = Store.open(prepare(items, tmp_path / "s", signal_path=SignalPath(), annotated=None, split=plan, workers=1))
    assert store.info["splits"] == {"train": 6, "val": 2, "test": 2}
    assert store.info["notes"]["without_patient"] == 10


def test_a_plan_that_fails_at_the_end_loses_no_work(tmp_path: Path) -> None:
    items = items_of(tmp_path / "a", simulate([["SR"]] * 4, range(4), sampling_rate=100, seconds=10))
    with pytest.raises(UserError, match="needs the year of every record, 4 have none"):
        prepare(items, tmp_path / "s", signal_path=SignalPath(), annotated=None, split=SplitPlan(by="time"), workers=1)
    assert (tmp_path / "s.part" / "signals.i16").stat().st_size == 4 * 12 * 1000 * 2
