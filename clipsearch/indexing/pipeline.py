"""Read, decode, embed and commit what the plan asks for, all at the same time.

    hashers -> loaders -> [batch] -> encoder -> commit

Files whose size no other file has go straight to the loaders, which read, hash, decode and
preprocess. The others are hashed first, so that a moved file or a copy is not decoded again.
Full batches go to the encoder's thread while the next one fills, and what it gives back is
written in one transaction. Every queue is bounded; a crash loses at most the batches in flight.

With `run_elsewhere`, all before the commit happens on other machines (see `distributed/`).
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from clipsearch.encoders import Encoder
from clipsearch.encoders.onnx.probes import made_views
from clipsearch.encoders.rows import UNUSABLE, are_units
from clipsearch.errors import ModelError
from clipsearch.indexing.loading import Loaded, Loaders, Unread, drawn_ahead, hash_file
from clipsearch.indexing.plan import Counts, Gone, Plan, Work
from clipsearch.indexing.succession import Succession
from clipsearch.photos.facts.facts import Facts
from clipsearch.photos.files.urls import joined
from clipsearch.progress import Progress
from clipsearch.store.catalog import Catalog, Changes, Failure, Known, NewPhoto
from clipsearch.store.vectors.store import Followed

# Photos read ahead by before a model is loaded; a run that embeds nothing loads none.
USUAL_BATCH = 64
# Records that need no embedding (copies, failures) are committed in groups of this many.
RECORDS_A_COMMIT = 500
# On a slow disk a batch is committed at this age, full or not.
SECONDS_A_COMMIT = 20.0

Result = Loaded | Unread


@dataclass(slots=True)
class _Batch:
    """What is committed together."""

    views: list[tuple[Work, Loaded]] = field(default_factory=list)  # to embed
    records: list[tuple[Work, Loaded]] = field(default_factory=list)  # embedded before
    failures: list[tuple[Work, Unread]] = field(default_factory=list)
    begun: float = field(default_factory=time.monotonic)
    done: int = 0  # files of the plan that are finished when this is committed

    def is_full(self, size: int) -> bool:
        return (
            len(self.views) >= size
            or len(self.records) + len(self.failures) >= RECORDS_A_COMMIT
            or time.monotonic() - self.begun > SECONDS_A_COMMIT
        )


class Elsewhere(Protocol):
    """What reads and embeds files on other machines."""

    def results(
        self, work: Sequence[Work], shared: set[int], embedded: set[str]
    ) -> Iterator[tuple[Work, Result]]:
        """What came of each file, in any order; fewer than all if it was stopped.

        Only a file whose size is `shared` can hold what another does, or one of the contents that
        are `embedded`: those need no embedding again.
        """
        ...


class Pipeline:
    """One run over one plan."""

    def __init__(
        self,
        catalog: Catalog,
        model_id: int,
        vectors: Followed,
        encoder: Succession,
        batch_size: int | None,
        progress: Progress,
    ) -> None:
        self.counts = Counts()
        self._catalog = catalog
        self._model_id = model_id
        self._vectors = vectors
        self._encoder = encoder
        self._wanted_batch = batch_size
        self._batch_size = batch_size or USUAL_BATCH  # the encoder's own once there is one
        self._is_loaded = False
        self._progress = progress
        self._total = 0
        self._plan = Plan()
        self._gone: dict[str, list[Gone]] = {}
        self._waiting: list[tuple[Work, Loaded]] = []  # copies of what is not embedded yet
        self._broken: dict[str, Unread] = {}  # by digest: contents that are no picture
        self._embedded: set[str] = set()  # contents that need no embedding
        self._claimed: set[str] = set()  # contents that are being embedded
        self._old_facts: dict[str, Facts] = {}  # of contents that may move to other files
        self._encoding: deque[tuple[_Batch, Future[np.ndarray]]] = deque()

    def run(self, plan: Plan, loaders: Loaders, stopping: Callable[[], bool]) -> bool:
        """Do the plan; gives False if `stopping` said so before the end."""
        self._prepare(plan)
        with _threads(2, "clipsearch-hash") as hashers:

            def results(work: Sequence[Work]) -> Iterator[tuple[Work, Result]]:
                return self._results(work, hashers, loaders, stopping)

            return self._finish(plan, results, stopping)

    def run_elsewhere(self, plan: Plan, elsewhere: Elsewhere, stopping: Callable[[], bool]) -> bool:
        """Do the plan with other machines, to the same end as `run`."""
        self._prepare(plan)

        def results(work: Sequence[Work]) -> Iterator[tuple[Work, Result]]:
            return elsewhere.results(work, self._shared_sizes(work), self._embedded)

        return self._finish(plan, results, stopping)

    def _finish(
        self,
        plan: Plan,
        results: Callable[[Sequence[Work]], Iterator[tuple[Work, Result]]],
        stopping: Callable[[], bool],
    ) -> bool:
        began = time.monotonic()
        with _threads(1, "clipsearch-encode") as encoding:
            complete = self._consume(plan.work, results(plan.work), encoding, stopping)
            if complete and (orphans := self._settle_waiting()):
                # The file that was to be embedded for them could not be read: another is.
                complete = self._consume(orphans, results(orphans), encoding, stopping)
                if complete:
                    self._give_up(self._settle_waiting())
        self.counts.seconds += time.monotonic() - began
        if complete:
            self.counts.removed += clean_up(self._catalog, plan, self._gone)
        return complete

    def _prepare(self, plan: Plan) -> None:
        self._total = len(plan.work)
        self._progress(0, self._total)
        self.counts.unchanged += plan.unchanged
        self._plan = plan
        self._gone = _by_digest(plan.gone + plan.kept)
        sizes = {work.found.size for work in plan.work}
        self._embedded = self._catalog.embedded_of_sizes(self._model_id, sizes)
        known = [work.known.digest for work in plan.work if work.known]
        self._old_facts = {digest: self._facts_of(digest) for digest in known}

    def _results(
        self,
        work: Sequence[Work],
        hashers: ThreadPoolExecutor,
        loaders: Loaders,
        stopping: Callable[[], bool],
    ) -> Iterator[tuple[Work, Result]]:
        """What came of each file, in order, with enough in flight to fill the next batch."""
        hashing = self._hashing(work, hashers, stopping)
        started = (
            (item, self._start(item, hashed, loaders))
            for item, hashed in drawn_ahead(hashing, self._two_batches)
        )
        for item, wait in drawn_ahead(started, self._two_batches):
            yield item, wait()

    def _two_batches(self) -> int:
        return 2 * self._batch_size

    def _hashing(
        self, work: Sequence[Work], hashers: ThreadPoolExecutor, stopping: Callable[[], bool]
    ) -> Iterator[tuple[Work, Future[Result] | None]]:
        shared = self._shared_sizes(work)
        for item in work:
            is_shared = item.found.size in shared
            hashed = hashers.submit(hash_file, path_of(item), stopping) if is_shared else None
            yield item, hashed

    def _shared_sizes(self, work: Sequence[Work]) -> set[int]:
        """The sizes that several files have, so that one may be a copy of another."""
        counts = Counter(item.found.size for item in work)
        shared = self._catalog.taken_sizes(counts)
        return shared | {size for size, count in counts.items() if count > 1}

    def _start(
        self, item: Work, hashed: Future[Result] | None, loaders: Loaders
    ) -> Callable[[], Result]:
        result, digest = hashed.result() if hashed else None, None
        if isinstance(result, Unread):
            return lambda: result
        if result is not None:
            done = result.digest in self._embedded or result.digest in self._claimed
            if done and not (item.anew and item.known):
                return lambda: result
            self._claimed.add(result.digest)
            digest = result.digest
        if not self._is_loaded:
            self._load()
        self._batch_size = self._wanted_batch or self._encoder.batch_size() or USUAL_BATCH
        return loaders.submit(path_of(item), self._encoder.view(), digest)

    def _load(self) -> None:
        """Load the encoder; how long that is waited for is no matter of the photos."""
        began = time.monotonic()
        self._encoder.view()
        self._encoder.batch_size()
        self._is_loaded = True
        self.counts.seconds -= time.monotonic() - began
        self._progress(self.counts.read, self._total)

    def _consume(
        self,
        work: Sequence[Work],
        results: Iterable[tuple[Work, Result]],
        encoding: ThreadPoolExecutor,
        stopping: Callable[[], bool],
    ) -> bool:
        batch, stopped, done = _Batch(), False, 0
        for done, (item, result) in enumerate(results, 1):
            stopped = stopping()
            if stopped and isinstance(result, Unread) and not result.lasting:
                done -= 1  # what ends this run may have ended its reading
                break
            self._sort_in(item, result, batch)
            batch.done = self.counts.read = done
            if stopped or batch.is_full(self._batch_size):
                self._encode(batch, encoding)
                batch = _Batch()
            if stopped:
                break
        batch.done = done
        self._encode(batch, encoding)
        self._commit_encoded(keep=0)
        return done == len(work) and not stopped

    def _known_again(self, item: Work, result: Result) -> Result:
        """What came of a photo that is read anew and is what it was: its facts, if it has any."""
        if not item.anew or item.known is None or result.digest not in self._embedded:
            return result
        if isinstance(result, Unread):  # it was decoded once
            return Loaded(item.known.digest) if result.digest == item.known.digest else result
        return replace(result, views=None, embedding=None)

    def _sort_in(self, item: Work, result: Result, batch: _Batch) -> None:
        result = self._known_again(item, result)
        if isinstance(result, Unread):
            if result.digest:
                self._broken[result.digest] = result
            batch.failures.append((item, result))
        elif result.views is not None or result.embedding is not None:
            batch.views.append((item, result))
        elif result.digest in self._embedded:
            batch.records.append((item, result))
        elif result.digest in self._broken:
            batch.failures.append((item, self._broken[result.digest]))
        else:
            self._waiting.append((item, result))

    def _encode(self, batch: _Batch, encoding: ThreadPoolExecutor) -> None:
        """Send a batch to the encoder, and commit the one before it meanwhile."""
        self._encoding.append((batch, encoding.submit(self._embed, batch)))
        self._commit_encoded(keep=1)

    def _embed(self, batch: _Batch) -> np.ndarray:
        """The batch's embeddings, (n, dim) float16.

        Raises:
            ModelError: the model gives nothing usable, whatever the picture.
        """
        if not batch.views:
            return np.empty((0, self._vectors.dim), np.float16)
        done = [loaded.embedding for _, loaded in batch.views if loaded.embedding is not None]
        if done:
            return np.stack(done)
        views = [loaded.views for _, loaded in batch.views if loaded.views is not None]
        encoder = self._encoder()
        rows = embed(encoder, views)
        if (
            not are_units(rows).any()
            and not are_units(embed(encoder, [made_views(encoder, 6)])).any()
        ):
            raise ModelError(
                "the model gives no usable embedding of any picture: a file of it may be damaged,"
                " which clipsearch doctor tells"
            )
        return rows

    def _commit_encoded(self, keep: int) -> None:
        while len(self._encoding) > keep:
            batch, rows = self._encoding.popleft()
            self._commit(batch, rows.result())
            self._progress(batch.done, self._total)

    def _commit(self, batch: _Batch, rows: np.ndarray) -> None:
        usable = are_units(rows)
        if not usable.all():
            self._sort_out(batch, usable)
            rows = rows[usable]
        embedded = [loaded.digest for _, loaded in batch.views]
        changes = Changes(
            vectors=[(digest, row.tobytes()) for digest, row in zip(embedded, rows, strict=True)],
            pictures=[
                (loaded.digest, loaded.phash)
                for _, loaded in batch.views
                if loaded.phash is not None
            ],
            photos=[self._photo(item, loaded) for item, loaded in batch.views + batch.records],
            failures=[_failure(item, unread) for item, unread in batch.failures],
            dropped=[
                item.known.id
                for item, unread in batch.failures
                if item.known and _is_another(item, item.known, unread)
            ],
        )
        added = self._catalog.write(self._model_id, changes)
        # Only after the commit: the catalog is the truth, the vectors' store follows.
        self._vectors.follow(added)
        self.counts.failed += len(batch.failures)
        self.counts.embedded += len(embedded)
        self._embedded.update(embedded)
        self._claimed.difference_update(embedded)

    def _sort_out(self, batch: _Batch, usable: np.ndarray) -> None:
        """Make failures of those of a batch of whose views the model made nothing usable."""
        pairs = list(zip(batch.views, usable.tolist(), strict=True))
        batch.views = [view for view, is_usable in pairs if is_usable]
        for (item, loaded), is_usable in pairs:
            if not is_usable:
                unread = Unread(UNUSABLE, loaded.digest, lasting=False, suspect=True)
                self._sort_in(item, unread, batch)

    def _photo(self, item: Work, loaded: Loaded) -> NewPhoto:
        return NewPhoto(
            self._row_to_keep(item, loaded.digest),
            item.root.id,
            item.found.path,
            loaded.digest,
            item.found.size,
            item.found.mtime_ns,
            loaded.facts or self._facts_of(loaded.digest),
        )

    def _facts_of(self, digest: str) -> Facts:
        return self._catalog.facts_of(digest) or self._old_facts.get(digest) or Facts()

    def _row_to_keep(self, item: Work, digest: str) -> int | None:
        """The row that this photo takes over; counts what happened to it."""
        if item.known:
            if item.known.digest == digest:
                self.counts.unchanged += 1
            else:
                self.counts.updated += 1
            return item.known.id
        if self._gone.get(digest):
            self.counts.moved += 1
            return self._found_again(item, digest).known.id
        self.counts.added += 1
        return None

    def _found_again(self, item: Work, digest: str) -> Gone:
        """The photo that this file was: one that is gone before one that is away."""
        candidates = self._gone[digest]
        best = min(candidates, key=lambda it: (it.away is not None, it.path != item.found.path))
        candidates.remove(best)
        if best.away is not None:
            self._plan.moved.append(best)
        return best

    def _settle_waiting(self) -> list[Work]:
        """Commit the copies of what is done by now; gives those of what is not."""
        batch = _Batch()
        waiting, self._waiting = self._waiting, []
        for item, loaded in waiting:
            self._sort_in(item, loaded, batch)
        self._commit(batch, np.empty((0, self._vectors.dim), np.float16))
        orphans, self._waiting = self._waiting, []
        self._claimed.difference_update(loaded.digest for _, loaded in orphans)
        return [item for item, _ in orphans]

    def _give_up(self, orphans: Sequence[Work]) -> None:
        """Make failures of copies of what could not be read twice; the next run tries them."""
        unread = Unread("what it is a copy of could not be read", lasting=False)
        batch = _Batch(failures=[(item, unread) for item in orphans])
        self._commit(batch, np.empty((0, self._vectors.dim), np.float16))


def embed(encoder: Encoder, views: Sequence[np.ndarray]) -> np.ndarray:
    """The embeddings of pictures, (n, dim) float16; each has one view a frame."""
    rows = encoder.encode_images(np.concatenate(views))
    frames = np.array([len(some) for some in views])
    if len(rows) > len(views):  # an animation's embedding is the mean of its frames'
        rows = np.where(are_units(rows)[:, None], rows, np.nan)  # which all count the same
        rows = np.add.reduceat(rows, frames.cumsum() - frames)
        with np.errstate(invalid="ignore", divide="ignore"):  # of such a row it is told later
            rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    with np.errstate(invalid="ignore", over="ignore"):
        return rows.astype(np.float16)


@contextmanager
def _threads(count: int, name: str) -> Iterator[ThreadPoolExecutor]:
    """Some threads; what goes wrong, or a second Ctrl-C, does not wait for what they do."""
    pool = ThreadPoolExecutor(count, name)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown(cancel_futures=True)


def clean_up(catalog: Catalog, plan: Plan, gone: dict[str, list[Gone]] | None = None) -> int:
    """Take out what is gone and was not found elsewhere; gives the number of photos."""
    if gone is None:
        gone = _by_digest(plan.gone)
    photos = [photo for group in gone.values() for photo in group if photo.away is None]
    catalog.remove_photos(photo.known.id for photo in photos)
    catalog.remove_failures(plan.mended)
    catalog.sweep(_replaced(plan))
    return len(photos)


def path_of(item: Work) -> str:
    """The absolute path of a file to read, or its URL."""
    return joined(item.root.path, item.found.path)


def _replaced(plan: Plan) -> set[str]:
    """The contents that photos of the plan had, and may have no longer."""
    changed = {item.known.digest for item in plan.work if item.known}
    return changed.union(photo.known.digest for photo in plan.gone)


def _by_digest(gone: list[Gone]) -> dict[str, list[Gone]]:
    grouped: dict[str, list[Gone]] = {}
    for photo in gone:
        grouped.setdefault(photo.known.digest, []).append(photo)
    return grouped


def _is_another(item: Work, known: Known, unread: Unread) -> bool:
    """Whether what was known of a file is replaced for good by something that is no picture."""
    if unread.digest is None:
        return unread.lasting and item.found.size != known.size
    return unread.lasting and unread.digest != known.digest


def _failure(item: Work, unread: Unread) -> Failure:
    # A size that no file has: it is tried again at every run.
    size = item.found.size if unread.lasting or unread.suspect else -1
    return Failure(
        item.root.id, item.found.path, size, item.found.mtime_ns, unread.reason,
        tries=int(unread.suspect),
    )  # fmt: skip
