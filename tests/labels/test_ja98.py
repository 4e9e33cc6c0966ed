"""The built-in catalogue against the clinical rules that it was written to."""

import itertools
import os
import unicodedata
from pathlib import Path

import pandas as pd
import pytest

from ecgclip.labels import Catalogue

# The statements of PTB-XL in the order of its scp_statements.csv.
STATEMENTS = """
NDT NST_ DIG LNGQT NORM IMI ASMI LVH LAFB ISC_ IRBBB 1AVB IVCD ISCAL CRBBB CLBBB ILMI LAO/LAE AMI ALMI ISCIN INJAS LMI
ISCIL LPFB ISCAS INJAL ISCLA RVH ANEUR RAO/RAE EL WPW ILBBB IPLMI ISCAN IPMI SEHYP INJIN INJLA PMI 3AVB INJIL 2AVB ABQRS
PVC STD_ VCLVH QWAVE LOWT NT_ PAC LPR INVT LVOLT HVOLT TAB_ STE_ PRC(S) SR AFIB STACH SARRH SBRAD PACE SVARR BIGU AFLT
SVTAC PSVT TRIGU
"""
UNSEEABLE = "NDT NST_ NT_ TAB_ ABQRS ISC_ PRC(S) SVARR PSVT EL DIG ANEUR SEHYP INJAS INJAL INJIN INJLA INJIL STT"
ST_LABELS = "NST_ STD_ STE_ STT ISC_ ISCAL ISCIN ISCIL ISCAS ISCLA ISCAN INJAS INJAL INJIN INJLA INJIL STEMI"
PTBXL = STATEMENTS.split()
BEYOND = {
    "LAXD": "左軸偏位",
    "RAXD": "右軸偏位",
    "INDAX": "不定軸",
    "CWROT": "時計方向回転",
    "CCWROT": "反時計方向回転",
    "PRWP": "R波増高不良",
    "RSRP": "RSR'パターン",
    "STT": "ST-T変化",
    "ERP": "早期再分極",
    "BRUG": "Brugada型心電図",
    "TTALL": "T波増高",
    "NEGU": "陰性U波",
    "STEMI": "ST上昇型急性心筋梗塞",
    "SPQ": "PQ短縮",
    "SARREST": "洞停止",
    "SABLOCK": "洞房ブロック",
    "WENCK": "ウェンケバッハ型2度房室ブロック",
    "MOBITZ2": "モビッツII型2度房室ブロック",
    "AVB2TO1": "2対1房室ブロック",
    "HIGHAVB": "高度房室ブロック",
    "EAR": "異所性心房調律",
    "JUNC": "接合部調律",
    "ESCAPE": "補充収縮",
    "VCOUP": "心室期外収縮2連発",
    "NSVT": "非持続性心室頻拍",
    "VT": "心室頻拍",
    "ALEAD": "四肢電極の付け違い",
}
WALLS = {"AN": "前壁", "AS": "前壁中隔", "AL": "前側壁", "LA": "側壁", "IN": "下壁", "IL": "下側壁"}
CANONICAL = {
    "AMI": "前壁梗塞",
    "ASMI": "前壁中隔梗塞",
    "ALMI": "前側壁梗塞",
    "LMI": "側壁梗塞",
    "IMI": "下壁梗塞",
    "ILMI": "下側壁梗塞",
    "PMI": "後壁梗塞",
    "IPMI": "下後壁梗塞",
    "IPLMI": "下後側壁梗塞",
    "ISC_": "虚血性ST-T変化",
    **{f"ISC{wall}": f"虚血性ST-T変化({ja})" for wall, ja in WALLS.items()},
    **{f"INJ{wall}": f"心内膜下傷害({ja})" for wall, ja in WALLS.items() if wall != "AN"},
    "NDT": "診断的意義に乏しいT波異常",
    "NST_": "非特異的ST変化",
    "NT_": "非特異的T波変化",
    "LAO/LAE": "左房負荷",
    "RAO/RAE": "右房負荷",
    "ANEUR": "心室瘤を疑うST-T変化",
    "EL": "電解質異常・薬剤性ST-T変化の疑い",
    "SEHYP": "心室中隔肥大",
    "ABQRS": "QRS波形異常",
    "LPR": "PQ延長",
    "1AVB": "1度房室ブロック",
    "PAC": "心房期外収縮",
    "PACE": "ペースメーカ調律",
    "SR": "洞調律",
}


@pytest.fixture(scope="module")
def ja98() -> Catalogue:
    return Catalogue.load("ja98")


@pytest.fixture(scope="module")
def by_id(ja98):
    return {label.id: label for label in ja98}


def key(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def test_ids_and_their_order(ja98):
    assert ja98.ids == (*PTBXL, *BEYOND)
    assert len(ja98) == 98
    assert [label.id for label in ja98 if "scp" in label.codes] == PTBXL
    assert all(label.codes["scp"] == (label.id,) for label in ja98 if "scp" in label.codes)


def test_ids_are_those_of_the_data_set():
    folder = os.environ.get("ECGCLIP_PTBXL")
    if not folder:
        pytest.skip("ECGCLIP_PTBXL names no folder of PTB-XL")
    assert list(pd.read_csv(Path(folder) / "scp_statements.csv", index_col=0).index) == PTBXL


def test_canonical_names(by_id):
    for name, ja in (CANONICAL | BEYOND).items():
        assert by_id[name].ja == ja
    assert {"左房拡大", "僧帽性P"} <= set(by_id["LAO/LAE"].texts)
    assert {"右房拡大", "肺性P"} <= set(by_id["RAO/RAE"].texts)
    assert {"上室期外収縮", "上室性期外収縮"} <= set(by_id["PAC"].texts)
    assert "正常洞調律" in by_id["SR"].texts


def test_every_entry_is_whole(ja98):
    for label in ja98:
        assert label.en, label.id
        assert label.group, label.id
        assert label.source, label.id
        assert label.prompts[0] == label.ja
        assert set(label.prompts) <= set(label.texts)
        assert label.criterion or not label.visible, label.id


def test_no_text_belongs_to_two_labels(ja98):
    owner = {}
    for label in ja98:
        for text in label.texts:
            assert owner.setdefault(key(text), label.id) == label.id


def test_no_scp_code_is_an_abbreviation(ja98):
    codes = {key(code) for code in PTBXL} | {"lad", "lae"}
    assert not [(label.id, text) for label in ja98 for text in label.texts if key(text) in codes]


@pytest.mark.parametrize(
    "text",
    [
        *("QT延長症候群", "Brugada症候群", "ブルガダ症候群", "LGL症候群", "早期再分極症候群"),  # Diseases, not findings.
        *("心筋虚血", "心筋梗塞", "急性心筋梗塞", "ペースメーカ植え込み後", "右脚ブロック", "左脚ブロック", "徐脈", "頻脈", "AF"),
    ],
)
def test_names_of_something_else_are_no_synonyms(ja98, text):
    assert text not in {unicodedata.normalize("NFKC", name) for label in ja98 for name in label.texts}


@pytest.mark.parametrize("mark", ["右", "左", "不完全", "反時計", "側壁", "中隔", "延長", "短縮", "非持続", "非特異"])
def test_side_and_degree_are_said_in_every_name(ja98, by_id, mark):
    said_otherwise = {"僧帽性P", "僧帽性P波", "肺性P", "肺性P波", "心室期外収縮ショートラン", *by_id["IVCD"].texts, *by_id["STT"].texts}
    for label in ja98:
        for text in {*label.synonyms, *label.prompts} - said_otherwise:
            assert (mark in text) == (mark in label.ja), (label.id, text)


def test_infarcts_are_stage_neutral(ja98):
    for label in ja98:
        if label.id in CANONICAL and label.id.endswith("MI"):
            assert not [text for text in label.texts if "急性" in text or "陳旧" in text or "新鮮" in text]


def test_visible_is_the_published_list(ja98):
    assert {label.id for label in ja98 if not label.visible} == set(UNSEEABLE.split())


def test_only_these_imply_another(ja98):
    implied = {label.id: label.implies for label in ja98 if label.implies}
    kinds = dict.fromkeys(["WENCK", "MOBITZ2", "AVB2TO1", "HIGHAVB"], ("2AVB",))
    assert implied == kinds | {"VCOUP": ("PVC",), "NSVT": ("VT",), "STEMI": ("STE_",)}


def pairs(one: str, others: str) -> list[tuple[str, str]]:
    return list(itertools.product(one.split(), others.split()))


@pytest.mark.parametrize(
    "pair",
    [
        *pairs("AFIB", "PAC LAO/LAE RAO/RAE LPR 1AVB SPQ SARREST SABLOCK WENCK SR STACH SBRAD SARRH EAR"),
        *pairs("3AVB", "LPR 1AVB"),
        *pairs("PACE WPW CLBBB", f"VCLVH HVOLT QWAVE {ST_LABELS}"),
        *pairs("CRBBB CLBBB", "IRBBB ILBBB"),
        *[("LAXD", "RAXD"), ("CWROT", "CCWROT"), ("LVOLT", "HVOLT"), ("STACH", "SBRAD"), ("LPR", "SPQ"), ("LAFB", "LPFB")],
    ],
    ids="-".join,
)
def test_what_does_not_occur_together(ja98, pair):
    assert ja98.conflicts(pair)


@pytest.mark.parametrize(
    "pair",
    [
        *pairs("SR", "SBRAD 3AVB WENCK NSVT PVC"),
        *pairs("AFIB", "CLBBB PVC NSVT"),
        ("CRBBB", "LAFB"),
        ("1AVB", "LPR"),
        ("LAFB", "LAXD"),
        ("IMI", "STE_"),
    ],
    ids="-".join,
)
def test_what_occurs_together(ja98, pair):
    assert not ja98.conflicts(pair)


def test_a_normal_ecg_stands_beside_sinus_rhythm_only(ja98):
    beside = {name for name in ja98.ids if not ja98.conflicts(["NORM", name])}
    assert beside == {"NORM", "SR", "SBRAD", "SARRH"}
