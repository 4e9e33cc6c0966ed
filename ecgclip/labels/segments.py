"""Reading text as it comes out of ECG management systems, brought into one spelling and ready to be cut into pieces."""

import re
import unicodedata

# Where a piece of a reading ends. Those of ENDS end a sentence: what is denied behind one is not denied before it.
ENDS = ";。\n"
SEPARATORS = ENDS + ",、・/|+→⇒&"
# Roman numerals of one character each: ⅡⅢaVF would become IIIIIaVF.
_ROMAN = re.compile(r"(?<=[Ⅰ-Ⅻⅰ-ⅻ])(?=[Ⅰ-Ⅻⅰ-ⅻ]|[aａ][VvＶｖ]|[PQRSTＰＱＲＳＴ])")
_CIRCLED = re.compile(r"[\u2460-\u249b\u24ea-\u24ff\u2776-\u2793\u3220-\u3229\u3280-\u3289]")  # ① ⑴ ⒈ ❶ ㈠ ㊀
_NUMBER = r"[(\[]?\d{1,2}[)\].](?:(?![\d:])|(?=[123](?:°|度)))|#\d{1,2}[.:)]?(?=\D)"
_BULLET = r"(?:(?<=\s)|(?<=^))・|[-*•●○◆◇■□▪▶➤※]+(?![)）])"
_NUMBERING = re.compile(rf"(^|[\n;。,、]|(?<=\s))[ ]*(?:{_NUMBER}|{_BULLET})(?=\s*\S)", re.MULTILINE)
_HEADING = re.compile(
    r"【[^】\n]{0,20}】|[\[<](?:心電図)?(?:所見|診断|判読|判定|結論|コメント|心電図)[^\]>\n]{0,6}[\]>]"
    r"|(?<![^\n。、;, ])(?:(?:安静時?|12誘導)?心電図)?(?:(?<=心電図)|所見|診断|判読|判定|結論|コメント|ECG|EKG|impression)[ ]*:",
    re.IGNORECASE | re.MULTILINE,
)
_ONE_LEAD = r"(?:[aA][vV][RLFrlf]|[Vv]\d{1,3}(?:R(?![波r']))?(?:[ ]?(?:[-~→]|から)[ ]?[Vv]?\d)?|III|II|I)(?:誘導)?"
# A lead or a list of leads says where; the particle behind it goes with it. A Roman numeral of a type or a degree is none.
_LEADS = re.compile(
    rf"(?<![A-Za-z\d]){_ONE_LEAD}(?:[ ]*(?:[,、・/\-~→ ]+|及び|および|から|と)[ ]*(?:{_ONE_LEAD}|\d(?!\d|度)))*[ ]*(?:誘導)?"
    r"(?![A-Za-z\d]|型|度|音|°)(?:における|において|にて|での|には|にも|で|に|の)?",
)
_WHERE = re.compile(
    r"(?:右側|左側|左)?(?:前)?胸部誘導(?:における|において|にて|での|で|に)|(?:四)?肢誘導(?:における|において|にて|での|で|に)"
    r"|(?:下後?壁|高位側壁|[前下]?側壁|前壁(?:中隔)?|後壁|中隔|広範囲?な?|全)誘導(?:における|において|にて|での|で|に|の)?"
)
_TYPE = re.compile(r"(モビッツ|mobitz)[ ]*(?:type)?[ ]*(II|I|2|1)(?![I\d])(型)?", re.IGNORECASE)
_LATIN = re.compile("[A-Za-z]")
_OF_DEGREE = re.compile("[度°]|degree", re.IGNORECASE)
_DEGREES = (
    (re.compile(r"(?:第[ ]*)?(?<![A-Za-z])III[ ]*度|三度|第三度|(?<![\w.])(?:III|3)[ ]*°|(?:3rd|third)[ -]degree", re.IGNORECASE), "3度"),
    (re.compile(r"(?:第[ ]*)?(?<![A-Za-z])II[ ]*度|二度|第二度|(?<![\w.])(?:II|2)[ ]*°|(?:2nd|second)[ -]degree", re.IGNORECASE), "2度"),
    (re.compile(r"(?:第[ ]*)?(?<![A-Za-z])I[ ]*度|一度|第一度|(?<![\w.])(?:I|1)[ ]*°|(?:1st|first)[ -]degree", re.IGNORECASE), "1度"),
    (re.compile(r"第[ ]*([123])[ ]*度"), r"\1度"),
    (re.compile(r"(?<![\d])([123])[ ]+度"), r"\1度"),
)
_ADVERB = (
    r"全体的?に|全般(?:性|的)?に?|びまん性に?|広範囲?に|ごく|軽[度く]|中等度|高度|著明|著し[いく]|わずか|僅か|軽微|軽い|やや|若干|有意|明らか|水平型?|下[降行]型|上[行昇](?:傾斜)?型|右[上下]がり型?|盆状型?"
    r"|ストレイン型|down[- ]?slop(?:e|ing)|up[- ]?slop(?:e|ing)|horizontal|slight(?:ly)?|mild(?:ly)?"
)
_HOW = rf"[ ]*(?:に?は|[がのに:])?[ ]*(?:(?:{_ADVERB})[なのに]?[ ]*)*"  # Within a name it says how: QT軽度延長, STは低下.
_WAY = "延長|短縮|低下|上昇|下降|降下|平低|平坦|陰転|陰性|逆転|増高|減高|尖鋭|変化|異常(?!Q)|depression|elevation"
_WAVES = (
    (re.compile(rf"(?<![A-Za-z])(PQ|QTc?|ST-T|ST|QRS幅?){_HOW}(?={_WAY})", re.IGNORECASE), r"\1"),
    (re.compile(rf"(?<![A-Za-z-])([TURP])波?{_HOW}(?={_WAY})"), r"\1波"),
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
    (re.compile(r"(?<![A-Za-z])PR(?![A-Za-z])"), "PQ"),
    (re.compile(r"(?<![A-Za-z])(PQ|QTc|QT)[ ]*(?:時間|間隔|interval)", re.IGNORECASE), r"\1"),
    (re.compile(r"(?<![A-Za-z])ST[ ]*(?:部分?|segment|-)[ ]*(?=[がはの]|低下|上昇|下降|降下|depression|elevation)"), "ST"),
    *_WAVES,
    (re.compile("(?<=ST)(?:下降|降下)"), "低下"),
    (re.compile(r"T波?の?(平低|平坦)化?(?:[~・/-]|から|ないし|または|及び|および)(?=陰性|陰転)(?:陰性|陰転)化?"), r"\1T波・陰性T波"),
    (re.compile(r"(?<=VPC|PVC)[がはのを、]?[ ]*(?=[23]連)|(?<=期外収縮)[がはを][ ]*(?=[23]連)"), ""),
    (re.compile(r"(?<![A-Za-z])(ST-?T|ST|Q波|T波)(?:部分?)?[ ]*:[ ]*(?:(?:異常|変化)(?:なし|無し)|正常|n\.?p\.?(?![a-z]))"), r"\1異常なし"),
    (re.compile("心房(細動|粗動)([・、,/]|または|もしくは)(?=細動|粗動)"), r"心房\1\2心房"),
    (re.compile(r"(?<![A-Za-z])ST部?の?(上昇|低下)(?:[・、,/やも]|または|および|及び)(?=上昇|低下)"), r"ST\1・ST"),
    (re.compile(r"(?<![A-Za-z])(PQ|PR|QTc?)(?:時間|間隔)?[ ]*[:=][ ]*(?=延長|短縮)"), r"\1"),
    (re.compile("電位差"), "電位"),
    (re.compile("変位"), "偏位"),
    (re.compile(r"[+]/-"), "±"),
    (re.compile(r"期外収縮[ ]*[(](心房|心室|上室)性?[)]"), r"\1期外収縮"),
    (re.compile("心室性?期外(?!収縮)"), "心室期外収縮"),
    (re.compile("ブルガー?ダ|ブルガタ"), "Brugada"),
    (re.compile(r"(?:デルタ|[Δδ]|delta)[ -]?(?:波|waves?)", re.IGNORECASE), "デルタ波"),
    (
        re.compile("(?:付け?|つけ|着け|かけ|掛け)(?:間?違[いえ]|まちが[いえ]|間ちがい)|誤装着|誤接続|装着(?:間違い|ミス)|取り?違え"),
        "付け間違い",
    ),
    (re.compile("(?<=[室房])性(?=期外収縮|頻拍|不整脈|調律)"), ""),
    (re.compile("(?<=[室房])性(?=[ ]*(?:[・、,/と]|および|及び)[ ]*(?:心室|心房|上室))"), ""),
    (re.compile("(?<=洞)性(?=停止)"), ""),
    (re.compile("(?<=[拍脈])性(?=心房)"), "性"),
    (re.compile("二段脈"), "2段脈"),
    (re.compile("三段脈"), "3段脈"),
    (re.compile("二連発"), "2連発"),
    (re.compile("三連発"), "3連発"),
    (re.compile(r"(?<!\d)2連(?![発続日結])"), "2連発"),
    (re.compile(r"(?<![\d~-])(?:[3-9]|[1-9]\d)(?:[~-]\d+)?連(?:発(?:以上)?)?(?![続日結])"), "3連発"),  # From three on it is a run.
    (re.compile(r"ST[ ]*[-・/,、][ ]*T(?![a-z])"), "ST-T"),
    (re.compile(r"(?<=[虚傷梗])\s+(?=[血害塞])"), ""),
)
_ENGLISH = (
    (re.compile(r"(?<![a-z])non[- ]?specific", re.IGNORECASE), "non-specific"),
    (re.compile(r"(?<![a-z])non[- ]?sustained", re.IGNORECASE), "non-sustained"),
    (re.compile(r"ischemi", re.IGNORECASE), "ischaemi"),
    (re.compile(r"saddle[- ]?back(?:[- ]?type)?型?", re.IGNORECASE), "saddleback型"),
    (re.compile(r"coved(?:[- ]?type)?型?", re.IGNORECASE), "coved型"),
    (re.compile(r"polariz", re.IGNORECASE), "polaris"),
    (re.compile(r"(?<![A-Za-z])([PQRSTU])[ -]waves?(?![a-z])", re.IGNORECASE), r"\1 wave"),
    (re.compile(r"(?<![a-z])(change|contraction|beat|block|complex|infarct)(?:es|s)(?![a-z])", re.IGNORECASE), r"\1"),
    (re.compile(r"(?<=abnormalit)ies(?![a-z])", re.IGNORECASE), "y"),
    (re.compile(r"(?<![A-Za-z])(?:A-?V[ -]?block|AVブロック|A-?VB|atrioventricular block)(?![A-Za-z])", re.IGNORECASE), "房室ブロック"),
    (re.compile(r"(?<![A-Za-z])(?:RBBB|right bundle[ -]branch block)(?![A-Za-z])", re.IGNORECASE), "右脚ブロック"),
    (re.compile(r"(?<![A-Za-z])(?:LBBB|left bundle[ -]branch block)(?![A-Za-z])", re.IGNORECASE), "左脚ブロック"),
    (
        re.compile(
            r"(?<![A-Za-z])(?:VPC|PVC|VPB|PVB)s?(?![A-Za-z])"
            r"|(?<![A-Za-z])(?:ventricular premature|premature ventricular) (?:contraction|beat|complex)(?![a-z])",
            re.IGNORECASE,
        ),
        "心室期外収縮",
    ),
)
_NOT_SEEN = "(?:認め|(?:み|見)られ|指摘(?:でき|され))(?:られ)?(?:ず|ない|ません)|なし|無し|ありません|ない"
_WHOLE = r"(?:^|(?<=[\n;。,、/| ]))(?:心電図|ECG)?上?(?:で|に|は)?"
_NORMAL = (  # Said of the whole ECG.
    (
        re.compile(
            rf"{_WHOLE}(?:特に|特記すべき|明らか[なに]|有意な?|著明な|大きな)*異常(?:所見|波形)?[はをも]?(?:{_NOT_SEEN})", re.MULTILINE
        ),
        "異常なし",
    ),
    (
        re.compile(rf"{_WHOLE}(?:特に|特記すべき|特記|明らか[なに]|有意な?)(?:所見|問題|事項|こと)[はをも]?(?:{_NOT_SEEN})", re.MULTILINE),
        "異常なし",
    ),
    (re.compile(r"(?:ほぼ|おおむね|概ね|大体|だいたい|境界域の?)正常(?:範囲|心電図)?内?"), "正常心電図?"),
)
_SITE = "前壁中隔|広範囲?前壁|前側壁|下後側壁|下側壁|下後壁|高位側壁|前壁|下壁|側壁|後壁|中隔|右室"
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
# OMI(前壁、下壁) is two infarcts, and 心筋梗塞疑い(下壁) doubts one of that site.
_SITES = re.compile(
    r"(OMI|AMI|(?:陳旧性|亜急性|急性)?(?:心筋)?梗塞|虚血性ST-T変化)(の?(?:疑い?|可能性)|[?])?[ ]*"
    rf"[(]((?:{_SITE})(?:[ ]*[・、,/+][ ]*(?:{_SITE}))*)[)]"
)
_PLACED = (
    (re.compile(r"(?<![度A-Za-z] )(?<![度A-Za-z])房室ブロック[ ]*[(]?[ ]*([123]度)(?![ ]*房)[ ]*[)]?"), r"\1房室ブロック"),
    (re.compile(rf"({_SITE})(?:領域|部位?)(?=の?(?:陳旧性|急性|亜急性)?(?:心筋)?梗塞)"), r"\1"),
    (re.compile(r"(心室期外収縮)[ ]*(2連発)[・、,/]+[ ]*(?=3連発)"), r"\1\2・\1"),
)
_BOTH = ((re.compile("(?:両|左右)心?房(負荷|拡大)"), r"左房\1・右房\1"), (re.compile("両心?室肥大"), "左室肥大・右室肥大"))


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
    r"|(?<![^、。,;\n/ ])[^、。,;\n/ ]*?(?:植え?込み?(?:後|術後)|植込後|術後|アブレーション後|停止後|除細動後|の?既往(?!歴?に|歴?と)|"
    r"後状態|(?<![A-Za-z])s/p )[^、。,;\n/ ]*"
    r"|既往歴?(?:に|として|は)[^。;\n]*"
    r"|(?:(?<=ため)|(?<=ので)|(?<=より)|(?<=[、。,;\n ])|(?<=^))(?:(?!ため|ので|より)[^、。,;\n ])*?(?:判定|評価|診断|判読|判断)(?:は|が)?"
    r"(?:困難|不能|不可|でき(?:ず|ない)|難しい|不適)(?:です)?"
    r"|(?:その)?(?:他(?:に|には|は|の)?|以外(?:に|には|は|の)?)[、,]?(?:特に|特記すべき|明らかな|有意な)*(?:異常(?:所見)?|所見|問題|特記(?:事項|所見))"
    rf"(?:は|を|も)?{_NONE}"
    r"|(?<![^、。,;\n])[^、。,;\n]*?(?:の有無[^、。,;\n]*|から(?=洞調律)|(?:通院|加療|治療|内服|服薬)中)"
    r"|age[ ]?(?:un|in)determined|otherwise normal(?: ECG)?|(?:may be |probably )?(?:a )?normal variant"
    r"|(?:要)?(?:精査|経過観察|再検|フォロー|受診)(?:を)?(?:要す|必要|お願い[^、。,;\n]*|勧め[^、。,;\n]*|希望|下さい|ください)?",
    re.IGNORECASE | re.MULTILINE,
)
_OF_ASIDE = re.compile(  # In every text that _ASIDE finds something in.
    "前|以[前外]|昨年|先回|既往|従来|過去|著変|変化|後|困難|不[能可適]|でき|難し|他|精査|観察|再検|フォロー|受診|から|有無|中"
    "|chang|n[.]c[.]|s/p|determined|normal",
    re.IGNORECASE,
)
# A measured value between a name and what is said of it: PQ 0.22秒と延長.
_MEASURED = re.compile(
    r"(?<![A-Za-z])(PQ|PR|QTc?|QRS)(間隔|時間|幅)?(?:は|が)?[ ]*[=:(]?[ ]*\d+(?:\.\d+)?[ ]*(?:ms(?:ec)?|sec|秒)?"
    r"\)?[ ]*(?:と|で|に)?[ ]*(?:著明に|軽度に?)?(?=延長|短縮)"
)


def without_asides(text: str) -> str:
    """Return a normalised text without what says nothing of this ECG; a piece ends where it was."""
    text = _MEASURED.sub(r"\1\2", text)
    return _ASIDE.sub("\n", text) if _OF_ASIDE.search(text) else text


def normalise(text: str) -> str:
    """Return a text as it is compared: NFKC, numbering and headings gone, one spelling for what is written in several.

    Numbering goes first: NFKC would turn ``①1度`` into ``11度``.
    """
    text = _CIRCLED.sub("\n", _ROMAN.sub(",", text))
    text = unicodedata.normalize("NFKC", text)
    text = re.sub(r"\r\n?", "\n", text)
    text = re.sub(r"[^\S\n]+", " ", text)
    text = _HEADING.sub("\n", text)
    text = _NUMBERING.sub(r"\1\n", text)
    degrees = _DEGREES if _OF_DEGREE.search(text) else ()
    english = _ENGLISH if _LATIN.search(text) else ()
    for pattern, standard in (*degrees, *_SPELLINGS, *english, *_PLACED, *_BOTH, *_NORMAL):
        text = pattern.sub(standard, text)
    return text.strip(" ")


def _whole_infarcts(found: re.Match[str]) -> str:
    what, doubt = found[1], found[2] or ""
    return "・".join(f"{what}({site}){doubt}" for site in re.findall(_SITE, found[3]))


def without_leads(text: str) -> str:
    """Return a normalised text without the leads in which something is seen, and with every finding of a list said whole."""
    text = _TYPE.sub(lambda found: f"モビッツ{ {'1': 'I', '2': 'II'}.get(found[2], found[2].upper()) }型", text)
    text = _WHERE.sub("", _LEADS.sub(" ", text))
    for pattern, standard in _WAVES:  # T波はV4-6で平低 is T波平低.
        text = pattern.sub(standard, text)
    text = re.sub(r"[(]\s*[)]", " ", text)
    text = _SITES.sub(_whole_infarcts, text)
    for pattern, heads in _DISTRIBUTE:
        text = pattern.sub(lambda found, heads=heads: "・".join(found[1] + head + found[3] for head in heads.findall(found[2])), text)  # type: ignore[misc]
    return text
