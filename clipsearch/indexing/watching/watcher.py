"""Follow folders, and look again at what changed in them.

    watchdog -> News -> [until it is quiet] -> targets -> look

What changed is only ever a hint where to look: what is new, moved or gone is what the plan finds
there, as in any index run. So events may come twice, late or in any order, and where none can
be had, looking now and then does the same.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from threading import Event

from clipsearch.errors import LibraryBusy
from clipsearch.indexing.plan import Anchor, Plan, Ready, Target
from clipsearch.indexing.watching.arrivals import Arrivals, Retries
from clipsearch.indexing.watching.folders import Notes, WatchedFolders
from clipsearch.indexing.watching.news import News
from clipsearch.photos.files.urls import is_below, joined, path_below
from clipsearch.store.catalog import Catalog, root_of

log = logging.getLogger("clipsearch")

# Both halves of a move from one followed folder to another come within half a second.
QUIET = 0.6  # seconds without news before a look
LONGEST = 1.2  # seconds after which a look is taken though there is no end of news

# How often the folders themselves are looked for. A mount, or its end, is told by no event.
HEARTBEAT = 1.0  # seconds
# How often files that are being written are looked at, where their end is not told.
RECHECK = 0.5  # seconds

# So many folders that something happened in cost more than one look at all.
MANY = 1000

# Looks at the targets and does what that asks for; gives the plan that it made. The targets are
# to be asked for when no other process can write any more.
Look = Callable[[Callable[[], Sequence[Target]], Ready], Plan]


class Watcher:
    """Keeps the catalog as the folders are, from the first look until it is stopped.

    `paths` are the real paths of those to follow; None follows what the catalog has as roots, also
    those that come later. With `poll` they are looked at every so many seconds, and nothing else.
    """

    def __init__(
        self, catalog: Catalog, paths: Sequence[str] | None, look: Look, poll: float | None
    ) -> None:
        self._catalog = catalog
        self._look_at = look
        self._news = News()
        self._notes = Notes()
        self._folders = WatchedFolders(catalog, paths, poll, self._news, self._notes)
        self._touched: dict[str, bool] = {}  # folders to look at; whether with all below
        self._arrivals = Arrivals(self._folders.is_remote)
        self._retries = Retries()
        self._unread: set[str] = set()  # folders that could not be listed
        self._is_waiting = False  # for another process that writes

    def run(self, stop: Event) -> None:
        """Look, and look again at whatever changes, until `stop` is set."""
        try:
            while not stop.is_set():
                self._take_news()
                self._folders.mind_mounts()
                self._mind_failures()
                self._folders.mind()
                if self._touched or self._folders.due():
                    self._settle(stop)
                    self._look(stop)
                self._news.arrived.wait(self._patience())
        finally:
            self._folders.close()

    # When to look

    def _take_news(self) -> None:
        changes = self._news.take()
        self._arrivals.closed |= changes.closed
        for folder, deep in changes.folders.items():
            self._touched[folder] = deep or self._touched.get(folder, False)
        for path in self._arrivals.complete():
            self._touched.setdefault(os.path.dirname(path), False)
        if changes.overflowed:
            self._notes.tell(
                "more changed at once than the system can tell of: looking at everything"
            )
        self._folders.take(changes)

    def _mind_failures(self) -> None:
        """Have looked at again what could not be read for a passing reason, and now may be."""
        for path in self._retries.due(self._unreadable):
            watched = self._folders.above(path)
            if watched and path in self._unread:
                watched.is_new = True  # of what was closed nothing has been told either
            else:
                self._touched.setdefault(os.path.dirname(path), False)

    def _unreadable(self) -> Iterator[str]:
        """The files and folders, but for those that are looked at every now and then anyway."""
        for path in [*self._catalog.passing_failures(), *self._unread]:
            watched = self._folders.above(path)
            if watched and watched.inode is not None and not watched.poll:
                yield path

    def _settle(self, stop: Event) -> None:
        """Wait until no news came for a while, or did not stop coming."""
        first = time.monotonic()
        while not stop.is_set():
            wait = min(self._news.last + QUIET, first + LONGEST) - time.monotonic()
            if wait <= 0:
                break
            stop.wait(wait)
        self._take_news()

    def _patience(self) -> float:
        """Seconds to wait for news."""
        waits = [HEARTBEAT]
        if (until_due := self._folders.patience()) is not None:
            waits.append(until_due)
        if self._arrivals:
            waits.append(RECHECK)
        return max(0.0, min(waits))

    # Looks

    def _look(self, stop: Event) -> None:
        self._sort_touched()
        due = self._folders.due()
        if stop.is_set() or not (due or self._touched):
            return
        started = time.monotonic()
        try:
            plan = self._look_at(self._targets, self._arrivals.is_ready)
        except LibraryBusy as error:
            if not self._is_waiting:
                log.warning("%s", error)
            self._is_waiting = True
            return
        self._is_waiting = False
        self._touched.clear()
        self._arrivals.closed.clear()
        for problem in plan.said():
            self._notes.tell(problem)
        seen = [joined(target.root.path, target.below) for target in plan.targets]
        self._unread = {it for it in self._unread if not any(is_below(it, top) for top in seen)}
        self._unread.update(plan.unread)
        for watched in due:
            self._folders.looked_at(watched, plan, time.monotonic() - started)

    def _sort_touched(self) -> None:
        """Keep of the folders in which something happened those that are a look of their own."""
        for folder in list(self._touched):
            watched = self._folders.above(folder)
            if watched and watched.is_away and watched.inode:
                watched.is_due = True  # what it lacks may be on a drive that is not connected
            if not watched or watched.is_due or watched.inode is None:
                del self._touched[folder]
        if len(self._touched) > MANY:
            self._touched = {it.path: True for it in self._folders if not it.is_due}
        deep = {folder for folder, with_all in self._touched.items() if with_all}
        for folder in list(self._touched):
            if any(above in deep for above in _folders_above(folder)):
                del self._touched[folder]

    def _targets(self) -> list[Target]:
        roots = self._catalog.roots()
        targets = []
        for watched in self._folders.due():
            if root := root_of(watched.path, roots):
                targets.append(Target(root, path_below(watched.path, root.path)))
        for folder, deep in self._touched.items():
            above = self._folders.above(folder)
            if above and above.inode and (root := root_of(folder, roots)):
                anchor = Anchor(above.path, above.inode)
                targets.append(Target(root, path_below(folder, root.path), deep, anchor))
        return targets


def _folders_above(path: str) -> Iterator[str]:
    while (above := os.path.dirname(path)) != path:
        yield above
        path = above
