"""One writer at a time."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from clipsearch.errors import LibraryBusy

_MOMENT = 0.3  # seconds; who only asks whether it is held is done long before


@contextmanager
def write_lock(folder: Path, wait: float = 0) -> Iterator[None]:
    """Hold the right to write to an index folder; a killed process holds it no longer.

    Raises:
        LibraryBusy: another process holds it, still after `wait` seconds.
    """
    pid_file = folder / "index.pid"
    lock = FileLock(folder / "index.lock", timeout=max(wait, _MOMENT))
    try:
        lock.acquire()
    except Timeout as error:
        raise LibraryBusy(
            f"another clipsearch{_holder(pid_file)} is writing to {folder}; wait until it is done"
        ) from error
    try:
        pid_file.write_text(str(os.getpid()))
        yield
    finally:
        with suppress(OSError):
            pid_file.unlink()
        lock.release()


def is_held(folder: Path) -> bool:
    """Whether a process holds the right to write to an index folder, asked without waiting.

    The right to read will do, and nothing is written. Where it cannot be asked the answer is yes.
    """
    try:
        return _is_locked(folder / "index.lock")
    except FileNotFoundError:
        return False
    except OSError:
        return True


if sys.platform == "win32":

    def _is_locked(file: Path) -> bool:
        try:
            with FileLock(file, timeout=0):
                return False
        except Timeout:
            return True

else:

    def _is_locked(file: Path) -> bool:
        import fcntl

        with file.open("rb") as opened:
            try:
                fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False


def _holder(pid_file: Path) -> str:
    try:
        return f" (process {int(pid_file.read_text())})"
    except (OSError, ValueError):
        return ""
