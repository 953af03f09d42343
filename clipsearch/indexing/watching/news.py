"""What happens on the disk, gathered from watchdog's threads."""

from __future__ import annotations

import errno
import logging
import os
import sys
import threading
import time
import warnings
from contextlib import suppress
from dataclasses import dataclass, field

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch

from clipsearch.photos.scanning.names import (
    is_photo_name,
    is_sidecar_name,
    is_skipped_folder,
)
from clipsearch.photos.scanning.rules import IGNORE_FILE

# A file that is written in pieces changes at each; on Linux its close is told, and that will do.
_WRITTEN = FileClosedEvent if sys.platform == "linux" else FileModifiedEvent
_EVENTS: list[type[FileSystemEvent]] = [
    *(FileCreatedEvent, FileDeletedEvent, FileMovedEvent, _WRITTEN),
    *(DirCreatedEvent, DirDeletedEvent, DirMovedEvent),
]

# What watchdog has to say is said here, in words of our own, or is of no use to anybody.
logging.getLogger("watchdog").addHandler(logging.NullHandler())
warnings.filterwarnings("ignore", "Callback with id", RuntimeWarning)


@dataclass(slots=True)
class Changes:
    """What changed: a storm of events on one file or in one folder is one entry."""

    folders: dict[str, bool] = field(default_factory=dict)  # path; whether with all below it
    closed: set[str] = field(default_factory=set)  # files that were just written to their end
    # Of the followed folders:
    deleted: set[str] = field(default_factory=set)  # themselves
    unwatched: set[str] = field(default_factory=set)  # the system has no room to tell of all
    unmounted: bool = False  # a file system went away from one of them
    lost: bool = False  # something happened that was not told
    overflowed: bool = False  # so, since it was more than the system keeps


class News:
    """Changes since they were last taken; any thread may add some."""

    def __init__(self) -> None:
        self.arrived = threading.Event()
        self.last = 0.0  # when something was added, in monotonic seconds
        self._lock = threading.Lock()
        self._changes = Changes()

    def touch(self, folder: str, deep: bool, closed: str | None = None) -> None:
        """Something happened in a folder, or (`deep`) to all that is below it."""
        with self._lock:
            self._changes.folders[folder] = deep or self._changes.folders.get(folder, False)
            if closed:
                self._changes.closed.add(closed)
            self._came()

    def delete(self, followed: str) -> None:
        """A followed folder itself was deleted."""
        with self._lock:
            self._changes.deleted.add(followed)
            self._came()

    def leave_unwatched(self, followed: str) -> None:
        """The system has no room to tell of all folders below a followed one."""
        with self._lock:
            self._changes.unwatched.add(followed)
            self._came()

    def unmount(self) -> None:
        """A file system went away, and with it what told of changes there."""
        with self._lock:
            self._changes.unmounted = True
            self._came()

    def lose(self) -> None:
        """Some events were lost."""
        with self._lock:
            self._changes.lost = True
            self._came()

    def overflow(self) -> None:
        """More happened at once than the system keeps until it is asked."""
        with self._lock:
            self._changes.lost = self._changes.overflowed = True
            self._came()

    def take(self) -> Changes:
        """What was added since this was last called."""
        with self._lock:
            self.arrived.clear()
            taken, self._changes = self._changes, Changes()
            return taken

    def _came(self) -> None:
        self.last = time.monotonic()
        self.arrived.set()


class Follower:
    """Has the system tell what happens below folders."""

    def __init__(self, news: News) -> None:
        self._news = news
        self._watches: dict[str, ObservedWatch] = {}
        self._observer: BaseObserver | None = None

    def follow(self, path: str) -> None:
        """Tell of what happens below a folder from now on.

        Raises:
            OSError: that cannot be had, at least not now.
        """
        if self._observer is None:
            self._observer = _observer(self._news)
            self._observer.start()
        self._watches[path] = self._observer.schedule(
            _Handler(path, self._news), path, recursive=True, event_filter=_EVENTS
        )

    def unfollow(self, path: str) -> None:
        """Tell of a folder no longer."""
        watch = self._watches.pop(path, None)
        if watch and self._observer:
            with suppress(KeyError):  # as below; the watches are given back by then
                self._observer.unschedule(watch)

    def close(self) -> None:
        """Tell of nothing any more."""
        for path in list(self._watches):
            self.unfollow(path)
        if self._observer:
            self._observer.stop()
            self._observer.join()


class _Handler(FileSystemEventHandler):
    """Sorts the events below one followed folder."""

    def __init__(self, followed: str, news: News) -> None:
        self._followed = followed
        self._news = news

    def dispatch(self, event: FileSystemEvent) -> None:
        for path in (event.src_path, event.dest_path):
            if path:
                self._sort_in(os.fsdecode(path), event)

    def _sort_in(self, path: str, event: FileSystemEvent) -> None:
        folder, name = os.path.split(path)
        if _is_left_out(folder, self._followed):
            return
        if path == self._followed:
            if isinstance(event, DirDeletedEvent):
                self._news.delete(path)
        elif event.is_directory:
            if not is_skipped_folder(name):
                self._news.touch(path, True)
        elif name == IGNORE_FILE:
            self._news.touch(folder, True)
        elif is_sidecar_name(name):
            self._news.touch(folder, False)
        elif is_photo_name(name):
            self._news.touch(folder, False, path if type(event) is FileClosedEvent else None)


def _is_left_out(folder: str, followed: str) -> bool:
    below = folder[len(followed) :]
    return any(is_skipped_folder(name) for name in below.split(os.sep) if name)


if sys.platform == "linux":
    from watchdog.observers.inotify import InotifyEmitter, InotifyWatchGroup
    from watchdog.observers.inotify_c import (
        CallbackId,
        InotifyConstants,
        InotifyEvent,
        InotifyFD,
        Mask,
        WatchCallback,
        WatchDescriptor,
    )

    class _Inotify(InotifyFD):
        """inotify, saying what watchdog keeps to itself, and sparing watches."""

        def __init__(self, news: News) -> None:
            super().__init__()
            self._news = news

        def add_callback(
            self, path: bytes, mask: Mask, callback: WatchCallback, id_: CallbackId
        ) -> WatchDescriptor:
            """Watch a folder; those that hold no photos are left out, as if they were not there."""
            assert isinstance(callback, InotifyWatchGroup)
            followed = os.fsdecode(callback.path)
            if _is_left_out(os.fsdecode(path), followed):
                raise FileNotFoundError
            try:
                return super().add_callback(path, mask, callback, id_)
            except OSError as error:
                if error.errno == errno.ENOSPC:
                    self._news.leave_unwatched(followed)
                raise

        def handle_event(self, event: InotifyEvent) -> None:
            """Pass an event on."""
            try:
                super().handle_event(event)
            except KeyError:
                # watchdog took two folders for one, after moves to and fro: all is set up anew.
                self._news.lose()
            if event.is_queue_overflow:
                self._news.overflow()
            elif event.mask & InotifyConstants.IN_UNMOUNT:
                self._news.unmount()

    class _InotifyObserver(BaseObserver):
        def __init__(self, inotify: InotifyFD) -> None:
            super().__init__(InotifyEmitter, inotify_fd=inotify)
            self._inotify = inotify

        def on_thread_stop(self) -> None:
            super().on_thread_stop()
            self._inotify.stop()
            self._inotify.join()

    def _observer(news: News) -> BaseObserver:
        inotify = _Inotify(news)
        inotify.start()
        return _InotifyObserver(inotify)
else:

    def _observer(news: News) -> BaseObserver:
        return Observer()
