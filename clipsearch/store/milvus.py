"""A model's vectors in Milvus, on machines of their own.

A collection holds one entity a photo: its id, its vector's id, the vector, and the facts that
filters need. Copies of a picture have a vector each, so that a filter speaks of one photo at a
time. The collection remembers the model's identity, and the revision of the catalog's log of
changes up to which it was told; what came later is told when it is opened. Telling twice does no
harm, so that whatever stops it costs nothing but the time to do it again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, get_type_hints

import numpy as np

from clipsearch.errors import InvalidInput, LibraryError
from clipsearch.store.catalog import Catalog, Engine, EnginePhoto, Model
from clipsearch.store.conditions import All, Condition, Either, Is, OtherFact, folded
from clipsearch.store.engine_facts import EngineFacts
from clipsearch.store.vector_store import CatalogRows, Within
from clipsearch.store.vectors import NOTHING, Matches, best, scored

log = logging.getLogger("clipsearch")

SCHEME = "milvus:"
TOKEN = "CLIPSEARCH_MILVUS_TOKEN"  # user:password, or a key; never written down
OLDEST = (2, 3)  # the first that replaces entities (upsert)
HALF_PRECISION = (2, 4)  # the first that keeps float16

# Vectors are sorted into cells, and those nearest to a question are looked at: the fewer photos a
# filter leaves, the more cells, up to all of them. Graphs (HNSW) find two thirds of what a filter
# leaves where that is a twelfth of the photos, and say nothing of it (docs/scale.md).
CELLS = 1024
CELLS_A_SEARCH = 64
# Photos of one kind may lie far from a question in cells that hold little else: of so many that a
# filter leaves, all cells are looked at.
FEW = 1_000_000
# What is not in cells yet is searched roughly by the engine once it is more than this.
MOST_UNSORTED = 5000
# Who only searches tells the engine, or takes into memory, no more changes than that.
MOST_BY_A_READER = MOST_UNSORTED
RETRY_SECONDS = 60.0  # until an engine that was gone during an index run is tried again
MOST_ANSWERS = 16_384  # that Milvus gives at a time

CONNECT_SECONDS = 10.0
# After it was killed, an engine reads all back before it answers.
ANSWER_SECONDS = 120.0
# Sorting a part takes minutes; without any progress for longer, it is taken as done.
STILL_SECONDS = 300.0
_GLANCE = 0.5

PHOTOS_A_BATCH = 1000
IDS_A_SEARCH = 10_000  # of vectors in one expression
_ROWS_AT_A_TIME = 4096

# What it says meanwhile.
_READING = re.compile(
    r"not (fully )?loaded|not ready|no available|not available|recover|lag|channel not", re.I
)

_REVISION = "clipsearch.revision"
_SETTLED = "clipsearch.settled"  # the revision up to which all is in cells
_IDENTITY = ("weights", "preprocess", "dim")
_MOST_TEXT = 65_535  # bytes, the most that Milvus allows

Progress = Callable[[int, int], None]


class MilvusStore:
    """The vectors of one model in a collection of Milvus."""

    def __init__(self, engine: Engine, catalog: Catalog, model: Model) -> None:
        """Connect, and make the collection if it is missing.

        Raises:
            LibraryError: nothing answers, the token is wrong, the engine is too old, or the
                collection is of another model.
        """
        self.dim = model.dim
        self.address = engine.address
        self.collection = collection_name(engine, model)
        self._catalog = catalog
        self._model = model
        self._rows = CatalogRows(catalog, model)
        self.rows_of, self.spread, self.blocks = (
            self._rows.rows_of, self._rows.spread, self._rows.blocks,
        )  # fmt: skip
        self._held = NOTHING.ids, np.empty((0, model.dim), np.float16)
        self._gone_until = 0.0
        self._is_fresh = False  # whether a search may be answered as of some seconds ago
        with _told(self.address):
            self._client = connected(self.address)
            self._half = version_of(self._client) >= HALF_PRECISION
            self._open()

    # Searching

    def search(
        self, query: np.ndarray, k: int, within: Within | None = None, exact: bool = False
    ) -> Matches:
        """As `VectorStore.search`.

        The engine filters where it knows enough of the photos for it; otherwise it is given the
        ids of the vectors, some at a time. What is exact, and more than it can answer at a time,
        is ranked here by the catalog's vectors.
        """
        if exact or k > MOST_ANSWERS:
            return self._exactly(query, k, within)
        with _told(self.address):
            parts = [
                self._distinct(query, k, expression, cells)
                for expression, cells in self._expressions(within)
            ]
        if any(part is None for part in parts):
            return self._exactly(query, k, within)
        held = self._among_held(query, within)
        return _once(k, held, *(part for part in parts if part is not None))

    def search_many(self, queries: np.ndarray, k: int) -> list[Matches]:
        """As `VectorStore.search_many`."""
        if k > MOST_ANSWERS or not len(queries):
            return [self.search(query, k) for query in queries]
        with _told(self.address):
            found = self._ask(queries, k, "", CELLS_A_SEARCH)
        return [
            _once(k, self._among_held(query, None), matches)
            if len(matches.ids) >= k
            else self.search(query, k)
            for query, (matches, _) in zip(queries, found, strict=True)
        ]

    def _distinct(self, query: np.ndarray, k: int, expression: str, cells: int) -> Matches | None:
        """The k nearest vectors; None where the engine cannot give as many.

        Copies of a picture have one vector, and several entities. Fewer than there are also come
        back where the cells that were looked at hold no more.
        """
        wanted = k
        while True:
            ((matches, count),) = self._ask(query[None], wanted, expression, cells)
            if len(matches.ids) >= k or (count < wanted and cells == CELLS):
                return matches
            if count < wanted:
                cells = CELLS
            elif wanted == MOST_ANSWERS:
                return None
            else:
                wanted = min(2 * wanted, MOST_ANSWERS)

    def _ask(
        self, queries: np.ndarray, wanted: int, expression: str, cells: int
    ) -> list[tuple[Matches, int]]:
        """For each query the vectors of at most so many entities, and how many these are."""
        answers = self._patiently(
            self._client.search,
            data=list(queries.astype(np.float16 if self._half else np.float32)),
            limit=wanted,
            filter=expression,
            output_fields=["vector_id"],
            search_params={"params": {"nprobe": cells}},
            consistency_level=self._level,
            timeout=ANSWER_SECONDS,
        )
        self._is_fresh = True
        return [(_matches(entities), len(entities)) for entities in answers]

    @property
    def _level(self) -> str:
        """To see all that was written before it was opened; what is written later opens it anew."""
        return "Bounded" if self._is_fresh else "Strong"

    def _expressions(self, within: Within | None) -> Iterator[tuple[str, int]]:
        """What limits the search, and how many cells it takes; for each part of it."""
        if within is None:
            yield "", CELLS_A_SEARCH
        elif within.condition is not None:
            condition = expression(within.condition, self._catalog)
            few = self._count(condition, self._level) <= FEW
            yield condition, CELLS if few else 4 * CELLS_A_SEARCH
        else:
            for start in range(0, len(within.ids), IDS_A_SEARCH):
                yield f"vector_id in {within.ids[start : start + IDS_A_SEARCH].tolist()}", CELLS

    def _among_held(self, query: np.ndarray, within: Within | None) -> Matches:
        ids, rows = self._held
        if not len(ids):
            return NOTHING
        chosen = np.isin(ids, within.ids) if within else np.ones(len(ids), bool)
        return scored(query, ids, rows, np.flatnonzero(chosen))

    def _exactly(self, query: np.ndarray, k: int, within: Within | None) -> Matches:
        ids = within.ids if within else np.fromiter(
            self._catalog.vector_ids(self._model.id), np.int64
        )  # fmt: skip
        parts, size = [NOTHING], 0
        for block_ids, rows in self.blocks(ids, _ROWS_AT_A_TIME):
            parts.append(scored(query, block_ids, rows, np.arange(len(block_ids))))
            size += len(block_ids)
            if size > 2 * k + 16 * _ROWS_AT_A_TIME:  # seldom, since it costs about k
                parts = [best(k, *parts)]
                size = len(parts[0].ids)
        return best(k, *parts)

    # Being as the catalog is

    def fingerprint(self) -> tuple[int, int]:
        """How many photos it holds, and the revision of the catalog up to which it was told."""
        with _told(self.address):
            return self._count(), self._revision()

    def lag(self) -> int:
        """How much the engine has yet to be told, in photos.

        Raises:
            LibraryError: too much to be told, or to be held in memory, in passing.
        """
        with _told(self.address):
            told = self._revision()  # first, since it is never ahead of the catalog
        behind = self._catalog.revision() - told
        if behind < 0:  # that of a copy, or put back from an older one
            mine = not self._catalog.origin
            behind = self._catalog.count_embedded_photos(self._model.id) if mine else 0
        if behind > MOST_BY_A_READER:
            raise LibraryError(
                f"the engine at {self.address} does not hold what the index does; bring it up:"
                f" clipsearch store move {self.address}"
            )
        return behind

    def follow(self, added: Sequence[tuple[int, bytes]]) -> None:
        """Tell the engine what was committed; one that is gone is tried again now and then."""
        if time.monotonic() < self._gone_until:
            return
        try:
            self.tell()
        except LibraryError as error:
            self._gone_until = time.monotonic() + RETRY_SECONDS
            log.warning("%s.\nPhotos are indexed all the same", error)

    def bring_up(self, progress: Progress | None = None) -> None:
        """Tell the engine what it was not told, or all of it where it holds something else."""
        wanted = (self._catalog.count_embedded_photos(self._model.id), self._catalog.revision())
        if self.fingerprint()[1] > wanted[1]:
            # The catalog was put back from an older copy, and will use these revisions again.
            self.make_anew()
        self.tell(progress)
        if self.fingerprint() != wanted:
            log.warning("%s holds something else than the catalog and is filled anew", self.address)
            self.make_anew()
            self.tell(progress)
        self._settle()

    def hold_missing(self) -> None:
        """Take what the engine was not told into memory, for a search that may not write."""
        with _told(self.address):
            told = self._revision()
        changed = self._catalog.changed_after(told if told <= self._catalog.revision() else 0, -1)
        photos = self._catalog.engine_photos(self._model.id, [id for _, id in changed])
        rows = {photo.vector_id: photo.vector for photo in photos}
        ids = np.array(sorted(rows), np.int64)
        matrix = np.frombuffer(b"".join(rows[id] for id in ids.tolist()), np.float16)
        self._held = ids, matrix.reshape(-1, self.dim)

    def _settle(self) -> None:
        """Wait until what the engine was told is in cells, which takes a while where it is much."""
        with _told(self.address):
            revision = self._revision()
            if revision - self._property(_SETTLED) <= MOST_UNSORTED:
                return
            self._client.flush(self.collection, timeout=ANSWER_SECONDS)
            before, still = None, time.monotonic()
            while time.monotonic() - still < STILL_SECONDS:
                # Its "state" is finished long before it is.
                pending = self._client.describe_index(self.collection, "vector")[
                    "pending_index_rows"
                ]
                if pending <= MOST_UNSORTED:
                    break
                if pending != before:
                    before, still = pending, time.monotonic()
                time.sleep(_GLANCE)
            self._client.refresh_load(self.collection, timeout=ANSWER_SECONDS)
            self._client.alter_collection_properties(self.collection, {_SETTLED: str(revision)})

    def differences(self, most: int) -> int:
        """How many of at most so many photos, evenly spread, the engine holds otherwise.

        Vectors are compared to the last bit of float16, facts one by one.
        """
        ids = np.fromiter(self._catalog.embedded_photos(self._model.id), np.int64)
        some = ids[:: max(1, -(-len(ids) // most))]
        wrong = 0
        for start in range(0, len(some), PHOTOS_A_BATCH):
            photos = self._catalog.engine_photos(
                self._model.id, some[start : start + PHOTOS_A_BATCH].tolist()
            )
            wanted = [self._entity(photo) for photo in photos]
            held = self._entities([photo.id for photo in photos])
            wrong += sum(not _same(it, held.get(it["photo"])) for it in wanted)
        return wrong

    def drop(self) -> None:
        """Remove the collection."""
        with _told(self.address):
            self._client.drop_collection(self.collection)

    def tell(self, progress: Progress | None = None) -> None:
        """Tell the engine what changed in the catalog since it was told."""
        show = progress or (lambda done, total: None)
        with _told(self.address):
            told, last = self._revision(), self._catalog.revision()
            first = told
            while changed := self._catalog.changed_after(told, PHOTOS_A_BATCH):
                ids = [id for _, id in changed]
                photos = self._catalog.engine_photos(self._model.id, ids)
                gone = set(ids).difference(photo.id for photo in photos)
                if photos:
                    entities = [self._entity(photo) for photo in photos]
                    self._client.upsert(self.collection, entities, timeout=ANSWER_SECONDS)
                if gone:
                    self._client.delete(self.collection, ids=sorted(gone), timeout=ANSWER_SECONDS)
                told = changed[-1][0]
                self._remember(told)
                show(told - first, max(last, told) - first)
        self._is_fresh = False

    def _entity(self, photo: EnginePhoto) -> dict[str, Any]:
        row = np.frombuffer(photo.vector, np.float16)
        facts = photo.facts._asdict()
        return {
            "photo": photo.id,
            "vector_id": photo.vector_id,
            "vector": row if self._half else row.astype(np.float32),
            **{name: _fitting(value) for name, value in facts.items()},
        }

    def _entities(self, ids: Sequence[int]) -> dict[int, dict[str, Any]]:
        with _told(self.address):
            found = self._patiently(
                self._client.query,
                filter=f"photo in {list(ids)}",
                output_fields=["photo", "vector_id", "vector", *EngineFacts._fields],
                consistency_level="Strong",
                timeout=ANSWER_SECONDS,
            )
        return {entity["photo"]: entity for entity in found}

    def _count(self, expression: str = "", level: str = "Strong") -> int:
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
                return ask(self.collection, **how)
            except MilvusException as error:
                if not _READING.search(str(error)) or time.monotonic() > deadline:
                    raise
            time.sleep(_GLANCE)
            self._load()

    def _revision(self) -> int:
        return self._property(_REVISION)

    def _property(self, name: str) -> int:
        return int(self._client.describe_collection(self.collection)["properties"][name])

    def _remember(self, revision: int) -> None:
        self._client.alter_collection_properties(self.collection, {_REVISION: str(revision)})

    # The collection

    def make_anew(self) -> None:
        """Empty the collection; `bring_up` fills it."""
        with _told(self.address):
            self._client.drop_collection(self.collection)
            self._open()

    def _open(self) -> None:
        if not self._client.has_collection(self.collection):
            if self._catalog.is_read_only:
                raise LibraryError(
                    f"the engine at {self.address} has no vectors of this index any more; whatever"
                    " asks or writes to the index itself, not to a copy of it, fills it again"
                )
            self._create()
        properties = self._client.describe_collection(self.collection)["properties"]
        if any(properties.get(f"clipsearch.{name}") != self._fact(name) for name in _IDENTITY):
            raise LibraryError(
                f"the collection {self.collection} at {self.address} is of another model than"
                f" {self._model.spec}, or not clipsearch's; it was left as it is. Drop it there,"
                " or take another database"
            )
        self._load()

    def _load(self) -> None:
        """Have the engine hold the collection in memory; it does so by itself after a restart."""
        if self._client.get_load_state(self.collection)["state"].name != "Loaded":
            self._client.load_collection(self.collection, timeout=ANSWER_SECONDS)

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
        kind = DataType.FLOAT16_VECTOR if self._half else DataType.FLOAT_VECTOR
        schema.add_field("vector", kind, dim=self.dim)
        for name, type in get_type_hints(EngineFacts).items():
            size = {"max_length": _MOST_TEXT} if type is str else {}
            schema.add_field(name, types[type], **size)
        index = self._client.prepare_index_params()
        index.add_index("vector", index_type="IVF_FLAT", metric_type="IP", params={"nlist": CELLS})
        self._client.create_collection(
            self.collection,
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


def read_address(text: str) -> str:
    """An engine's address as it is written down: "milvus:http://host:19530".

    Raises:
        InvalidInput: it is none.
    """
    place = text.removeprefix(SCHEME)
    if "://" not in place:
        place = f"http://{place}"
    match = re.fullmatch(r"https?://([\w.\-]+|\[[0-9a-fA-F:]+\])(:\d+)?(/\w*)?", place)
    if "@" in place:
        raise InvalidInput(
            f"an address is remembered with the index, so it holds no secret; put it into {TOKEN}"
        )
    if not text.startswith(SCHEME) or match is None:
        raise InvalidInput(
            f"{text!r} is no store; write milvus:http://HOST:19530, with /DATABASE behind it if it"
            " is not the default one"
        )
    if match[2] and not 0 < int(match[2][1:]) < 65536:
        raise InvalidInput(f"{match[2][1:]} is no port: {text!r}")
    port = "" if match[2] else ":19530"
    return f"{SCHEME}{place.partition('://')[0]}://{match[1]}{match[2] or port}{match[3] or ''}"


def check_engine(address: str) -> None:
    """Raise LibraryError unless an engine that is new enough answers there."""
    with _told(address):
        version_of(connected(address))


def connected(address: str) -> Any:
    """A client of the engine at an address; one for all that ask in this process."""
    return _connected(address, os.environ.get(TOKEN, ""))


@cache
def _connected(address: str, token: str) -> Any:
    try:
        from pymilvus import MilvusClient
    except ImportError as error:
        raise LibraryError(
            f"the vectors of this index are in {address}, and what speaks to it is not installed:"
            " pip install 'clipsearch[milvus]'"
        ) from error
    # It writes a traceback for what is raised as well.
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL + 1)
    client = MilvusClient(address.removeprefix(SCHEME), token=token, timeout=CONNECT_SECONDS)
    found = version_of(client)
    if found < OLDEST:
        raise LibraryError(
            f"the engine at {address} is Milvus {_dotted(found)}, and {_dotted(OLDEST)} or newer is"
            " needed; update it there"
        )
    return client


def version_of(client: Any) -> tuple[int, ...]:
    """An engine's version, (major, minor)."""
    numbers = re.findall(r"\d+", client.get_server_version())
    return tuple(map(int, numbers[:2]))


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


@contextmanager
def _told(address: str) -> Iterator[None]:
    """Turn what the client raises into LibraryError that names the machine and the remedy."""
    try:
        from grpc import RpcError
        from pymilvus.exceptions import MilvusException
    except ImportError:
        yield
        return
    try:
        yield
    except (MilvusException, RpcError) as error:
        raise LibraryError(_explained(address, error)) from error


def _explained(address: str, error: Exception) -> str:
    reason = " ".join(str(getattr(error, "message", "") or error).split())
    behind = f"{reason} {error.__cause__} {error.__context__}"  # where a wrong token is told
    if re.search(r"auth check failure|unauthenticated|permission deny|privilege", behind, re.I):
        return (
            f"the engine at {address} does not take the token; put user:password, or a key that may"
            f" write there, into {TOKEN}"
        )
    if re.search(r"fail connecting|unavailable|deadline|timeout|failed to connect", reason, re.I):
        return (
            f"no engine answers at {address}; start it there, or search the files of the index"
            " again: clipsearch store move faiss"
        )
    return f"the engine at {address} refuses: {reason}"


def expression(condition: Condition, catalog: Catalog) -> str:
    """A condition in terms of EngineFacts, in the language of Milvus."""
    if isinstance(condition, All | Either):
        joint = " and " if isinstance(condition, All) else " or "
        return "(" + joint.join(expression(part, catalog) for part in condition.parts) + ")"
    assert isinstance(condition, Is)
    fact, relation, value = condition.fact, condition.relation, condition.value
    if relation == "contains":
        # Older engines know no such test. There are few cameras, and the catalog knows them.
        names = [name for name in catalog.cameras() if value in folded(name)]
        return f"{fact} in {_literal([_fitting(name) for name in names])}"
    return f"{fact} {relation} {_literal(value)}"


def _literal(value: Any) -> str:
    if isinstance(value, OtherFact):
        return value.name
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(min(value, 1 << 62))
    if isinstance(value, float):
        return repr(min(value, 1e300))
    return json.dumps(value, ensure_ascii=False)


def _fitting(value: Any) -> Any:
    """A text cut to what Milvus takes, without what it does not; anything else as it is."""
    if not isinstance(value, str):
        return value
    valid = value.encode("utf-8", "backslashreplace")
    return valid[:_MOST_TEXT].decode("utf-8", "ignore").replace("\0", "")


def _matches(entities: Any) -> Matches:
    """The vectors of entities, best first, each once."""
    ids = np.array([entity["entity"]["vector_id"] for entity in entities], np.int64)
    scores = np.array([entity["distance"] for entity in entities], np.float32)
    return _once(len(ids), Matches(ids, scores))


def _once(k: int, *parts: Matches) -> Matches:
    """The k best of several answers, each vector once."""
    ids = np.concatenate([part.ids for part in parts]) if parts else NOTHING.ids
    scores = np.concatenate([part.scores for part in parts]) if parts else NOTHING.scores
    _, first = np.unique(ids, return_index=True)
    order = first[np.argsort(-scores[first], kind="stable")][:k]
    return Matches(ids[order], scores[order])


def _same(wanted: dict[str, Any], held: dict[str, Any] | None) -> bool:
    if held is None:
        return False
    row = held["vector"]
    if isinstance(row, list) and row and isinstance(row[0], bytes):
        row = np.frombuffer(row[0], np.float16)
    same = np.array_equal(np.asarray(row, np.float32), wanted["vector"].astype(np.float32))
    return same and all(held[name] == wanted[name] for name in ("vector_id", *EngineFacts._fields))
