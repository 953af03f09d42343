"""Open a photo's file below its root, and no other: not one that a link of today leads to."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import PurePath
from typing import BinaryIO, NamedTuple

from clipsearch.errors import FileUnreadable, PhotoError
from clipsearch.photos.files.inode import mtime_of
from clipsearch.photos.files.urls import is_url, joined

# A file is read whole; 256 megapixels of 16-bit RGB without compression take 1.5 GB.
MAX_BYTES = 2 << 30

# What a system says of a link, or of a folder that is none any more, where neither is followed.
_LINKS = (errno.ELOOP, errno.ENOTDIR, errno.EMLINK)


class Place(NamedTuple):
    """Where a photo's file is, and what tells that it is the file that was indexed."""

    root: str  # absolute, or a URL
    path: str  # below the root, with "/"
    size: int
    mtime_ns: int
    through_links: bool  # whether links below the root are looked behind


class OpenFile(NamedTuple):
    """A file to read, and what it is now."""

    content: BinaryIO
    size: int  # bytes
    mtime_ns: int


def open_below(place: Place) -> OpenFile:
    """Open a photo's file to read its bytes; the caller closes it.

    No link below the root is followed. Where links were meant to be, and where the root itself has
    become one, the file must be the one that was indexed, by its size and time.

    Raises:
        FileUnreadable: it is not there, or may not be read.
        PhotoError: it has become a link, a folder or a device, or is too large.
    """
    if is_url(place.root):
        from clipsearch.photos.files.remote import open_file

        return OpenFile(*open_file(joined(place.root, place.path)))
    if os.path.realpath(place.root) != place.root:  # which it was when it was indexed
        place = place._replace(through_links=True)
    try:
        if place.through_links or os.open not in os.supports_dir_fd:
            descriptor = os.open(os.path.join(place.root, place.path), _FLAGS)
        else:
            descriptor = _open_step_by_step(place.root, PurePath(place.path).parts)
    except OSError as error:
        if error.errno in _LINKS:
            raise PhotoError("it leads elsewhere by now, and links are not followed") from error
        if error.errno == errno.ENXIO:
            raise PhotoError("not a plain file") from error
        raise FileUnreadable(error.strerror or str(error)) from error
    try:
        found = os.fstat(descriptor)
        _check(place, found)  # before: of a folder no file is made
        file = os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise
    return OpenFile(file, found.st_size, mtime_of(found))


def read_below(place: Place) -> bytes:
    """The bytes of a photo's file, opened as `open_below` does.

    Raises:
        FileUnreadable, PhotoError: as `open_below`; or the file is empty.
    """
    if is_url(place.root):
        from clipsearch.photos.files.remote import read

        return read(joined(place.root, place.path), MAX_BYTES)
    with open_below(place).content as file:
        content = file.read()
    if not content:
        raise PhotoError("the file is empty")
    return content


# A pipe that nobody writes to would be waited for without end.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def _open_step_by_step(root: str, parts: tuple[str, ...]) -> int:
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in parts[:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        return os.open(parts[-1], _FLAGS | os.O_NOFOLLOW, dir_fd=folder)
    finally:
        os.close(folder)


def _check(place: Place, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise PhotoError("not a plain file")
    if found.st_size > MAX_BYTES:
        raise PhotoError(f"larger than the limit of {MAX_BYTES >> 30} GB")
    is_the_same = (found.st_size, mtime_of(found)) == (place.size, place.mtime_ns)
    if (place.through_links or os.open not in os.supports_dir_fd) and not is_the_same:
        raise PhotoError("it is not the file that was indexed; clipsearch index looks at it again")
