"""A model's encoder now, and its better one as soon as that is loaded."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from clipsearch.encoders import Encoder
from clipsearch.photos.decoding.view import View


class Succession:
    """Gives, at each call, the encoder to take then; nothing is loaded before the first one.

    `begin` gives one that is there at once, or None. Then `load` gives the other, in a thread
    beside, and with None is waited for. Where it is known how pictures are prepared for it,
    `view`, only who calls waits. A context manager, which waits for what is being loaded.
    """

    def __init__(
        self,
        begin: Callable[[], Encoder | None],
        load: Callable[[], Encoder],
        view: View | None = None,
    ) -> None:
        self._begin, self._load, self._view = begin, load, view
        self._first: Encoder | None = None
        self._better: Future[Encoder] | None = None
        self._pool = ThreadPoolExecutor(1, "clipsearch-model")

    def __call__(self) -> Encoder:
        """The encoder; raises what loading it raised."""
        self._start()
        if self._better is not None and (self._first is None or self._better.done()):
            return self._better.result()
        assert self._first is not None
        return self._first

    def view(self) -> View:
        """How pictures are prepared for it."""
        if self._view is None:
            return self().prepare
        self._start()
        return self._view

    def batch_size(self) -> int | None:
        """How many pictures at a time suit it; None where it is not there yet."""
        self._start()
        is_there = self._first is not None or (self._better is not None and self._better.done())
        return self().batch_size if is_there else None

    def _start(self) -> None:
        if self._first is None and self._better is None:
            self._first = self._begin()
            if self._first is not None or self._view is not None:
                self._better = self._pool.submit(self._load)
            else:
                self._first = self._load()  # not in the thread, so that Ctrl-C reaches it

    def __enter__(self) -> Succession:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown()
