"""The measurement of the evaluation in seconds: a few hundred records."""

import re
from pathlib import Path

import pytest

from ecgclip.benchmark.evaluation import LABELS, bench_evaluation, make_world
from ecgclip.errors import UserError


def test_the_table_is_written_and_our_figures_are_those_of_scikit_learn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "docs" / "evaluation.md"
    bench_evaluation(["--records", "400", "--replicates", "5", "--seconds", "0", "--out", str(page)])
    text = page.read_text("utf-8")
    assert "ecgclip bench-eval --records=400 --replicates=5 --seconds=0.0" in text
    assert str(tmp_path) not in text
    for part in ("few-shot: 4 methods", "linear probe: 200 records", "20 nearest neighbours", "400 records, 20 captions"):
        assert part in text
    assert "5 replicates, extrapolated from 1 |" in text
    seconds = [float(value.replace(",", "")) for value in re.findall(r"\| ([\d.,e+-]+) s \|", text)]
    assert len(seconds) == 8 and min(seconds) > 0
    assert float(re.search(r"by at most (\S+)\.\n", text)[1]) < 1e-9
    assert "against scikit-learn" in capsys.readouterr().out


def test_labels_have_a_long_tail() -> None:
    labels = make_world(5000).labels
    counts = labels.sum(0, dtype=int)
    assert 1.7 < float(counts.sum()) / 5000 < 2.3
    assert int(counts[0]) > 20 * int(counts[LABELS // 2])


def test_what_cannot_be_measured_is_one_line() -> None:
    with pytest.raises(UserError, match="--records 3 is too little"):
        bench_evaluation(["--records", "3"])
