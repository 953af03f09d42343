"""The collection of one model in Milvus: made, asked, written to and removed.

It remembers whose it is (`_IDENTITY`), up to which revision of the catalog's log of changes it was
told, and how much of that is sorted into cells. What it raises is the client's own (errors.py).
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Sequence
from typing import Any, get_type_hints

import numpy as np

from clipsearch.errors import LibraryError
from clipsearch.store.catalog import Engine, Model
from clipsearch.store.engine_facts import EngineFacts
from clipsearch.store.milvus.client import HALF_PRECISION, connected, version_of
from clipsearch.store.milvus.entities import FIELDS, MOST_TEXT, Entity, matches_of
from clipsearch.store.vectors.matches import Matches

# Vectors are sorted into cells, and those nearest to a question are looked at: the fewer photos a
# filter leaves, the more cells, up to all of them. Graphs (HNSW) find two thirds of what a filter
# leaves where that is a twelfth of the photos, and say nothing of it (docs/scale.md).
CELLS = 1024
# What is not in cells yet is searched roughly by the engine once it is more than this.
MOST_UNSORTED = 5000

# After it was killed, an engine reads all back before it answers.
ANSWER_SECONDS = 120.0
# Sorting a part takes minutes; without any progress for longer, it is taken as done.
STILL_SECONDS = 300.0
_GLANCE = 0.5

# What it says meanwhile.
_READING = re.compile(
    r"not (fully )?loaded|not ready|no available|not available|recover|lag|channel not", re.I
)

_REVISION = "clipsearch.revision"
_SETTLED = "clipsearch.settled"  # the revision up to which all is in cells
_IDENTITY = ("weights", "preprocess", "dim")


class Collection:
    """A collection that is there, of the model, and held in the engine's memory."""

    def __init__(self, engine: Engine, model: Model, may_create: bool) -> None:
        """Connect, and make the collection if it is missing.

        Raises:
            LibraryError: nothing answers, the token is wrong, the engine is too old, or the
                collection is of another model, or missing and not to be made.
        """
        self.address = engine.address
        self.name = collection_name(engine, model)
        self._model = model
        self._may_create = may_create
        self._client = connected(self.address)
        # Whether it keeps float16.
        self.is_half = version_of(self._client) >= HALF_PRECISION
        self._open()

    # Asking

    def nearest(
        self, queries: np.ndarray, wanted: int, expression: str, cells: int, level: str
    ) -> list[tuple[Matches, int]]:
        """For each query the vectors of at most so many entities, and how many these are."""
        answers = self._patiently(
            self._client.search,
            data=list(queries.astype(np.float16 if self.is_half else np.float32)),
            limit=wanted,
            filter=expression,
            output_fields=["vector_id"],
            search_params={"params": {"nprobe": cells}},
            consistency_level=level,
            timeout=ANSWER_SECONDS,
        )
        return [(matches_of(entities), len(entities)) for entities in answers]

    def entities(self, ids: Sequence[int]) -> dict[int, Entity]:
        """What it holds of these photos, by their ids."""
        found = self._patiently(
            self._client.query,
            filter=f"photo in {list(ids)}",
            output_fields=list(FIELDS),
            consistency_level="Strong",
            timeout=ANSWER_SECONDS,
        )
        return {entity["photo"]: entity for entity in found}

    def count(self, expression: str = "", level: str = "Strong") -> int:
        """How many photos it holds that an expression lets through."""
        (answer,) = self._patiently(
            self._client.query,
            filter=expression,
            output_fields=["count(*)"],
            consistency_level=level,
            timeout=ANSWER_SECONDS,
        )
        return int(answer["count(*)"])

    def _patiently(self, ask: Callable[..., Any], **how: Any) -> Any:
        """An answer; waits for an engine that is up again but has not read all back."""
        from pymilvus.exceptions import MilvusException

        deadline = time.monotonic() + ANSWER_SECONDS
        while True:
            try:
                return ask(self.name, **how)
            except MilvusException as error:
                if not _READING.search(str(error)) or time.monotonic() > deadline:
                    raise
            time.sleep(_GLANCE)
            self._load()

    # Telling

    def revision(self) -> int:
        """The revision of the catalog up to which it was told."""
        return self._property(_REVISION)

    def tell(self, entities: list[Entity], gone: Sequence[int], revision: int) -> None:
        """Keep entities, remove photos that are gone, and remember what it is told up to."""
        if entities:
            self._client.upsert(self.name, entities, timeout=ANSWER_SECONDS)
        if gone:
            self._client.delete(self.name, ids=list(gone), timeout=ANSWER_SECONDS)
        self._remember(_REVISION, revision)

    def settle(self) -> None:
        """Wait until what it was told is in cells, which takes a while where it is much."""
        revision = self.revision()
        if revision - self._property(_SETTLED) <= MOST_UNSORTED:
            return
        self._client.flush(self.name, timeout=ANSWER_SECONDS)
        before, still = None, time.monotonic()
        while time.monotonic() - still < STILL_SECONDS:
            # Its "state" is finished long before it is.
            pending = self._client.describe_index(self.name, "vector")["pending_index_rows"]
            if pending <= MOST_UNSORTED:
                break
            if pending != before:
                before, still = pending, time.monotonic()
            time.sleep(_GLANCE)
        self._client.refresh_load(self.name, timeout=ANSWER_SECONDS)
        self._remember(_SETTLED, revision)

    def _property(self, name: str) -> int:
        return int(self._client.describe_collection(self.name)["properties"][name])

    def _remember(self, name: str, revision: int) -> None:
        self._client.alter_collection_properties(self.name, {name: str(revision)})

    # Being there

    def drop(self) -> None:
        """Remove it."""
        self._client.drop_collection(self.name)

    def make_anew(self) -> None:
        """Empty it."""
        self.drop()
        self._open()

    def _open(self) -> None:
        if not self._client.has_collection(self.name):
            if not self._may_create:
                raise LibraryError(
                    f"the engine at {self.address} has no vectors of this index any more; whatever"
                    " asks or writes to the index itself, not to a copy of it, fills it again"
                )
            self._create()
        properties = self._client.describe_collection(self.name)["properties"]
        if any(properties.get(f"clipsearch.{name}") != self._fact(name) for name in _IDENTITY):
            raise LibraryError(
                f"the collection {self.name} at {self.address} is of another model than"
                f" {self._model.spec}, or not clipsearch's; it was left as it is. Drop it there,"
                " or take another database"
            )
        self._load()

    def _load(self) -> None:
        """Have the engine hold the collection in memory; it does so by itself after a restart."""
        if self._client.get_load_state(self.name)["state"].name != "Loaded":
            self._client.load_collection(self.name, timeout=ANSWER_SECONDS)

    def _create(self) -> None:
        from pymilvus import DataType, MilvusClient

        types = {
            int: DataType.INT64, bool: DataType.BOOL, float: DataType.DOUBLE,
            str: DataType.VARCHAR,
        }  # fmt: skip
        schema = MilvusClient.create_schema(
            auto_id=False, enable_dynamic_field=False,
            description=f"photos of a clipsearch index, by {self._model.spec}",
        )  # fmt: skip
        schema.add_field("photo", DataType.INT64, is_primary=True)
        schema.add_field("vector_id", DataType.INT64)
        kind = DataType.FLOAT16_VECTOR if self.is_half else DataType.FLOAT_VECTOR
        schema.add_field("vector", kind, dim=self._model.dim)
        for name, type in get_type_hints(EngineFacts).items():
            size = {"max_length": MOST_TEXT} if type is str else {}
            schema.add_field(name, types[type], **size)
        index = self._client.prepare_index_params()
        index.add_index("vector", index_type="IVF_FLAT", metric_type="IP", params={"nlist": CELLS})
        self._client.create_collection(
            self.name,
            schema=schema,
            index_params=index,
            properties={f"clipsearch.{name}": self._fact(name) for name in _IDENTITY}
            | {_REVISION: "0", _SETTLED: "0"},
            timeout=ANSWER_SECONDS,
        )

    def _fact(self, name: str) -> str:
        return str(getattr(self._model, name))


def collection_name(engine: Engine, model: Model) -> str:
    """What a model's collection is called: the index's own name and the model's identity."""
    identity = hashlib.sha256(f"{model.weights}\n{model.preprocess}".encode()).hexdigest()
    return f"clipsearch_{engine.library}_{identity[:16]}"
