"""One writer at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from clipsearch.errors import LibraryBusy


@contextmanager
def write_lock(folder: Path, wait: float = 0) -> Iterator[None]:
    """Hold the right to write to an index folder; a killed process holds it no longer.

    Raises:
        LibraryBusy: another process holds it, still after `wait` seconds.
    """
    pid_file = folder / "index.pid"
    lock = FileLock(folder / "index.lock", timeout=wait)
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

    Who may not write there cannot ask, and is told yes.
    """
    try:
        with FileLock(folder / "index.lock", timeout=0):
            return False
    except (Timeout, OSError):
        return True


def _holder(pid_file: Path) -> str:
    try:
        return f" (process {int(pid_file.read_text())})"
    except (OSError, ValueError):
        return ""
