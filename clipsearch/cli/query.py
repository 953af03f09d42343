"""`clipsearch query`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli.options import (
    AllowUrl,
    Count,
    Device,
    Index,
    Json,
    ModelSpec,
)
from clipsearch.cli.output import print_hits

if TYPE_CHECKING:
    from clipsearch.library import Library
    from clipsearch.search.filters import Filters
    from clipsearch.search.results import Hit


def query(
    text: Annotated[
        str,
        typer.Argument(
            metavar="TEXT",
            help="What the photo shows. Parts: 'horse + 2*stripes - fence + ./a.jpg'.",
        ),
    ] = "",
    image: Annotated[
        list[str] | None,
        typer.Option(metavar="IMAGE", help="A picture to go with the words. Repeatable."),
    ] = None,
    minus: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="What it should not show. Repeatable."),
    ] = None,
    weight: Annotated[
        float, typer.Option(metavar="N", help="How much a picture counts; the words count 1.")
    ] = 1.0,
    allow_url: AllowUrl = False,
    k: Count = 10,
    index: Index = None,
    model: ModelSpec = None,
    device: Device = "auto",
    json: Json = False,
    *,
    filters: Filters,
) -> None:
    """Find photos by words, by pictures, or by both together."""
    from clipsearch.library import Library

    with Library.open(index, model=model, device=device, create=False) as library:
        hits = library.query(
            text,
            k,
            images=image or (),
            minus=minus or (),
            image_weight=weight,
            filters=filters,
            allow_url=allow_url,
        )
        answer(library, hits, json, filters)


def answer(library: Library, hits: Sequence[Hit], json: bool, filters: Filters) -> None:
    """Print hits; none at all is exit code 1, with the reason on stderr."""
    print_hits(hits, json)
    if not hits:
        reason = (
            "no photo satisfies the filters"
            if filters
            else f"the index {library.folder} holds no other photos"
        )
        print(f"clipsearch: {reason}", file=sys.stderr)
        raise typer.Exit(1)
