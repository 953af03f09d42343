"""The library, for calls that come at the same time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from clipsearch.library import Library
from clipsearch.photos.decoding.isolated import Processes

T = TypeVar("T")


class Engine:
    """Answers calls from any thread; what needs no model never waits for what does.

    `open_library` opens the index anew. An index that is not there yet may come, and one that is
    put in its place is noticed. Pictures are decoded in `processes`; with `only_indexed` none is
    read by its path but those in indexed folders.
    """

    def __init__(self, open_library: Callable[[], Library], only_indexed: bool = False) -> None:
        self._open = open_library
        self._only_indexed = only_indexed
        self.processes = Processes(1)
        # A library belongs to one thread; this one keeps its own, with the model in memory.
        self._thread = ThreadPoolExecutor(1, "model")
        self._library: Library | None = None

    def look(self, question: Callable[[Library], T]) -> T:
        """The answer to a question that needs no model, from a library opened for it alone."""
        with self._open() as library:
            return question(library)

    def ask(self, question: Callable[[Library], T]) -> T:
        """The answer to a question that may need the model; they are answered in turn."""
        return self._thread.submit(lambda: question(self._current())).result()

    def _current(self) -> Library:
        if self._library is not None and self._library.is_replaced():
            self._library.close()
            self._library = None
        if self._library is None:
            self._library = self._open()
            self._library.ask_with_care(self.processes, self._only_indexed)
        return self._library
