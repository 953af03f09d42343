"""What the catalog holds of the photos of a target, read only where the disk may show others.

Most folders are as they were. The catalog keeps a digest of each folder's listing, when that was
all it held of the folder (migration m020): one that shows the same again needs no look at more.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Collection, Sequence

from clipsearch.photos.scanning.listing import Found
from clipsearch.store.catalog import Catalog, Listing

Version = tuple[str, int, int]  # path below the root, size, mtime_ns

_FEW = 200  # folders that are read one by one; of more, all are at once


def folder_of(path: str) -> str:
    """The folder that a photo lies right in, both below the root."""
    return path.rpartition("/")[0]


class Versions:
    """The versions of photos in a part of a root: those that the disk shows are taken out."""

    def __init__(
        self,
        catalog: Catalog,
        model_id: int | None,
        lying: tuple[int, str, bool],
        failed: Collection[str],
        doubts_all: bool,
        by_listings: bool,
    ) -> None:
        """The part is (the root's id, what lies below, whether deep).

        In doubt is a photo that the model has not embedded or that `failed`, or `doubts_all`.
        Listings are taken for known, `by_listings`, only of a whole root in which each folder is
        shown once.
        """
        self._catalog, self._model_id, self._lying = catalog, model_id, lying
        self._doubts_all = doubts_all or model_id is None
        self._by_listings = by_listings and not self._doubts_all
        # A million of these take memory.
        self.left: set[Version] = set()  # what the disk did not show yet; of folders that were read
        self.same: set[str] = set()  # folders that show photos which are as they were
        self._doubted = set(failed)
        self._known: dict[str, Listing] = {}  # of folders that need not be read, till they are met
        self._learnt: dict[str, Listing] = {}
        self._bare: set[str] = set()  # folders of which the catalog keeps what is nothing by now
        root_id, below, deep = lying
        listings: dict[str, Listing | None] = {}
        unknown: set[str] = set()
        if self._by_listings:
            listings = catalog.listings(root_id, model_id)
            unknown = catalog.without_listing(root_id).union(map(folder_of, failed))
        for folder, listing in listings.items():
            if listing and folder not in unknown:
                self._known[folder] = listing
            else:
                unknown.add(folder)
        if not self._known or len(unknown) > _FEW:
            self._known.clear()
            self._read(below, deep)
        else:
            for folder in unknown:
                self._read(folder)
        if listings.keys() > self._known.keys():
            self._bare = listings.keys() & unknown
            self._bare.difference_update(folder_of(path) for path, _, _ in self.left)
        self.held = len(self.left) + sum(listing.photos for listing in self._known.values())

    def _read(self, folder: str, deep: bool = False) -> None:
        root_id, _, _ = self._lying
        self.left |= self._catalog.versions(root_id, folder, deep)
        if not self._doubts_all:
            self._doubted |= self._catalog.without_vector(self._model_id, root_id, folder, deep)

    def differing(self, photos: Sequence[Found]) -> Sequence[Found]:
        """Of the photos that a folder shows, those that differ or are in doubt."""
        folder = folder_of(photos[0].path)
        digest = _digest(photos) if self._by_listings else None
        if known := self._known.pop(folder, None):
            if known.digest == digest:
                self.same.add(folder)
                return ()
            self._read(folder)
        # A version and a Found are equal tuples.
        differing = [it for it in photos if it not in self.left or self._is_doubted(it)]
        before = len(self.left)
        self.left.difference_update(photos)
        if len(self.left) < before:
            self.same.add(folder)
        if digest and not differing:
            self._learnt[folder] = Listing(len(photos), digest)
        return differing

    def _is_doubted(self, photo: Found) -> bool:
        return self._doubts_all or photo.path in self._doubted

    def read_rest(self) -> None:
        """Read the folders that the disk did not show; then all of what it did not is left."""
        for folder in self._known:
            self._read(folder)
        self._known.clear()

    def learnt(self) -> tuple[dict[str, Listing], set[str]]:
        """After the rest was read: the listings to be remembered, and folders to be forgotten."""
        for path, _, _ in self.left:
            self._learnt.pop(folder_of(path), None)
        return self._learnt, self._bare


def _digest(photos: Sequence[Found]) -> bytes | None:
    """Of a listing in its order, which the system keeps; None where a path is not text."""
    paths, sizes, times = zip(*photos, strict=True)
    try:
        digest = hashlib.blake2b("\0".join(paths).encode(), digest_size=16)
    except UnicodeEncodeError:
        return None
    digest.update(array("q", sizes))
    digest.update(array("q", times))
    return digest.digest()
