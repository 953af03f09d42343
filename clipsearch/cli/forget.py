"""`clipsearch forget`."""

from __future__ import annotations

from typing import Annotated

import typer

from clipsearch.cli.options import Index
from clipsearch.cli.output import counted, printable


def forget(
    path: Annotated[str, typer.Argument(metavar="PATH", help="A folder or a photo.")],
    index: Index = None,
) -> None:
    """Take a folder or a photo out of the index; its files stay.

    It stays out until it is named to `clipsearch index` again.
    """
    from clipsearch.library import Library

    with Library.open(index, create=False) as library:
        count = library.forget(path)
    print(f"{counted(count, 'photo')} taken out: {printable(path)}")
