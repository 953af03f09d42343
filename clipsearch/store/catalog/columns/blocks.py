"""Columns as they are kept: made from photos and vectors, block by block."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clipsearch.store.catalog.selection import KNOWN
from clipsearch.store.database.paths import from_db
from clipsearch.store.engine_facts import UNKNOWN

BLOCK = 4096  # ids in a block, as the triggers have it

_DIGITS = "replace(replace(replace(substr(taken_at, 1, 19), '-', ''), 'T', ''), ':', '')"
NUMBERS = {
    "id": "id",
    # 20240501120000 on the clock there.
    "taken": f"CAST(substr({_DIGITS} || '00000000000000', 1, 14) AS INTEGER)",
    "width": "width",
    "height": "height",
    "rating": "rating",
    "locality": "locality",
    "known": " | ".join(
        f"(coalesce(({test}), 0) << {bit})" for bit, test in enumerate(KNOWN.values())
    ),
}
DEGREES = ("latitude", "longitude")
_FACTS = [f"coalesce({it}, {UNKNOWN})" for it in NUMBERS.values()]
_SELECT = (
    f"SELECT {', '.join([*_FACTS, *DEGREES])}, camera, root_id, path FROM photos"
    " WHERE id >= ? AND id < ? ORDER BY id"
)
_SELECT_VECTORS = (
    "SELECT coalesce(vectors.id, 0) FROM photos LEFT JOIN vectors"
    " ON vectors.digest = photos.digest AND model_id = ?"
    " WHERE photos.id >= ? AND photos.id < ? ORDER BY photos.id"
)


def vectors_of(model_id: int) -> str:
    """What the column of a model's vectors is called."""
    return f"vector {model_id}"


def missing(db: sqlite3.Connection, name: str) -> list[int]:
    """The blocks of a column that are not kept."""
    (last,) = db.execute("SELECT coalesce(max(id), 0) FROM photos").fetchone()
    kept = {block for (block,) in db.execute("SELECT block FROM columns WHERE name = ?", (name,))}
    return [block for block in range(last // BLOCK + 1) if block not in kept]


def is_full(db: sqlite3.Connection) -> bool:
    """Whether no block of any column is missing."""
    return not any(missing(db, name) for name in ("id", *map(vectors_of, _models(db))))


def fill(db: sqlite3.Connection, anew: bool) -> None:
    """Make what is missing, or all `anew`, to be kept; within a transaction."""
    if anew:
        db.execute("DELETE FROM columns")
    for block in missing(db, "id"):
        _keep(db, block, facts(db, block))
    for model_id in _models(db):
        name = vectors_of(model_id)
        for block in missing(db, name):
            _keep(db, block, {name: vectors(db, block, model_id)})


def _models(db: sqlite3.Connection) -> list[int]:
    return [id for (id,) in db.execute("SELECT id FROM models")]


def _keep(db: sqlite3.Connection, block: int, made: Mapping[str, bytes]) -> None:
    db.executemany(
        "INSERT INTO columns VALUES (?, ?, ?)", [(block, name, made[name]) for name in made]
    )


def facts(db: sqlite3.Connection, block: int) -> dict[str, bytes]:
    """The columns of a block, as they are kept, but those of vectors."""
    rows = db.execute(_SELECT, (block * BLOCK, (block + 1) * BLOCK)).fetchall()
    names = [*NUMBERS, *DEGREES, "camera", "root", "path"]
    values = dict(zip(names, zip(*rows, strict=True) if rows else [()] * len(names), strict=True))
    paths = [from_db(path) for path in values["path"]]
    folders = [path.rpartition("/")[0] for path in paths]
    return {
        **{name: np.array(values[name], np.int64).tobytes() for name in NUMBERS},
        **{name: np.array(values[name], np.float64).tobytes() for name in DEGREES},
        "camera": _coded(values["camera"]),
        "folder": _coded(list(zip(values["root"], folders, strict=True))),
        "type": _coded([_ending(path) for path in paths]),
    }


def vectors(db: sqlite3.Connection, block: int, model_id: int) -> bytes:
    """The column of a model's vectors in a block, as it is kept."""
    found = db.execute(_SELECT_VECTORS, (model_id, block * BLOCK, (block + 1) * BLOCK))
    return np.array([id for (id,) in found], np.int64).tobytes()


def _ending(path: str) -> str:
    """What follows the last dot of a path, with the dot, in small letters as SQL has them."""
    ending = path[max(0, path.rfind(".")) :]
    return os.fsdecode(os.fsencode(ending).lower())


def _coded(texts: Sequence[Any]) -> bytes:
    """A column of few different values: a line of JSON with these, and which one each photo has."""
    codes: dict[Any, int] = {}
    own = [codes.setdefault(text, len(codes)) for text in texts]
    return json.dumps(list(codes)).encode() + b"\n" + np.array(own, np.uint16).tobytes()


def recoded(data: bytes, values: dict[Any, int]) -> np.ndarray:
    """The codes of a block, (n,) int32, by `values`, which takes in those that are new."""
    line, _, codes = data.partition(b"\n")
    own = [tuple(it) if isinstance(it, list) else it for it in json.loads(line)]
    code_of = np.array([values.setdefault(it, len(values)) for it in own], np.int32)
    return code_of[np.frombuffer(codes, np.uint16)]
