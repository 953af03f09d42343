"""Ctrl-C and SIGTERM: the first asks a command to stop, the second ends it whatever it is doing."""

from __future__ import annotations

import os
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from threading import Event
from types import FrameType
from typing import NoReturn

import typer

from clipsearch.cli.output import note
from clipsearch.cli.progress import progress
from clipsearch.cli.torchrun import has_word, is_first, launched
from clipsearch.ending import STOPPED, STOPPED_WITHIN, Askings, do_last, end_in, end_now
from clipsearch.notation import counted
from clipsearch.progress import Progress

KEPT = "stopped; what is done is kept. The same command goes on from there."

_NUMBERS = (signal.SIGINT, signal.SIGTERM)
# Linux tells when a signal came (SO_TIMESTAMP). Two that are heard at the same moment, when a
# library has let go of Python's lock, may have come one after the other.
_STAMPED = 29
_STAMP = struct.Struct("@ll")
_ROOM = 64  # bytes, for such a stamp
_BAR_AWAY = b"\r\x1b[2K\x1b[?25h"  # the line of a progress bar, and the cursor that it hides

_nothing_kept = Event()  # while there is nothing yet that a stop would have to wait for


class _Deadline:
    """Ends a command that was asked to stop, where it has not ended by itself."""

    def __init__(self) -> None:
        self._within: float | None = STOPPED_WITHIN  # None for one that is waited for
        self._word, self._code = "stopped", STOPPED
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    @contextmanager
    def being(self, within: float | None, word: str, code: int) -> Iterator[None]:
        """Have it another time inside, with another word and exit code."""
        before = self._within, self._word, self._code
        self._within, self._word, self._code = within, word, code
        try:
            yield
        finally:
            with self._lock:
                self._within, self._word, self._code = before
                if self._timer is not None:
                    self._timer.cancel()
                    self._timer = None

    def begin(self) -> None:
        """Let the time run, unless it does."""
        with self._lock:
            if self._within is not None and self._timer is None:
                word, code = self._word, self._code
                self._timer = end_in(self._within, lambda: end_telling(word, code))


_deadline = _Deadline()


def heed_signals() -> None:
    """Have SIGTERM stop a command as Ctrl-C does, and a second of them end the process at once.

    A handler would wait until the main thread is back from a library's code, which may take as
    long as a model takes; so a thread hears of signals, from the socket that the system's handler
    writes them to.
    """
    for number in _NUMBERS:
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    # What cleans up after a process that ended at once tells of what it found.
    sys.warnoptions.append("ignore:resource_tracker:UserWarning")
    if os.name == "posix":
        heard, told = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        if sys.platform == "linux":
            with suppress(OSError):  # some processors have another number for it
                heard.setsockopt(socket.SOL_SOCKET, _STAMPED, 1)
        told.setblocking(False)
        signal.set_wakeup_fd(told.detach(), warn_on_full_buffer=False)
        threading.Thread(target=_hear, args=[heard], name="clipsearch-end", daemon=True).start()


def _hear(heard: socket.socket) -> None:
    askings = Askings()
    while True:
        number, told, *_ = heard.recvmsg(1, _ROOM)
        if number[0] not in _NUMBERS:
            continue
        if askings.is_second(_moment(told)) or _nothing_kept.is_set():
            end_at_once()
        _deadline.begin()  # no handler runs while the main thread is in a library's code


def _moment(told: Sequence[tuple[int, int, bytes]]) -> float | None:
    """When a signal came, in seconds, where the system tells it."""
    for _, kind, stamp in told:
        if kind == _STAMPED and len(stamp) == _STAMP.size:
            seconds, millionths = _STAMP.unpack(stamp)
            return float(seconds + millionths / 1e6)
    return None


def end_at_once() -> NoReturn:
    """End the process, say so, and leave the terminal as it was."""
    end_telling("stopped")


def end_stopped() -> NoReturn:
    """End the process after a first Ctrl-C; what a thread of it is doing is not waited for."""
    with suppress(OSError):
        sys.stdout.flush()
    end_at_once()


def end_telling(why: str, code: int = STOPPED) -> NoReturn:
    """End the process from any thread of it, in a line that says why, unless another said one."""
    do_last()
    if has_word():
        with suppress(OSError):
            ours = os.dup(2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # where a bar is drawn from here on
            os.write(ours, _BAR_AWAY * os.isatty(ours) + f"clipsearch: {why}\n".encode())
    end_now(code)


def waited_for() -> AbstractContextManager[None]:
    """Around what ends in a time of its own after the first Ctrl-C."""
    return _deadline.being(None, "stopped", STOPPED)


def ignore_signals() -> None:
    """Have this process go on at Ctrl-C and SIGTERM."""
    for number in _NUMBERS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def stop_on_signals(
    is_busy: Callable[[], bool] = lambda: True, within: float | None = None, code: int = STOPPED
) -> Iterator[Event]:
    """Give an event that the first Ctrl-C or SIGTERM sets; the second one stops at once.

    `is_busy` tells whether there is a batch in work, which is brought to its end, unless that takes
    more than `within` seconds; the process ends then, with `code`.
    """
    stop, askings = Event(), Askings()

    def ask(number: int, frame: FrameType | None) -> None:
        if askings.is_second() or _nothing_kept.is_set():
            end_at_once()
        if not stop.is_set():
            stop.set()
            _deadline.begin()
            # torchrun sends SIGTERM where another process ended, which says why.
            if is_first() and not (launched() and number == signal.SIGTERM):
                batch = " after the current batch; once more stops at once" if is_busy() else ""
                note(f"stopping{batch}")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with _deadline.being(within, KEPT, code):
            yield stop
    finally:
        if not stop.is_set():  # else the next one ends at once, whatever is still being left
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def stopped_at_once() -> Iterator[Callable[[], None]]:
    """Have the first Ctrl-C end the process, until what is given is called: work has begun then."""
    _nothing_kept.set()
    try:
        yield _nothing_kept.clear
    finally:
        _nothing_kept.clear()


@contextmanager
def resumable(doing: str) -> Iterator[tuple[Progress, Callable[[], bool]]]:
    """Around work that is kept batch by batch, which the next run goes on with.

    Gives what is told how far it is, and what says that it is to stop. Until the first is called,
    which is when the model is loaded, a stop ends the process at once.
    """
    with (
        stop_on_signals() as stop,
        stopped_at_once() as begun,
        progress("loading the model", doing) as bar,
    ):

        def tell(done: int, total: int) -> None:
            begun()
            if bar:
                bar(done, total)

        yield tell, stop.is_set


def check_left(left: int) -> None:
    """End the command as stopped where photos are left."""
    if left:
        photos = counted(left, "photo")
        note(f"stopped with {photos} left; the same command goes on from there.")
        raise typer.Exit(STOPPED)
