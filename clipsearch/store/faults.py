"""What SQLite and the disk say, as errors a person can act on."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clipsearch.errors import LibraryError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_ADVICE = "name another folder with --index"
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)


@contextmanager
def explained(folder: Path, advice: str = _ADVICE) -> Iterator[None]:
    """Turn faults of an index folder's files into LibraryError; `advice` if it is read-only."""
    try:
        yield
    except sqlite3.Error as error:
        raise LibraryError(_explain(folder, str(error), advice)) from error
    except OSError as error:
        if error.errno in _FULL:
            raise LibraryError(_full(folder)) from error
        if error.errno in _FORBIDDEN:
            raise LibraryError(_forbidden(folder, error.strerror or "", advice)) from error
        raise


def _explain(folder: Path, reason: str, advice: str) -> str:
    if "full" in reason:
        return _full(folder)
    if "readonly" in reason or "unable to open" in reason:
        return _forbidden(folder, reason, advice)
    if "no such table" in reason:
        return (
            f"the index in {folder} is of an older clipsearch, and is brought up to date only where"
            " it can be written: copy it to such a place, or open it once with the right to write"
        )
    if "locked" in reason:
        return f"{folder} is being written by another process; try again when it is done"
    return (
        f"the catalog in {folder} cannot be used: {reason}.\nIf this stays, move the folder away"
        " and index again; photos are never touched."
    )


def _full(folder: Path) -> str:
    return (
        f"the disk that holds {folder} is full. What was indexed so far is kept; make room and"
        " run the same command again."
    )


def _forbidden(folder: Path, reason: str, advice: str) -> str:
    return f"{folder} cannot be written ({reason}); {advice}"
