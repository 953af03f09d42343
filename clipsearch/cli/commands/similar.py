"""`clipsearch similar`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli.decoding import decoders
from clipsearch.cli.options import (
    AllowUrl,
    AnyImage,
    Count,
    Device,
    Exact,
    Index,
    ModelSpec,
    Mounted,
    Region,
    Relevant,
    folders_of,
)
from clipsearch.cli.output import Output, answer
from clipsearch.cli.parsing.advice import check_no_word
from clipsearch.cli.wording import nothing_found

if TYPE_CHECKING:
    from clipsearch.search.filtering.filters import Filters


def similar(
    image: AnyImage,
    region: Region = None,
    mask: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Only the part that is white in this picture (Alpha-CLIP)."
        ),
    ] = None,
    allow_url: AllowUrl = False,
    k: Count = 10,
    relevant: Relevant = False,
    exact: Exact = False,
    index: Index = None,
    mounted: Mounted = None,
    model: ModelSpec = None,
    device: Device = "auto",
    *,
    filters: Filters,
    output: Output,
) -> None:
    """Find photos that look like a picture, or like a part of it."""
    from clipsearch.library import Library
    from clipsearch.search.answers import Question

    check_no_word(image)
    folders = folders_of(mounted)
    with (
        decoders() as processes,
        Library.open(index, model=model, device=device, create=False, mounted=folders) as library,
    ):
        library.ask_with_care(processes)
        hits = library.similar(
            image,
            k,
            region=region,
            mask=mask,
            filters=filters,
            allow_url=allow_url,
            exact=exact,
            relevant=relevant,
        )
        asked = Question(filters=filters, relevant=relevant)
        nothing = "" if hits else nothing_found(library.why_nothing(asked), filters)
    answer(hits, output, f"like {Path(image).name}", nothing)
