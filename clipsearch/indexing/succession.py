"""A model's encoder now, and its better one as soon as that is loaded."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from clipsearch.encoders import Encoder


class Succession:
    """Gives, at each call, the encoder to take then; nothing is loaded before the first one.

    `begin` gives one that is there at once, or None. Then `load` gives the other, in a thread
    beside, and with None is waited for. A context manager, which waits for what is being loaded.
    """

    def __init__(self, begin: Callable[[], Encoder | None], load: Callable[[], Encoder]) -> None:
        self._begin, self._load = begin, load
        self._first: Encoder | None = None
        self._better: Future[Encoder] | None = None
        self._pool = ThreadPoolExecutor(1, "clipsearch-model")

    def __call__(self) -> Encoder:
        """The encoder; raises what loading it raised."""
        if self._first is None:
            self._first = self._begin()
            if self._first is None:
                self._first = self._load()  # not in the thread, so that Ctrl-C reaches it
            else:
                self._better = self._pool.submit(self._load)
        if self._better is not None and self._better.done():
            return self._better.result()
        return self._first

    def __enter__(self) -> Succession:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown()
