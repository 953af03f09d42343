"""The photos of the catalog: all of a root, those of a size, and those that a condition selects."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import compress
from typing import Any

from clipsearch.photos.facts.facts import Facts
from clipsearch.photos.files.opening import Place
from clipsearch.photos.places.locality import Locality
from clipsearch.store.catalog import departed
from clipsearch.store.catalog.facts.rows import FACT_NAMES, FACTS, facts_in, path_in
from clipsearch.store.catalog.facts.sidecars import own_facts_of
from clipsearch.store.catalog.localities import localities_by_id
from clipsearch.store.catalog.records import Known, PhotoRow, StoredPhoto
from clipsearch.store.catalog.roots import Roots
from clipsearch.store.catalog.selection import (
    FOLDERS,
    TALLIED,
    cell,
    counted_people,
    lying,
    selected,
)
from clipsearch.store.conditions import EVERYTHING, All, Condition, Has, Is
from clipsearch.store.database.paths import from_db, to_db
from clipsearch.store.database.unused import HOLDS_ANYTHING

_ROW = f"photos.id, roots.path, photos.path, photos.digest, {FACTS}, locality"
_AT_A_TIME = 2_000  # photos of a part, where all are wanted

# In which orders photos are listed, and what each means.
ORDERS = {
    "latest": "taken_at IS NULL, substr(taken_at, 1, 19) DESC, roots.path, photos.path",
    "oldest": "taken_at IS NULL, substr(taken_at, 1, 19), roots.path, photos.path",
    "added": "photos.id DESC",  # ids are never used twice: the last that came is first
    "path": "roots.path, photos.path",
}


class Photos(Roots):
    """The photos of an index."""

    def count_photos(self, root_id: int | None = None) -> int:
        """How many photos the index, or one root of it, holds."""
        where = "" if root_id is None else "WHERE root_id = ?"
        arguments = () if root_id is None else (root_id,)
        (count,) = self._db.execute(f"SELECT count(*) FROM photos {where}", arguments).fetchone()
        return int(count)

    def holds_anything(self) -> bool:
        """Whether it tells of any photo, or of a file that is none."""
        return bool(self._db.execute(HOLDS_ANYTHING).fetchone()[0])

    def count_contents(self) -> int:
        """How many different contents the photos have; copies are one."""
        (count,) = self._db.execute("SELECT count(DISTINCT digest) FROM photos").fetchone()
        return int(count)

    def known(self, root_id: int, below: str = "", deep: bool = True) -> dict[str, Known]:
        """What is known of each photo of a root, by its path below the root."""
        return {
            from_db(path): Known(*rest)
            for where in lying(root_id, below, deep)
            for path, *rest in self._select("path, id, size, mtime_ns, digest", "photos", where)
        }

    def known_at(self, root_id: int, paths: Iterable[str]) -> dict[str, Known]:
        """What is known of photos of a root, by their paths below it; of those that it has."""
        select = "SELECT id, size, mtime_ns, digest FROM photos WHERE root_id = ? AND path = ?"
        rows = {it: self._db.execute(select, (root_id, to_db(it))).fetchone() for it in paths}
        return {path: Known(*row) for path, row in rows.items() if row}

    def known_of_sizes(self, sizes: Iterable[int]) -> list[tuple[int, str, Known]]:
        """The photos of one of these sizes in bytes: root, path below it and what is known."""
        rows = self._db.execute(
            "SELECT root_id, path, id, size, mtime_ns, digest FROM photos"
            " WHERE size IN (SELECT value FROM json_each(?))",
            (json.dumps(list(sizes)),),
        )
        return [(root_id, from_db(path), Known(*rest)) for root_id, path, *rest in rows]

    def versions(
        self, root_id: int, below: str = "", deep: bool = True
    ) -> set[tuple[str, int, int]]:
        """The (path below the root, size, mtime_ns) of each photo of a root."""
        text, raw = lying(root_id, below, deep)
        columns = "path, size, mtime_ns"
        versions: set[tuple[str, int, int]] = set(self._select(columns, "photos", text))
        for path, size, mtime_ns in self._select(columns, "photos", raw):
            versions.add((from_db(path), size, mtime_ns))
        return versions

    def without_listing(self, root_id: int) -> set[str]:
        """The folders of a root with paths that are not text, of which no listing is kept."""
        _, raw = lying(root_id, "", True)
        paths = (from_db(path) for (path,) in self._select("path", "photos", raw))
        return {path.rpartition("/")[0] for path in paths}

    def taken_sizes(self, sizes: Iterable[int]) -> set[int]:
        """Those of these sizes in bytes that photos have, or had that left not long ago."""
        wanted = json.dumps(list(sizes))
        rows = self._db.execute(
            "SELECT DISTINCT size FROM photos WHERE size IN (SELECT value FROM json_each(?))",
            (wanted,),
        )
        return {size for (size,) in rows} | departed.sizes(self._db, wanted)

    def facts_of(self, digest: str) -> Facts | None:
        """What photos of this content tell themselves, or told; None where there are none."""
        facts = own_facts_of(self._db, digest)
        if facts is None and (kept := departed.facts_of(self._db, digest)):
            return facts_in([kept.get(name) for name in FACT_NAMES])
        return facts

    def photos_of_vectors(
        self, ids: Sequence[int], selection: Condition = EVERYTHING
    ) -> dict[int, list[PhotoRow]]:
        """The selected photos that show what each vector embeds, by vector id; copies share one."""
        if selection == EVERYTHING:
            return _by_vector(self._of_vectors(ids, selection))
        with self._as_columns(selection) as columns:
            if columns is None:
                return _by_vector(self._of_vectors(ids, selection))
            found = self._of_vectors(ids, EVERYTHING)
            chosen = columns.are_chosen([photo.id for _, photo in found], selection)
            return _by_vector(compress(found, chosen))

    def _of_vectors(self, ids: Sequence[int], selection: Condition) -> list[tuple[int, PhotoRow]]:
        where = selected(selection)
        # From the vectors to their photos, which are few: all that are selected may be many. The
        # plus keeps SQLite from looking in the index for each id that the condition may name.
        rows = self._db.execute(
            f"SELECT vectors.id, {_ROW}"
            " FROM vectors"
            " CROSS JOIN photos INDEXED BY photos_by_digest ON photos.digest = vectors.digest"
            " CROSS JOIN roots ON roots.id = photos.root_id"
            " WHERE vectors.id IN (SELECT value FROM json_each(?))"
            f" AND +({where.condition}) ORDER BY photos.id",
            (json.dumps(ids), *where.values),
        )
        vector_ids, photos = [], []
        for vector_id, *row in rows:
            vector_ids.append(vector_id)
            photos.append(row)
        return list(zip(vector_ids, self._as_photos(photos), strict=True))

    def photos(
        self,
        selection: Condition = EVERYTHING,
        limit: int = -1,
        offset: int = 0,
        sort: str = "latest",
    ) -> list[PhotoRow]:
        """The selected photos in one of the ORDERS, from the one at `offset` on.

        Not more than `limit` unless negative.
        """
        if limit < 0 or sort != "latest":
            return self._photos(selection, limit, offset, sort)
        with self._as_columns(selection) as columns:
            if columns:
                some, offset = columns.latest(selection, limit, offset)
                selection = Is("id", "in", tuple(some))
            return self._photos(selection, limit, offset)

    def in_turn(self, selection: Condition) -> list[list[int]]:
        """The ids of the selected photos, in parts that follow each other as `photos` gives them.

        Within a part they are in no order.
        """
        with self._as_columns(selection) as columns:
            if columns:
                return columns.in_turn(selection, _AT_A_TIME)
            ids = [photo.id for photo in self._photos(selection, -1, 0)]
            return [ids[at : at + _AT_A_TIME] for at in range(0, len(ids), _AT_A_TIME)]

    def _photos(
        self, selection: Condition, limit: int, offset: int, sort: str = "latest"
    ) -> list[PhotoRow]:
        where = selected(selection)
        rows = self._db.execute(
            f"SELECT {_ROW} FROM photos"
            f" JOIN roots ON roots.id = root_id WHERE {where.condition}"
            f" ORDER BY {ORDERS[sort]} LIMIT ? OFFSET ?",
            (*where.values, limit, offset),
        )
        return self._as_photos(rows.fetchall())

    def _as_photos(self, rows: Sequence[Sequence[Any]]) -> list[PhotoRow]:
        """Rows of the columns _ROW."""
        places = localities_by_id(self._db, {row[-1] for row in rows})
        return [
            PhotoRow(id, path_in(root, path), digest, facts_in(facts), places.get(locality))
            for id, root, path, digest, *facts, locality in rows
        ]

    def stored(self, photo_id: int) -> StoredPhoto | None:
        """A photo and where its file is, by its id; None where there is no such photo."""
        row = self._db.execute(
            f"SELECT root_id, size, mtime_ns, {_ROW}"
            " FROM photos JOIN roots ON roots.id = root_id WHERE photos.id = ?",
            (photo_id,),
        ).fetchone()
        if row is None:
            return None
        root_id, size, mtime_ns, *columns = row
        root, path = columns[1:3]
        through_links = self.follows_links(root_id, from_db(path))
        place = Place(from_db(root), from_db(path), size, mtime_ns, through_links)
        return StoredPhoto(self._as_photos([columns])[0], place)

    def count_selected(self, selection: Condition) -> int:
        """How many photos are selected."""
        if selection == EVERYTHING:
            return self.count_photos()
        with self._as_columns(selection) as columns:
            if columns:
                return int(columns.chosen(selection).sum())
            (count,) = next(iter(self._select("count(*)", "photos", selected(selection))))
            return int(count)

    def tally(self, fact: str, selection: Condition = EVERYTHING) -> list[tuple[Any, int]]:
        """How many of the selected photos have each value of a fact, that of most first.

        The facts are camera, month ("2024-05"), type ("jpg") and placed (1 or 0); None is the value
        of what is not known.
        """
        with self._as_columns(selection) as columns:
            if columns is None:
                return self._tally(TALLIED[fact], selection)
            counted = columns.counted(fact, selection)
            if fact == "type":
                counted = [(ending.removeprefix("."), count) for ending, count in counted]
            return sorted(counted, key=lambda it: (-it[1], it[0] is not None, it[0]))

    def tally_people(self, selection: Condition = EVERYTHING) -> list[tuple[str, int]]:
        """The people who are named in selected photos and in how many, that of most first."""
        with self._as_columns(selection) as columns:
            if columns is not None:
                return columns.named(selection)
        where = selected(All((selection, Has("people"))))
        rows = self._db.execute(f"SELECT people FROM photos WHERE {where.condition}", where.values)
        return counted_people(people for (people,) in rows)

    def tally_localities(self, selection: Condition = EVERYTHING) -> list[tuple[Locality, int]]:
        """Near which places selected photos were taken, and how many, that of most first."""
        with self._as_columns(selection) as columns:
            if columns is None:
                counted = self._tally("locality", selection)
            else:
                counted = columns.counted("locality", selection)
        known = localities_by_id(self._db, {id for id, _ in counted})
        found = [(known[id], count) for id, count in counted if id in known]
        return sorted(found, key=lambda it: (-it[1], it[0].id))

    def dots(
        self, grid: float, selection: Condition = EVERYTHING
    ) -> list[tuple[float, float, int]]:
        """Where selected photos were taken, (latitude, longitude, photos), that of most first.

        Those in one cell of a grid, so many degrees wide and high, are one, in their middle.
        """
        selection = All((selection, Has("coordinates")))
        with self._as_columns(selection) as columns:
            if columns is not None:
                found = columns.dots(grid, selection)
            else:
                where = selected(selection)
                found = self._db.execute(
                    "SELECT avg(latitude), avg(longitude), count(*) FROM photos"
                    f" WHERE {where.condition} GROUP BY {cell(grid)}",
                    where.values,
                ).fetchall()
        return sorted(found, key=lambda it: (-it[2], it))

    def tally_folders(self, selection: Condition = EVERYTHING) -> list[tuple[str, str, int]]:
        """How many of the selected photos lie in each folder that is right below a root.

        Such are (root's path, folder's name, count); "" is the name for the root itself.
        """
        with self._as_columns(selection) as columns:
            if columns is None:
                return self._tally_folders(selection)
            roots = {root.id: root.path for root in self.roots()}
            folders: Counter[tuple[str, str]] = Counter()
            for (root, below), count in columns.counted("folder", selection):
                folders[roots[root], below.partition("/")[0]] += count
            return [(*folder, count) for folder, count in folders.items()]

    def _tally_folders(self, selection: Condition) -> list[tuple[str, str, int]]:
        folders = []
        for value, count in self._tally(FOLDERS, selection):
            root, below = (os.fsdecode(bytes.fromhex(part)) for part in value.split(" "))
            folders.append((root, below.rstrip("/"), count))
        return folders

    def _tally(self, expression: str, selection: Condition) -> list[tuple[Any, int]]:
        where = selected(selection)
        return self._db.execute(
            f"SELECT {expression} AS value, count(*) FROM photos"
            f" JOIN roots ON roots.id = root_id WHERE {where.condition}"
            " GROUP BY value ORDER BY count(*) DESC, value",
            where.values,
        ).fetchall()

    def cameras(self) -> list[str]:
        """The names of all cameras."""
        rows = self._db.execute("SELECT DISTINCT camera FROM photos WHERE camera IS NOT NULL")
        return [camera for (camera,) in rows]


def _by_vector(found: Iterable[tuple[int, PhotoRow]]) -> dict[int, list[PhotoRow]]:
    photos: dict[int, list[PhotoRow]] = {}
    for vector_id, photo in found:
        photos.setdefault(vector_id, []).append(photo)
    return photos
