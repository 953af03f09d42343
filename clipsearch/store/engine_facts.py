"""What an engine outside knows of a photo beside its vector, and conditions told by that.

An engine that keeps these facts filters by itself before it ranks. A condition may let through
more photos than the one that it stands for, never fewer: the catalog looks at all that is found.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import NamedTuple

from clipsearch.photos.facts.facts import TOLD
from clipsearch.store.conditions import (
    All,
    Below,
    Condition,
    Either,
    Has,
    Is,
    Near,
    span_below,
)

NOWHERE = 1000.0  # the latitude and longitude of a photo that has none
UNKNOWN = -1  # any other number that is not known


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


def as_engine_facts(
    root_id: int,
    path: str | bytes,
    taken_at: str | None,
    taken_from: str | None,
    camera: str | None,
    latitude: float | None,
    longitude: float | None,
    width: int | None,
    height: int | None,
) -> EngineFacts:
    """What an engine is told of a photo, from what the catalog knows of it."""
    folder, _, name = printable(path).rpartition("/")
    if latitude is None or longitude is None:
        latitude = longitude = NOWHERE
    if width is None or height is None:
        width = height = UNKNOWN
    return EngineFacts(
        root_id,
        f"{folder}/" if folder else "",
        moment(taken_at) if taken_at else UNKNOWN,
        taken_from in TOLD,
        camera or "",
        latitude,
        longitude,
        width,
        height,
        width * height if width != UNKNOWN else UNKNOWN,
        "." + name.rpartition(".")[2].lower(),
    )


def told(condition: Condition) -> Condition | None:
    """A condition in terms of EngineFacts: `Is`, `All` and `Either` of them.

    None where these facts do not tell it.
    """
    if isinstance(condition, All | Either):
        parts = tuple(part for part in map(told, condition.parts) if part is not None)
        is_whole = parts and len(parts) == len(condition.parts)
        return type(condition)(parts) if is_whole else None
    if isinstance(condition, Has):
        return _KNOWN.get(condition.fact)
    if isinstance(condition, Below):
        return _below(condition)
    if isinstance(condition, Near):
        return _near(condition)
    return _compared(condition) if isinstance(condition, Is) else None


_KNOWN: dict[str, Condition] = {
    "coordinates": Is("latitude", "<", NOWHERE),
    "date": Is("dated", "==", True),
    "camera": Is("camera", ">", ""),
}


def _below(it: Below) -> Condition:
    root = Is("root", "==", it.root)
    if not it.folder:
        return root
    first, end = span_below(printable(it.folder))
    return All((root, Is("folder", ">=", first), Is("folder", "<", end)))


def _near(it: Near) -> Condition:
    south, north = it.latitude - it.band, it.latitude + it.band
    band = Is("latitude", ">=", south), Is("latitude", "<", north)
    return All((*band, *_meridians(it)))


def _meridians(it: Near) -> Sequence[Condition]:
    """What the longitudes of a circle lie between; nothing near a pole or the date line."""
    farthest = abs(it.latitude) + it.band
    if farthest >= 89:
        return ()
    width = 1.01 * it.band / math.cos(math.radians(farthest))
    if abs(it.longitude) + width >= 180:
        return ()
    west, east = it.longitude - width, it.longitude + width
    return Is("longitude", ">=", west), Is("longitude", "<", east)


def _compared(it: Is) -> Condition | None:
    if it.fact == "taken":
        return All((Is("taken", ">=", 0), Is("taken", it.relation, moment(it.value))))
    if it.relation == ">=" and it.fact in ("longer", "shorter"):
        sides = Is("width", ">=", it.value), Is("height", ">=", it.value)
        return Either(sides) if it.fact == "longer" else All(sides)
    if it.relation == ">=" and it.fact == "pixels":
        return Is("pixels", ">=", math.floor(min(it.value, 1e18)))
    return it if it.fact in ("camera", "width", "height", "type") else None


def moment(text: str) -> int:
    """A time as "2024-05-01T12:00:00" in one number that sorts as it does: 20240501120000."""
    digits = "".join(letter for letter in text[:19] if letter.isdecimal())
    return int(digits.ljust(14, "0")) if digits else UNKNOWN


def printable(path: str | bytes) -> str:
    """A path as valid text, bytes that are none written out; what it begins with stays so."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
