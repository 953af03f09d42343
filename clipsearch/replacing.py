"""Files and folders put in place whole: written beside, synced, renamed, and the folder synced.

Without the first sync a power cut can leave a name with nothing behind it, without the second one
the old name, or none.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clipsearch.errors import InvalidInput

# What is not finished has such a name, that nobody else gives: what a kill left is known by it.
_UNFINISHED = re.compile(r"\.clipsearch-[0-9a-f]{16}\.new")
# What systems and file systems say that have no sync of a folder, or not for who only reads it.
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF, errno.EACCES, errno.EPERM)


@contextmanager
def replacing(target: Path, lasting: bool = True) -> Iterator[Path]:
    """Where to write a new file, which becomes `target` when the block ends without an error.

    It has the permissions of a file that it replaces. Until then what is at `target` stays, and
    what was written is removed after an error. `lasting` is as for `put_in_place`.

    Raises:
        OSError: the disk is full or read-only.
    """
    fresh = unfinished(target.parent)
    try:
        yield fresh
        with suppress(FileNotFoundError):
            fresh.chmod(stat.S_IMODE(target.stat().st_mode))
        put_in_place(fresh, target, lasting)
    finally:
        with suppress(OSError):  # it is in place, was never begun, or the disk is gone
            fresh.unlink()


def put_in_place(fresh: Path, target: Path, lasting: bool = True) -> None:
    """Rename a complete file or folder to `target`, so that a power cut leaves the old or the new.

    A folder takes only the place of an empty one or of none. What is not `lasting` can be made
    again and tells by itself if it is damaged: it costs no sync.

    Raises:
        OSError: the disk is full or read-only, or a folder that holds something is at `target`.
    """
    if not lasting:
        os.replace(fresh, target)
        return
    if fresh.is_dir():
        for path in fresh.rglob("*"):
            sync(path)
    sync(fresh)
    os.replace(fresh, target)
    sync(target.parent)


def sync(path: Path) -> None:
    """Have a file's content, or the names in a folder, on the disk by the time this returns.

    Raises:
        OSError: the disk failed, or is full.
    """
    is_folder = path.is_dir()
    try:
        # Windows syncs only what is open for writing.
        descriptor = os.open(path, os.O_RDONLY if is_folder or os.name == "posix" else os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if not (is_folder and error.errno in _NO_SYNC):
            raise


def unfinished(folder: Path) -> Path:
    """A new name in a folder, for a file or a folder that is not finished yet."""
    return folder / f".clipsearch-{secrets.token_hex(8)}.new"


@contextmanager
def draft_folder(place: Path) -> Iterator[Path]:
    """A new folder in another, which is made if need be; what is there at the end is removed.

    Raises:
        OSError: the disk is full or read-only.
    """
    folder = unfinished(place)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_writable(folder: Path, name: str) -> None:
    """Raise InvalidInput unless a folder, which need not be there yet, can be written to.

    That is tried where it is or would be made, and nothing of it stays. `name` is what the error
    calls it.
    """
    there = next(place for place in (folder, *folder.absolute().parents) if os.path.exists(place))
    if not os.path.isdir(there):
        raise InvalidInput(f"{name} {folder} is or lies in a file, {there}; name another folder")
    try:
        with draft_folder(there):
            pass
    except OSError as error:
        raise InvalidInput(
            f"{name} {folder} cannot be written ({error.strerror or error}); name another folder"
        ) from error


def make_private(folder: Path) -> None:
    """Make a folder that is for its owner alone, unless it is there.

    Raises:
        OSError: it cannot be made.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)


def clear_unfinished(folder: Path) -> None:
    """Remove what was not finished in a folder that nobody else is writing to now."""
    for path in folder.iterdir():
        if is_unfinished(path.name):
            remove(path)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with all that it holds, as far as that can be."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def is_unfinished(name: str) -> bool:
    """Whether `unfinished` gave this name."""
    return _UNFINISHED.fullmatch(name) is not None
