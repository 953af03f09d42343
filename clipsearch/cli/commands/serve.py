"""`clipsearch serve`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from clipsearch.cli.options import Device, Index, ModelSpec, Mounted, folders_of
from clipsearch.errors import InvalidInput


def serve(
    watch: Annotated[
        bool, typer.Option("--watch", help="Follow the indexed folders meanwhile.")
    ] = False,
    host: Annotated[
        str, typer.Option(metavar="HOST", help="Where to listen; beyond this machine with a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="PORT", min=0, max=65535)] = 7700,
    token: Annotated[
        str | None, typer.Option(metavar="TOKEN", help="What who asks must know. Default: made.")
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="Another site whose pages may ask. Repeatable."),
    ] = None,
    open: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    index: Index = None,
    mounted: Mounted = None,
    model: ModelSpec = None,
    device: Device = "auto",
) -> None:
    """Show the photos on a page, and answer programs over HTTP."""
    try:
        from clipsearch.web import server
    except ImportError as error:
        raise InvalidInput("serve needs: pip install 'clipsearch[web]'") from error
    from clipsearch.library import Library
    from clipsearch.photos.decoding.decode import take_over_pillow

    take_over_pillow()

    folders = folders_of(mounted)

    def open_library() -> Library:
        return Library.open(index, model=model, device=device, create=False, mounted=folders)

    with open_library() as library:  # before anything else is said
        if watch:
            library.check_writable()
    access = server.check_access(host, token, allow_origin or [])
    listening = server.listen(host, port)
    address = server.address_of(listening, access)

    def ready() -> None:
        print(f"clipsearch: serving {address} (Ctrl-C stops)", file=sys.stderr, flush=True)
        if open:
            typer.launch(address)

    with listening:
        server.run(open_library, listening, access, watch, ready)
