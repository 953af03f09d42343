"""Read and decode one file, in a worker: a thread, or a process that may crash alone.

A worker process holds Pillow and NumPy but no torch, so it starts in a moment and stays small.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Any, TypeVar

import numpy as np

from clipsearch.errors import FileUnreadable, PhotoError
from clipsearch.photos.decoding.decode import (
    MAX_PIXELS,
    Undecided,
    decode,
    decode_frames,
    read_file,
    read_pieces,
)
from clipsearch.photos.decoding.isolated import Interrupted, Processes, Turn, untimed
from clipsearch.photos.decoding.memory import LARGEST_SHARE, Share, share_of
from clipsearch.photos.decoding.phash import LEAST_SIDE, perceptual_hash
from clipsearch.photos.decoding.view import View
from clipsearch.photos.facts.facts import Facts
from clipsearch.photos.files.urls import is_url

K = TypeVar("K")
T = TypeVar("T")

_LOOK = 0.2  # seconds between two looks at whether to stop


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
    suspect: bool = False  # and yet the file may be to blame: it is tried a few times only


STOPPED = Unread("the run was stopped before it was read", lasting=False)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a file is decoded."""

    max_pixels: int = MAX_PIXELS
    frames: int = 1  # of an animation, evenly spaced
    share: Share = LARGEST_SHARE  # what is larger takes a turn


def load(path: str, view: View, limits: Limits) -> Loaded | Unread:
    """Read, hash, decode and preprocess a file."""
    digest = None
    try:
        with ExitStack() as turn:
            with untimed():
                if _size_of(path) > limits.share.bytes:
                    turn.enter_context(Turn())
                content = read_file(path)
                digest = hashlib.sha256(content).hexdigest()
            return _decoded(content, digest, view, limits)
    except PhotoError as error:
        return _unread(error, digest)
    except MemoryError:
        return Unread("too large to read in memory", digest, lasting=False, suspect=True)


def _decoded(content: bytes, digest: str, view: View, limits: Limits) -> Loaded:
    least, most = max(view.size, LEAST_SIDE), limits.max_pixels
    photo = decode(content, least, most, Turn(), limits.share.pixels)
    images = [photo.image]
    if limits.frames > 1 and not content.startswith(b"\xff\xd8"):  # a JPEG never moves
        images = decode_frames(content, limits.frames, view.size, most, Turn(), limits.share.pixels)
    views = np.stack([view(image) for image in images])
    return Loaded(digest, views, photo.facts, perceptual_hash(photo.image))


def _unread(error: PhotoError, digest: str | None) -> Unread:
    if isinstance(error, (FileUnreadable, Interrupted)):  # which tells nothing of the content
        return Unread(str(error), lasting=False)
    if isinstance(error, Undecided):
        return Unread(str(error), digest, lasting=False, suspect=True)
    return Unread(str(error), digest)


def _size_of(path: str) -> int:
    try:
        return 0 if is_url(path) else os.stat(path).st_size
    except OSError:
        return 0  # reading it will say


def usual_workers() -> int:
    """How many workers suit this machine."""
    return min(os.cpu_count() or 1, 16)


def hash_file(path: str, stopping: Callable[[], bool] = lambda: False) -> Loaded | Unread:
    """Read and hash a file; gives STOPPED once `stopping` says so."""
    found = hashlib.sha256()
    try:
        for piece in read_pieces(path):
            if stopping():
                return STOPPED
            found.update(piece)
        return Loaded(found.hexdigest())
    except PhotoError as error:
        return _unread(error, None)


class Loaders:
    """A pool of workers that run `load`, as many as suit this machine; a context manager."""

    def __init__(
        self,
        workers: int | None = None,
        isolated: bool = False,
        limits: Limits = Limits(),
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        workers = workers or usual_workers()
        self._isolated = isolated
        self._limits = replace(limits, share=share_of(workers))
        self._stopping = stopping
        if isolated:
            self._pool: Any = Processes(workers, limits.max_pixels)
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
            # What is being decoded is not waited for by who is leaving in a hurry.
            self._pool.shutdown(wait=error is None, cancel_futures=True)

    def submit(
        self, path: str, view: View, digest: str | None = None
    ) -> Callable[[], Loaded | Unread]:
        """Start to load a file; gives a function that waits for the result, or gives STOPPED.

        `digest` is that of its content, where it is known.
        """
        if self._isolated:
            wait: Callable[[float], Any] = self._pool.start(load, path, view, self._limits)
        else:
            wait = self._pool.submit(load, path, view, self._limits).result
        return partial(_result, wait, digest, self._stopping)


def load_ahead(
    paths: Mapping[K, str],
    view: View,
    loaders: Loaders,
    ahead: int,
    digests: Mapping[K, str] = MappingProxyType({}),
) -> Iterator[tuple[K, Loaded | Unread]]:
    """What came of each file, by its key in `paths` and in their order; `ahead` are in flight.

    `digests` are of those contents that are known.
    """
    started = ((key, loaders.submit(path, view, digests.get(key))) for key, path in paths.items())
    for key, wait in drawn_ahead(started, lambda: ahead - 1):
        yield key, wait()


def drawn_ahead(items: Iterable[T], count: Callable[[], int]) -> Iterator[T]:
    """The items in order, each given when so many after it were drawn."""
    drawn: deque[T] = deque()
    for item in items:
        drawn.append(item)
        if len(drawn) > count():
            yield drawn.popleft()
    yield from drawn


def _result(
    wait: Callable[[float], Loaded | Unread], digest: str | None, stopping: Callable[[], bool]
) -> Loaded | Unread:
    while True:
        try:
            return wait(_LOOK)
        except FutureTimeoutError:
            if stopping():
                return STOPPED
        except PhotoError as error:
            return _unread(error, digest)


def _nothing() -> None:
    pass
