"""A model's encoder now, and its better one as soon as that is loaded."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from clipsearch.encoders import Encoder


class Succession:
    """Gives, at each call, the encoder to take then; nothing is loaded before the first one.

    `begin` gives one that is there at once, or None. Then `load` gives the other, in a thread
    beside, and with None is waited for. A context manager, which waits for what is being loaded.
    """

    def __init__(self, begin: Callable[[], Encoder | None], load: Callable[[], Encoder]) -> None:
        self._begin, self._load = begin, load
        self._first: Encoder | None = None
        self._then: Future[Encoder] | None = None
        self._pool = ThreadPoolExecutor(1, "clipsearch-model")

    def __call__(self) -> Encoder:
        """The encoder; raises what loading it raised."""
        if self._then is None:
            self._first = self._begin()
            self._then = self._loaded() if self._first is None else self._pool.submit(self._load)
        if self._first is None or self._then.done():
            return self._then.result()
        return self._first

    def _loaded(self) -> Future[Encoder]:
        # Not in the thread, so that Ctrl-C reaches it.
        loaded: Future[Encoder] = Future()
        loaded.set_result(self._load())
        return loaded

    def __enter__(self) -> Succession:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown()
