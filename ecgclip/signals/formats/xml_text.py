"""XML of devices, read without entities that expand, network or code."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecgclip.errors import UserError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_LARGEST = 1 << 26  # Bytes; ten seconds of twelve leads in the wordiest of these formats are half a MB.
_MOST = 1 << 20  # Elements and attributes; those formats use some thousands.
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

    if path.stat().st_size > _LARGEST:
        raise UserError(f"{path.name} is larger than {_LARGEST >> 20} MB, which no 12-lead ECG in XML is: export single ECGs")
    data = path.read_bytes()
    # Millions of empty elements take gigabytes before anything can be said of them.
    if data.count(b"<") + data.count(b"=") > _MOST:
        raise UserError(f"{path.name} has more elements than an ECG in XML has: export single ECGs")
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


def _decoded(data: bytes) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "ignore")
    if data[:4] in (b"<\0?\0", b"\0<\0?"):
        return data.decode("utf-16-le" if data[1] == 0 else "utf-16-be", "ignore")
    declared = _DECLARED.match(data)
    name = declared[1].decode("ascii", "ignore").lower() if declared else ""
    return data.decode(_JAPANESE.get(name, "utf-8-sig"), "replace")
