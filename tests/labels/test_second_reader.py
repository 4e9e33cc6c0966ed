import pytest

from ecgclip.errors import UserError
from ecgclip.labels import Catalogue
from ecgclip.labels.second_reader import read_second

CATALOGUE = Catalogue.load("ja98")


def table(tmp_path, text):
    path = tmp_path / "second.csv"
    path.write_text(text, encoding="cp932")
    return path


def test_names_and_ids_are_read_and_what_is_not_named_is_absent(tmp_path):
    path = table(tmp_path, "id,所見\nb,心房細動、完全右脚ブロック\nz,心房細動\na,\nc,wenck; LAO/LAE\n")
    found = read_second(path, CATALOGUE, ["a", "b", "c"])
    shown = {place: {CATALOGUE.ids[i] for i in (states == 1).nonzero()[0]} for place, states in found.items()}
    # What a label implies is there with it.
    assert shown == {0: set(), 1: {"AFIB", "CRBBB"}, 2: {"WENCK", "2AVB", "LAO/LAE"}}
    assert list(found) == [0, 1, 2]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("record,what\na,SR\n", "no columns id and labels"),
        ("id,labels\na,SR\na,SR\n", "line 3: a record stands twice"),
        ("id,labels\na,SR\nb,心室性なにか\n", "line 3: '心室性なにか' is no label"),
        ("id,labels\nq,SR\n", "no record that is judged"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, text, said):
    with pytest.raises(UserError, match=said):
        read_second(table(tmp_path, text), CATALOGUE, ["a", "b"])
