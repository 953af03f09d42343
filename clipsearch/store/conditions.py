"""What an engine knows of a photo beside its vector, and conditions on it.

An engine that keeps these facts filters by itself before it ranks. A condition may let through
more photos than the filter that it stands for, never fewer: the catalog looks at all that is found.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from unicodedata import normalize

from clipsearch.photos.facts.facts import TOLD

NOWHERE = 1000.0  # the latitude and longitude of a photo that has none
UNKNOWN = -1  # any other number that is not known


@dataclass(frozen=True, slots=True)
class Is:
    """One fact compared with a value.

    `relation` is ==, >, >=, <, "in" (a tuple of values), "contains" (a part of a text, both
    `folded`) or "below" (a folder, "" for all).
    """

    fact: str  # a name of EngineFacts
    relation: str
    value: Any  # for == and > also the name of another fact, as OtherFact


@dataclass(frozen=True, slots=True)
class OtherFact:
    """A fact that another is compared with."""

    name: str


@dataclass(frozen=True, slots=True)
class All:
    """All of some conditions."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """At least one of some conditions."""

    parts: tuple[Condition, ...]


Condition = Is | All | Either


class EngineFacts(NamedTuple):
    """What is kept with a photo's vector, always with a value."""

    root: int
    folder: str  # below the root, with a slash at its end; "" for the root itself
    taken: int  # 20240501120000 on the clock there
    dated: bool  # whether the photo itself tells when it was taken
    camera: str  # "" for none
    latitude: float
    longitude: float
    width: int
    height: int
    pixels: int
    type: str  # the file's extension in small letters, with its dot


def engine_facts(photo: Mapping[str, Any]) -> EngineFacts:
    """What an engine is told of a photo, from its columns in the catalog."""
    path = printable(photo["path"])
    folder, _, name = path.rpartition("/")
    width, height = photo["width"], photo["height"]
    sized = width is not None and height is not None
    placed = photo["latitude"] is not None and photo["longitude"] is not None
    return EngineFacts(
        photo["root_id"],
        f"{folder}/" if folder else "",
        moment(photo["taken_at"]) if photo["taken_at"] else UNKNOWN,
        photo["taken_from"] in TOLD,
        photo["camera"] or "",
        photo["latitude"] if placed else NOWHERE,
        photo["longitude"] if placed else NOWHERE,
        width if sized else UNKNOWN,
        height if sized else UNKNOWN,
        width * height if sized else UNKNOWN,
        "." + name.rpartition(".")[2].lower(),
    )


def moment(text: str) -> int:
    """A time as "2024-05-01T12:00:00" in one number that sorts as it does: 20240501120000."""
    digits = "".join(letter for letter in text[:19] if letter.isdecimal())
    return int(digits.ljust(14, "0")) if digits else UNKNOWN


def folded(text: str) -> str:
    """A text without what case and ways of writing the same letter differ in."""
    return normalize("NFKC", normalize("NFKC", text).casefold())


def printable(path: str | bytes) -> str:
    """A path as valid text, bytes that are none written out; what it begins with stays so."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
