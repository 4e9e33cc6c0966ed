"""Readings as they are written, and what they mean."""

import csv
import os
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgclip.errors import UserError
from ecgclip.labels import Catalogue
from ecgclip.labels.build import with_hedged
from ecgclip.labels.reading import ReadingParser
from ecgclip.labels.segments import normalise
from tests.labels.hospital_readings import write_readings

CATALOGUE = Catalogue.load("ja98")
PARSER = ReadingParser(CATALOGUE)
with open(Path(__file__).with_name("readings.tsv"), encoding="utf-8", newline="") as file:
    WRITTEN = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.mark.parametrize("row", WRITTEN, ids=lambda row: row["reading"])
def test_what_is_written_is_understood(row: dict[str, str]) -> None:
    read = PARSER.parse(row["reading"])
    for state in ("positive", "hedged", "negated"):
        assert set(getattr(read, state)) == set((row[state] or "").split()), state


@pytest.mark.parametrize("label", list(CATALOGUE), ids=lambda label: label.id)
def test_every_name_of_a_label_means_it(label) -> None:
    for name in (*label.texts, label.en, *label.synonyms_en):
        assert label.id in PARSER.parse(name).positive, name
        beside = "洞性不整脈" if label.id == "NORM" else "低電位"
        assert label.id in PARSER.parse(f"洞性徐脈、{name}、{beside}").positive, name


def test_a_thousand_readings_of_hospital_style_are_parsed() -> None:
    """Circular: who wrote the generator knows how the parser thinks, though neither uses the other's words."""
    right = wrong = missed = states = told = 0
    for text, expected in write_readings(1000, seed=1):
        read = PARSER.parse(text)
        positive = set(read.positive)
        wanted = set(CATALOGUE.implied(label for label, state in expected.items() if state == "positive"))
        right += len(positive & wanted)
        wrong += len(positive - wanted)
        missed += len(wanted - positive)
        for label, state in expected.items():
            if state != "positive" and label not in wanted:
                told += 1
                states += label in getattr(read, state)
    assert right > 1500
    assert right / (right + wrong) >= 0.98
    assert right / (right + missed) >= 0.98
    assert told > 300
    assert states / told >= 0.95


@pytest.mark.parametrize(
    ("af", "label"),
    [("fibrillation", "AFIB"), ("flutter", "AFLT")],
)
def test_what_af_means_is_for_the_hospital_to_say(af: str, label: str) -> None:
    assert ReadingParser(CATALOGUE, af=af).parse("AF、CRBBB").positive == tuple(sorted(("CRBBB", label), key=CATALOGUE.index))
    assert ReadingParser(CATALOGUE, af=af).parse("Af").positive == ("AFIB",)
    asked = PARSER.parse("AF")
    assert set(asked.open) == {"AFIB", "AFLT"}
    assert "--af" in asked.notes[0]


@pytest.mark.parametrize(
    ("text", "modifiers"),
    [
        ("陳旧性下壁心筋梗塞", {"IMI": "陳旧性"}),
        ("急性前壁中隔梗塞", {"ASMI": "急性"}),
        ("下壁OMI", {"IMI": "陳旧性"}),
        ("下壁梗塞(陳旧性)", {"IMI": "陳旧性"}),
        ("亜急性前壁梗塞", {"AMI": "亜急性"}),
        ("old inferior MI", {"IMI": "陳旧性"}),
        ("下壁梗塞", {}),
        ("急性心不全、左室肥大", {}),
    ],
)
def test_the_age_belongs_to_an_infarct(text: str, modifiers: dict[str, str]) -> None:
    assert PARSER.parse(text).modifiers == modifiers


def test_what_is_said_too_broadly_leaves_its_kinds_open() -> None:
    assert set(PARSER.parse("右脚ブロック").open) == {"CRBBB", "IRBBB"}
    assert PARSER.parse("右脚ブロック、完全右脚ブロック").open == ("IRBBB",)
    assert set(PARSER.parse("房室ブロックなし").negated) >= {"1AVB", "2AVB", "3AVB"}
    assert PARSER.parse("徐脈なし").negated == ()  # No bradycardia is no denial of a second-degree block.


def test_suspicions_can_be_kept_or_set_apart() -> None:
    text = "左室肥大の疑い、洞調律"
    assert PARSER.parse(text).hedged == ("LVH",)
    kept = ReadingParser(CATALOGUE, hedged="keep").parse(text)
    assert (set(kept.positive), kept.hedged) == ({"LVH", "SR"}, ())
    apart = ReadingParser(with_hedged(CATALOGUE), hedged="separate").parse(text)
    assert (set(apart.positive), apart.hedged) == ({"LVH?", "SR"}, ())
    for options in ({"hedged": "maybe"}, {"af": "both"}):
        with pytest.raises(UserError, match="is not one of"):
            ReadingParser(CATALOGUE, **options)


def test_what_is_stated_wins_over_what_is_denied() -> None:
    read = PARSER.parse("ST低下あり。aVRではST低下なし。")
    assert (read.positive, read.negated) == (("STD_",), ())
    assert read.notes == ("STD_ is stated and denied: taken as stated",)


def test_a_catalogue_of_ones_own_is_read_by_its_own_names() -> None:
    own = Catalogue.from_entries([{"id": "x1", "ja": "移行帯の偏位", "synonyms": ["移行帯偏位"]}, {"id": "AFIB", "ja": "心房細動"}])
    read = ReadingParser(own).parse("移行帯偏位、洞調律、CRBBB、AF rhythm")
    assert read.positive == ("x1", "AFIB")
    assert read.unmatched == ("洞調律", "CRBBB")


def test_what_nobody_understands_is_listed_as_it_is_compared() -> None:
    assert PARSER.parse("洞調律、ﾍﾟﾝﾃﾞｨﾝｸﾞ 72/分").unmatched == ("ペンディング",)


def test_numbering_goes_before_widths_are_made_one() -> None:
    assert normalise("①１度房室ﾌﾞﾛｯｸ") == "\n1度房室ブロック"


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=80))
def test_no_text_is_too_strange(text: str) -> None:
    read = PARSER.parse(text)
    assert not set(read.positive) & set(read.negated)
    assert not set(read.positive) & set(read.hedged)
    assert not set(read.open) & {*read.positive, *read.hedged, *read.negated}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([row["reading"] for row in WRITTEN if row["positive"]]), min_size=1, max_size=4))
def test_sentences_do_not_change_each_other(parts: list[str]) -> None:
    alone = {label for part in parts for label in PARSER.parse(part).positive}
    if any("NORM" in pair for pair in CATALOGUE.conflicts(alone)):
        alone -= {"NORM"}
    assert set(PARSER.parse("。".join(parts)).positive) == alone


def test_normal_beside_a_finding_judges_the_finding() -> None:
    read = PARSER.parse("不完全右脚ブロック、正常範囲内")
    assert (read.positive, read.open) == (("IRBBB",), ("NORM",))
    assert "left open" in read.notes[0]
    assert set(PARSER.parse("洞性徐脈、正常範囲内").positive) == {"NORM", "SBRAD"}


@pytest.mark.skipif("ECGCLIP_PTBXL" not in os.environ, reason="PTB-XL is not here: set ECGCLIP_PTBXL to its folder")
def test_german_and_english_reports_do_no_harm() -> None:
    reports = pd.read_csv(Path(os.environ["ECGCLIP_PTBXL"]) / "ptbxl_database.csv", usecols=["report"])["report"].fillna("")
    assert len(reports) > 1000
    for text in reports:
        PARSER.parse(text)
