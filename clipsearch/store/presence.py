"""Which photos are there now, and which are on a drive, or in a folder, that is away.

Asked of folders and drives, for answers of any length; before files may be deleted, each is looked
at itself (photos/files/presence.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TypeVar

from clipsearch.photos.files.mounts import is_vacant, mount_points, mount_table, volume_at
from clipsearch.photos.files.urls import is_below, is_url, joined
from clipsearch.store.catalog import Catalog, Root, root_of

T = TypeVar("T")


class Presence:
    """Says of photos whether they are there; the disk is asked once for a root, when it is needed.

    A photo at a URL counts as there. Only where several drives had the same place, or it is not
    clear which one it shows, the photo's own file is looked for.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._roots = catalog.roots()
        self._places: dict[Root, list[tuple[str, bool | None]]] = {}
        self._folders: dict[str, bool | None] = {}  # what is so of all that lies right in them

    def of(self, path: str) -> bool:
        """Whether a photo, by its absolute path or URL, is there."""
        folder = path[: path.rfind("/") + 1]
        if folder not in self._folders:
            self._folders[folder] = self._is_there(path)
        there = self._folders[folder]
        return os.path.exists(path) if there is None else there

    def _is_there(self, path: str) -> bool | None:
        """Whether what lies in a photo's folder is there; None where each file is looked for."""
        root = root_of(path, self._roots)
        if root is None or is_url(root.path):
            return True
        if root not in self._places:
            self._places[root] = list(self._look(root))
        for folder, there in self._places[root]:
            if is_below(path, folder):
                return there
        return True

    def last(self, photos: Iterable[T], path_of: Callable[[T], str]) -> list[T]:
        """Photos that are equals otherwise, those that are away behind the others."""
        return sorted(photos, key=lambda photo: not self.of(path_of(photo)))

    def is_away(self, root: Root) -> bool:
        """Whether nothing of a root is there."""
        return not is_url(root.path) and is_vacant(root.path)

    def _look(self, root: Root) -> Iterable[tuple[str, bool | None]]:
        """Folders of which it is known whether their photos are there, the innermost first."""
        if self.is_away(root):
            yield root.path, False
            return
        points = mount_points(mount_table())
        # Names of file systems mean nothing on another machine than that where they were seen.
        elsewhere = self._catalog.is_read_only
        for path, volumes in sorted(
            self._catalog.seams(root.id).items(), key=lambda it: -len(it[0])
        ):
            now = volume_at(root.path, path, points)
            known = True if elsewhere or (now and volumes == {now}) else None
            yield joined(root.path, path), False if now is None else known
