"""Text that is read while folders are followed, which is never waited for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self


class Behind:
    """Work in a thread of its own, done once again whenever it was asked for since; a context.

    What it raises ends the context's work, by `stop`, and is raised when that is left.
    """

    def __init__(self, work: Callable[[], object], stop: threading.Event) -> None:
        self._work = work
        self._stop = stop
        self._asked = threading.Event()
        self._left = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="clipsearch-read", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._left = True
        self._asked.set()
        self._thread.join()
        if self._error is not None and error is None:
            raise self._error

    def ask(self) -> None:
        """Have the work done, and once more if it is under way."""
        self._asked.set()

    def _run(self) -> None:
        while self._asked.wait():
            self._asked.clear()
            if self._left or self._stop.is_set():
                return
            try:
                self._work()
            except BaseException as error:  # which is raised where the context is left
                self._error = error
                self._stop.set()
                return
