"""Which photos a question is about: by folder, date, camera, place, shape and kind."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Any, TypedDict

from clipsearch.errors import InvalidInput, arg, check_number, did_you_mean
from clipsearch.photos.files.urls import is_below, is_url, normal, path_below
from clipsearch.photos.scanning.names import EXTENSIONS, RAW_EXTENSIONS
from clipsearch.plain import folded, plain_name
from clipsearch.search.filtering.dates import parse_date, understood
from clipsearch.search.filtering.places import (
    box_condition,
    near_condition,
    place_condition,
    understood_town,
)
from clipsearch.store.catalog import Catalog, Root
from clipsearch.store.conditions import (
    EVERYTHING,
    All,
    Below,
    Condition,
    Either,
    Has,
    Is,
    OtherFact,
    Shows,
)
from clipsearch.store.folder import StrPath

KINDS = {
    "jpeg": (
        ".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".mpo", ".jps", ".insp", ".thm",
    ),
    "png": (".png", ".apng"),
    "tiff": (".tif", ".tiff"),
    "heic": (".heic", ".heics", ".heif", ".heifs", ".hif"),
    "raw": tuple(sorted(RAW_EXTENSIONS)),
}  # fmt: skip

PROPERTIES: dict[str, Condition] = {
    "gps": Has("coordinates"),
    "date": Has("date"),
    "camera": Has("camera"),
    "lens": Has("lens"),
    "title": Has("title"),
    "caption": Has("caption"),
    "keywords": Has("keywords"),
    "people": Has("people"),
    "rating": Has("rating"),
    "place": Has("place"),
    "text": Has("text"),
}

SHAPES: dict[str, Condition] = {
    "landscape": Is("width", ">", OtherFact("height")),
    "portrait": Is("height", ">", OtherFact("width")),
    "square": Is("width", "==", OtherFact("height")),
}

_DIGITS = 12  # of a length or of megapixels; no picture comes near, and 64 bits hold it


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
    person: str | Sequence[str]
    min_rating: int | None
    place: str | Sequence[str]
    box: str | None


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
    near: str | tuple[float, float] | None = None  # "LAT,LON" in degrees, or a town: "Lisbon"
    within: str | None = None  # "5km", "300m", "2mi"; of a town as far as it reaches
    orientation: str | None = None  # a key of SHAPES
    min_size: str | None = None  # "1920x1080", "2000" (the longer side) or "8MP"
    type: str | Sequence[str] = ()  # any of these keys of KINDS, or extensions
    has: str | Sequence[str] = ()  # all of these keys of PROPERTIES
    person: str | Sequence[str] = ()  # all of these people are named in it; a part of a name
    min_rating: int | None = None  # stars, 1 to 5
    place: str | Sequence[str] = ()  # any of these towns, regions or countries: "Lisbon, Portugal"
    box: str | None = None  # "SOUTH,WEST,NORTH,EAST" in degrees; WEST may lie east of EAST

    def __bool__(self) -> bool:
        return self != Filters()


def with_named(filters: Filters | None, named: FilterNames) -> Filters | None:
    """The filters with those that are given by name, which come first."""
    return replace(filters or Filters(), **named) if named else filters


def _several(value: Any) -> Sequence[Any]:
    return (value,) if isinstance(value, (str, os.PathLike)) else value


def _text(value: str | date | None) -> str | None:
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    return value.isoformat() if isinstance(value, date) else value


def select(filters: Filters, catalog: Catalog) -> Condition | None:
    """The filters as a condition on photos; None for none.

    Raises:
        InvalidInput: a filter that makes no sense.
    """
    parts = [
        _folders(_several(filters.folder), catalog.roots()),
        _taken(_text(filters.since), _text(filters.until)),
        _camera(filters.camera),
        near_condition(filters.near, filters.within),
        _one_of(filters.orientation, SHAPES, "orientation"),
        _size(filters.min_size),
        _kinds(_several(filters.type)),
        *(_one_of(name, PROPERTIES, "has") for name in _several(filters.has)),
        *map(_person, _several(filters.person)),
        _rated(filters.min_rating),
        _places(_several(filters.place), catalog),
        box_condition(filters.box),
    ]
    used = tuple(part for part in parts if part is not None)
    return All(used) if used else None


def _places(names: Sequence[str], catalog: Catalog) -> Condition | None:
    if not names:
        return None
    return Either(tuple(place_condition(name, catalog) for name in names))


def _folders(folders: Sequence[StrPath], roots: Sequence[Root]) -> Condition | None:
    if not folders:
        return None
    return Either(tuple(it for folder in folders for it in _below(os.fspath(folder), roots)))


def _below(folder: str, roots: Sequence[Root]) -> list[Below]:
    """What lies below a folder, which is in a root, or holds some."""
    if "\0" in folder:
        raise InvalidInput(f"{arg('folder')}: no folder has such a name")
    real = normal(folder) if is_url(folder) else os.path.realpath(os.path.expanduser(folder))
    found = []
    for root in roots:  # several, where some are mounted inside others
        if is_below(root.path, real):
            found.append(Below(root.id, ""))
        elif is_below(real, root.path):
            found.append(Below(root.id, path_below(real, root.path)))
    if not found:
        raise no_photos_below(folder)
    return found


def some_below(folders: Sequence[StrPath], catalog: Catalog) -> Condition:
    """What lies below any of some folders; for none of them, everything.

    Raises:
        InvalidInput: the index holds no photos there.
    """
    below = select(Filters(folder=folders), catalog)
    if below and not catalog.count_selected(below):
        raise no_photos_below(" or ".join(map(str, folders)))
    return below or EVERYTHING


def no_photos_below(folder: object) -> InvalidInput:
    """What to raise for a folder of which the index holds nothing."""
    return InvalidInput(
        f"the index holds no photos below {folder}; clipsearch status lists its folders"
    )


def understood_filters(filters: Filters) -> list[str]:
    """How each date was understood that was not written as ISO 8601 has it, and a town's name."""
    lines = []
    since, until = _text(filters.since), _text(filters.until)
    if since is not None and (span := understood(since)):
        lines.append(f"since {since!r}: from {span.start:%Y-%m-%d %H:%M}")
    if until is not None and (span := understood(until)):
        is_whole_day = span.end.time() == time()
        last = span.end - timedelta(seconds=1)
        end = f"the end of {last:%Y-%m-%d}" if is_whole_day else f"{last:%Y-%m-%d %H:%M:%S}"
        lines.append(f"until {until!r}: to {end}")
    return lines + understood_town(filters.near, filters.within)


def _taken(since: str | None, until: str | None) -> Condition | None:
    limits = []
    if since is not None:
        first = parse_date(since).start.isoformat(timespec="seconds")
        limits.append(Is("taken", ">=", first))
    if until is not None:
        end = parse_date(until).end.isoformat(timespec="seconds")
        limits.append(Is("taken", "<", end))
    if len(limits) == 2 and limits[0].value >= limits[1].value:
        raise InvalidInput(
            f"{arg('since')} {since} is not before the end of {arg('until')} {until}"
        )
    return All(tuple(limits)) if limits else None


def _camera(name: str | None) -> Condition | None:
    if name is None:
        return None
    if not name.strip():
        raise InvalidInput(f"{arg('camera')} is empty; give a part of its name, such as 'canon'")
    # Where bytes are no text, a camera's name has what stands for them, as SQLite wants it.
    text = name.strip().encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    return Is("camera", "contains", folded(text))


def _person(name: str) -> Condition:
    if not (plain := plain_name(name)):
        raise InvalidInput(f"{arg('person')} is empty; give a name, such as 'Zoë'")
    return Shows(plain)


def _rated(stars: int | None) -> Condition | None:
    if stars is None:
        return None
    check_number(arg("min_rating"), stars, 1, 5)
    return Is("rating", ">=", stars)


def _one_of(name: str | None, conditions: dict[str, Condition], parameter: str) -> Condition | None:
    if name is None:
        return None
    if name.lower() not in conditions:
        raise InvalidInput(
            f"{arg(parameter)} {name!r} is unknown; it can be {', '.join(conditions)}"
            f"{did_you_mean(name, conditions)}"
        )
    return conditions[name.lower()]


def _size(text: str | None) -> Condition | None:
    if text is None:
        return None
    if any(len(digits) > _DIGITS for digits in re.findall(r"\d+", text)):
        raise InvalidInput(f"{arg('min_size')} {text[:40]} is larger than any picture")
    if match := re.fullmatch(r"(\d+)x(\d+)", text):
        shorter, longer = sorted(map(int, match.groups()))
        return All((Is("shorter", ">=", shorter), Is("longer", ">=", longer)))
    if match := re.fullmatch(r"(\d+(?:\.\d+)?)\s*mp", text, re.IGNORECASE):
        return Is("pixels", ">=", float(match[1]) * 1e6)
    if re.fullmatch(r"\d+", text):
        return Is("longer", ">=", int(text))
    raise InvalidInput(
        f"{arg('min_size')} {text!r} is no size; write one such as 1920x1080, 2000 (the longer"
        " side) or 8MP"
    )


def _kinds(names: Sequence[str]) -> Condition | None:
    if not names:
        return None
    return Is("type", "in", tuple(ending for name in names for ending in _endings(name)))


def _endings(name: str) -> tuple[str, ...]:
    plain = name.lower().lstrip(".")
    endings = KINDS.get(plain) or ((f".{plain}",) if f".{plain}" in EXTENSIONS else ())
    if not endings:
        others = sorted({ending[1:] for ending in EXTENSIONS} - KINDS.keys())
        hint = did_you_mean(plain, [*KINDS, *others])
        every = f"; it can be {', '.join(KINDS)}, or {', '.join(others)}"
        raise InvalidInput(f"{arg('type')} {name!r} is unknown{hint or every}")
    return endings
