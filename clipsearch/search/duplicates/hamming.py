"""Find the pairs of 64-bit hashes that differ in few bits, without comparing all with all.

Multi-index hashing (Norouzi, Punjani and Fleet, 2012). FAISS has it too, as IndexBinaryMultiHash,
which takes five times as long for this.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

RADIUS = 4  # bits in which two hashes of a pair differ at most

Pairs = tuple[np.ndarray, np.ndarray]  # (n,) int64 numbers each, the first below the second

_BANDS = 4  # of 16 bits each
_AT_ONCE = 1 << 21  # pairs looked at together: some 100 MB


def near_pairs(hashes: np.ndarray) -> Iterator[Pairs]:
    """The pairs among (n,) uint64 hashes within RADIUS, each once, in portions.

    Four bits that differ leave one of four bands equal, or else take a bit of each.
    """
    bands = np.ascontiguousarray(hashes).view(np.uint16).reshape(-1, _BANDS)
    for band in range(_BANDS):
        for one, other in _meeting(bands[:, band], 0):
            # A pair with an earlier band in common was given there.
            yield _within(hashes, one, other, np.all(bands[one, :band] != bands[other, :band], 1))
    for bit in range(16):
        for one, other in _meeting(bands[:, 0], 1 << bit):
            yield _within(hashes, one, other, np.all(bands[one] != bands[other], axis=1))


def _within(hashes: np.ndarray, one: np.ndarray, other: np.ndarray, wanted: np.ndarray) -> Pairs:
    one, other = one[wanted], other[wanted]
    near = np.bitwise_count(hashes[one] ^ hashes[other]) <= RADIUS
    return one[near], other[near]


def _meeting(keys: np.ndarray, flipped: int) -> Iterator[Pairs]:
    """The pairs whose (n,) uint16 keys differ in just the flipped bits."""
    order = np.argsort(keys, kind="stable")
    starts = np.searchsorted(keys[order], np.arange((1 << 16) + 1))
    partners = keys.astype(np.int64) ^ flipped
    firsts, counts = starts[partners], starts[partners + 1] - starts[partners]
    ends = counts.cumsum()
    start = 0
    while start < len(keys):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + _AT_ONCE, "right")))
        some = counts[start:stop]
        one = np.repeat(np.arange(start, stop), some)
        steps = np.arange(len(one)) - np.repeat(some.cumsum() - some, some)
        other = order[np.repeat(firsts[start:stop], some) + steps]
        ascending = one < other
        yield one[ascending], other[ascending]
        start = stop
