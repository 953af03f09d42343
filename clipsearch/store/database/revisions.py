"""The log of photos that changed, which says what an outside engine has yet to be told.

It is kept by triggers, and so by whatever writes to the catalog, but only while there is an
engine to tell. A photo stands in it once, at the last revision at which it or its vector changed;
also when it is gone by now.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

# An INSERT OR REPLACE would follow the conflict clause of the statement that fires the trigger.
_NOTE = """
    DELETE FROM changed WHERE photo_id IN ({ids});
    INSERT INTO changed (photo_id) {ids};
"""
_TRIGGERS = {
    # What a row replaces goes away without a trigger of its own.
    "photo_replaced": (
        "BEFORE INSERT ON photos",
        "SELECT id FROM photos WHERE root_id = NEW.root_id AND path = NEW.path",
    ),
    "photo_added": ("AFTER INSERT ON photos", "SELECT NEW.id"),
    "photo_changed": ("AFTER UPDATE ON photos", "SELECT NEW.id"),
    "photo_removed": ("AFTER DELETE ON photos", "SELECT OLD.id"),
    "vector_added": (
        "AFTER INSERT ON vectors",
        "SELECT id FROM photos WHERE digest = NEW.digest",
    ),
}


def start(db: sqlite3.Connection) -> None:
    """Write down from now on what changes, and all photos that there are as changed."""
    for name, (when, ids) in _TRIGGERS.items():
        note = _NOTE.format(ids=ids)
        db.execute(f"CREATE TRIGGER IF NOT EXISTS {name} {when} BEGIN {note} END")
    db.execute("INSERT OR IGNORE INTO changed (photo_id) SELECT id FROM photos ORDER BY id")


def stop(db: sqlite3.Connection) -> None:
    """Write nothing down any more, and forget what was."""
    for name in _TRIGGERS:
        db.execute(f"DROP TRIGGER IF EXISTS {name}")
    db.execute("DELETE FROM changed")


def last(db: sqlite3.Connection) -> int:
    """The latest revision, 0 for none; a number is never used twice."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'changed'").fetchone()
    return int(row[0]) if row else 0


def after(db: sqlite3.Connection, revision: int, limit: int) -> Sequence[tuple[int, int]]:
    """The (revision, photo id) of what changed after a revision, the oldest first."""
    return db.execute(
        "SELECT revision, photo_id FROM changed WHERE revision > ? ORDER BY revision LIMIT ?",
        (revision, limit),
    ).fetchall()
