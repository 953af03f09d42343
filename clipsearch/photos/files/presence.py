"""Whether a photo's file is there at this moment, as it was indexed, and which file it is.

One file can have several names: hard links, links that are followed, and a folder that is seen at
two places. By device and inode it is one. Through two mounts of one share, or through an overlay,
the devices differ; then two names whose inode, size and all times agree count as one, too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from clipsearch.errors import PhotoError
from clipsearch.photos.files.inode import mtime_of
from clipsearch.photos.files.opening import Place, open_below
from clipsearch.photos.files.urls import is_url


class Seen(NamedTuple):
    """A file that is there."""

    marks: frozenset[object]  # two names with one of these in common are of one file
    names: int = 1  # that the file has: hard links, and the link that leads to it
    is_link: bool = False  # whether this name is such a link


class Looker:
    """Looks at files; a folder at a URL is listed once for all that lie in it."""

    def __init__(self) -> None:
        self._listings: dict[tuple[str, str], Mapping[str, tuple[int, int]]] = {}

    def __call__(self, place: Place) -> Seen | None:
        """What is there; None for what is gone, away, not to be read, or not as it was indexed."""
        return self._at_url(place) if is_url(place.root) else _on_disk(place)

    def _at_url(self, place: Place) -> Seen | None:
        folder, _, name = place.path.rpartition("/")
        key = (place.root, folder and f"{folder}/")
        if key not in self._listings:
            self._listings[key] = _listed(*key)
        is_same = self._listings[key].get(name) == (place.size, place.mtime_ns)
        return Seen(frozenset({(place.root, place.path)})) if is_same else None


def _on_disk(place: Place) -> Seen | None:
    try:
        with open_below(place).content as file:
            found = os.fstat(file.fileno())
        is_link = os.path.islink(os.path.join(place.root, place.path))
    except (PhotoError, OSError):
        return None
    if (found.st_size, mtime_of(found)) != (place.size, place.mtime_ns):
        return None
    times = (found.st_mtime_ns, found.st_ctime_ns)
    marks: set[object] = {(found.st_ino, found.st_size, *times)}
    if found.st_ino:  # which a few file systems have for none
        marks.add((found.st_dev, found.st_ino))
    return Seen(frozenset(marks), found.st_nlink + is_link, is_link)


def _listed(root: str, prefix: str) -> Mapping[str, tuple[int, int]]:
    """The size and mtime_ns of what lies in a folder at a URL; nothing if it cannot be asked."""
    from clipsearch.photos.files.remote import entries

    try:
        return {it.name: (it.size, it.mtime_ns) for it in entries(root, prefix)}
    except OSError:
        return {}
