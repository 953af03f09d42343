"""What is known of a photo, as columns: read from a row, and made one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import astuple, fields
from typing import Any

from clipsearch.photos.facts.facts import Facts, dated
from clipsearch.photos.files.urls import joined
from clipsearch.store.catalog.records import NewPhoto
from clipsearch.store.database.paths import from_db, to_db

FACT_NAMES = [field.name for field in fields(Facts)]  # each is a column, the keywords as JSON
FACTS = ", ".join(FACT_NAMES)
WRITE_PHOTO = (
    f"INSERT OR REPLACE INTO photos (id, root_id, path, digest, size, mtime_ns, {FACTS})"
    f" VALUES (?, ?, ?, ?, ?, ?, {', '.join('?' * len(FACT_NAMES))})"
)
_KEYWORDS = FACT_NAMES.index("keywords")


def photo_values(photo: NewPhoto) -> tuple[Any, ...]:
    """The values of a photo's row, in the order of WRITE_PHOTO."""
    facts = list(astuple(dated(photo.facts, photo.path, photo.mtime_ns)))
    keywords = facts[_KEYWORDS]
    facts[_KEYWORDS] = json.dumps(keywords, ensure_ascii=False) if keywords else None
    return (
        photo.id, photo.root_id, to_db(photo.path), photo.digest, photo.size, photo.mtime_ns,
        *facts,
    )  # fmt: skip


def facts_in(columns: Sequence[Any]) -> Facts:
    """The facts that the columns FACTS of a row hold."""
    values = list(columns)
    values[_KEYWORDS] = tuple(json.loads(values[_KEYWORDS])) if values[_KEYWORDS] else ()
    return Facts(*values)


def path_in(root: str | bytes, path: str | bytes) -> str:
    """The absolute path of a photo, from that of its root and that below it."""
    return joined(from_db(root), from_db(path))
