"""Walk a folder, of this machine or at a URL, and list the photos below it."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from stat import S_ISREG
from typing import NamedTuple

from clipsearch.photos.files.inode import Inode, inode_of, mtime_of
from clipsearch.photos.files.urls import is_below, is_url, joined
from clipsearch.photos.scanning.listing import Found, Listing, OnError, list_at_url, list_folder
from clipsearch.photos.scanning.names import is_photo_name
from clipsearch.photos.scanning.rules import (
    DEFAULT_RULES,
    IGNORE_FILE,
    FolderRules,
    IgnoreFile,
    Rules,
    ScanRules,
    ignore_file,
    leaves_out,
    takes,
)
from clipsearch.photos.scanning.twins import without_twins

# A folder of a bucket takes a request, which is waited for: so many of them are under way at once.
_AHEAD = 8
_MOST_IGNORE_BYTES = 16 << 20

# Opening a folder once spares the system the way to it for every file in it.
_BY_DESCRIPTOR = os.scandir in os.supports_fd

OnPassedOver = Callable[[str], None]
OnSidecars = Callable[[Sequence[Found], Sequence[Found]], None]


def walk(
    root: str,
    below: str,
    on_error: OnError,
    rules: ScanRules | None = DEFAULT_RULES,
    elsewhere: Sequence[str] = (),
) -> Iterator[Found]:
    """Yield the photos of `root` at or below the folder `below` ("" is the whole root).

    A folder that cannot be listed goes to `on_error` with its path below the root, and the walk
    goes on. Links are followed only if the rules say so; then each file comes once, under its
    own name where that is met, else under the first link to it. Links to the folders `elsewhere`
    are left to walks of those. With no rules (None) ignore files are not heeded either.
    """
    return chain.from_iterable(walk_folders(root, below, on_error, rules, elsewhere))


def walk_folders(
    root: str,
    below: str,
    on_error: OnError,
    rules: ScanRules | None = DEFAULT_RULES,
    elsewhere: Sequence[str] = (),
    deep: bool = True,
    on_passed_over: OnPassedOver | None = None,
    inner: FolderRules | None = None,
    on_seam: Callable[[str], None] = lambda folder: None,
    on_folder: Callable[[str, Inode], None] = lambda folder, inode: None,
    on_sidecars: OnSidecars | None = None,
) -> Iterator[list[Found]]:
    """`walk`, giving the photos of each folder together; not `deep`, only of the folder `below`.

    `on_passed_over` gets the path below the root of each picture of a kind that is not read. In
    folders that have `inner` rules, a photo has to satisfy those too. A folder that lies on
    another device than the one above it goes to `on_seam` with its path below the root, and each
    folder of this machine to `on_folder` before what is in it. `on_sidecars` gets the photos of a
    folder of this machine in which files lie that may tell of them, and those.
    """
    walking = _RemoteWalk if is_url(root) else _Walk
    return walking(
        root,
        below,
        on_error,
        rules,
        elsewhere,
        deep,
        on_passed_over,
        inner or {},
        on_seam,
        on_folder,
        on_sidecars,
    ).folders()


class _Folder(NamedTuple):
    """A folder to list."""

    prefix: str  # its path below the root, ending in "/"; "" for the root itself
    ignores: tuple[IgnoreFile, ...]  # those of the folders above it, the outermost first
    rules: Rules
    device: int | None = None  # of the folder above it, if that was listed
    linked: bool = False  # reached through a link

    @property
    def path(self) -> str:
        """Its path below the root."""
        return self.prefix[:-1]


class _Walk:
    """One walk, and what it has to remember on the way."""

    def __init__(
        self,
        root: str,
        below: str,
        on_error: OnError,
        rules: ScanRules | None,
        elsewhere: Sequence[str],
        deep: bool,
        on_passed_over: OnPassedOver | None,
        inner: FolderRules,
        on_seam: Callable[[str], None],
        on_folder: Callable[[str, Inode], None],
        on_sidecars: OnSidecars | None,
    ) -> None:
        self._root = root
        self._below = below
        self._on_error = on_error
        self._on_passed_over = on_passed_over
        self._deep = deep
        self._heeding = rules is not None
        self._rules = Rules().narrowed("", rules or ScanRules(raw_too=True))
        self._inner = inner
        self._on_seam = on_seam
        self._on_folder = on_folder
        self._on_sidecars = on_sidecars
        # An explicit stack: a tree may be deeper than Python's recursion limit.
        self._pending: list[_Folder] = []
        # Only where links are followed:
        self._links: list[_Folder] = []  # looked at last, so that a file's own name is met first
        self._seen: set[Inode] = set()  # folders and photos
        self._elsewhere = elsewhere

    def folders(self) -> Iterator[list[Found]]:
        """Yield the photos of each folder."""
        if self._rules.follow_links or any(it.follow_links for it in self._inner.values()):
            self._seen.update(filter(None, map(inode_of, self._elsewhere)))
        try:
            self._pending += self._start()
        except OSError as error:
            self._on_error(self._below, error)
        yield from self._in_folders()
        while self._links:
            links, self._links = sorted(self._links), []
            for link in links:
                yield from self._behind(link)
                yield from self._in_folders()

    def _start(self) -> list[_Folder]:
        """The folder `below`, with the ignore files above it; nothing if those leave it out."""
        folder = _Folder("", (), self._rules)
        for name in self._below.split("/") if self._below else ():
            ignores = self._ignores_in(folder) if self._heeding else ()
            prefix = f"{folder.prefix}{name}/"
            if leaves_out(prefix, folder.rules, ignores):
                return []
            folder = _Folder(prefix, ignores, self._rules_in(prefix, folder))
        return [folder]

    def _rules_in(self, prefix: str, above: _Folder) -> Rules:
        own = self._inner.get(prefix[:-1])
        return above.rules.narrowed(prefix, own) if own else above.rules

    def _ignores_in(self, folder: _Folder) -> tuple[IgnoreFile, ...]:
        """The ignore files down to a folder that may have one."""
        if os.path.isfile(os.path.join(self._root, folder.path, IGNORE_FILE)):
            return self._with_ignore_file(folder)
        return folder.ignores

    def _in_folders(self) -> Iterator[list[Found]]:
        while self._pending:
            folder = self._pending.pop()
            try:
                listing = self._list(folder)
                photos = self._chosen(folder, listing)
            except OSError as error:
                self._on_error(folder.path, error)
                continue
            yield photos

    def _list(self, folder: _Folder) -> Listing:
        path = os.path.join(self._root, folder.path)
        if not _BY_DESCRIPTOR:
            return self._on_device(folder, path)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return self._on_device(folder, descriptor)
        finally:
            os.close(descriptor)

    def _on_device(self, folder: _Folder, opened: str | int) -> Listing:
        stat = os.stat(opened)
        device = stat.st_dev
        if folder.device is not None and device != folder.device:
            self._on_seam(folder.path)
        self._on_folder(folder.path, (device, stat.st_ino))
        listing = list_folder(opened, folder.prefix, folder.rules.follow_links, self._on_error)
        return listing._replace(device=device)

    def _chosen(self, folder: _Folder, listing: Listing) -> list[Found]:
        """The photos of a folder that the rules take; its subfolders are put on the stack."""
        photos, ignores, rules = listing.photos, folder.ignores, folder.rules
        if listing.has_ignore_file and self._heeding:
            ignores = self._with_ignore_file(folder)
        if rules.follow_links and not is_url(self._root):
            photos = self._unseen(folder, listing)
        if ignores or rules.patterns:
            photos = [photo for photo in photos if takes(photo.path, rules, ignores)]
        if listing.has_twins:
            photos = list(without_twins(photos, rules.raw_too))
        if listing.sidecars and photos and self._on_sidecars:
            self._on_sidecars(photos, listing.sidecars)
        if listing.others and self._on_passed_over:
            for path in listing.others:
                if takes(path, rules, ignores):
                    self._on_passed_over(path)
        if not self._deep:
            return photos
        for prefix in listing.folders:
            if not leaves_out(prefix, rules, ignores):
                own = self._rules_in(prefix, folder) if self._inner else rules
                self._pending.append(_Folder(prefix, ignores, own, listing.device, folder.linked))
        self._links += [
            _Folder(f"{path}/", ignores, rules, listing.device, True) for path in listing.links
        ]
        return photos

    # Links

    def _unseen(self, folder: _Folder, listing: Listing) -> list[Found]:
        """The photos of a folder, without those that a link shows a second time."""
        own = inode_of(os.path.join(self._root, folder.path))
        if folder.linked and own in self._seen:
            listing.folders.clear()  # each folder once: no loop can arise
            listing.links.clear()
            listing.others.clear()
            return []
        if own:
            self._seen.add(own)
        pairs = list(zip(listing.photos, listing.inodes, strict=True))
        fresh = [photo for photo, inode in pairs if not (folder.linked and inode in self._seen)]
        self._seen.update(listing.inodes)
        return fresh

    def _behind(self, link: _Folder) -> Iterator[list[Found]]:
        """The photo that a link leads to; a folder is put on the stack."""
        path = os.path.join(self._root, link.path)
        try:
            stat = os.stat(path)
        except OSError as error:
            if not _is_deleted(path):
                self._on_error(link.path, error)
            return
        if self._is_covered(os.path.realpath(path)):
            return
        own = (stat.st_dev, stat.st_ino)
        if os.path.isdir(path):
            if not leaves_out(link.prefix, link.rules, link.ignores):
                self._pending.append(link)
        elif (
            is_photo_name(os.path.basename(path))
            and S_ISREG(stat.st_mode)
            and own not in self._seen
            and takes(link.path, link.rules, link.ignores)
        ):
            self._seen.add(own)
            yield [Found(link.path, stat.st_size, mtime_of(stat))]

    def _is_covered(self, real: str) -> bool:
        """Whether it is found without the link: in another root, or elsewhere in this one."""
        if any(is_below(real, root) for root in self._elsewhere):
            return True
        start = os.path.realpath(os.path.join(self._root, self._below))
        return is_below(real, os.path.realpath(self._root)) and not is_below(real, start)

    # Ignore files

    def _with_ignore_file(self, folder: _Folder) -> tuple[IgnoreFile, ...]:
        """The ignore files down to a folder that has one."""
        own = ignore_file(folder.prefix, self._read_ignore_file(folder))
        return (*folder.ignores, own) if own else folder.ignores

    def _read_ignore_file(self, folder: _Folder) -> bytes:
        with open(os.path.join(self._root, folder.path, IGNORE_FILE), "rb") as file:
            return file.read()


class _RemoteWalk(_Walk):
    """A walk at a URL, where there are no links, and folders are what names begin with."""

    def _in_folders(self) -> Iterator[list[Found]]:
        with ThreadPoolExecutor(_AHEAD, "clipsearch-list") as listers:
            asked = deque[tuple[_Folder, Callable[[], Listing]]]()
            while self._pending or asked:
                while self._pending and len(asked) < _AHEAD:
                    folder = self._pending.pop()
                    asked.append((folder, listers.submit(self._list, folder).result))
                folder, listed = asked.popleft()
                try:
                    photos = self._chosen(folder, listed())
                except OSError as error:
                    self._on_error(folder.path, error)
                    continue
                yield photos

    def _list(self, folder: _Folder) -> Listing:
        return list_at_url(self._root, folder.prefix)

    def _ignores_in(self, folder: _Folder) -> tuple[IgnoreFile, ...]:
        try:
            return self._with_ignore_file(folder)
        except FileNotFoundError:
            return folder.ignores

    def _read_ignore_file(self, folder: _Folder) -> bytes:
        from clipsearch.photos.files.remote import fetch

        return fetch(joined(self._root, folder.prefix + IGNORE_FILE), _MOST_IGNORE_BYTES)


def _is_deleted(link: str) -> bool:
    """Whether what a photo's link leads to was deleted, and is not just on a drive that is away."""
    folder = os.path.dirname(os.path.realpath(link))
    return is_photo_name(os.path.basename(link)) and os.path.isdir(folder)
