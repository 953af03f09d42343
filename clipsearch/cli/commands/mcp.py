"""`clipsearch mcp`."""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

from clipsearch.cli.options import Device, Index, ModelSpec, Mounted, folders_of
from clipsearch.errors import InvalidInput, LibraryError

log = logging.getLogger("clipsearch")


def mcp(
    index: Index = None,
    mounted: Mounted = None,
    model: ModelSpec = None,
    device: Device = "auto",
    allow_url: Annotated[
        bool, typer.Option("--allow-url", help="Fetch pictures from the public web.")
    ] = False,
    allow_local_url: Annotated[
        bool,
        typer.Option("--allow-local-url", help="Fetch them from this machine and its network too."),
    ] = False,
    only_indexed: Annotated[
        bool,
        typer.Option(
            "--only-indexed", help="Look at no picture by its path but those in indexed folders."
        ),
    ] = False,
) -> None:
    """Let an assistant search, over stdin and stdout.

    See docs/mcp.md.
    """
    from clipsearch.library import Library
    from clipsearch.photos.decoding.decode import take_over_pillow

    try:
        from clipsearch.assistant.server import serve
    except ImportError as error:
        raise InvalidInput("clipsearch mcp needs: pip install 'clipsearch[mcp]'") from error
    from clipsearch.assistant.engine import Engine

    folders = folders_of(mounted)

    def open_library() -> Library:
        return Library.open(index, model=model, device=device, create=False, mounted=folders)

    take_over_pillow()
    engine = Engine(open_library, only_indexed)
    try:
        engine.look(lambda library: None)
    except LibraryError as error:
        log.warning("%s", error)  # it may yet come
    if sys.stdin.isatty():
        log.warning("this is for an assistant to start, as docs/mcp.md tells; Ctrl-C ends it")
    serve(engine, allow_local_url or ("public" if allow_url else False))
