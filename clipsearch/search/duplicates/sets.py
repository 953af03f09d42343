"""Disjoint sets of numbers that pairs join, as the pairs come: no list of all pairs is needed."""

from __future__ import annotations

import numpy as np

NO_MARK = -1


def agree(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Whether the marks of each pair may be together, (pairs,) bool: no mark may with any."""
    return np.asarray((one == other) | (one == NO_MARK) | (other == NO_MARK))


class Sets:
    """The numbers from 0 to n - 1 in sets, at first each alone.

    Numbers may have marks, (n,) int64 with NO_MARK for none; a set never holds two different ones.
    """

    def __init__(self, marks: np.ndarray) -> None:
        self._parents = np.arange(len(marks))
        self._marks = marks.copy()  # of each set, at its leader, which is its least number

    def can_join(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Whether each pair of numbers is of two sets that may become one, (pairs,) bool."""
        one, other = self.leaders(one), self.leaders(other)
        return np.asarray((one != other) & agree(self._marks[one], self._marks[other]))

    def join(self, one: np.ndarray, other: np.ndarray) -> None:
        """Join the sets of each pair of numbers, in their order, where they may be one."""
        for pair in zip(one.tolist(), other.tolist(), strict=True):
            first, last = sorted(map(self._leader, pair))
            marks = {int(self._marks[it]) for it in (first, last)} - {NO_MARK}
            if first != last and len(marks) < 2:
                self._parents[last] = first
                self._marks[first] = marks.pop() if marks else NO_MARK

    def leaders(self, numbers: np.ndarray) -> np.ndarray:
        """The least number of the set that each number is in, (n,) int64."""
        found = self._parents[numbers]
        while not np.array_equal(above := self._parents[found], found):
            found = above
        self._parents[numbers] = found  # the way is short next time
        return np.asarray(found)

    def _leader(self, number: int) -> int:
        while (above := int(self._parents[number])) != number:
            self._parents[number] = number = int(self._parents[above])
        return number
