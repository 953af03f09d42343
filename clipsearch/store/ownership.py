"""Whose a folder is, and a file in it: told by what is in them, and never by their names alone."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from clipsearch.replacing import is_unfinished
from clipsearch.store.database import APPLICATION_ID, FILE_NAME

# What systems put into folders by themselves, and nobody misses or touches.
_OF_SYSTEMS = (".DS_Store", "lost+found", "System Volume Information")
_SQLITE, _JOURNAL = b"SQLite format 3\0", bytes.fromhex("d9d505f920a163d7")
_VECTORS = re.compile(r"[0-9]+-[A-Za-z0-9._-]+\.(f16|ids|ann|labels)(\.new|\.before)?")


def holds_catalog(folder: Path) -> bool:
    """Whether a catalog of clipsearch is in a folder: a file, and no link to one elsewhere."""
    head = _head(folder / FILE_NAME, 72)
    is_ours = head[68:] == APPLICATION_ID.to_bytes(4)  # where SQLite keeps that number
    return head.startswith(_SQLITE) and is_ours


def others_in(folder: Path) -> list[str]:
    """The names in a folder, which holds no catalog, of what is somebody else's, sorted.

    Not among them is what is left where the making of an index or of a copy was stopped.
    """
    others = [entry.name for entry in os.scandir(folder) if not _is_left(Path(entry.path))]
    # What went meanwhile was of somebody who makes an index here at this moment.
    return sorted(name for name in others if os.path.lexists(folder / name))


def is_vectors(file: Path) -> bool:
    """Whether a file of a folder `vectors`, beside a catalog, is one of clipsearch's."""
    return _VECTORS.fullmatch(file.name) is not None and _is_file(file)


def _is_left(path: Path) -> bool:
    name = path.name
    if name in _OF_SYSTEMS or is_unfinished(name):
        return True
    if name in ("index.lock", FILE_NAME):
        return _is_file(path) and not path.stat().st_size
    if name == "index.pid":
        return _is_file(path) and re.fullmatch(rb"[0-9]*", _head(path, 20)) is not None
    if name == f"{FILE_NAME}-journal":
        head = _head(path, len(_JOURNAL))  # zeros until SQLite has synced what follows
        return _is_file(path) and (_JOURNAL.startswith(head) or not head.strip(b"\0"))
    return False


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _head(path: Path, size: int) -> bytes:
    """A file's first bytes; none of what is no file, or cannot be read."""
    if not _is_file(path):
        return b""
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError:
        return b""
