"""The index, opened as often as there are threads that ask it at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from clipsearch.library import Library


class Libraries:
    """Openings of one index, lent to one thread each; they share the models that are loaded."""

    def __init__(self, open: Callable[[], Library]) -> None:
        self._lock = threading.Lock()
        self._first = open()
        self._first.stay()
        self._free: list[Library] = []
        self._lent: set[Library] = set()

    @contextmanager
    def lent(self) -> Iterator[Library]:
        """An opening of the index as it is now, also if it was replaced since the last one.

        Raises:
            LibraryError: there is no index any more.
        """
        library = self._take()
        try:
            yield library
        finally:
            self._put_back(library)

    def close(self) -> None:
        """Close all that is not lent; the rest is closed when it comes back."""
        with self._lock:
            for library in (self._first, *self._free):
                library.close()
            self._free.clear()
            self._lent.clear()

    def _take(self) -> Library:
        with self._lock:
            if self._first.is_replaced():
                fresh = self._first.twin()  # what is loaded stays so
                for library in (self._first, *self._free):
                    library.close()
                self._first = fresh
                self._free.clear()
                self._lent.clear()  # those are of the old index: they are closed, not lent again
            library = self._free.pop() if self._free else self._first.twin()
            self._lent.add(library)
            return library

    def _put_back(self, library: Library) -> None:
        with self._lock:
            if library in self._lent:
                self._lent.remove(library)
                self._free.append(library)
            else:
                library.close()
