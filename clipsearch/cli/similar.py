"""`clipsearch similar`."""

from __future__ import annotations

from pathlib import Path
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


def similar(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="Any picture, indexed or not.")],
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
    """Find photos that look like a picture."""
    from clipsearch.library import Library
    from clipsearch.photos.decode import take_over_pillow

    take_over_pillow()
    output = Output(json, csv, paths, print0, preview, sheet, open)
    with Library.open(index, model=model, device=device, create=False) as library:
        nothing = f"the index {library.folder} holds no other photos"
        answer(library.similar(image, k), output, f"like {image.name}", nothing)
