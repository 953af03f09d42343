"""Fine-tuning from a file of pairs to a model spec, epoch by epoch, and on where it was stopped."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clipsearch.encoders.joint.world import ALONE, World
from clipsearch.encoders.learning import (
    Course,
    Learner,
    learner,
    load_checkpoint,
    save_checkpoint,
)
from clipsearch.encoders.onnx.providers import check_device
from clipsearch.errors import InvalidInput, ModelError, arg, check_number, first_line
from clipsearch.indexing.loading import Loaders, usual_workers
from clipsearch.notation import as_json, counted
from clipsearch.replacing import check_writable, clear_unfinished, is_unfinished, replacing
from clipsearch.tuning.lessons import PhotoLessons, PhotoReader, Stopped, check_enough
from clipsearch.tuning.photos import Captioned, check_seen, divided, fingerprint
from clipsearch.tuning.recall import Recall, recall

log = logging.getLogger("clipsearch")

CHECKPOINT, REPORT = "checkpoint.pt", "finetune.json"
TEXTS_AT_A_TIME = 64

# Gets what is done, how many are, and the total, which is 0 where it is not known.
NamedProgress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch, counted from 1, brought; 0 is the model before it."""

    number: int
    loss: float | None
    recall: Recall | None  # None without photos to validate with
    seconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run."""

    spec: str | None  # of the best epoch's model; None if none was finished
    epochs: list[Epoch]  # number 0 first
    best: int  # the epoch that `spec` is of
    complete: bool  # false if it was stopped
    photos: int  # that were learnt from
    captions: int
    validated: int  # photos

    def as_dict(self) -> dict[str, Any]:
        """What `--json` shows."""
        epochs = [
            {
                "epoch": epoch.number,
                "loss": None if epoch.loss is None else round(epoch.loss, 6),
                **(epoch.recall.as_dict() if epoch.recall else {}),
                "seconds": round(epoch.seconds, 1),
            }
            for epoch in self.epochs
        ]
        facts = ("spec", "best", "complete", "photos", "captions", "validated")
        return {name: getattr(self, name) for name in facts} | {"epochs": epochs}


def finetune(
    pairs: Path,
    out: Path,
    model: str,
    course: Course,
    *,
    images: Path | None = None,
    split: str | None = None,
    val: str | None = None,
    patience: int | None = None,
    resume: bool = False,
    device: str = "auto",
    workers: int | None = None,
    isolated: bool = False,
    world: World = ALONE,
    progress: NamedProgress = lambda what, done, total: None,
    after_epoch: Callable[[Epoch], None] = lambda epoch: None,
    stopping: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Teach a model the photos and captions of a table; the result goes into the folder `out`.

    `images`, `split` and `val` say which photos, as `divided` takes them. With `patience` it ends
    when so many epochs in a row brought nothing better. After each epoch all is kept that `resume`
    needs to go on as if nothing had been; `stopping` is asked between batches. `world` are the
    processes that do this together; the first of them alone looks at the table and at `out`.

    Raises:
        InvalidInput: the pairs cannot be used, or `out` holds something else or cannot be written,
            or a machine does not see the photos.
        ModelError: no such model, or one that is not taught.
        WeightsUnavailable: its weights are not here and could not be downloaded.
    """
    check_number(arg("patience"), patience, 1)
    check_number(arg("workers"), workers, 1)
    check_device(device)
    kept = world.by_first(lambda: _look_at(out, resume))
    progress("reading the table", 0, 0)
    training, validation = world.by_first(lambda: divided(pairs, images, split, val, course.seed))
    if not world.is_first:
        check_seen(training)
    captions = sum(len(photo.captions) for photo in training)
    log.info(
        "learning from %s with %s, validating with %s", counted(len(training), "photo"),
        counted(captions, "caption"), counted(len(validation), "photo"),
    )  # fmt: skip
    progress("loading the model", 0, 0)
    with world.in_turn():  # or all would download it
        taught = learner(model, course, device, world)
    options = world.by_first(
        lambda: {
            "pairs": fingerprint(training),
            "val": fingerprint(validation),
            "model": model,
            "patience": patience,
        }
    )
    options |= asdict(taught.course)
    if kept:
        _check_same(kept["identity"], options, out)
    check_enough(training, taught.course, world)
    if world.is_first:
        with _writing(out):
            out.mkdir(parents=True, exist_ok=True)
            clear_unfinished(out)
    if workers is None:
        workers = max(1, usual_workers() // world.local_size)
    with Loaders(workers, isolated) as loaders:
        reader = PhotoReader(loaders, 4 * taught.batch_size, stopping)
        run = _Run(taught, training, validation, out, patience, reader, progress, stopping, world)
        return run.all(options, kept, after_epoch)


class _Run:
    """One run of fine-tuning."""

    def __init__(
        self,
        taught: Learner,
        training: Sequence[Captioned],
        validation: Sequence[Captioned],
        out: Path,
        patience: int | None,
        reader: PhotoReader,
        progress: NamedProgress,
        stopping: Callable[[], bool],
        world: World,
    ) -> None:
        self._taught, self._out, self._patience = taught, out, patience
        self._world = world
        self._training, self._validation = training, validation
        self._reader, self._progress = reader, progress
        self._doing = "looking at the photos"
        self._epochs: list[Epoch] = []
        self._lessons = PhotoLessons(
            training, taught.prepare, taught.course, reader, out,
            lambda done, total, what="": progress(what or self._doing, done, total), stopping,
            world,
        )  # fmt: skip

    def all(
        self,
        options: dict[str, Any],
        kept: dict[str, Any] | None,
        after_epoch: Callable[[Epoch], None],
    ) -> Outcome:
        """Go through all epochs that are left."""
        try:
            self._taught.begin(self._lessons, kept["state"] if kept else None)
            if kept:
                self._epochs = [_epoch_from(facts) for facts in kept["epochs"]]
                self._write_if_best()  # it may have been stopped just before this
            else:
                began = time.monotonic()
                self._epochs = [Epoch(0, None, self._validated(), time.monotonic() - began)]
                after_epoch(self._epochs[0])
            while not self._is_done():
                self._learn()
                self._keep(options)
                after_epoch(self._epochs[-1])
        except Stopped:
            return self._outcome(complete=False)
        outcome = self._outcome(complete=True)
        if self._world.is_first:
            self._report(options, outcome)
        return outcome

    def _report(self, options: dict[str, Any], outcome: Outcome) -> None:
        text = as_json({"options": options} | outcome.as_dict(), 2)
        with _writing(self._out):
            with replacing(self._out / REPORT) as fresh:
                fresh.write_text(text + "\n", "utf-8")
            (self._out / CHECKPOINT).unlink(missing_ok=True)

    def _learn(self) -> None:
        began, number = time.monotonic(), len(self._epochs)
        self._doing = f"epoch {number}"
        loss = self._taught.learn(number, self._lessons)
        if not math.isfinite(loss):
            raise ModelError(
                f"the loss is no number any more; begin anew with a smaller {arg('lr')}"
            )
        self._epochs.append(Epoch(number, loss, self._validated(), time.monotonic() - began))

    def _validated(self) -> Recall | None:
        # The weights are the same in all processes; the others wait.
        return self._world.by_first(self._validate)

    def _validate(self) -> Recall | None:
        """How well the model finds the photos that it does not learn from."""
        if not self._validation:
            return None
        taught, paths = self._taught, [photo.path for photo in self._validation]
        rows: list[np.ndarray] = []
        numbers: list[int] = []
        for some, views in self._reader.batches(paths, taught.prepare, taught.batch_size):
            self._progress("validating", len(numbers), len(paths))
            rows.append(taught.encode_images(views))
            numbers += some
        if not numbers:
            raise InvalidInput("none of the photos to validate with can be read")
        captions = [self._validation[number].captions for number in numbers]
        texts = [text for some in captions for text in some]
        owners = np.repeat(np.arange(len(captions)), [len(some) for some in captions])
        words = []
        for start in range(0, len(texts), TEXTS_AT_A_TIME):
            self._progress("validating captions", start, len(texts))
            words.append(taught.encode_texts(texts[start : start + TEXTS_AT_A_TIME]))
        return recall(np.concatenate(rows), np.concatenate(words), owners)

    def _keep(self, options: dict[str, Any]) -> None:
        """Write all that going on needs, and the model if none was better."""
        if not self._world.is_first:
            return
        checkpoint = {
            "identity": options,
            "epochs": [asdict(epoch) for epoch in self._epochs],
            "state": self._taught.state(),
        }
        with _writing(self._out):
            save_checkpoint(self._out / CHECKPOINT, checkpoint)
        self._write_if_best()

    def _write_if_best(self) -> None:
        if self._world.is_first and self._is_best():
            with _writing(self._out):
                self._taught.write(self._out)

    def _best(self) -> int:
        """The number of the best epoch: without validation the last, and at the beginning 0."""
        learnt = self._epochs[1:]
        best = max(learnt, key=lambda it: it.recall.mean if it.recall else it.number, default=None)
        return best.number if best else 0

    def _is_best(self) -> bool:
        return self._best() == len(self._epochs) - 1

    def _is_done(self) -> bool:
        learnt = len(self._epochs) - 1
        tired = self._patience is not None and learnt - self._best() >= self._patience
        return learnt >= self._taught.course.epochs or tired

    def _outcome(self, complete: bool) -> Outcome:
        best = self._best() if self._epochs else 0
        return Outcome(
            spec=self._taught.spec_in(self._out) if best else None,
            epochs=self._epochs,
            best=best,
            complete=complete,
            photos=len(self._training),
            captions=sum(len(photo.captions) for photo in self._training),
            validated=len(self._validation),
        )


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidInput(
            f"{out} could not be written ({error.strerror or first_line(error)}); what was kept"
            " there before stays as it was. Once it can be written, go on: the same command with"
            f" {arg('resume')}"
        ) from error


def _look_at(out: Path, resume: bool) -> dict[str, Any] | None:
    """What an unfinished run kept in a folder; None for a new or empty one.

    Raises:
        InvalidInput: it cannot be written to, or holds what is not to be gone on with.
    """
    check_writable(out, arg("out"))
    if (out / CHECKPOINT).is_file():
        if not resume:
            raise InvalidInput(
                f"{out} holds a run that was stopped: add {arg('resume')} to go on with it, or name"
                f" another folder with {arg('out')}"
            )
        return load_checkpoint(out / CHECKPOINT)
    held = os.listdir(out) if out.exists() else []
    others = [name for name in held if not is_unfinished(name)]
    if others:
        what = "a finished run" if REPORT in others else f"other files ({others[0]}...)"
        raise InvalidInput(f"{out} holds {what}; name a new or an empty folder with {arg('out')}")
    if resume:
        log.warning("%s holds no finished epoch to go on from; beginning", out)
    return None


def _check_same(before: dict[str, Any], now: dict[str, Any], out: Path) -> None:
    for name, value in now.items():
        if before.get(name) == value:
            continue
        if name in ("pairs", "val"):
            raise InvalidInput(
                f"{out} was begun with other photos or captions to"
                f" {'learn from' if name == 'pairs' else 'validate with'}; to begin anew name"
                f" another folder with {arg('out')}"
            )
        raise InvalidInput(
            f"{out} was begun with {arg(name)} {before.get(name)}, not {value}; go on with the"
            f" same, or name another folder with {arg('out')}"
        )


def _epoch_from(facts: dict[str, Any]) -> Epoch:
    told = facts["recall"]
    return Epoch(**facts | {"recall": told and Recall(**told)})
