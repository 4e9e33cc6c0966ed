"""The twelve leads and the many ways to write them."""

import re
import unicodedata

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")

_STANDARD = {lead.upper(): lead for lead in LEADS}
_PREFIX = re.compile(r"^(MDC_ECG_LEAD_|ECG[ _]|LEAD[ _])+")


def lead_name(name: str) -> str:
    """Return the standard name of a lead, or the name as it is where it is none of the twelve.

    ``avr``, ``AVR``, ``Lead aVR``, ``MDC_ECG_LEAD_AVR`` and full-width letters are all ``aVR``. ``MLII`` of a Holter recorder is
    not ``II``: its electrodes sit on the chest.
    """
    plain = _PREFIX.sub("", unicodedata.normalize("NFKC", name).strip().upper())
    return _STANDARD.get(plain, name.strip())
