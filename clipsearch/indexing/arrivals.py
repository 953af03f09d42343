"""Which files are complete, and which are still being written and waited for."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator

from clipsearch.photos.scan import Found
from clipsearch.photos.urls import is_url

# Where the system does not say whether a file is being written: unchanged for so many seconds.
STILL = 1.0
# The clock of another machine may be wrong by this many seconds.
SKEW = 60.0

Stamp = tuple[int, int]  # size, mtime_ns


class Arrivals:
    """Says of new and changed files whether they are complete, and remembers those that are not.

    `is_remote` says of a path whether it lies on another machine.
    """

    def __init__(self, is_remote: Callable[[str], bool]) -> None:
        self.closed: set[str] = set()  # paths whose writer was seen to close them just now
        self._is_remote = is_remote
        self._waiting: dict[str, tuple[Stamp, float]] = {}  # as seen, and since when unchanged

    def __len__(self) -> int:
        """How many files are waited for."""
        return len(self._waiting)

    def is_ready(self, path: str, found: Found) -> bool:
        """Whether a file is complete; if not, it is waited for."""
        if is_url(path):
            return True  # stores show what was sent when it is there to its end
        stamp = (found.size, found.mtime_ns)
        remote = self._is_remote(path)
        writing = None if remote else is_open_for_writing(path)
        if writing is None:
            writing = path not in self.closed and not self._is_still(path, stamp, remote)
        if not writing:
            self._waiting.pop(path, None)
        elif self._waiting.get(path, (None,))[0] != stamp:
            self._waiting[path] = stamp, time.monotonic()
        return not writing

    def complete(self) -> Iterator[str]:
        """The files waited for that are complete by now; they are waited for no longer."""
        for path in list(self._waiting):
            try:
                stat = os.stat(path, follow_symlinks=False)
            except OSError:
                del self._waiting[path]
                continue
            if self.is_ready(path, Found(path, stat.st_size, stat.st_mtime_ns)):
                yield path

    def _is_still(self, path: str, stamp: Stamp, remote: bool) -> bool:
        age = time.time() - stamp[1] / 1e9
        before, since = self._waiting.get(path, (None, 0.0))
        seen_still = before == stamp and time.monotonic() - since >= STILL
        return seen_still or age >= (SKEW if remote else STILL)


if sys.platform == "linux":
    import fcntl

    def is_open_for_writing(path: str) -> bool | None:
        """Whether any process has a local file open for writing; None if that cannot be known."""
        try:
            file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        except OSError:
            return None
        try:
            # A lease to read is given only while nobody writes. Who opens the file meanwhile
            # waits for us, and the signal that says so must be one that ends no process.
            fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        except OSError as error:
            # Else: somebody else's file, or a file system without leases.
            return True if error.errno == errno.EAGAIN else None
        finally:
            os.close(file)
        return False
else:

    def is_open_for_writing(path: str) -> bool | None:
        """Whether any process has a local file open for writing; None if that cannot be known."""
        return None
