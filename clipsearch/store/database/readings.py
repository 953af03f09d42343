"""The text that was read in pictures, by the contents of their files; copies share it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clipsearch.encoders.reading.line import Line
from clipsearch.store.database import fulltext

HAS_TEXT = "EXISTS (SELECT 1 FROM readings WHERE readings.digest = photos.digest AND lines <> '[]')"
_HAS_PHOTO = "EXISTS (SELECT 1 FROM photos WHERE photos.digest = readings.digest)"


@dataclass(frozen=True, slots=True)
class Readings:
    """How many contents of photos a model looked for text in."""

    read: int
    with_text: int


def add(connection: sqlite3.Connection, model: str, found: Mapping[str, Sequence[Line]]) -> None:
    """Keep what a model read, by digest; no line at all is kept too. Within a transaction."""
    rows = [(digest, model, _packed(lines)) for digest, lines in found.items()]
    connection.executemany("INSERT OR REPLACE INTO readings VALUES (?, ?, ?)", rows)
    fulltext.renew(connection, "digest = ?", ((digest,) for digest in found))


def lines_of(connection: sqlite3.Connection, digest: str) -> dict[str, list[Line]]:
    """What models read in a content that a photo has, by the model's name."""
    rows = connection.execute(
        f"SELECT model, lines FROM readings WHERE digest = ? AND {_HAS_PHOTO} ORDER BY model",
        (digest,),
    )
    return {model: _unpacked(lines) for model, lines in rows}


def lines_of_photos(connection: sqlite3.Connection, ids: Sequence[int]) -> dict[int, list[Line]]:
    """The lines that were read in photos, by their ids; those without any are left out."""
    rows = connection.execute(
        "SELECT photos.id, lines FROM photos JOIN readings ON readings.digest = photos.digest"
        " WHERE photos.id IN (SELECT value FROM json_each(?)) AND lines <> '[]'"
        " ORDER BY photos.id, model",
        (json.dumps(ids),),
    )
    found: dict[int, list[Line]] = {}
    for id, lines in rows:
        found.setdefault(id, []).extend(_unpacked(lines))
    return found


def count(connection: sqlite3.Connection) -> dict[str, Readings]:
    """How many contents of photos each model read, and in how many of them it found text."""
    rows = connection.execute(
        f"SELECT model, count(*), total(lines <> '[]') FROM readings WHERE {_HAS_PHOTO}"
        " GROUP BY 1 ORDER BY 1"
    )
    return {model: Readings(read, int(with_text)) for model, read, with_text in rows}


def stand_in(connection: sqlite3.Connection) -> None:
    """Have no text where an older catalog that may only be read has no table of it."""
    named = "SELECT 1 FROM sqlite_schema WHERE name = 'readings'"
    if connection.execute(named).fetchone() is None:
        connection.execute("CREATE TEMP TABLE readings (digest TEXT, model TEXT, lines TEXT)")


def _packed(lines: Sequence[Line]) -> str:
    packed = [[it.text, it.certainty, *(side for at in it.quad for side in at)] for it in lines]
    return json.dumps(packed, ensure_ascii=False, separators=(",", ":"))


def _unpacked(lines: str) -> list[Line]:
    return [
        Line(text, tuple(zip(sides[::2], sides[1::2], strict=True)), certainty)
        for text, certainty, *sides in json.loads(lines)
    ]
