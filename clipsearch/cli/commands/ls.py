"""`clipsearch ls`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from clipsearch.cli.options import Count, Index, Mounted, folders_of
from clipsearch.cli.output import Output, Table, answer, answer_each
from clipsearch.cli.wording import away_of, nothing_found, printable

if TYPE_CHECKING:
    from clipsearch.photos.places.locality import Locality
    from clipsearch.search.filtering.filters import Filters
    from clipsearch.search.results import Photo

COLUMNS = ("taken", ">width", ">height", "camera", "path")
ON_A_TERMINAL = (*COLUMNS[:-1], "place", "path")


def ls(
    k: Count = None,
    index: Index = None,
    mounted: Mounted = None,
    *,
    filters: Filters,
    output: Output,
) -> None:
    """List indexed photos, the latest taken first."""
    from clipsearch.library import Library
    from clipsearch.search.results import Nothing

    with Library.open(index, create=False, mounted=folders_of(mounted)) as library:

        def nothing() -> str:
            return nothing_found(Nothing("filters" if library.count() else "empty"), None)

        if k is None and output.is_printed_alone:
            answer_each(library.each_photo(filters), output, nothing, _row)
            return
        photos = library.photos(filters, k)
        why = "" if photos else nothing()
    table = Table(
        ON_A_TERMINAL if sys.stdout.isatty() else COLUMNS, [_row(photo) for photo in photos]
    )
    answer(photos, output, "photos", why, table)


def _row(photo: Photo) -> tuple[str, ...]:
    facts = photo.facts
    taken = (facts.taken_at or "")[:19].replace("T", " ")
    if facts.taken_from not in (None, "exif"):  # not the camera, and so perhaps not that moment
        taken += f" ({facts.taken_from})"
    sides = ("" if side is None else str(side) for side in (facts.width, facts.height))
    known = (taken, *sides, printable(facts.camera or ""))
    path = printable(str(photo.path))
    if sys.stdout.isatty():
        return (*known, _short(photo.place), path + away_of(photo))
    return (*known, path)  # what a program reads line by line stays as it was


def _short(place: Locality | None) -> str:
    """A town, or a region, and its country."""
    names = (place.town or place.region, place.country) if place else ()
    return ", ".join(dict.fromkeys(filter(None, names)))
