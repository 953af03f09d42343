"""Damage to a catalog, which is said only of what was verified."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from pathlib import Path

from clipsearch.errors import LibraryError
from clipsearch.store.database.reading import address_of, damage, is_sound_alone

_spared: dict[Path, sqlite3.Connection] = {}


def told(file: Path, error: sqlite3.Error) -> LibraryError:
    """What to say of a catalog's file of which SQLite said that it is broken."""
    try:
        found = damage(file)
    except (sqlite3.Error, LibraryError, OSError):  # it is being written, or its disk is away
        found = []
    if found:
        _spare(file)
        return LibraryError(_advice(file, found[0]))
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_CORRUPT_VTAB:
        return LibraryError(
            f"what {file} knows of words is damaged; clipsearch index --verify writes it anew"
        )
    return LibraryError(
        f"{file} could not be read just now ({error}), but is sound as far as can be seen; run the"
        " same command again. If this stays, clipsearch doctor looks at all of it."
    )


def _advice(file: Path, what: str) -> str:
    if file.with_name(f"{file.name}-wal").exists() and is_sound_alone(file):
        return NOT_ITS_LOG.format(file=file, name=file.name)
    return (
        f"{file} is damaged or not a database ({what}).\n"
        f"{RESTORE.format(folder=file.parent)}; photos are never touched."
    )


def _spare(file: Path) -> None:
    """Have this process not write a log, which may be another catalog's, into the file.

    The last connection to be closed does, unless it may only read: one such stays open.
    """
    if file in _spared or not file.with_name(f"{file.name}-wal").exists():
        return
    with suppress(sqlite3.Error, OSError):
        address = address_of(file, "mode=ro")
        _spared[file] = sqlite3.connect(address, uri=True, check_same_thread=False)
        _spared[file].execute("PRAGMA schema_version")  # joins those that know of the log


# A back-up was put in the place of a catalog, and the log of that was left.
NOT_ITS_LOG = (
    "{file} is sound, but the log beside it is not its own; move {name}-wal and {name}-shm to"
    " another folder, and run the same command again"
)

# What helps where a catalog is damaged for sure, and nothing less does.
RESTORE = "Put a copy of the index in its place, or move {folder} away and index again"

EMPTIED = (
    "{file} is damaged: it is empty, though {beside} lies beside it.\n"
    f"{RESTORE}; photos are never touched."
)
