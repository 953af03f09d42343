"""`clipsearch ls`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli.options import Index, Json
from clipsearch.cli.output import print_json, print_rows, printable

if TYPE_CHECKING:
    from clipsearch.search.filters import Filters
    from clipsearch.search.results import Photo

COLUMNS = ("taken", ">width", ">height", "camera", "path")


def ls(
    k: Annotated[
        int | None, typer.Option("-k", metavar="N", help="How many at most. Default: all.")
    ] = None,
    index: Index = None,
    json: Json = False,
    *,
    filters: Filters,
) -> None:
    """List indexed photos, the latest taken first."""
    from clipsearch.library import Library

    with Library.open(index, create=False) as library:
        photos = library.photos(filters, k)
    if json:
        print_json([photo.as_dict() for photo in photos])
    else:
        print_rows(COLUMNS, [_row(photo) for photo in photos])
    if not photos:
        reason = "no photo satisfies the filters" if filters else "the index holds no photos"
        print(f"clipsearch: {reason}", file=sys.stderr)
        raise typer.Exit(1)


def _row(photo: Photo) -> tuple[str, ...]:
    facts = photo.facts
    taken = (facts.taken_at or "")[:19].replace("T", " ")
    sides = ("" if side is None else str(side) for side in (facts.width, facts.height))
    return (taken, *sides, printable(facts.camera or ""), printable(str(photo.path)))
