"""The catalog's file, a SQLite database: made, opened, and copied as a whole.

SQLite's write-ahead log is for the processes of one machine. A copy has none: it is a file that
nobody writes to until the next copy takes its place, so that many machines can read it where it
lies. It says itself what it is a copy of.
"""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from clipsearch.errors import INDEX_FOLDER, LibraryError, arg
from clipsearch.store.database import damage, fulltext, revisions
from clipsearch.store.database.paths import from_db, mounted_at, to_db
from clipsearch.store.database.reading import (
    Reading,
    is_log_of_another,
    is_sound_alone,
    needs_to_write,
    read_only,
)
from clipsearch.store.lock import write_lock

if TYPE_CHECKING:
    from clipsearch.progress import Progress

FILE_NAME = "catalog.db"
APPLICATION_ID = 0x636C6970  # "clip", so that `file` and we can tell whose database it is
FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)  # to write there
SCHEMA_VERSION = 20  # the number of migrations

_PATIENCE = 30.0  # seconds that a short write of another process is waited for
_STEPS_A_LOOK = 200_000  # of SQLite's virtual machine: some hundred looks a second


@dataclass(frozen=True, slots=True)
class Origin:
    """What a copy is of."""

    folder: str  # the index folder, where it was
    made: str  # "2024-05-01T12:00:00", local time where it was made


def make_database(folder: Path) -> sqlite3.Connection:
    """The database of `folder`, made or migrated first where that is needed.

    Raises:
        LibraryError: the file there is not ours, or a newer version made it.
    """
    file = folder / FILE_NAME
    check_not_emptied(folder)
    if is_log_of_another(file) and os.access(file, os.W_OK) and is_sound_alone(file):
        raise LibraryError(damage.NOT_ITS_LOG.format(file=file, name=file.name))
    # Another process's short write is waited for, not reported as "database is locked".
    connection = sqlite3.connect(
        file, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
    )
    try:
        if _version(connection, file) < SCHEMA_VERSION:
            # Somebody else may be making this very file: wait, and look again.
            with write_lock(folder, wait=60):
                if _version(connection, file) < SCHEMA_VERSION:
                    _migrate_patiently(connection)
        # With less, a power cut could take back commits, and with them ids already in use.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def check_not_emptied(folder: Path) -> None:
    """Raise LibraryError if a catalog is empty though it was begun, as what lies beside it tells.

    SQLite takes an empty file for a database that is to be made, and deletes the log beside it.
    """
    file = folder / FILE_NAME
    if _size(file) != 0:
        return
    beside = [*folder.glob("vectors/*"), *folder.glob("models/*"), folder / f"{FILE_NAME}-wal"]
    if kept := next((it for it in beside if _size(it)), None):
        lies = kept.relative_to(folder)
        raise LibraryError(damage.EMPTIED.format(file=file, beside=lies, folder=folder))


def _size(file: Path) -> int | None:
    """The bytes of a file; None where there is none."""
    try:
        return file.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return None


def open_database(folder: Path, writes: bool = True) -> Reading:
    """The database of `folder`, which must exist; the right to read will do.

    Unless it `writes`, nothing is written there, not even what SQLite needs beside a file.

    Raises:
        LibraryError: there is none, it is not ours, or a newer version made it.
    """
    file = folder / FILE_NAME
    if not file.is_file():
        raise LibraryError(f"{folder} holds no index; make one: clipsearch index FOLDER")
    try:
        if writes:
            return Reading(file, make_database(folder))
    except sqlite3.OperationalError as error:
        if not needs_to_write(error):
            raise
    except OSError as error:  # the lock, without which an older file is not migrated
        if error.errno not in FORBIDDEN:
            raise
    reading = _read_only(file, writes)
    try:
        _version(reading.connection, file)
    except BaseException:
        reading.close()
        raise
    return reading


def origin(connection: sqlite3.Connection) -> Origin | None:
    """What the database is a copy of, None where it is none."""
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'copied'").fetchone():
        return None
    folder, made = connection.execute("SELECT folder, made FROM copied").fetchone()
    return Origin(from_db(folder), made)


def index_id(connection: sqlite3.Connection) -> str:
    """What tells an index from all others; its copies have the same."""
    (id,) = connection.execute("SELECT id FROM library").fetchone()
    return str(id)


def mount(connection: sqlite3.Connection, mounts: Mapping[str, str]) -> None:
    """Have all questions answered with roots where they are mounted on this machine.

    From here on nothing about roots can be written.
    """

    def mounted(path: str | bytes) -> str | bytes:
        return to_db(mounted_at(from_db(path), mounts))

    connection.create_function("mounted", 1, mounted, deterministic=True)
    # What is temporary is found before what has the same name in the file.
    connection.execute(
        "CREATE TEMP VIEW roots AS SELECT id, mounted(path) AS path, rules FROM main.roots"
    )


def copy(
    connection: sqlite3.Connection,
    file: Path,
    source: Path | None,
    questions: Sequence[str],
    progress: Progress,
) -> None:
    """Write the database as it is at this moment to a new file, whatever is written meanwhile.

    With a `source`, an index folder, the file is marked as a copy of it; without, it is the
    database of an index of its own, whose vectors are in no engine yet. Of what was asked only
    `questions` are in it. `progress` gets bytes.
    """
    (total,) = connection.execute(
        "SELECT (page_count - freelist_count) * page_size"
        " FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
    ).fetchone()
    stopped: list[BaseException] = []

    def look() -> bool:
        try:
            progress(min(file.stat().st_size, total) if file.exists() else 0, total)
        except BaseException as error:  # SQLite would say no more of it than "interrupted"
            stopped.append(error)
        return bool(stopped)

    (locked,) = connection.execute("PRAGMA query_only").fetchone()
    connection.execute("PRAGMA query_only = OFF")  # which counts this as writing
    connection.set_progress_handler(look, _STEPS_A_LOOK)
    try:
        connection.execute("VACUUM INTO ?", (os.fspath(file),))
    except sqlite3.OperationalError:
        if stopped:
            raise stopped[0] from None
        raise
    finally:
        connection.set_progress_handler(None, 0)
        connection.execute(f"PRAGMA query_only = {locked}")
    with closing(sqlite3.connect(file, isolation_level=None)) as fresh:
        _mark(fresh, source, questions)


def _mark(fresh: sqlite3.Connection, source: Path | None, questions: Sequence[str]) -> None:
    # VACUUM INTO leaves it to the system when the file is on the disk; this commit does not.
    fresh.execute("PRAGMA synchronous = FULL")
    fresh.execute("PRAGMA secure_delete = ON")  # else what is deleted can be read in the file
    fresh.execute("BEGIN")
    fresh.execute(
        "DELETE FROM questions WHERE text NOT IN (SELECT value FROM json_each(?))",
        (json.dumps(questions),),
    )
    fresh.execute("DROP TABLE IF EXISTS copied")
    if source is not None:
        fresh.execute("CREATE TABLE copied (folder TEXT NOT NULL, made TEXT NOT NULL)")
        now = datetime.now().isoformat(timespec="seconds")
        fresh.execute("INSERT INTO copied VALUES (?, ?)", (to_db(os.fspath(source)), now))
    else:
        fresh.execute("UPDATE library SET id = lower(hex(randomblob(8)))")
        fresh.execute("DELETE FROM stores")
        revisions.stop(fresh)
    fresh.execute("COMMIT")
    if source is None:
        fresh.execute("PRAGMA journal_mode = WAL")


def _read_only(file: Path, shares: bool) -> Reading:
    try:
        return read_only(file, shares)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        raise damage.told(file, error) from error


def _version(connection: sqlite3.Connection, file: Path) -> int:
    try:
        # One transaction, since another process may be making the file between two looks.
        connection.execute("BEGIN")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        connection.execute("COMMIT")
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        raise damage.told(file, error) from error
    if tables and application != APPLICATION_ID:
        raise LibraryError(
            f"{file} was not made by clipsearch; name another folder with {arg(INDEX_FOLDER)}"
        )
    if version > SCHEMA_VERSION:
        raise LibraryError(
            f"{file} was made by a newer clipsearch (format {version}, this one knows"
            f" {SCHEMA_VERSION}).\nUpdate it: pip install --upgrade clipsearch"
        )
    return int(version)


def _migrate_patiently(connection: sqlite3.Connection) -> None:
    """Migrate, also while others look at the file: SQLite refuses some of it without waiting."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            _migrate(connection)
            return
        except sqlite3.OperationalError as error:
            if connection.in_transaction:
                connection.rollback()
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def _migrate(connection: sqlite3.Connection) -> None:
    from sqlite_utils import Database

    from clipsearch.store.database.migrations import migrations

    # First the name, last the version: a file that was left half-made is ours and migrated on.
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    if origin(connection) is None:
        connection.execute("PRAGMA journal_mode = WAL")
    migrations.apply(Database(connection, execute_plugins=False))
    connection.execute("BEGIN")
    fulltext.mend(connection)
    connection.execute("COMMIT")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
