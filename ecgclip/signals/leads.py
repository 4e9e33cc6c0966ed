"""The twelve leads and the many ways to write them."""

import re
import unicodedata
from functools import lru_cache

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
INVERTED = "-aVR"  # As Cabrera's sequence has it; the readers turn it over.
ECG_NAMES = frozenset((*LEADS, INVERTED))

_STANDARD = {lead.upper(): lead for lead in ECG_NAMES} | {"(-)AVR": INVERTED, "AVRNEG": INVERTED}  # The last is MDC's.
# A hyphen that follows at once parts the words (ECG-II); one behind a blank is a sign (ECG -aVR).
_PREFIX = re.compile(r"^(?:MDC_ECG_(?:LEAD|ELEC_POTL)_|(?:ECG|EKG|LEAD)(?:-|[\s_:.]*))+")
_JAPANESE = re.compile(r"第?\s*(.+?)\s*誘導")
_NUMERALS = {"1": "I", "2": "II", "3": "III", "一": "I", "二": "II", "三": "III"}
_DERIVATION = re.compile(r"D[\s_]?(I{1,3})")  # In French, Spanish and Portuguese.
_PARTED = re.compile(r"(V|A[\s_]?V)[\s_-]?([1-6RLF])")
# A reference that was cut off. Not of aVR: it may as well mean that the lead is inverted.
_CUT_OFF = re.compile(r"(I{1,3}|V[1-6]|AV[LF])-")
_LONGEST = 64  # Characters of a name.


@lru_cache(maxsize=1024)  # An archive writes the same few names in every record.
def lead_name(name: str) -> str:
    """Return the standard name of a lead, or the name as it is where it is none of the twelve.

    ``avr``, ``AVR``, ``Lead aVR``, ``MDC_ECG_LEAD_AVR``, ``aVR誘導`` and full-width letters are all ``aVR``; ``DII``, ``EKG_II``, ``Ⅱ``
    and ``第2誘導`` are ``II``. An inverted aVR is ``-aVR``. ``MLII`` and ``CM5`` of a Holter recorder, ``V7`` and ``V4R`` are other
    leads, as their electrodes sit elsewhere.
    """
    name = name[:_LONGEST].strip()
    plain = unicodedata.normalize("NFKC", name).strip().upper().translate({0x2212: "-", 0x2013: "-"})
    plain = _PREFIX.sub("", plain)
    if japanese := _JAPANESE.fullmatch(plain):
        plain = _NUMERALS.get(japanese[1], japanese[1])
    for written in (_DERIVATION, _CUT_OFF):
        if found := written.fullmatch(plain):
            plain = found[1]
    if found := _PARTED.fullmatch(plain):
        plain = re.sub(r"[\s_]", "", found[1]) + found[2]
    return _STANDARD.get(plain, name)
