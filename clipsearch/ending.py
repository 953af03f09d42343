"""An end of the process that waits for nothing: no thread, no decoder, no model."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from typing import NoReturn

STOPPED = 130  # the exit code of what Ctrl-C ended

_TOGETHER = 0.05  # seconds

_scratch: set[str] = set()


class Askings:
    """Tells a second asking to stop from the first.

    Two that come together are one: `timeout` sends its signal to a process and to its group.
    """

    def __init__(self) -> None:
        self._first: float | None = None

    def is_second(self, when: float | None = None) -> bool:
        """Count an asking, of now or of so many seconds; gives whether there was one before it."""
        if when is None:
            when = time.monotonic()
        if self._first is None:
            self._first = when
        return abs(when - self._first) > _TOGETHER


class Scratch:
    """A temporary folder that goes with `cleanup`, and with the process however soon it ends."""

    def __init__(self) -> None:
        import tempfile

        self._folder = tempfile.TemporaryDirectory(prefix="clipsearch-", ignore_cleanup_errors=True)
        self.name: str = self._folder.name
        _scratch.add(self.name)

    def cleanup(self) -> None:
        """Remove the folder."""
        self._folder.cleanup()
        _scratch.discard(self.name)


def end_now(code: int = STOPPED) -> NoReturn:
    """End the process; its locks go with it, and its decoders see it."""
    remove_scratch()
    os._exit(code)


def remove_scratch() -> None:
    """Remove the temporary folders of a process that is about to end."""
    folders = set(_scratch)
    if util := sys.modules.get("multiprocessing.util"):
        with suppress(OSError):  # there may be no room for any
            folders.add(util.get_temp_dir())  # where it has a socket
    if folders:
        import shutil

        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
