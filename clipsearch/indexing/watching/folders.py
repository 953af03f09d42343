"""The watched folders: which they are, whether they are there, and how one learns of changes."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from clipsearch.indexing.plan import Plan
from clipsearch.indexing.watching.news import Changes, Follower, News
from clipsearch.photos.files.inode import Inode, inode_of
from clipsearch.photos.files.mounts import mount_points, mount_table, network_type
from clipsearch.photos.files.urls import is_below, is_url, joined, parts_of
from clipsearch.store.catalog import Catalog, root_of

log = logging.getLogger("clipsearch")

USUAL_POLL = 30.0  # seconds between looks where nothing tells of changes
URL_POLL = 300.0  # the same for a bucket, whose listings are paid for
LOOKING_SHARE = 0.1  # of the time at most goes into looks, unless asked for more

# What stands for every URL: whether something is there is told by the look itself.
_ELSEWHERE: Inode = (0, 0)


class Notes:
    """What a person is told while folders are watched: each line once."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def tell(self, line: str) -> None:
        """Say something, unless it was said."""
        if line not in self._told:
            self._told.add(line)
            log.warning("%s", line)

    def forget(self) -> None:
        """Let everything be said again."""
        self._told.clear()


@dataclass(slots=True)
class WatchedFolder:
    """A folder that is kept up to date with all below it."""

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


class WatchedFolders:
    """The folders that are to be watched, each by the means that suits it.

    `paths` and `poll` are as for the `Watcher`.
    """

    def __init__(
        self,
        catalog: Catalog,
        paths: Sequence[str] | None,
        poll: float | None,
        news: News,
        notes: Notes,
    ) -> None:
        self._catalog = catalog
        self._paths = paths
        self._poll = poll
        self._follower = Follower(news)
        self._notes = notes
        self._folders: dict[str, WatchedFolder] = {}
        self._mounts = mount_table()

    def __iter__(self) -> Iterator[WatchedFolder]:
        return iter(self._folders.values())

    def close(self) -> None:
        """Follow nothing any more."""
        self._follower.close()

    def above(self, path: str) -> WatchedFolder | None:
        """The one that a path is or lies below."""
        return next((it for it in self if is_below(path, it.path)), None)

    def is_remote(self, path: str) -> bool:
        """Whether a path lies in one on a network."""
        return any(it.is_remote and is_below(path, it.path) for it in self)

    def due(self) -> list[WatchedFolder]:
        """Those to be looked at as a whole."""
        return [folder for folder in self if folder.is_due]

    def patience(self) -> float | None:
        """Seconds until the next of them is due, by itself; None where none ever is."""
        polled = [it.next_look for it in self if it.is_polled() and not it.is_due]
        return min(polled) - time.monotonic() if polled else None

    # What comes and goes

    def mind(self) -> None:
        """Follow what is new, came back or was mounted, and leave what went away."""
        wanted = self._wanted()
        for path in self._folders.keys() - wanted:
            self._follower.unfollow(path)
            del self._folders[path]
        for path in wanted:
            folder = self._folders.setdefault(path, WatchedFolder(path))
            inode = _inode(path)
            if folder.is_new or inode != folder.inode:
                self._arrive(folder, inode)
        for folder in self:
            folder.is_due |= folder.is_polled() and time.monotonic() >= folder.next_look

    def mind_mounts(self) -> None:
        """Look anew at folders in which a drive was mounted, or went away: no event tells of it."""
        now = mount_table()
        if now == self._mounts:
            return
        before, self._mounts = self._mounts, now
        changed = mount_points(before).items() ^ mount_points(now).items()
        for folder in self:
            if any(is_below(point, folder.path) for point, _ in changed):
                self._notes.forget()
                folder.is_new = True

    def take(self, changes: Changes) -> None:
        """Mind what happened to them as wholes, or to what tells of their changes."""
        for folder in self:
            folder.is_new |= changes.lost or folder.path in changes.deleted
            if folder.path in changes.unwatched and not folder.poll:
                self._follower.unfollow(folder.path)
                self._start_to_poll(folder, "cannot be watched (inotify watch limit reached)")
                folder.is_due = True
            elif changes.unmounted and folder.inode and not folder.poll:
                self._follower.unfollow(folder.path)  # it may be back before it was missed
                self._follow(folder)

    def looked_at(self, folder: WatchedFolder, plan: Plan, seconds: float) -> None:
        """Remember of one that it was looked at as a whole, in so many seconds."""
        away = any(
            folder.path == joined(target.root.path, target.below) for target in plan.unplugged
        )
        if folder.is_away and not away:
            self._notes.forget()
            log.warning("%s is back", folder.path)
        folder.is_due, folder.is_away = False, away
        if folder.poll:
            share = 0.0 if self._poll else seconds / LOOKING_SHARE
            folder.next_look = time.monotonic() + max(folder.poll, share)

    def _wanted(self) -> list[str]:
        roots = self._catalog.roots()
        if self._paths is None:
            return [root.path for root in roots]
        return [path for path in self._paths if root_of(path, roots)]

    def _arrive(self, folder: WatchedFolder, inode: Inode | None) -> None:
        """A folder came or went: follow it if it is there, and have it looked at."""
        self._follower.unfollow(folder.path)
        gone = folder.inode is not None and inode is None
        if gone:
            folder.is_away = True
            log.warning("%s is not there; its photos are kept until it is back", folder.path)
        folder.is_due = not gone
        folder.is_new = False
        folder.inode = inode
        folder.poll, folder.is_remote = self._poll, False
        if inode is not None and not self._poll:
            self._choose_means(folder)

    # By what means

    def _choose_means(self, folder: WatchedFolder) -> None:
        if is_url(folder.path):
            self._start_to_poll(folder, f"is at a URL ({parts_of(folder.path)[0]})", URL_POLL)
            return
        network = network_type(folder.path)
        root = root_of(folder.path, self._catalog.roots())
        if network:
            folder.is_remote = True
            self._start_to_poll(folder, f"lies on a network ({network})")
        elif root and self._catalog.follows_links(root.id):
            self._start_to_poll(folder, "is indexed behind its links too")
        else:
            self._follow(folder)

    def _follow(self, folder: WatchedFolder) -> None:
        try:
            self._follower.follow(folder.path)
        except (FileNotFoundError, NotADirectoryError):
            folder.is_new = True  # it went away just now
        except OSError as error:
            self._start_to_poll(folder, f"cannot be watched ({error.strerror})")

    def _start_to_poll(self, folder: WatchedFolder, reason: str, poll: float | None = None) -> None:
        folder.poll = poll or USUAL_POLL
        self._notes.tell(f"{folder.path} {reason}: looking for changes every {folder.poll:.0f} s")


def _inode(folder: str) -> Inode | None:
    if is_url(folder):
        return _ELSEWHERE
    return inode_of(folder) if os.path.isdir(folder) else None
