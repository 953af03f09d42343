"""An end of the process that waits for nothing: no thread, no decoder, no model."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

STOPPED = 130  # the exit code of what Ctrl-C ended

# What may lose what is in work, since the next run does it anew, goes on no longer than this.
STOPPED_WITHIN = 4.0  # seconds after it was asked to stop; on a busy machine the end takes one

_TOGETHER = 0.05  # seconds

_scratch: set[str] = set()
_last: list[Callable[[], None]] = []


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


@contextmanager
def last(act: Callable[[], None]) -> Iterator[None]:
    """Have `act` done, in any thread, where the process ends at once meanwhile."""
    _last.append(act)
    try:
        yield
    finally:
        with suppress(ValueError):  # it is being done
            _last.remove(act)


def do_last() -> None:
    """Do what is to be done before the process ends at once."""
    while _last:
        _last.pop()()


def end_now(code: int = STOPPED) -> NoReturn:
    """End the process; its locks go with it, and its decoders see it."""
    remove_scratch()
    os._exit(code)


def end_in(seconds: float, end: Callable[[], NoReturn]) -> threading.Timer:
    """Call what ends the process after so many seconds, unless that is cancelled."""
    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    return timer


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
