"""A photo's XMP: the packet found, read as far as it can be, and asked for its values."""

from __future__ import annotations

import codecs
import re
from html import unescape
from html.entities import html5
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from PIL import ExifTags, Image

LARGEST = 4_000_000  # bytes; an editor's whole history takes a few hundred thousand

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
DC = "http://purl.org/dc/elements/1.1/"
EXIF = "http://ns.adobe.com/exif/1.0/"
PHOTOSHOP = "http://ns.adobe.com/photoshop/1.0/"
XMP = "http://ns.adobe.com/xap/1.0/"
LIGHTROOM = "http://ns.adobe.com/lightroom/1.0/"
DIGIKAM = "http://www.digikam.org/ns/1.0/"
MICROSOFT = "http://ns.microsoft.com/photo/1.0/"
IPTC_CORE = "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/"
IPTC_EXT = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_XML = "http://www.w3.org/XML/1998/namespace"
_LANGUAGE = f"{{{_XML}}}lang"

# What prefixes stand for where a packet does not say it.
_USUAL = {
    "xml": _XML, "rdf": RDF, "dc": DC, "exif": EXIF, "photoshop": PHOTOSHOP, "xmp": XMP,
    "xap": XMP, "lr": LIGHTROOM, "digiKam": DIGIKAM, "MicrosoftPhoto": MICROSOFT,
    "Iptc4xmpCore": IPTC_CORE, "Iptc4xmpExt": IPTC_EXT,
}  # fmt: skip

_UNICODE = (
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
    (b"<\0\0\0", "utf-32-le"), (b"\0\0\0<", "utf-32-be"), (b"<\0", "utf-16-le"),
    (b"\0<", "utf-16-be"),
)  # fmt: skip

# What is not UTF-8 is nearly always this, whatever it says of itself.
_LATIN_1 = {0xDC00 + byte: byte for byte in range(0x80, 0x100)}

_NAME = r"[^\W\d][\w.\-]*+(?::[^\W\d][\w.\-]*+)?"
_ATTRIBUTE = re.compile(rf"(?<![\w.:\-])({_NAME})\s*=\s*(?:\"([^\"<]*)\"|'([^'<]*)')")
_TAG = re.compile(rf"<(/?)({_NAME})((?:[^<>\"']|\"[^\"<]*\"|'[^'<]*')*+)>")
_ENTITY = re.compile(r"&(?:(#\d{1,7}|#x[\da-f]{1,6})|(\w{1,32}));", re.IGNORECASE | re.ASCII)
_NO_TEXT = re.compile(r"[\0-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")
# Bounds on what broken XML costs; a text is cut to less later, and no XMP is so deep.
_LONGEST = 100_000
_DEEPEST = 100


def read_xmp(image: Image.Image, exif: Image.Exif) -> Element | None:
    """The XMP of an opened image; None where it has none that can be read."""
    packet = image.info.get("xmp") or exif.get(ExifTags.Base.XMLPacket)
    if isinstance(packet, str):
        packet = packet.encode("utf-8", "replace")
    return parse_xmp(packet) if isinstance(packet, bytes) else None


def parse_xmp(packet: bytes) -> Element | None:
    """A packet of XMP, or a file of one; None where it cannot be read. Its end may be cut off."""
    return _parsed(_decoded(packet[:LARGEST].strip(b" \n\r\t")))


def items(root: Element, space: str, name: str) -> list[str]:
    """The values of a property that is a list or a text, that of the default language first."""
    values: list[str] = []
    for entry in root.iterfind(f".//{{{space}}}{name}//{{{RDF}}}li"):
        if entry.get(_LANGUAGE) == "x-default":
            values.insert(0, entry.text or "")
        else:
            values.append(entry.text or "")
    return values or [value(root, space, name)]


def value(root: Element, space: str, name: str) -> str:
    """The value of a property that is a text, as an attribute or an element; "" for none."""
    key = f"{{{space}}}{name}"
    found = (it.get(key) or (it.text if it.tag == key else None) for it in root.iter())
    return next((text.strip() for text in found if text and text.strip()), "")


def _decoded(packet: bytes) -> str:
    for start, encoding in _UNICODE:
        if packet.startswith(start):
            return packet.decode(encoding, "replace").lstrip("\ufeff")
    return packet.decode("utf-8", "surrogateescape").translate(_LATIN_1)


def _parsed(text: str) -> Element | None:
    # Pillow's own reader needs defusedxml. XMP has no document type, and without one there are
    # no entities that could grow or fetch anything.
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        return None
    try:
        return ElementTree.fromstring(text.strip("\0 \n\r\t"))
    except (ElementTree.ParseError, ValueError):
        return _mended(text)


def _mended(text: str) -> Element | None:
    """What can be read of broken XML: of its tags those that are, and the text between them.

    Programs write a bare & or a control character, use prefixes that they do not declare, leave
    junk around the packet or cut its end off. A text that the end cuts off is left out.
    """
    root = Element("packet")
    open_ones = [root]
    prefixes = dict(_USUAL)
    text = _without_comments(text)
    before = 0
    for tag in _TAG.finditer(text):
        here = open_ones[-1]
        if len(here) == 0 and len(here.text or "") < _LONGEST:
            here.text = (here.text or "") + _content(text[before : tag.start()])
        before = tag.end()
        closes, name, inner = tag.groups()
        if closes:
            _close(open_ones, _full(name, prefixes))
            continue
        element = _element(here, name, inner, prefixes)
        if not inner.endswith("/") and len(open_ones) < _DEEPEST:
            open_ones.append(element)
    return root


def _without_comments(text: str) -> str:
    first, *others = text.split("<!--")
    return first + "".join(part.partition("-->")[2] for part in others)


def _element(here: Element, name: str, inner: str, prefixes: dict[str, str]) -> Element:
    """The element of a tag, with its attributes; adds the prefixes that it declares."""
    attributes = {key: one or other for key, one, other in _ATTRIBUTE.findall(inner)}
    for key, address in attributes.items():
        if key.startswith("xmlns:"):
            prefixes[key.removeprefix("xmlns:")] = address
    element = SubElement(here, _full(name, prefixes))
    for key, written in attributes.items():
        element.set(_full(key, prefixes), _content(written))
    return element


def _close(open_ones: list[Element], name: str) -> None:
    """Close the innermost element of that name with all in it, if there is one."""
    for depth in range(len(open_ones) - 1, 0, -1):
        if open_ones[depth].tag == name:
            del open_ones[depth:]
            return


def _full(name: str, prefixes: dict[str, str]) -> str:
    prefix, colon, own = name.rpartition(":")
    return f"{{{prefixes.get(prefix, prefix)}}}{own}" if colon else name


def _content(text: str) -> str:
    whole = text.strip()
    if whole.startswith("<![CDATA["):
        text = whole.removeprefix("<![CDATA[").removesuffix("]]>")
    else:
        text = _ENTITY.sub(_character, text)
    return _NO_TEXT.sub("", text)


def _character(entity: re.Match[str]) -> str:
    """What a reference stands for; one that nobody knows, as in "Q&A; and more", stays."""
    if entity[1]:
        return unescape(entity[0]).replace("\ufffd", "")
    return html5.get(f"{entity[2]};", entity[0])
