"""`clipsearch query`."""

from __future__ import annotations

from typing import Annotated

import typer

from clipsearch.cli.options import (
    Count,
    Csv,
    Device,
    Index,
    Json,
    ModelSpec,
    Open,
    Paths,
    Preview,
    Print0,
    Sheet,
)
from clipsearch.cli.output import Output, answer


def query(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What the photo shows.")],
    k: Count = 10,
    index: Index = None,
    model: ModelSpec = None,
    device: Device = "auto",
    json: Json = False,
    csv: Csv = False,
    paths: Paths = False,
    print0: Print0 = False,
    preview: Preview = False,
    sheet: Sheet = None,
    open: Open = False,
) -> None:
    """Find photos by words."""
    from clipsearch.library import Library

    output = Output(json, csv, paths, print0, preview, sheet, open)
    with Library.open(index, model=model, device=device, create=False) as library:
        nothing = f"the index {library.folder} holds no other photos"
        answer(library.query(text, k), output, text, nothing)
