import importlib.util
import os
import signal
from pathlib import Path
from types import ModuleType

import pytest


def _fuzzer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_readers", Path(__file__).with_name("fuzz_readers.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_damaged_files_of_every_format_end_as_records_or_in_one_line(tmp_path: Path) -> None:
    fuzzer = _fuzzer()
    (tmp_path / "seeds").mkdir()
    seeds = fuzzer.write_seeds(tmp_path / "seeds")
    if "ECGCLIP_FORMATS" in os.environ:
        seeds += fuzzer.real_seeds(Path(os.environ["ECGCLIP_FORMATS"]))
    counts, bad = fuzzer.fuzz(seeds, 300, 1, tmp_path / "kept")
    assert bad == []
    assert sum(count for (_, outcome), count in counts.items() if outcome in ("record", "one line")) == 300
    # Damage that nothing survives, or that hurts nothing, would show nothing.
    assert {outcome for _, outcome in counts} >= {"record", "one line"}


def test_the_fuzzers_own_files_are_whole(tmp_path: Path) -> None:
    from ecgclip.signals import read_record

    for kind, paths in _fuzzer().write_seeds(tmp_path):
        assert read_record(paths[0], sampling_rate=500 if kind == "npy" else None).signal.shape[1] > 0


def test_a_reader_that_hangs_or_dies_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fuzzer = _fuzzer()
    reader = fuzzer.Reader()
    assert reader.outcome(tmp_path / "none.hea") == "one line"
    reader._process.kill()
    assert reader.outcome(tmp_path / "none.hea") == "CRASH of the process"
    assert reader.outcome(tmp_path / "none.hea") == "one line"
    monkeypatch.setattr(fuzzer, "LIMIT", 0.5)
    reader._process.send_signal(signal.SIGSTOP)
    assert reader.outcome(tmp_path / "none.hea") == "HANG"
    reader.close()
