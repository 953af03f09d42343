"""The engine that the vectors are in, where it is not the files of the index folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from clipsearch.store.catalog.connection import Connection
from clipsearch.store.catalog.records import Engine, EnginePhoto
from clipsearch.store.catalog.selection import VECTOR_OF_PHOTO
from clipsearch.store.database import revisions


class Engines(Connection):
    """The engines of an index, and what they are told."""

    def engine(self) -> Engine | None:
        """The engine that is searched; None where that is done in the index folder's files."""
        return next((engine for engine in self.engines() if engine.ready), None)

    def engines(self) -> list[Engine]:
        """The engine that is searched and those that the vectors are on their way to."""
        rows = self._db.execute("SELECT address, library, ready FROM stores ORDER BY address")
        return [Engine(address, library, bool(ready)) for address, library, ready in rows]

    def add_engine(self, engine: Engine) -> None:
        """Remember an engine; from then on the log of changes is kept for it."""
        with self.transaction():
            values = (engine.address, engine.library, engine.ready)
            self._db.execute("INSERT INTO stores VALUES (?, ?, ?)", values)
            revisions.start(self._db)

    def keep_engine(self, address: str | None) -> None:
        """Search this engine from now on, None for the files, and forget all others."""
        with self.transaction():
            self._db.execute("DELETE FROM stores WHERE address IS NOT ?", (address,))
            self._db.execute("UPDATE stores SET ready = 1")
            if address is None:
                revisions.stop(self._db)

    def revision(self) -> int:
        """The latest revision of the log of changes."""
        return revisions.last(self._db)

    def changed_after(self, revision: int, limit: int) -> Sequence[tuple[int, int]]:
        """The (revision, photo id) of what changed after a revision, the oldest first."""
        return revisions.after(self._db, revision, limit)

    def engine_photos(self, model_id: int, ids: Sequence[int]) -> list[EnginePhoto]:
        """Those of these photos that a model has embedded, by id."""
        from clipsearch.store.engine_facts import as_engine_facts

        rows = self._db.execute(
            f"SELECT photos.id, vectors.id, vector, {_COLUMNS} FROM photos"
            " JOIN vectors ON vectors.digest = photos.digest AND model_id = ?"
            " WHERE photos.id IN (SELECT value FROM json_each(?)) ORDER BY photos.id",
            (model_id, json.dumps(ids)),
        )
        return [
            EnginePhoto(id, vector_id, row, as_engine_facts(*facts))
            for id, vector_id, row, *facts in rows
        ]

    def embedded_photos(self, model_id: int) -> Iterator[int]:
        """The ids of the photos that a model has embedded, ascending."""
        rows = self._db.execute(
            f"SELECT id FROM photos WHERE EXISTS ({VECTOR_OF_PHOTO} AND model_id = ?) ORDER BY id",
            (model_id,),
        )
        return (id for (id,) in rows)

    def count_embedded_photos(self, model_id: int) -> int:
        """How many photos a model has embedded."""
        (count,) = self._db.execute(
            f"SELECT count(*) FROM photos WHERE EXISTS ({VECTOR_OF_PHOTO} AND model_id = ?)",
            (model_id,),
        ).fetchone()
        return int(count)


_COLUMNS = "root_id, path, taken_at, taken_from, camera, latitude, longitude, width, height"
