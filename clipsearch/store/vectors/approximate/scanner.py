"""FAISS's part in an approximate index: codes of rows made, scanned and decoded."""

from __future__ import annotations

from typing import Any

import numpy as np

from clipsearch.store.vectors.approximate.format import BLOCK, block_size
from clipsearch.store.vectors.faiss_import import import_faiss


class Scanner:
    """A FAISS index that is lent a few blocks of codes at a time; for one thread."""

    def __init__(self, centroids: np.ndarray) -> None:
        self.index = new_index(2 * len(centroids))
        import_faiss().copy_array_to_vector(centroids.ravel(), self.index.pq.centroids)
        self.index.is_trained = True

    def search(
        self, codes: np.ndarray, query: np.ndarray, wanted: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores (n,) float32, best first, and positions (n,) int64 among the rows of `codes`."""
        self._take(codes)
        question = padded(np.asarray(query, np.float32)[None])
        scores, positions = self.index.search(question, min(wanted, self.index.ntotal))
        return scores[0], positions[0]

    def encode(self, rows: np.ndarray) -> bytes:
        """The codes of whole blocks of (n, dim) float16 rows."""
        self.index.add(padded(rows.astype(np.float32)))
        codes: np.ndarray = import_faiss().vector_to_array(self.index.codes)
        return codes[: len(rows) // BLOCK * block_size(rows.shape[1])].tobytes()

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """About the rows that `codes` were made of, (n, dim) float32."""
        self._take(codes)
        rows: np.ndarray = self.index.reconstruct_n(0, self.index.ntotal)
        return rows

    def _take(self, codes: np.ndarray) -> None:
        if self.index.codes.size() < codes.size:
            self.index.codes.resize(codes.size)
        lent = import_faiss().rev_swig_ptr(self.index.codes.get(), codes.size)
        np.copyto(lent, codes.ravel())
        self.index.ntotal = self.index.ntotal2 = len(codes) * BLOCK


def padded(rows: np.ndarray) -> np.ndarray:
    """The rows, with a zero at the end of each where their length is odd."""
    return np.pad(rows, ((0, 0), (0, rows.shape[1] % 2)))


def new_index(dim: int) -> Any:
    """An empty FAISS index of 4-bit codes for rows of so many numbers, not trained."""
    faiss = import_faiss()
    pairs = (dim + 1) // 2
    return faiss.IndexPQFastScan(2 * pairs, pairs, 4, faiss.METRIC_INNER_PRODUCT)
