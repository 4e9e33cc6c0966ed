"""The measurements of the signal path in seconds: a few files, a small PTB-XL."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ecgclip.benchmark.signals import bench_signals
from ecgclip.errors import UserError
from tests.ptbxl_folder import make_ptbxl

COLUMNS = ("static_noise", "burst_noise", "baseline_drift", "electrodes_problems")


def test_both_sections_are_written_and_their_figures_are_true(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_ptbxl(tmp_path / "ptbxl", records=44, folds=[1, 9])
    table = pd.read_csv(root / "ptbxl_database.csv")
    for column in COLUMNS:
        table[column] = np.where(table.index < 4, "alles", None) if column == "static_noise" else None
    table["device"] = "AT-6"
    table.to_csv(root / "ptbxl_database.csv", index=False)
    page = tmp_path / "docs" / "signals.md"
    bench_signals(["--records", "4", "--processes", "1", "--data_root", str(root), "--out", str(page)])
    text = page.read_text("utf-8")
    assert text.count("ecgclip bench-signals --records 4 --processes 1 --data_root DIR") == 2
    assert str(tmp_path) not in text
    speeds = re.findall(r"\| ([\d.]+) records/s \| ([\d.]+) x \|", text)
    assert float(speeds[0][0]) > float(speeds[1][0]) > 0
    assert "| records | 22 | 22 |" in text
    assert "| `noisy` where it notes static noise | 0.00 % (0 of 2) | 0.00 % (0 of 2) |" in text
    assert "found in 20 of 20 draws" not in text  # 22 records of one device leave nothing to compare with.
    assert "exchanged in every record" in text
    assert page.name in str(page) and "records/s" in capsys.readouterr().out


def test_what_cannot_be_measured_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--records 0 is too little"):
        bench_signals(["--records", "0"])
    (tmp_path / "ptbxl_database.csv").write_text("ecg_id\n1\n")
    with pytest.raises(UserError, match="has no column filename_lr"):
        bench_signals(["--records", "1", "--processes", "1", "--data_root", str(tmp_path), "--out", str(tmp_path / "signals.md")])
