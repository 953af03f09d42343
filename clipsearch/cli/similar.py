"""`clipsearch similar`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipsearch.cli.options import Count, Device, Exact, Index, Json, ModelSpec
from clipsearch.cli.query import answer


def similar(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="Any picture, indexed or not.")],
    k: Count = 10,
    index: Index = None,
    model: ModelSpec = None,
    device: Device = "auto",
    exact: Exact = False,
    json: Json = False,
) -> None:
    """Find photos that look like a picture."""
    from clipsearch.library import Library
    from clipsearch.photos.decode import take_over_pillow

    take_over_pillow()
    with Library.open(index, model=model, device=device, create=False) as library:
        answer(library, library.similar(image, k, exact=exact), json)
