"""What lies right in a folder, of this machine or at a URL: photos, folders and the rest."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

from clipsearch.errors import LARGEST
from clipsearch.photos.files.inode import Inode, mtime_of
from clipsearch.photos.scanning.names import (
    EXTENSIONS,
    PASSED_OVER,
    SECOND,
    extension_of,
    is_photo_name,
    is_sidecar_name,
    is_skipped_folder,
)
from clipsearch.photos.scanning.rules import IGNORE_FILE

_LOOKED_AT = 2000  # files that tell whether a folder is one of photos
_SOME = 3  # photos

OnError = Callable[[str, OSError], None]  # gets a path below the root


class Found(NamedTuple):
    """One photo file as the disk shows it; a million of these must fit in memory."""

    path: str  # below the root, with forward slashes
    size: int  # bytes
    mtime_ns: int


class Listing(NamedTuple):
    """What lies right in a folder, names below the root."""

    photos: list[Found]
    inodes: list[Inode]  # of the photos; only where links are followed
    folders: list[str]  # prefixes
    links: list[str]
    others: list[str]  # pictures of kinds that are not read
    has_twins: bool  # whether some may show what another one of the folder does
    has_ignore_file: bool
    sidecars: Sequence[Found] = ()  # what may tell of photos that lie beside it
    device: int | None = None


def holds_photos(folder: str) -> bool:
    """Whether a folder is one of photos: most files in it and right below it are, and some are."""
    files = list(islice(_files_near(folder), _LOOKED_AT))
    photos = sum(map(is_photo_name, files))
    return photos >= _SOME and 2 * photos >= len(files)


def _files_near(folder: str) -> Iterator[str]:
    for inner in (folder, *_folders_in(folder)):
        with suppress(OSError), os.scandir(inner) as entries:
            yield from (it.name for it in entries if not it.is_dir() and it.name[0] != ".")


def _folders_in(folder: str) -> Iterator[str]:
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and not is_skipped_folder(entry.name):
                yield entry.path


def list_folder(folder: str | int, prefix: str, follow_links: bool, on_error: OnError) -> Listing:
    """What lies in a folder of this machine: a path, or the descriptor of one that is open."""
    photos: list[Found] = []
    inodes: list[Inode] = []
    folders: list[str] = []
    links: list[str] = []
    others: list[str] = []
    sidecars: list[Found] = []
    has_twins = has_ignore_file = False
    # A run over unchanged photos spends its time in this loop, so nothing is called that
    # need not be; Found's own constructor would take three times as long.
    new = tuple.__new__
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            extension = name[name.rfind(".") :].lower()
            try:
                if extension in EXTENSIONS and entry.is_file(follow_symlinks=False):
                    if name[0] == ".":
                        continue
                    stat = entry.stat(follow_symlinks=False)
                    mtime_ns = stat.st_mtime_ns
                    if mtime_ns > LARGEST:
                        mtime_ns = mtime_of(stat)
                    photos.append(new(Found, (prefix + name, stat.st_size, mtime_ns)))
                    if extension in SECOND:
                        has_twins = True
                    if follow_links:
                        inodes.append((stat.st_dev, stat.st_ino))
                elif entry.is_dir(follow_symlinks=False):
                    if not is_skipped_folder(name):
                        folders.append(f"{prefix}{name}/")
                elif name == IGNORE_FILE:
                    has_ignore_file = entry.is_file()
                elif is_sidecar_name(name) and entry.is_file(follow_symlinks=False):
                    stat = entry.stat(follow_symlinks=False)
                    sidecars.append(Found(prefix + name, stat.st_size, mtime_of(stat)))
                elif extension in PASSED_OVER and entry.is_file(follow_symlinks=False):
                    if name[0] != ".":
                        others.append(prefix + name)
                elif follow_links and entry.is_symlink() and not is_skipped_folder(name):
                    links.append(prefix + name)
            except FileNotFoundError:
                continue  # deleted between the listing and the look
            except OSError as error:
                on_error(prefix + name, error)
    return Listing(photos, inodes, folders, links, others, has_twins, has_ignore_file, sidecars)


def list_at_url(root: str, prefix: str) -> Listing:
    """What lies in a folder at a URL, where names begin with `prefix`."""
    from clipsearch.photos.files.remote import entries

    listing = Listing([], [], [], [], [], False, False)
    has_twins = has_ignore_file = False
    for entry in entries(root, prefix):
        name = entry.name
        if entry.is_folder:
            if not is_skipped_folder(name):
                listing.folders.append(f"{prefix}{name}/")
        elif is_photo_name(name):
            listing.photos.append(Found(prefix + name, entry.size, entry.mtime_ns))
            has_twins |= extension_of(name) in SECOND
        elif name == IGNORE_FILE:
            has_ignore_file = True
        elif name[:1] != "." and extension_of(name) in PASSED_OVER:
            listing.others.append(prefix + name)
    return listing._replace(has_twins=has_twins, has_ignore_file=has_ignore_file)
