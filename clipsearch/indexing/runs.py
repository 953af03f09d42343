"""Runs that bring an index to what is on the disk: once, or for as long as folders are followed.

    targets -> plan -> [pipeline: load, embed, write] -> vectors -> report

A run has the index's lock. It compares the disk with the catalog once for each of the models, of
which the first takes all that is new, and the others what they have not embedded.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from clipsearch.errors import (
    ClipsearchError,
    InvalidInput,
    LibraryBusy,
    arg,
    check_number,
)
from clipsearch.indexing.comparison import make_plan
from clipsearch.indexing.placing import look_up_again, look_up_places
from clipsearch.indexing.plan import USUAL, Counts, Doubts, Plan, Ready, Target
from clipsearch.indexing.report import IndexReport
from clipsearch.indexing.targets import (
    RuleChanges,
    change_rules,
    choose_targets,
    leave_moved_roots,
    settle,
    take_back_roots,
)
from clipsearch.indexing.targets import forget as take_out
from clipsearch.models import Models
from clipsearch.photos.files.urls import joined
from clipsearch.store.catalog import Catalog, Model, Root
from clipsearch.store.catalog.departed import MOST_DAYS
from clipsearch.store.faults import explained
from clipsearch.store.folder import PATIENCE, IndexFolder, StrPath
from clipsearch.store.lock import write_lock
from clipsearch.store.running import telling

if TYPE_CHECKING:
    from clipsearch.indexing.distributed.cluster import Cluster
    from clipsearch.indexing.loading import Limits, Loaders
    from clipsearch.progress import Progress

log = logging.getLogger("clipsearch")

_LONGEST_POLL = 366 * 86_400  # seconds, and less than any system counts in its waits


class How(NamedTuple):
    """How a run does its work."""

    batch_size: int | None = None
    workers: int | None = None
    isolated: bool = False
    max_megapixels: int | None = None
    frames: int = 1
    progress: Progress | None = None
    stopping: Callable[[], bool] | None = None
    ready: Ready | None = None
    cluster: Cluster | None = None  # the machines that read and embed, if not this one

    def check(self) -> None:
        """Raise InvalidInput unless its numbers make sense."""
        for name in ("batch_size", "workers", "max_megapixels", "frames"):
            check_number(arg(name), getattr(self, name), 1)

    def on(self, ray: str | None, gpus: float | None) -> How:
        """The same on the machines of a Ray cluster, where one is named.

        Raises:
            InvalidInput: it is no cluster, or GPUs of none.
        """
        if ray is not None:
            from clipsearch.indexing.distributed.cluster import Cluster

            return self._replace(cluster=Cluster(ray, gpus))
        if gpus is not None:
            raise InvalidInput(
                f"{arg('ray_gpus')} is for the machines of {arg('ray')}, which is not given"
            )
        return self


@dataclass(frozen=True, slots=True)
class Settings:
    """What is said anew of an index, and remembered with it; None leaves a thing as it was."""

    rules: RuleChanges
    runtime: str | None = None
    store: str | None = None
    keep_for: int | None = None  # days
    precision: str | None = None


class Runs:
    """The runs over one index."""

    def __init__(self, folder: IndexFolder, catalog: Catalog, models: Models) -> None:
        self._folder = folder
        self._catalog = catalog
        self._models = models

    def index(
        self, paths: Sequence[StrPath], doubts: Doubts, settings: Settings, how: How
    ) -> IndexReport:
        """Bring folders up to date, as `Library.index` says."""
        how.check()
        check_number(arg("keep_for"), settings.keep_for, 0, MOST_DAYS)
        if settings.precision == "int8" and settings.runtime == "torch":
            raise InvalidInput(
                f"a model in 8 bits is run by ONNX Runtime: {arg('precision')} int8 and"
                f" {arg('runtime')} torch exclude each other"
            )
        with self._folder.writing(PATIENCE):
            roots = self._catalog.roots()
            targets = choose_targets(self._catalog, [os.fspath(path) for path in paths])
            try:
                is_stopped = not self._set(settings, targets, doubts, how)
                if is_stopped:
                    return _report(Counts(complete=False), Plan(), 0, None)
                if doubts.verify:
                    look_up_again(self._catalog)
                    self._catalog.mend_words()
                    self._catalog.keep_columns(anew=True)
                    self._catalog.remove_damaged_vectors()
                    self._catalog.sweep()
                report, _ = self._look(targets, doubts, how)
            except ClipsearchError:
                take_back_roots(self._catalog, roots)
                raise
        for problem in report.problems:
            log.warning("%s", problem)
        return report

    def watch(
        self,
        paths: Iterable[StrPath],
        stop: threading.Event,
        poll: float | None,
        on_run: Callable[[IndexReport], None] | None,
        how: How,
    ) -> None:
        """Bring folders up to date and follow them, as `Library.watch` says."""
        from clipsearch.indexing.watching.watcher import Watcher

        if poll is not None and poll <= 0:
            raise InvalidInput(f"{arg('poll')} must be above 0 seconds, not {poll}")
        check_number(arg("poll"), poll, 0, _LONGEST_POLL)
        is_first = True

        def look(targets: Callable[[], Sequence[Target]], ready: Ready) -> Plan:
            nonlocal is_first
            with write_lock(self._folder.path):
                self._folder.check()
                report, plan = self._look(targets(), USUAL, how._replace(ready=ready))
            if on_run and (is_first or report.has_changes):
                on_run(report)
            is_first = False
            return plan

        with explained(self._folder.path):
            self._catalog.open_to_write()
            folders, added = self._to_follow(paths, stop)
            try:
                Watcher(self._catalog, folders, look, poll).run(stop)
            except ClipsearchError:
                with suppress(LibraryBusy), write_lock(self._folder.path, PATIENCE):
                    others = [root for root in self._catalog.roots() if root not in added]
                    take_back_roots(self._catalog, others)
                raise

    def forget(self, path: StrPath, keep_for: int | None) -> int:
        """Take a folder or a photo out, as `Library.forget` says."""
        from clipsearch.store.upkeep import renew_all

        check_number(arg("keep_for"), keep_for, 0, MOST_DAYS)
        with self._folder.writing(PATIENCE):
            taken = take_out(self._catalog, os.fspath(path), keep_for)
            renew_all(self._folder.path, self._catalog)
        return taken

    def _set(self, settings: Settings, targets: Sequence[Target], doubts: Doubts, how: How) -> bool:
        """Remember what is said anew; gives False if that was stopped."""
        if settings.store is not None:
            from clipsearch.store.moving import choose

            choose(self._catalog, settings.store)
        change_rules(self._catalog, targets, settings.rules)
        if settings.keep_for is not None:
            self._catalog.keep_for(settings.keep_for)
        if (
            settings.precision is not None
            and self._models.in_precision(settings.precision)
            and not self._calibrate(doubts, how)
        ):
            return False
        if settings.runtime is not None:
            self._models.renew(self._folder.path)  # or an older one could not be exported
            self._models.run_by(settings.runtime)
        return True

    def _calibrate(self, doubts: Doubts, how: How) -> bool:
        """Make a model in 8 bits on photos of the index; gives False if that was stopped."""
        from clipsearch.indexing.calibration import Making, Stopped, calibrate
        from clipsearch.indexing.pipeline import path_of
        from clipsearch.progress import untold

        self._models.renew(self._folder.path)
        targets = choose_targets(self._catalog, [])  # a sample of all that there is
        paths = [path_of(item) for item in make_plan(self._catalog, None, targets, doubts).work]
        try:
            with _loaders(how, len(paths)) as loaders:
                show, stopping = how.progress or untold, how.stopping or _never
                making = Making(self._folder.path, paths, loaders, show, stopping)
                calibrate(self._models, making)
        except Stopped:
            return False
        return True

    def _to_follow(
        self, paths: Iterable[StrPath], stop: threading.Event
    ) -> tuple[list[str] | None, set[Root]]:
        """The real paths of the folders, None for all, and the roots that the index lacked."""
        names = [os.fspath(path) for path in paths]
        if not names:
            choose_targets(self._catalog, names)
            return None, set()
        while not stop.is_set():
            with suppress(LibraryBusy), write_lock(self._folder.path, 1.0):
                known = self._catalog.roots()
                targets = choose_targets(self._catalog, names)
                folders = [joined(it.root.path, it.below) for it in targets]
                return folders, set(self._catalog.roots()).difference(known)
        return [], set()

    def _look(
        self, targets: Sequence[Target], doubts: Doubts, how: How
    ) -> tuple[IndexReport, Plan]:
        """Bring the targets up to date for all models; the caller holds the index's lock.

        Gives what was done, and the plan of it.
        """
        started = time.monotonic()
        self._models.renew(self._folder.path)
        self._models.confirm()
        if self._models.lacks_all():  # what an older one embedded of other folders is gone too
            targets = choose_targets(self._catalog, [])
        models = self._models.to_index()
        counts, plan = self._bring_up(models[0], targets, doubts, how)
        for other in models[1:]:
            # What the first model's run has seen on the disk, another may yet have to embed.
            if counts.complete and other and self._catalog.digests_without_vector(other.id):
                further, _ = self._bring_up(other, targets, USUAL, how)
                counts.read += further.read
                counts.seconds += further.seconds
                counts.embedded += further.embedded
                counts.complete = further.complete
        if counts.complete:
            self._models.take_asked(self._folder.path)
        self._catalog.expire()
        note = next((model.note for model in self._catalog.models()), None)
        return _report(counts, plan, time.monotonic() - started, note), plan

    def _bring_up(
        self, model: Model | None, targets: Sequence[Target], doubts: Doubts, how: How
    ) -> tuple[Counts, Plan]:
        """Compare the disk with the catalog and do what that asks for; None is a new model."""
        plan = make_plan(self._catalog, model.id if model else None, targets, doubts, how.ready)
        settle(self._catalog, plan)
        if plan.is_empty:
            if self._look_up_places(plan, how):
                self._catalog.keep_columns()
            return Counts(unchanged=plan.unchanged), plan
        counts = self._carry_out(plan, model, how)
        counts.moved += len(plan.moves)
        leave_moved_roots(self._catalog, plan)
        return counts, plan

    def _carry_out(self, plan: Plan, model: Model | None, how: How) -> Counts:
        from clipsearch.indexing.beside import tell_beside
        from clipsearch.indexing.pipeline import clean_up
        from clipsearch.store.upkeep import renew_all

        if plan.work:
            # Connected first: where that fails, nothing was done yet.
            with how.cluster.connected() if how.cluster else nullcontext():
                counts = self._embed(plan, model, how)
        else:
            counts = Counts(unchanged=plan.unchanged, removed=clean_up(self._catalog, plan))
        with telling(self._folder.path, how.progress) as progress:
            told = tell_beside(self._catalog, plan, how.stopping or _never, progress)
        counts.updated += told
        counts.unchanged -= told
        self._look_up_places(plan, how)
        self._catalog.keep_columns()
        renew_all(self._folder.path, self._catalog)
        return counts

    def _look_up_places(self, plan: Plan, how: How) -> int:
        stopping = how.stopping or _never
        return look_up_places(self._catalog, stopping, how.progress, plan.problems)

    def _embed(self, plan: Plan, known: Model | None, how: How) -> Counts:
        """Embed the plan's photos; a model that is new and embedded none of them is not kept.

        However that came about: it may never have been loaded.
        """
        model, complete = known or self._models.add(len(plan.work)), False
        try:
            counts = self._embed_with(model, plan, how)
            complete = counts.complete
            return counts
        finally:
            if known is None and not complete and not self._catalog.fingerprint(model.id)[0]:
                self._catalog.remove_model(model.id)

    def _embed_with(self, model: Model, plan: Plan, how: How) -> Counts:
        from clipsearch.indexing.pipeline import Pipeline
        from clipsearch.indexing.succession import Succession
        from clipsearch.store.moving import to_write

        vectors = to_write(self._folder.path, self._catalog, model)
        stopping = how.stopping or _never
        begin = partial(self._models.at_once, model, len(plan.work))
        load = partial(self._models.for_indexing, model, len(plan.work))
        with (
            telling(self._folder.path, how.progress) as progress,
            Succession(begin, load, self._models.view_of(model, len(plan.work))) as encoder,
        ):
            pipeline = Pipeline(self._catalog, model.id, vectors, encoder, how.batch_size, progress)
            counts = pipeline.counts
            if how.cluster:
                from clipsearch.indexing.distributed.actor import Job

                job = Job(self._models.recipe(model), _limits(how), how.batch_size)
                elsewhere = how.cluster.elsewhere(job, how.workers, stopping)
                counts.complete = pipeline.run_elsewhere(plan, elsewhere, stopping)
            else:
                with _loaders(how, len(plan.work)) as loaders:
                    counts.complete = pipeline.run(plan, loaders, stopping)
        return counts


def _limits(how: How) -> Limits:
    from clipsearch.indexing.loading import Limits
    from clipsearch.photos.decoding.decode import MAX_PIXELS

    pixels = how.max_megapixels * 1_000_000 if how.max_megapixels else MAX_PIXELS
    return Limits(pixels, how.frames)


def _loaders(how: How, files: int) -> Loaders:
    """What reads so many files."""
    from clipsearch.indexing.loading import Loaders, usual_workers

    workers = max(1, min(how.workers or usual_workers(), files))
    return Loaders(workers, how.isolated, _limits(how), how.stopping or _never)


def _never() -> bool:
    return False


def _report(counts: Counts, plan: Plan, seconds: float, note: str | None) -> IndexReport:
    busy = max(counts.seconds, 1e-9)
    return IndexReport(
        counts.added, counts.updated, counts.moved, counts.removed, counts.unchanged,
        counts.failed, counts.embedded, round(seconds, 3),
        round(counts.read / busy, 1), counts.complete, plan.said(), note,
        dict(sorted(plan.passed_over.items(), key=lambda it: (-it[1], it[0]))),
        round(counts.embedded / busy, 1),
    )  # fmt: skip
