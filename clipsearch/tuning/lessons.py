"""What a model learns from: photos in an order that seed and epoch tell, decoded ahead."""

from __future__ import annotations

import itertools
import logging
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from clipsearch.encoders.joint.world import ALONE, World
from clipsearch.encoders.learning import Course
from clipsearch.errors import InvalidInput, arg
from clipsearch.indexing.loading import Loaded, Loaders, Unread
from clipsearch.notation import counted
from clipsearch.photos.decoding.view import View
from clipsearch.tuning.photos import Captioned

log = logging.getLogger("clipsearch")

Wait = Callable[[], Loaded | Unread]

LEAST_SEEN = 0.9  # of a photo's width and height: what lies at its edges may be in its caption


class Stopped(Exception):
    """Somebody wants the training to end now."""


@dataclass(frozen=True, slots=True)
class CroppedView(View):
    """A view of a part of a picture, nearly all of it, that `seed` chooses."""

    seed: tuple[int, ...] = ()

    def __call__(self, image: Image.Image) -> np.ndarray:
        """An RGB picture as (size, size, 3) uint8."""
        rng = np.random.default_rng(self.seed)
        size = np.array(image.size)
        part = np.maximum(1, (size * rng.uniform(LEAST_SEEN, 1, 2)).round()).astype(int)
        left, top = rng.integers(0, size - part + 1)
        cropped = image.crop((left, top, left + part[0], top + part[1]))
        return View.__call__(self, cropped)


class PhotoReader:
    """Reads photos through the same workers and decoders as indexing does, a little ahead."""

    def __init__(self, loaders: Loaders, ahead: int, stopping: Callable[[], bool]) -> None:
        self._loaders = loaders
        self._ahead = ahead
        self._stopping = stopping
        self._told: set[Path] = set()

    def read(self, wanted: Iterable[tuple[Path, View]]) -> Iterator[np.ndarray | None]:
        """The views of files, in order; None for one that cannot be read, which is told once.

        Raises:
            Stopped: somebody wants the end.
        """
        waiting: deque[tuple[Path, View, Wait]] = deque()
        for path, view in wanted:
            waiting.append((path, view, self._submit(path, view)))
            if len(waiting) > self._ahead:
                yield self._result(*waiting.popleft())
        while waiting:
            yield self._result(*waiting.popleft())

    def batches(
        self, paths: Sequence[Path], view: View, size: int
    ) -> Iterator[tuple[list[int], np.ndarray]]:
        """Files in batches: the numbers of those that can be read, and (n, r, r, c) uint8 views."""
        views = self.read((path, view) for path in paths)
        numbered = ((n, one) for n, one in enumerate(views) if one is not None)
        while some := list(itertools.islice(numbered, size)):
            yield [number for number, _ in some], np.stack([one for _, one in some])

    def _submit(self, path: Path, view: View) -> Wait:
        self._stop_if_asked()
        try:
            return self._loaders.submit(str(path), view)
        except RuntimeError:
            self._stop_if_asked()  # a signal to end may end the workers first
            raise

    def _result(self, path: Path, view: View, wait: Wait) -> np.ndarray | None:
        loaded = wait()
        self._stop_if_asked()
        if isinstance(loaded, Unread) and not loaded.lasting:
            loaded = self._submit(path, view)()
        if isinstance(loaded, Loaded) and loaded.views is not None:
            one: np.ndarray = loaded.views[0]
            return one
        if path not in self._told:
            self._told.add(path)
            log.warning("%s is left out: %s", path, getattr(loaded, "reason", "no picture"))
        return None

    def _stop_if_asked(self) -> None:
        if self._stopping():
            raise Stopped


def check_enough(photos: Sequence[Captioned], course: Course, world: World) -> None:
    """Raise InvalidInput unless a batch has a photo for each process, and a step has two."""
    count, batches = len(photos), course.accumulate
    if count < 2 * batches:
        raise InvalidInput(
            f"{counted(count, 'photo')} to learn from is too little; a step needs at least"
            f" {2 * batches}"
        )
    if count < _steps(count, course) * batches * world.size:
        raise InvalidInput(
            f"with batches of {course.batch_size} some hold fewer photos than there are processes"
            f" ({world.size}); {arg('batch_size')} is of all of them together"
        )


def _steps(photos: int, course: Course) -> int:
    assert course.batch_size is not None
    return math.ceil(photos / (course.batch_size * course.accumulate))


class PhotoLessons:
    """The photos to learn from, as a `Learner` wants them.

    An epoch shows each photo once, with one of its captions, the next one in the next epoch, so
    that no batch holds a photo twice and calls one of its own captions wrong. Of several processes
    each gets its share of every batch.
    """

    def __init__(
        self,
        photos: Sequence[Captioned],
        view: View,
        course: Course,
        reader: PhotoReader,
        folder: Path,
        progress: Callable[..., None],
        stopping: Callable[[], bool],
        world: World = ALONE,
    ) -> None:
        self.captions: Sequence[Sequence[str]] = [photo.captions for photo in photos]
        self.folder = folder
        self._paths = [photo.path for photo in photos]
        self._view, self._course, self._reader = view, course, reader
        self._progress, self._stopping, self._world = progress, stopping, world

    @property
    def steps(self) -> int:
        """How many steps an epoch has; each is `accumulate` batches."""
        return _steps(len(self._paths), self._course)

    def batches(self, epoch: int) -> Iterator[tuple[np.ndarray, list[str]]]:
        """An epoch's photos with a caption each: (n, r, r, 3) uint8 views and n texts.

        Of several processes this one's share of each batch. The order is told by seed and epoch
        alone, and so is what is cropped of each photo.
        """
        whole = self._shuffled(epoch)
        batches = [self._world.share(batch) for batch in whole]
        views = self._reader.read(
            (self._paths[photo], self._cropped(epoch, photo)) for some in batches for photo in some
        )
        done = 0
        for batch, some in zip(whole, batches, strict=True):
            self._progress(done, len(self._paths))
            shown = [(photo, view) for photo, view in zip(some, views, strict=False)]
            kept = [(photo, view) for photo, view in shown if view is not None]
            if not kept:
                raise InvalidInput("none of the photos of a batch can be read")
            texts = [self._caption(epoch, photo) for photo, _ in kept]
            yield np.stack([view for _, view in kept]), texts
            done += len(batch)
        self._progress(done, len(self._paths))

    def photos(self) -> Iterator[tuple[list[int], np.ndarray]]:
        """All photos once as they are, in batches: their numbers and (n, r, r, 3) uint8 views."""
        done = 0
        for numbers, views in self._reader.batches(self._paths, self._view, 32):
            self._progress(done, len(self._paths))
            yield numbers, views
            done += len(numbers)
        if done < 2:
            raise InvalidInput("hardly any of the photos to learn from can be read")

    def tick(self, done: int, total: int, what: str = "") -> None:
        """Say how far an epoch is, or `what` else is being done.

        Raises:
            Stopped: somebody wants the end.
        """
        self._progress(done, total, what)
        if self._stopping():
            raise Stopped

    def _shuffled(self, epoch: int) -> list[list[int]]:
        rng = np.random.default_rng((self._course.seed, epoch))
        order = rng.permutation(len(self._paths))
        batches = [
            batch
            for step in np.array_split(order, self.steps)
            for batch in np.array_split(step, self._course.accumulate)
        ]
        return [batch.tolist() for batch in batches]

    def _cropped(self, epoch: int, photo: int) -> View:
        view = self._view
        seed = (self._course.seed, epoch, photo)
        return CroppedView(view.size, view.fit, view.resample, view.fill, view.taught, seed)

    def _caption(self, epoch: int, photo: int) -> str:
        captions = self.captions[photo]
        # Photos start at different captions, or an epoch would hold nothing but first ones.
        return captions[(photo + epoch) % len(captions)]
