"""A file of rows in memory: mapped, not read."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np

from clipsearch.store.vectors.format import ROWS_START, row_offset

# Below this many rows two threads cost more than they save.
ROWS_A_THREAD = 20_000
# A thread's stretch starts on a page of the file, and on a byte of a bitmap of the rows.
STRETCH_UNIT = 4096


class Maps(NamedTuple):
    """A file of rows in memory, all maps of one and the same file."""

    whole: np.ndarray  # (bytes,) uint8
    scattered: np.ndarray  # the same, of which the system reads no more than is asked for
    # The rows from start to stop, and the ROWS_START bytes before them.
    stretches: list[tuple[tuple[int, int], np.ndarray]]


NO_MAPS = Maps(np.empty(0, np.uint8), np.empty(0, np.uint8), [])


def mapped(file: BinaryIO, count: int, dim: int) -> Maps:
    """Map a file, and once more in one part a thread: FAISS gives one query one thread."""
    parts = min(os.cpu_count() or 1, 1 + count // ROWS_A_THREAD)
    step = STRETCH_UNIT * max(1, -(-count // (parts * STRETCH_UNIT)))
    return Maps(
        np.memmap(file, np.uint8, "c"),
        _scattered(file),
        [((start, stop), _stretch(file, start, stop, dim)) for start, stop in spans(count, step)],
    )


def spans(count: int, step: int) -> Iterator[tuple[int, int]]:
    """From where to where the parts of `count` go that are `step` long; the last may be shorter."""
    for start in range(0, count, step):
        yield start, min(start + step, count)


def _stretch(file: BinaryIO, start: int, stop: int, dim: int) -> np.ndarray:
    first, end = row_offset(start, dim), row_offset(stop, dim)
    # Copy-on-write: FAISS gets a header on our copy of the page before a stretch.
    return np.memmap(file, np.uint8, "c", first - ROWS_START, ROWS_START + end - first)


def _scattered(file: BinaryIO) -> np.ndarray:
    content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if hasattr(mmap, "MADV_RANDOM"):
        content.madvise(mmap.MADV_RANDOM)
    return np.frombuffer(content, np.uint8)
