"""`clipsearch query`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli.options import Count, Device, Exact, Index, Json, ModelSpec
from clipsearch.cli.output import print_hits

if TYPE_CHECKING:
    from clipsearch.library import Library
    from clipsearch.search.results import Hit


def query(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What the photo shows.")],
    k: Count = 10,
    index: Index = None,
    model: ModelSpec = None,
    device: Device = "auto",
    exact: Exact = False,
    json: Json = False,
) -> None:
    """Find photos by words."""
    from clipsearch.library import Library

    with Library.open(index, model=model, device=device, create=False) as library:
        answer(library, library.query(text, k, exact=exact), json)


def answer(library: Library, hits: Sequence[Hit], json: bool) -> None:
    """Print hits; none at all is exit code 1, with the reason on stderr."""
    print_hits(hits, json)
    if not hits:
        print(f"clipsearch: the index {library.folder} holds no other photos", file=sys.stderr)
        raise typer.Exit(1)
