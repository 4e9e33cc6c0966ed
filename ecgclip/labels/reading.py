"""A Japanese reading to labels: what it states, suspects, denies and leaves open."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from ecgclip.errors import UserError
from ecgclip.labels.catalogue import Catalogue
from ecgclip.labels.segments import ENDS, SEPARATORS, normalise, without_asides, without_leads

POSITIVE, HEDGED, NEGATED = "positive", "hedged", "negated"
Hedged = Literal["drop", "keep", "separate"]
TERMS = Path(__file__).parent / "terms" / "readings.yaml"
AF = {"fibrillation": "AFIB", "flutter": "AFLT"}
STAGES = {"急性": "急性", "陳旧性": "陳旧性", "old": "陳旧性", "acute": "急性"}
_NORMAL = "NORM"
# Where one is denied with a verb, so is what stands before it in a list: ST変化、Q波を認めない. A rhythm or a block stands by itself.
_LISTED = frozenset({"repolarisation", "QRS", "ischaemia", "infarction", "chambers", "ectopy", ""})

_WAVES = frozenset({"repolarisation", "QRS", "ischaemia"})  # Q波・ST変化なし denies both.
_SYMBOLS = {
    "?": HEDGED,
    "??": HEDGED,
    "(±)": HEDGED,
    "±": HEDGED,
    "(-)": NEGATED,
    "[-]": NEGATED,
    "-": NEGATED,
    "(+)": POSITIVE,
    "+": POSITIVE,
}
_SEVERITY = re.compile(
    r"軽度な?の?|中等度の?|高度な?の?|著明な?の?|著しい|軽い|軽微な?|わずかな?に?|やや|若干の?|一部|散発性?の?|頻発性?の?|多発性?の?|時々|時折|一過性の?|有意な|明らかな|新たに?な?|新規の?|"
    r"(?:mild|moderate|severe|marked|slight|minor|frequent|occasional|rare|few)(?:ly)?(?![a-z])",
    re.IGNORECASE,
)
_STAGE = re.compile(r"(?:亜急性|急性|陳旧性)の?(?=\x00)")
_NOT_SEEN = (
    r"認め(?:ず|ない|られ(?:ず|ない|ません)|ません|がたい)|(?:み|見)られ(?:ず|ない|ません)|見ず|伴わ(?:ず|ない)|指摘できず|指摘されず"
)
_MARKS = {  # What says of a finding whether it is there; the first that fits counts.
    "finding": r"\x00",
    "nodoubt": (
        r"疑(?:い|う|わせる|われる|わしい)?(?:べき)?(?:所見|変化|もの)?(?:は|も|を|に)?"
        rf"(?:なし|無し|ない|乏しい|ありません|{_NOT_SEEN})"
        r"|可能性(?:は|も)?(?:低い|乏しい|少ない|なし|ない|否定的)|(?<![a-z])unlikely(?![a-z])"
    ),
    "hedge": (
        r"否定(?:は|も)?(?:でき(?:ず|ない|ません)|出来(?:ず|ない|ません)|し(?:きれ|得|え)(?:ず|ない))|除外(?:でき|出来)(?:ず|ない|ません)"
        r"|疑(?:い|う|われる|わしい|わせる|診|問)?|可能性|かも(?:しれ)?|境界(?:域|型)?|傾向|気味|考慮|思われ(?:る|ます)|示唆|鑑別"
        r"|(?<=\x00)か$|様(?:所見|波形|変化)|r/o|s/o|\?+|\(±\)|±|susp(?:ect(?:ed)?|icious|\.)?|possib(?:le|ly)|probabl[ey]|likely|borderline"
        r"|cannot (?:be )?(?:rule[d]? out|excluded?)|may be|consider|suggest(?:s|ive|ed)?"
    ),
    "verb": r"(?:いずれも|ともに|共に)(?:は|を)?(?:なし|無し|ない|陰性|否定的)|"
    rf"(?:い?ずれも|ともに|共に)?(?:は|を|も|の|が)?(?:明らか(?:な|で)?(?:は)?|有意な?)?(?:{_NOT_SEEN})",
    "neg": (
        r"なし|無し|無く|なく|ない|ありません|あらず|\(-\)|\[-\]|(?<!\d)-(?=$|\s)|否定的|否定され|否定|なさそう|不十分|消失|陰性|改善|乏しい"
        r"|(?<![a-z])(?:negative|absent|ruled out|not (?:seen|present|evident)|denied)(?![a-z])"
    ),
    "pos": (
        r"あり|有り|有する|ある|認め(?:る|ます|た|られる|られます)?|(?:み|見)られ(?:る|ます|た)|呈する|伴う|出現|散見|を示す|\(\+\)|\+|です"
        r"|であ[るり]"
    ),
    "opens": r"\(",
    "closes": r"\)",
    "denies": r"(?<![a-z])(?:no|without|w/o|absence of|no evidence of|free of)(?![a-z])",
}
_MARK = re.compile("|".join(f"(?P<{kind}>{words})" for kind, words in _MARKS.items()), re.IGNORECASE)
_LATIN = re.compile(r"[A-Za-z]")
# What is left of a piece that says nothing: particles, a rate, an interval.
_FILL = re.compile(
    r"[\s\x00()\[\]「」:=<>≧≦~.'\"のにをはがもとでや]|所見|波形|変化|など|等|及び|および|ならびに|(?<![a-z])(?:with|and|the|of|is|are|hr|bpm|min|ms|msec|sec|mv|mm|rate)(?![a-z])"
    r"|ECG|心電図|です|ます|心拍数|\d+|分|秒|拍|[%°-]",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Finding:
    """One mention of a label.

    Attributes:
        label: Its id.
        state: ``positive``, ``hedged`` or ``negated``.
        text: The words that mean it, as they are compared.
        segment: The piece of the reading that they stand in.

    """

    label: str
    state: str
    text: str
    segment: str


@dataclass(frozen=True)
class Reading:
    """What a reading says. A label that is in none of the lists is not mentioned: unknown, not absent.

    Attributes:
        positive: Ids of the labels that it states, and of what they imply, in the order of the catalogue.
        hedged: Ids of those that it suspects and does not state.
        negated: Ids of those that it denies, and neither states nor suspects.
        open: Ids of those of which it says too little: 右脚ブロック alone may be complete or incomplete.
        modifiers: What it says of the age of an infarct: ``{"IMI": "陳旧性"}``.
        unmatched: Its pieces that no label covers, as they are compared.
        notes: What a person should decide, without words of the patient's.
        findings: Every mention.

    """

    positive: tuple[str, ...] = ()
    hedged: tuple[str, ...] = ()
    negated: tuple[str, ...] = ()
    open: tuple[str, ...] = ()
    modifiers: dict[str, str] = field(default_factory=dict)
    unmatched: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class _Term:
    """Words that mean something."""

    text: str
    labels: tuple[str, ...]
    state: str = POSITIVE  # Or "open", or "akin".
    exact: str = ""
    stage: str = ""
    whole: bool = False


@dataclass
class _Piece:
    """A part of a reading between separators: where its findings stand in ``marked``, each a NUL, and what separates it."""

    text: str
    marked: str
    terms: list[_Term]
    before: str
    states: list[str] = field(default_factory=list)
    bare: bool = False


class ReadingParser:
    """Reads readings against a catalogue; the longest name wins, and a name within another is not read.

    Args:
        catalogue: The labels. Their Japanese and English names, synonyms and abbreviations are looked for, and for labels of ja98 what
            ``terms/readings.yaml`` adds.
        hedged: What becomes of a suspected label: ``drop`` lists it as hedged, ``keep`` takes it as stated, ``separate`` states the
            label of the suspicion, ``IMI?``, where the catalogue has it.
        af: What ``AF`` means: fibrillation or flutter. None asks, in a note.

    Raises:
        UserError: For another ``hedged`` or ``af``.

    """

    def __init__(self, catalogue: Catalogue, *, hedged: Hedged = "drop", af: str | None = None) -> None:
        if hedged not in ("drop", "keep", "separate"):
            raise UserError(f"hedged {hedged!r} is not one of drop, keep, separate")
        if af is not None and af not in AF:
            raise UserError(f"af {af!r} is not one of {', '.join(AF)}")
        self.catalogue, self.hedged, self.af = catalogue, hedged, af
        self._groups = {label.id: label.group for label in catalogue}
        self._terms: dict[str, list[_Term]] = {}
        known: dict[str, _Term] = {}
        for term in self._all_terms():
            known.setdefault(term.exact or term.text, term)  # What the catalogue says of a name goes before the lexicon.
        for term in sorted(known.values(), key=lambda term: (-len(term.text), term.exact == "")):
            self._terms.setdefault(term.text[0], []).append(term)

    def parse(self, text: str) -> Reading:
        """Read one reading."""
        pieces = self._pieces(without_asides(normalise(text)))
        for number, piece in enumerate(pieces):
            self._judge(pieces, number, piece)
        return self._settle(pieces)

    def _all_terms(self) -> Iterable[_Term]:
        lexicon, ids = _lexicon(), set(self.catalogue.ids)
        exact = set(lexicon["exact"])
        for label in self.catalogue:
            whole = label.id == _NORMAL
            names = (*label.texts, label.en, *label.synonyms_en)
            for name in (*names, *lexicon["labels"].get(label.id, ())):
                if name:
                    yield _Term(_key(name), (label.id,), exact=name if name in exact else "", whole=whole)
            if label.group == "infarction":
                yield from _infarct_terms(label.ja, label.en, label.id)
        if "AFIB" in ids or "AFLT" in ids:
            meant = [AF[self.af]] if self.af else ["AFIB", "AFLT"]
            labels = tuple(name for name in meant if name in ids)
            yield _Term("af", labels, POSITIVE if self.af else "open", exact="AF")
        for state in ("open", "akin"):
            for name, labels in lexicon[state].items():
                if kept := tuple(label for label in labels if label in ids):
                    yield _Term(_key(name), kept, state)

    def _pieces(self, text: str) -> list[_Piece]:
        """Cut a text where a separator stands outside a name."""
        kept = without_leads(text)
        places = [place for place, character in enumerate(kept) if character != " "]
        compact = "".join(kept[place].lower() if len(kept[place].lower()) == 1 else kept[place] for place in places)
        pieces: list[_Piece] = []
        start, before, at = 0, "\n", 0
        marked: list[str] = []
        terms: list[_Term] = []

        def close(end: int, separator: str) -> None:
            nonlocal start, before, marked, terms
            words = kept[places[start] : places[end - 1] + 1] if end > start else ""
            if words:
                pieces.append(_Piece(words, "".join(marked), terms, before))
            start, before, marked, terms = end, separator, [], []

        while at < len(compact):
            gap = " " if at > start and places[at] > places[at - 1] + 1 else ""
            term = self._term_at(kept, compact, places, at)
            if gap and not _announces(marked) and self._blank_separates(kept, places[at], term):
                close(at, " ")
                gap = ""
            if term is not None:
                marked += [gap, "\x00"]
                terms.append(term)
                at += len(term.text)
            elif compact[at] in SEPARATORS and not _within_token(compact, at):
                close(at, compact[at])
                start = at = at + 1
            else:
                marked += [gap, kept[places[at]]]
                at += 1
        close(len(compact), "\n")
        return pieces

    def _term_at(self, kept: str, compact: str, places: list[int], at: int) -> _Term | None:
        for term in self._terms.get(compact[at], ()):
            if not compact.startswith(term.text, at):
                continue
            end = at + len(term.text)
            first, last = places[at], places[end - 1]
            if term.exact and kept[first : last + 1] != term.exact:
                continue
            if _LATIN.match(term.text) and first and _LATIN.match(kept[first - 1]):
                continue
            if _LATIN.match(term.text[-1]) and last + 1 < len(kept) and _LATIN.match(kept[last + 1]):
                continue
            if term.whole and not (_edge(kept, first - 1) and _edge(kept, last + 1)):
                continue
            return term
        return None

    @staticmethod
    def _blank_separates(kept: str, place: int, term: _Term | None) -> bool:
        """Whether the blank before a place is a separator: between Japanese words it is, unless what follows says of what is before it."""
        english = place >= 2 and (bool(_LATIN.match(kept[place - 2])) or kept[place - 2] == ".")
        if term is not None:
            return not (english and _LATIN.match(kept[place]))
        mark = _MARK.match(kept, place)
        if mark and _LATIN.match(kept[place]):  # In 左室肥大 susp. it says of what is before, in 低電位 susp. LVH of what follows.
            rest = kept[mark.end() :].lstrip(". ")
            return not english and bool(rest) and rest[0] not in SEPARATORS
        return not (english or mark or kept[place] in "(（を" or _LATIN.match(kept[place]))

    def _judge(self, pieces: list[_Piece], number: int, piece: _Piece) -> None:
        """Give every finding of a piece its state, and what a list before it shares."""
        states: list[str] = []
        waiting: list[int] = []
        outside: list[int] = []  # Findings before a bracket: what is said of those in it is not said of them.
        ahead, shared, near = "", "", False
        residue = _STAGE.sub("", _SEVERITY.sub("", piece.marked))
        for mark in _MARK.finditer(residue):
            kind = mark.lastgroup
            if kind == "finding":
                states.append(ahead or POSITIVE)
                if not ahead:
                    waiting.append(len(states) - 1)
            elif kind == "opens" and residue.find("\x00", mark.end()) >= 0 and "\x00" in residue[mark.end() :].partition(")")[0]:
                outside, waiting, ahead = [*outside, *waiting], [], ""
            elif kind == "closes":
                outside, waiting = [], [*outside, *waiting]
            elif kind == "denies":
                ahead = NEGATED
            elif mark[0] in _SYMBOLS:  # It stands behind one finding and is that one's.
                if waiting:
                    states[waiting[-1]] = _SYMBOLS[mark[0]]
                    near = near or _SYMBOLS[mark[0]] == NEGATED
                elif not states and mark[0][0] == "?":
                    ahead = HEDGED
                waiting = []
            elif kind == "hedge":
                if waiting or states:
                    for place in waiting:
                        states[place] = HEDGED
                    shared = shared or (HEDGED if waiting else "")
                    waiting = []
                    if _latin(mark[0]) and not shared:
                        ahead = HEDGED
                else:
                    ahead = HEDGED
            elif kind in ("verb", "neg", "nodoubt"):
                for place in waiting:
                    states[place] = NEGATED
                if waiting and kind != "neg" and not shared:
                    shared = NEGATED
                near = near or (bool(waiting) and kind == "neg")
                waiting = []
            elif kind == "pos":
                waiting = []
        piece.states = states
        piece.bare = bool(states) and set(residue) <= {"\x00", " "}
        if shared or near:
            self._share(pieces, number, shared or NEGATED, states, near=not shared)

    def _share(self, pieces: list[_Piece], number: int, state: str, states: list[str], *, near: bool) -> None:
        """Carry a denial or a doubt back over the bare findings of the same list; one that is near only over a middle dot."""
        if not states or states[0] != state:
            return
        before = pieces[number].before
        for earlier in reversed(pieces[:number]):
            listed = state == NEGATED and not near and before in ",、/&・" and self._listed(earlier)
            if not earlier.bare or not (listed or (before == "・" and self._alike(earlier, pieces[number]))):
                return
            earlier.states = [state] * len(earlier.states)
            before = earlier.before

    def _listed(self, piece: _Piece) -> bool:
        return all(self._groups.get(label, "") in _LISTED for term in piece.terms for label in term.labels)

    def _alike(self, one: _Piece, other: _Piece) -> bool:
        """Whether two pieces are of one kind, as 前壁梗塞・下壁梗塞 are."""
        kinds = [{self._groups.get(label, "") for term in piece.terms for label in term.labels} for piece in (one, other)]
        for kind in kinds:
            kind |= _WAVES if kind & _WAVES else set()
        return bool(kinds[0] & kinds[1])

    def _settle(self, pieces: list[_Piece]) -> Reading:
        found: dict[str, set[str]] = {POSITIVE: set(), HEDGED: set(), NEGATED: set(), "open": set()}
        modifiers: dict[str, str] = {}
        findings: list[Finding] = []
        unmatched: list[str] = []
        notes: list[str] = []
        for earlier, piece in zip([None, *pieces], pieces, strict=False):
            if not piece.terms or _of_a_part(piece, earlier):
                if _FILL.sub("", _SEVERITY.sub("", _MARK.sub("", piece.text))):
                    unmatched.append(_FILL_ENDS.sub("", piece.text))
                continue
            stages = _stages(piece)
            for term, state, stage in zip(piece.terms, piece.states, stages, strict=True):
                if term.exact == "AF" and term.state == "open":
                    notes.append("AF may be fibrillation or flutter: say which with --af")
                if term.state != POSITIVE:
                    if state != NEGATED:
                        found["open"].update(term.labels)
                        unmatched.append(term.text.upper() if _latin(term.text) else term.text)
                    elif term.state == "open":  # No block at all is none of its kinds.
                        found[NEGATED].update(term.labels)
                    continue
                for label in term.labels:
                    found[state].add(label)
                    findings.append(Finding(label, state, term.text, piece.text))
                    if state == POSITIVE and (term.stage or stage) and self._groups.get(label) == "infarction":
                        modifiers[label] = term.stage or stage
        return self._reading(found, modifiers, unmatched, notes, findings)

    def _reading(
        self,
        found: Mapping[str, set[str]],
        modifiers: dict[str, str],
        unmatched: list[str],
        notes: list[str],
        findings: list[Finding],
    ) -> Reading:
        """Stated wins over suspected, suspected over denied; what is implied is stated."""
        stated = set(found[POSITIVE])
        notes = [*notes, *(f"{label} is stated and denied: taken as stated" for label in sorted(stated & found[NEGATED]))]
        hedged = found[HEDGED] - self.catalogue.implied(stated)
        if self.hedged == "keep":
            stated |= hedged
        elif self.hedged == "separate":
            stated |= {f"{label}?" for label in hedged if f"{label}?" in self.catalogue.ids}
        positive = self.catalogue.implied(stated)
        hedged = hedged - positive
        if self.hedged == "separate":
            hedged = {label for label in hedged if f"{label}?" not in self.catalogue.ids}
        negated = found[NEGATED] - positive - hedged
        open_ = found["open"] - positive - hedged - negated

        def ordered(ids: Iterable[str]) -> tuple[str, ...]:
            return tuple(sorted(ids, key=self.catalogue.index))

        return Reading(
            ordered(positive),
            ordered(hedged),
            ordered(negated),
            ordered(open_),
            {label: stage for label, stage in modifiers.items() if label in positive},
            tuple(dict.fromkeys(unmatched)),
            tuple(dict.fromkeys(notes)),
            tuple(findings),
        )


_FILL_ENDS = re.compile(r"^[\s.:()\[\]]+|[\s.:(\[]+$")


@cache
def _lexicon() -> dict[str, Any]:
    return dict(yaml.safe_load(TERMS.read_text(encoding="utf-8")))


@cache
def _key(name: str) -> str:
    """Return a name as it is looked for: as readings are compared, in small letters and without blanks."""
    text = normalise(name).replace("\n", "").replace(" ", "")
    return "".join(c.lower() if len(c.lower()) == 1 else c for c in text)


def _infarct_terms(ja: str, en: str, label: str) -> Iterable[_Term]:
    """What is written for an infarct of a site: 陳旧性下壁心筋梗塞, 下壁OMI, OMI(下壁), inferior OMI."""
    site = ja.removesuffix("梗塞")
    for form, stage in (
        ("{}omi", "陳旧性"),
        ("omi({})", "陳旧性"),
        ("陳旧性心筋梗塞({})", "陳旧性"),
        ("陳旧性梗塞({})", "陳旧性"),
        ("{}陳旧性心筋梗塞", "陳旧性"),
        ("{}陳旧性梗塞", "陳旧性"),
        ("{}の陳旧性心筋梗塞", "陳旧性"),
        ("{}の陳旧性梗塞", "陳旧性"),
        ("急性心筋梗塞({})", "急性"),
        ("{}急性心筋梗塞", "急性"),
        ("{}の急性心筋梗塞", "急性"),
        ("{}ami", "急性"),
        ("ami({})", "急性"),
        ("心筋梗塞({})", ""),
        ("{}の心筋梗塞", ""),
        ("{}の梗塞", ""),
    ):
        yield _Term(form.format(site), (label,), stage=stage)
    if en.endswith(" myocardial infarction"):
        place = _key(en.removesuffix("myocardial infarction"))
        for form, stage in (("{}omi", "陳旧性"), ("omi({})", "陳旧性"), ("{}ami", "急性"), ("ami({})", "急性"), ("mi({})", "")):
            yield _Term(form.format(place), (label,), stage=stage)


def _stages(piece: _Piece) -> list[str]:
    """Return the stage that stands before each finding of a piece."""
    parts = piece.marked.split("\x00")
    stages = []
    for part in parts[: len(piece.terms)]:
        word = next((stage for stage in ("亜急性", *STAGES) if part.rstrip(" のな").lower().endswith(stage)), "")
        stages.append(STAGES.get(word, ""))
    return stages


def _of_a_part(piece: _Piece, earlier: _Piece | None) -> bool:
    """Whether ``normal`` is said of a part of the ECG only, as in ``axis normal`` and ``電気軸 正常``."""
    if not all(term.whole for term in piece.terms):
        return False
    about = piece.marked + (earlier.text if earlier and piece.before == " " and not earlier.terms else "")
    return bool(_FILL.sub("", _SEVERITY.sub("", _MARK.sub("", about))))


def _announces(marked: list[str]) -> bool:
    """Whether a piece so far is only a doubt or a denial of what follows: ``s/o``, ``susp.``, ``no``."""
    words = "".join(marked).strip()
    return bool(words) and "\x00" not in words and bool(_MARK.fullmatch(words.rstrip(".")) or _MARK.fullmatch(words))


def _within_token(compact: str, at: int) -> bool:
    """Whether a separator is part of a word: s/o, w/o, r/o, 1/2, QT/QTc, 3.5, LAO/LAE."""
    if compact[at] == "/":
        return compact[max(0, at - 1) : at + 2] in ("s/o", "r/o", "w/o", "c/w", "s/p") or _digits(compact, at)
    if compact[at] in ",・":
        return _digits(compact, at) and compact[at] == ","
    if compact[at] == "+":
        return compact[max(0, at - 1) : at + 2] == "(+)"
    return False


def _digits(compact: str, at: int) -> bool:
    return compact[at - 1 : at].isdigit() and compact[at + 1 : at + 2].isdigit()


def _edge(kept: str, at: int) -> bool:
    """Whether a piece ends here: nothing, a separator, a blank, a full stop or a bracket."""
    return not 0 <= at < len(kept) or kept[at] in SEPARATORS + ENDS + " .()[]「」"


def _latin(text: str) -> bool:
    return bool(_LATIN.match(text))
