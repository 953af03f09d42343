"""Processes for decoding, so that a file that crashes or hangs a decoder costs itself alone."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import AbstractContextManager, contextmanager, suppress
from types import TracebackType
from typing import Any

from clipsearch.ending import Scratch
from clipsearch.errors import NoProcess, PhotoError, first_line
from clipsearch.photos.decoding.decode import MAX_PIXELS, Undecided, take_over_pillow
from clipsearch.photos.decoding.memory import be_one_of

# A picture within the pixel limit decodes in seconds; a decoder that takes this long hangs.
TIMEOUT = 120.0  # seconds, of the processor's time or of nothing being done

_LOOK = 0.5  # seconds between two looks at whether the pool was stopped
_TICK = 0.25  # seconds between two looks at whether anything is done
_NOTHING = 0.01  # of the time; the looks themselves take less
_HANGS = 75  # the exit code of a process in which nothing was done

# Processes are forked from one that is spoken to by a socket, in a temporary folder; the path of
# a socket is cut off after some hundred bytes, of which 32 are its own.
_SHORT = 70  # bytes
_SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")  # where the usual one is not


class Interrupted(PhotoError):
    """A file whose decoder was killed from outside; the next try may go well."""


class _TurnFile:
    """The file by which the processes of all pools take turns, there as long as a pool is."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pools = 0
        self._scratch: Scratch | None = None

    def take(self) -> str:
        """Its path; there is one more pool."""
        with self._lock:
            if self._scratch is None:
                self._scratch = Scratch()
            self._pools += 1
            return os.path.join(self._scratch.name, "turn")

    def give_back(self) -> None:
        """There is a pool less."""
        with self._lock:
            self._pools -= 1
            if not self._pools and self._scratch is not None:
                self._scratch.cleanup()
                self._scratch = None


_turn_file = _TurnFile()


class Processes:
    """A pool of processes that hold Pillow and NumPy but no torch; a context manager.

    One starts in a moment and stays small, and takes no more memory than a picture of `max_pixels`
    needs. They start when the first is needed, and all pools of a program have a `Turn` in common.
    """

    def __init__(self, workers: int, max_pixels: int = MAX_PIXELS) -> None:
        self._workers = workers
        self._max_pixels = max_pixels
        self._turn = _turn_file.take()
        self._renewing = threading.Lock()
        self._has_begun = False
        self._stopped = threading.Event()
        self._pool = self._new_pool()

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
        """End all processes, whatever they are doing; who waits for one is told so."""
        if not self._stopped.is_set():
            self._stopped.set()
            self._end()
            _turn_file.give_back()

    def _end(self) -> None:
        self._pool.stop()
        self._pool.join()

    def start(self, function: Callable[..., Any], *values: Any) -> Waited:
        """Start `function(*values)` in one of the processes; gives what waits for its result."""
        return Waited(self._schedule(_timed, TIMEOUT, function, values), TIMEOUT, self._stopped)

    def _schedule(self, *call: Any) -> Any:
        function, *values = call
        with self._renewing, _starting():
            if not self._has_begun and "forkserver" in multiprocessing.get_all_start_methods():
                _start_server()
            self._has_begun = True
            try:
                return self._pool.schedule(function, args=values)
            except RuntimeError:
                if self._stopped.is_set():
                    raise Interrupted("the decoder was stopped") from None
                # Pebble gives a pool up when a process of it is killed that does nothing.
                if not _is_broken(self._pool):
                    raise
                self._end()
                self._pool = self._new_pool()
                return self._pool.schedule(function, args=values)

    def _new_pool(self) -> Any:
        from pebble import ProcessPool

        # Not fork: the process may hold torch's threads, or a GPU.
        methods = multiprocessing.get_all_start_methods()
        context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        given = [self._turn, self._workers, self._max_pixels]
        return ProcessPool(
            max_workers=self._workers, initializer=_begin, initargs=given, context=context
        )


class Waited:
    """What waits for the result of a function in a process."""

    def __init__(self, future: Any, limit: float, stopped: threading.Event) -> None:
        self._future = future
        self._limit = limit
        self._stopped = stopped

    def __call__(self, patience: float | None = None) -> Any:
        """The result; raises what the function raised.

        Raises:
            Undecided: it hung or crashed.
            Interrupted: its process was killed.
            TimeoutError: it is not there after `patience` seconds.
        """
        from pebble import ProcessExpired

        try:
            return self._result(patience)
        except FutureTimeoutError as error:
            raise TimeoutError from error
        except CancelledError:
            raise Interrupted("the decoder was stopped") from None
        except BrokenExecutor:
            raise Interrupted("the decoder was killed") from None
        except ProcessExpired as error:
            raise self._why_ended(error.exitcode) from None

    def _result(self, patience: float | None) -> Any:
        if patience is not None:
            return self._future.result(patience)
        while True:
            try:
                return self._future.result(_LOOK)
            except FutureTimeoutError:
                if self._future.done():  # it is what the function raised
                    raise
                if self._stopped.is_set():  # the pool may leave it without an answer
                    raise CancelledError from None

    def _why_ended(self, exitcode: int) -> PhotoError:
        if exitcode in _TOO_LONG:
            return Undecided(f"decoding it took more than {self._limit:.0f} seconds")
        if exitcode in (-signal.SIGKILL, -signal.SIGTERM):
            return Interrupted("the decoder was killed, perhaps for want of memory")
        return Undecided("the decoder crashed on it")


@contextmanager
def _starting() -> Iterator[None]:
    """Around what starts processes: says why none could be."""
    try:
        yield
    except (BrokenExecutor, OSError) as error:
        reason = first_line(error.__cause__ or error)
        raise NoProcess(f"no process to decode photos in could be started ({reason})") from error


def _start_server() -> None:
    """Start what processes are forked from; where it was started before this does nothing.

    Ctrl-C is for this process: it would end the server with a traceback while that is loaded.
    """
    from multiprocessing import forkserver, resource_tracker

    _have_a_short_folder()
    resource_tracker.ensure_running()  # whose start lets the signal through again
    signals = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)


def _have_a_short_folder() -> None:
    """Have a temporary folder for sockets, whose path is short, wherever others are."""
    from multiprocessing import util

    usual = tempfile.tempdir
    folders = (tempfile.gettempdir(), *_SHORT_FOLDERS)
    short = (it for it in folders if len(os.fsencode(it)) <= _SHORT and os.access(it, os.W_OK))
    tempfile.tempdir = next(short, usual)
    try:
        util.get_temp_dir()  # which remembers it
    finally:
        tempfile.tempdir = usual


def _is_broken(pool: Any) -> bool:
    from pebble.pool.base_pool import PoolStatus

    return bool(pool._context.status == PoolStatus.ERROR)


# What runs in a process of the pool


class _Clock:
    """Ends its process when a task takes too long: of the processor's time, or with nothing done.

    Neither goes on while the machine is suspended or the process stopped.
    """

    def __init__(self) -> None:
        self._limit = self._begun = 0.0
        self._task = 0
        self._timing = threading.Event()
        threading.Thread(target=self._watch, name="clipsearch-clock", daemon=True).start()

    def start(self, limit: float) -> None:
        """Allow the task at hand `limit` seconds, from now on."""
        self._limit, self._begun = limit, time.process_time()
        self._task += 1
        self._timing.set()
        _set_timer(limit)

    def stop(self) -> float:
        """Let time pass, until it is started again; gives the limit that there was."""
        _set_timer(0)
        self._timing.clear()
        limit, self._limit = self._limit, 0.0
        return limit

    def _watch(self) -> None:
        idle, task = 0.0, 0
        while self._timing.wait():
            if task != self._task:
                idle, task = 0.0, self._task
            limit = self._limit
            tick = min(_TICK, limit / 4)
            before = time.process_time()
            time.sleep(tick)
            used = time.process_time() - before
            idle = idle + tick if used < _NOTHING * tick else 0.0
            is_over = max(idle, time.process_time() - self._begun) >= limit > 0
            if is_over and self._timing.is_set() and task == self._task:
                os._exit(_HANGS)


_clock: _Clock | None = None  # in a process of the pool


@contextmanager
def untimed() -> Iterator[None]:
    """Around what waits for a disk or for one's turn, which is no fault of a decoder.

    The time that a task is allowed begins anew after it.
    """
    limit = _clock.stop() if _clock else 0.0
    try:
        yield
    finally:
        if _clock and limit:
            _clock.start(limit)


# Between threads a lock, between processes a file's, which ends with the process that holds it,
# however that ends. Who holds it may take it again.
_turn: AbstractContextManager[Any] = threading.RLock()


class Turn:
    """Held while a large file is read or a large picture decoded, by one worker at a time.

    Waiting for it is no time of the decoder's.
    """

    def __enter__(self) -> None:
        with untimed():
            _turn.__enter__()

    def __exit__(self, *error: Any) -> None:
        _turn.__exit__(*error)


def _timed(limit: float, function: Callable[..., Any], values: tuple[Any, ...]) -> Any:
    assert _clock is not None
    _clock.start(limit)
    try:
        return function(*values)
    finally:
        _clock.stop()


_TOO_LONG = [_HANGS]  # exit codes

if hasattr(signal, "setitimer"):
    _TOO_LONG.append(-signal.SIGPROF)

    def _set_timer(seconds: float) -> None:
        # The system ends the process then, also one whose decoder lets no other thread run.
        signal.setitimer(signal.ITIMER_PROF, seconds)
else:

    def _set_timer(seconds: float) -> None:
        pass


def _end_with_the_parent() -> None:
    """No decoder goes on when the process is gone that has its results, however that ended."""
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(0)


def _end_amid_work() -> None:
    """The same where a decoder lets no other thread in, for seconds: the system sends a signal.

    What tells of the parent's end is a pipe of which that holds the other side.
    """
    parent = multiprocessing.parent_process()
    if parent is None or not hasattr(signal, "SIGIO"):
        return
    import fcntl

    with suppress(OSError):  # where no pipe tells of itself so
        signal.signal(signal.SIGIO, signal.SIG_DFL)  # which ends the process
        fcntl.fcntl(parent.sentinel, fcntl.F_SETOWN, os.getpid())
        flags = fcntl.fcntl(parent.sentinel, fcntl.F_GETFL)
        fcntl.fcntl(parent.sentinel, fcntl.F_SETFL, flags | os.O_ASYNC)


def _begin(turn: str, workers: int, max_pixels: int) -> None:
    from filelock import FileLock

    global _clock, _turn
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that has the results
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # at once, and not when a decoder is done
    take_over_pillow()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # where libtiff says what it finds wrong
    _clock = _Clock()
    threading.Thread(target=_end_with_the_parent, name="clipsearch-parent", daemon=True).start()
    _end_amid_work()
    _turn = FileLock(turn)
    be_one_of(workers, max_pixels)
