"""Which photos a question is about: by folder, date, camera, place, shape and kind."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Any, TypedDict

from clipsearch.errors import InvalidInput
from clipsearch.photos.files.urls import is_url, normal, path_below
from clipsearch.photos.scanning.names import EXTENSIONS, RAW_EXTENSIONS
from clipsearch.search.dates import parse_date, understood
from clipsearch.store.catalog import Catalog, Root, Selection
from clipsearch.store.conditions import (
    NOWHERE,
    All,
    Condition,
    Either,
    Is,
    OtherFact,
    folded,
    moment,
    printable,
)
from clipsearch.store.database import is_below

KINDS = {
    "jpeg": (
        ".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".mpo", ".jps", ".insp", ".thm",
    ),
    "png": (".png", ".apng"),
    "tiff": (".tif", ".tiff"),
    "heic": (".heic", ".heics", ".heif", ".heifs", ".hif"),
    "raw": tuple(sorted(RAW_EXTENSIONS)),
}  # fmt: skip

# The condition on a photo's row that says that it has something.
PROPERTIES = {
    "gps": Selection("latitude IS NOT NULL AND longitude IS NOT NULL", (),
                     Is("latitude", "<", NOWHERE)),
    "date": Selection("taken_from IN ('exif', 'xmp')", (), Is("dated", "==", True)),
    "camera": Selection("camera IS NOT NULL", (), Is("camera", ">", "")),
    "lens": Selection("lens IS NOT NULL", ()),
    "title": Selection("title IS NOT NULL", ()),
    "caption": Selection("caption IS NOT NULL", ()),
    "keywords": Selection("keywords IS NOT NULL", ()),
}  # fmt: skip

SHAPES = {
    "landscape": Selection("width > height", (), Is("width", ">", OtherFact("height"))),
    "portrait": Selection("width < height", (), Is("height", ">", OtherFact("width"))),
    "square": Selection("width = height", (), Is("width", "==", OtherFact("height"))),
}

_LENGTH = re.compile(r"(\d+(?:\.\d+)?)\s*(km|m|mi)?", re.IGNORECASE)
_KM = {"km": 1.0, "m": 0.001, "mi": 1.609344}
_USUAL_KM = 5.0


_DIGITS = 12  # of a length or of megapixels; no picture comes near, and 64 bits hold it


StrPath = str | os.PathLike[str]


class FilterNames(TypedDict, total=False):
    """The fields of `Filters`, where they are given by their names."""

    folder: StrPath | Sequence[StrPath]
    since: str | date | None
    until: str | date | None
    camera: str | None
    near: str | tuple[float, float] | None
    within: str | None
    orientation: str | None
    min_size: str | None
    type: str | Sequence[str]
    has: str | Sequence[str]


@dataclass(frozen=True, slots=True)
class Filters:
    """What photos must satisfy, all of it; None, or nothing, for anything.

    What may be several can be one alone; dates and places can be Python's: `since=date(2024, 5, 1)`
    and `near=(48.858, 2.294)` are `since="2024-05-01"` and `near="48.858,2.294"`.
    """

    folder: StrPath | Sequence[StrPath] = ()  # any of these
    since: str | date | None = None
    until: str | date | None = None  # to the end of the day, month or year named
    camera: str | None = None  # a part of its name
    near: str | tuple[float, float] | None = None  # "LAT,LON" in degrees
    within: str | None = None  # "5km", "300m", "2mi"
    orientation: str | None = None  # a key of SHAPES
    min_size: str | None = None  # "1920x1080", "2000" (the longer side) or "8MP"
    type: str | Sequence[str] = ()  # any of these keys of KINDS, or extensions
    has: str | Sequence[str] = ()  # all of these keys of PROPERTIES

    def __bool__(self) -> bool:
        return self != Filters()


def with_named(filters: Filters | None, named: FilterNames) -> Filters | None:
    """The filters with those that are given by name, which come first."""
    return replace(filters or Filters(), **named) if named else filters


def _degrees(near: str | tuple[float, float] | None) -> str | None:
    return near if near is None or isinstance(near, str) else ",".join(map(str, near))


def _several(value: Any) -> Sequence[Any]:
    return (value,) if isinstance(value, (str, os.PathLike)) else value


def _text(value: str | date | None) -> str | None:
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    return value.isoformat() if isinstance(value, date) else value


def select(filters: Filters, catalog: Catalog) -> Selection | None:
    """The filters as a condition in SQL; None for none.

    Raises:
        InvalidInput: a filter that makes no sense.
    """
    parts = [
        _folders(_several(filters.folder), catalog.roots()),
        _taken(_text(filters.since), _text(filters.until)),
        _camera(filters.camera),
        _place(_degrees(filters.near), filters.within),
        _one_of(filters.orientation, SHAPES, "--orientation"),
        _size(filters.min_size),
        _kinds(_several(filters.type)),
        *(_one_of(name, PROPERTIES, "--has") for name in _several(filters.has)),
    ]
    used = [part for part in parts if part is not None]
    if not used:
        return None
    return all_of(used)


def all_of(parts: Sequence[Selection]) -> Selection:
    """What all of several selections select."""
    condition = " AND ".join(f"({part.condition})" for part in parts)
    facts = [part.facts for part in parts if part.facts is not None]
    return Selection(
        condition,
        tuple(value for part in parts for value in part.values),
        All(tuple(facts)) if len(facts) == len(parts) else None,
    )


def _folders(folders: Sequence[str | os.PathLike[str]], roots: Sequence[Root]) -> Selection | None:
    if not folders:
        return None
    places = [place for folder in folders for place in _places(os.fspath(folder), roots)]
    # Bytes, since a path that is not valid UTF-8 is kept as such.
    below = "(root_id = ? AND substr(CAST(photos.path AS BLOB), 1, ?) = ?)"
    values: list[Any] = []
    for root_id, prefix in places:
        values += [root_id, len(prefix), prefix]
    facts = (
        All((Is("root", "==", root_id), Is("folder", "below", printable(prefix))))
        for root_id, prefix in places
    )
    return Selection(" OR ".join([below] * len(places)), tuple(values), Either(tuple(facts)))


def _places(folder: str, roots: Sequence[Root]) -> list[tuple[int, bytes]]:
    """The roots that hold a folder or lie in it, and what paths below them begin with."""
    if "\0" in folder:
        raise InvalidInput("--folder: no folder has such a name")
    real = normal(folder) if is_url(folder) else os.path.realpath(os.path.expanduser(folder))
    places = []
    for root in roots:  # several, where some are mounted inside others
        if is_below(root.path, real):
            places.append((root.id, b""))
        elif is_below(real, root.path):
            places.append((root.id, os.fsencode(path_below(real, root.path)) + b"/"))
    if not places:
        raise no_photos_below(folder)
    return places


def no_photos_below(folder: object) -> InvalidInput:
    """What to raise for a folder of which the index holds nothing."""
    return InvalidInput(
        f"the index holds no photos below {folder}; clipsearch status lists its folders"
    )


def understood_dates(filters: Filters) -> list[str]:
    """How each date was understood that was not written as ISO 8601 has it, a line each."""
    lines = []
    since, until = _text(filters.since), _text(filters.until)
    if since is not None and (span := understood(since)):
        lines.append(f"--since {since!r}: from {span.start:%Y-%m-%d %H:%M}")
    if until is not None and (span := understood(until)):
        is_whole_day = span.end.time() == time()
        last = span.end - timedelta(seconds=1)
        end = f"the end of {last:%Y-%m-%d}" if is_whole_day else f"{last:%Y-%m-%d %H:%M:%S}"
        lines.append(f"--until {until!r}: to {end}")
    return lines


def _taken(since: str | None, until: str | None) -> Selection | None:
    # The time on the clock where it was taken, which is what people remember.
    conditions, values, relations = [], [], []
    if since is not None:
        conditions.append("substr(taken_at, 1, 19) >= ?")
        values.append(parse_date(since).start.isoformat(timespec="seconds"))
        relations.append(">=")
    if until is not None:
        conditions.append("substr(taken_at, 1, 19) < ?")
        values.append(parse_date(until).end.isoformat(timespec="seconds"))
        relations.append("<")
    if len(values) == 2 and values[0] >= values[1]:
        raise InvalidInput(f"--since {since} is not before the end of --until {until}")
    if not conditions:
        return None
    facts = [Is("taken", how, moment(text)) for how, text in zip(relations, values, strict=True)]
    known = Is("taken", ">=", 0)
    return Selection(" AND ".join(conditions), tuple(values), All((known, *facts)))


def _camera(name: str | None) -> Selection | None:
    if name is None:
        return None
    if not name.strip():
        raise InvalidInput("--camera is empty; give a part of its name, such as 'canon'")
    part = folded(name.strip())
    # There are few cameras: names are compared once each, and not photo by photo.
    names = "SELECT DISTINCT ifnull(camera, '') AS name FROM photos"
    cameras = f"SELECT name FROM ({names}) WHERE instr(folded(name), ?)"
    return Selection(f"camera IN ({cameras})", (part,), Is("camera", "contains", part))


def _place(near: str | None, within: str | None) -> Selection | None:
    if near is None:
        if within is not None:
            raise InvalidInput("--within needs a place: --near LAT,LON")
        return None
    try:
        latitude, longitude = (float(part) for part in near.split(","))
    except ValueError:
        raise InvalidInput(f"--near {near!r} is no place; write LAT,LON as 48.858,2.294") from None
    if not (abs(latitude) <= 90 and abs(longitude) <= 180):  # also for what is not a number
        raise InvalidInput(
            f"--near {near} is not on the globe: latitudes are -90 to 90, longitudes -180 to 180"
        )
    reach = _kilometres(within) if within is not None else _USUAL_KM
    # A band of latitude first, which costs next to nothing; a degree of it is 111 km.
    band = reach / 111 + 0.01
    return Selection(
        "latitude BETWEEN ? AND ? AND kilometres(latitude, longitude, ?, ?) <= ?",
        (latitude - band, latitude + band, latitude, longitude, reach),
        All((
            Is("latitude", ">=", latitude - band), Is("latitude", "<", latitude + band),
            *_meridians(latitude, longitude, band),
        )),
    )  # fmt: skip


def _meridians(latitude: float, longitude: float, band: float) -> Sequence[Condition]:
    """What the longitudes of a circle lie between; nothing near a pole or the date line."""
    farthest = abs(latitude) + band
    if farthest >= 89:
        return ()
    width = 1.01 * band / math.cos(math.radians(farthest))
    if abs(longitude) + width >= 180:
        return ()
    return Is("longitude", ">=", longitude - width), Is("longitude", "<", longitude + width)


def _kilometres(text: str) -> float:
    match = _LENGTH.fullmatch(text.strip())
    if match is None or not math.isfinite(float(match[1])):
        raise InvalidInput(f"--within {text!r} is no distance; write one such as 5km, 300m or 2mi")
    return float(match[1]) * _KM[(match[2] or "km").lower()]


def _one_of(name: str | None, conditions: dict[str, Selection], option: str) -> Selection | None:
    if name is None:
        return None
    if name.lower() not in conditions:
        raise InvalidInput(f"{option} {name!r} is unknown; it can be {', '.join(conditions)}")
    return conditions[name.lower()]


def _size(text: str | None) -> Selection | None:
    if text is None:
        return None
    if any(len(digits) > _DIGITS for digits in re.findall(r"\d+", text)):
        raise InvalidInput(f"--min-size {text[:40]} is larger than any picture")
    if match := re.fullmatch(r"(\d+)x(\d+)", text):
        shorter, longer = sorted(map(int, match.groups()))
        facts = Either((_at_least(shorter, longer), _at_least(longer, shorter)))
        condition = "min(width, height) >= ? AND max(width, height) >= ?"
        return Selection(condition, (shorter, longer), facts)
    if match := re.fullmatch(r"(\d+(?:\.\d+)?)\s*mp", text, re.IGNORECASE):
        pixels = float(match[1]) * 1e6
        enough = Is("pixels", ">=", math.floor(min(pixels, 1e18)))
        return Selection("width * height >= ?", (pixels,), enough)
    if re.fullmatch(r"\d+", text):
        side = int(text)
        facts = Either((Is("width", ">=", side), Is("height", ">=", side)))
        return Selection("max(width, height) >= ?", (side,), facts)
    raise InvalidInput(
        f"--min-size {text!r} is no size; write one such as 1920x1080, 2000 (the longer side)"
        " or 8MP"
    )


def _at_least(width: int, height: int) -> Condition:
    return All((Is("width", ">=", width), Is("height", ">=", height)))


def _kinds(names: Sequence[str]) -> Selection | None:
    if not names:
        return None
    endings = tuple(ending for name in names for ending in _endings(name))
    test = "substr(lower(CAST(photos.path AS TEXT)), -?) = ?"
    values = tuple(value for ending in endings for value in (len(ending), ending))
    return Selection(" OR ".join([test] * len(endings)), values, Is("type", "in", endings))


def _endings(name: str) -> tuple[str, ...]:
    plain = name.lower().lstrip(".")
    endings = KINDS.get(plain) or ((f".{plain}",) if f".{plain}" in EXTENSIONS else ())
    if not endings:
        others = ", ".join(sorted({ending[1:] for ending in EXTENSIONS} - KINDS.keys()))
        raise InvalidInput(f"--type {name!r} is unknown; it can be {', '.join(KINDS)}, or {others}")
    return endings
