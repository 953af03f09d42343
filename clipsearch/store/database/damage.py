"""Damage to a catalog, which is said only of what was verified."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from clipsearch.errors import LibraryError
from clipsearch.store.database.reading import damage, is_sound_alone


def told(file: Path, error: sqlite3.Error) -> LibraryError:
    """What to say of a catalog's file of which SQLite said that it is broken."""
    try:
        found = damage(file)
    except (sqlite3.Error, LibraryError, OSError):  # it is being written, or its disk is away
        found = []
    if found:
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
    log = file.with_name(f"{file.name}-wal")
    if log.exists() and is_sound_alone(file):
        return (
            f"{file} is sound, but the log beside it is not its own; move {log.name} and"
            f" {file.name}-shm to another folder, and run the same command again"
        )
    return (
        f"{file} is damaged or not a database ({what}).\n"
        f"{RESTORE.format(folder=file.parent)}; photos are never touched."
    )


# What helps where a catalog is damaged for sure, and nothing less does.
RESTORE = "Put a copy of the index in its place, or move {folder} away and index again"
