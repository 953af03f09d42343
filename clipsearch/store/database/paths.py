"""Paths as the catalog keeps them, and where they are on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping

from clipsearch.photos.files.urls import is_below


def mounted_at(root: str, mounts: Mapping[str, str]) -> str:
    """Where a root is here, by where folders that hold it are mounted; the longest one counts."""
    holders = [folder for folder in mounts if is_below(root, folder)]
    if not holders:
        return root
    holder = max(holders, key=len)
    below = os.path.relpath(root, holder)
    return mounts[holder] if below == "." else os.path.join(mounts[holder], below)


def to_db(path: str) -> str | bytes:
    """Text, or the raw bytes of a name that is not valid UTF-8."""
    try:
        path.encode()
        return path
    except UnicodeEncodeError:
        return os.fsencode(path)


def from_db(path: str | bytes) -> str:
    """The opposite of `to_db`."""
    return path if isinstance(path, str) else os.fsdecode(path)
