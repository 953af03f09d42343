"""An approximate index, searched; and whether there is one that fits a vector file."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from clipsearch.store.vectors.approximate.format import BLOCK, Content, Header, read_file
from clipsearch.store.vectors.approximate.scanner import Scanner
from clipsearch.store.vectors.faiss_import import threads
from clipsearch.store.vectors.file import VectorFile
from clipsearch.store.vectors.mapped import spans
from clipsearch.store.vectors.matches import NOTHING, Matches, best, scored

# Rows scanned at a time by a thread: their codes are copied to where FAISS wants them, which
# costs little more than reading them, since 8 MB (512 dimensions) stay in the cache.
ROWS_A_SCAN = 65_536
NEAREST = 10
# With more candidates than this share of the rows, exact search does as well.
MAX_SHARE = 1 / 16


class ApproximateIndex:
    """A vector file searched by its codes, and exactly among the candidates they give."""

    def __init__(self, vectors: VectorFile, content: Content) -> None:
        self.vectors = vectors
        self.header, self._centroids, self._codes = content

    def search(self, query: np.ndarray, k: int, within: np.ndarray | None = None) -> Matches:
        """The k rows with the highest inner product with `query`, (dim,) float32; nearly all.

        Scores are exact. Rows that came after the index was built are searched exactly, and so
        is everything if the answer is limited to the ids `within`, (n,) int64, or if k is large.
        """
        wanted = self.header.candidates * -(-k // NEAREST)
        if within is not None or wanted > MAX_SHARE * self.header.count:
            return self.vectors.search(query, k, within)
        positions = self.candidates(query, wanted)
        near = scored(query, self.vectors.ids, self.vectors.scattered, positions)
        return best(k, near, self.vectors.search(query, k, start=self.header.count))

    def search_many(self, queries: np.ndarray, k: int) -> list[Matches]:
        """As `search` for each of `queries`, (n, dim) float32."""
        return [self.search(query, k) for query in queries]

    def candidates(self, query: np.ndarray, wanted: int) -> np.ndarray:
        """Where the rows stand whose codes score best, (wanted,) int64, best first."""
        blocks = len(self._codes)
        parts = min(os.cpu_count() or 1, -(-blocks * BLOCK // ROWS_A_SCAN))
        step = -(-blocks // parts)
        with threads(parts) as pool:
            found = pool.map(lambda span: self._scan(query, wanted, *span), spans(blocks, step))
            return best(wanted, *found).ids

    def _scan(self, query: np.ndarray, wanted: int, start: int, stop: int) -> Matches:
        """The best of the blocks from `start` to `stop`, by their codes; ids are positions."""
        scanner = Scanner(self._centroids)
        found, step = NOTHING, ROWS_A_SCAN // BLOCK
        for first in range(start, stop, step):
            scores, positions = scanner.search(self._codes[first : min(first + step, stop)], query,
                                            wanted)  # fmt: skip
            # Sorted, so what is worse than all that was found so far is cut off at once.
            worst = found.scores[-1] if len(found.ids) == wanted else -np.inf
            better = int(np.searchsorted(-scores, -worst))
            if better:
                new = Matches(first * BLOCK + positions[:better], scores[:better])
                found = best(wanted, found, new)
        return found

    def looks_right(self) -> bool:
        """Whether codes taken here and there decode to about the rows that they stand for.

        And whether FAISS, which is lent them behind its back, scans them as it should.
        """
        chosen = np.linspace(0, len(self._codes) - 1, 4, dtype=int)
        positions = (chosen[:, None] * BLOCK + np.arange(BLOCK)).ravel()
        scanner = Scanner(self._centroids)
        decoded = scanner.decode(self._codes[chosen])[:, : self.vectors.dim]
        rows = self.vectors.scattered[positions].astype(np.float32)
        cosines = (decoded * rows).sum(1) / np.linalg.norm(decoded, axis=1).clip(1e-9)
        if cosines.mean() <= 0.8:
            return False
        scores, found = scanner.search(self._codes[chosen], rows[0], len(positions))
        off = np.abs(scores - (decoded @ rows[0])[found])  # a scan rounds to 8 bits
        return len(set(found.tolist())) == len(positions) and bool(off.max() < 0.1)


def faster(vectors: VectorFile) -> ApproximateIndex | VectorFile:
    """The vectors by their approximate index, or as they are where there is none that fits."""
    return load(vectors, vectors.ann_path) or vectors


def load(vectors: VectorFile, path: Path) -> ApproximateIndex | None:
    """The approximate index in a file; None if it is missing, damaged or of other vectors."""
    content = read_file(path, vectors.dim)
    if content is None or not _fits(content.header, vectors):
        return None
    index = ApproximateIndex(vectors, content)
    return index if index.looks_right() else None


def _fits(header: Header, vectors: VectorFile) -> bool:
    """Whether these are the codes of the file's first rows.

    Ids ascend and are never used twice, so the count and the last one are enough.
    """
    count, ids = header.count, vectors.ids
    return (
        0 < count <= len(ids)
        and count % BLOCK == 0
        and header.last_id == ids[count - 1]
        and header.pair == vectors.pair
    )
