"""Which files are complete, which are still being written, and which may be readable by now."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from clipsearch.photos.files.inode import mtime_of
from clipsearch.photos.files.urls import is_url
from clipsearch.photos.scanning.listing import Found

# Where the system does not say whether a file is being written: unchanged for so many seconds.
STILL = 1.0
# The clock of another machine may be wrong by this many seconds.
SKEW = 60.0

# How often files and folders that could not be read are tried, at first and at the end.
SOONEST = 5.0  # seconds
LATEST = 3600.0
_TRYING_SHARE = 0.05  # of the time at most goes into seeing whether they can be opened

Version = tuple[int, int]  # size, mtime_ns


class Arrivals:
    """Says of new and changed files whether they are complete, and remembers those that are not.

    `is_remote` says of a path whether it lies on another machine.
    """

    def __init__(self, is_remote: Callable[[str], bool]) -> None:
        self.closed: set[str] = set()  # paths whose writer was seen to close them just now
        self._is_remote = is_remote
        self._waiting: dict[str, tuple[Version, float]] = {}  # as seen, and since when unchanged

    def __len__(self) -> int:
        """How many files are waited for."""
        return len(self._waiting)

    def is_ready(self, path: str, found: Found) -> bool:
        """Whether a file is complete; if not, it is waited for."""
        if is_url(path):
            return True  # stores show what was sent when it is there to its end
        version = (found.size, found.mtime_ns)
        remote = self._is_remote(path)
        writing = None if remote else is_open_for_writing(path)
        if writing is None:
            writing = path not in self.closed and not self._is_still(path, version, remote)
        if not writing:
            self._waiting.pop(path, None)
        elif self._waiting.get(path, (None,))[0] != version:
            self._waiting[path] = version, time.monotonic()
        return not writing

    def complete(self) -> Iterator[str]:
        """The files waited for that are complete by now; they are waited for no longer."""
        for path in list(self._waiting):
            try:
                stat = os.stat(path, follow_symlinks=False)
            except OSError:
                del self._waiting[path]
                continue
            if self.is_ready(path, Found(path, stat.st_size, mtime_of(stat))):
                yield path

    def _is_still(self, path: str, version: Version, remote: bool) -> bool:
        age = time.time() - version[1] / 1e9
        before, since = self._waiting.get(path, (None, 0.0))
        seen_still = before == version and time.monotonic() - since >= STILL
        return seen_still or age >= (SKEW if remote else STILL)


@dataclass(slots=True)
class _Closed:
    """Something that could not be read."""

    changed: int | None  # its ctime_ns, which rights that are given change
    due: float = 0.0  # when it is worth a look, in monotonic seconds, if it can be opened
    wait: float = SOONEST


class Retries:
    """Says which files and folders that could not be read, for a passing reason, can be by now.

    No event tells of rights that are given. What can be opened and still fails is looked at less
    and less often.
    """

    def __init__(self) -> None:
        self._closed: dict[str, _Closed] = {}
        self._next = 0.0

    def due(self, paths: Callable[[], Iterable[str]]) -> Iterator[str]:
        """Those of the paths, which are asked for now and then, that are worth a look."""
        started = time.monotonic()
        if started < self._next:
            return
        before, self._closed = self._closed, {}
        for path in paths():
            changed = _changed(path)
            seen = before.get(path)
            if seen is None or seen.changed != changed:
                seen = _Closed(changed)
            self._closed[path] = seen
            if started >= seen.due and _can_be_opened(path):
                seen.due = started + seen.wait
                seen.wait = min(2 * seen.wait, LATEST)
                yield path
        now = time.monotonic()
        self._next = now + max(SOONEST, (now - started) / _TRYING_SHARE)


def _changed(path: str) -> int | None:
    try:
        return os.stat(path, follow_symlinks=False).st_ctime_ns
    except OSError:
        return None


def _can_be_opened(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)))
    except PermissionError:
        return os.name == "nt" and os.path.isdir(path)  # which opens no folder
    except OSError:
        return False
    return True


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
