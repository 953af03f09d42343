"""`clipsearch mcp`."""

from __future__ import annotations

import logging
import sys

from clipsearch.cli.options import AllowUrl, Device, Index, ModelSpec, Mounted, folders_of
from clipsearch.errors import InvalidInput, LibraryError

log = logging.getLogger("clipsearch")


def mcp(
    index: Index = None,
    mounted: Mounted = None,
    model: ModelSpec = None,
    device: Device = "auto",
    allow_url: AllowUrl = False,
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
    engine = Engine(open_library)
    try:
        engine.look(lambda library: None)
    except LibraryError as error:
        log.warning("%s", error)  # it may yet come
    if sys.stdin.isatty():
        log.warning("this is for an assistant to start, as docs/mcp.md tells; Ctrl-C ends it")
    serve(engine, allow_url)
