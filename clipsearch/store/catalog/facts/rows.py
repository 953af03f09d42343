"""What is known of a photo, as columns: read from a row, and made one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import astuple, fields
from typing import Any

from clipsearch.photos.facts.facts import Facts, Person, dated
from clipsearch.photos.files.urls import joined
from clipsearch.store.catalog.records import NewPhoto
from clipsearch.store.database.paths import from_db, to_db

FACT_NAMES = [field.name for field in fields(Facts)]  # each is a column, of several values as JSON
FACTS = ", ".join(FACT_NAMES)
WRITE_PHOTO = (
    f"INSERT OR REPLACE INTO photos (id, root_id, path, digest, size, mtime_ns, {FACTS})"
    f" VALUES (?, ?, ?, ?, ?, ?, {', '.join('?' * len(FACT_NAMES))})"
)
_KEYWORDS, _PEOPLE = FACT_NAMES.index("keywords"), FACT_NAMES.index("people")


def photo_values(photo: NewPhoto) -> tuple[Any, ...]:
    """The values of a photo's row, in the order of WRITE_PHOTO."""
    facts = columns_of(dated(photo.facts, photo.path, photo.mtime_ns))
    return (
        photo.id, photo.root_id, to_db(photo.path), photo.digest, photo.size, photo.mtime_ns,
        *facts,
    )  # fmt: skip


def columns_of(facts: Facts) -> list[Any]:
    """The facts as the columns FACTS of a row."""
    values = list(astuple(facts))
    for several in (_KEYWORDS, _PEOPLE):
        held = values[several]
        values[several] = json.dumps(held, ensure_ascii=False) if held else None
    return values


def facts_in(columns: Sequence[Any]) -> Facts:
    """The facts that the columns FACTS of a row hold."""
    values = list(columns)
    values[_KEYWORDS] = tuple(json.loads(values[_KEYWORDS])) if values[_KEYWORDS] else ()
    people = json.loads(values[_PEOPLE]) if values[_PEOPLE] else ()
    values[_PEOPLE] = tuple(Person(name, tuple(box) if box else None) for name, box in people)
    return Facts(*values)


def path_in(root: str | bytes, path: str | bytes) -> str:
    """The absolute path of a photo, from that of its root and that below it."""
    return joined(from_db(root), from_db(path))
