"""What people wrote into a photo's file: title, caption and keywords, in XMP, IPTC and EXIF."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import ExifTags

from clipsearch.photos.facts import iptc
from clipsearch.photos.facts.exif_texts import comment_of, latin_or_utf8, windows_text
from clipsearch.photos.facts.xmp import (
    DC,
    DIGIKAM,
    LIGHTROOM,
    MICROSOFT,
    PHOTOSHOP,
    items,
    value,
)

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

LONGEST = 8000  # characters kept of one text
_KEYWORDS, _KEYWORD = 200, 200  # how many keywords are kept, and characters of each
CUT = "…"  # at the end of what is longer


@dataclass(frozen=True, slots=True)
class Captions:
    """The words of a photo's file."""

    title: str | None = None
    caption: str | None = None
    keywords: tuple[str, ...] = ()


def read_captions(
    xmp: Element | None, record: iptc.Record, exif: Mapping[int, Any], details: Mapping[int, Any]
) -> Captions:
    """The words of a photo's file; what its XMP lacks, IPTC tells, and then EXIF.

    `details` is EXIF's own part. Broken ones count as none.
    """
    several = captions_of_xmp(xmp), _from_iptc(record), _from_exif(exif, details)
    return Captions(
        next((it.title for it in several if it.title), None),
        next((it.caption for it in several if it.caption), None),
        next((it.keywords for it in several if it.keywords), ()),
    )


def plain(text: str, longest: int = LONGEST) -> str:
    """A text that any database and screen can take: no NULs, no half characters, bounded.

    What is cut ends with CUT.
    """
    text = text.replace("\0", " ").encode("utf-8", "replace").decode().strip()
    return text if len(text) <= longest else text[: longest - 1].rstrip() + CUT


def _captions(titles: list[str], captions: list[str], keywords: Iterable[str]) -> Captions:
    return Captions(
        plain(titles[0]) or None if titles else None,
        plain(captions[0]) or None if captions else None,
        plain_keywords(keywords),
    )


def plain_keywords(keywords: Iterable[str]) -> tuple[str, ...]:
    """Keywords as `plain` makes texts, each once and not too many."""
    words = dict.fromkeys(plain(word, _KEYWORD) for word in keywords)
    words.pop("", None)
    return tuple(words) if len(words) <= _KEYWORDS else (*list(words)[: _KEYWORDS - 1], CUT)


# XMP


# Lists of keywords with those above them, and what stands between these.
_TREES = ((LIGHTROOM, "hierarchicalSubject", "|"), (DIGIKAM, "TagsList", "/"),
          (MICROSOFT, "LastKeywordXMP", "/"))  # fmt: skip


def captions_of_xmp(root: Element | None) -> Captions:
    """The words of an XMP packet."""
    if root is None:
        return Captions()
    titles, captions, keywords = (items(root, DC, it) for it in ("title", "description", "subject"))
    if not any(titles):
        titles = [value(root, PHOTOSHOP, "Headline")]
    known = {word.casefold() for word in keywords}
    for space, name, between in _TREES:
        for path in items(root, space, name):
            for word in path.split(between):
                if word.casefold() not in known:
                    known.add(word.casefold())
                    keywords.append(word)
    return _captions(titles, captions, keywords)


# EXIF

# What cameras and programs write into every file.
_OF_NOBODY = re.compile(
    r"(?:.*\bdigital (?:still )?camera|sony dsc|exif[_ ]jpeg.*|dcim\\.*|default|untitled"
    r"|[<\W\d_]*|.*\bcreated with .*|charset=.*)",
    re.IGNORECASE | re.DOTALL,
)


def _from_exif(exif: Mapping[int, Any], details: Mapping[int, Any]) -> Captions:
    tags = ExifTags.Base
    told = exif.get(tags.ImageDescription)
    captions = [
        latin_or_utf8(told) if isinstance(told, (str, bytes)) else "",
        windows_text(exif.get(tags.XPComment)),
        comment_of(details.get(tags.UserComment)),
    ]
    captions = [it.strip() for it in captions if not _OF_NOBODY.fullmatch(it.strip())]
    titles = [it for it in map(windows_text, map(exif.get, (tags.XPTitle, tags.XPSubject))) if it]
    return _captions(titles, captions, windows_text(exif.get(tags.XPKeywords)).split(";"))


# IPTC


def _from_iptc(record: iptc.Record) -> Captions:
    keys = iptc.TITLE, iptc.HEADLINE, iptc.CAPTION, iptc.KEYWORDS
    titles, headlines, captions, keywords = map(record.texts, keys)
    return _captions(titles or headlines, captions, keywords)
