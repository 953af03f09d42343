"""What people wrote into a photo's file: its title, caption and keywords, in XMP and IPTC."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import ExifTags, Image

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

LONGEST = 2000  # characters kept of one text
_KEYWORDS, _KEYWORD = 200, 200  # how many keywords are kept, and characters of each
_LARGEST_XMP = 4_000_000  # bytes; an editor's whole history takes a few hundred thousand

_DC = "{http://purl.org/dc/elements/1.1/}"
_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"

_IPTC_TITLE, _IPTC_CAPTION, _IPTC_KEYWORDS = (2, 5), (2, 120), (2, 25)


@dataclass(frozen=True, slots=True)
class Captions:
    """The words of a photo's file."""

    title: str | None = None
    caption: str | None = None
    keywords: tuple[str, ...] = ()


def read_captions(image: Image.Image, exif: Image.Exif) -> Captions:
    """The words of an opened image; what XMP lacks, IPTC tells. Broken ones count as none."""
    ours, theirs = _from_xmp(image, exif), _from_iptc(image)
    return Captions(
        ours.title or theirs.title,
        ours.caption or theirs.caption,
        ours.keywords or theirs.keywords,
    )


def plain(text: str, longest: int = LONGEST) -> str:
    """A text that any database and screen can take: no NULs, no half characters, bounded."""
    return text.replace("\0", " ").encode("utf-8", "replace").decode().strip()[:longest].strip()


def _captions(titles: list[str], captions: list[str], keywords: Iterable[str]) -> Captions:
    words = dict.fromkeys(plain(word, _KEYWORD) for word in keywords)
    words.pop("", None)
    return Captions(
        plain(titles[0]) or None if titles else None,
        plain(captions[0]) or None if captions else None,
        tuple(words)[:_KEYWORDS],
    )


# XMP


def _from_xmp(image: Image.Image, exif: Image.Exif) -> Captions:
    packet = image.info.get("xmp") or exif.get(ExifTags.Base.XMLPacket)
    if isinstance(packet, str):
        packet = packet.encode("utf-8", "replace")
    if not isinstance(packet, bytes) or len(packet) > _LARGEST_XMP:
        return Captions()
    root = _parse(packet.strip(b"\0 \n\r\t"))
    if root is None:
        return Captions()
    return _captions(_texts(root, "title"), _texts(root, "description"), _texts(root, "subject"))


def _parse(packet: bytes) -> Element | None:
    # Pillow's own reader needs defusedxml. XMP has no document type, and without one there are
    # no entities that could grow or fetch anything.
    from xml.etree import ElementTree

    wide = packet.startswith((b"\xff\xfe", b"\xfe\xff"))
    text = packet.decode("utf-16" if wide else "utf-8", "replace")
    if "<!DOCTYPE" in text:
        return None
    try:
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError):
        return None


def _texts(root: Element, name: str) -> list[str]:
    """The values of a Dublin Core property, that of the default language first."""
    values: list[str] = []
    for entry in root.iterfind(f".//{_DC}{name}//{_RDF}li"):
        if entry.get(_LANGUAGE) == "x-default":
            values.insert(0, entry.text or "")
        else:
            values.append(entry.text or "")
    return values


# IPTC


def _from_iptc(image: Image.Image) -> Captions:
    if image.format != "TIFF" and "photoshop" not in image.info:
        return Captions()
    from PIL import IptcImagePlugin

    try:
        told = IptcImagePlugin.getiptcinfo(image) or {}  # type: ignore[arg-type]
    except Exception:  # as Pillow's other parsers, on hostile bytes it raises nearly anything
        return Captions()
    values = {
        key: [_decoded(one) for one in (value if isinstance(value, list) else [value])]
        for key, value in told.items()
        if key in (_IPTC_TITLE, _IPTC_CAPTION, _IPTC_KEYWORDS)
    }
    return _captions(
        values.get(_IPTC_TITLE, []), values.get(_IPTC_CAPTION, []), values.get(_IPTC_KEYWORDS, [])
    )


def _decoded(value: bytes) -> str:
    # IPTC names its character set in a record that most programs leave out.
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")
