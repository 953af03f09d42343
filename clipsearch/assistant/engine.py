"""The library, for calls that come at the same time."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from clipsearch.library import Library
from clipsearch.store.database import FILE_NAME

T = TypeVar("T")


class Engine:
    """Answers calls from any thread; what needs no model never waits for what does.

    `open_library` opens the index anew. An index that is not there yet may come, and one that is
    put in its place is noticed.
    """

    def __init__(self, folder: Path, open_library: Callable[[], Library]) -> None:
        self._file = folder / FILE_NAME
        self._open = open_library
        # A library belongs to one thread; this one keeps its own, with the model in memory.
        self._thread = ThreadPoolExecutor(1, "model")
        self._library: Library | None = None
        self._opened: tuple[int, int] | None = None

    def look(self, question: Callable[[Library], T]) -> T:
        """The answer to a question that needs no model, from a library opened for it alone."""
        with self._open() as library:
            return question(library)

    def ask(self, question: Callable[[Library], T]) -> T:
        """The answer to a question that may need the model; they are answered in turn."""
        return self._thread.submit(lambda: question(self._current())).result()

    def _current(self) -> Library:
        now = _identity(self._file)
        if self._library is None or now != self._opened:
            if self._library is not None:
                self._library.close()
            self._library = None
            self._library, self._opened = self._open(), now
        return self._library


def _identity(file: Path) -> tuple[int, int] | None:
    """What tells a file from another one put in its place; None if there is none."""
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_dev, status.st_ino
