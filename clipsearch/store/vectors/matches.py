"""What a search for vectors finds: the ids of the nearest, and how near they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Matches:
    """The nearest vectors of one query, best first."""

    ids: np.ndarray  # (n,) int64
    scores: np.ndarray  # (n,) float32, cosine


NOTHING = Matches(np.empty(0, np.int64), np.empty(0, np.float32))


def scored(query: np.ndarray, ids: np.ndarray, rows: np.ndarray, positions: np.ndarray) -> Matches:
    """The rows at `positions`, (n,) int64, with their exact inner products with `query`."""
    found = rows[positions].astype(np.float32)
    return Matches(ids[positions], found @ query.astype(np.float32))


def best(k: int, *parts: Matches) -> Matches:
    """The k best of several answers."""
    ids = np.concatenate([part.ids for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    order = np.argsort(-scores, kind="stable")[:k]
    return Matches(ids[order], scores[order])
