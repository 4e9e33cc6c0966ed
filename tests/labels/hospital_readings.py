"""Readings as doctors and their systems write them, with what they mean. Written without the parser's tables."""

import random
from collections.abc import Iterator

# One label, and how it is said; the names are those that doctors use, not the catalogue's list.
SAID = {
    "SR": ["洞調律", "正常洞調律", "NSR", "sinus rhythm", "サイナスリズム"],
    "STACH": ["洞性頻脈", "洞頻脈", "sinus tachycardia"],
    "SBRAD": ["洞性徐脈", "洞徐脈", "sinus bradycardia"],
    "SARRH": ["洞性不整脈", "呼吸性不整脈"],
    "AFIB": ["心房細動", "Af", "atrial fibrillation", "発作性心房細動", "頻脈性心房細動"],
    "AFLT": ["心房粗動", "AFL", "atrial flutter"],
    "PAC": ["上室性期外収縮", "心房性期外収縮", "SVPC", "PAC", "上室期外収縮散発"],
    "PVC": ["心室性期外収縮", "VPC", "PVC", "心室期外収縮散発", "心室性期外収縮頻発"],
    "PACE": ["ペースメーカー調律", "ペーシング調律", "心室ペーシング"],
    "JUNC": ["接合部調律", "junctional rhythm"],
    "EAR": ["異所性心房調律"],
    "1AVB": ["1度房室ブロック", "Ⅰ度房室ブロック", "1°AVB", "第1度房室ブロック"],
    "3AVB": ["完全房室ブロック", "3度房室ブロック", "CAVB"],
    "WENCK": ["ウェンケバッハ型2度房室ブロック", "Ⅱ度房室ブロック(Wenckebach型)"],
    "HIGHAVB": ["高度房室ブロック"],
    "LPR": ["PQ延長", "PR延長"],
    "CRBBB": ["完全右脚ブロック", "CRBBB", "完全右脚ﾌﾞﾛｯｸ", "complete RBBB"],
    "IRBBB": ["不完全右脚ブロック", "IRBBB", "不完全右脚ﾌﾞﾛｯｸ"],
    "CLBBB": ["完全左脚ブロック", "CLBBB"],
    "LAFB": ["左脚前枝ブロック", "LAFB", "LAH"],
    "IVCD": ["心室内伝導障害", "IVCD", "心室内伝導遅延"],
    "WPW": ["WPW症候群", "WPW型", "デルタ波"],
    "LAXD": ["左軸偏位", "LAD", "軽度左軸偏位", "高度左軸偏位", "左軸変位"],
    "RAXD": ["右軸偏位", "RAD"],
    "CWROT": ["時計方向回転", "時計回転"],
    "CCWROT": ["反時計方向回転", "反時計回転"],
    "LVH": ["左室肥大", "LVH", "左室肥大(ストレイン型)"],
    "RVH": ["右室肥大", "RVH"],
    "VCLVH": ["左室高電位", "左室高電位差"],
    "LVOLT": ["低電位", "低電位差", "四肢誘導低電位", "low voltage"],
    "LAO/LAE": ["左房負荷", "左房拡大", "LAE"],
    "RAO/RAE": ["右房負荷", "肺性P"],
    "IMI": ["下壁梗塞", "陳旧性下壁梗塞", "陳旧性下壁心筋梗塞", "下壁心筋梗塞", "OMI(下壁)"],
    "ASMI": ["前壁中隔梗塞", "陳旧性前壁中隔梗塞", "急性前壁中隔心筋梗塞"],
    "AMI": ["前壁梗塞", "陳旧性前壁心筋梗塞"],
    "LMI": ["側壁梗塞", "陳旧性側壁心筋梗塞"],
    "QWAVE": ["異常Q波", "II,III,aVFの異常Q波", "V1-3に異常Q波", "abnormal Q"],
    "PRWP": ["R波増高不良", "poor R progression", "R波の増高不良"],
    "STT": ["ST-T変化", "ST-T異常", "非特異的ST-T変化", "軽度のST-T変化", "ST-T change"],
    "STD_": ["ST低下", "V4-6でST低下", "II、III、aVFのST低下", "軽度ST低下"],
    "STE_": ["ST上昇", "V2-4のST上昇"],
    "INVT": ["陰性T波", "陰性T", "V1-V4の陰性T波", "T波陰転化", "I,aVL,V5-6に陰性T"],
    "LOWT": ["平低T波", "平低T", "T波平低化"],
    "TTALL": ["T波増高"],
    "NEGU": ["陰性U波"],
    "LNGQT": ["QT延長", "QTc延長"],
    "ERP": ["早期再分極"],
    "BRUG": ["Brugada型心電図", "Brugada型"],
    "ISC_": ["虚血性変化", "虚血性ST-T変化"],
    "VCOUP": ["心室性期外収縮2連発", "心室期外収縮(2連発)"],
    "NSVT": ["非持続性心室頻拍", "NSVT"],
    "SVTAC": ["上室性頻拍", "SVT"],
    "SARREST": ["洞停止"],
    "SABLOCK": ["洞房ブロック", "SAブロック"],
}
WHOLE = ["正常範囲", "正常心電図", "異常なし", "WNL", "正常範囲内", "n.p."]
DOUBT = [
    "{}の疑い",
    "{}疑い",
    "{}を疑う",
    "{}の可能性",
    "{}の可能性あり",
    "{}は否定できない",
    "{}を否定できず",
    "s/o {}",
    "{}?",
    "{}(±)",
    "susp. {}",
    "{}疑",
]
DENIAL = ["{}なし", "{}は認めず", "{}を認めない", "{}(-)", "{}は見られない", "明らかな{}なし", "有意な{}を認めず"]
STATED = ["{}", "{}", "{}", "{}", "{}あり", "{}を認める", "{}(+)"]
NOISE = [
    "前回と変化なし",
    "著変なし",
    "以前と変化なし",
    "要経過観察",
    "心拍数 72/分",
    "HR 60bpm",
    "前回と比較して著変なし",
    "ペースメーカー植え込み後",
    "記録良好",
]
JOINS = ["、", "、", "、", ",", ", ", "，", "。", " / ", "／", "\n", "；", ";", "　", "\r\n"]
NUMBERS = [
    "①②③④⑤⑥",
    ["1.", "2.", "3.", "4.", "5.", "6."],
    ["1)", "2)", "3)", "4)", "5)", "6)"],
    ["(1)", "(2)", "(3)", "(4)", "(5)", "(6)"],
    ["・"] * 6,
]
DENIED = ["QWAVE", "STD_", "STE_", "INVT", "LVH", "AFIB", "PVC", "STT", "LAO/LAE", "WPW", "CRBBB"]


def write_readings(count: int, seed: int = 0) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield readings with label id to ``positive``, ``hedged`` or ``negated``."""
    rng = random.Random(seed)
    for _ in range(count):
        yield _one(rng)


def _one(rng: random.Random) -> tuple[str, dict[str, str]]:
    if rng.random() < 0.08:
        rhythm = rng.choice(["", "洞調律、"])
        return rhythm + rng.choice(WHOLE), {"NORM": "positive"} | ({"SR": "positive"} if rhythm else {})
    meaning: dict[str, str] = {}
    pieces = []
    for label in rng.sample(sorted(SAID), rng.randint(1, 5)):
        chance = rng.random()
        if chance < 0.15:
            form, state = rng.choice(DOUBT), "hedged"
        elif chance < 0.28 and label in DENIED:
            form, state = rng.choice(DENIAL), "negated"
        else:
            form, state = rng.choice(STATED), "positive"
        pieces.append(form.format(rng.choice(SAID[label])))
        meaning[label] = state
    if rng.random() < 0.25:
        pieces.insert(rng.randint(0, len(pieces)), rng.choice(NOISE))
    if rng.random() < 0.25:
        numbers = rng.choice(NUMBERS)
        text = rng.choice(["\n", " "]).join(f"{number}{piece}" for number, piece in zip(numbers, pieces, strict=False))
    else:
        join = rng.choice(JOINS)
        # A denial with a verb reaches back over commas: a sentence of its own keeps it to what it denies.
        text = "。".join(pieces) if any(piece.endswith(("認めず", "認めない", "見られない")) for piece in pieces) else join.join(pieces)
    return text, meaning
