"""A model's vectors in Milvus, on machines of their own.

A collection holds one entity a photo: its id, its vector's id, the vector, and the facts that
filters need. Copies of a picture have a vector each, so that a filter speaks of one photo at a
time. The collection remembers the model's identity, and the revision of the catalog's log of
changes up to which it was told; what came later is told when it is opened. Telling twice does no
harm, so that whatever stops it costs nothing but the time to do it again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence

import numpy as np

from clipsearch.errors import LibraryError
from clipsearch.progress import Progress, untold
from clipsearch.store.catalog import Catalog, Engine, Model
from clipsearch.store.milvus.collection import CELLS, MOST_UNSORTED, Collection
from clipsearch.store.milvus.entities import entity_of, once, same
from clipsearch.store.milvus.errors import explained
from clipsearch.store.milvus.expressions import expression
from clipsearch.store.vectors.matches import NOTHING, Matches, best, scored
from clipsearch.store.vectors.store import CatalogRows, Within

log = logging.getLogger("clipsearch")

CELLS_A_SEARCH = 64
# Photos of one kind may lie far from a question in cells that hold little else: of so many that a
# filter leaves, all cells are looked at.
FEW = 1_000_000
# Who only searches tells the engine, or takes into memory, no more changes than that.
MOST_BY_A_READER = MOST_UNSORTED
RETRY_SECONDS = 60.0  # until an engine that was gone during an index run is tried again
MOST_ANSWERS = 16_384  # that Milvus gives at a time

PHOTOS_A_BATCH = 1000
IDS_A_SEARCH = 10_000  # of vectors in one expression
_ROWS_AT_A_TIME = 4096


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
        self._catalog = catalog
        self._model = model
        self._rows = CatalogRows(catalog, model)
        self.rows_of, self.spread, self.blocks = (
            self._rows.rows_of, self._rows.spread, self._rows.blocks,
        )  # fmt: skip
        self._held = NOTHING.ids, np.empty((0, model.dim), np.float16)
        self._gone_until = 0.0
        self._is_fresh = False  # whether a search may be answered as of some seconds ago
        with explained(self.address):
            self.collection = Collection(engine, model, not catalog.is_read_only)

    # Searching

    def is_current(self) -> bool:
        """Always: the engine is asked each time."""
        return True

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
        with explained(self.address):
            parts = [
                self._distinct(query, k, expression, cells)
                for expression, cells in self._expressions(within)
            ]
        if any(part is None for part in parts):
            return self._exactly(query, k, within)
        held = self._among_held(query, within)
        return once(k, held, *(part for part in parts if part is not None))

    def search_many(self, queries: np.ndarray, k: int) -> list[Matches]:
        """As `VectorStore.search_many`."""
        if k > MOST_ANSWERS or not len(queries):
            return [self.search(query, k) for query in queries]
        with explained(self.address):
            found = self._ask(queries, k, "", CELLS_A_SEARCH)
        return [
            once(k, self._among_held(query, None), matches)
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
        found = self.collection.nearest(queries, wanted, expression, cells, self._level)
        self._is_fresh = True
        return found

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
            few = self.collection.count(condition, self._level) <= FEW
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
        with explained(self.address):
            return self.collection.count(), self.collection.revision()

    def lag(self) -> int:
        """How much the engine has yet to be told, in photos.

        Raises:
            LibraryError: too much to be told, or to be held in memory, in passing.
        """
        with explained(self.address):
            told = self.collection.revision()  # first, since it is never ahead of the catalog
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
        with explained(self.address):
            self.collection.settle()

    def hold_missing(self) -> None:
        """Take what the engine was not told into memory, for a search that may not write."""
        with explained(self.address):
            told = self.collection.revision()
        changed = self._catalog.changed_after(told if told <= self._catalog.revision() else 0, -1)
        photos = self._catalog.engine_photos(self._model.id, [id for _, id in changed])
        rows = {photo.vector_id: photo.vector for photo in photos}
        ids = np.array(sorted(rows), np.int64)
        matrix = np.frombuffer(b"".join(rows[id] for id in ids.tolist()), np.float16)
        self._held = ids, matrix.reshape(-1, self.dim)

    def make_anew(self) -> None:
        """Empty the collection; `bring_up` fills it."""
        with explained(self.address):
            self.collection.make_anew()

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
            wanted = [entity_of(photo, self.collection.is_half) for photo in photos]
            with explained(self.address):
                held = self.collection.entities([photo.id for photo in photos])
            wrong += sum(not same(it, held.get(it["photo"])) for it in wanted)
        return wrong

    def drop(self) -> None:
        """Remove the collection."""
        with explained(self.address):
            self.collection.drop()

    def tell(self, progress: Progress | None = None) -> None:
        """Tell the engine what changed in the catalog since it was told."""
        show = progress or untold
        with explained(self.address):
            told, last = self.collection.revision(), self._catalog.revision()
            first = told
            while changed := self._catalog.changed_after(told, PHOTOS_A_BATCH):
                ids = [id for _, id in changed]
                photos = self._catalog.engine_photos(self._model.id, ids)
                gone = set(ids).difference(photo.id for photo in photos)
                entities = [entity_of(photo, self.collection.is_half) for photo in photos]
                told = changed[-1][0]
                self.collection.tell(entities, sorted(gone), told)
                show(told - first, max(last, told) - first)
        self._is_fresh = False
