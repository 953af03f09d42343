"""`clipsearch copy`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from clipsearch.cli.options import Index, Json
from clipsearch.cli.output import note, print_json, say
from clipsearch.cli.progress import counting
from clipsearch.cli.wording import printable
from clipsearch.ending import STOPPED
from clipsearch.notation import counted


def copy(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the copy goes.")],
    own: Annotated[
        bool, typer.Option("--own", help="Make an index of its own, which can be written.")
    ] = False,
    index: Index = None,
    json: Json = False,
) -> None:
    """Copy the index, for other machines to search or as a back-up.

    A copy is replaced by the next one, and can only be read. Photos are not copied.
    """
    from clipsearch.opened import OpenIndex

    with OpenIndex.open(index, create=False) as library:
        try:
            with counting("copying") as progress:
                copied = library.copy(folder, own=own, progress=progress)
        except KeyboardInterrupt:
            note("stopped; what was there before is as it was")
            raise typer.Exit(STOPPED) from None
    if json:
        print_json(asdict(copied))
    else:
        size = f"{copied.bytes / 1e6:.1f} MB"
        say(f"{counted(copied.photos, 'photo')} in {printable(copied.folder)}  ({size})")
    if copied.left:
        note(copied.left)
