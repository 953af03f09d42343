"""The files that could not be read."""

from __future__ import annotations

from collections.abc import Iterable

from clipsearch.store.catalog.connection import Connection
from clipsearch.store.catalog.facts.rows import path_in
from clipsearch.store.catalog.selection import lying
from clipsearch.store.database.paths import from_db, to_db

MOST_TRIES = 3  # of a file that a decoder did not come to an end with


class Failures(Connection):
    """The files of an index that could not be read."""

    def failed(
        self, root_id: int, below: str = "", deep: bool = True
    ) -> dict[str, tuple[int, int]]:
        """The (size, mtime_ns) at which each failed file of a root failed, by its path.

        The size is -1 of a file that is to be tried again.
        """
        size = f"CASE WHEN tries BETWEEN 1 AND {MOST_TRIES - 1} THEN -1 ELSE size END"
        return {
            from_db(path): (size_then, mtime_ns)
            for where in lying(root_id, below, deep)
            for path, size_then, mtime_ns in self._select(
                f"path, {size}, mtime_ns", "failures", where
            )
        }

    def failures(self) -> list[tuple[str, str]]:
        """The absolute path of every file that could not be read, and the reason."""
        rows = self._db.execute(
            "SELECT roots.path, failures.path, reason FROM failures"
            " JOIN roots ON roots.id = root_id ORDER BY roots.path, failures.path"
        )
        return [(path_in(root, path), reason) for root, path, reason in rows]

    def passing_failures(self) -> list[str]:
        """The absolute paths of the files that may be readable though they did not change."""
        rows = self._db.execute(
            "SELECT roots.path, failures.path FROM failures JOIN roots ON roots.id = root_id"
            " WHERE size < 0 ORDER BY root_id, failures.path"
        )
        return [path_in(root, path) for root, path in rows]

    def remove_failures(self, paths: Iterable[tuple[int, str]]) -> None:
        """Forget that these files, by root id and path below it, could not be read."""
        with self.transaction():
            self._db.executemany(
                "DELETE FROM failures WHERE root_id = ? AND path = ?",
                [(root_id, to_db(path)) for root_id, path in paths],
            )
