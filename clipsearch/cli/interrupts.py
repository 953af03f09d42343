"""Ctrl-C and SIGTERM: the first asks a command to stop, the second ends it whatever it is doing."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event
from types import FrameType
from typing import NoReturn

from clipsearch.cli.output import note
from clipsearch.ending import STOPPED, Askings, end_now

_NUMBERS = (signal.SIGINT, signal.SIGTERM)
_SHOW_CURSOR = b"\x1b[?25h\n"  # which a progress bar hides


def heed_signals() -> None:
    """Have SIGTERM stop a command as Ctrl-C does, and a second of them end the process at once.

    A handler would wait until the main thread is back from a library's code, which may take as
    long as a model takes; so a thread hears of signals, from the pipe that the system's handler
    writes them to.
    """
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    if os.name == "posix":
        heard, told = os.pipe()
        os.set_blocking(told, False)
        signal.set_wakeup_fd(told, warn_on_full_buffer=False)
        threading.Thread(target=_hear, args=[heard], name="clipsearch-end", daemon=True).start()


def _hear(heard: int) -> None:
    askings = Askings()
    while numbers := os.read(heard, 64):
        if any(number in _NUMBERS for number in numbers) and askings.is_second():
            end_at_once()


def end_at_once() -> NoReturn:
    """End the process, and leave the terminal as it was."""
    if sys.stderr.isatty():
        os.write(2, _SHOW_CURSOR)
    end_now()


def end_stopped() -> NoReturn:
    """End the process after a first Ctrl-C; what a thread of it is doing is not waited for."""
    with suppress(OSError):
        print("clipsearch: stopped", file=sys.stderr)
        sys.stdout.flush()
    end_now(STOPPED)


@contextmanager
def stop_on_signals() -> Iterator[Event]:
    """Give an event that the first Ctrl-C or SIGTERM sets; the second one stops at once."""
    stop, askings = Event(), Askings()

    def ask(number: int, frame: FrameType | None) -> None:
        if askings.is_second():
            end_at_once()
        if not stop.is_set():
            stop.set()
            note("stopping after the current batch; once more stops at once")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
