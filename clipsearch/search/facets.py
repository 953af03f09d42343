"""What the photos can be told apart by, and how many there are of each."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from clipsearch.photos.files.urls import joined
from clipsearch.search.filters import KINDS, PROPERTIES
from clipsearch.store.catalog import Catalog, Selection

# The root, and the folder right below it: nothing for a photo that lies in the root itself. In
# hexadecimal, since names that are no text are kept as bytes.
_BYTES = "CAST(photos.path AS BLOB)"
_FOLDER = f"hex(roots.path) || ' ' || hex(substr({_BYTES}, 1, instr({_BYTES}, x'2f')))"
_PLACED = PROPERTIES["gps"].condition
_MONTH = "substr(taken_at, 1, 7)"
_NAME = "CAST(photos.path AS TEXT)"
_EXTENSION = f"lower(replace({_NAME}, rtrim({_NAME}, replace({_NAME}, '.', '')), ''))"


@dataclass(frozen=True, slots=True)
class Facets:
    """Some photos, counted by what a filter can ask for."""

    folders: tuple[tuple[str, int], ...]  # indexed folders and those right below them, by path
    cameras: tuple[tuple[str, int], ...]  # that of most photos first
    months: tuple[tuple[str, int], ...]  # "2024-05", the earliest first
    types: tuple[tuple[str, int], ...]  # as `Filters.type` takes them, that of most photos first
    places: int  # photos that say where they were taken


def count_facets(catalog: Catalog, selection: Selection) -> Facets:
    """The selected photos, counted."""
    with catalog.snapshot():
        types: dict[str, int] = {}
        for extension, count in catalog.tally(_EXTENSION, selection):
            kind = _KIND_OF.get(f".{extension}", extension)
            types[kind] = types.get(kind, 0) + count
        return Facets(
            _folders(catalog.tally(_FOLDER, selection)),
            _known(catalog.tally("camera", selection)),
            tuple(sorted(_known(catalog.tally(_MONTH, selection)))),
            tuple(sorted(types.items(), key=lambda it: (-it[1], it[0]))),
            sum(count for has, count in catalog.tally(_PLACED, selection) if has),
        )


_KIND_OF = {ending: kind for kind, endings in KINDS.items() for ending in endings}


def _known(counted: list[tuple[Any, int]]) -> tuple[tuple[str, int], ...]:
    return tuple((value, count) for value, count in counted if value is not None)


def _folders(counted: list[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    folders: dict[str, int] = {}
    for value, count in counted:
        root, below = (os.fsdecode(bytes.fromhex(part)) for part in value.split(" "))
        folders[root] = folders.get(root, 0) + count
        if below:
            folders[joined(root, below.rstrip("/"))] = count
    return tuple(sorted(folders.items()))
