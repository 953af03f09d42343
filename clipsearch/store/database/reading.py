"""Read a catalog where nothing can be made beside it: on a read-only disk, or without rights.

SQLite's readers and writers agree through two files beside the catalog: the log of what was written
(`-wal`), and a map of it (`-shm`) that whoever reads may have to make.

    the map is there or can be made   -> SQLite itself sees what others write
    no log, or one without a page     -> the file as it stands, opened again once it has changed
    a log with pages and no map       -> a private copy with the log in it, made again likewise
"""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import threading
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote
from weakref import WeakValueDictionary, finalize

from clipsearch.ending import Scratch
from clipsearch.errors import LibraryError

log = logging.getLogger("clipsearch")

# What else may hold pages: the log, and what a crash leaves of a change that was made without one.
_JOURNALS = ("-wal", "-journal")
_LOG_HEADER = 32  # bytes; pages come after it
_FRAME_HEADER = 24  # bytes before each page
_CHANGES, _PAGES, _VALID_FOR = 24, 28, 92  # where page 1 has these numbers
_ATTEMPTS = 10  # at a file that somebody changes meanwhile

# What SQLite says where it cannot make the map, or bring in order what a writer left.
_NEEDS_TO_WRITE = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM)
_NO_ROOM = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL)
_BROKEN = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

_Stat = tuple[int, int, int, int, int] | None
State = tuple[_Stat, ...]  # of the file, its journals and the map of its log


class _Copy:
    """A catalog with its log in it, in a folder that goes away with the last who reads it."""

    def __init__(self, state: State) -> None:
        self.state = state
        scratch = Scratch()
        finalize(self, scratch.cleanup)
        self.file = Path(scratch.name) / "catalog.db"


@dataclass
class Reading:
    """A catalog's file, opened."""

    file: Path
    connection: sqlite3.Connection
    state: State | None = None  # of what is read; None where SQLite sees itself what is written
    copy: _Copy | None = None

    @property
    def is_outdated(self) -> bool:
        """Whether something was written since, which the connection does not see."""
        return self.state is not None and self.state != state_of(self.file)

    @property
    def is_torn(self) -> bool:
        """Whether what was read until now may be of two states of the file."""
        return self.copy is None and self.is_outdated

    def close(self) -> None:
        """Close the file."""
        self.connection.close()
        self.copy = None


_copies: WeakValueDictionary[Path, _Copy] = WeakValueDictionary()
_copying = threading.Lock()


def needs_to_write(error: sqlite3.Error) -> bool:
    """Whether a file could not be opened for want of the right, or the room, to write beside it."""
    return code_of(error) in (*_NEEDS_TO_WRITE, *_NO_ROOM)


def code_of(error: sqlite3.Error) -> int | None:
    """SQLite's primary result code; None for what Python's module says itself."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def state_of(file: Path) -> State:
    """Another value whenever something was written to a catalog's file or to its log."""
    return tuple(_stat(_beside(file, ending)) for ending in ("", *_JOURNALS, "-shm"))


def read_only(file: Path, shares: bool = True) -> Reading:
    """A catalog's file, opened without writing to it.

    Unless it `shares` the map of the log with those who write, which is for one machine, nothing
    is made beside it either.

    Raises:
        sqlite3.Error: it cannot be read, or is no database.
        LibraryError: there is no room for a copy that is needed.
    """
    for _ in range(_ATTEMPTS):
        try:
            if shares:
                return Reading(file, _connected(file, "mode=ro"))
        except sqlite3.OperationalError as error:
            if not needs_to_write(error):
                raise
        state = state_of(file)
        if not _has_pages(state):
            found = Reading(file, _connected(file, "immutable=1"), state)
        elif (copy := _copied(file, state)) is not None:
            found = Reading(file, _connected(copy.file, "immutable=1"), state, copy)
        else:
            continue
        if not found.is_outdated:
            return found
        found.close()
    raise LibraryError(f"{file} is changed faster than it can be read; try again")


def damage(file: Path) -> list[str]:
    """What SQLite finds wrong with a catalog's file, a line each, looked at by itself; all of it.

    Raises:
        sqlite3.Error: it cannot be read just now, which is no damage.
        LibraryError: it changes all the time, or there is no room for a copy that is needed.
    """
    for _ in range(_ATTEMPTS):
        try:
            with closing(read_only(file)) as reading:
                found = checked(reading.connection)
                if not reading.is_torn:
                    return found
        except sqlite3.DatabaseError as error:
            if code_of(error) not in _BROKEN:
                raise
            return [str(error)]
    raise LibraryError(f"{file} is changed faster than it can be read; try again")


def is_sound_alone(file: Path) -> bool:
    """Whether a catalog's file is sound without the log that lies beside it."""
    try:
        with closing(_connected(file, "immutable=1")) as connection:
            return not checked(connection)
    except sqlite3.Error:
        return False


def is_log_of_another(file: Path) -> bool:
    """Whether the log beside a catalog's file is surely of another, or of the file as it was later.

    As where a back-up was put in the place of a catalog, and the log of that was left. SQLite
    would write such pages into the file. Page 1 counts its own changes and has the number of
    pages: the first page 1 of a log is at most one change later, and one without has that number.
    """
    try:
        before = _log_begins(file)
        if before is None:
            return False
        with file.open("rb") as pages:
            head = pages.read(_VALID_FOR + 4)
        is_same = before == _log_begins(file)  # else others write meanwhile
    except OSError:
        return False
    changes, held = (int.from_bytes(head[at : at + 4]) for at in (_CHANGES, _PAGES))
    if not is_same or head[_VALID_FOR:] != head[_CHANGES:_PAGES]:
        return False
    return changes < before.changes - 1 if before.changes else held != before.pages


class _Begin(NamedTuple):
    """What a log begins with."""

    salts: bytes  # of this log alone
    changes: int  # that its first page 1 has counted; 0 where it has none
    pages: int  # of the file after the last commit before that


def _log_begins(file: Path) -> _Begin | None:
    """None for a log in which nothing was committed."""
    pages = 0
    with _beside(file, "-wal").open("rb") as log_file:
        header = log_file.read(_LOG_HEADER)
        size = _FRAME_HEADER + int.from_bytes(header[8:12])
        for start in count(_LOG_HEADER, size):
            log_file.seek(start)
            frame = log_file.read(_FRAME_HEADER + _PAGES)
            if len(frame) < _FRAME_HEADER + _PAGES or frame[8:16] != header[16:24]:
                break  # what follows is of a log before this one
            if int.from_bytes(frame[:4]) == 1:
                return _Begin(header[16:24], int.from_bytes(frame[-4:]), pages)
            pages = int.from_bytes(frame[4:8]) or pages
    return _Begin(header[16:24], 0, pages) if pages else None


def checked(connection: sqlite3.Connection) -> list[str]:
    """What SQLite finds wrong with a database, a line each; the whole of it is read."""
    found = [line for (line,) in connection.execute("PRAGMA quick_check(10)")]
    return [] if found == ["ok"] else found


def address_of(file: Path, how: str) -> str:
    """A file as SQLite takes it where it is told how to open it: "mode=ro"."""
    return f"file:{quote(os.fsencode(file.absolute()))}?{how}"


def _connected(file: Path, how: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        address_of(file, how), uri=True, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _has_pages(state: State) -> bool:
    _, wal, journal, _ = state
    return bool((wal and wal[2] > _LOG_HEADER) or (journal and journal[2]))


def _copied(file: Path, state: State) -> _Copy | None:
    """The copy of a state of the file; None if it is in that state no more."""
    with _copying:
        copy = _copies.get(file)
        if copy is None or copy.state != state:
            copy = _Copy(state)
            _take_copy(file, copy.file)
            if state_of(file) != state:
                return None
            _fold(copy.file, file)
            _copies[file] = copy
        return copy


def _take_copy(file: Path, target: Path) -> None:
    import shutil

    try:
        for ending in ("", *_JOURNALS):
            if _beside(file, ending).exists():
                shutil.copyfile(_beside(file, ending), _beside(target, ending))
    except FileNotFoundError:
        return  # it was just put in order, which its state tells
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise LibraryError(
            f"the log beside {file} can be read only from a copy of both, for which {target.parent}"
            " has no room; set TMPDIR to a folder that has"
        ) from error


def _fold(copy: Path, file: Path) -> None:
    """Take a copy's log into it, unless it is that of another catalog."""
    import shutil

    try:
        with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
            is_sound = connection.execute("PRAGMA integrity_check(1)").fetchall() == [("ok",)]
    except sqlite3.DatabaseError as error:
        if code_of(error) not in _BROKEN:
            raise
        is_sound = False
    if not is_sound and is_sound_alone(file):
        shutil.copyfile(file, copy)
        log.warning(
            "%s-wal is the log of another catalog, and is passed over; move it out of the folder",
            file,
        )


def _beside(file: Path, ending: str) -> Path:
    return file.with_name(file.name + ending)


def _stat(file: Path) -> _Stat:
    try:
        it = os.stat(file)
    except OSError:
        return None
    return it.st_dev, it.st_ino, it.st_size, it.st_mtime_ns, it.st_ctime_ns
