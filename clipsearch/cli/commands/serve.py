"""`clipsearch serve`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli.interrupts import waited_for
from clipsearch.cli.options import Device, Index, ModelSpec, Mounted, folders_of
from clipsearch.cli.output import note
from clipsearch.cli.wording import printable
from clipsearch.errors import InvalidInput, check_number
from clipsearch.textfile import text_of

if TYPE_CHECKING:
    from clipsearch.describing import Describer


def serve(
    watch: Annotated[
        bool, typer.Option("--watch", help="Follow the indexed folders meanwhile.")
    ] = False,
    host: Annotated[
        str, typer.Option(metavar="HOST", help="Where to listen; beyond this machine with a token.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(metavar="PORT", help="Of 1 to 65535; 0 takes any that is free.")
    ] = 7700,
    token: Annotated[
        str | None,
        typer.Option(
            metavar="TOKEN",
            help="What who asks must know. Other users of this computer see it here:"
            " $CLIPSEARCH_TOKEN and --token-file are hidden. Default: made.",
        ),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A file with the token in its first line.")
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="Another site whose pages may ask. Repeatable."),
    ] = None,
    root_path: Annotated[
        str,
        typer.Option(
            metavar="PATH",
            help="Where a proxy's site has the page, as /photos.",
            show_default=False,
        ),
    ] = "",
    describe: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="Offer to describe parts of photos: blip, coca, llava:FOLDER..."
        ),
    ] = None,
    alpha: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="With --describe llava: a checkpoint of Alpha-CLIP."),
    ] = None,
    open: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    index: Index = None,
    mounted: Mounted = None,
    model: ModelSpec = None,
    device: Device = "auto",
) -> None:
    """Show the photos on a page, and answer programs over HTTP."""
    check_number("--port", port, 0, 65535)
    if alpha and not describe:
        raise InvalidInput("--alpha goes with --describe llava:FOLDER")
    try:
        from clipsearch.web import server
    except ImportError as error:
        raise InvalidInput("serve needs: pip install 'clipsearch[web]'") from error
    from clipsearch.ending import Scratch
    from clipsearch.library import Library
    from clipsearch.photos.decoding.decode import take_over_pillow

    take_over_pillow()

    folders = folders_of(mounted)
    # Who names an index means one that is there.
    offered = server.offered_folder() if index is None and not folders else None

    def open_library(create: bool = False) -> Library:
        return Library.open(index, model=model, device=device, create=create, mounted=folders)

    given = _token(token, token_file)
    access = server.check_access(host, given, allow_origin or [], root_path)
    listening = server.listen(host, port)
    address = server.address_of(listening, access)
    opening = server.opening(address, access)
    scratch = Scratch() if open and access.token else None
    with listening:
        describer = _describer(describe, alpha, device)
        with open_library(offered is not None) as library:  # before anything else is said
            offers = offered is not None and not library.count()
            if watch:
                library.check_writable()

        def ready() -> None:
            # A token that was given is known, and may not be meant for whoever reads this.
            said = opening if given is None else f"{address} with your token"
            note(f"serving {said} (Ctrl-C stops)")
            if offers:
                note(f"there are no photos yet; the page offers to index {printable(str(offered))}")
            if open:
                typer.launch(server.leading_there(opening, scratch) if scratch else address)

        with waited_for():
            server.run(open_library, listening, access, watch, ready, offered, describer)


def _token(given: str | None, file: Path | None) -> str | None:
    """The token that was chosen, wherever it stands.

    Raises:
        InvalidInput: it stands in two places, or its file cannot be read.
    """
    if given is not None and file is not None:
        raise InvalidInput("--token and --token-file exclude each other; choose one")
    if file is None:
        return given if given is not None else os.environ.get("CLIPSEARCH_TOKEN") or None
    try:
        return text_of(file.expanduser(), "token").partition("\n")[0].strip()
    except InvalidInput as error:
        raise InvalidInput(f"--token-file: {error}") from error


def _describer(model: str | None, alpha: str | None, device: str) -> Describer | None:
    """What describes photos, its weights loaded; None where that is not wanted."""
    if model is None:
        return None
    from clipsearch.cli.progress import progress
    from clipsearch.describing import Describer

    with progress("loading the model that describes photos"):
        return Describer(model, alpha, device)
