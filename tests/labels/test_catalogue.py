"""A catalogue of one's own: what is read, what is refused with one line, and what labels entail."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ecgclip.errors import UserError
from ecgclip.labels import NEGATIVE, POSITIVE, UNKNOWN, Catalogue
from ecgclip.labels.captions import joined_caption

MINE = """
- id: AF
  ja: 心房細動
  synonyms: [心房細動調律]
  abbreviations: [Af]
  codes: {scp: [AFIB], local: ["12", "13"]}
  excludes: [SR]
- id: SR
  ja: 洞調律
  excludes: [AF]
  visible: false
- {id: BLOCK, ja: 房室ブロック, prompts: [房室ブロックあり]}
- {id: AVB2, ja: 2度房室ブロック, implies: [BLOCK], codes: {scp: [2AVB]}}
- {id: W, ja: ウェンケバッハ型2度房室ブロック, implies: [AVB2], codes: {scp: [2AVB]}}
"""


@pytest.fixture
def mine(tmp_path: Path) -> Catalogue:
    return read(tmp_path, MINE)


def read(folder: Path, text: str | bytes) -> Catalogue:
    path = folder / "mine.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Catalogue.load(path)


def test_what_is_left_out_has_a_default(mine):
    fibrillation, sinus, block, *_ = mine
    assert mine.ids == ("AF", "SR", "BLOCK", "AVB2", "W")
    assert len(mine) == 5
    assert mine.index("BLOCK") == 2
    assert fibrillation.texts == fibrillation.prompts == ("心房細動", "心房細動調律", "Af")
    assert (fibrillation.en, fibrillation.criterion, fibrillation.implies) == ("", "", ())
    assert (fibrillation.visible, sinus.visible) == (True, False)
    assert (block.texts, block.prompts) == (("房室ブロック",), ("房室ブロックあり",))


def test_names_are_given_once(tmp_path):
    label = next(iter(read(tmp_path, "- {id: A, ja: 低電位, synonyms: [低電位差, 低電位], abbreviations: [低電位差]}")))
    assert label.texts == ("低電位", "低電位差")


def test_codes_lead_to_labels(mine):
    assert mine.by_code("scp", "2AVB") == ["AVB2", "W"]
    assert mine.by_code("local", "13") == ["AF"]
    assert mine.by_code("snomed", "13") == []


def test_implication_goes_all_the_way_both_ways(mine):
    assert mine.implied(["W"]) == {"W", "AVB2", "BLOCK"}
    assert mine.implied(["AF", "BLOCK"]) == {"AF", "BLOCK"}
    assert mine.with_implying(["BLOCK"]) == {"W", "AVB2", "BLOCK"}
    assert mine.with_implying(["SR"]) == {"SR"}
    assert mine.implied([]) == mine.with_implying([]) == frozenset()


def test_conflicts_reach_through_what_is_implied(tmp_path, mine):
    assert mine.conflicts(["SR", "W", "AF"]) == [("AF", "SR")]
    assert mine.conflicts(["W", "AF"]) == []
    text = MINE.replace("implies: [BLOCK]", "implies: [BLOCK, SR]")
    assert read(tmp_path, text).conflicts(["W", "AF"]) == [("AF", "W")]


def test_states_of_a_record(mine):
    assert mine.states(["AF"]).tolist() == [POSITIVE, NEGATIVE, NEGATIVE, NEGATIVE, NEGATIVE]
    assert mine.states(["W"]).tolist() == [NEGATIVE, NEGATIVE, POSITIVE, POSITIVE, POSITIVE]
    # A suspected kind leaves the finding that it is a kind of open; one that is seen is seen.
    assert mine.states([], ["W"]).tolist() == [NEGATIVE, NEGATIVE, UNKNOWN, UNKNOWN, UNKNOWN]
    assert mine.states(["BLOCK"], ["W"]).tolist() == [NEGATIVE, NEGATIVE, POSITIVE, UNKNOWN, UNKNOWN]
    annotated = ["AF", "SR", "AVB2", "of another catalogue"]
    assert mine.states(["AF"], annotated=annotated).tolist() == [POSITIVE, NEGATIVE, UNKNOWN, NEGATIVE, UNKNOWN]
    assert mine.states(["AVB2"], annotated=annotated).tolist() == [NEGATIVE, NEGATIVE, POSITIVE, POSITIVE, UNKNOWN]
    assert mine.states([]).dtype == np.int8


IDS = [f"L{number}" for number in range(9)]
# An implication points to a later label, so that chains of any shape arise without a circle.
IMPLICATIONS = st.lists(st.sets(st.integers(1, 8), max_size=3), min_size=9, max_size=9)
SUBSET = st.sets(st.sampled_from(IDS))


def entries(implications: list[set[int]]) -> list[dict[str, Any]]:
    return [
        {"id": name, "ja": f"所見{name}", "implies": [IDS[row + step] for step in sorted(steps) if row + step < 9]}
        for row, (name, steps) in enumerate(zip(IDS, implications, strict=True))
    ]


@given(IMPLICATIONS, SUBSET, SUBSET, st.none() | SUBSET)
def test_states_hold_what_they_promise(implications, positives, unknown, annotated):
    catalogue = Catalogue.from_entries(entries(implications))
    states = dict(zip(catalogue.ids, catalogue.states(positives, unknown, annotated).tolist(), strict=True))
    for label in catalogue:
        state = states[label.id]
        assert (state == POSITIVE) == (label.id in catalogue.implied(positives))
        if state == NEGATIVE:
            assert label.id not in unknown
            assert annotated is None or label.id in annotated
        for other in label.implies:
            assert state != POSITIVE or states[other] == POSITIVE
            assert label.id not in unknown or states[other] != NEGATIVE


@given(IMPLICATIONS, SUBSET)
def test_implied_is_the_smallest_closed_set(implications, ids):
    catalogue = Catalogue.from_entries(entries(implications))
    reached = set(ids)
    for label in catalogue:  # In this order every label comes before those that it implies.
        if label.id in reached:
            reached |= set(label.implies)
    assert catalogue.implied(ids) == reached
    assert catalogue.with_implying(ids) == {name for name in IDS if catalogue.implied([name]) & ids}


def test_entries_make_the_same_catalogue_again(mine):
    plain = yaml.safe_load(yaml.safe_dump(mine.entries(), allow_unicode=True))
    again = Catalogue.from_entries(plain)
    assert again.labels == mine.labels
    assert again.fingerprint == mine.fingerprint


def test_fingerprint_changes_with_what_a_model_depends_on(tmp_path, mine):
    for old, new in (
        ("- id: SR\n  ja: 洞調律\n", "- id: SR\n  ja: 正常洞調律\n"),
        ("房室ブロックあり", "房室ブロックを認める"),
        ("implies: [AVB2]", "implies: [BLOCK]"),
        ("{id: W,", "{id: V,"),
    ):
        assert read(tmp_path, MINE.replace(old, new)).fingerprint != mine.fingerprint
    assert Catalogue(reversed(mine.labels)).fingerprint != mine.fingerprint
    assert read(tmp_path, MINE.replace("visible: false", "visible: false\n  criterion: P")).fingerprint == mine.fingerprint


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("- {id: A, ja: 低電位}\n- {id: A, ja: 高電位}", ["entry 2", "'A'", "entry 1"]),
        ("- {id: A, ja: ＳＴ低下}\n- {id: B, ja: x, synonyms: [st低下]}", ["B: 'st低下'", "name of A", "'ＳＴ低下'", "NFKC"]),
        ("- {id: A, ja: x, prompts: [ST低下]}\n- {id: B, ja: ST低下}", ["B: 'ST低下'", "name of A"]),
        ("- {id: A, ja: ' '}", ["entry 1 (A)", "ja", "empty"]),
        ("- {id: A, ja: 低電位, synonyms: ['']}", ["entry 1 (A)", "synonyms", "empty"]),
        ("- {id: A, ja: 低電位, prompts: [低電位, null]}", ["entry 1 (A)", "prompts", "None", "quotes"]),
        ("- {id: A, ja: 低電位, synonyms: 低電位差}", ["entry 1 (A)", "synonyms", "'低電位差'", "list"]),
        ("- {id: A, ja: 低電位, synonym: [低電位差]}", ["entry 1 (A)", "'synonym'", "mean 'synonyms'"]),
        ("- {id: A, ja: 低電位, qqqq: 1}", ["entry 1 (A)", "'qqqq'", "known are id, ja"]),
        ("- {id: A, ja: 低電位}\n- {ja: 高電位}", ["entry 2", "id is missing"]),
        ("- {id: A}", ["entry 1 (A)", "ja is missing"]),
        ("- {id: 12, ja: 低電位}", ["entry 1", "id", "12", "quotes"]),
        ("- {id: A, ja: 低電位, visible: maybe}", ["entry 1 (A)", "visible", "'maybe'", "true or false"]),
        ("- {id: A, ja: 低電位, codes: [LVOLT]}", ["entry 1 (A)", "codes", "['LVOLT']", "{scp: [AFIB]}"]),
        ("- {id: A, ja: 低電位, codes: {aha: [125]}}", ["entry 1 (A)", "codes.aha", "125", "quotes"]),
        ("- {id: A, ja: 低電位, en: 3}", ["entry 1 (A)", "en", "3", "quotes"]),
        ("- {id: LVOLT, ja: 低電位}\n- {id: B, ja: x, implies: [LVOLTS]}", ["B: implies", "'LVOLTS'", "mean 'LVOLT'"]),
        ("- {id: A, ja: 低電位, excludes: [ZZZ]}", ["A: excludes", "'ZZZ'", "known are A"]),
        ("- {id: A, ja: 低電位, excludes: [B]}\n- {id: B, ja: 高電位}", ["A: excludes B", "add it there"]),
        ("- {id: A, ja: x, implies: [B], excludes: [B]}\n- {id: B, ja: y, excludes: [A]}", ["A: excludes what it implies"]),
        ("- 低電位", ["entry 1", "'低電位'", "no mapping"]),
        ("A: {ja: 低電位}", ["no list"]),
        ("", ["no list"]),
        ("[]", ["no label"]),
        ("- {id: A, ja: 低電位\n- b", ["not YAML", "line 2"]),
        ("- !!python/object/apply:os.system [ls]", ["not YAML", "line 1", "python/object"]),
        ("- {id: A, ja: 低電位}".encode("cp932"), ["not UTF-8", "save it as UTF-8"]),
        (b"- {id: A, ja: \x00}", ["not YAML"]),
    ],
)
def test_a_mistake_is_one_line_that_says_where(tmp_path, text, parts):
    with pytest.raises(UserError) as caught:
        read(tmp_path, text)
    message = str(caught.value)
    assert message.startswith("mine.yaml")
    assert "\n" not in message
    for part in parts:
        assert part in message, message


def test_a_missing_file_and_a_folder_name_what_there_is(tmp_path):
    for name in ("ja99", str(tmp_path / "nowhere.yaml"), tmp_path):
        with pytest.raises(UserError, match="cannot be read .* or one of ja98$"):
            Catalogue.load(name)


def test_a_byte_order_mark_does_no_harm(tmp_path):
    assert read(tmp_path, "- {id: A, ja: 低電位}".encode("utf-8-sig")).ids == ("A",)


def test_labels_that_do_not_exist_are_refused(mine):
    for ask in (mine.index, lambda name: mine.implied([name]), lambda name: mine.with_implying([name])):
        with pytest.raises(UserError, match="mine.yaml holds no label 'AVB': did you mean 'AVB2'"):
            ask("AVB")
    for arguments in ((["X"],), ([], ["X"])):
        with pytest.raises(UserError, match="holds no label 'X'"):
            mine.states(*arguments)


def test_joined_caption_is_one_line():
    assert joined_caption(["洞調律", "完全右脚ブロック", "洞調律"]) == "洞調律、完全右脚ブロック"
    assert joined_caption([]) == ""


def test_importing_labels_brings_nothing_heavy():
    heavy = ["torch", "transformers", "matplotlib", "neurokit2", "lightning", "pandas"]
    code = f"import sys, ecgclip.labels, ecgclip.labels.captions; print([name for name in {heavy} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
