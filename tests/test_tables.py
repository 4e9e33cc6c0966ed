from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgclip.errors import UserError
from ecgclip.tables import find_column, read_table, write_table


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp932", "utf-16"])
@pytest.mark.parametrize("separator", [",", "\t", ";"])
def test_a_table_is_read_as_it_was_saved(tmp_path: Path, encoding: str, separator: str) -> None:
    lines = [("ファイル名", "患者番号", "所見"), ("a.mwf", "00123", '"完全右脚ブロック\n心房細動、①PVC"'), ("b.mwf", "", "")]
    (tmp_path / "t.csv").write_bytes("\r\n".join(separator.join(line) for line in lines).encode(encoding))
    table = read_table(tmp_path / "t.csv")
    assert list(table.columns) == ["ファイル名", "患者番号", "所見"]
    assert table.values.tolist() == [["a.mwf", "00123", "完全右脚ブロック\n心房細動、①PVC"], ["b.mwf", "", ""]]
    assert find_column(table, ("reading", "所見")) == "所見"
    assert find_column(table, ("path",)) is None


def test_words_that_mean_nothing_to_pandas_stay_words(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,reading\n1,NA\n2,null\n003,1e5\n")
    assert read_table(tmp_path / "t.csv").values.tolist() == [["1", "NA"], ["2", "null"], ["003", "1e5"]]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "t.csv is empty"),
        (b"PK\x03\x04\x00\x00", "is not a text file: save the table as CSV"),
        (b"a,b\n\x81\xff\xfd", "is neither UTF-8 nor CP932"),
        (b"a,a\n1,2\n", "has the column 'a' twice"),
        (b"a,b\n1,2\n\n5,6,7\n", "row 3 has 3 cells, the header 2"),
        (b'a,b\n1,"2\n', "line 2 is not a row of a table"),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(tmp_path: Path, data: bytes, says: str) -> None:
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(UserError, match=says) as error:
        read_table(tmp_path / "t.csv")
    assert "\n" not in str(error.value)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_table(tmp_path / "no.csv")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0\r"), max_size=20), min_size=1, max_size=5))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, cells: list[str]) -> None:
    path = tmp_path_factory.mktemp("t") / "t.csv"
    cells = [cell.lstrip() for cell in cells]  # Blanks after a separator are not part of a cell.
    write_table(path, [{"n": number, "text": cell} for number, cell in enumerate(cells)], ["n", "text"])
    expected = [f"'{cell}" if cell[:1] in ("=", "+", "@") else cell for cell in cells]
    assert read_table(path)["text"].tolist() == expected


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        write_table(tmp_path / "file" / "t.csv", [], ["a"])
