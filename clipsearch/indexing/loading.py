"""Read and decode one file, in a worker: a thread, or a process that may crash alone.

A worker process holds Pillow and NumPy but no torch, so it starts in a moment and stays small.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from filelock import FileLock

from clipsearch.errors import FileUnreadable, PhotoError
from clipsearch.photos.decode import MAX_PIXELS, decode, decode_frames, read_file
from clipsearch.photos.facts import Facts
from clipsearch.photos.isolated import Interrupted, Processes
from clipsearch.photos.phash import LEAST_SIDE, perceptual_hash
from clipsearch.photos.view import View

K = TypeVar("K")

# Held while a large picture is decoded: between threads a lock, between processes a file's.
_turn: AbstractContextManager[Any] = threading.Lock()


@dataclass(frozen=True, slots=True)
class Loaded:
    """The content of a file; all but the digest is None where it was not decoded."""

    digest: str  # SHA-256 of the whole file, hex
    views: np.ndarray | None = None  # (frames, resolution, resolution, 3) uint8
    facts: Facts | None = None
    phash: bytes | None = None  # as `perceptual_hash` gives it
    embedding: np.ndarray | None = None  # (dim,) float16, where that was made of the views


@dataclass(frozen=True, slots=True)
class Unread:
    """Why a file gave no picture."""

    reason: str
    digest: str | None = None
    lasting: bool = True  # false where the next try may go well though the file is the same


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a file is decoded."""

    max_pixels: int = MAX_PIXELS
    frames: int = 1  # of an animation, evenly spaced


def load(path: str, view: View, limits: Limits) -> Loaded | Unread:
    """Read, hash, decode and preprocess a file."""
    digest = None
    try:
        content = read_file(path)
        digest = hashlib.sha256(content).hexdigest()
        photo = decode(content, max(view.size, LEAST_SIDE), limits.max_pixels, _turn)
        images = [photo.image]
        if limits.frames > 1 and not content.startswith(b"\xff\xd8"):  # a JPEG never moves
            images = decode_frames(content, limits.frames, view.size, limits.max_pixels)
        views = np.stack([view(image) for image in images])
        return Loaded(digest, views, photo.facts, perceptual_hash(photo.image))
    except FileUnreadable as error:
        return Unread(str(error), lasting=False)
    except PhotoError as error:
        return Unread(str(error), digest)


def usual_workers() -> int:
    """How many workers suit this machine."""
    return min(os.cpu_count() or 1, 16)


def hash_file(path: str) -> Loaded | Unread:
    """Read and hash a file."""
    try:
        return Loaded(hashlib.sha256(read_file(path)).hexdigest())
    except FileUnreadable as error:
        return Unread(str(error), lasting=False)
    except PhotoError as error:
        return Unread(str(error))


class Loaders:
    """A pool of workers that run `load`; a context manager."""

    def __init__(self, workers: int, isolated: bool, limits: Limits = Limits()) -> None:
        self._isolated = isolated
        self._limits = limits
        self._scratch = tempfile.TemporaryDirectory()
        if isolated:
            # A lock on a file, since it ends with the process that holds it, however that ends.
            turn = os.path.join(self._scratch.name, "turn")
            self._pool: Any = Processes(workers, _take_turns, turn)
            for _ in range(workers):  # so that they start while the model is loaded
                self._pool.start(_nothing)
        else:
            self._pool = ThreadPoolExecutor(workers, "clipsearch-load")

    def __enter__(self) -> Loaders:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._isolated:
            self._pool.stop()
        else:
            self._pool.shutdown(cancel_futures=True)
        self._scratch.cleanup()

    def submit(self, path: str, view: View) -> Callable[[], Loaded | Unread]:
        """Start to load a file; gives a function that waits for the result."""
        if not self._isolated:
            return self._pool.submit(load, path, view, self._limits).result  # type: ignore[no-any-return]
        return partial(_result, self._pool.start(load, path, view, self._limits))


def load_ahead(
    paths: Mapping[K, str], view: View, loaders: Loaders, ahead: int
) -> Iterator[tuple[K, Loaded | Unread]]:
    """What came of each file, by its key in `paths` and in their order; `ahead` are in flight."""
    started = ((key, loaders.submit(path, view)) for key, path in paths.items())
    waiting = deque(islice(started, ahead))
    while waiting:
        key, wait = waiting.popleft()
        yield key, wait()
        waiting.extend(islice(started, 1))


def _result(wait: Callable[[], Loaded | Unread]) -> Loaded | Unread:
    try:
        return wait()
    except PhotoError as error:
        return Unread(str(error), lasting=not isinstance(error, Interrupted))


def _take_turns(turn: str) -> None:
    global _turn
    _turn = FileLock(turn)


def _nothing() -> None:
    pass
