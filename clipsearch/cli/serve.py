"""`clipsearch serve`."""

from __future__ import annotations

from typing import Annotated

import typer

from clipsearch.cli.options import Index


def serve(
    host: Annotated[str, typer.Option(metavar="HOST", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="PORT", help="The port to listen on.")] = 7700,
    index: Index = None,
) -> None:
    """Serve a page and an HTTP API."""
    import uvicorn

    from clipsearch.library import default_folder
    from clipsearch.web.app import create_app

    uvicorn.run(create_app(index or default_folder()), host=host, port=port, log_level="warning")
