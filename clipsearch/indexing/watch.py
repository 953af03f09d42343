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
from dataclasses import dataclass
from threading import Event

from clipsearch.errors import LibraryBusy
from clipsearch.indexing.arrivals import Arrivals, Retries
from clipsearch.indexing.news import Follower, News
from clipsearch.indexing.plan import Anchor, Plan, Ready, Target
from clipsearch.photos.files.inode import Inode, inode_of
from clipsearch.photos.files.mounts import mount_points, mount_table, network_type
from clipsearch.photos.files.urls import is_url, joined, parts_of, path_below
from clipsearch.store.catalog import Catalog, Root
from clipsearch.store.database import is_below

log = logging.getLogger("clipsearch")

# Both halves of a move from one followed folder to another come within half a second.
QUIET = 0.6  # seconds without news before a look
LONGEST = 1.2  # seconds after which a look is taken though there is no end of news

# How often the folders themselves are looked for. A mount, or its end, is told by no event.
HEARTBEAT = 1.0  # seconds
# How often files that are being written are looked at, where their end is not told.
RECHECK = 0.5  # seconds

USUAL_POLL = 30.0  # seconds between looks where nothing tells of changes
URL_POLL = 300.0  # the same for a bucket, whose listings are paid for
LOOKING_SHARE = 0.1  # of the time at most goes into looks, unless asked for more

# What stands for every URL: whether something is there is told by the look itself.
_ELSEWHERE: Inode = (0, 0)

# So many folders that something happened in cost more than one look at all.
MANY = 1000

# Looks at the targets and does what that asks for; gives the plan that it made. The targets are
# to be asked for when no other process can write any more.
Look = Callable[[Callable[[], Sequence[Target]], Ready], Plan]


@dataclass(slots=True)
class _Place:
    """A followed folder."""

    path: str
    inode: Inode | None = None  # as it was last seen; None while it is not there
    is_new: bool = True  # or what tells of its changes was lost: to be followed anew
    is_due: bool = False  # to be looked at as a whole
    is_away: bool = False  # missing, or suddenly empty
    is_remote: bool = False
    poll: float | None = None  # seconds between looks, if nothing tells of changes
    next_look: float = 0.0  # if polled, in monotonic seconds

    def is_polled(self) -> bool:
        """Whether it is looked at every now and then."""
        return self.poll is not None and self.inode is not None


class Watcher:
    """Keeps the catalog as the folders are, from the first look until it is stopped.

    `folders` are the real paths to follow; None follows what the catalog has as roots, also those
    that come later. With `poll` they are looked at every so many seconds, and nothing else.
    """

    def __init__(
        self, catalog: Catalog, folders: Sequence[str] | None, look: Look, poll: float | None
    ) -> None:
        self._catalog = catalog
        self._folders = folders
        self._look_at = look
        self._poll = poll
        self._news = News()
        self._follower = Follower(self._news)
        self._places: dict[str, _Place] = {}
        self._touched: dict[str, bool] = {}  # folders to look at; whether with all below
        self._arrivals = Arrivals(self._is_remote)
        self._mounts = mount_table()
        self._retries = Retries()
        self._unread: set[str] = set()  # folders that could not be listed
        self._told: set[str] = set()
        self._is_waiting = False  # for another process that writes

    def run(self, stop: Event) -> None:
        """Look, and look again at whatever changes, until `stop` is set."""
        try:
            while not stop.is_set():
                self._take_news()
                self._mind_mounts()
                self._mind_failures()
                self._mind_places()
                if self._touched or any(place.is_due for place in self._places.values()):
                    self._settle(stop)
                    self._look(stop)
                self._news.arrived.wait(self._patience())
        finally:
            self._follower.close()

    # Which folders

    def _mind_places(self) -> None:
        """Follow what is new, came back or was mounted, and leave what went away."""
        wanted = self._wanted()
        for path in self._places.keys() - wanted:
            self._follower.unfollow(path)
            del self._places[path]
        for path in wanted:
            place = self._places.setdefault(path, _Place(path))
            inode = _inode(path)
            if place.is_new or inode != place.inode:
                self._arrive(place, inode)
        for place in self._places.values():
            place.is_due |= place.is_polled() and time.monotonic() >= place.next_look

    def _mind_mounts(self) -> None:
        """Look anew at folders in which a drive was mounted, or went away: no event tells of it."""
        now = mount_table()
        if now == self._mounts:
            return
        before, self._mounts = self._mounts, now
        changed = mount_points(before).items() ^ mount_points(now).items()
        for place in self._places.values():
            if any(is_below(point, place.path) for point, _ in changed):
                self._told.clear()
                place.is_new = True

    def _wanted(self) -> list[str]:
        roots = self._catalog.roots()
        if self._folders is None:
            return [root.path for root in roots]
        return [path for path in self._folders if _root_of(path, roots)]

    def _arrive(self, place: _Place, inode: Inode | None) -> None:
        """A folder came or went: follow it if it is there, and have it looked at."""
        self._follower.unfollow(place.path)
        gone = place.inode is not None and inode is None
        if gone:
            place.is_away = True
            log.warning("%s is not there; its photos are kept until it is back", place.path)
        place.is_due = not gone
        place.is_new = False
        place.inode = inode
        place.poll, place.is_remote = self._poll, False
        if inode is not None and not self._poll:
            self._choose_means(place)

    def _choose_means(self, place: _Place) -> None:
        if is_url(place.path):
            self._start_to_poll(place, f"is at a URL ({parts_of(place.path)[0]})", URL_POLL)
            return
        network = network_type(place.path)
        root = _root_of(place.path, self._catalog.roots())
        if network:
            place.is_remote = True
            self._start_to_poll(place, f"lies on a network ({network})")
        elif root and self._catalog.follows_links(root.id):
            self._start_to_poll(place, "is indexed behind its links too")
        else:
            self._follow(place)

    def _follow(self, place: _Place) -> None:
        try:
            self._follower.follow(place.path)
        except (FileNotFoundError, NotADirectoryError):
            place.is_new = True  # it went away just now
        except OSError as error:
            self._start_to_poll(place, f"cannot be watched ({error.strerror})")

    def _start_to_poll(self, place: _Place, reason: str, poll: float | None = None) -> None:
        place.poll = poll or USUAL_POLL
        self._tell(f"{place.path} {reason}: looking for changes every {place.poll:.0f} s")

    def _is_remote(self, path: str) -> bool:
        return any(it.is_remote and is_below(path, it.path) for it in self._places.values())

    def _mind_failures(self) -> None:
        """Have looked at again what could not be read for a passing reason, and now may be."""
        for path in self._retries.due(self._unreadable):
            place = self._place_of(path)
            if place and path in self._unread:
                place.is_new = True  # of what was closed nothing has been told either
            else:
                self._touched.setdefault(os.path.dirname(path), False)

    def _unreadable(self) -> Iterator[str]:
        """The files and folders, but for those that are looked at every now and then anyway."""
        for path in [*self._catalog.passing_failures(), *self._unread]:
            place = self._place_of(path)
            if place and place.inode is not None and not place.poll:
                yield path

    # What happened

    def _take_news(self) -> None:
        changes = self._news.take()
        self._arrivals.closed |= changes.closed
        for folder, deep in changes.folders.items():
            self._touched[folder] = deep or self._touched.get(folder, False)
        for path in self._arrivals.complete():
            self._touched.setdefault(os.path.dirname(path), False)
        if changes.overflowed:
            self._tell("more changed at once than the system can tell of: looking at everything")
        for place in self._places.values():
            place.is_new |= changes.lost or place.path in changes.deleted
            if place.path in changes.unwatched and not place.poll:
                self._follower.unfollow(place.path)
                self._start_to_poll(place, "cannot be watched (inotify watch limit reached)")
                place.is_due = True
            elif changes.unmounted and place.inode and not place.poll:
                self._follower.unfollow(place.path)  # it may be back before it was missed
                self._follow(place)

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
        polled = [it for it in self._places.values() if it.is_polled() and not it.is_due]
        waits = [place.next_look - time.monotonic() for place in polled]
        if self._arrivals:
            waits.append(RECHECK)
        return max(0.0, min([HEARTBEAT, *waits]))

    # Looks

    def _look(self, stop: Event) -> None:
        self._sort_touched()
        due = [place for place in self._places.values() if place.is_due]
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
            self._tell(problem)
        seen = [joined(target.root.path, target.below) for target in plan.targets]
        self._unread = {it for it in self._unread if not any(is_below(it, top) for top in seen)}
        self._unread.update(plan.unread)
        for place in due:
            self._looked_at(place, plan, time.monotonic() - started)

    def _sort_touched(self) -> None:
        """Keep of the folders in which something happened those that are a look of their own."""
        for folder in list(self._touched):
            place = self._place_of(folder)
            if place and place.is_away and place.inode:
                place.is_due = True  # what it lacks may be on a drive that is not connected
            if not place or place.is_due or place.inode is None:
                del self._touched[folder]
        if len(self._touched) > MANY:
            self._touched = {p.path: True for p in self._places.values() if not p.is_due}
        deep = {folder for folder, with_all in self._touched.items() if with_all}
        for folder in list(self._touched):
            if any(above in deep for above in _folders_above(folder)):
                del self._touched[folder]

    def _targets(self) -> list[Target]:
        roots = self._catalog.roots()
        targets = []
        for place in self._places.values():
            if place.is_due and (root := _root_of(place.path, roots)):
                targets.append(Target(root, path_below(place.path, root.path)))
        for folder, deep in self._touched.items():
            found = self._place_of(folder)
            if found and found.inode and (root := _root_of(folder, roots)):
                anchor = Anchor(found.path, found.inode)
                targets.append(Target(root, path_below(folder, root.path), deep, anchor))
        return targets

    def _place_of(self, folder: str) -> _Place | None:
        return next((it for it in self._places.values() if is_below(folder, it.path)), None)

    def _looked_at(self, place: _Place, plan: Plan, seconds: float) -> None:
        away = any(
            place.path == joined(target.root.path, target.below) for target in plan.unplugged
        )
        if place.is_away and not away:
            self._told.clear()
            log.warning("%s is back", place.path)
        place.is_due, place.is_away = False, away
        if place.poll:
            share = 0.0 if self._poll else seconds / LOOKING_SHARE
            place.next_look = time.monotonic() + max(place.poll, share)

    def _tell(self, line: str) -> None:
        """Say something, once."""
        if line not in self._told:
            self._told.add(line)
            log.warning("%s", line)


def _inode(folder: str) -> Inode | None:
    if is_url(folder):
        return _ELSEWHERE
    return inode_of(folder) if os.path.isdir(folder) else None


def _root_of(path: str, roots: Sequence[Root]) -> Root | None:
    return next((root for root in roots if is_below(path, root.path)), None)


def _folders_above(path: str) -> Iterator[str]:
    while (above := os.path.dirname(path)) != path:
        yield above
        path = above
