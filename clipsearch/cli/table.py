"""Photos on a terminal: a compact table whose paths can be clicked."""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from clipsearch.cli.wording import Photo, away_of, fit_of, printable, score_of

if TYPE_CHECKING:
    from clipsearch.photos.files.urls import PhotoPath

# Terminals that show the codes they do not know, or know none. As most programs do, all others
# are believed to understand links (OSC 8) or to ignore them.
_PLAIN = re.compile(r"|unknown|dumb|linux|cygwin|cons25|vt\d+.*|eterm.*")


def print_table(photos: Sequence[Photo]) -> None:
    """Print a line for each photo: rank, score, how well it fits, and path, with a header."""
    if not photos:
        return
    decorated = is_decorated()
    rank_width = max(4, len(str(len(photos))))
    header = f"{'rank':>{rank_width}}  "
    header += " score  " if score_of(photos[0], 3) else ""
    header += " fit  " if fit_of(photos[0]) else ""
    print(_dim(f"{header}path") if decorated else f"{header}path")
    room = max(8, shutil.get_terminal_size().columns - len(header))
    for rank, photo in enumerate(photos, 1):
        numbers = "".join(f"{number:>6}  " for number in score_of(photo, 3))
        numbers += "".join(f"{percent:>4}  " for percent in fit_of(photo))
        away = away_of(photo)
        path = shortened(printable(str(photo.path)), max(8, room - len(away)))
        if decorated:
            name = os.path.basename(path)
            path = linked(_dim(path.removesuffix(name)) + name, photo.path)
        print(f"{rank:>{rank_width}}  {numbers}{path}{away}")


def print_paths(photos: Sequence[Photo]) -> None:
    """Print nothing but paths, whole."""
    decorated = is_decorated()
    for photo in photos:
        path = printable(str(photo.path))
        print(linked(path, photo.path) if decorated else path)


def shortened(path: str, room: int) -> str:
    """A path in at most `room` terminal cells: its middle left out, and not the file's name."""
    from rich.cells import cell_len, set_cell_size

    if cell_len(path) <= room:
        return path
    end = room // 2
    name = os.path.basename(path)
    if cell_len(name) + 2 <= room:
        end = max(end, cell_len(name) + 1)  # with the separator before it
    else:
        path = name
    return f"{set_cell_size(path, room - 1 - end)}…{set_cell_size(path[::-1], end)[::-1]}"


def is_decorated() -> bool:
    """Whether the terminal takes links and dim text; FORCE_HYPERLINK=0 or 1 overrules."""
    forced = os.environ.get("FORCE_HYPERLINK")
    if forced:
        return forced != "0"
    if os.name == "nt":
        return "WT_SESSION" in os.environ  # Windows Terminal; the old console shows the codes
    return not _PLAIN.fullmatch(os.environ.get("TERM", ""))


def linked(text: str, path: PhotoPath) -> str:
    """Text that leads to a file when clicked (OSC 8)."""
    return f"\x1b]8;;{link_to(path)}\x1b\\{text}\x1b]8;;\x1b\\"


def link_to(path: PhotoPath) -> str:
    """A file's URL; it names this machine where the terminal stands at another."""
    host = socket.gethostname() if "SSH_CONNECTION" in os.environ else ""
    return path.as_uri().replace("file://", f"file://{host}", 1)


def _dim(text: str) -> str:
    return f"\x1b[2m{text}\x1b[0m"
