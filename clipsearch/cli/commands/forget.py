"""`clipsearch forget`."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli.options import Index, KeepFor
from clipsearch.cli.output import note, say
from clipsearch.cli.parsing import completion
from clipsearch.cli.wording import options_of, printable
from clipsearch.notation import counted

if TYPE_CHECKING:
    from clipsearch.indexing.targets import Held


def forget(
    path: Annotated[
        str,
        typer.Argument(
            metavar="PATH", help="A folder or a photo.", autocompletion=completion.folders
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask first.")] = False,
    keep_for: KeepFor = None,
    index: Index = None,
) -> None:
    """Take a folder or a photo out of the index; its files stay.

    It stays out until it is named to `clipsearch index` again, which embeds nothing anew while its
    embeddings are kept. On a terminal it asks first where that is more than one photo.
    """
    from clipsearch.library import Library

    with Library.open(index, create=False) as library:
        held = library.held_at(path)
        if not yes and held.photos > 1 and sys.stdin.isatty() and sys.stderr.isatty():
            _ask(path, held)
        count = library.forget(path, keep_for=keep_for)
        days = library.status().kept.days if keep_for is None else keep_for
    say(f"{counted(count, 'photo')} taken out: {printable(path)}")
    if count:
        _tell_how_to_undo(path, held, days)


def _ask(path: str, held: Held) -> None:
    what = f"{counted(held.photos, 'photo')} of {printable(path)}"
    question = f"Take {what} out of the index? The files stay. [y/N] "
    print(question, end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        note("nothing was taken out")
        raise typer.Exit(1)


def _tell_how_to_undo(path: str, held: Held, days: int) -> None:
    roots = [(options_of(rules), shlex.quote(root)) for root, rules in held.roots]
    back = [" ".join(filter(None, said)) for said in roots] or [shlex.quote(path)]
    commands = " && ".join(f"clipsearch index {printable(it)}" for it in back)
    kept = f" (within {counted(days, 'day')} nothing is embedded again)" if days else ""
    note(f"the files stay; to undo it{kept}: {commands}")
