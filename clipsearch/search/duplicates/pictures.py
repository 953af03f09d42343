"""Which contents show the same picture: by their hashes, shapes and times, and their embeddings.

Of pictures that are all alike there are more pairs than one can keep. So pairs are looked at as
they come, and those that are joined already are not compared. Only where that would bring pictures
of two times together are the pairs of these kept, and joined by the surest first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from clipsearch.search.duplicates.hamming import Pairs, near_pairs
from clipsearch.search.duplicates.sets import NO_MARK, Sets, agree
from clipsearch.store.catalog import Catalog, Model, PhotoFile

# Each was chosen by measurement: see docs/benchmarks.md.
SAME_SHAPE = 0.03  # of two copies, the width by the height differs by this share at most
SAME_PICTURE = 0.6  # least cosine of two copies' embeddings; their hashes say most

_PAIRS = 1 << 13  # pairs that are looked at together
_DENSE = 8  # to multiply so many times as many costs less than to take pairs one by one

# Of files by their numbers, (n,) int.
Rows = Callable[[np.ndarray], np.ndarray]  # their embeddings, (n, dim) float32; they ascend
AreThere = Callable[[np.ndarray], np.ndarray]  # whether each is there, (n,) bool


class _Sure(NamedTuple):
    """Pairs of numbers, the first below the second, and the cosine of each."""

    one: np.ndarray  # (n,) int32
    other: np.ndarray  # (n,) int32
    cosines: np.ndarray  # (n,) float32


class Pictures:
    """Contents, by one file of each, that are compared as pictures; each has a hash."""

    def __init__(
        self,
        files: Sequence[PhotoFile],
        hashes: Mapping[str, bytes],
        rows: Rows,
        are_there: AreThere,
    ) -> None:
        self._rows = rows
        self._are_there = are_there
        self._hashes = np.frombuffer(b"".join(hashes[file.digest] for file in files), np.uint64)
        self._shapes = np.log([(file.width or 1) / (file.height or 1) for file in files])
        taken = np.array([file.taken or "" for file in files])
        self._taken = np.where(taken == "", NO_MARK, np.unique(taken, return_inverse=True)[1])

    def leaders(self) -> np.ndarray:
        """The least number of the files that show the same picture as each, (n,) int64.

        Only files that are there show it, and no two that were taken at different times.
        """
        everything = np.arange(len(self._taken))
        sets = Sets(np.full(len(self._taken), NO_MARK))
        for one, other in self._alike(everything):
            apart = sets.can_join(one, other)
            sure = self._sure(one[apart], other[apart], self._rows)
            sets.join(sure.one, sure.other)
        leaders = sets.leaders(everything)
        if len(torn := np.flatnonzero(_of_two(self._taken, leaders))):
            leaders[torn] = self._surest_first(torn, leaders)
        return leaders

    def _surest_first(self, some: np.ndarray, leaders: np.ndarray) -> np.ndarray:
        """The leaders of some files when none brings two times together."""
        held = self._rows(some).astype(np.float16)  # as they are kept

        def rows(numbers: np.ndarray) -> np.ndarray:
            return np.asarray(held[np.searchsorted(some, numbers)], np.float32)

        found = [
            self._sure(one[together], other[together], rows)
            for one, other in self._alike(some)
            if (together := leaders[one] == leaders[other]).any()
        ]
        sure = _Sure(*map(np.concatenate, zip(*found, strict=True)))
        # Rounded, so that pairs of the same rows keep their order however they were multiplied.
        order = np.argsort(-np.round(sure.cosines, 5), kind="stable")
        sets = Sets(self._taken)
        for start in range(0, len(order), _PAIRS):
            at = order[start : start + _PAIRS]
            at = at[sets.can_join(sure.one[at], sure.other[at])]
            sets.join(sure.one[at], sure.other[at])
        return sets.leaders(some)

    def _alike(self, some: np.ndarray) -> Iterator[Pairs]:
        """The pairs among some files, by their ascending numbers, that may show one picture."""
        for pairs in near_pairs(self._hashes[some]):
            one, other = some[pairs[0]], some[pairs[1]]
            alike = np.abs(self._shapes[one] - self._shapes[other]) <= SAME_SHAPE
            # Two exposures are two pictures, however alike. No time differs from none.
            alike &= agree(self._taken[one], self._taken[other])
            one, other = one[alike], other[alike]
            for start in range(0, len(one), _PAIRS):
                yield one[start : start + _PAIRS], other[start : start + _PAIRS]

    def _sure(self, one: np.ndarray, other: np.ndarray, rows: Rows) -> _Sure:
        """Those pairs whose embeddings agree, and whose files are there."""
        cosines = _cosines(rows, one, other)
        sure = np.flatnonzero(cosines >= SAME_PICTURE)
        one, other, cosines = one[sure], other[sure], cosines[sure]
        there = self._are_there(one) & self._are_there(other)
        return _Sure(one[there].astype(np.int32), other[there].astype(np.int32), cosines[there])


def _of_two(marks: np.ndarray, leaders: np.ndarray) -> np.ndarray:
    """Whether the set that each number is in has two different marks, (n,) bool."""
    marked = np.flatnonzero(marks != NO_MARK)
    least, most = np.full(len(marks), len(marks)), np.full(len(marks), NO_MARK)
    np.minimum.at(least, leaders[marked], marks[marked])
    np.maximum.at(most, leaders[marked], marks[marked])
    return np.asarray((least < most)[leaders])


def _cosines(rows: Rows, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The cosines, (n,) float32, of the embeddings of pairs of files."""
    (left, of_left), (right, of_right) = (
        np.unique(numbers, return_inverse=True) for numbers in (one, other)
    )
    lefts, rights = rows(left), rows(right)
    if len(left) * len(right) <= _DENSE * len(one):  # many with many
        return np.asarray((lefts @ rights.T)[of_left, of_right])
    return np.asarray(np.einsum("nd,nd->n", lefts[of_left], rights[of_right]))


def embeddings(
    catalog: Catalog, model: Model, files: Sequence[PhotoFile], numbers: np.ndarray
) -> np.ndarray:
    """The embeddings of some of `files`, (n, dim) float32, unit rows; zeros for what has none."""
    digests = [files[at].digest for at in numbers.tolist()]
    rows = catalog.vectors_of(model.id, digests)
    none = bytes(2 * model.dim)
    content = b"".join(rows.get(digest, none) for digest in digests)
    return np.frombuffer(content, "<f2").reshape(-1, model.dim).astype(np.float32)
