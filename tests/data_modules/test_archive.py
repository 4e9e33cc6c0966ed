from pathlib import Path

import numpy as np
import pytest

from data_modules import ArchiveDataModule
from ecgclip.errors import UserError
from ecgclip.labels import NEGATIVE, POSITIVE, UNKNOWN, Catalogue
from ecgclip.signals.path import SignalPath
from ecgclip.store import StoreWriter

OWN = [{"id": "AFIB", "ja": "心房細動"}, {"id": "CRBBB", "ja": "完全右脚ブロック"}, {"id": "x", "ja": "移行帯の偏位"}]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = SignalPath(250, 4, "default", 50)
    with StoreWriter(tmp_path / "s", signal_path=path, annotated=["AFIB", "CRBBB", "x"], made_from="key") as writer:
        said = [(["AFIB"], ["x"], []), (["x"], [], ["AFIB"]), (["CRBBB"], [], [])]
        rows = [
            {"id": f"r{i}", "patient": f"p{i}", "split": split, "labels": labels, "unknown": unknown, "negated": negated, "source": "npz"}
            for i, ((labels, unknown, negated), split) in enumerate(zip(said, ("train", "val", "test"), strict=True))
        ]
        writer.append(np.ones((3, 12, 1000), np.int16), rows)
        writer.finish(catalogue=Catalogue.from_entries(OWN))
    return tmp_path / "s"


def test_rate_labels_and_splits_are_those_of_the_store(store: Path) -> None:
    data = ArchiveDataModule(str(store), sampling_rate=100)
    assert data.sampling_rate == 250  # Whatever an experiment says that was made for other data.
    assert data.labels.ids == ("AFIB", "CRBBB", "x")
    assert data.signal_path == SignalPath(250, 4, "default", 50)
    data.setup()
    assert {name: len(rows) for name, rows in data.rows.items()} == {"train": 1, "val": 1, "test": 1}
    assert data.states.tolist() == [[POSITIVE, NEGATIVE, UNKNOWN], [NEGATIVE, NEGATIVE, POSITIVE], [NEGATIVE, POSITIVE, NEGATIVE]]


def test_what_nobody_mentions_can_be_unknown(store: Path) -> None:
    data = ArchiveDataModule(str(store), unmentioned="unknown")
    data.setup()
    assert data.states.tolist() == [[POSITIVE, UNKNOWN, UNKNOWN], [NEGATIVE, UNKNOWN, POSITIVE], [UNKNOWN, POSITIVE, UNKNOWN]]


def test_another_catalogue_can_be_asked_for(store: Path) -> None:
    data = ArchiveDataModule(str(store), catalogue="ja98")
    data.setup()
    assert len(data.labels) == 98
    assert (data.states[:, data.labels.index("LVH")] == UNKNOWN).all()  # The readings were not asked about it.


def test_a_run_names_the_store_by_what_it_was_made_from(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECGCLIP_CACHE", str(tmp_path / "cache"))
    name = ArchiveDataModule(str(store)).cached_name
    assert name == "cache:key"
    assert ArchiveDataModule(name).build_store() == store
    monkeypatch.setenv("ECGCLIP_CACHE", str(tmp_path / "other"))
    with pytest.raises(UserError, match="give it again with --data.root=STORE"):
        ArchiveDataModule(name)


def test_a_store_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no store given"):
        ArchiveDataModule()
    with pytest.raises(UserError, match="does not exist: prepare it first"):
        ArchiveDataModule(str(tmp_path / "no"))
