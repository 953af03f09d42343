"""`clipsearch dupes`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli.options import Count, Index, Json
from clipsearch.cli.output import note, print_json, print_rows
from clipsearch.cli.progress import progress
from clipsearch.cli.wording import printable
from clipsearch.errors import arg, check_number
from clipsearch.notation import counted

if TYPE_CHECKING:
    from clipsearch.search.duplicates.groups import Group

COLUMNS = (">group", "kind", "suggestion", ">pixels", ">size", "path")


def dupes(
    same_bytes: Annotated[
        bool, typer.Option("--bytes", help="Only files with the same bytes.")
    ] = False,
    pictures: Annotated[
        bool, typer.Option("--pictures", help="Only copies of a picture, re-encoded or resized.")
    ] = False,
    shots: Annotated[
        bool, typer.Option("--shots", help="Only similar shots, taken close in time.")
    ] = False,
    within: Annotated[
        float, typer.Option(metavar="SECONDS", help="How close in time similar shots are.")
    ] = 60.0,
    k: Count = None,
    index: Index = None,
    json: Json = False,
) -> None:
    """Find duplicates and similar shots; nothing is deleted."""
    from clipsearch.library import Library
    from clipsearch.search.duplicates.groups import KINDS

    check_number(arg("k"), k, 1)
    chosen = dict(zip(KINDS, (same_bytes, pictures, shots), strict=True))
    kinds = [kind for kind in KINDS if chosen[kind]] or KINDS
    with Library.open(index, create=False) as library, progress("looking", "reading") as show:
        groups = library.duplicates(kinds, within=within, isolated=True, progress=show)
    if json:
        print_json([group.as_dict() for group in groups[:k]])
    else:
        files = [photo.path for group in groups[:k] for photo in group.photos]
        print_rows(COLUMNS, list(_rows(groups[:k])), files)
    for kind in kinds:
        _note_freed(kind, [group for group in groups if group.kind == kind])
    if k is not None and len(groups) > k:
        note(f"these are the first {counted(k, 'group')} of {len(groups)}: -k {10 * k}, or -k all")
    if not groups:
        note("no duplicates were found")
        raise typer.Exit(1)


def _rows(groups: Sequence[Group]) -> Iterator[tuple[str, ...]]:
    on_terminal = sys.stdout.isatty()
    for number, group in enumerate(groups, 1):
        for photo in group.photos:
            width, height = photo.facts.width, photo.facts.height
            yield (
                str(number),
                group.kind,
                "keep" if photo is group.photos[0] else "",
                f"{width}x{height}" if width and height else "",
                _readable(photo.size) if on_terminal else str(photo.size),
                printable(str(photo.path)),
            )


def _note_freed(kind: str, groups: Sequence[Group]) -> None:
    if groups:
        count = counted(len(groups), "group")
        freed = _readable(sum(group.freed for group in groups))
        note(f"{kind}: {count}, {freed} could be freed")


def _readable(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"
