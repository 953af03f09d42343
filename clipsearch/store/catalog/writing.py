"""Photos come, move and leave, each time whole; what no photo shows any more departs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from clipsearch.errors import ModelError
from clipsearch.store.catalog import departed
from clipsearch.store.catalog.connection import Connection
from clipsearch.store.catalog.departed import Kept
from clipsearch.store.catalog.facts.rows import FACT_NAMES, WRITE_PHOTO, photo_values
from clipsearch.store.catalog.facts.sidecars import uncover
from clipsearch.store.catalog.pictures import WRITE_PICTURE
from clipsearch.store.catalog.records import Changes, NewPhoto
from clipsearch.store.database import fulltext
from clipsearch.store.database.paths import to_db


class Writing(Connection):
    """What an index run writes."""

    def write(self, model_id: int, changes: Changes) -> list[tuple[int, bytes]]:
        """Write a batch in one transaction; gives the new vectors with their ids.

        A content that comes back after its last photo left has its vectors again.

        Raises:
            ModelError: a vector is none of the model's, or not of unit length; nothing is written.
        """
        self._check_vectors(model_id, changes.vectors)
        done = [(photo.root_id, to_db(photo.path)) for photo in changes.photos]
        failed = [
            (it.root_id, to_db(it.path), it.size, it.mtime_ns, it.reason, it.tries)
            for it in changes.failures
        ]
        with self.transaction():
            tried = [self._add_vector(model_id, *new) for new in changes.vectors]
            added = {model_id: [new for new in tried if new]}
            self._db.executemany(WRITE_PICTURE, changes.pictures)
            others = [(*at, photo.id) for at, photo in zip(done, changes.photos, strict=True)]
            uncover(self._db, "root_id = ? AND path = ? OR photos.id = ?", others)
            departed.note(self._db, FACT_NAMES, _WRITTEN_OVER, _written_over(changes.photos))
            # A photo may take the place of another, of which the words would stay.
            fulltext.remove(self._db, f"{_PHOTO_AT} AND id IS NOT ?", others)
            self._db.executemany(WRITE_PHOTO, [photo_values(photo) for photo in changes.photos])
            fulltext.renew(self._db, f"id IN ({_PHOTO_AT})", done)
            self._delete_photos(changes.dropped)
            back = {photo.digest for photo in changes.photos}
            for model, id, vector in departed.bring_back(self._db, back):
                added.setdefault(model, []).append((id, vector))
            for model, new in added.items():
                if new:
                    self._stamp(model, new[-1][0])
            self._db.executemany("DELETE FROM failures WHERE root_id = ? AND path = ?", done)
            self._db.executemany(_WRITE_FAILURE, failed)
        return added[model_id]

    def _check_vectors(self, model_id: int, vectors: Sequence[tuple[str, bytes]]) -> None:
        if not vectors:
            return
        # Late, since a run with nothing to do needs no NumPy.
        from clipsearch.store.database.units import unit_rows

        spec, dim = self._db.execute(
            "SELECT spec, dim FROM models WHERE id = ?", (model_id,)
        ).fetchone()
        _, good = unit_rows([row for _, row in vectors], dim)
        if not good.all():
            raise ModelError(
                f"{spec} gave {int((~good).sum())} embeddings that are not {dim} finite numbers of"
                " unit length; they were not kept, nor what came with them"
            )

    def _add_vector(self, model_id: int, digest: str, vector: bytes) -> tuple[int, bytes] | None:
        cursor = self._db.execute(
            "INSERT OR IGNORE INTO vectors (digest, model_id, vector) VALUES (?, ?, ?)",
            (digest, model_id, vector),
        )
        return (int(cursor.lastrowid or 0), vector) if cursor.rowcount else None

    def _stamp(self, model_id: int, last_id: int) -> None:
        """Tell this state from any that another history of this catalog may come to."""
        self._db.execute("INSERT INTO batches VALUES (?, ?, randomblob(8))", (model_id, last_id))

    def move_photos(self, moves: Iterable[tuple[int, int, str]]) -> None:
        """Have photos, by id, at another root and path below it."""
        rows = [(root_id, to_db(path), id) for id, root_id, path in moves]
        with self.transaction():
            self._db.executemany("UPDATE photos SET root_id = ?, path = ? WHERE id = ?", rows)
            fulltext.renew(self._db, "id = ?", ((id,) for _, _, id in rows))

    def remove_photos(self, ids: Iterable[int]) -> None:
        """Take photos out; `sweep` then puts aside the vectors that no photo has any more."""
        with self.transaction():
            self._delete_photos(ids)

    def _delete_photos(self, ids: Iterable[int]) -> None:
        gone = [(id,) for id in ids]
        uncover(self._db, "photos.id = ?", gone)
        departed.note(self._db, FACT_NAMES, "id = ?", gone)
        self._db.executemany("DELETE FROM photos WHERE id = ?", gone)
        fulltext.remove(self._db, "?", gone)

    def sweep(self, digests: Iterable[str] | None = None) -> None:
        """Put aside the vectors of contents that no photo has any more; of these, or of all.

        Also of such as a run left behind that was stopped before it came to this.

        They, the perceptual hashes and the captions are kept for `keep_for` days. Not done batch
        by batch: a content that one file loses another may gain in the next.
        """
        with self.transaction():
            departed.sweep(self._db, digests)

    def keep_for(self, days: int, digests: Iterable[str] | None = None) -> None:
        """Keep contents that left so many days; for None all of them, now and later."""
        with self.transaction():
            departed.keep_for(self._db, days, digests)

    def expire(self) -> None:
        """Free what left the index and was kept as long as it was to be."""
        if over := departed.expired(self._db):
            with self.transaction():
                departed.remove(self._db, over)

    def kept(self) -> Kept:
        """How much is kept of what left the index."""
        return departed.kept(self._db)


# Photos that are written over with another content: at their id or at their path.
_WRITTEN_OVER = "(id = ?1 OR root_id = ?2 AND path = ?3) AND digest <> ?4"
_PHOTO_AT = "SELECT id FROM photos WHERE root_id = ? AND path = ?"
_WRITE_FAILURE = (
    "INSERT INTO failures (root_id, path, size, mtime_ns, reason, tries) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (root_id, path) DO UPDATE SET size = excluded.size, mtime_ns = excluded.mtime_ns,"
    " reason = excluded.reason, tries = excluded.tries + (excluded.tries > 0"
    " AND size = excluded.size AND mtime_ns = excluded.mtime_ns) * tries"
)


def _written_over(photos: Iterable[NewPhoto]) -> list[tuple[int | None, int, str | bytes, str]]:
    return [(photo.id, photo.root_id, to_db(photo.path), photo.digest) for photo in photos]
