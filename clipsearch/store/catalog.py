"""The catalog: what is known of every photo, in one SQLite file. It is the truth.

Imports sqlite_utils only to make or migrate a file: that import takes longer than a query.
"""

from __future__ import annotations

import json
import logging
import math
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from clipsearch.errors import LibraryError, ModelError
from clipsearch.photos.facts.facts import Facts, dated
from clipsearch.photos.files.mounts import network_type
from clipsearch.photos.files.opening import Place
from clipsearch.photos.files.urls import joined, path_below
from clipsearch.photos.scanning.rules import ScanRules
from clipsearch.store import changes, database, departed, words
from clipsearch.store.conditions import Condition, EngineFacts, engine_facts, folded
from clipsearch.store.database import Origin, from_db, is_below, to_db
from clipsearch.store.departed import Kept
from clipsearch.store.reading import Reading, checked

log = logging.getLogger("clipsearch")

T = TypeVar("T")

# By a folder's path below its root: names of the file systems that its photos are on; "" is the
# one of the folder above (see indexing/away.py).
Seams = Mapping[str, frozenset[str]]

MOST_QUESTIONS = 10_000  # that are remembered; the oldest go first
_ATTEMPTS = 10  # at a question, while the file changes under it
MOST_TRIES = 3  # of a file that a decoder did not come to an end with
_MANY = 500  # parameters in one statement; SQLite's oldest limit is 999


@dataclass(frozen=True, slots=True)
class Model:
    """A model whose vectors the index holds."""

    id: int
    spec: str
    weights: str  # SHA-256 of the weights, hex
    preprocess: str
    dim: int
    note: str | None  # why this model, where nobody chose it
    runtime: str = "torch"  # what embeds pictures with it, "torch" or "onnx"


@dataclass(frozen=True, slots=True)
class Root:
    """A folder that is indexed with all below it."""

    id: int
    path: str  # absolute, or a URL


@dataclass(frozen=True, slots=True)
class Known:
    """What the catalog knows of a file: enough to tell whether it changed."""

    id: int
    size: int
    mtime_ns: int
    digest: str


@dataclass(frozen=True, slots=True)
class PhotoRow:
    """One photo of the catalog."""

    id: int
    path: str  # absolute
    digest: str
    facts: Facts


class StoredPhoto(NamedTuple):
    """A photo of the catalog, and where its file is."""

    row: PhotoRow
    place: Place


class EnginePhoto(NamedTuple):
    """A photo as an engine holds it for one model."""

    id: int
    vector_id: int
    vector: bytes  # float16 row
    facts: EngineFacts


class PhotoFile(NamedTuple):
    """What tells a photo's file from its duplicates."""

    id: int
    digest: str
    size: int  # bytes
    mtime_ns: int
    width: int | None
    height: int | None
    taken: str | None  # "2024-05-01T12:00:00" on the camera's clock; None where EXIF tells none


@dataclass(frozen=True, slots=True)
class NewPhoto:
    """A photo to be written; `id` is that of the row it replaces, None for a new one."""

    id: int | None
    root_id: int
    path: str  # below the root
    digest: str  # SHA-256 of the whole file, hex
    size: int
    mtime_ns: int
    facts: Facts


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that could not be read, and why."""

    root_id: int
    path: str  # below the root
    size: int
    mtime_ns: int
    reason: str
    tries: int = 0  # 1 where the next may go well; such are counted while the file is the same


@dataclass(frozen=True, slots=True)
class Selection:
    """A condition in SQL on rows of `photos`, and the values of its question marks."""

    condition: str
    values: tuple[Any, ...]
    # The same, or a little less strict, for an engine; None where it cannot be told by its facts.
    facts: Condition | None = None


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine outside the index folder that holds the vectors, or is being given them."""

    address: str  # "milvus:http://..."
    library: str  # what tells this index from others there
    ready: bool  # whether it has them all


EVERYTHING = Selection("1", ())


@dataclass(slots=True)
class Changes:
    """What one transaction writes."""

    vectors: list[tuple[str, bytes]] = field(default_factory=list)  # digest, float16 row
    pictures: list[tuple[str, bytes]] = field(default_factory=list)  # digest, perceptual hash
    photos: list[NewPhoto] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)  # ids of photos that are photos no more


def _say_far(folder: Path, kind: str) -> None:
    log.warning(
        "the index in %s is on a network file system (%s): if two machines write to it, or the"
        " connection breaks while one does, it can be damaged; keep it on a disk of this machine,"
        " and let others read a copy of it: clipsearch copy FOLDER", folder, kind,
    )  # fmt: skip


class Catalog:
    """The SQLite file of one index folder."""

    def __init__(self, reading: Reading, far: Path | None = None) -> None:
        """With `far`, a folder on a network file system, it is read until `open_to_write`."""
        self._far = far
        self._places: Mapping[str, str] | None = None
        self._openings = 0
        self._is_asked = False
        self._take(reading)

    def _take(self, reading: Reading) -> None:
        self._reading, self._db = reading, reading.connection
        self._openings += 1
        self._db.create_function("kilometres", 4, _kilometres, deterministic=True)
        self._db.create_function("folded", 1, folded, deterministic=True)
        self.origin: Origin | None = database.origin(self._db)
        self.is_read_only = False
        if self.origin or self._far:
            self._read_only()
        if self._places:
            self.mount(self._places)

    @classmethod
    def create(cls, folder: Path) -> Catalog:
        """Open the catalog of `folder`, made or migrated first where that is needed.

        Raises:
            LibraryError: the file there is not ours, or a newer version made it.
        """
        file = folder / database.FILE_NAME
        if kind := network_type(os.path.realpath(folder)):
            if file.exists() and file.stat().st_size:
                return cls.open(folder)
            _say_far(folder, kind)
        return cls(Reading(file, database.made(folder)))

    @classmethod
    def open(cls, folder: Path) -> Catalog:
        """Open the catalog of `folder`, which must exist; the right to read will do.

        Raises:
            LibraryError: there is none, it is not ours, or a newer version made it.
        """
        far = folder if network_type(os.path.realpath(folder)) else None
        return cls(database.opened(folder, writes=far is None), far)

    @property
    def identity(self) -> str:
        """What tells an index from all others; its copies have the same."""
        return database.identity(self._db)

    def mount(self, places: Mapping[str, str]) -> None:
        """Have roots, or folders that hold some, at other places of this machine, read only."""
        self._places = places
        self._db.execute("PRAGMA query_only = OFF")
        database.mount(self._db, places)
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
        if self._places:
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
        self._take(Reading(folder / database.FILE_NAME, database.made(folder)))

    def copy(
        self,
        file: Path,
        source: Path | None,
        questions: Sequence[str],
        progress: Callable[[int, int], None],
    ) -> None:
        """Write the catalog as it is at this moment to a new file, a copy of the index `source`.

        Without one it is the catalog of an index of its own, whose vectors are in no engine. Of
        what was asked only `questions` are in it. `progress` gets the bytes written and their
        total.
        """
        database.copy(self._db, file, source, questions, progress)

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
            self._take(database.opened(before.file.parent, writes=self._far is None))
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

    def version(self) -> tuple[int, ...]:
        """Another value whenever something was written since, by anybody."""
        (others,) = self._db.execute("PRAGMA data_version").fetchone()
        return self._openings, int(others), self._db.total_changes

    def check(self) -> list[str]:
        """What SQLite finds wrong with the file, a line each; the whole of it is read."""
        orphans = self._db.execute("PRAGMA foreign_key_check").fetchall()
        lost = [f"{len(orphans)} rows belong to others that are not there"] if orphans else []
        return checked(self._db) + lost

    # Models

    def models(self) -> list[Model]:
        """The models of this index, its main one first."""
        columns = "id, spec, weights, preprocess, dim, note, runtime"
        return [
            Model(*row) for row in self._db.execute(f"SELECT {columns} FROM models ORDER BY id")
        ]

    def add_model(
        self, spec: str, weights: str, preprocess: str, dim: int, note: str | None
    ) -> Model:
        """Remember a model, and give it with its id."""
        with self.transaction():
            cursor = self._db.execute(
                "INSERT INTO models (spec, weights, preprocess, dim, note) VALUES (?, ?, ?, ?, ?)",
                (spec, weights, preprocess, dim, note),
            )
        return Model(int(cursor.lastrowid or 0), spec, weights, preprocess, dim, note)

    def set_runtime(self, model_id: int, runtime: str) -> None:
        """Remember what embeds pictures with a model from now on, "torch" or "onnx"."""
        with self.transaction():
            self._db.execute("UPDATE models SET runtime = ? WHERE id = ?", (runtime, model_id))

    def remove_model(self, model_id: int) -> None:
        """Forget a model with its vectors."""
        with self.transaction():
            for table in ("questions", "vectors", "departed_vectors", "batches"):
                self._db.execute(f"DELETE FROM {table} WHERE model_id = ?", (model_id,))
            self._db.execute("DELETE FROM models WHERE id = ?", (model_id,))

    # Roots

    def roots(self) -> list[Root]:
        """The folders of this index, by path."""
        rows = self._db.execute("SELECT id, path FROM roots ORDER BY path")
        return [Root(id, from_db(path)) for id, path in rows]

    def add_root(self, path: str) -> Root:
        """Remember a folder; roots below it become part of it, their photos kept."""
        with self.transaction():
            inner = [root for root in self.roots() if is_below(root.path, path)]
            cursor = self._db.execute("INSERT INTO roots (path) VALUES (?)", (to_db(path),))
            root = Root(int(cursor.lastrowid or 0), path)
            for old in inner:
                self._absorb(old, root)
        return root

    def remove_root(self, root_id: int) -> None:
        """Forget a folder that holds no photos any more."""
        with self.transaction():
            self._delete_root(root_id)

    def _delete_root(self, root_id: int) -> None:
        for table in ("failures", "excluded", "seams", "folder_rules"):
            self._db.execute(f"DELETE FROM {table} WHERE root_id = ?", (root_id,))
        self._db.execute("DELETE FROM roots WHERE id = ?", (root_id,))

    def _absorb(self, old: Root, root: Root) -> None:
        place = path_below(old.path, root.path)
        if not self.seams(old.id):  # whatever it lies on, it need not be there now
            self._set_seams(old.id, {"": frozenset({""})})
        self._take_along(old, root, place)
        for table in ("photos", "failures", "excluded", "seams", "folder_rules"):
            rows = self._db.execute(
                f"SELECT rowid, path FROM {table} WHERE root_id = ?", (old.id,)
            ).fetchall()
            self._db.executemany(
                f"UPDATE {table} SET root_id = ?, path = ? WHERE rowid = ?",
                [(root.id, to_db(_under(place, from_db(path))), rowid) for rowid, path in rows],
            )
        words.renew(self._db, "root_id = ?", [(root.id,)])
        self._db.execute("DELETE FROM roots WHERE id = ?", (old.id,))

    def carry_rules(self, old: Root, root: Root, place: str) -> None:
        """Have the rules and the exclusions of a root hold also in a folder of another one.

        `place` is the folder's path there, "" for all of it.
        """
        with self.transaction():
            self._take_along(old, root, place)
            for path in self.exclusions(old.id):
                values = (root.id, to_db(_under(place, path)))
                self._db.execute("INSERT OR IGNORE INTO excluded VALUES (?, ?)", values)
            for path, rules in self.folder_rules(old.id).items():
                self._set_rules(root.id, _under(place, path), rules)

    def _take_along(self, old: Root, root: Root, place: str) -> None:
        """Have the rules of a root hold in a folder of another one, where none do yet."""
        rules = self.rules(old.id)
        known = self.rules(root.id) if not place else self.folder_rules(root.id).get(place)
        if rules != ScanRules() and known in (None, ScanRules()):
            self._set_rules(root.id, place, rules)

    def rules(self, root_id: int) -> ScanRules:
        """Which photos of a root are looked at."""
        (text,) = self._db.execute("SELECT rules FROM roots WHERE id = ?", (root_id,)).fetchone()
        return _rules(text)

    def folder_rules(self, root_id: int) -> dict[str, ScanRules]:
        """What holds besides in folders that were roots before, by their paths below the root."""
        rows = self._db.execute(
            "SELECT path, rules FROM folder_rules WHERE root_id = ?", (root_id,)
        )
        return {from_db(path): _rules(text) for path, text in rows}

    def follows_links(self, root_id: int, path: str = "") -> bool:
        """Whether links are followed on the way to a path below a root; for "", anywhere."""
        own = self.folder_rules(root_id).items()
        return self.rules(root_id).follow_links or any(
            rules.follow_links for folder, rules in own if not path or is_below(path, folder)
        )

    def set_rules(self, root_id: int, rules: ScanRules, folder: str = "") -> None:
        """Remember which photos of a root are looked at, in place of what was said before.

        Or of a folder that has rules of its own, by its path below the root.
        """
        with self.transaction():
            self._set_rules(root_id, folder, rules)

    def _set_rules(self, root_id: int, folder: str, rules: ScanRules) -> None:
        text = json.dumps(asdict(rules))
        if not folder:
            self._db.execute("UPDATE roots SET rules = ? WHERE id = ?", (text, root_id))
        else:
            self._db.execute(
                "INSERT OR REPLACE INTO folder_rules VALUES (?, ?, ?)",
                (root_id, to_db(folder), text),
            )

    def seams(self, root_id: int) -> Seams:
        """The file systems that photos of a root were seen on, by the folders where each begins."""
        found: dict[str, frozenset[str]] = {}
        rows = self._db.execute("SELECT path, volume FROM seams WHERE root_id = ?", (root_id,))
        for path, volume in rows:
            found[from_db(path)] = found.get(from_db(path), frozenset()) | {volume}
        return found

    def set_seams(self, root_id: int, seams: Seams) -> None:
        """Remember the file systems of a root, in place of what was known before."""
        with self.transaction():
            self._set_seams(root_id, seams)

    def _set_seams(self, root_id: int, seams: Seams) -> None:
        self._db.execute("DELETE FROM seams WHERE root_id = ?", (root_id,))
        self._db.executemany(
            "INSERT INTO seams VALUES (?, ?, ?)",
            [(root_id, to_db(path), volume) for path, all in seams.items() for volume in all],
        )

    def exclusions(self, root_id: int) -> set[str]:
        """Paths below a root that were forgotten by hand and are not to come back."""
        rows = self._db.execute("SELECT path FROM excluded WHERE root_id = ?", (root_id,))
        return {from_db(path) for (path,) in rows}

    def exclude(self, root_id: int, path: str) -> None:
        """Keep a path below a root out of later runs."""
        with self.transaction():
            self._db.execute("INSERT OR IGNORE INTO excluded VALUES (?, ?)", (root_id, to_db(path)))

    def include(self, root_id: int, path: str) -> None:
        """Take back the exclusion of a path."""
        with self.transaction():
            self._db.execute(
                "DELETE FROM excluded WHERE root_id = ? AND path = ?", (root_id, to_db(path))
            )

    # Photos

    def count_photos(self, root_id: int | None = None) -> int:
        """How many photos the index, or one root of it, holds."""
        where = "" if root_id is None else "WHERE root_id = ?"
        arguments = () if root_id is None else (root_id,)
        (count,) = self._db.execute(f"SELECT count(*) FROM photos {where}", arguments).fetchone()
        return int(count)

    # Those of a root: all, or the ones below a folder of it, or (not `deep`) right in the folder.

    def known(self, root_id: int, below: str = "", deep: bool = True) -> dict[str, Known]:
        """What is known of each photo of a root, by its path below the root."""
        return {
            from_db(path): Known(*rest)
            for where in _lying(root_id, below, deep)
            for path, *rest in self._select("path, id, size, mtime_ns, digest", "photos", where)
        }

    def known_of_sizes(self, sizes: Iterable[int]) -> list[tuple[int, str, Known]]:
        """The photos of one of these sizes in bytes: root, path below it and what is known."""
        rows = self._db.execute(
            "SELECT root_id, path, id, size, mtime_ns, digest FROM photos"
            " WHERE size IN (SELECT value FROM json_each(?))",
            (json.dumps(list(sizes)),),
        )
        return [(root_id, from_db(path), Known(*rest)) for root_id, path, *rest in rows]

    def stamps(self, root_id: int, below: str = "", deep: bool = True) -> set[tuple[str, int, int]]:
        """The (path below the root, size, mtime_ns) of each photo of a root."""
        text, raw = _lying(root_id, below, deep)
        columns = "path, size, mtime_ns"
        stamps: set[tuple[str, int, int]] = set(self._select(columns, "photos", text))
        for path, size, mtime_ns in self._select(columns, "photos", raw):
            stamps.add((from_db(path), size, mtime_ns))
        return stamps

    def failed(
        self, root_id: int, below: str = "", deep: bool = True
    ) -> dict[str, tuple[int, int]]:
        """The (size, mtime_ns) at which each failed file of a root failed, by its path.

        The size is -1 of a file that is to be tried again.
        """
        size = f"CASE WHEN tries BETWEEN 1 AND {MOST_TRIES - 1} THEN -1 ELSE size END"
        return {
            from_db(path): (size_then, mtime_ns)
            for where in _lying(root_id, below, deep)
            for path, size_then, mtime_ns in self._select(
                f"path, {size}, mtime_ns", "failures", where
            )
        }

    def without_vector(
        self, model_id: int | None, root_id: int, below: str = "", deep: bool = True
    ) -> set[str]:
        """The paths of a root's photos that a model has not embedded yet; for None, of all."""
        # Of a whole root hardly ever one lacks it, which the digests in their order tell sooner.
        if deep and not below and not self.digests_without_vector(model_id):
            return set()
        lacking = f" AND NOT EXISTS ({_VECTOR_OF_PHOTO} AND model_id = ?)"
        return {
            from_db(path)
            for lying in _lying(root_id, below, deep)
            for (path,) in self._select(
                "path",
                "photos",
                Selection(lying.condition + lacking, (*lying.values, model_id)),
            )
        }

    def _select(self, columns: str, table: str, where: Selection) -> Iterable[Any]:
        return self._db.execute(
            f"SELECT {columns} FROM {table} WHERE {where.condition}", where.values
        )

    def failures(self) -> list[tuple[str, str]]:
        """The absolute path of every file that could not be read, and the reason."""
        rows = self._db.execute(
            "SELECT roots.path, failures.path, reason FROM failures"
            " JOIN roots ON roots.id = root_id ORDER BY roots.path, failures.path"
        )
        return [(_join(root, path), reason) for root, path, reason in rows]

    def passing_failures(self) -> list[str]:
        """The absolute paths of the files that may be readable though they did not change."""
        rows = self._db.execute(
            "SELECT roots.path, failures.path FROM failures JOIN roots ON roots.id = root_id"
            " WHERE size < 0 ORDER BY root_id, failures.path"
        )
        return [_join(root, path) for root, path in rows]

    def digests_without_vector(self, model_id: int | None) -> set[str]:
        """The contents of photos that a model has not embedded yet; for None, of all photos."""
        # In the order of the digests, which both indexes have; any other is five times as slow.
        rows = self._db.execute(
            "SELECT digest FROM photos INDEXED BY photos_by_digest"
            f" WHERE NOT EXISTS ({_VECTOR_OF_PHOTO} AND model_id = ?)",
            (model_id,),
        )
        return {digest for (digest,) in rows}

    def taken_sizes(self, sizes: Iterable[int]) -> set[int]:
        """Those of these sizes in bytes that photos have, or had that left not long ago."""
        wanted = json.dumps(list(sizes))
        rows = self._db.execute(
            "SELECT DISTINCT size FROM photos WHERE size IN (SELECT value FROM json_each(?))",
            (wanted,),
        )
        return {size for (size,) in rows} | departed.sizes(self._db, wanted)

    def embedded_of_sizes(self, model_id: int, sizes: Iterable[int]) -> set[str]:
        """The contents of one of these sizes in bytes that a model embedded.

        Those of photos, and of such as left not long ago.
        """
        wanted = json.dumps(list(sizes))
        rows = self._db.execute(
            "SELECT digest FROM photos WHERE size IN (SELECT value FROM json_each(?))"
            f" AND EXISTS ({_VECTOR_OF_PHOTO} AND model_id = ?)",
            (wanted, model_id),
        )
        found = {digest for (digest,) in rows}
        return found | departed.embedded_of_sizes(self._db, model_id, wanted)

    def facts_of(self, digest: str) -> Facts | None:
        """The facts of a photo that has this content, or had it; None where there is none."""
        row = self._db.execute(
            f"SELECT {_FACTS} FROM photos WHERE digest = ? LIMIT 1", (digest,)
        ).fetchone()
        if row is None and (kept := departed.facts_of(self._db, digest)):
            row = [kept.get(name) for name in _FACT_NAMES]
        return _facts(row) if row else None

    def photos_of_vectors(
        self, ids: Sequence[int], selection: Selection = EVERYTHING
    ) -> dict[int, list[PhotoRow]]:
        """The selected photos that show what each vector embeds, by vector id; copies share one."""
        photos: dict[int, list[PhotoRow]] = {}
        for some in _chunks(ids):
            rows = self._db.execute(
                f"SELECT vectors.id, photos.id, roots.path, photos.path, photos.digest, {_FACTS}"
                " FROM vectors"
                " JOIN photos ON photos.digest = vectors.digest"
                " JOIN roots ON roots.id = photos.root_id"
                f" WHERE vectors.id IN ({_marks(some)}) AND ({selection.condition})"
                " ORDER BY photos.id",
                (*some, *selection.values),
            )
            for vector_id, photo_id, root, path, digest, *facts in rows:
                row = PhotoRow(photo_id, _join(root, path), digest, _facts(facts))
                photos.setdefault(vector_id, []).append(row)
        return photos

    def photos(
        self, selection: Selection = EVERYTHING, limit: int = -1, offset: int = 0
    ) -> list[PhotoRow]:
        """The selected photos, the latest taken first, from the one at `offset` on.

        Not more than `limit` unless negative.
        """
        rows = self._db.execute(
            f"SELECT photos.id, roots.path, photos.path, digest, {_FACTS} FROM photos"
            f" JOIN roots ON roots.id = root_id WHERE {selection.condition}"
            " ORDER BY taken_at IS NULL, substr(taken_at, 1, 19) DESC, roots.path, photos.path"
            " LIMIT ? OFFSET ?",
            (*selection.values, limit, offset),
        )
        return [
            PhotoRow(id, _join(root, path), digest, _facts(facts))
            for id, root, path, digest, *facts in rows
        ]

    def stored(self, photo_id: int) -> StoredPhoto | None:
        """A photo and where its file is, by its id; None where there is no such photo."""
        row = self._db.execute(
            "SELECT photos.id, digest, root_id, roots.path, photos.path, size, mtime_ns,"
            f" {_FACTS} FROM photos JOIN roots ON roots.id = root_id WHERE photos.id = ?",
            (photo_id,),
        ).fetchone()
        if row is None:
            return None
        id, digest, root_id, root, path, size, mtime_ns, *facts = row
        through_links = self.follows_links(root_id, from_db(path))
        place = Place(from_db(root), from_db(path), size, mtime_ns, through_links)
        return StoredPhoto(PhotoRow(id, _join(root, path), digest, _facts(facts)), place)

    def count_selected(self, selection: Selection) -> int:
        """How many photos are selected."""
        (count,) = self._db.execute(
            f"SELECT count(*) FROM photos WHERE {selection.condition}", selection.values
        ).fetchone()
        return int(count)

    def tally(self, expression: str, selection: Selection = EVERYTHING) -> list[tuple[Any, int]]:
        """How many of the selected photos have each value of an SQL expression, that of most first.

        Bytes stand for text that is not valid UTF-8.
        """
        return self._db.execute(
            f"SELECT {expression} AS value, count(*) FROM photos"
            f" JOIN roots ON roots.id = root_id WHERE {selection.condition}"
            " GROUP BY value ORDER BY count(*) DESC, value",
            selection.values,
        ).fetchall()

    def selected_vectors(self, model_id: int, selection: Selection) -> Iterator[int]:
        """The ids of a model's vectors of the selected photos, ascending."""
        # CROSS, so that the photos come first: the other way round all vectors would be looked at.
        rows = self._db.execute(
            "SELECT DISTINCT vectors.id FROM (SELECT digest FROM photos WHERE"
            f" {selection.condition}) AS chosen CROSS JOIN vectors"
            " ON vectors.digest = chosen.digest AND model_id = ? ORDER BY vectors.id",
            (*selection.values, model_id),
        )
        return (id for (id,) in rows)

    def vectors_of_photos(self, model_id: int, selection: Selection = EVERYTHING) -> list[int]:
        """The id of each selected photo's vector; that of copies is given for each of them."""
        rows = self._db.execute(
            "SELECT vectors.id FROM photos CROSS JOIN vectors ON vectors.digest = photos.digest"
            f" AND model_id = ? WHERE {selection.condition}",
            (model_id, *selection.values),
        )
        return [id for (id,) in rows]

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
            self._db.executemany(_WRITE_PICTURE, changes.pictures)
            departed.note(self._db, _FACT_NAMES, _WRITTEN_OVER, _places_of(changes.photos))
            # A photo may take the place of another, of which the words would stay.
            self._db.executemany(f"DELETE FROM words WHERE rowid IN ({_PHOTO_AT})", done)
            self._db.executemany(_WRITE_PHOTO, [_photo_values(photo) for photo in changes.photos])
            words.renew(self._db, f"id IN ({_PHOTO_AT})", done)
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
        from clipsearch.store.units import unit_rows  # a run with nothing to do needs no NumPy

        spec, dim = self._db.execute(
            "SELECT spec, dim FROM models WHERE id = ?", (model_id,)
        ).fetchone()
        _, good = unit_rows([row for _, row in vectors], dim)
        if not good.all():
            raise ModelError(
                f"{spec} gave {int((~good).sum())} embeddings that are not {dim} finite numbers of"
                " unit length; they were not kept, nor what came with them"
            )

    def _stamp(self, model_id: int, last_id: int) -> None:
        """Tell this state from any that another history of this catalog may come to."""
        self._db.execute("INSERT INTO batches VALUES (?, ?, randomblob(8))", (model_id, last_id))

    def move_photos(self, moves: Iterable[tuple[int, int, str]]) -> None:
        """Have photos, by id, at another root and path below it."""
        rows = [(root_id, to_db(path), id) for id, root_id, path in moves]
        with self.transaction():
            self._db.executemany("UPDATE photos SET root_id = ?, path = ? WHERE id = ?", rows)
            words.renew(self._db, "id = ?", _ones(id for _, _, id in rows))

    def remove_photos(self, ids: Iterable[int]) -> None:
        """Take photos out; `sweep` then puts aside the vectors that no photo has any more."""
        with self.transaction():
            self._delete_photos(list(ids))

    def _delete_photos(self, ids: Sequence[int]) -> None:
        departed.note(self._db, _FACT_NAMES, "id = ?", _ones(ids))
        self._db.executemany("DELETE FROM photos WHERE id = ?", _ones(ids))
        self._db.executemany("DELETE FROM words WHERE rowid = ?", _ones(ids))

    def remove_failures(self, paths: Iterable[tuple[int, str]]) -> None:
        """Forget that these files, by root id and path below it, could not be read."""
        with self.transaction():
            self._db.executemany(
                "DELETE FROM failures WHERE root_id = ? AND path = ?",
                [(root_id, to_db(path)) for root_id, path in paths],
            )

    def sweep(self, digests: Iterable[str] | None = None) -> None:
        """Put aside the vectors of contents that no photo has any more; of these, or of all.

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

    def _add_vector(self, model_id: int, digest: str, vector: bytes) -> tuple[int, bytes] | None:
        cursor = self._db.execute(
            "INSERT OR IGNORE INTO vectors (digest, model_id, vector) VALUES (?, ?, ?)",
            (digest, model_id, vector),
        )
        return (int(cursor.lastrowid or 0), vector) if cursor.rowcount else None

    # Questions

    def answered(self, model_id: int, texts: Iterable[str]) -> dict[str, bytes]:
        """The float32 rows of those texts that a model has embedded before, by text."""
        select = "SELECT vector FROM questions WHERE model_id = ? AND text = ?"
        found = ((text, self._db.execute(select, (model_id, text)).fetchone()) for text in texts)
        return {text: row[0] for text, row in found if row}

    def remember(self, model_id: int, vectors: Mapping[str, bytes]) -> None:
        """Keep the float32 rows of texts, unless the index is read-only or being written to."""
        (patience,) = self._db.execute("PRAGMA busy_timeout").fetchone()
        self._db.execute("PRAGMA busy_timeout = 0")
        try:
            with self.transaction():
                self._db.executemany(
                    "INSERT OR REPLACE INTO questions VALUES (?, ?, ?)",
                    [(model_id, text, vector) for text, vector in vectors.items()],
                )
                self._db.execute(
                    "DELETE FROM questions WHERE rowid <="
                    " (SELECT max(rowid) FROM questions) - ?", (MOST_QUESTIONS,)
                )  # fmt: skip
        except sqlite3.Error:
            pass  # asking again costs a moment; an answer is due in any case
        finally:
            self._db.execute(f"PRAGMA busy_timeout = {patience}")

    # Pictures

    def files(self) -> list[PhotoFile]:
        """The files of all photos."""
        rows = self._db.execute(
            "SELECT id, digest, size, mtime_ns, width, height,"
            " CASE taken_from WHEN 'exif' THEN substr(taken_at, 1, 19) END FROM photos"
        )
        return [PhotoFile(*row) for row in rows]

    def pictures(self) -> dict[str, bytes]:
        """The perceptual hashes that are known, by digest; empty bytes for a plain picture."""
        return dict(self._db.execute("SELECT digest, phash FROM pictures"))

    def add_pictures(self, pictures: Iterable[tuple[str, bytes]]) -> None:
        """Remember perceptual hashes, by digest."""
        with self.transaction():
            self._db.executemany(_WRITE_PICTURE, pictures)

    def paths_without_picture(self) -> dict[str, str]:
        """A file's absolute path for each content whose perceptual hash is not known."""
        rows = self._db.execute(
            "SELECT digest, roots.path, photos.path FROM photos"
            " JOIN roots ON roots.id = root_id"
            " WHERE NOT EXISTS (SELECT 1 FROM pictures WHERE pictures.digest = photos.digest)"
        )
        return {digest: _join(root, path) for digest, root, path in rows}

    # Captions and words

    def add_captions(self, model: str, captions: Mapping[str, str]) -> None:
        """Remember what a model wrote, by digest."""
        with self.transaction():
            self._db.executemany(
                "INSERT OR REPLACE INTO captions VALUES (?, ?, ?)",
                [(digest, model, text) for digest, text in captions.items()],
            )
            words.renew(self._db, "digest = ?", _ones(captions))

    def captions_of(self, digest: str) -> dict[str, str]:
        """What models wrote about a content, by the model's name."""
        select = (
            f"SELECT model, text FROM captions WHERE digest = ? AND {_HAS_PHOTO} ORDER BY model"
        )
        return dict(self._db.execute(select, (digest,)))

    def count_captions(self) -> dict[str, int]:
        """How many contents of photos each model wrote a caption for."""
        select = f"SELECT model, count(*) FROM captions WHERE {_HAS_PHOTO} GROUP BY 1 ORDER BY 1"
        return dict(self._db.execute(select))

    def paths_without_caption(
        self, model: str, selection: Selection = EVERYTHING
    ) -> dict[str, str]:
        """A file's absolute path for each selected photos' content without a model's caption."""
        rows = self._db.execute(
            "SELECT digest, roots.path, photos.path FROM photos"
            f" JOIN roots ON roots.id = root_id WHERE ({selection.condition}) AND NOT EXISTS"
            " (SELECT 1 FROM captions WHERE captions.digest = photos.digest AND model = ?)"
            " ORDER BY photos.id",
            (*selection.values, model),
        )
        return {digest: _join(root, path) for digest, root, path in rows}

    def photos_with_words(
        self, model_id: int, expression: str, selection: Selection = EVERYTHING
    ) -> list[tuple[int, float]]:
        """The selected photos that a full-text search finds: (id, BM25), the lowest and best first.

        Of those that a model has embedded. `expression` is in FTS5's language.
        """
        return self._db.execute(
            "SELECT rowid, rank FROM words WHERE words MATCH ? AND rowid IN"
            f" (SELECT id FROM photos WHERE ({selection.condition})"
            f" AND EXISTS ({_VECTOR_OF_PHOTO} AND model_id = ?)) ORDER BY rank, rowid",
            (expression, *selection.values, model_id),
        ).fetchall()

    def rebuild_words(self) -> None:
        """Write the full-text table anew."""
        with self.transaction():
            words.rebuild(self._db)

    # Vectors

    def vectors_of(self, model_id: int, digests: Sequence[str]) -> dict[str, bytes]:
        """The float16 rows of contents, by digest, of those that a model has embedded."""
        rows = self._db.execute(
            "SELECT digest, vector FROM vectors WHERE model_id = ?"
            " AND digest IN (SELECT value FROM json_each(?))",
            (model_id, json.dumps(digests)),
        )
        return dict(rows)

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

    def remove_damaged_vectors(self) -> None:
        """Delete vectors that are no embeddings, so that their photos are embedded again."""
        from clipsearch.store import units

        with self.transaction():
            for model in self.models():
                units.remove_others(self._db, model.id, model.dim)

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

    def vector_of(self, model_id: int, digest: str) -> bytes | None:
        """The float16 row of a content, None where the model has not embedded it."""
        row = self._db.execute(
            "SELECT vector FROM vectors WHERE digest = ? AND model_id = ?", (digest, model_id)
        ).fetchone()
        return row[0] if row else None

    def rows_of(self, ids: Sequence[int]) -> dict[int, bytes]:
        """The float16 rows of vectors, by their ids."""
        rows = self._db.execute(
            "SELECT id, vector FROM vectors WHERE id IN (SELECT value FROM json_each(?))",
            (json.dumps(ids),),
        )
        return dict(rows)

    # The engine that the vectors are in, where it is not the files of the index folder

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
            changes.start(self._db)

    def keep_engine(self, address: str | None) -> None:
        """Search this engine from now on, None for the files, and forget all others."""
        with self.transaction():
            self._db.execute("DELETE FROM stores WHERE address IS NOT ?", (address,))
            self._db.execute("UPDATE stores SET ready = 1")
            if address is None:
                changes.stop(self._db)

    def revision(self) -> int:
        """The latest revision of the log of changes."""
        return changes.last(self._db)

    def changed_after(self, revision: int, limit: int) -> Sequence[tuple[int, int]]:
        """The (revision, photo id) of what changed after a revision, the oldest first."""
        return changes.after(self._db, revision, limit)

    def engine_photos(self, model_id: int, ids: Sequence[int]) -> list[EnginePhoto]:
        """Those of these photos that a model has embedded, by id."""
        rows = self._db.execute(
            f"SELECT photos.id, vectors.id, vector, {', '.join(_ENGINE_COLUMNS)} FROM photos"
            " JOIN vectors ON vectors.digest = photos.digest AND model_id = ?"
            " WHERE photos.id IN (SELECT value FROM json_each(?)) ORDER BY photos.id",
            (model_id, json.dumps(ids)),
        )
        return [
            EnginePhoto(id, vector_id, row, _as_engine_facts(facts))
            for id, vector_id, row, *facts in rows
        ]

    def embedded_photos(self, model_id: int) -> Iterator[int]:
        """The ids of the photos that a model has embedded, ascending."""
        rows = self._db.execute(
            f"SELECT id FROM photos WHERE EXISTS ({_VECTOR_OF_PHOTO} AND model_id = ?) ORDER BY id",
            (model_id,),
        )
        return (id for (id,) in rows)

    def count_embedded_photos(self, model_id: int) -> int:
        """How many photos a model has embedded."""
        (count,) = self._db.execute(
            f"SELECT count(*) FROM photos WHERE EXISTS ({_VECTOR_OF_PHOTO} AND model_id = ?)",
            (model_id,),
        ).fetchone()
        return int(count)

    def cameras(self) -> list[str]:
        """The names of all cameras."""
        rows = self._db.execute("SELECT DISTINCT camera FROM photos WHERE camera IS NOT NULL")
        return [camera for (camera,) in rows]


_ENGINE_COLUMNS = (
    "root_id", "path", "taken_at", "taken_from", "camera", "latitude", "longitude", "width",
    "height",
)  # fmt: skip
_VECTOR_OF_PHOTO = "SELECT 1 FROM vectors WHERE vectors.digest = photos.digest"
_HAS_PHOTO = "EXISTS (SELECT 1 FROM photos WHERE photos.digest = captions.digest)"
# Photos that are written over with another content: at their id or at their path.
_WRITTEN_OVER = "(id = ?1 OR root_id = ?2 AND path = ?3) AND digest <> ?4"
_PHOTO_AT = "SELECT id FROM photos WHERE root_id = ? AND path = ?"
_WRITE_PICTURE = "INSERT OR REPLACE INTO pictures VALUES (?, ?)"
_WRITE_FAILURE = (
    "INSERT INTO failures (root_id, path, size, mtime_ns, reason, tries) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (root_id, path) DO UPDATE SET size = excluded.size, mtime_ns = excluded.mtime_ns,"
    " reason = excluded.reason, tries = excluded.tries + (excluded.tries > 0"
    " AND size = excluded.size AND mtime_ns = excluded.mtime_ns) * tries"
)
_FACT_NAMES = [field.name for field in fields(Facts)]  # each is a column, the keywords as JSON
_KEYWORDS = _FACT_NAMES.index("keywords")
_FACTS = ", ".join(_FACT_NAMES)
_WRITE_PHOTO = (
    f"INSERT OR REPLACE INTO photos (id, root_id, path, digest, size, mtime_ns, {_FACTS})"
    f" VALUES (?, ?, ?, ?, ?, ?, {', '.join('?' * len(_FACT_NAMES))})"
)


def _as_engine_facts(values: Sequence[Any]) -> EngineFacts:
    return engine_facts(dict(zip(_ENGINE_COLUMNS, values, strict=True)))


def _rules(text: str | None) -> ScanRules:
    if not text:
        return ScanRules()
    kept = json.loads(text)
    kept |= {name: tuple(kept[name]) for name in ("include", "exclude")}
    return ScanRules(**kept)


def _places_of(photos: Iterable[NewPhoto]) -> list[tuple[int | None, int, str | bytes, str]]:
    return [(photo.id, photo.root_id, to_db(photo.path), photo.digest) for photo in photos]


def _photo_values(photo: NewPhoto) -> tuple[Any, ...]:
    facts = list(astuple(dated(photo.facts, photo.path, photo.mtime_ns)))
    keywords = facts[_KEYWORDS]
    facts[_KEYWORDS] = json.dumps(keywords, ensure_ascii=False) if keywords else None
    return (
        photo.id, photo.root_id, to_db(photo.path), photo.digest, photo.size, photo.mtime_ns,
        *facts,
    )  # fmt: skip


def _facts(row: Sequence[Any]) -> Facts:
    values = list(row)
    values[_KEYWORDS] = tuple(json.loads(values[_KEYWORDS])) if values[_KEYWORDS] else ()
    return Facts(*values)


def _lying(root_id: int, below: str, deep: bool) -> tuple[Selection, Selection]:
    """Rows by where in a root they lie: those whose path is text, and those where it is bytes."""
    return _lying_as("text", root_id, below, deep), _lying_as("blob", root_id, below, deep)


def _lying_as(kind: str, root_id: int, below: str, deep: bool) -> Selection:
    encode: Callable[[str], str | bytes] = to_db if kind == "text" else os.fsencode
    # Bytes come after all texts, so that an index finds either without a look at the other.
    condition = f"root_id = ? AND path {'<' if kind == 'text' else '>='} x''"
    values: list[int | str | bytes] = [root_id]
    prefix = f"{below}/" if below else ""
    if below:
        # In the order of paths, "0" comes right after "/".
        condition += " AND path >= ? AND path < ? AND (path = ? OR path >= ?)"
        values += map(encode, (below, f"{below}0", below, prefix))
    if not deep:
        condition += " AND instr(substr(path, ?), ?) = 0"
        values += [len(encode(prefix)) + 1, encode("/")]
    return Selection(condition, tuple(values))


def _kilometres(latitude: float, longitude: float, other: float, further: float) -> float:
    """The distance of two places in degrees on a sphere of the Earth's size, by haversines."""
    here, there = math.radians(latitude), math.radians(other)
    half = math.sin((there - here) / 2) ** 2
    half += math.cos(here) * math.cos(there) * math.sin(math.radians(further - longitude) / 2) ** 2
    return 2 * 6371.0088 * math.asin(math.sqrt(min(1.0, half)))


def _join(root: str | bytes, path: str | bytes) -> str:
    return joined(from_db(root), from_db(path))


def _under(folder: str, path: str) -> str:
    """What lies at `path` below a folder, both below a root and "" for itself."""
    return "/".join(filter(None, (folder, path)))


def _chunks(values: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(values), _MANY):
        yield values[start : start + _MANY]


def _ones(values: Iterable[T]) -> list[tuple[T]]:
    return [(value,) for value in values]


def _marks(values: Sequence[int]) -> str:
    return ",".join("?" * len(values))
