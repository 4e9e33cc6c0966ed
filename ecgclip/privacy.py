"""Names for patients and records that tell nobody who they are."""

import hashlib
import re
import unicodedata

from ecgclip.errors import UserError


def patient_key(raw: str, salt: str) -> str:
    """Return the key that stands for a patient or a record from the reader on.

    A patient must get one key however the number was typed: full-width digits, blanks around it, leading zeros that a spreadsheet
    took away and a ``.0`` that it added all vanish first. Otherwise one patient ends up on both sides of a split.

    Args:
        raw: The number as the archive has it.
        salt: A secret of the archive. Without one, trying all numbers of eight digits would undo the key within seconds.

    Returns:
        24 hexadecimal digits, of a keyed BLAKE2b (RFC 7693).

    Raises:
        UserError: When the number or the salt is empty. The text does not repeat the number.

    """
    number = unicodedata.normalize("NFKC", raw).strip()
    number = re.sub(r"^(\d+)\.0+$", r"\1", number).lstrip("0") or number[-1:]
    if not number:
        raise UserError("a patient number is empty: fill the column, or leave the record out")
    return _keyed(number, salt)


def record_key(raw: str, salt: str) -> str:
    """Return the id of a record: as :func:`patient_key`, of a text that is taken as it is, such as a path within the archive."""
    return _keyed(unicodedata.normalize("NFC", raw), salt)


def _keyed(text: str, salt: str) -> str:
    if not salt:
        raise UserError("the salt for patient keys is empty: give any secret text, and keep it with the archive")
    key = hashlib.blake2b(salt.encode()).digest()
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=key, digest_size=12).hexdigest()
