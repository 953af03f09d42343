"""What files beside photos tell of them: it covers what the photos tell, which comes back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from clipsearch.photos.facts.facts import Facts
from clipsearch.store.catalog.connection import Connection
from clipsearch.store.catalog.facts.rows import FACT_NAMES, FACTS, columns_of, facts_in
from clipsearch.store.catalog.records import Told
from clipsearch.store.catalog.selection import lying
from clipsearch.store.database import fulltext
from clipsearch.store.database.paths import from_db, to_db


class Sidecars(Connection):
    """What is known of files beside photos."""

    def sidecars(self, root_id: int, below: str, deep: bool) -> dict[str, str]:
        """What tells the versions of the files beside photos apart, by the photos' paths."""
        # Of a whole root most photos may have none; of a folder, all others of the index do not
        # matter.
        is_whole = deep and not below
        both = "sidecars CROSS JOIN photos" if is_whole else "photos CROSS JOIN sidecars"
        found: dict[str, str] = {}
        for where in lying(root_id, below, deep):
            rows = self._db.execute(
                f"SELECT path, version FROM {both} ON photos.id = photo_id WHERE {where.condition}",
                where.values,
            )
            found |= {from_db(path): version for path, version in rows}
        return found

    def own_facts(self, root_id: int, path: str) -> tuple[int, Facts, Facts] | None:
        """A photo's id, and its facts as if no file lay beside it, and as they are held.

        None where there is no such photo.
        """
        row = self._db.execute(
            f"SELECT photos.id, {_OWN} WHERE root_id = ? AND path = ?", (root_id, to_db(path))
        ).fetchone()
        return (row[0], own(row[1:]), facts_in(list(row[1:-1]))) if row else None

    def tell(self, told: Sequence[Told]) -> None:
        """Write the facts of photos as files beside them tell."""
        with self.transaction():
            for one in told:
                self._tell(one)
            changed = [(one.id,) for one in told if one.facts != one.held]
            fulltext.renew(self._db, "id = ?", changed)

    def _tell(self, told: Told) -> None:
        before, after = columns_of(told.own), columns_of(told.facts)
        covered = {
            name: value
            for name, value, new in zip(FACT_NAMES, before, after, strict=True)
            if value != new
        }
        if told.facts != told.held:
            self._db.execute(_UPDATE, (*after, told.id))
        self._db.execute("DELETE FROM sidecars WHERE photo_id = ?", (told.id,))
        if told.version:
            held = json.dumps(covered, ensure_ascii=False)
            self._db.execute("INSERT INTO sidecars VALUES (?, ?, ?)", (told.id, told.version, held))


_OWN = f"{FACTS}, covered FROM photos LEFT JOIN sidecars ON photo_id = photos.id"
_UPDATE = f"UPDATE photos SET {', '.join(f'{name} = ?' for name in FACT_NAMES)} WHERE id = ?"


def own(row: Any) -> Facts:
    """The facts of a photo itself, from its columns FACTS and what is covered of them."""
    *columns, covered = row
    values = dict(zip(FACT_NAMES, columns, strict=True))
    return facts_in(list((values | json.loads(covered or "{}")).values()))


def own_facts_of(db: sqlite3.Connection, digest: str) -> Facts | None:
    """The facts of a photo with this content itself; None where there is none."""
    row = db.execute(f"SELECT {_OWN} WHERE digest = ? LIMIT 1", (digest,)).fetchone()
    return own(row) if row else None


def uncover(db: sqlite3.Connection, condition: str, values: Iterable[Any]) -> None:
    """Have photos that are about to leave, or be written over, as if no file lay beside them."""
    for some in values:
        rows = db.execute(
            f"SELECT photos.id, {_OWN} WHERE photo_id IS NOT NULL AND ({condition})", some
        ).fetchall()
        for id, *row in rows:
            db.execute(_UPDATE, (*columns_of(own(row)), id))
            db.execute("DELETE FROM sidecars WHERE photo_id = ?", (id,))
