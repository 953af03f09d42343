"""What a search needs of wherever a model's vectors are, and the two things that give it.

`FileStore` is the files of the index folder, searched by FAISS; `clipsearch.store.milvus.store`
has the other. Both hold what the catalog holds, and are brought up to it when they are behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Protocol

import numpy as np

from clipsearch.store.catalog import Catalog, Model
from clipsearch.store.conditions import Condition
from clipsearch.store.vectors.approximate.index import ApproximateIndex, faster
from clipsearch.store.vectors.file import Ids, VectorFile
from clipsearch.store.vectors.matches import Matches
from clipsearch.store.vectors.sync import bring_up, follow


class Within:
    """The vectors that a search is limited to: those of the selected photos."""

    def __init__(self, catalog: Catalog, model: Model, selection: Condition) -> None:
        self._catalog = catalog
        self._model = model
        self._selection = selection

    @property
    def condition(self) -> Condition | None:
        """Which photos, in terms of what an engine knows; None where it knows too little."""
        from clipsearch.store.engine_facts import told

        return told(self._selection)

    @cached_property
    def ids(self) -> np.ndarray:
        """The vectors' ids, (n,) int64, ascending."""
        return self._catalog.selected_vector_ids(self._model.id, self._selection)


class Followed(Protocol):
    """What an index run tells of new vectors."""

    dim: int

    def follow(self, added: Sequence[tuple[int, bytes]]) -> None:
        """Take what was committed to the catalog just now: ids and float16 rows of new vectors."""


class VectorStore(Followed, Protocol):
    """The vectors of one model, brought up to the catalog when they were opened."""

    def is_current(self) -> bool:
        """Whether what is searched is what was opened; else it is to be opened again.

        It is asked before a question, where the catalog is as it was then.
        """

    def search(
        self, query: np.ndarray, k: int, within: Within | None = None, exact: bool = False
    ) -> Matches:
        """The k vectors nearest to `query`, (dim,) float32 unit, of those `within`, best first.

        The answer is shorter than k when there are not as many. It may hold vectors that are gone
        from the catalog by now, and some of photos that are not selected. Nearly all that is found
        is right unless `exact`, and then all of it.
        """

    def search_many(self, queries: np.ndarray, k: int) -> list[Matches]:
        """As `search` for each of `queries`, (n, dim) float32, at less cost than one by one."""

    def rows_of(self, ids: Ids) -> np.ndarray:
        """The vectors of ids that were found, in their order: (n, dim) float16 unit rows."""

    def spread(self, most: int) -> tuple[np.ndarray, int]:
        """At most about so many rows, evenly spread, (n, dim) float16; and how many there are."""

    def blocks(self, within: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The vectors of the ids `within`, (n,) int64, ascending and about `size` at a time.

        A block is (n,) int64 ids and (n, dim) float16 unit rows.
        """

    def bring_up(self) -> None:
        """Become as the catalog is. The caller holds the index's lock."""


class Away:
    """A store that cannot be reached while an index run writes; it is brought up later."""

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def follow(self, added: Sequence[tuple[int, bytes]]) -> None:
        """Do nothing: the catalog has them."""


class FileStore:
    """The files of the index folder, searched by FAISS."""

    def __init__(self, catalog: Catalog, model: Model, file: VectorFile) -> None:
        self.dim = model.dim
        self.file = file
        self._catalog = catalog
        self._model = model
        self.rows_of, self.spread, self.blocks = file.rows_of, file.spread, file.blocks
        self._looks = file.looks()

    def is_current(self) -> bool:
        """Whether nobody changed the files, which are mapped; what is gone is mapped still.

        Of one that was cut, reading ends the process; of one written over, others would be found.
        """
        looks = zip(self.file.looks(), self._looks, strict=True)
        return all(now is None or now == then for now, then in looks)

    def search(
        self, query: np.ndarray, k: int, within: Within | None = None, exact: bool = False
    ) -> Matches:
        """As `VectorStore.search`; exact unless there is an approximate index."""
        searched = self.file if exact else self._fast
        return searched.search(query, k, within.ids if within else None)

    def search_many(self, queries: np.ndarray, k: int) -> list[Matches]:
        """As `VectorStore.search_many`."""
        return self._fast.search_many(queries, k)

    def follow(self, added: Sequence[tuple[int, bytes]]) -> None:
        """Append the new vectors."""
        follow(self._catalog, self._model, self.file, added)

    def bring_up(self) -> None:
        """Append what the files lack, or write them anew."""
        bring_up(self._catalog, self._model, self.file)

    @cached_property
    def _fast(self) -> VectorFile | ApproximateIndex:
        return faster(self.file)


class CatalogRows:
    """The vectors as the catalog keeps them: each can be had, and to search is to read them all."""

    def __init__(self, catalog: Catalog, model: Model) -> None:
        self._catalog = catalog
        self._model = model

    def rows_of(self, ids: Ids) -> np.ndarray:
        """The vectors of these ids, (n, dim) float16; zeros for one that is gone."""
        wanted = np.asarray(ids).tolist()
        found, nothing = self._catalog.rows_of(wanted), bytes(2 * self._model.dim)
        return self._matrix([found.get(id, nothing) for id in wanted])

    def spread(self, most: int) -> tuple[np.ndarray, int]:
        """As `VectorStore.spread`."""
        ids = np.fromiter(self._catalog.vector_ids(self._model.id), np.int64)
        return self.rows_of(ids[:: max(1, -(-len(ids) // most))]), len(ids)

    def blocks(self, within: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """As `VectorStore.blocks`."""
        for start in range(0, len(within), size):
            found = sorted(self._catalog.rows_of(within[start : start + size].tolist()).items())
            if found:
                yield np.array([id for id, _ in found]), self._matrix([row for _, row in found])

    def _matrix(self, rows: Sequence[bytes]) -> np.ndarray:
        return np.frombuffer(b"".join(rows), np.float16).reshape(-1, self._model.dim)
