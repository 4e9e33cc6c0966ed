import pytest

from ecgclip.evaluation.prompts import PROMPT_SETS, Leak, Prompt, leaks, prompts_of
from ecgclip.labels import Catalogue

CATALOGUE = Catalogue.load("ja98")


@pytest.mark.parametrize("name", PROMPT_SETS)
def test_no_prompt_of_a_set_names_another_class(name):
    prompts = prompts_of(CATALOGUE, name)
    assert {prompt.label for prompt in prompts} == set(range(len(CATALOGUE)))
    assert leaks(CATALOGUE, prompts) == []


def test_sets_are_what_they_are_called():
    texts = {name: [p.text for p in prompts_of(CATALOGUE, name) if p.label == CATALOGUE.index("CRBBB")] for name in PROMPT_SETS}
    assert texts["single"] == ["完全右脚ブロック"]
    assert set(texts["single"]) < set(texts["synonyms"]) < set(texts["mixed"])
    assert all(text.isascii() for text in texts["english"])
    assert set(texts["mixed"]) == {*texts["synonyms"], *texts["english"]}


def test_a_prompt_that_names_another_class_is_found():
    column = CATALOGUE.index("LVH")
    found = leaks(CATALOGUE, [Prompt(column, "左室肥大、左軸偏位"), Prompt(column, "LV hypertrophy with Atrial Fibrillation")])
    assert found == [
        Leak("LVH", "左室肥大、左軸偏位", "LAXD", "左軸偏位"),
        Leak("LVH", "LV hypertrophy with Atrial Fibrillation", "AFIB", "atrial fibrillation"),
    ]


def test_the_longest_name_counts_and_what_is_implied_may_be_named():
    # 不完全左脚ブロック contains 完全左脚ブロック as letters, not as a name.
    assert leaks(CATALOGUE, [Prompt(CATALOGUE.index("ILBBB"), "心電図: 不完全左脚ブロック")]) == []
    assert leaks(CATALOGUE, [Prompt(CATALOGUE.index("WENCK"), "ウェンケバッハ型の2度房室ブロック")]) == []
    assert [leak.other for leak in leaks(CATALOGUE, [Prompt(CATALOGUE.index("2AVB"), "ブロックはウェンケバッハ型2度房室ブロック")])] == [
        "WENCK"
    ]
