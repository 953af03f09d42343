"""What a file beside a photo tells of it: XMP of editors, and the JSON of Google Takeout.

XMP is what the owner noted, perhaps long after the photo was taken, and so counts more than what
the photo itself says. Takeout's JSON tells what is lost otherwise: the rest of it was in the photo.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from clipsearch.errors import PhotoError
from clipsearch.photos.facts.captions import captions_of_xmp, plain
from clipsearch.photos.facts.exif import on_the_globe, place_of_xmp, time_of_xmp
from clipsearch.photos.facts.facts import Facts, Person
from clipsearch.photos.facts.noted import label_of, location_of, rating_of
from clipsearch.photos.facts.people import joined, named, read_people
from clipsearch.photos.facts.xmp import LARGEST, RDF, parse_xmp

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

T = TypeVar("T")


def with_sidecar(facts: Facts, name: str, content: bytes) -> Facts:
    """The facts of a photo with what a file beside it tells.

    Raises:
        PhotoError: it cannot be understood; the message says why.
    """
    read = _with_xmp if name.lower().endswith(".xmp") else _with_takeout
    return understood(content, lambda content: read(facts, content))


def understood(content: bytes, read: Callable[[bytes], T]) -> T:
    """What `read` gives for the content of a file beside photos.

    Raises:
        PhotoError: it is too large, or `read` raised ValueError; the message says what it is.
    """
    if len(content) > LARGEST:
        raise PhotoError(f"it is larger than {LARGEST // 10**6} MB")
    try:
        return read(content)
    except ValueError as error:
        raise PhotoError(str(error)) from error


# XMP


def _with_xmp(facts: Facts, content: bytes) -> Facts:
    xmp = parse_xmp(content)
    if xmp is None or xmp.find(f".//{{{RDF}}}RDF") is None:
        raise ValueError("it is no XMP")
    words = captions_of_xmp(xmp)
    latitude, longitude = place_of_xmp(xmp) or (facts.latitude, facts.longitude)
    return replace(
        _dated(facts, xmp),
        title=words.title or facts.title,
        caption=words.caption or facts.caption,
        keywords=words.keywords or facts.keywords,
        latitude=latitude,
        longitude=longitude,
        people=read_people(xmp, facts.orientation) or facts.people,
        rating=rating_of(xmp, {}) or facts.rating,
        location=location_of(xmp) or facts.location,
        label=label_of(xmp) or facts.label,
    )


def _dated(facts: Facts, xmp: Element) -> Facts:
    when = time_of_xmp(xmp)
    is_same = when is None or (facts.taken_at or "")[:19] == when[:19]
    return facts if is_same else replace(facts, taken_at=when, taken_from="xmp")


# Google Takeout


def _with_takeout(facts: Facts, content: bytes) -> Facts:
    try:
        told = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError("it is no JSON") from error
    if not isinstance(told, dict):
        raise ValueError("it is no JSON of a photo")
    if facts.taken_from not in ("exif", "xmp") and (when := _moment(told)):
        facts = replace(facts, taken_at=when, taken_from="sidecar")
    if facts.latitude is None and (place := _place(told)):
        facts = replace(facts, latitude=place[0], longitude=place[1])
    described = told.get("description")
    if not facts.caption and isinstance(described, str):
        facts = replace(facts, caption=plain(described) or None)
    return replace(facts, people=joined(facts.people, _people(told)))


def _moment(told: dict[str, Any]) -> str | None:
    """When it was taken, which Takeout tells in seconds since 1970, and so in UTC."""
    taken = told.get("photoTakenTime")
    try:
        seconds = int(taken["timestamp"])  # type: ignore[index]
        when = datetime.fromtimestamp(seconds, UTC) if seconds else None
    except (TypeError, ValueError, KeyError, OverflowError, OSError):
        return None
    return when.isoformat() if when else None


def _place(told: dict[str, Any]) -> tuple[float, float] | None:
    for name in ("geoData", "geoDataExif"):
        try:
            numbers = [float(told[name][it]) for it in ("latitude", "longitude")]
        except (TypeError, ValueError, KeyError):
            continue
        if place := on_the_globe(numbers[0], numbers[1]):
            return place
    return None


def _people(told: dict[str, Any]) -> tuple[Person, ...]:
    people = told.get("people")
    several = people if isinstance(people, list) else []
    names = (it.get("name") for it in several if isinstance(it, dict))
    return named(it for it in names if isinstance(it, str))
