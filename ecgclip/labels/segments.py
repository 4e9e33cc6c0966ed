"""Reading text as it comes out of ECG management systems, brought into one spelling and ready to be cut into pieces."""

import re
import unicodedata

# Where a piece of a reading ends. Those of ENDS end a sentence: what is denied behind one is not denied before it.
ENDS = ";。\n"
SEPARATORS = ENDS + ",、・/|+→⇒&"
_CIRCLED = re.compile(r"[\u2460-\u249b\u24ea-\u24ff\u2776-\u2793\u3220-\u3229\u3280-\u3289]")  # ① ⑴ ⒈ ❶ ㈠ ㊀
_NUMBER = r"[(\[]?\d{1,2}[)\].](?:(?![\d:])|(?=[123](?:°|度)))|#\d{1,2}[.:)]?(?=\D)"
_BULLET = r"(?:(?<=\s)|(?<=^))・|[-*•●○◆◇■□▪▶➤※]+(?![)）])"
_NUMBERING = re.compile(rf"(^|[\n;。,、]|(?<=\s))[ ]*(?:{_NUMBER}|{_BULLET})(?=\s*\S)", re.MULTILINE)
_HEADING = re.compile(
    r"【[^】\n]{0,20}】|^[ ]*(?:心電図)?(?:所見|診断|判読|判定|結論|コメント|ECG|EKG|impression)[ ]*:", re.IGNORECASE | re.MULTILINE
)
_ONE_LEAD = r"(?:aV[RLF]|V\d?R?(?:[ ]?[-~〜][ ]?V?\d)?|III|II|I)(?:誘導)?"
# A lead or a list of leads says where; the particle behind it goes with it. A Roman numeral of a type or a degree is none.
_LEADS = re.compile(
    rf"(?<![A-Za-z\d]){_ONE_LEAD}(?:[ ]*[,、・/\-~〜 ]+[ ]*(?:{_ONE_LEAD}|\d(?!\d|度)))*[ ]*(?:誘導)?"
    r"(?![A-Za-z\d]|型|度|音|°)(?:における|において|にて|での|には|にも|で|に|の)?",
)
_WHERE = re.compile(
    r"(?:右側|左側|左)?(?:前)?胸部誘導(?:における|において|にて|での|で|に)|(?:四)?肢誘導(?:における|において|にて|での|で|に)"
)
_TYPE = re.compile(r"(モビッツ|mobitz)[ ]*(?:type)?[ ]*(II|I|2|1)(?![I\d])(型)?", re.IGNORECASE)
_DEGREES = (
    (re.compile(r"(?:第[ ]*)?(?<![A-Za-z])III[ ]*度|三度|第三度|(?<![\w.])(?:III|3)[ ]*°|(?:3rd|third)[ -]degree", re.IGNORECASE), "3度"),
    (re.compile(r"(?:第[ ]*)?(?<![A-Za-z])II[ ]*度|二度|第二度|(?<![\w.])(?:II|2)[ ]*°|(?:2nd|second)[ -]degree", re.IGNORECASE), "2度"),
    (re.compile(r"(?:第[ ]*)?(?<![A-Za-z])I[ ]*度|一度|第一度|(?<![\w.])(?:I|1)[ ]*°|(?:1st|first)[ -]degree", re.IGNORECASE), "1度"),
    (re.compile(r"第[ ]*([123])[ ]*度"), r"\1度"),
    (re.compile(r"(?<![\d])([123])[ ]+度"), r"\1度"),
)
_SPELLINGS = (
    (re.compile(r"[‐‑‒–—―−]"), "-"),
    (re.compile(r"(?<=[ァ-ヺ])[-一](?![A-Za-z])"), "ー"),
    (re.compile("ブロツク|ブロッグ"), "ブロック"),
    (re.compile("ペースメーカー"), "ペースメーカ"),
    (re.compile("電位差"), "電位"),
    (re.compile("(?<=[室房])性(?=期外収縮|頻拍|不整脈)"), ""),
    (re.compile("(?<=洞)性(?=停止)"), ""),
    (re.compile("(?<=[拍脈])性(?=心房)"), "性"),
    (re.compile("二段脈"), "2段脈"),
    (re.compile("三段脈"), "3段脈"),
    (re.compile("二連発"), "2連発"),
    (re.compile("三連発"), "3連発"),
    (re.compile("(?<=連)発?(?=$|[、。,;\n ])"), "発"),
    (re.compile(r"ST[ ]*[-・/,、][ ]*T(?![a-z])"), "ST-T"),
    (re.compile(r"(?<=[虚傷梗])\s+(?=[血害塞])"), ""),
)
_SITE = "前壁中隔|広範囲?前壁|前側壁|下後側壁|下側壁|下後壁|高位側壁|前壁|下壁|側壁|後壁|中隔"
_SHARED = (  # 前壁・下壁梗塞 is two infarcts.
    (_SITE, r"(?:の)?(?:陳旧性|急性|亜急性)?(?:心筋)?梗塞|(?:の)?虚血性ST-T変化|虚血|(?:の)?心内膜下傷害|MI(?![A-Za-z])"),
    ("左房|右房|左室|右室", "負荷|拡大|肥大"),
    ("心房|心室|上室", "期外収縮|頻拍|ペーシング"),
    ("ST|T波?|QRS", "変化|異常"),
)
_DISTRIBUTE = [
    (re.compile(rf"((?:{heads})(?:[ ]*(?:[・、,/と]|及び|および|ならびに)[ ]*(?:{heads}))+)({tail})"), re.compile(heads))
    for heads, tail in _SHARED
]
_BOTH = ((re.compile("両心?房(負荷|拡大)"), r"左房\1、右房\1"), (re.compile("両心?室肥大"), "左室肥大、右室肥大"))


def normalise(text: str) -> str:
    """Return a text as it is compared: NFKC, numbering and headings gone, one spelling for what is written in several.

    Numbering goes first: NFKC would turn ``①1度`` into ``11度``.
    """
    text = _CIRCLED.sub("\n", text)
    text = unicodedata.normalize("NFKC", text)
    text = re.sub(r"\r\n?", "\n", text)
    text = re.sub(r"[^\S\n]+", " ", text)
    text = _HEADING.sub("\n", text)
    text = _NUMBERING.sub(r"\1\n", text)
    for pattern, standard in (*_DEGREES, *_SPELLINGS, *_BOTH):
        text = pattern.sub(standard, text)
    return text.strip(" ")


def without_leads(text: str) -> str:
    """Return a normalised text without the leads in which something is seen, and with every finding of a list said whole."""
    text = _TYPE.sub(lambda found: f"モビッツ{ {'1': 'I', '2': 'II'}.get(found[2], found[2].upper()) }型", text)
    text = _WHERE.sub("", _LEADS.sub(" ", text))
    for pattern, heads in _DISTRIBUTE:
        text = pattern.sub(lambda found, heads=heads: "・".join(head + found[2] for head in heads.findall(found[1])), text)  # type: ignore[misc]
    return text
