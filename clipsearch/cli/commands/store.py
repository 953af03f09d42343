"""`clipsearch store`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli.options import Index, Json
from clipsearch.cli.output import note, print_json, say
from clipsearch.cli.parsing import completion
from clipsearch.cli.parsing.commands import Command
from clipsearch.cli.progress import counting
from clipsearch.ending import STOPPED
from clipsearch.notation import counted

if TYPE_CHECKING:
    from clipsearch.store.moving import Moved

app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Say where the vectors are that are searched.",
)


@app.callback()
def store() -> None:
    """Say where the vectors are that are searched."""


@app.command(cls=Command)
def move(
    store: Annotated[
        str,
        typer.Argument(
            metavar="STORE",
            help="faiss, or milvus:http://HOST:19530.",
            autocompletion=completion.stores,
        ),
    ],
    index: Index = None,
    json: Json = False,
) -> None:
    """Bring the vectors to another store, and search there from then on.

    faiss is the index folder itself. The old store is searched until the new one holds all; a
    move that was stopped goes on with the same command.
    """
    from clipsearch.opened import OpenIndex

    with OpenIndex.open(index, create=False) as library:
        try:
            with counting("moving") as progress:
                moved = library.move(store, progress=progress)
        except KeyboardInterrupt:
            note("stopped; the old store is searched, and the same command goes on")
            raise typer.Exit(STOPPED) from None
    if json:
        print_json(asdict(moved))
    else:
        say(_summary(moved))
    if moved.left:
        note(moved.left)


def _summary(moved: Moved) -> str:
    compared = f", {moved.compared} compared" if moved.compared else ""
    return f"{counted(moved.photos, 'vector')} in {moved.store}{compared}"
