"""The table of a benchmark, and its place in a file with others."""

import pytest

from ecgclip.errors import UserError
from ecgclip.evaluation.paired import Difference, Paired
from ecgclip.report.benchmark import Row, benchmark_table, difference_table, replace_section, write_section


def figures(auroc: float, **more: float) -> dict[str, float | None]:
    return {
        "val/zero_shot/ptbxl71/auroc_macro": auroc,
        "val/zero_shot/ptbxl71/auroc_macro_low": auroc - 0.01,
        "val/zero_shot/ptbxl71/auroc_macro_high": auroc + 0.02,
        "val/zero_shot/ptbxl_super/auroc_macro": 0.9,
        "time/train_seconds": 90.0,
        "time/peak_memory_mb": 1234.4,
        "model/parameters": 3_870_000.0,
        "model/ecg_parameters": 1e6,
        **more,
    }


def cells(table: str) -> list[dict[str, str]]:
    heading, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return [dict(zip(heading, row, strict=True)) for row in rows]


def test_one_seed_has_its_bootstrap_interval_and_several_have_their_range():
    one, three = cells(
        benchmark_table(
            [Row("one", [0], [figures(0.93)]), Row("three", [0, 1, 2], [figures(0.90), figures(0.94), figures(0.92)])],
            "val",
        )
    )
    assert one["AUROC (interval)"] == "**0.930** (0.920-0.950)"
    assert three["AUROC (interval)"] == "**0.920** (0.900-0.940)"
    assert three["seeds"] == "0 1 2" and three["superclasses (5)"] == "0.900"
    assert one["minutes"] == "1.5" and one["parameters (ECG)"] == "3.87 M (1.00 M)" and one["peak memory"] == "1234 MB"
    assert one["form (19)"] == "-" and "unseen" not in one


def test_a_figure_that_a_seed_lacks_is_no_mean_of_the_others():
    (row,) = cells(benchmark_table([Row("r", [0, 1], [figures(0.9, **{"val/zero_shot/n10/auroc_macro": 0.8}), figures(0.9)])], "val"))
    assert row["n10"] == "-"


def test_withheld_labels_get_a_column():
    (row,) = cells(benchmark_table([Row("r", [0], [figures(0.9, **{"val/zero_shot/unseen/auroc_macro": 0.671})])], "val"))
    assert row["unseen"] == "0.671"


def test_a_comparison_names_both_and_every_seed():
    each = {"ptbxl71/auroc_macro": [Difference(0.01, -0.002, 0.02), Difference(0.03, 0.01, 0.05)]}
    text = difference_table("champion", "paper", [0, 7], Paired(each, {"ptbxl71/auroc_macro": Difference(0.02, 0.004, 0.03)}))
    (row,) = cells(text.split("\n\n")[1])
    assert text.startswith("**champion less paper**")
    assert row["seed 0"] == "+0.010 (-0.002 to +0.020)" and row["seed 7"] == "+0.030 (+0.010 to +0.050)"
    assert row["mean over seeds"] == "**+0.020 (+0.004 to +0.030)**"


def test_a_section_is_replaced_and_all_else_stays(tmp_path):
    path = tmp_path / "docs" / "benchmarks.md"
    write_section(path, "a", "first")
    write_section(path, "b", "second")
    path.write_text(path.read_text() + "\nwritten by hand\n")
    before = path.read_text()
    write_section(path, "a", "anew")
    assert path.read_text() == before.replace("first", "anew")
    assert before.startswith("# Benchmarks\n") and before.count("<!-- end -->") == 2
    assert replace_section(before, "a", "first") == before
    assert [child.name for child in path.parent.iterdir()] == ["benchmarks.md"]


def test_a_section_without_an_end_is_not_guessed_at():
    for text in ("<!-- benchmark: a -->\nold\n", "<!-- benchmark: a -->\nold\n<!-- benchmark: b -->\nx\n<!-- end -->\n"):
        with pytest.raises(UserError, match="no <!-- end -->"):
            replace_section(text, "a", "new")


def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "docs").write_text("a file where a folder is wanted")
    with pytest.raises(UserError, match="--out"):
        write_section(tmp_path / "docs" / "benchmarks.md", "a", "x")
