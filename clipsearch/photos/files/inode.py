"""Which file or folder a path leads to, whatever it is called there, and when that was written."""

from __future__ import annotations

import os

from clipsearch.errors import LARGEST

Inode = tuple[int, int]  # device and inode, which no other file has


def inode_of(path: str) -> Inode | None:
    """What tells a file or folder from all others, whatever its name; None if it is not there."""
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def mtime_of(stat: os.stat_result) -> int:
    """When a file was written, in ns; after the year 2262 the last time that a catalog can hold."""
    return min(stat.st_mtime_ns, LARGEST)


def is_real_folder(root: str, below: str) -> bool:
    """Whether there is such a folder below a root, and not just a link to one."""
    path = root
    for name in below.split("/") if below else ():
        path = os.path.join(path, name)
        if os.path.islink(path):
            return False
    return os.path.isdir(path)
