"""Photos as pictures in the terminal, by what it can: kitty's graphics, sixel or half blocks."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from clipsearch.cli.decoding import decoders
from clipsearch.cli.table import shortened
from clipsearch.cli.terminal import is_decorated, link_to
from clipsearch.cli.wording import Photo, fit_of, printable, score_of, written_of
from clipsearch.errors import InvalidInput, PhotoError

if TYPE_CHECKING:
    from clipsearch.photos.decoding.isolated import Processes

_CELLS = 34  # the least width of a picture, and about twice its height
_SIZE = (960, 640)  # pixels, enough for the cells of a fine screen


def check_preview() -> None:
    """Raise InvalidInput unless pictures can be shown here."""
    # The terminal is asked what it can show, and answers as if it were typed.
    if not (sys.stdout.isatty() and sys.stdin.isatty()):
        raise InvalidInput(
            "--preview shows photos in a terminal, and this is none; --sheet FILE writes them to"
            " a web page"
        )
    try:
        import textual_image  # noqa: F401
    except ImportError as error:
        raise InvalidInput("--preview needs: pip install 'clipsearch[preview]'") from error


def show(photos: Sequence[Photo]) -> None:
    """Show photos in rows, each with its rank, score and name below."""
    from rich.console import Console
    from rich.table import Table

    # Whatever the environment says of colours: kitty finds its pictures by them.
    console = Console(color_system="truecolor", no_color=False, highlight=False, markup=False)
    across = max(1, console.width // (_CELLS + 2))
    width = console.width // across - 2
    height = max(3, min(width // 2, console.height - 4))
    with decoders() as processes:
        for start in range(0, len(photos), across):
            row = photos[start : start + across]
            table = Table.grid(padding=(0, 2, 0, 0))
            for _ in row:
                table.add_column(width=width)
            table.add_row(*[_picture(photo, processes) for photo in row])
            table.add_row(*[_caption(rank, it, width) for rank, it in enumerate(row, start + 1)])
            console.print(table, height=height)
            console.print()


def _picture(photo: Photo, processes: Processes) -> Any:
    from textual_image.renderable import Image

    from clipsearch.photos.decoding.thumbnail import thumbnail

    try:
        return Image(processes.start(thumbnail, photo.path, _SIZE)(), width="auto", height="auto")
    except PhotoError as error:
        return f"({printable(str(error))})"


def _caption(rank: int, photo: Photo, width: int) -> Any:
    from rich.style import Style
    from rich.text import Text

    numbers = "  ".join((str(rank), *score_of(photo, 3), *fit_of(photo), *written_of(photo), ""))
    name = shortened(printable(photo.path.name), width - len(numbers))
    link = Style(link=link_to(photo.path)) if is_decorated() else Style()
    return Text.assemble((numbers, "dim"), (name, link), no_wrap=True)
