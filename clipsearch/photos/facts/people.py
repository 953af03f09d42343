"""The people that programs named in a photo: face regions and names in its XMP."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from clipsearch.photos.facts.captions import plain
from clipsearch.photos.facts.facts import Person
from clipsearch.photos.facts.xmp import IPTC_EXT, RDF, items, value

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

Box = tuple[float, float, float, float]  # left, top, width, height, as shares of the picture

_MWG = "http://www.metadataworkinggroup.com/schemas/regions/"
_AREA = "http://ns.adobe.com/xmp/sType/Area#"
_MICROSOFT = "http://ns.microsoft.com/photo/1.2/t/RegionInfo#"
_MICROSOFT_REGION = "http://ns.microsoft.com/photo/1.2/t/Region#"

_PEOPLE, _NAME = 200, 200  # how many people are kept, and characters of a name
_DIGITS = 4  # of a share; of a large photo that is a pixel

# How a box of the stored picture lies in the upright one, by EXIF's orientation.
_UPRIGHT: dict[int, Callable[[float, float, float, float], Box]] = {
    2: lambda x, y, w, h: (1 - x - w, y, w, h),
    3: lambda x, y, w, h: (1 - x - w, 1 - y - h, w, h),
    4: lambda x, y, w, h: (x, 1 - y - h, w, h),
    5: lambda x, y, w, h: (y, x, h, w),
    6: lambda x, y, w, h: (1 - y - h, x, h, w),
    7: lambda x, y, w, h: (1 - y - h, 1 - x - w, h, w),
    8: lambda x, y, w, h: (y, 1 - x - w, h, w),
}


def read_people(xmp: Element | None, orientation: int | None) -> tuple[Person, ...]:
    """The people that regions and lists in an XMP packet name, each once, those with a box first.

    Regions are those of the Metadata Working Group (digiKam, Lightroom, Picasa) and Microsoft's.
    Their boxes are of the picture as it is stored, which EXIF's `orientation` turns upright.
    """
    if xmp is None:
        return ()
    faces = in_regions((*_working_groups(xmp), *_microsofts(xmp)), orientation)
    return joined(faces, named(items(xmp, IPTC_EXT, "PersonInImage")))


def in_regions(
    regions: Iterable[tuple[str, Box | None]], orientation: int | None
) -> tuple[Person, ...]:
    """The people with a name and a box of the stored picture, each once."""
    found: dict[str, Person] = {}
    for told, box in regions:
        if (name := plain(told, _NAME)) and name not in found:
            found[name] = Person(name, _upright(box, orientation))
    return tuple(found.values())[:_PEOPLE]


def joined(people: tuple[Person, ...], others: tuple[Person, ...]) -> tuple[Person, ...]:
    """People with others, each once; who has no box takes that of the others."""
    boxes = {other.name: other.box for other in reversed(others)}
    known = tuple(it if it.box else Person(it.name, boxes.get(it.name)) for it in people)
    names = {person.name for person in people}
    return (*known, *(other for other in others if other.name not in names))[:_PEOPLE]


def named(names: Iterable[str]) -> tuple[Person, ...]:
    """People of whom nothing but the names is known."""
    plains = dict.fromkeys(plain(name, _NAME) for name in names)
    return tuple(Person(name) for name in plains if name)[:_PEOPLE]


def _working_groups(xmp: Element) -> Iterator[tuple[str, Box | None]]:
    for region in _regions(xmp, _MWG, "RegionList"):
        kind = value(region, _MWG, "Type")
        if kind and kind.lower() != "face":  # also focus points, barcodes, pets
            continue
        centre = _numbers(value(region, _AREA, name) for name in ("x", "y", "w", "h"))
        box = None
        if len(centre) == 4 and value(region, _AREA, "unit") in ("", "normalized"):
            x, y, w, h = centre
            box = (x - w / 2, y - h / 2, w, h)
        yield value(region, _MWG, "Name"), box


def _microsofts(xmp: Element) -> Iterator[tuple[str, Box | None]]:
    for region in _regions(xmp, _MICROSOFT, "Regions"):
        sides = _numbers(value(region, _MICROSOFT_REGION, "Rectangle").split(","))
        box = (sides[0], sides[1], sides[2], sides[3]) if len(sides) == 4 else None
        yield value(region, _MICROSOFT_REGION, "PersonDisplayName"), box


def _regions(xmp: Element, space: str, name: str) -> Iterator[Element]:
    return xmp.iterfind(f".//{{{space}}}{name}/*/{{{RDF}}}li")


def _numbers(texts: Iterable[str]) -> list[float]:
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        return []
    return numbers if all(map(math.isfinite, numbers)) else []


def _upright(box: Sequence[float] | None, orientation: int | None) -> Box | None:
    """A box of the stored picture in the upright one; None for what is no part of a picture."""
    if box is None:
        return None
    left, top, width, height = box
    right, bottom = min(left + width, 1.0), min(top + height, 1.0)
    left, top = max(left, 0.0), max(top, 0.0)  # a face at the edge reaches beyond it
    if not (left < right and top < bottom):
        return None
    x, y, w, h = box = left, top, right - left, bottom - top
    if orientation in _UPRIGHT:
        x, y, w, h = _UPRIGHT[orientation](*box)
    return round(x, _DIGITS), round(y, _DIGITS), round(w, _DIGITS), round(h, _DIGITS)
