"""What the photos can be told apart by, and how many there are of each."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from clipsearch.errors import arg, check_number
from clipsearch.photos.files.urls import joined
from clipsearch.photos.places.locality import Locality
from clipsearch.search.filtering.filters import KINDS
from clipsearch.store.catalog import Catalog
from clipsearch.store.conditions import Condition


@dataclass(frozen=True, slots=True)
class Facets:
    """Some photos, counted by what a filter can ask for."""

    folders: tuple[tuple[str, int], ...]  # indexed folders and those right below them, by path
    cameras: tuple[tuple[str, int], ...]  # that of most photos first
    months: tuple[tuple[str, int], ...]  # "2024-05", the earliest first
    types: tuple[tuple[str, int], ...]  # as `Filters.type` takes them, that of most photos first
    places: int  # photos that say where they were taken
    people: tuple[tuple[str, int], ...] = ()  # who is named, that of most photos first
    towns: tuple[tuple[str, int], ...] = ()  # as `Filters.place` takes them, that of most first
    countries: tuple[tuple[str, int], ...] = ()  # the same


def count_facets(catalog: Catalog, selection: Condition) -> Facets:
    """The selected photos, counted."""
    catalog.keep_columns()
    with catalog.snapshot():
        types: dict[str, int] = {}
        for extension, count in catalog.tally("type", selection):
            kind = _KIND_OF.get(f".{extension}", extension)
            types[kind] = types.get(kind, 0) + count
        return Facets(
            _folders(catalog.tally_folders(selection)),
            _known(catalog.tally("camera", selection)),
            tuple(sorted(_known(catalog.tally("month", selection)))),
            tuple(sorted(types.items(), key=lambda it: (-it[1], it[0]))),
            sum(count for has, count in catalog.tally("placed", selection) if has),
            tuple(catalog.tally_people(selection)),
            *_places(catalog.tally_localities(selection)),
        )


@dataclass(frozen=True, slots=True)
class Dot:
    """Photos that were taken near each other."""

    latitude: float  # degrees, of their middle
    longitude: float
    photos: int


def find_dots(catalog: Catalog, grid: float, selection: Condition) -> list[Dot]:
    """The dots of a map with the selected photos, that of most photos first.

    Raises:
        InvalidInput: `grid`, in degrees, is not between 0.001 and 90.
    """
    check_number(arg("grid"), grid, 0.001, 90)
    catalog.keep_columns()
    return [Dot(*it) for it in catalog.dots(grid, selection)]


_KIND_OF = {ending: kind for kind, endings in KINDS.items() for ending in endings}


def _known(counted: list[tuple[Any, int]]) -> tuple[tuple[str, int], ...]:
    return tuple((value, count) for value, count in counted if value is not None)


def _places(
    counted: list[tuple[Locality, int]],
) -> tuple[tuple[tuple[str, int], ...], tuple[tuple[str, int], ...]]:
    towns: Counter[str] = Counter()
    countries: Counter[str] = Counter()
    for it, count in counted:
        if it.town:
            towns[str(replace(it, suburb=None))] += count
        if it.country:
            countries[it.country] += count
    return tuple(towns.most_common()), tuple(countries.most_common())


def _folders(counted: list[tuple[str, str, int]]) -> tuple[tuple[str, int], ...]:
    folders: dict[str, int] = {}
    for root, name, count in counted:
        folders[root] = folders.get(root, 0) + count
        if name:
            folders[joined(root, name)] = count
    return tuple(sorted(folders.items()))
