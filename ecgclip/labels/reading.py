"""A Japanese reading to labels: what it states, suspects, denies and leaves open."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from ecgclip.errors import UserError
from ecgclip.labels.catalogue import Catalogue
from ecgclip.labels.segments import ENDS, SEPARATORS, normalise, without_asides, without_leads
from ecgclip.labels.vocabulary import AF, NORMAL, POSITIVE, SKIPPED, SUSPECTED, Term, lowered, terms_of

HEDGED, NEGATED, OPEN = "hedged", "negated", "open"
Hedged = Literal["drop", "keep", "separate"]
STAGES = {"亜急性": "亜急性", "急性": "急性", "陳旧性": "陳旧性", "subacute": "亜急性", "old": "陳旧性", "acute": "急性"}
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
    r"認め(?:ず|ない|られ(?:ず|ない|ません)|ません|がたい)|(?:み|見)られ(?:ず|ない|ません)|見ず|伴わ(?:ず|ない)"
    r"|(?:指摘|確認)(?:でき|され|し得)(?:ず|ない|ません)|はっきりし(?:ない|ません)|明らかで(?:は)?(?:ない|なく)|目立たず|目立たない"
)
_MARKS = {  # What says of a finding whether it is there; the first that fits counts.
    "finding": r"\x00",
    "nodoubt": (
        r"(?:疑(?:い|う|わせる|われる|わしい)?(?:べき)?|示唆(?:する|される)?)(?:所見|変化|もの)?(?:は|も|を|に)?"
        rf"(?:なし|無し|ない|乏しい|ありません|{_NOT_SEEN})"
        r"|可能性(?:は|も)?(?:低い|乏しい|少ない|なし|ない|否定的)|(?<![a-z])unlikely(?![a-z])"
    ),
    "hedge": (
        r"否定(?:は|も)?(?:でき(?:ず|ない|ません)|出来(?:ず|ない|ません)|し(?:きれ|得|え)(?:ず|ない))|除外(?:でき|出来)(?:ず|ない|ません)"
        r"|(?:断定|特定)(?:は|も)?(?:でき|出来)(?:ず|ない|ません)|疑(?:い|う|われる|わしい|わせる|診|問)?|可能性|かも(?:しれ)?|境界(?:域|型)?|傾向|気味|考慮|思われ(?:る|ます)|示唆|鑑別|矛盾し(?:ない|ません)|矛盾せず|(?<=を)考え(?:る|ます)|DDx|D/D"
        r"|(?<=\x00)か$|(?<=\x00)様(?=$|[の\s])|様(?:所見|波形|変化)|r/o|s/o|\?+|\(±\)|±|susp(?:ect(?:ed)?|icious|\.)?|possib(?:le|ly)|probabl[ey]|likely|borderline"
        r"|cannot (?:be )?(?:rule[d]? out|excluded?)|rules? out|criteria for|may be|consider|suggest(?:s|ive|ed)?"
    ),
    "verb": r"(?:いずれも|ともに|共に)(?:は|を)?(?:なし|無し|ない|陰性|否定的)|"
    rf"(?:い?ずれも|ともに|共に)?(?:は|を|も|の|が)?(?:明らか(?:な|で)?(?:は)?|有意な?)?(?:{_NOT_SEEN})",
    "neg": (
        r"なし|無し|無く|なく|ない|ありません|あらず|\(-\)|\[-\]|(?<!\d)-(?=$|\s)|否定的|否定され|否定|なさそう|不十分|消失(?!せ)|陰性|改善(?!傾向)|乏しい"
        r"|(?<![a-z])(?:negative|absent|ruled out|not (?:seen|present|evident)|denied)(?![a-z])"
    ),
    "pos": (
        r"改善傾向|軽減|あり|有り|有する|ある|認め(?:る|ます|た|られる|られます)?|(?:み|見)られ(?:る|ます|た)|呈する|伴う|出現|散見|を示す|\(\+\)|\+|です"
        r"|であ[るり]"
    ),
    "opens": r"\(",
    "closes": r"\)",
    "denies": r"(?<![a-z])(?:no|not|without|w/o|absence of|no evidence of|free of)(?![a-z])",
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
        state: ``positive``, ``hedged``, ``negated`` or ``open``.
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


@dataclass
class _Piece:
    """A part of a reading between separators: where its findings stand in ``marked``, each a NUL, and what separates it."""

    text: str
    marked: str
    terms: list[Term]
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
        self._terms: dict[str, list[Term]] = {}
        known: dict[str, Term] = {}
        for term in terms_of(catalogue, af):
            known.setdefault(term.exact or term.text, term)  # What the catalogue says of a name goes before the lexicon.
        for term in sorted(known.values(), key=lambda term: (-len(term.text), term.exact == "")):
            self._terms.setdefault(term.text[0], []).append(term)

    def parse(self, text: str) -> Reading:
        """Read one reading."""
        pieces = self._pieces(without_asides(normalise(text)))
        for number, piece in enumerate(pieces):
            self._judge(pieces, number, piece)
        return self._settle(pieces)

    def _pieces(self, text: str) -> list[_Piece]:
        """Cut a text where a separator stands outside a name."""
        kept = without_leads(text)
        places = [place for place, character in enumerate(kept) if character not in SKIPPED]
        compact = lowered("".join(kept[place] for place in places))
        pieces: list[_Piece] = []
        start, before, at = 0, "\n", 0
        marked: list[str] = []
        terms: list[Term] = []

        def close(end: int, separator: str) -> None:
            nonlocal start, before, marked, terms
            words = kept[places[start] : places[end - 1] + 1] if end > start else ""
            if words:
                pieces.append(_Piece(words, "".join(marked), terms, before))
            start, before, marked, terms = end, separator, [], []

        while at < len(compact):
            gap = kept[places[at - 1] + 1 : places[at]] if at > start else ""
            term = self._term_at(kept, compact, places, at)
            if " " in gap and not _announces(marked) and self._blank_separates(kept, places[at], term):
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

    def _term_at(self, kept: str, compact: str, places: list[int], at: int) -> Term | None:
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
    def _blank_separates(kept: str, place: int, term: Term | None) -> bool:
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
        reasons: list[int] = []  # What the next finding is said to suggest: 虚血を疑うST変化.
        ahead, shared, near = "", "", False
        residue = _STAGE.sub("", _SEVERITY.sub("", piece.marked))
        for mark in _MARK.finditer(residue):
            kind = mark.lastgroup
            if kind == "finding":
                states.append(ahead or POSITIVE)
                if not ahead:
                    waiting.append(len(states) - 1)
            elif kind == "opens" and _says_something(residue[mark.end() :].partition(")")[0]):
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
                    reasons = waiting if residue[mark.end() : mark.end() + 1] == "\x00" else []
                    shared = shared or (HEDGED if waiting else "")
                    waiting = []
                    if _latin(mark[0]) and not shared:
                        ahead = HEDGED
                elif _latin(mark[0]) or not _FILL.sub(
                    "", residue[: mark.start()]
                ):  # Else it doubts what no label covers: 心膜炎疑いのST上昇.
                    ahead = HEDGED
            elif kind in ("verb", "neg", "nodoubt"):
                for place in waiting:
                    states[place] = OPEN if reasons else NEGATED
                for place in reasons:
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
        """Whether two pieces are of one kind, as 前壁梗塞・下壁梗塞 are; 不整脈 is of any."""
        if any(term.state == "akin" for piece in (one, other) for term in piece.terms):
            return True
        kinds = [{self._groups.get(label, "") for term in piece.terms for label in term.labels} for piece in (one, other)]
        for kind in kinds:
            kind |= _WAVES if kind & _WAVES else set()
        return bool(kinds[0] & kinds[1])

    def _settle(self, pieces: list[_Piece]) -> Reading:
        found: dict[str, set[str]] = {POSITIVE: set(), HEDGED: set(), NEGATED: set(), OPEN: set()}
        modifiers: dict[str, str] = {}
        findings: list[Finding] = []
        unmatched: list[str] = []
        notes: list[str] = []
        for earlier, piece in zip([None, *pieces], pieces, strict=False):
            if not piece.terms or _of_a_part(piece, earlier):
                if _FILL.sub("", _SEVERITY.sub("", _MARK.sub("", piece.text))):
                    unmatched.append(_bare(piece.text))
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
            stated |= {label + SUSPECTED for label in hedged if label + SUSPECTED in self.catalogue.ids}
        positive = self.catalogue.implied(stated)
        hedged = hedged - positive
        if self.hedged == "separate":
            hedged = {label for label in hedged if label + SUSPECTED not in self.catalogue.ids}
        negated = found[NEGATED] - positive - hedged
        open_ = found["open"] - positive - hedged - negated
        if any(
            NORMAL in pair for pair in self.catalogue.conflicts(positive)
        ):  # 不完全右脚ブロック、正常範囲 judges the finding, not the ECG.
            notes.append("normal is said beside a finding: the finding counts, normal is left open")
            positive, open_ = positive - {NORMAL}, open_ | {NORMAL}

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
_STATED = re.compile(r"[をがはも]?(?:あり|有り|(?:認め|(?:み|見)られ)(?:る|ます|た)|です|\(\+\))$")


def _bare(text: str) -> str:
    """Return a piece of text without what is said about any finding: how much of it, and that it is there."""
    stripped = _STATED.sub("", _FILL_ENDS.sub("", _SEVERITY.sub("", text)).strip())
    return stripped.strip() or text


def _stages(piece: _Piece) -> list[str]:
    """Return the stage that stands before each finding of a piece, or in brackets behind it."""
    parts = [part.lower() for part in piece.marked.split("\x00")]
    stages = []
    for before, behind in pairwise(parts):
        ends, begins = before.rstrip(" のな"), behind.lstrip(" ")
        stages.append(
            next((STAGES[word] for word in STAGES if ends.endswith(word)), "")
            or next((STAGES[word] for word in STAGES if begins.startswith(f"({word})")), "")
        )
    return stages


def _of_a_part(piece: _Piece, earlier: _Piece | None) -> bool:
    """Whether ``normal`` is said of a part of the ECG only, as in ``axis normal`` and ``電気軸 正常``."""
    if not all(term.whole for term in piece.terms):
        return False
    about = piece.marked + (earlier.text if earlier and piece.before == " " and not earlier.terms else "")
    return bool(_FILL.sub("", _SEVERITY.sub("", _MARK.sub("", about))))


def _says_something(text: str) -> bool:
    """Whether what is in brackets is more than a mark on what is before them: 左室肥大(疑い), but QT延長(薬剤性疑い)."""
    return "\x00" in text or bool(_FILL.sub("", _MARK.sub("", text)))


def _announces(marked: list[str]) -> bool:
    """Whether a piece so far is only a doubt or a denial of what follows: ``s/o``, ``susp.``, ``no``."""
    words = "".join(marked).rpartition("\x00")[2].strip()
    return bool(words) and bool(_MARK.fullmatch(words.rstrip(".:")) or _MARK.fullmatch(words))


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
    return not 0 <= at < len(kept) or kept[at] in SEPARATORS + ENDS + " .()[]「」?"


def _latin(text: str) -> bool:
    return bool(_LATIN.match(text))
