"""Where photos were taken, as people say it: coordinates, names of places, or a part of the map."""

from __future__ import annotations

import math
import re

from clipsearch.errors import InvalidInput, arg, did_you_mean
from clipsearch.photos.places.locality import Town
from clipsearch.plain import plain_name
from clipsearch.store.catalog import Catalog
from clipsearch.store.conditions import All, Condition, Either, Inside, Is, Located, Near

_LENGTH = re.compile(r"(\d+(?:\.\d+)?)\s*(km|m|mi)?", re.IGNORECASE)
_KM = {"km": 1.0, "m": 0.001, "mi": 1.609344}
_USUAL_KM = 5.0
_TOLD = 3  # other towns of a name


def near_condition(near: str | tuple[float, float] | None, within: str | None) -> Condition | None:
    """What is near coordinates or a town, in degrees or by its name; None for none.

    Raises:
        InvalidInput: it is no place, or nothing is known that is called so.
    """
    if near is None:
        if within is not None:
            raise InvalidInput(f"{arg('within')} needs a place: {arg('near')} LAT,LON or a name")
        return None
    distance = None if within is None else _kilometres(within)
    if (degrees := _degrees(near)) is None:
        town = _towns(str(near))[0]
        return Near(town.latitude, town.longitude, _reach(town) if distance is None else distance)
    latitude, longitude = degrees
    if not (abs(latitude) <= 90 and abs(longitude) <= 180):  # also for what is not a number
        raise InvalidInput(
            f"{arg('near')} {_said(near)} is not on the globe: latitudes are -90 to 90, longitudes"
            " -180 to 180"
        )
    return Near(latitude, longitude, _USUAL_KM if distance is None else distance)


def _said(near: str | tuple[float, float]) -> str:
    return near if isinstance(near, str) else ",".join(map(str, near))


def _degrees(near: str | tuple[float, float]) -> tuple[float, float] | None:
    """The numbers that are given for a place; None for a name."""
    parts = near.split(",") if isinstance(near, str) else near
    try:
        latitude, longitude = map(float, parts)
    except ValueError:
        if isinstance(near, str) and plain_name(near) and not _is_number(near.split(",")[0]):
            return None
        raise InvalidInput(
            f"{arg('near')} {_said(near)!r} is no place; write LAT,LON as 48.858,2.294, or the name"
            " of a town"
        ) from None
    return latitude, longitude


def _is_number(text: str) -> bool:
    return bool(re.fullmatch(r"\s*[-+]?[\d.]+\s*", text))


def _reach(town: Town) -> float:
    return max(_USUAL_KM, town.kilometres)


def _towns(name: str) -> list[Town]:
    from clipsearch.photos.places.gazetteer import NEEDED, gazetteer, is_installed

    if not is_installed():
        raise InvalidInput(
            f"{arg('near')} with the name of a town needs: {NEEDED}; or write LAT,LON as"
            " 48.858,2.294"
        )
    places = gazetteer()
    if not (towns := places.towns(name)):
        if places.called(name).lies_around:
            raise InvalidInput(
                f"{name!r} is a region or a country, and not a town; what was taken anywhere in it"
                f" finds {arg('place')} {name!r}"
            )
        raise InvalidInput(
            f"no town is known that is called {name!r}; write it as 'Springfield, Illinois', with"
            " its region or country, or as LAT,LON"
        )
    return towns


def takes_long(near: str | tuple[float, float] | None, places: object) -> bool:
    """Whether what is called so is known after many seconds only, once."""
    if not places and (near is None or _degrees(near) is not None):
        return False
    from clipsearch.photos.places.gazetteer import is_to_be_made

    return is_to_be_made()


def understood_town(near: str | tuple[float, float] | None, within: str | None) -> list[str]:
    """Which town is meant by a name, and how else others are asked for, a line; or none."""
    if near is None or _degrees(near) is not None:
        return []
    town, *others = _towns(str(near))
    line = f"near {near!r}: {town.locality}, within {within or f'{_reach(town):.0f} km'}"
    if others:
        names = " or ".join(repr(str(it.locality)) for it in others[:_TOLD])
        more = f" and {len(others) - _TOLD} more" if len(others) > _TOLD else ""
        line += f"; others are {names}{more}"
    return [line]


def _kilometres(text: str) -> float:
    match = _LENGTH.fullmatch(text.strip())
    if match is None or not math.isfinite(float(match[1])):
        raise InvalidInput(
            f"{arg('within')} {text!r} is no distance; write one such as 5km, 300m or 2mi"
        )
    return float(match[1]) * _KM[(match[2] or "km").lower()]


def place_condition(name: str, catalog: Catalog) -> Condition:
    """What was taken in a town, region or country; in each of several with commas between.

    By the name that any language has for it where there is a gazetteer; and what the owner wrote.

    Raises:
        InvalidInput: it is empty, or nothing is known that is called so.
    """
    parts = [part for part in map(str.strip, name.split(",")) if plain_name(part)]
    if not parts:
        raise InvalidInput(f"{arg('place')} is empty; give a town, a region or a country")
    from clipsearch.photos.places.gazetteer import NEEDED, gazetteer, is_installed

    known = is_installed()
    plain = list(map(plain_name, parts))
    called = [gazetteer().called(part) if known else None for part in parts]
    there = catalog.localities()
    ids = tuple(
        it.id
        for it in there
        if all(
            part in map(plain_name, it.names) or (so and so.names(it))
            for part, so in zip(plain, called, strict=True)
        )
    )
    written = All(tuple(Located(part) for part in plain))
    found = Either((Is("locality", "in", ids), written))
    if not catalog.count_selected(found):
        if known and not there and (count := catalog.count_unplaced()):
            raise InvalidInput(
                f"it was not looked up yet where {count} photos were taken: run clipsearch index"
            )
        if not known:
            raise InvalidInput(
                f"no photo was taken in {name!r}, by what is known here; names of places need:"
                f" {NEEDED}, then clipsearch index"
            )
        if not all(called):
            names = {it for locality in there for it in locality.names}
            raise InvalidInput(
                f"nothing is known that is called {name!r}: no town, no region, no country"
                f"{did_you_mean(name, names)}"
            )
    return found


def box_condition(text: str | None) -> Condition | None:
    """What was taken between two parallels and two meridians; None for none.

    Raises:
        InvalidInput: it is none.
    """
    if text is None:
        return None
    try:
        south, west, north, east = map(float, text.split(","))
    except ValueError:
        south = west = north = east = math.nan
    if not (-90 <= south <= north <= 90 and abs(west) <= 180 and abs(east) <= 180):
        raise InvalidInput(
            f"{arg('box')} {text!r} is no part of the globe; write SOUTH,WEST,NORTH,EAST in"
            " degrees, as 36.9,-9.6,42.2,-6.1"
        )
    return Inside(south, west, north, east)
