"""What is away: photos that are not shown any more, and that nobody need have taken out.

A drive may be mounted inside an indexed folder. When it is not, the folder is empty, or missing,
or shows what lies beneath; or another drive is at its place. So the catalog remembers where file
systems meet below a root: by the folder where one begins, the names of those that its photos are
on. That of the root itself is among them, "" stands for what lies there without a mount, and
`_UNKNOWN` for what was there before anything was remembered. Where the name is another by now,
what is not shown is away and not gone. Some names say little, as numbers that drives get anew: by
such a one a file system is the same as before if it shows a photo that is known.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from clipsearch.photos.files.mounts import is_sure, is_vacant, volume_at, volume_of
from clipsearch.photos.files.urls import is_below, is_url, joined
from clipsearch.store.catalog import Root, Seams

_UNKNOWN = "?"

# What is said of a folder whose photos are away, by what is found there.
MISSING = "is missing, with {}"
EMPTY = "is empty where it held {}"
_BENEATH = "is not mounted, which held {}"
_ANOTHER = "shows another drive than that of {}"
_SEVERAL = "has held other things before, and does not show {} of those"


class Away(NamedTuple):
    """A folder whose photos are kept though they are not shown."""

    path: str  # absolute, or a URL
    state: str  # one of those above
    held: int  # photos

    def line(self, moved: int) -> str | None:
        """What to tell a person, so many of its photos having been found elsewhere."""
        left = self.held - moved
        if self.held and not left:
            return None
        if is_url(self.path):
            doubt = name = ""
        else:  # named, so that nothing else that is away goes with it
            doubt, name = " (a drive that is not connected?)", f" {shlex.quote(self.path)}"
        if not left:
            path = shlex.quote(self.path)
            return (
                f"{self.path} is missing{doubt}. If it is gone for good: clipsearch forget {path}"
            )
        photos = f"{left} photo{'s' if left > 1 else ''}"
        said = f"{self.path} {self.state.format(photos)}"
        return (
            f"{said}{doubt}; they are kept. If they are gone for good:"
            f" clipsearch index --prune{name}, or clipsearch forget{name}"
        )


@dataclass(slots=True)
class Sight:
    """The file systems below a root as they were remembered, and as a look finds them."""

    root: Root
    below: str  # the folder that is looked at
    deep: bool
    remembered: Seams
    points: dict[str, str]  # what is mounted where
    crossed: set[str] = field(default_factory=set)  # folders on another device than that above
    shown: set[str] = field(default_factory=set)  # folders with photos
    learnt: dict[str, frozenset[str]] = field(default_factory=dict)
    _before: dict[str, str | None] = field(default_factory=dict)

    def begin(self) -> None:
        """Look at the file systems before anything else is looked at."""
        self._before = {seam: self._now(seam) for seam in self.seams()}
        self.learnt = dict(self.remembered)

    def seams(self) -> list[str]:
        """The folders where file systems begin, as far as they matter, the innermost first."""
        mounted = (point for point in self.points if is_below(point, self.root.path))
        found = {point[len(self.root.path) :].strip("/") for point in mounted} if self.deep else ()
        wanted = {"", *self.remembered, *self.crossed, *found}
        return sorted(
            (it for it in wanted if is_below(it, self.below) or is_below(self.below, it)),
            key=len,
            reverse=True,
        )

    def is_the_same(self, seam: str, overlaps: bool) -> bool:
        """Whether a file system is that which was remembered, so that what it lacks is gone.

        `overlaps` is whether one of the photos that are known there is shown.
        """
        now, before = self._now(seam), self._volumes(seam)
        if now is None or self._before.get(seam, now) != now:
            return False
        if before == {now}:
            return overlaps or is_sure(now)
        return overlaps and self._may_be_renamed(before, now)

    def judge(self, seam: str, is_lacking: bool, overlaps: bool) -> str | None:
        """What is said of the photos of a file system that it lacks, if those are away.

        None says that it lacks none, or that they are gone, or changed.
        """
        now, before = self._now(seam), self._volumes(seam)
        if not is_lacking or self.is_the_same(seam, overlaps):
            self._learn(seam, now, overlaps)
            return None
        if now is not None and self.shows(seam):
            # Two from now on, also if they have one name: what is added is no sign of the first.
            before |= {_UNKNOWN if before == {now} else now}
        self.learnt[seam] = before
        return self._state(seam, now)

    def may_have_moved(self, seam: str) -> bool:
        """Whether photos of a file system that is not there may be what is found elsewhere.

        What is like those of a drive is a copy of them, unless that drive is at another place now.
        """
        own = self._volumes(seam) - {"", _UNKNOWN}
        volumes_of = self.learnt or self.remembered
        others = (volumes for other, volumes in volumes_of.items() if other != seam)
        return not seam or not own or any(own & volumes for volumes in others)

    def lacking(self) -> list[str]:
        """The folders of drives that are not there, of which nothing can be found elsewhere."""
        return [
            seam
            for seam in self.remembered
            if self._volumes(seam) != {self._now(seam)} and not self.may_have_moved(seam)
        ]

    def shows(self, seam: str) -> bool:
        """Whether photos were found on a file system."""
        return any(is_below(folder, seam) for folder in self.shown)

    def prune(self) -> None:
        """What is not shown is gone."""
        for seam in self.seams():
            self._learn(seam, self._now(seam), overlaps=False)

    def empty(self, folder: str) -> None:
        """A folder was found empty; what its photos are on begins there, from now on."""
        self.learnt.setdefault(folder, frozenset({""}))

    def _volumes(self, seam: str) -> frozenset[str]:
        known = self.remembered.get(seam)
        if known is None:
            return frozenset({"" if seam and "" in self.remembered else _UNKNOWN})
        return known

    @staticmethod
    def _may_be_renamed(before: frozenset[str], now: str) -> bool:
        is_one = len(before) == 1 and "" not in before and now != ""
        return is_one and not (is_sure(now) and all(map(is_sure, before)))

    def _learn(self, seam: str, now: str | None, overlaps: bool) -> None:
        # A look at a part of a file system tells nothing of the photos that lie elsewhere on it.
        is_whole = self.deep and is_below(seam, self.below)
        if not now or volume_at(self.root.path, seam, self.points) == "":
            if is_whole:
                self.learnt.pop(seam, None)  # none begins there
        elif self.shows(seam):
            is_known = is_whole or self.is_the_same(seam, overlaps)
            before = frozenset() if is_known else self._volumes(seam)
            if seam not in self.remembered:
                before -= {_UNKNOWN}
            self.learnt[seam] = before | {now}

    def _now(self, seam: str) -> str | None:
        now = volume_at(self.root.path, seam, self.points)
        if now == "" and seam in self.remembered:
            # A root that another took in is remembered by the name of what it lies on.
            name = volume_of(joined(self.root.path, seam), self.points)
            return name if name in self.remembered[seam] else now
        return now

    def _state(self, seam: str, now: str | None) -> str:
        if now is None:
            return EMPTY if os.path.isdir(joined(self.root.path, seam)) else MISSING
        before = self._volumes(seam)
        if now == "" and before - {"", _UNKNOWN}:
            return _BENEATH
        return _SEVERAL if now in before else _ANOTHER


def seam_of(path: str, seams: Iterable[str]) -> str:
    """The one of the seams, the innermost first, that a photo is below."""
    return next((seam for seam in seams if is_below(path, seam)), "")


def emptied(root: str, below: str, paths: Iterable[str]) -> dict[str, list[str]]:
    """Those of the photos that lay in a folder below another that has nothing in it by now.

    By the outermost such folder. What was deleted with its folder is not among them.
    """
    found: dict[str, list[str]] = {}
    states: dict[str, bool | None] = {}  # whether it is vacant; None for what is not there
    for path in paths:
        for folder in _folders_of(path, below):
            if folder not in states:
                absolute = joined(root, folder)
                states[folder] = is_vacant(absolute) if os.path.isdir(absolute) else None
            if states[folder]:
                found.setdefault(folder, []).append(path)
            if states[folder] is not False:
                break
    return found


def _folders_of(path: str, below: str) -> Iterator[str]:
    """The folders that a photo lies in below another, the outermost first."""
    start = len(below) + 1 if below else 0
    while (end := path.find("/", start)) != -1:
        yield path[:end]
        start = end + 1
