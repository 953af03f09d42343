"""What people wrote into a photo's file: its title, caption and keywords, in XMP and IPTC."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image

from clipsearch.photos.facts.xmp import DC, items

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

LONGEST = 8000  # characters kept of one text
_KEYWORDS, _KEYWORD = 200, 200  # how many keywords are kept, and characters of each
CUT = "…"  # at the end of what is longer

_IPTC_CHARACTERS = (1, 90)
_IPTC_TITLE, _IPTC_CAPTION, _IPTC_KEYWORDS = (2, 5), (2, 120), (2, 25)

# How IPTC names character sets, by escape sequences of ISO 2022.
_CHARACTERS = {
    b"\x1b%G": "utf-8", b"\x1b%/I": "utf-8", b"\x1b-A": "latin-1", b"\x1b.A": "latin-1",
    b"\x1b-B": "iso8859-2", b"\x1b-C": "iso8859-3", b"\x1b-D": "iso8859-4",
    b"\x1b-L": "iso8859-5", b"\x1b-G": "iso8859-6", b"\x1b-F": "iso8859-7",
    b"\x1b-H": "iso8859-8", b"\x1b-M": "iso8859-9",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Captions:
    """The words of a photo's file."""

    title: str | None = None
    caption: str | None = None
    keywords: tuple[str, ...] = ()


def read_captions(image: Image.Image, xmp: Element | None) -> Captions:
    """The words of an opened image; what its XMP lacks, IPTC tells. Broken ones count as none."""
    ours, theirs = _from_xmp(xmp), _from_iptc(image)
    return Captions(
        ours.title or theirs.title,
        ours.caption or theirs.caption,
        ours.keywords or theirs.keywords,
    )


def plain(text: str, longest: int = LONGEST) -> str:
    """A text that any database and screen can take: no NULs, no half characters, bounded.

    What is cut ends with CUT.
    """
    text = text.replace("\0", " ").encode("utf-8", "replace").decode().strip()
    return text if len(text) <= longest else text[: longest - 1].rstrip() + CUT


def _captions(titles: list[str], captions: list[str], keywords: Iterable[str]) -> Captions:
    words = dict.fromkeys(plain(word, _KEYWORD) for word in keywords)
    words.pop("", None)
    return Captions(
        plain(titles[0]) or None if titles else None,
        plain(captions[0]) or None if captions else None,
        tuple(words) if len(words) <= _KEYWORDS else (*list(words)[: _KEYWORDS - 1], CUT),
    )


# XMP


def _from_xmp(root: Element | None) -> Captions:
    if root is None:
        return Captions()
    return _captions(*(items(root, DC, name) for name in ("title", "description", "subject")))


# IPTC


def _from_iptc(image: Image.Image) -> Captions:
    if image.format != "TIFF" and "photoshop" not in image.info:
        return Captions()
    from PIL import IptcImagePlugin

    try:
        told = IptcImagePlugin.getiptcinfo(image) or {}  # type: ignore[arg-type]
    except Exception:  # as Pillow's other parsers, on hostile bytes it raises nearly anything
        return Captions()
    characters = _CHARACTERS.get(next(_all(told, _IPTC_CHARACTERS), b""))
    return _captions(
        *(
            [_decoded(value, characters) for value in _all(told, key)]
            for key in (_IPTC_TITLE, _IPTC_CAPTION, _IPTC_KEYWORDS)
        )
    )


def _all(told: Mapping[Any, Any], key: tuple[int, int]) -> Iterator[bytes]:
    values = told.get(key)
    yield from (it for it in (values if isinstance(values, list) else [values]) if it)


def _decoded(value: bytes, characters: str | None) -> str:
    # Most programs leave out which they use, and some say another.
    for name in ("utf-8", characters or "cp1252"):
        try:
            return value.decode(name)
        except UnicodeDecodeError:
            continue
    return value.decode("latin-1")
