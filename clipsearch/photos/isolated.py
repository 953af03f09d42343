"""Processes for decoding, so that a file that crashes or hangs a decoder costs itself alone."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeoutError
from types import TracebackType
from typing import Any

from clipsearch.errors import PhotoError
from clipsearch.photos.decode import take_over_pillow

# A picture within the pixel limit decodes in seconds; a decoder that takes this long hangs.
TIMEOUT = 120.0  # seconds


class Interrupted(PhotoError):
    """A file whose decoder was killed from outside; the next try may go well."""


class Processes:
    """A pool of processes that hold Pillow and NumPy but no torch; a context manager.

    One starts in a moment and stays small. They start when the first is needed.
    """

    def __init__(
        self, workers: int, begin: Callable[..., None] | None = None, *values: Any
    ) -> None:
        from pebble import ProcessPool

        # Not fork: the process may hold torch's threads, or a GPU.
        methods = multiprocessing.get_all_start_methods()
        context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        self._pool: Any = ProcessPool(
            max_workers=workers, initializer=_begin, initargs=[begin, values], context=context
        )

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End all processes, whatever they are doing."""
        self._pool.stop()
        self._pool.join()

    def start(self, function: Callable[..., Any], *values: Any) -> Callable[[], Any]:
        """Start `function(*values)` in one of the processes; gives what waits for its result.

        That raises what the function raised, or PhotoError where it hung, crashed or was killed.
        """
        future = self._pool.schedule(function, args=list(values), timeout=TIMEOUT)

        def result() -> Any:
            from pebble import ProcessExpired

            try:
                return future.result()
            except (TimeoutError, FutureTimeoutError):
                raise PhotoError(f"decoding it took more than {TIMEOUT:.0f} seconds") from None
            except ProcessExpired as error:
                if error.exitcode in (-signal.SIGKILL, -signal.SIGTERM):
                    raise Interrupted(
                        "the decoder was killed, perhaps for want of memory"
                    ) from None
                raise PhotoError("the decoder crashed on it") from None

        return result


def _begin(begin: Callable[..., None] | None, values: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that has the results
    take_over_pillow()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # where libtiff says what it finds wrong
    if begin is not None:
        begin(*values)
