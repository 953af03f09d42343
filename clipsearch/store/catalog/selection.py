"""Conditions on photos in SQL, exactly; and by what photos are counted."""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from clipsearch.photos.facts.facts import TOLD
from clipsearch.photos.places.globe import kilometres
from clipsearch.plain import folded, plain_name
from clipsearch.store.conditions import (
    All,
    Below,
    Condition,
    Either,
    Has,
    Inside,
    Is,
    Located,
    Near,
    Not,
    OtherFact,
    Says,
    Shows,
    span_below,
)
from clipsearch.store.database.fulltext import saying
from clipsearch.store.database.paths import to_db
from clipsearch.store.database.readings import HAS_TEXT


@dataclass(frozen=True, slots=True)
class Selection:
    """A condition in SQL on rows of `photos`, and the values of its question marks."""

    condition: str
    values: tuple[Any, ...]


def selected(photos: Condition) -> Selection:
    """A condition in SQL."""
    match photos:
        case All(parts):
            return _joined(" AND ", parts) if parts else Selection("1", ())
        case Either(parts):
            return _joined(" OR ", parts) if parts else Selection("0", ())
        case Not(part):
            where = selected(part)
            return Selection(f"NOT coalesce(({where.condition}), 0)", where.values)
        case Has(fact):
            return Selection(KNOWN[fact], ())
        case Below():
            return _below(photos)
        case Near():
            return _near(photos)
        case Inside():
            return _inside(photos)
        case Located(words):
            return Selection(f"photos.id IN ({LOCATED})", (words,))
        case Shows(person):
            return Selection(f"photos.id IN ({SHOWING})", (person,))
        case Says(words):
            return Selection(_SAYS, (saying(words),))
        case Is():
            return _compared(photos)


def _joined(joint: str, parts: tuple[Condition, ...]) -> Selection:
    every = [selected(part) for part in parts]
    condition = _in_halves(joint, [part.condition for part in every])
    return Selection(condition, tuple(value for part in every for value in part.values))


def _in_halves(joint: str, conditions: Sequence[str]) -> str:
    # In brackets, since SQLite takes no row of more than a thousand.
    if len(conditions) == 1:
        return f"({conditions[0]})"
    half = len(conditions) // 2
    return f"({_in_halves(joint, conditions[:half])}{joint}{_in_halves(joint, conditions[half:])})"


# What can be known of a photo. A new one goes to the end, since columns have their numbers.
KNOWN = {
    "coordinates": "latitude IS NOT NULL AND longitude IS NOT NULL",
    "date": f"taken_from IN ({', '.join(map(repr, TOLD))})",
    "camera": "camera IS NOT NULL",
    "lens": "lens IS NOT NULL",
    "title": "title IS NOT NULL",
    "caption": "caption IS NOT NULL",
    "keywords": "keywords IS NOT NULL",
    "people": "people IS NOT NULL",
    "rating": "rating IS NOT NULL",
    "place": "location IS NOT NULL OR latitude IS NOT NULL AND longitude IS NOT NULL",
    "text": HAS_TEXT,
}
SHOWING = "SELECT id FROM photos WHERE people IS NOT NULL AND names_one(people, ?)"
LOCATED = "SELECT id FROM photos WHERE location IS NOT NULL AND has_words(location, ?)"
_SAYS = "photos.id IN (SELECT rowid FROM words WHERE words MATCH ?)"


def _below(it: Below) -> Selection:
    if not it.folder:
        return Selection("root_id = ?", (it.root,))
    span = span_below(it.folder)
    # Paths that are no valid text are kept as bytes, which come after all texts.
    lying = "photos.path >= ? AND photos.path < ?"
    values = (it.root, *map(to_db, span), *map(os.fsencode, span))
    return Selection(f"root_id = ? AND ({lying} OR {lying})", values)


def _near(it: Near) -> Selection:
    # A band of latitude first, which costs next to nothing; a degree of it is 111 km.
    return Selection(
        "latitude BETWEEN ? AND ? AND kilometres(latitude, longitude, ?, ?) <= ?",
        (it.latitude - it.band, it.latitude + it.band, it.latitude, it.longitude, it.kilometres),
    )


def _inside(it: Inside) -> Selection:
    joint = "AND" if it.west <= it.east else "OR"  # over the date line
    return Selection(
        f"latitude BETWEEN ? AND ? AND (longitude >= ? {joint} longitude <= ?)",
        (it.south, it.north, it.west, it.east),
    )


_FACTS = {
    # The time on the clock where it was taken, which is what people remember.
    "taken": "substr(taken_at, 1, 19)",
    "camera": "camera",
    "width": "width",
    "height": "height",
    "longer": "max(width, height)",
    "shorter": "min(width, height)",
    "pixels": "width * height",
    "rating": "rating",
    "locality": "locality",
    "id": "photos.id",
}


def _compared(it: Is) -> Selection:
    if it.fact == "type":
        return _ending(it.value)
    fact = _FACTS[it.fact]
    if it.relation == "in":
        return Selection(f"{fact} IN (SELECT value FROM json_each(?))", (json.dumps(it.value),))
    if it.relation == "contains":
        # Such facts have few values: each is compared once, and not photo by photo.
        every = f"SELECT DISTINCT ifnull({fact}, '') AS name FROM photos"
        some = f"SELECT name FROM ({every}) WHERE instr(folded(name), ?)"
        return Selection(f"{fact} IN ({some})", (it.value,))
    if isinstance(it.value, OtherFact):
        return Selection(f"{fact} {it.relation} {_FACTS[it.value.name]}", ())
    return Selection(f"{fact} {it.relation} ?", (it.value,))


def _ending(endings: tuple[str, ...]) -> Selection:
    test = "substr(lower(CAST(photos.path AS TEXT)), -?) = ?"
    values = tuple(value for ending in endings for value in (len(ending), ending))
    return Selection(" OR ".join([test] * len(endings)), values)


_NAME = "CAST(photos.path AS TEXT)"

# What photos are counted by.
TALLIED = {
    "camera": "camera",
    "month": "substr(taken_at, 1, 7)",
    "type": f"lower(replace({_NAME}, rtrim({_NAME}, replace({_NAME}, '.', '')), ''))",
    "placed": KNOWN["coordinates"],
}
# Cells of a grid of degrees, as numbers above 0 that are cut and not rounded.
FAR = 1_000_000
_BYTES = "CAST(photos.path AS BLOB)"
# In hexadecimal, since names that are no text are kept as bytes.
FOLDERS = f"hex(roots.path) || ' ' || hex(substr({_BYTES}, 1, instr({_BYTES}, x'2f')))"


VECTOR_OF_PHOTO = "SELECT 1 FROM vectors WHERE vectors.digest = photos.digest"


def lying(root_id: int, below: str, deep: bool) -> tuple[Selection, Selection]:
    """What lies in or is a folder of a root: what has text as its path, and what has bytes.

    All that does, or (not `deep`) right in it. For rows of any table with a root and a path.
    """
    return _lying_as("text", root_id, below, deep), _lying_as("blob", root_id, below, deep)


def _lying_as(kind: str, root_id: int, below: str, deep: bool) -> Selection:
    encode: Callable[[str], str | bytes] = to_db if kind == "text" else os.fsencode
    # Bytes come after all texts, so that an index finds either without a look at the other. It
    # takes one bound on each side, the first: no other than those of the span, where there is one.
    condition = "root_id = ?"
    values: list[int | str | bytes] = [root_id]
    first, end = span_below(below) if below else ("", "")
    if below:
        condition += " AND path >= ? AND path < ? AND (path = ? OR +path >= ?)"
        condition += f" AND typeof(path) = '{kind}'"  # of bytes there is no text, and the span is
        values += map(encode, (below, end, below, first))
    else:
        condition += f" AND path {'<' if kind == 'text' else '>='} x''"
    if not deep:
        condition += " AND instr(substr(path, ?), ?) = 0"
        values += [len(encode(first)) + 1, encode("/")]
    return Selection(condition, tuple(values))


def cell(grid: float) -> str:
    """What photos of one cell of a grid, so many degrees wide and high, have in common."""
    degrees = ("latitude", "longitude")
    return ", ".join(f"CAST({name} / {float(grid)!r} + {FAR} AS INTEGER)" for name in degrees)


def add_functions(db: sqlite3.Connection) -> None:
    """Have a connection know what conditions call."""
    db.create_function("kilometres", 4, _kilometres, deterministic=True)
    db.create_function("folded", 1, folded, deterministic=True)
    db.create_function("names_one", 2, _names_one, deterministic=True)
    db.create_function("has_words", 2, _has_words, deterministic=True)


def counted_people(columns: Iterable[str]) -> list[tuple[str, int]]:
    """The people in several rows' columns of them, that of most rows first."""
    names = Counter(name for people in columns for name in {it for it, _ in json.loads(people)})
    return sorted(names.items(), key=lambda it: (-it[1], it[0]))


def _names_one(people: str, wanted: str) -> bool:
    """Whether the column of people has one whose name has these words in a row."""
    return any(_has_words(name, wanted) for name, _ in json.loads(people))


def _has_words(text: str, wanted: str) -> bool:
    return f" {wanted} " in f" {plain_name(text)} "


def _kilometres(*places: float | None) -> float | None:
    """As `kilometres`, for SQLite, which may ask for it where it is not known where a photo is."""
    known = [it for it in places if it is not None]
    return kilometres(*known) if len(known) == len(places) else None
