"""What no photo has any more is kept for a while: whoever comes back is not embedded again.

A content departs when its last photo leaves. Its vectors move from `vectors` to a table of their
own, where no search and no count meets them, and come back under new ids, since ids are never used
twice. Its perceptual hash, captions and text stay in their tables. When its time is over all of it
goes.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

MOST_DAYS = 36_500

_DAY = 86_400  # seconds
_NO_PHOTO = "NOT EXISTS (SELECT 1 FROM photos WHERE photos.digest = {table}.digest)"


@dataclass(frozen=True, slots=True)
class Kept:
    """Contents that left the index and are kept for when they come back."""

    contents: int
    bytes: int  # of their embeddings
    days: int  # that a content is kept from when it left


def note(
    db: sqlite3.Connection, facts: Sequence[str], condition: str, values: Iterable[Any]
) -> None:
    """Write down the contents of photos that are about to leave, or to be written over.

    Those that have other photos stay all the same: `sweep` tells. `facts` are columns.
    """
    now, columns = int(time.time()), ", ".join(facts)
    select = f"SELECT digest, size, {columns} FROM photos WHERE {condition}"
    rows = [
        (digest, size, now, json.dumps(dict(zip(facts, own, strict=True))))
        for some in values
        for digest, size, *own in db.execute(select, some)
    ]
    db.executemany(
        "INSERT OR REPLACE INTO departed (digest, size, since, days, facts)"
        " SELECT ?, ?, ?, kept_for, ? FROM library", rows,
    )  # fmt: skip


def sweep(db: sqlite3.Connection, digests: Iterable[str] | None) -> None:
    """Have the contents that no photo has any more depart; of these, or of all.

    With these go such as a run left behind that was stopped before it came to this.
    """
    some = None if digests is None else [(it,) for it in {*digests, *_left_behind(db)}]
    for statement, table in (
        ("INSERT OR REPLACE INTO departed_vectors SELECT digest, model_id, vector FROM vectors"
         " WHERE {those} AND digest IN (SELECT digest FROM departed)", "vectors"),
        ("DELETE FROM vectors WHERE {those}", "vectors"),
        ("DELETE FROM pictures WHERE {those} AND digest NOT IN (SELECT digest FROM departed)",
         "pictures"),
        ("DELETE FROM captions WHERE {those} AND digest NOT IN (SELECT digest FROM departed)",
         "captions"),
        ("DELETE FROM readings WHERE {those} AND digest NOT IN (SELECT digest FROM departed)",
         "readings"),
    ):  # fmt: skip
        if some is None:
            those = f"digest IN (SELECT digest FROM {table} EXCEPT SELECT digest FROM photos)"
            db.execute(statement.format(those=those))
        else:
            those = f"digest = ?1 AND {_NO_PHOTO.format(table=table)}"
            db.executemany(statement.format(those=those), some)


def _left_behind(db: sqlite3.Connection) -> Iterator[str]:
    rows = db.execute(
        "SELECT digest FROM departed WHERE EXISTS"
        " (SELECT 1 FROM vectors WHERE vectors.digest = departed.digest)"
        f" AND {_NO_PHOTO.format(table='departed')}"
    )
    return (digest for (digest,) in rows)


def bring_back(db: sqlite3.Connection, digests: Iterable[str]) -> Iterator[tuple[int, int, bytes]]:
    """Have contents back that photos have again: (model id, new id, vector), the ids ascending."""
    back = (
        "INSERT OR IGNORE INTO vectors (digest, model_id, vector)"
        " SELECT digest, model_id, vector FROM departed_vectors WHERE digest = ?"
        " RETURNING model_id, id, vector"
    )
    for digest in digests:
        if db.execute("SELECT 1 FROM departed WHERE digest = ?", (digest,)).fetchone():
            yield from sorted(db.execute(back, (digest,)).fetchall(), key=itemgetter(1))
            _remove(db, [(digest,)])


def keep_for(db: sqlite3.Connection, days: int, digests: Iterable[str] | None = None) -> None:
    """Keep these contents so many days from when they left; for None all, and later ones."""
    if digests is None:
        db.execute("UPDATE library SET kept_for = ?", (days,))
        db.execute("UPDATE departed SET days = ?", (days,))
    else:
        values = [(days, digest) for digest in digests]
        db.executemany("UPDATE departed SET days = ? WHERE digest = ?", values)


def expired(db: sqlite3.Connection) -> list[tuple[str]]:
    """The contents whose time is over."""
    over = f"SELECT digest FROM departed WHERE since + days * {_DAY} <= ?"
    return db.execute(over, (int(time.time()),)).fetchall()


def remove(db: sqlite3.Connection, digests: Sequence[tuple[str]]) -> None:
    """Remove departed contents with all that is known of them."""
    _remove(db, digests)
    for table in ("pictures", "captions", "readings"):
        gone = f"DELETE FROM {table} WHERE digest = ? AND {_NO_PHOTO.format(table=table)}"
        db.executemany(gone, digests)


def _remove(db: sqlite3.Connection, digests: Sequence[tuple[str]]) -> None:
    for table in ("departed_vectors", "departed"):
        db.executemany(f"DELETE FROM {table} WHERE digest = ?", digests)


def sizes(db: sqlite3.Connection, wanted: str) -> set[int]:
    """Those of these file sizes, a JSON array, that departed contents have."""
    rows = db.execute(
        "SELECT DISTINCT size FROM departed WHERE size IN (SELECT value FROM json_each(?))",
        (wanted,),
    )
    return {size for (size,) in rows}


def embedded_of_sizes(db: sqlite3.Connection, model_id: int, wanted: str) -> set[str]:
    """The departed contents of one of these file sizes that a model has embedded."""
    rows = db.execute(
        "SELECT digest FROM departed WHERE size IN (SELECT value FROM json_each(?1)) AND ("
        " EXISTS (SELECT 1 FROM departed_vectors AS v WHERE v.digest = departed.digest"
        " AND v.model_id = ?2) OR EXISTS (SELECT 1 FROM vectors AS v"
        " WHERE v.digest = departed.digest AND v.model_id = ?2))",
        (wanted, model_id),
    )
    return {digest for (digest,) in rows}


def facts_of(db: sqlite3.Connection, digest: str) -> dict[str, Any] | None:
    """The facts of a departed content, by their columns; None where there is none."""
    row = db.execute("SELECT facts FROM departed WHERE digest = ?", (digest,)).fetchone()
    return json.loads(row[0]) if row else None


def kept(db: sqlite3.Connection) -> Kept:
    """How much is kept."""
    (days,) = db.execute("SELECT kept_for FROM library").fetchone()
    gone = _NO_PHOTO.format(table="departed")
    (contents,) = db.execute(f"SELECT count(*) FROM departed WHERE {gone}").fetchone()
    (size,) = db.execute("SELECT total(length(vector)) FROM departed_vectors").fetchone()
    return Kept(contents, int(size), days)
