"""A stretch of float16 rows in memory, searched by FAISS where it lies, or by NumPy.

FAISS reads an index from its own format alone, and copies what it is given otherwise. So the
header of an empty index is written right before the rows, with their count put in. Nobody
promises that this header stays as it is: what comes of it is compared with what a true index
looks like and with the rows themselves, and where anything differs NumPy searches, which takes
longer and is as right.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import Any, Protocol

import numpy as np

from clipsearch.store.vectors.faiss_import import import_faiss

log = logging.getLogger("clipsearch")

# Where the header of an empty index has its count of vectors; at its end stands that of bytes.
COUNT_AT = 8
_ROWS_A_BLOCK = 16_384  # that NumPy takes at a time: 32 MB of float32 at 512 dimensions
_TOLERANCE = 1e-3  # between two ways to the inner product of float16 rows of unit length


class Stretch(Protocol):
    """Rows that are searched together."""

    count: int

    def search(
        self, queries: np.ndarray, k: int, allowed: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores (n, m) float32, best first, and positions (n, m) int64 of the best rows.

        `queries` are (n, dim) float32, and `allowed` is a bitmap of the rows that may be found,
        None for all. There are k at most; -1 stands for one that is not there.
        """


class FaissStretch:
    """Rows that FAISS searches."""

    def __init__(self, view: Any) -> None:
        self.count = int(view.ntotal)
        self._view = view

    def search(
        self, queries: np.ndarray, k: int, allowed: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `Stretch.search`."""
        faiss, chosen = import_faiss(), None
        if allowed is not None:
            chosen = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(allowed))
        scores, positions = self._view.search(queries, min(k, self.count), params=chosen)
        return scores, positions


class NumpyStretch:
    """Rows that NumPy goes through, a block at a time."""

    def __init__(self, rows: np.ndarray) -> None:
        self.count = len(rows)
        self._rows = rows  # (n, dim) float16

    def search(
        self, queries: np.ndarray, k: int, allowed: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `Stretch.search`."""
        chosen = np.arange(self.count)
        if allowed is not None:
            chosen = np.flatnonzero(np.unpackbits(allowed, count=self.count, bitorder="little"))
        scores = np.empty((len(queries), 0), np.float32)
        positions = np.empty((len(queries), 0), np.int64)
        for start in range(0, len(chosen), _ROWS_A_BLOCK):
            block = chosen[start : start + _ROWS_A_BLOCK]
            found = queries @ self._rows[block].astype(np.float32).T
            scores = np.concatenate([scores, found], 1)
            positions = np.concatenate([positions, np.broadcast_to(block, found.shape)], 1)
            order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
            scores = np.take_along_axis(scores, order, 1)
            positions = np.take_along_axis(positions, order, 1)
        return scores, positions


def stretch_of(mapped: np.ndarray, start: int, dim: int) -> Stretch:
    """The rows that begin at byte `start` of a private map, (bytes,) uint8.

    What stands before them there may be written over.
    """
    rows = mapped[start:].view(np.float16).reshape(-1, dim)
    view = _faiss_view(mapped, start, rows) if _is_as_expected(dim) else None
    if view is None:
        log.debug("this FAISS lays its indexes out in another way; NumPy searches")
        return NumpyStretch(rows)
    return FaissStretch(view)


def _faiss_view(mapped: np.ndarray, start: int, rows: np.ndarray) -> Any | None:
    """A FAISS index over the rows, none of them copied; None where it is not of these rows."""
    count, dim = rows.shape
    header = _header(dim, count)
    if len(header) > start:
        return None
    faiss = import_faiss()
    mapped[start - len(header) : start] = header
    content = mapped[start - len(header) :]
    try:
        reader = faiss.ZeroCopyIOReader(faiss.swig_ptr(content), len(content))
        view = faiss.read_index(reader, 0)
    except (RuntimeError, MemoryError):  # what FAISS says of a file that it cannot read
        return None
    return view if _is_of(view, rows) else None


def _is_of(view: Any, rows: np.ndarray) -> bool:
    """Whether a FAISS index is of these rows, and gives the last of them its inner product."""
    faiss, (count, dim) = import_faiss(), rows.shape
    if (view.ntotal, view.d, view.metric_type) != (count, dim, faiss.METRIC_INNER_PRODUCT):
        return False
    query = np.linspace(-1, 1, dim, dtype=np.float32) / np.float32(dim**0.5)
    only = faiss.SearchParameters(sel=faiss.IDSelectorRange(count - 1, count))
    scores, positions = view.search(query[None], 1, params=only)
    truth = rows[-1].astype(np.float32) @ query
    # A row of a damaged file may have no score at all.
    return bool(
        not np.isfinite(truth)
        or (positions[0, 0] == count - 1 and abs(scores[0, 0] - truth) < _TOLERANCE)
    )


@cache
def _is_as_expected(dim: int) -> bool:
    """Whether a true index of three rows is, byte by byte, what `_header` makes for three."""
    rows = np.linspace(-1, 1, 3 * dim, dtype=np.float16).reshape(3, dim)
    index = _new_index(dim)
    index.add(rows.astype(np.float32))
    expected = _header(dim, 3).tobytes() + rows.tobytes()
    return bool(import_faiss().serialize_index(index).tobytes() == expected)


def _header(dim: int, count: int) -> np.ndarray:
    """What FAISS writes before the rows of an index of so many, (bytes,) uint8."""
    header: np.ndarray = import_faiss().serialize_index(_new_index(dim))
    header[COUNT_AT : COUNT_AT + 8] = np.frombuffer(np.int64(count).tobytes(), np.uint8)
    header[-8:] = np.frombuffer(np.int64(count * dim * 2).tobytes(), np.uint8)
    return header


def _new_index(dim: int) -> Any:
    faiss = import_faiss()
    index = faiss.IndexScalarQuantizer(
        dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    index.is_trained = True
    return index
