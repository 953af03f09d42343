"""What is known of a photo: when, where and with what it was taken, and what it is called."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import date, datetime

from clipsearch.photos.facts.taken import named_time

# What tells when a photo was taken, the surest first: the camera, an editor or its owner, a file
# that Google Takeout wrote beside it, what the file is called, and when it was written.
SOURCES = ("exif", "xmp", "sidecar", "name", "file")
TOLD = SOURCES[:3]  # by the photo or its owner, and not guessed

# A file's mtime_ns below it is no time but a number that changes with the content, as of some
# stores; it stands for the year 1823, before there were photos.
NO_TIME = -(1 << 62)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody in a photo, as a program of its owner's named them."""

    name: str
    # Left, top, width and height of the face, as shares of the picture that the eye sees.
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one photo; None where its file does not say."""

    width: int | None = None  # pixels, as the eye sees it (EXIF orientation applied)
    height: int | None = None
    taken_at: str | None = None  # ISO 8601, with the UTC offset where the camera wrote one
    camera: str | None = None
    latitude: float | None = None  # degrees, south negative
    longitude: float | None = None  # degrees, west negative
    taken_from: str | None = None  # what tells `taken_at`: one of SOURCES
    lens: str | None = None
    orientation: int | None = None  # EXIF's, 1 to 8
    title: str | None = None
    caption: str | None = None
    keywords: tuple[str, ...] = ()
    flaw: str | None = None  # what is wrong with a file that is shown nevertheless
    people: tuple[Person, ...] = ()
    rating: int | None = None  # 1 to 5 stars, -1 for a reject
    location: str | None = None  # as its owner wrote it: "Alfama, Lisbon, Portugal"
    label: str | None = None  # of a colour, or whatever a program's labels are called


def dated(facts: Facts, path: str, mtime_ns: int) -> Facts:
    """The facts of a content as those of a file, with a time where the content tells none.

    That is what the name of the file tells, or else its own time; copies can differ in both.
    """
    if facts.taken_at and facts.taken_from in TOLD:
        return facts
    name, _ = os.path.splitext(path.rpartition("/")[2])
    if when := named_time(name, date.today()):
        return replace(facts, taken_at=when, taken_from="name")
    return with_file_time(replace(facts, taken_at=None, taken_from=None), mtime_ns)


def with_file_time(facts: Facts, mtime_ns: int) -> Facts:
    """The facts, with the time of the file where nothing better is known."""
    if facts.taken_at and facts.taken_from != "file":
        return facts
    no_time = replace(facts, taken_at=None, taken_from=None)
    if mtime_ns < NO_TIME:
        return no_time
    try:
        when = datetime.fromtimestamp(mtime_ns // 1_000_000_000).astimezone()
    except (OverflowError, ValueError, OSError):  # a clock that says the year 60,000
        return no_time
    return replace(facts, taken_at=when.isoformat(timespec="seconds"), taken_from="file")
