"""XML of devices, read without entities that expand, network or code."""

import base64
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ecgclip.errors import UserError
from ecgclip.signals.formats.common import MAX_PARTS, MAX_XML_BYTES, check_bytes, too_many_parts

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_DECLARED = re.compile(rb"^(?:\xef\xbb\xbf)?\s*<\?xml[^>]*?encoding\s*=\s*[\"']([\w.-]+)")
# What the parser of XML itself cannot decode, and Japanese devices write.
_JAPANESE = dict.fromkeys(("shift_jis", "shift-jis", "sjis", "x-sjis", "windows-31j", "cp932", "ms932"), "cp932") | {
    "euc-jp": "euc_jp",
    "iso-2022-jp": "iso2022_jp",
}
_ROOT = re.compile(r"<(?![?!])(?:[\w.-]+:)?([\w.-]+)")


def xml_root(head: bytes) -> str:
    """Return the name of the outermost element without its prefix, or an empty text where this is no XML.

    Args:
        head: The first bytes of a file, in UTF-8, UTF-16 or an encoding that has ASCII in it.

    """
    text = re.sub(r"<!--.*?(?:-->|$)", "", _decoded(head), flags=re.DOTALL)
    if not text.lstrip("\ufeff \t\r\n").startswith("<"):
        return ""
    found = _ROOT.search(text)
    return found[1] if found else ""


def parse_xml(path: Path) -> "Element":
    """Return the root of a file, names without their namespaces.

    Raises:
        UserError: When it is not well-formed, or holds entities of its own.

    """
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import ParseError, fromstring

    check_bytes(path, MAX_XML_BYTES)
    data = path.read_bytes()
    # Millions of empty elements take gigabytes before anything can be said of them.
    if data.count(b"<") + data.count(b"=") > 2 * MAX_PARTS:
        raise too_many_parts(path)
    try:
        try:
            root: Any = fromstring(data, forbid_dtd=False, forbid_entities=True, forbid_external=True)
        except (ParseError, ValueError, LookupError) as error:
            if isinstance(error, DefusedXmlException):
                raise
            # A second encoding is tried: files are often saved again in another one than their first line says.
            root = fromstring(
                re.sub(r"^\s*<\?xml[^>]*\?>", "", _decoded(data)), forbid_dtd=False, forbid_entities=True, forbid_external=True
            )
    except DefusedXmlException:
        raise UserError(f"{path.name} holds entities of its own, which are not read: export it again") from None
    except (ParseError, ValueError, LookupError):
        raise UserError(f"{path.name} breaks off or is no XML: copy or export it again") from None
    for element in root.iter():
        if isinstance(element.tag, str):
            element.tag = element.tag.rpartition("}")[2]
    return root


def text_of(root: "Element", path: str) -> str:
    """Return the text of the first element at a path, without blanks around, or an empty one."""
    found = root.find(path)
    return (found.text or "").strip() if found is not None else ""


def numbers_of(text: str) -> np.ndarray:
    """Return numbers that blanks part, ``(T,)`` float64, without a Python object for each of millions.

    Raises:
        ValueError: When something else stands between them.

    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # What is no number ends the reading with no more than this.
        try:
            return np.fromstring(text, np.float64, sep=" ")
        except DeprecationWarning:
            raise ValueError from None


def base64_of(text: str) -> bytes:
    """Return what a text in base64, broken into lines or not, stands for.

    Raises:
        ValueError: When it is something else.

    """
    return base64.b64decode(re.sub(r"\s+", "", text), validate=True)


def _decoded(data: bytes) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "ignore")
    if data[:4] in (b"<\0?\0", b"\0<\0?"):
        return data.decode("utf-16-le" if data[1] == 0 else "utf-16-be", "ignore")
    declared = _DECLARED.match(data)
    name = declared[1].decode("ascii", "ignore").lower() if declared else ""
    return data.decode(_JAPANESE.get(name, "utf-8-sig"), "replace")
