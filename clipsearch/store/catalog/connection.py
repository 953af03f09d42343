"""One connection to a catalog's file: opened, mounted, renewed, and asked for one state of it."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from clipsearch.errors import LibraryError
from clipsearch.photos.files.inode import inode_of
from clipsearch.photos.files.mounts import network_type
from clipsearch.store.catalog.selection import Selection, add_functions
from clipsearch.store.conditions import Condition, Is
from clipsearch.store.database import FILE_NAME, Origin, file, readings
from clipsearch.store.database.reading import Reading, checked

if TYPE_CHECKING:
    from clipsearch.progress import Progress
    from clipsearch.store.catalog.columns.photos import Columns

log = logging.getLogger("clipsearch")

T = TypeVar("T")

_FEW = 1000  # ids that are looked up one by one
_ATTEMPTS = 10  # at a question, while the file changes under it


class Connection:
    """The SQLite file of one index folder, open."""

    def __init__(self, reading: Reading, far: Path | None = None) -> None:
        """With `far`, a folder on a network file system, it is read until `open_to_write`."""
        self._far = far
        self._mounts: Mapping[str, str] | None = None
        self._is_asked = False
        self._columns: tuple[Hashable, Columns] | None = None  # and of what version
        self._take(reading)

    def _take(self, reading: Reading) -> None:
        self._reading, self._db = reading, reading.connection
        self._inode = inode_of(os.fspath(reading.file))
        self._opening = object()
        add_functions(self._db)
        readings.stand_in(self._db)
        self.origin: Origin | None = file.origin(self._db)
        self.is_read_only = False
        if self.origin or self._far:
            self._read_only()
        if self._mounts:
            self.mount(self._mounts)

    @classmethod
    def create(cls, folder: Path) -> Self:
        """Open the catalog of `folder`, made or migrated first where that is needed.

        Raises:
            LibraryError: the file there is not ours, or a newer version made it.
        """
        path = folder / FILE_NAME
        if kind := network_type(os.path.realpath(folder)):
            if path.exists() and path.stat().st_size:
                return cls.open(folder)
            _say_far(folder, kind)
        return cls(Reading(path, file.make_database(folder)))

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open the catalog of `folder`, which must exist; the right to read will do.

        Raises:
            LibraryError: there is none, it is not ours, or a newer version made it.
        """
        far = folder if network_type(os.path.realpath(folder)) else None
        return cls(file.open_database(folder, writes=far is None), far)

    @property
    def folder(self) -> Path:
        """The folder of the index."""
        return self._reading.file.parent

    @property
    def is_replaced(self) -> bool:
        """Whether another index, or none, has its name by now: nothing is to be written there."""
        return inode_of(os.fspath(self._reading.file)) != self._inode

    @property
    def index_id(self) -> str:
        """What tells an index from all others; its copies have the same."""
        return file.index_id(self._db)

    def mount(self, mounts: Mapping[str, str]) -> None:
        """Have roots where they, or folders that hold them, are on this machine, read only."""
        self._mounts = mounts
        self._db.execute("PRAGMA query_only = OFF")
        file.mount(self._db, mounts)
        self._read_only()

    def _read_only(self) -> None:
        self.is_read_only = True
        self._db.execute("PRAGMA query_only = ON")

    def check_writable(self) -> None:
        """Raise LibraryError if this is a copy, or its roots are elsewhere here."""
        if self.origin:
            raise LibraryError(
                f"this is a copy of {self.origin.folder}, to be read only; write to that, or make"
                " an index of its own from it: clipsearch copy --own FOLDER"
            )
        if self._mounts:
            raise LibraryError("an index is written only where its folders have their own paths")

    @property
    def is_far(self) -> bool:
        """Whether it lies on a network file system and is read there, so that nothing is written.

        SQLite's log and locks are for one machine, and there may fail two that write.
        """
        return self._far is not None

    def open_to_write(self) -> None:
        """Have it written from here on; on a network file system what may go wrong is said.

        Raises:
            LibraryError: it is a copy, or its roots are elsewhere here.
        """
        self.check_writable()
        if self._far is None:
            return
        folder, self._far = self._far, None
        _say_far(folder, network_type(os.path.realpath(folder)) or "")
        self._reading.close()
        self._take(Reading(folder / FILE_NAME, file.make_database(folder)))

    def copy(
        self,
        target: Path,
        source: Path | None,
        questions: Sequence[str],
        progress: Progress,
    ) -> None:
        """Write the catalog as it is at this moment to a new file, a copy of the index `source`.

        Without one it is the catalog of an index of its own, whose vectors are in no engine. Of
        what was asked only `questions` are in it. `progress` gets the bytes written and their
        total.
        """
        file.copy(self._db, target, source, questions, progress)

    def close(self) -> None:
        """Close the file."""
        self._reading.close()

    def ask(self, question: Callable[[], T]) -> T:
        """The answer to a question, of the file as it is now and of one state of it.

        Where SQLite cannot tell a reader that others write, the file is opened again once it has
        changed, and the question asked again if that was meanwhile.
        """
        if self._is_asked:  # the question asks another
            return question()
        self._is_asked = True
        try:
            for _ in range(_ATTEMPTS):
                self._renew()
                try:
                    answer = question()
                except Exception:
                    if not self._reading.is_torn:
                        raise
                else:
                    if not self._reading.is_torn:
                        return answer
        finally:
            self._is_asked = False
        raise LibraryError(f"{self._reading.file} is changed faster than it is read; try again")

    def _renew(self) -> None:
        if self._reading.is_outdated:
            before = self._reading
            self._take(file.open_database(before.file.parent, writes=self._far is None))
            before.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is written inside is kept whole, or not at all."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """What is read inside is of one moment, whatever is written meanwhile."""
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._db.execute("COMMIT")

    @contextmanager
    def _as_columns(self, selection: Condition) -> Iterator[Columns | None]:
        """The photos as columns, to be asked for some; what is read inside is of the same moment.

        None where SQL answers sooner: what is selected are a few ids, or columns are missing.
        """
        if _is_few(selection):
            yield None
            return
        if self._columns is None or self._columns[0] != self.version():
            self.keep_columns()
        with nullcontext() if self._db.in_transaction else self.snapshot():
            version = self.version()
            if self._columns is None or self._columns[0] != version:
                now = self._columns_now()
                # Where they are missing another may keep them, which is no other version.
                self._columns = (version, now) if now else None
            yield self._columns[1] if self._columns else None

    def _columns_now(self) -> Columns | None:
        # Late, since a run with nothing to do needs no NumPy.
        from clipsearch.store.catalog.columns.blocks import missing
        from clipsearch.store.catalog.columns.photos import MOST_IN_PASSING, Columns

        if self._has_columns and len(missing(self._db, "id")) <= MOST_IN_PASSING:
            return Columns(self._db)
        return None

    def keep_columns(self, anew: bool = False) -> None:
        """Make the columns that are missing, or all `anew`, where they can be kept."""
        if self.is_read_only or self._db.in_transaction or not self._has_columns:
            return
        from clipsearch.store.catalog.columns.blocks import fill, is_full

        if anew or not is_full(self._db):
            self._in_passing(lambda: fill(self._db, anew))

    @property
    def _has_columns(self) -> bool:
        """Whether there is such a table: not in an older catalog that may only be read."""
        named = "SELECT 1 FROM sqlite_schema WHERE name = 'columns'"
        return self._db.execute(named).fetchone() is not None

    def _in_passing(self, write: Callable[[], None]) -> None:
        """Write what can be made again, unless the index is read-only or being written to."""
        (patience,) = self._db.execute("PRAGMA busy_timeout").fetchone()
        self._db.execute("PRAGMA busy_timeout = 0")
        try:
            with self.transaction():
                write()
        except sqlite3.Error:
            pass  # an answer is due in any case
        finally:
            self._db.execute(f"PRAGMA busy_timeout = {patience}")

    def version(self) -> Hashable:
        """Another value whenever photos, or what they are found by, were written since, by anybody.

        To remember a question, or to keep columns, makes it no other. All connections to one
        state have the same.
        """
        try:
            (state,) = self._db.execute("SELECT state FROM library").fetchone()
        except sqlite3.OperationalError as error:
            if "no such column" not in str(error):
                raise
            # A catalog of an older clipsearch that may not be written to: anything that changes.
            (others,) = self._db.execute("PRAGMA data_version").fetchone()
            return self._opening, int(others), self._db.total_changes
        return int(state)

    def check(self) -> list[str]:
        """What SQLite finds wrong with the file, a line each; the whole of it is read."""
        orphans = self._db.execute("PRAGMA foreign_key_check").fetchall()
        lost = [f"{len(orphans)} rows belong to others that are not there"] if orphans else []
        return checked(self._db) + lost

    def _select(self, columns: str, table: str, where: Selection) -> Iterable[Any]:
        return self._db.execute(
            f"SELECT {columns} FROM {table} WHERE {where.condition}", where.values
        )


def _is_few(selection: Condition) -> bool:
    match selection:
        case Is("id", "in", ids):
            return len(ids) <= _FEW
    return False


def _say_far(folder: Path, kind: str) -> None:
    log.warning(
        "the index in %s is on a network file system (%s): if two machines write to it, or the"
        " connection breaks while one does, it can be damaged; keep it on a disk of this machine,"
        " and let others read a copy of it: clipsearch copy FOLDER", folder, kind,
    )  # fmt: skip
