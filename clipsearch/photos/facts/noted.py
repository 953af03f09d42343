"""What its owner noted of a photo beside words: stars, a label, and where it was taken."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from clipsearch.photos.facts.captions import plain
from clipsearch.photos.facts.xmp import (
    IPTC_CORE,
    IPTC_EXT,
    MICROSOFT,
    PHOTOSHOP,
    RDF,
    XMP,
    value,
)

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_LONGEST = 200  # characters of a label, and of each part of a place
_EXIF_RATING, _EXIF_PERCENT = 0x4746, 0x4749

# A place, from the smallest to the largest of its parts.
_PARTS = ((IPTC_CORE, "Location"), (PHOTOSHOP, "City"), (PHOTOSHOP, "State"),
          (PHOTOSHOP, "Country"))  # fmt: skip
_PARTS_EXT = ("Sublocation", "City", "ProvinceState", "CountryName")


def rating_of(xmp: Element | None, exif: Mapping[int, Any]) -> int | None:
    """1 to 5 stars, or -1 for a reject; None where there is no rating, or one of 0."""
    texts: list[tuple[Any, bool]] = []
    if xmp is not None:
        texts += [(value(xmp, XMP, "Rating"), False), (value(xmp, MICROSOFT, "Rating"), True)]
    texts += [(exif.get(_EXIF_RATING), False), (exif.get(_EXIF_PERCENT), True)]
    for told, in_percent in texts:
        try:
            number = float(told) if told not in (None, "") else math.nan
        except (TypeError, ValueError):
            continue
        if math.isnan(number):
            continue
        # Of percents 1, 25, 50, 75 and 99 are one to five stars.
        stars = round(number / 25) + 1 if in_percent and 0 < number <= 100 else number
        return round(max(-1, min(stars, 5))) or None
    return None


def label_of(xmp: Element | None) -> str | None:
    """The label, such as a colour's; None where there is none."""
    return (plain(value(xmp, XMP, "Label"), _LONGEST) or None) if xmp is not None else None


def location_of(xmp: Element | None, of_iptc: Iterable[str] = ()) -> str | None:
    """Where it was taken in words, the smallest place first; None where nothing says so.

    `of_iptc` are the parts that IPTC tells, in that order, for what XMP lacks.
    """
    found = [] if xmp is None else [value(xmp, *part) for part in _PARTS]
    if xmp is not None and not any(found):
        places = (xmp.find(f".//{{{IPTC_EXT}}}{name}//{{{RDF}}}li") for name in _LOCATIONS)
        place = next((it for it in places if it is not None), None)
        found = [] if place is None else [value(place, IPTC_EXT, part) for part in _PARTS_EXT]
    parts = found if any(found) else of_iptc
    plains = dict.fromkeys(plain(part, _LONGEST) for part in parts)
    return ", ".join(filter(None, plains)) or None


_LOCATIONS = ("LocationShown", "LocationCreated")
