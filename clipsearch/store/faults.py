"""What SQLite and the disk say, as errors a person can act on."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clipsearch.errors import INDEX_FOLDER, LibraryError, arg
from clipsearch.store.database import FILE_NAME, FORBIDDEN, damage
from clipsearch.store.database.reading import code_of

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_ADVICE = f"name another folder with {arg(INDEX_FOLDER)}"


@contextmanager
def explained(folder: Path, advice: str = _ADVICE) -> Iterator[None]:
    """Turn faults of an index folder's files into LibraryError; `advice` if it is read-only."""
    try:
        yield
    except sqlite3.Error as error:
        raise _told(folder, error, advice) from error
    except OSError as error:
        if error.errno in _FULL:
            raise LibraryError(_full(folder)) from error
        if error.errno in FORBIDDEN:
            raise LibraryError(_forbidden(folder, error.strerror or "", advice)) from error
        raise


def _told(folder: Path, error: sqlite3.Error, advice: str) -> LibraryError:
    code = code_of(error)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return damage.told(folder / FILE_NAME, error)
    if code == sqlite3.SQLITE_FULL:
        return LibraryError(_full(folder))
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return LibraryError(_forbidden(folder, str(error), advice))
    return LibraryError(_passing(folder, code, str(error)))


def _passing(folder: Path, code: int | None, reason: str) -> str:
    """What to say of what is no damage."""
    if "no such" in reason:  # a table or a column
        return (
            f"the index in {folder} is of an older clipsearch, and is brought up to date only where"
            " it can be written: copy it to such a place, or open it once with the right to write"
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL):
        return f"{folder} is being written by another process; try again when it is done"
    if code == sqlite3.SQLITE_SCHEMA:
        return f"another clipsearch just changed the format of {folder}; run the same command again"
    if code == sqlite3.SQLITE_IOERR:
        return (
            f"the disk that holds {folder} could not be read or written ({reason}); see that it is"
            " there and has room, and run the same command again"
        )
    return (
        f"the catalog in {folder} could not be used ({reason}); run the same command again. If this"
        " stays, clipsearch doctor says whether the index is sound."
    )


def _full(folder: Path) -> str:
    return (
        f"the disk that holds {folder} is full. What was indexed so far is kept; make room and"
        " run the same command again."
    )


def _forbidden(folder: Path, reason: str, advice: str) -> str:
    files = [folder, *folder.glob(FILE_NAME + "*")]
    if closed := [file for file in files if not _is_readable(file)]:
        return f"{closed[0]} cannot be read ({reason}); ask for the right to, or {advice}"
    return f"{folder} cannot be written ({reason}); {advice}"


def _is_readable(file: Path) -> bool:
    return os.access(file, os.R_OK, effective_ids=os.access in os.supports_effective_ids)
