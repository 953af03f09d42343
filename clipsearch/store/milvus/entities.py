"""What Milvus keeps of a photo: an entity of its vector and the facts that filters need; and what
a search for vectors finds among entities.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from clipsearch.store.catalog import EnginePhoto
from clipsearch.store.engine_facts import EngineFacts
from clipsearch.store.vectors.matches import NOTHING, Matches

MOST_TEXT = 65_535  # bytes, the most that Milvus allows
FIELDS = ("photo", "vector_id", "vector", *EngineFacts._fields)

Entity = dict[str, Any]


def entity_of(photo: EnginePhoto, half: bool) -> Entity:
    """A photo as Milvus is given it, its vector in float16 if `half`, else in float32."""
    row = np.frombuffer(photo.vector, np.float16)
    facts = photo.facts._asdict()
    return {
        "photo": photo.id,
        "vector_id": photo.vector_id,
        "vector": row if half else row.astype(np.float32),
        **{name: fitting(value) for name, value in facts.items()},
    }


def same(wanted: Entity, held: Entity | None) -> bool:
    """Whether Milvus holds what it was given, to the last bit of float16."""
    if held is None:
        return False
    row = held["vector"]
    if isinstance(row, list) and row and isinstance(row[0], bytes):
        row = np.frombuffer(row[0], np.float16)
    same = np.array_equal(np.asarray(row, np.float32), wanted["vector"].astype(np.float32))
    return same and all(held[name] == wanted[name] for name in ("vector_id", *EngineFacts._fields))


def fitting(value: Any) -> Any:
    """A text cut to what Milvus takes, without what it does not; anything else as it is."""
    if not isinstance(value, str):
        return value
    valid = value.encode("utf-8", "backslashreplace")
    return valid[:MOST_TEXT].decode("utf-8", "ignore").replace("\0", "")


def matches_of(entities: Any) -> Matches:
    """The vectors of entities that a search found, best first, each once."""
    ids = np.array([entity["entity"]["vector_id"] for entity in entities], np.int64)
    scores = np.array([entity["distance"] for entity in entities], np.float32)
    return once(len(ids), Matches(ids, scores))


def once(k: int, *parts: Matches) -> Matches:
    """The k best of several answers, each vector once."""
    ids = np.concatenate([part.ids for part in parts]) if parts else NOTHING.ids
    scores = np.concatenate([part.scores for part in parts]) if parts else NOTHING.scores
    _, first = np.unique(ids, return_index=True)
    order = first[np.argsort(-scores[first], kind="stable")][:k]
    return Matches(ids[order], scores[order])
