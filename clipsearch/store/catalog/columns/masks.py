"""Conditions on photos as masks of their columns; they mean what `selection` says in SQL."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from clipsearch.photos.places.globe import distances, kilometres
from clipsearch.plain import folded
from clipsearch.store.catalog.columns.blocks import DEGREES, NUMBERS
from clipsearch.store.catalog.selection import KNOWN
from clipsearch.store.conditions import (
    All,
    Below,
    Condition,
    Either,
    Has,
    Inside,
    Is,
    Located,
    Near,
    Not,
    OtherFact,
    Says,
    Shows,
)
from clipsearch.store.engine_facts import UNKNOWN, moment

if TYPE_CHECKING:
    from clipsearch.store.catalog.columns.photos import Columns

_DOUBT = 1e-3  # km; two ways to work out a distance differ by less
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq, ">": operator.gt, ">=": operator.ge, "<": operator.lt,
}  # fmt: skip
_OF_SIDES = {"longer": np.maximum, "shorter": np.minimum, "pixels": np.multiply}


def mask(columns: Columns, it: Condition) -> np.ndarray:
    """Whether a condition holds for each photo, (photos,) bool."""
    match it:
        case All(parts):
            return _joined(columns, np.logical_and, parts, True)
        case Either(parts):
            return _joined(columns, np.logical_or, parts, False)
        case Not(part):
            return np.asarray(~mask(columns, part))
        case Has(fact):
            return np.asarray(columns.numbers("known") >> list(KNOWN).index(fact) & 1, bool)
        case Below(root, folder):
            return _below(columns, root, folder)
        case Near():
            return _near(columns, it)
        case Inside():
            return _inside(columns, it)
        case Located(words):
            return _have(columns, columns.located(words))
        case Shows(person):
            return _have(columns, columns.showing(person))
        case Says(words):
            return _have(columns, columns.saying(words))
        case Is():
            return _compared(columns, it)


def _joined(
    columns: Columns, join: np.ufunc, parts: Sequence[Condition], joined: bool
) -> np.ndarray:
    chosen = np.full(len(columns.ids), joined)
    for part in parts:
        join(chosen, mask(columns, part), out=chosen)
    return chosen


def _have(columns: Columns, ids: Sequence[int]) -> np.ndarray:
    wanted = np.array(ids, np.int64)
    wanted = wanted[wanted <= columns.ids.max(initial=0)]
    places = np.searchsorted(columns.ids, wanted)
    chosen = np.zeros(len(columns.ids), bool)
    chosen[places[columns.ids[places] == wanted]] = True
    return chosen


def _below(columns: Columns, root: int, folder: str) -> np.ndarray:
    start = f"{folder}/" if folder else ""
    return columns.texts("folder").where(lambda it: it[0] == root and f"{it[1]}/".startswith(start))


def _near(columns: Columns, it: Near) -> np.ndarray:
    latitude, longitude = (columns.numbers(name) for name in DEGREES)
    band = (latitude >= it.latitude - it.band) & (latitude <= it.latitude + it.band)
    places = np.flatnonzero(band)
    far = distances(latitude[places], longitude[places], it.latitude, it.longitude)
    chosen = np.zeros(len(columns.ids), bool)
    chosen[places[far <= it.kilometres]] = True
    # Where the last digits of two ways to work it out decide, it is the way that SQL has.
    for place in places[abs(far - it.kilometres) < _DOUBT].tolist():
        there = float(latitude[place]), float(longitude[place])
        chosen[place] = kilometres(*there, it.latitude, it.longitude) <= it.kilometres
    return chosen


def _inside(columns: Columns, it: Inside) -> np.ndarray:
    latitude, longitude = (columns.numbers(name) for name in DEGREES)
    join = np.logical_and if it.west <= it.east else np.logical_or
    inside = join(longitude >= it.west, longitude <= it.east)
    return np.asarray((latitude >= it.south) & (latitude <= it.north) & inside)


def _compared(columns: Columns, it: Is) -> np.ndarray:
    if it.fact == "type":
        return columns.texts("type").where(lambda ending: ending in it.value)
    if it.fact == "camera":
        return columns.texts("camera").where(lambda camera: _is(camera, it))
    if it.fact == "id" and it.relation == "in":
        return _have(columns, it.value)
    values, other = _fact(columns, it.fact), it.value
    if it.relation == "in":
        return np.asarray(np.isin(values, other))
    known = values != UNKNOWN
    if isinstance(other, OtherFact):
        other = _fact(columns, other.name)
        known &= other != UNKNOWN
    elif it.fact == "taken":
        other = moment(other)
    return np.asarray(known & _COMPARE[it.relation](values, other))


def _fact(columns: Columns, name: str) -> np.ndarray:
    if name in NUMBERS:
        return columns.numbers(name)
    width, height = columns.numbers("width"), columns.numbers("height")
    known = (width != UNKNOWN) & (height != UNKNOWN)
    return np.asarray(np.where(known, _OF_SIDES[name](width, height), UNKNOWN))


def _is(camera: str | None, it: Is) -> bool:
    if camera is None:
        return False
    if it.relation == "contains":
        return it.value in folded(camera)
    if it.relation == "in":
        return camera in it.value
    return bool(_COMPARE[it.relation](camera, it.value))
