"""Exact search of a file's rows, in stretches side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clipsearch.store.vectors.faiss_import import import_faiss, threads
from clipsearch.store.vectors.matches import NOTHING, Matches, best
from clipsearch.store.vectors.stretch import Stretch

# Fewer ids than this share of all are looked up one by one sooner than all are gone through.
FEW = 0.1
STREWN = 0.25  # and more than this share are many

# Each part of the rows that is searched by a thread, and its first row.
Stretches = Sequence[tuple[int, Stretch]]


def search_stretches(
    stretches: Stretches, ids: np.ndarray, queries: np.ndarray, k: int, allowed: np.ndarray | None
) -> list[Matches]:
    """The k nearest of all rows to each of `queries`, (n, dim) float32.

    `ids` are those of the rows, and `allowed` is a bitmap of the rows that may be found, None for
    all.
    """
    if not len(ids):
        return [NOTHING] * len(queries)
    questions = np.ascontiguousarray(queries, np.float32)

    def nearest(placed: tuple[int, Stretch]) -> list[Matches]:
        start, stretch = placed
        part = None
        if allowed is not None:
            part = allowed[start // 8 : -(-(start + stretch.count) // 8)]
        scores, positions = stretch.search(questions, k, part)
        found = positions >= 0  # FAISS pads short answers with -1
        return [
            Matches(ids[start + row[good]], values[good])
            for row, values, good in zip(positions, scores, found, strict=True)
        ]

    if len(stretches) < 2:  # a pool of threads takes longer than a small search
        import_faiss().omp_set_num_threads(1)  # and so do threads of FAISS's
        answers = [nearest(stretch) for stretch in stretches]
    else:
        with threads(len(stretches)) as pool:
            answers = list(pool.map(nearest, stretches))
    return [best(k, *parts) for parts in zip(*answers, strict=True)]


def positions_of(within: np.ndarray | None, ids: np.ndarray) -> np.ndarray:
    """Where the ids of `within` stand in `ids`, both ascending; everywhere for None."""
    if within is None:
        return np.arange(len(ids))
    if len(within) > FEW * len(ids) > 0:
        there = np.zeros(max(ids[-1], within[-1]) + 1, bool)  # takes a tenth of `isin`'s time
        there[within] = True
        return np.flatnonzero(there[ids])
    positions: np.ndarray = np.searchsorted(ids, within)
    # Without those that are above all.
    positions = positions[: np.searchsorted(positions, len(ids))]
    found: np.ndarray = positions[ids[positions] == within[: len(positions)]]
    return found


def is_strewn(allowed: np.ndarray) -> bool:
    """Whether many of the rows, (n,) bool, may be found, and those that may not lie among them."""
    edges = np.count_nonzero(allowed[1:] != allowed[:-1])
    many = np.count_nonzero(allowed) > STREWN * len(allowed)
    return bool(many and edges > len(allowed) / 16)
