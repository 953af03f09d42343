"""`clipsearch models`."""

from __future__ import annotations

from typing import Annotated

import typer

from clipsearch.cli.options import Index, Json
from clipsearch.cli.output import print_json, print_rows, say
from clipsearch.cli.parsing import completion
from clipsearch.cli.parsing.commands import Command
from clipsearch.encoders.aliases import ALIASES, Alias
from clipsearch.notation import counted

COLUMNS = ("model", "spec", ">MB", ">pixels", "languages", ">ImageNet", "here")

app = typer.Typer(
    rich_markup_mode=None,
    invoke_without_command=True,
    help="List models, fetch one, or remove one from an index.",
)


@app.callback()
def models(context: typer.Context, json: Json = False) -> None:
    """List the models that have a short name."""
    if context.invoked_subcommand is not None:
        return
    if json:
        print_json([_facts(alias) for alias in ALIASES.values()])
        return
    print_rows(COLUMNS, [_row(alias) for alias in ALIASES.values()])


@app.command(cls=Command)
def download(
    spec: Annotated[
        str,
        typer.Argument(
            metavar="SPEC", help="An alias or a model spec.", autocompletion=completion.models
        ),
    ],
) -> None:
    """Fetch a model's weights, to use it without a network later."""
    from clipsearch import encoders

    print(encoders.download(encoders.parse_spec(spec)))


@app.command(cls=Command)
def remove(
    spec: Annotated[
        str,
        typer.Argument(
            metavar="SPEC",
            help="A model that the index holds.",
            autocompletion=completion.held_models,
        ),
    ],
    index: Index = None,
) -> None:
    """Take one of several models out of an index."""
    from clipsearch.opened import OpenIndex

    with OpenIndex.open(index, create=False) as library:
        count = library.remove_model(spec)
    say(f"{counted(count, 'embedding')} removed: {spec}")


def _row(alias: Alias) -> tuple[str, ...]:
    return (
        alias.name,
        alias.spec,
        f"{alias.download_mb}" if alias.download_mb else "-",
        f"{alias.resolution}",
        alias.languages,
        f"{alias.imagenet}%" if alias.imagenet else "-",
        "yes" if _is_here(alias) else "no",
    )


def _facts(alias: Alias) -> dict[str, object]:
    return {
        "name": alias.name,
        "spec": alias.spec,
        "parameters_m": alias.parameters_m,
        "download_mb": alias.download_mb,
        "resolution": alias.resolution,
        "dim": alias.dim,
        "languages": alias.languages,
        "imagenet": alias.imagenet,
        "note": alias.note,
        "here": _is_here(alias),
    }


def _is_here(alias: Alias) -> bool:
    from clipsearch import encoders

    return encoders.is_here(alias)
