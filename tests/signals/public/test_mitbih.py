"""MIT-BIH: segments within one rhythm, the beats in them, and the modified lead."""

from pathlib import Path

import numpy as np
import pytest

from ecgclip.errors import UserError
from ecgclip.signals import read_record
from ecgclip.signals.public import read_mitbih
from ecgclip.signals.public.within import read_within
from tests.signals.public.layouts import write_mitbih

NORMAL = [(at, "N", "") for at in np.arange(0.5, 60, 0.8).tolist()]


def marks(*more: tuple[float, str, str]) -> list[tuple[float, str, str]]:
    """Normal beats all through, but for those that others stand near."""
    kept = [mark for mark in NORMAL if all(abs(mark[0] - at) > 0.35 for at, symbol, _ in more if symbol != "+")]
    return [(0.05, "+", "(N"), *kept, *more]


def test_segments_lie_within_one_rhythm(tmp_path: Path) -> None:
    write_mitbih(tmp_path, "201", marks((21.0, "+", "(AFIB"), (45.0, "+", "(VT"), (48.0, "+", "(N")))
    found = read_mitbih(tmp_path)
    assert [(item.labels[0], item.start) for item in found.items] == [
        ("SR", pytest.approx(0.05, abs=0.01)),
        ("SR", pytest.approx(10.05, abs=0.01)),
        ("AFIB", pytest.approx(21)),
        ("AFIB", pytest.approx(31)),
        ("SR", pytest.approx(48)),
    ]
    assert any("(VT 1" in note for note in found.notes)
    assert "SR" not in found.items[2].unknown  # Fibrillation rules it out.
    assert found.items[0].about == {"age": 69.0, "sex": "M"}


@pytest.mark.parametrize(
    ("beats", "positive", "open_"),
    [
        ([], set(), set()),
        ([(3.0, "V", "")], {"PVC"}, set()),
        ([(3.0, "A", "")], {"PAC"}, set()),
        ([(3.0, "x", "")], {"PAC"}, set()),
        ([(3.0, "V", ""), (3.4, "V", "")], {"PVC", "VCOUP"}, set()),
        ([(3.0, "V", ""), (3.4, "V", ""), (3.8, "V", "")], {"PVC"}, {"VT", "NSVT", "VCOUP"}),
        ([(3.0, "V", ""), (3.2, "~", ""), (3.4, "V", "")], {"PVC", "VCOUP"}, set()),
        ([(3.0, "V", ""), (5.0, "V", "")], {"PVC"}, set()),
        # Two of a run of three lie before the border: no couplet on either side of it.
        ([(9.3, "V", ""), (9.6, "V", ""), (10.3, "V", "")], {"PVC"}, {"VCOUP"}),
        ([(3.0, "L", "")], set(), {"CLBBB", "ILBBB"}),
        ([(3.0, "R", "")], set(), {"CRBBB", "IRBBB"}),
        ([(3.0, "E", "")], {"ESCAPE"}, set()),
        ([(3.0, "/", "")], {"PACE"}, set()),
        ([(3.0, "F", "")], set(), {"PVC"}),
    ],
)
def test_beats_give_labels(tmp_path: Path, beats: list[tuple[float, str, str]], positive: set[str], open_: set[str]) -> None:
    write_mitbih(tmp_path, "100", marks(*beats))
    item = read_mitbih(tmp_path).items[0]
    assert set(item.labels) == {"SR", *positive}
    assert open_ <= set(item.unknown)
    assert "VCOUP" in positive or "VCOUP" not in item.labels


def test_one_man_is_on_two_tapes(tmp_path: Path) -> None:
    for record in ("200", "201", "202"):
        write_mitbih(tmp_path, record, marks())
    patients = {item.path.parent.name: item.patient for item in read_mitbih(tmp_path).items}
    assert patients["201.dat"] == patients["202.dat"] != patients["200.dat"]


def test_the_modified_lead_is_taken_for_ii_or_not(tmp_path: Path) -> None:
    signal = write_mitbih(tmp_path, "100", marks())
    taken = read_mitbih(tmp_path)
    record = read_within(taken.items[0].path)
    assert record.lead_names == ("II", "V5") and record.sampling_rate == 360
    np.testing.assert_allclose(record.signal, signal, atol=6e-3)
    assert any("MLII is taken for II" in note for note in taken.notes)
    plain = read_mitbih(tmp_path, modified_leads=False)
    assert read_record(plain.items[0].path).lead_names == ("MLII", "V5")
    assert not any("MLII" in note for note in plain.notes)
    assert [item.id for item in plain.items] == [item.id for item in taken.items]
    for part in ("MLIII=II", "MLII=V9", "anything"):
        with pytest.raises(UserError, match=r"100\.dat"):
            read_within(tmp_path / "100.dat" / part)


def test_what_is_wrong_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no record of it"):
        read_mitbih(tmp_path)
    write_mitbih(tmp_path, "100", marks())
    with pytest.raises(UserError, match="not possible"):
        read_mitbih(tmp_path, seconds=0)
    (tmp_path / "100.hea").write_text("nothing\n")
    with pytest.raises(UserError, match=r"100\.atr cannot be read"):
        read_mitbih(tmp_path)
