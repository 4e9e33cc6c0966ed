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
    r"【[^】\n]{0,20}】|[\[<](?:心電図)?(?:所見|診断|判読|判定|結論|コメント|心電図)[^\]>\n]{0,6}[\]>]"
    r"|(?<![^\n。、;, ])(?:(?:安静時?|12誘導)?心電図)?(?:(?<=心電図)|所見|診断|判読|判定|結論|コメント|ECG|EKG|impression)[ ]*:",
    re.IGNORECASE | re.MULTILINE,
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
    (re.compile("[〜∼～]"), "~"),
    (re.compile(r"(?<=[脚枝房])[ ]*block", re.IGNORECASE), "ブロック"),
    (re.compile(r"(?:頻脈|徐脈|頻拍)性(?=[ ]*(?:A[fF]|心房[細粗]動))"), ""),
    (re.compile(r"(?<=[内囲図常し])です(?=$|[、。,;\n ])", re.MULTILINE), ""),
    (re.compile("(?<![A-Za-z])A-V(?![A-Za-z])"), "AV"),
    (re.compile(r"([123])度[ ]*(?:[~・、,/-]|から|ないし)[ ]*(?=[123]度(房室ブロック|AVブロック|[ ]*AVB))"), r"\1度\2・"),
    (
        re.compile(
            r"(?<![A-Za-z])ST(?:部分?)?[がはの]?[ ]*"
            r"(?:軽度|わずか|やや|軽く|著明|有意|若干|slight(?:ly)?|mild)[にの]?[ ]*(?=上昇|低下|depression|elevation)"
            r"|(?<![A-Za-z])STが(?=上昇|低下)"
        ),
        "ST",
    ),
    (re.compile(r"(?<![A-Za-z])(T|U)波?[がはの]?(?:軽度|わずか|やや|著明)?[にの]?(?=平低|平坦|陰転|陰性化|増高)"), r"\1波"),
    (re.compile(r"T波?の?(平低|平坦)化?(?:[~・/-]|から|ないし|または|及び|および)(?=陰性|陰転)(?:陰性|陰転)化?"), r"\1T波・陰性T波"),
    (re.compile(r"(?<=VPC|PVC)[がはのを、]?[ ]*(?=[23]連)|(?<=期外収縮)[がはを][ ]*(?=[23]連)"), ""),
    (re.compile(r"(?<![A-Za-z])(ST-?T|ST|Q波|T波)(?:部分?)?[ ]*:[ ]*(?:(?:異常|変化)(?:なし|無し)|正常|n\.?p\.?(?![a-z]))"), r"\1異常なし"),
    (re.compile("心房(細動|粗動)([・、,/]|または|もしくは)(?=細動|粗動)"), r"心房\1\2心房"),
    (re.compile(r"(?<![A-Za-z])ST部?の?(上昇|低下)(?:[・、,/や]|または|および|及び)(?=上昇|低下)"), r"ST\1・ST"),
    (re.compile(r"(?<![A-Za-z])(PQ|PR|QTc?)(?:時間|間隔)?[ ]*[:=][ ]*(?=延長|短縮)"), r"\1"),
    (re.compile("電位差"), "電位"),
    (re.compile("(?<=[室房])性(?=期外収縮|頻拍|不整脈)"), ""),
    (re.compile("(?<=[室房])性(?=[ ]*(?:[・、,/と]|および|及び)[ ]*(?:心室|心房|上室))"), ""),
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
    (
        re.compile(rf"((?:亜急性|急性|陳旧性)?)((?:{heads})(?:[ ]*(?:[・、,/と~]|から|及び|および|ならびに)[ ]*(?:{heads}))+)({tail})"),
        re.compile(heads),
    )
    for heads, tail in _SHARED
]
_SITES = re.compile(rf"(OMI|AMI|(?:陳旧性|急性)?(?:心筋)?梗塞)\(((?:{_SITE})(?:[ ]*[・、,/+][ ]*(?:{_SITE}))+)\)")  # OMI(前壁、下壁).
_BOTH = ((re.compile("両心?房(負荷|拡大)"), r"左房\1、右房\1"), (re.compile("両心?室肥大"), "左室肥大、右室肥大"))


# A comparison with an earlier ECG, a history, a plan and what cannot be judged say nothing of this one.
_EARLIER = r"(?:前回|以前|前年|昨年|先回|既往|従来|過去)"
_NONE = r"(?:なし|無し|な[いく]|無[いく]|(?:認め|(?:み|見)?られ)(?:られ)?(?:ず|ない|ません)|ありません|乏しい)"
_STOP = r"(?=[、。,;\n/)（(]|$)"
_ASIDE = re.compile(
    r"(?:前回|以前|前年|昨年)(?![とよに同])[^、。,;\n]*[、,](?=今回)|(?:前回|以前|前年|昨年)は(?![^、。,;\n]*(?:な[いか]|ず))[^、。,;\n]*"
    rf"|{_EARLIER}[^、。,;\n/]*?(?:変化|著変|変わり|変り|相違|差)(?:は|も|を|が|に)?(?:特に|殆ど|ほとんど)?{_NONE}(?:です)?"
    rf"|{_EARLIER}[^、。,;\n/]*?(?:同様|不変|著変|変わらず|変わらない|変化|同じ|比較(?:して)?)(?:です|である|だ)?{_STOP}"
    rf"|(?:(?<=^)|(?<=[、。,;\n( ]))(?:著変|変化|有意な?変化|大きな変化)(?:は|を)?{_NONE}"
    r"|(?<![A-Za-z])(?:no (?:significant |interval )?changes?|unchanged|not changed|n\.c\.)(?![A-Za-z])"
    r"|[^、。,;\n/ ]*(?:植え?込み?(?:後|術後)|植込後|術後|アブレーション後|停止後|除細動後|の?既往(?!歴?に|歴?と)|"
    r"後状態|(?<![A-Za-z])s/p )[^、。,;\n/ ]*"
    r"|既往歴?(?:に|として|は)[^。;\n]*"
    r"|(?:(?<=ため)|(?<=ので)|(?<=より)|(?<=[、。,;\n ])|(?<=^))(?:(?!ため|ので|より)[^、。,;\n ])*?(?:判定|評価|診断|判読|判断)(?:は|が)?"
    r"(?:困難|不能|不可|でき(?:ず|ない)|難しい|不適)(?:です)?"
    r"|(?:その)?(?:他(?:に|には|は|の)?|以外(?:に|には|は|の)?)[、,]?(?:特に|特記すべき|明らかな|有意な)*(?:異常(?:所見)?|所見|問題|特記(?:事項|所見))"
    rf"(?:は|を|も)?{_NONE}"
    r"|age[ ]?(?:un|in)determined|otherwise normal(?: ECG)?|(?:may be |probably )?(?:a )?normal variant"
    r"|(?:要)?(?:精査|経過観察|再検|フォロー|受診)(?:を)?(?:要す|必要|お願い[^、。,;\n]*|勧め[^、。,;\n]*|希望|下さい|ください)?",
    re.IGNORECASE | re.MULTILINE,
)
# A measured value between a name and what is said of it: PQ 0.22秒と延長.
_MEASURED = re.compile(
    r"(?<![A-Za-z])(PQ|PR|QTc?|QRS)(間隔|時間|幅)?(?:は|が)?[ ]*[=:(]?[ ]*\d+(?:\.\d+)?[ ]*(?:ms(?:ec)?|sec|秒)?"
    r"\)?[ ]*(?:と|で|に)?[ ]*(?:著明に|軽度に?)?(?=延長|短縮)"
)


def without_asides(text: str) -> str:
    """Return a normalised text without what says nothing of this ECG; a piece ends where it was."""
    return _ASIDE.sub("\n", _MEASURED.sub(r"\1\2", text))


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
    text = _SITES.sub(lambda found: "・".join(f"{found[1]}({site})" for site in re.findall(_SITE, found[2])), text)
    for pattern, heads in _DISTRIBUTE:
        text = pattern.sub(lambda found, heads=heads: "・".join(found[1] + head + found[3] for head in heads.findall(found[2])), text)  # type: ignore[misc]
    return text
