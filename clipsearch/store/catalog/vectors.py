"""What models made of contents: which have a vector, the vectors, and what tells their states."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from clipsearch.store.catalog import departed
from clipsearch.store.catalog.models import Models
from clipsearch.store.catalog.selection import VECTOR_OF_PHOTO, Selection, lying, selected
from clipsearch.store.conditions import EVERYTHING, Condition
from clipsearch.store.database.paths import from_db

if TYPE_CHECKING:
    import numpy as np


class Vectors(Models):
    """The vectors of an index: what its models made of the contents of photos."""

    def digests_without_vector(self, model_id: int | None) -> set[str]:
        """The contents of photos that a model has not embedded yet; for None, of all photos."""
        # In the order of the digests, which both indexes have; any other is five times as slow.
        rows = self._db.execute(
            "SELECT digest FROM photos INDEXED BY photos_by_digest"
            f" WHERE NOT EXISTS ({VECTOR_OF_PHOTO} AND model_id = ?)",
            (model_id,),
        )
        return {digest for (digest,) in rows}

    def without_vector(
        self, model_id: int | None, root_id: int, below: str = "", deep: bool = True
    ) -> set[str]:
        """The paths of a root's photos that a model has not embedded yet; for None, of all."""
        # Of a whole root hardly ever one lacks it, which the digests in their order tell sooner.
        if deep and not below and not self.digests_without_vector(model_id):
            return set()
        lacking = f" AND NOT EXISTS ({VECTOR_OF_PHOTO} AND model_id = ?)"
        return {
            from_db(path)
            for it in lying(root_id, below, deep)
            for (path,) in self._select(
                "path", "photos", Selection(it.condition + lacking, (*it.values, model_id))
            )
        }

    def embedded_of_sizes(self, model_id: int, sizes: Iterable[int]) -> set[str]:
        """The contents of one of these sizes in bytes that a model embedded.

        Those of photos, and of such as left not long ago.
        """
        wanted = json.dumps(list(sizes))
        rows = self._db.execute(
            "SELECT digest FROM photos WHERE size IN (SELECT value FROM json_each(?))"
            f" AND EXISTS ({VECTOR_OF_PHOTO} AND model_id = ?)",
            (wanted, model_id),
        )
        found = {digest for (digest,) in rows}
        return found | departed.embedded_of_sizes(self._db, model_id, wanted)

    def selected_vector_ids(self, model_id: int, selection: Condition) -> np.ndarray:
        """The ids of a model's vectors of the selected photos, (n,) int64, ascending."""
        import numpy as np

        with self._as_columns(selection) as columns:
            if columns:
                return columns.vectors_chosen(model_id, selection)
            return np.unique(np.array(self._vector_ids(model_id, selection), np.int64))

    def vector_ids_of_photos(self, model_id: int, selection: Condition = EVERYTHING) -> np.ndarray:
        """The id of each selected photo's vector, (n,) int64; that of copies for each of them."""
        import numpy as np

        with self._as_columns(selection) as columns:
            if columns:
                ids = columns.vectors(model_id)[columns.chosen(selection)]
                return np.asarray(ids[ids > 0])
            return np.array(self._vector_ids(model_id, selection), np.int64)

    def _vector_ids(self, model_id: int, selection: Condition) -> list[int]:
        where = selected(selection)
        # CROSS, so that the photos come first: the other way round all vectors would be looked at.
        rows = self._db.execute(
            "SELECT vectors.id FROM photos CROSS JOIN vectors ON vectors.digest = photos.digest"
            f" AND model_id = ? WHERE {where.condition}",
            (model_id, *where.values),
        )
        return [id for (id,) in rows]

    def vector_of(self, model_id: int, digest: str) -> bytes | None:
        """The float16 row of a content, None where the model has not embedded it."""
        row = self._db.execute(
            "SELECT vector FROM vectors WHERE digest = ? AND model_id = ?", (digest, model_id)
        ).fetchone()
        return row[0] if row else None

    def vectors_of(self, model_id: int, digests: Sequence[str]) -> dict[str, bytes]:
        """The float16 rows of contents, by digest, of those that a model has embedded."""
        rows = self._db.execute(
            "SELECT digest, vector FROM vectors WHERE model_id = ?"
            " AND digest IN (SELECT value FROM json_each(?))",
            (model_id, json.dumps(digests)),
        )
        return dict(rows)

    def rows_of(self, ids: Sequence[int]) -> dict[int, bytes]:
        """The float16 rows of vectors, by their ids."""
        rows = self._db.execute(
            "SELECT id, vector FROM vectors WHERE id IN (SELECT value FROM json_each(?))",
            (json.dumps(ids),),
        )
        return dict(rows)

    def vector_at(self, model_id: int, id: int) -> tuple[int, bytes] | None:
        """A model's first vector from an id on, (id, float16 row); None after the last."""
        return next(self.vectors_after(model_id, id - 1, 1), None)

    def vector_before(self, model_id: int, id: int) -> tuple[int, bytes] | None:
        """A model's last vector up to an id, (id, float16 row); None before the first."""
        row: tuple[int, bytes] | None = self._db.execute(
            "SELECT id, vector FROM vectors WHERE model_id = ? AND id <= ?"
            " ORDER BY id DESC LIMIT 1",
            (model_id, id),
        ).fetchone()
        return row

    def vectors_after(self, model_id: int, id: int, limit: int = -1) -> Iterator[tuple[int, bytes]]:
        """A model's vectors with ids above `id`, ascending: (id, float16 row).

        Not more than `limit` unless negative.
        """
        yield from self._db.execute(
            "SELECT id, vector FROM vectors WHERE model_id = ? AND id > ? ORDER BY id LIMIT ?",
            (model_id, id, limit),
        )

    def vector_ids(self, model_id: int) -> Iterator[int]:
        """The ids of a model's vectors, ascending."""
        rows = self._db.execute(
            "SELECT id FROM vectors WHERE model_id = ? ORDER BY id", (model_id,)
        )
        return (id for (id,) in rows)

    def fingerprint(self, model_id: int) -> tuple[int, int]:
        """How many vectors a model has, and the highest id among them (0 for none)."""
        # Every query asks. All rows are counted many times as fast as those of a model, and mostly
        # there is one model.
        others = "SELECT 1 FROM vectors WHERE model_id"
        count, highest = self._db.execute(
            f"SELECT CASE WHEN EXISTS ({others} < ?1) OR EXISTS ({others} > ?1)"
            " THEN (SELECT count(*) FROM vectors WHERE model_id = ?1)"
            " ELSE (SELECT count(*) FROM vectors) END,"
            " (SELECT coalesce(max(id), 0) FROM vectors WHERE model_id = ?1)",
            (model_id,),
        ).fetchone()
        return int(count), int(highest)

    def last_vector_id(self) -> int:
        """The highest id that any vector ever had."""
        row = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'vectors'").fetchone()
        return int(row[0]) if row else 0

    def last_batch(self, model_id: int) -> tuple[int, bytes]:
        """The highest id that was given to a model's vectors, and the stamp that came with it."""
        row = self._batch("WHERE model_id = ? ORDER BY last_id DESC LIMIT 1", (model_id,))
        return row or (0, bytes(8))

    def stamp(self, model_id: int, last_id: int) -> bytes | None:
        """The random bytes that tell the state of the vectors when that id was their last."""
        row = self._batch("WHERE model_id = ? AND last_id = ?", (model_id, last_id))
        return row[1] if row else None

    def _batch(self, where: str, values: tuple[int, ...]) -> tuple[int, bytes] | None:
        try:
            row = self._db.execute(f"SELECT last_id, stamp FROM batches {where}", values).fetchone()
        except sqlite3.OperationalError as error:
            if "no such table" not in str(error):
                raise
            return None  # a catalog of an older clipsearch that cannot be written to
        return (int(row[0]), bytes(row[1])) if row else None

    def remove_damaged_vectors(self) -> None:
        """Delete vectors that are no embeddings, so that their photos are embedded again."""
        from clipsearch.store.database import units

        with self.transaction():
            for model in self.models():
                units.remove_others(self._db, model.id, model.dim)
