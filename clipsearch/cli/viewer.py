"""A file in the program that the system shows such files with."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from clipsearch.cli.wording import printable
from clipsearch.errors import InvalidInput
from clipsearch.photos.files.urls import Url

_PATIENCE = 3  # seconds: an opener that still runs then is itself the viewer


def check_viewer() -> None:
    """Raise InvalidInput unless files can be opened on this machine."""
    if sys.platform != "win32" and shutil.which(_opener()) is None:
        raise InvalidInput(
            f"--open needs {_opener()}, which is not here; install it (xdg-utils), or write the"
            " photos to a web page: --sheet FILE"
        )


def view(file: Path | Url) -> None:
    """Open a file in its viewer, and leave that running.

    Raises:
        InvalidInput: the file is gone or at a URL, or no program shows it.
    """
    if isinstance(file, Url):
        raise InvalidInput(
            f"{printable(file)} is not on this machine, so no viewer opens it; --sheet FILE --open"
            " shows it in a browser"
        )
    if not file.exists():
        raise InvalidInput(f"{printable(str(file))} is not there now, so it cannot be opened")
    if sys.platform == "win32":
        os.startfile(file)
        return
    process = subprocess.Popen(
        [_opener(), file.absolute()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C or a closed terminal ends us and not the viewer
    )
    try:
        code = process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        return
    if code:
        raise InvalidInput(
            f"{_opener()} found no program to show {printable(str(file))} (it ended with {code})"
        )


def _opener() -> str:
    return "open" if sys.platform == "darwin" else "xdg-open"
