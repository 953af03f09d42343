"""At which rank the right answer comes: what recall, accuracy and median rank are made of.

A rank counts from 1, and a tie counts against: whatever scores as high as the right answer stands
before it. So a model that gives all the same vector finds nothing. On scores that differ, recall
is what clip-benchmark computes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_SCORES_AT_A_TIME = 1 << 24  # 64 MB


def ranks_of(questions: np.ndarray, answers: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The rank of each question's right answer among all answers: (m,) int64, from 1.

    `questions` (m, dim) and `answers` (n, dim) are float32 unit rows, and `right` (m,) int64 says
    which answer is each question's.
    """
    ranks = np.empty(len(questions), np.int64)
    for block in _blocks(len(questions), len(answers)):
        scores = questions[block] @ answers.T
        own = np.take_along_axis(scores, right[block, None], 1)
        ranks[block] = (~(scores < own)).sum(1)  # also what is no number counts against
    return ranks


def best_ranks_of(
    questions: np.ndarray,
    answers: np.ndarray,
    owners: np.ndarray,
    right: np.ndarray | None = None,
) -> np.ndarray:
    """The rank of the best of each question's right answers: (n,) int64, from 1.

    `owners` (p,) int64, ascending, says whose each of the right answers is, and `right` (p,) int64
    which of the `answers` (m, dim) it is: without it there are as many, in their order. Each of the
    `questions` (n, dim) has one at least.
    """
    starts = np.searchsorted(owners, np.arange(len(questions) + 1))
    ranks = np.empty(len(questions), np.int64)
    for block in _blocks(len(questions), len(answers)):
        scores = questions[block] @ answers.T
        pairs = np.arange(starts[block.start], starts[block.stop])
        columns = pairs if right is None else right[pairs]
        rows = owners[pairs] - block.start
        own = scores[rows, columns]
        best = np.maximum.reduceat(own, starts[block] - pairs[0])
        scores[rows, columns] = -np.inf  # none of them stands before the best
        ranks[block] = 1 + (~(scores < best[:, None])).sum(1)
    return ranks


def nearest(questions: np.ndarray, answers: np.ndarray, k: int) -> np.ndarray:
    """The numbers of each question's k nearest answers, best first: (m, at most k) int64.

    `questions` (m, dim) and `answers` (n, dim) are float32 unit rows. Of a tie the first comes
    first.
    """
    found = np.empty((len(questions), min(k, len(answers))), np.int64)
    for block in _blocks(len(questions), len(answers)):
        scores = questions[block] @ answers.T
        found[block] = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return found


def _blocks(rows: int, columns: int) -> Iterator[slice]:
    step = max(1, _SCORES_AT_A_TIME // columns)
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))
