"""Read, decode, embed and commit what the plan asks for, a batch at a time.

Worker threads read, hash, decode and preprocess files ahead; Pillow and hashlib release the
GIL while they do. The calling thread embeds a batch while the next one is being decoded, and
writes it in one transaction, so a crash loses at most the batch in flight.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from clipsearch.encoders import Encoder
from clipsearch.errors import FileUnreadable, PhotoError
from clipsearch.indexing.plan import Gone, Plan, Work
from clipsearch.photos.decode import decode, read_file
from clipsearch.photos.facts import Facts
from clipsearch.store.catalog import Catalog, Changes, Failure, NewPhoto
from clipsearch.store.vectors import VectorFile

# Records that need no embedding (copies, failures) are committed in groups of this many.
RECORDS_A_COMMIT = 500


@dataclass(slots=True)
class Counts:
    """What an index run did, in photos."""

    added: int = 0
    updated: int = 0
    moved: int = 0
    removed: int = 0
    unchanged: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Loaded:
    """A file that was read; `view` is None where its content needs no embedding."""

    work: Work
    digest: str
    view: np.ndarray | None = None  # (resolution, resolution, 3) uint8
    facts: Facts | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file that could not be read, and why."""

    work: Work
    reason: str
    digest: str | None = None
    lasting: bool = True  # false where the file's bytes could not be had: no fault of the file


@dataclass(slots=True)
class _Batch:
    """What has been read since the last commit."""

    views: list[Loaded] = field(default_factory=list)
    records: list[Loaded] = field(default_factory=list)
    failures: list[Unreadable] = field(default_factory=list)


class Pipeline:
    """One run over one plan."""

    def __init__(
        self,
        catalog: Catalog,
        model_id: int,
        vectors: VectorFile,
        encoder: Callable[[], Encoder],
        batch_size: int,
        workers: int,
    ) -> None:
        self.counts = Counts()
        self._catalog = catalog
        self._model_id = model_id
        self._vectors = vectors
        self._encoder = encoder  # called when the first picture needs it, from any thread
        self._batch_size = batch_size
        self._workers = workers
        self._gone: dict[str, list[Gone]] = {}
        self._total = 0  # files that the plan asks to read
        self._waiting: list[Loaded] = []  # copies of a picture that is not embedded yet
        self._broken: dict[str, str] = {}  # digest to the reason why it cannot be decoded
        self._embedded: set[str] = set()  # contents that need no embedding
        self._claimed: set[str] = set()  # contents that a worker of this run decodes
        self._claiming = threading.Lock()
        self._old_facts: dict[str, Facts] = {}  # of contents that this run may move to other files

    def run(
        self, plan: Plan, progress: Callable[[int, int], None], stopping: Callable[[], bool]
    ) -> bool:
        """Do the plan; gives False if `stopping` said so before the end.

        `progress` gets the number of files done, and their total, after each batch.
        """
        self._total = len(plan.work)
        progress(0, self._total)
        self.counts.unchanged += plan.unchanged
        self._gone = _by_digest(plan.gone)
        self._embedded = self._catalog.digests_by_size({work.found.size for work in plan.work})
        self._embedded -= self._catalog.digests_without_vector(self._model_id)
        self._old_facts = {
            work.known.digest: self._catalog.facts_of(work.known.digest) or Facts()
            for work in plan.work
            if work.known
        }
        pool = ThreadPoolExecutor(self._workers, "clipsearch-load")
        try:
            results = self._read_ahead(pool, plan.work)
            complete = self._consume(results, lambda done: progress(done, self._total), stopping)
        finally:
            pool.shutdown(cancel_futures=True)
        if complete:
            self._settle_waiting()
            self.counts.removed += clean_up(self._catalog, plan, self._gone)
        return complete

    def _consume(
        self,
        results: Iterator[Loaded | Unreadable],
        progress: Callable[[int], None],
        stopping: Callable[[], bool],
    ) -> bool:
        batch = _Batch()
        for done, result in enumerate(results, 1):
            self._sort_in(result, batch)
            stop = stopping()
            if stop or _is_full(batch, self._batch_size):
                self._commit(batch)
                batch = _Batch()
                progress(done)
            if stop:
                return False
        self._commit(batch)
        progress(self._total)
        return True

    def _read_ahead(
        self, pool: ThreadPoolExecutor, work: list[Work]
    ) -> Iterator[Loaded | Unreadable]:
        """Results in order, with just enough files in flight to fill the next batch."""
        pending = iter(work)
        ahead = 2 * self._batch_size + self._workers
        futures: deque[Future[Loaded | Unreadable]] = deque(
            pool.submit(self._load, item) for item in islice(pending, ahead)
        )
        while futures:
            result = futures.popleft().result()
            futures.extend(pool.submit(self._load, item) for item in islice(pending, 1))
            yield result

    def _load(self, work: Work) -> Loaded | Unreadable:
        digest = None
        try:
            content = read_file(os.path.join(work.root.path, work.found.path))
            digest = hashlib.sha256(content).hexdigest()
            if not self._claim(digest):
                return Loaded(work, digest)
            encoder = self._encoder()
            photo = decode(content, min_side=encoder.resolution)
            return Loaded(work, digest, encoder.prepare(photo.image), photo.facts)
        except FileUnreadable as error:
            return Unreadable(work, str(error), lasting=False)
        except PhotoError as error:
            return Unreadable(work, str(error), digest)

    def _claim(self, digest: str) -> bool:
        """Whether this content still has to be embedded, and by the caller."""
        with self._claiming:
            if digest in self._embedded or digest in self._claimed:
                return False
            self._claimed.add(digest)
            return True

    def _sort_in(self, result: Loaded | Unreadable, batch: _Batch) -> None:
        if isinstance(result, Unreadable):
            if result.digest:
                self._broken[result.digest] = result.reason
            batch.failures.append(result)
        elif result.view is not None:
            batch.views.append(result)
        elif result.digest in self._embedded:
            batch.records.append(result)
        elif result.digest in self._broken:
            batch.failures.append(Unreadable(result.work, self._broken[result.digest]))
        else:
            self._waiting.append(result)

    def _commit(self, batch: _Batch) -> None:
        rows = self._embed(batch.views)
        changes = Changes(
            vectors=[
                (item.digest, row.tobytes()) for item, row in zip(batch.views, rows, strict=True)
            ],
            photos=[self._photo(item) for item in batch.views + batch.records],
            failures=[_failure(item) for item in batch.failures],
            dropped=[
                item.work.known.id for item in batch.failures if item.work.known and item.lasting
            ],
        )
        added = self._catalog.write(self._model_id, changes)
        # Only after the commit: the catalog is the truth, the vector file follows.
        self._vectors.add([id for id, _ in added], _matrix(added, self._vectors.dim))
        self.counts.failed += len(batch.failures)
        self._embedded.update(item.digest for item in batch.views)
        self._claimed.difference_update(item.digest for item in batch.views)

    def _embed(self, views: list[Loaded]) -> np.ndarray:
        if not views:
            return np.empty((0, self._vectors.dim), np.float16)
        pixels = np.stack([item.view for item in views if item.view is not None])
        return self._encoder().encode_images(pixels).astype(np.float16)

    def _photo(self, item: Loaded) -> NewPhoto:
        work, found = item.work, item.work.found
        return NewPhoto(
            self._row_to_keep(item),
            work.root.id,
            found.path,
            item.digest,
            found.size,
            found.mtime_ns,
            item.facts or self._facts_of(item.digest),
        )

    def _facts_of(self, digest: str) -> Facts:
        return self._catalog.facts_of(digest) or self._old_facts.get(digest) or Facts()

    def _row_to_keep(self, item: Loaded) -> int | None:
        """The row that this photo takes over, and the count of what happened to it."""
        known = item.work.known
        if known:
            if known.digest == item.digest:
                self.counts.unchanged += 1
            else:
                self.counts.updated += 1
            return known.id
        if self._gone.get(item.digest):
            self.counts.moved += 1
            return self._gone[item.digest].pop().known.id
        self.counts.added += 1
        return None

    def _settle_waiting(self) -> None:
        batch = _Batch()
        waiting, self._waiting = self._waiting, []
        for item in waiting:
            self._sort_in(item, batch)
        self._commit(batch)


def clean_up(catalog: Catalog, plan: Plan, gone: dict[str, list[Gone]] | None = None) -> int:
    """Take out what is gone and was not found elsewhere; gives the number of photos."""
    photos = [photo for group in (gone or _by_digest(plan.gone)).values() for photo in group]
    catalog.remove_photos(photo.known.id for photo in photos)
    catalog.remove_failures(plan.mended)
    catalog.sweep()
    return len(photos)


def _by_digest(gone: list[Gone]) -> dict[str, list[Gone]]:
    grouped: dict[str, list[Gone]] = {}
    for photo in gone:
        grouped.setdefault(photo.known.digest, []).append(photo)
    return grouped


def _is_full(batch: _Batch, batch_size: int) -> bool:
    return (
        len(batch.views) >= batch_size
        or len(batch.records) + len(batch.failures) >= RECORDS_A_COMMIT
    )


def _failure(item: Unreadable) -> Failure:
    found = item.work.found
    # A size that no file has: it is tried again at every run.
    size = found.size if item.lasting else -1
    return Failure(item.work.root.id, found.path, size, found.mtime_ns, item.reason)


def _matrix(added: list[tuple[int, bytes]], dim: int) -> np.ndarray:
    return np.frombuffer(b"".join(row for _, row in added), np.float16).reshape(-1, dim)
