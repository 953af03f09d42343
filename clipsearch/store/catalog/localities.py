"""Towns, regions and countries near where photos were taken."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import astuple, fields

from clipsearch.photos.places.locality import Locality
from clipsearch.store.catalog.connection import Connection
from clipsearch.store.database import fulltext

NOWHERE = 0  # the locality of photos that were taken far from any place

_COLUMNS = ", ".join(field.name for field in fields(Locality))
_WRITE = f"INSERT OR REPLACE INTO localities ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
# As the partial index has it, so that there is nothing to look through where each photo has one.
_UNKNOWN = "locality IS NULL AND latitude IS NOT NULL AND longitude IS NOT NULL"


class Localities(Connection):
    """Where the photos of an index were taken, in words."""

    def count_unplaced(self) -> int:
        """How many photos have coordinates of which it was not looked up where these are."""
        (count,) = self._db.execute(f"SELECT count(*) FROM photos WHERE {_UNKNOWN}").fetchone()
        return int(count)

    def unplaced(self, most: int) -> list[tuple[int, float, float]]:
        """The ids of such photos, with their degrees of latitude and longitude."""
        return self._db.execute(
            f"SELECT id, latitude, longitude FROM photos WHERE {_UNKNOWN} ORDER BY id LIMIT ?",
            (most,),
        ).fetchall()

    def put_places(self, found: Mapping[int, Locality | None]) -> None:
        """Remember where photos, by id, were taken; None for far from any place."""
        places = {it.id: it for it in found.values() if it}
        rows = [(it.id if it else NOWHERE, id) for id, it in found.items()]
        with self.transaction():
            self._db.executemany(_WRITE, [astuple(it) for it in places.values()])
            self._db.executemany("UPDATE photos SET locality = ? WHERE id = ?", rows)
            fulltext.renew(self._db, "id = ?", ((id,) for id in found))

    def look_up_again(self) -> None:
        """Have all photos as if it were not looked up yet where they were taken."""
        with self.transaction():
            self._db.execute("UPDATE photos SET locality = NULL WHERE locality IS NOT NULL")
            self._db.execute("DELETE FROM localities")

    def localities(self) -> list[Locality]:
        """The places near which photos of the index were taken, or some that left it."""
        return list(_read(self._db, "1", ()))


def localities_by_id(
    db: sqlite3.Connection, ids: Iterable[int | None]
) -> dict[int | None, Locality]:
    """Some localities by their ids."""
    wanted = json.dumps([id for id in ids if id])
    if wanted == "[]":
        return {}
    found = _read(db, "id IN (SELECT value FROM json_each(?))", (wanted,))
    return {it.id: it for it in found}


def _read(db: sqlite3.Connection, condition: str, values: tuple[str, ...]) -> Iterable[Locality]:
    rows = db.execute(f"SELECT {_COLUMNS} FROM localities WHERE {condition} ORDER BY id", values)
    return [Locality(*row) for row in rows]
