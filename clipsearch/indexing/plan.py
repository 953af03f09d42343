"""Compare the disk with the catalog: what is new, changed, gone and the same."""

from __future__ import annotations

import gc
import os
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from clipsearch.photos.scan import Found, walk, walk_folders
from clipsearch.store.catalog import Catalog, Known, Root, is_below

T = TypeVar("T")


class Target(NamedTuple):
    """A root, and the part of it to look at: a folder below it, "" for all."""

    root: Root
    below: str


class Work(NamedTuple):
    """A file to read; `known` is what the catalog holds under the same path, if anything."""

    root: Root
    found: Found
    known: Known | None


class Gone(NamedTuple):
    """A photo of the catalog that is no longer at its place."""

    root: Root
    path: str
    known: Known


@dataclass(slots=True)
class Plan:
    """What an index run has to do."""

    work: list[Work] = field(default_factory=list)
    gone: list[Gone] = field(default_factory=list)
    mended: list[tuple[int, str]] = field(default_factory=list)  # failures whose file is gone
    unchanged: int = 0
    problems: list[str] = field(default_factory=list)  # one line each, for a person

    @property
    def is_empty(self) -> bool:
        """Whether the catalog is as the disk is."""
        return not (self.work or self.gone or self.mended)


@dataclass(slots=True)
class Counts:
    """What an index run did, in photos."""

    added: int = 0
    updated: int = 0
    moved: int = 0
    removed: int = 0
    unchanged: int = 0
    failed: int = 0
    read: int = 0  # files
    embedded: int = 0  # contents that the model had not seen
    complete: bool = True  # False if it was stopped before the end


class Doubts(NamedTuple):
    """What is looked at more closely than usual."""

    prune: bool = False  # what a missing or empty folder held is gone
    verify: bool = False  # a file may have changed though its size and mtime did not
    retry: bool = False  # a file that failed may not fail now


USUAL = Doubts()


def make_plan(
    catalog: Catalog, model_id: int | None, targets: Sequence[Target], doubts: Doubts = USUAL
) -> Plan:
    """Scan the targets and compare them with the catalog; changes nothing.

    The model is the one that is to have embedded all, None one that has embedded nothing yet.

    A photo is the same while its size and mtime are. What a target that is missing, empty or not
    walked to its end no longer shows counts as unplugged and not as gone, unless pruned.
    """
    plan = Plan()
    with _no_garbage_collection():
        lacking = catalog.digests_without_vector(model_id)
        for target in targets:
            _Comparison(catalog, target, lacking, doubts, plan).run()
    return plan


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Spare the collector from looking through a million tuples, again and again, for cycles."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Comparison:
    """One target's share of the plan."""

    def __init__(
        self, catalog: Catalog, target: Target, lacking: set[str], doubts: Doubts, plan: Plan
    ) -> None:
        self._catalog = catalog
        self._root, self._below = target
        self._lacking = lacking
        self._doubts = doubts
        self._plan = plan
        self._place = os.path.join(self._root.path, self._below) if self._below else self._root.path
        self._failed = _those_below(self._below, catalog.failed(self._root.id))
        # What was seen on the disk is taken out; at a million photos this is what takes memory.
        self._stamps = catalog.stamps(self._root.id)
        if self._below:
            self._stamps = {stamp for stamp in self._stamps if is_below(stamp[0], self._below)}
        self._unread: dict[str, OSError] = {}

    def run(self) -> None:
        """Add to the plan."""
        held = len(self._stamps)
        if os.path.isdir(self._place):
            differing = self._differing()
            if held and held == len(self._stamps) and not differing and self._is_bare():
                self._report(f"is empty where it held {held} photos")
                return
        elif self._doubts.prune:
            differing = []
        else:
            self._report(f"is missing, with {held} photos")
            return
        known = self._known() if differing or self._stamps else {}
        for found in differing:
            self._sort_in(found, known)
        self._add_gone(known, {found.path for found in differing})
        self._report_unread()

    def _differing(self) -> list[Found]:
        """The photos on the disk that are not the same as in the catalog, or not surely."""
        doubted = self._doubted()
        differing = []
        for photos in self._found():
            # A stamp and a Found are equal tuples.
            other = [it for it in photos if it not in self._stamps or it.path in doubted]
            self._stamps.difference_update(photos)
            self._plan.unchanged += len(photos) - len(other)
            differing += other
        return differing

    def _found(self) -> Iterator[list[Found]]:
        others = [root.path for root in self._catalog.roots() if root != self._root]
        folders = walk_folders(
            self._root.path, self._below, self._unread.__setitem__,
            self._catalog.rules(self._root.id), others,
        )  # fmt: skip
        excluded = self._catalog.exclusions(self._root.id)
        if not excluded:
            return folders
        return (
            [file for file in photos if not any(is_below(file.path, path) for path in excluded)]
            for photos in folders
        )

    def _doubted(self) -> Container[str]:
        """The paths of photos that may have changed though their stamps did not."""
        if self._doubts.verify:
            return {path for path, _, _ in self._stamps}
        doubted = set(self._failed)
        if self._lacking:
            known = self._catalog.known(self._root.id)
            doubted.update(path for path, photo in known.items() if photo.digest in self._lacking)
        return doubted

    def _known(self) -> dict[str, Known]:
        return _those_below(self._below, self._catalog.known(self._root.id))

    def _sort_in(self, found: Found, known: dict[str, Known]) -> None:
        failed_at = self._failed.pop(found.path, None)
        if failed_at != (found.size, found.mtime_ns) or self._doubts.retry:
            self._plan.work.append(Work(self._root, found, known.get(found.path)))

    def _add_gone(self, known: dict[str, Known], differing: set[str]) -> None:
        """What is left of the stamps and failures is gone, but for what could not be looked at."""
        self._plan.gone += [
            Gone(self._root, path, known[path])
            for path, _, _ in self._stamps
            if path not in differing and not self._is_unread(path)
        ]
        self._plan.mended += [
            (self._root.id, path) for path in self._failed if not self._is_unread(path)
        ]

    def _is_unread(self, path: str) -> bool:
        return any(is_below(path, folder) for folder in self._unread)

    def _is_bare(self) -> bool:
        """Whether no photo lies there, and it is not just the rules that leave all out."""
        if self._unread or self._doubts.prune:
            return False
        everything = walk(self._root.path, self._below, lambda path, error: None, None)
        return next(everything, None) is None

    def _report(self, state: str) -> None:
        self._plan.problems.append(
            f"{self._place} {state} (a drive that is not connected?); they are kept. If they are"
            " gone for good: clipsearch index --prune, or clipsearch forget"
        )

    def _report_unread(self) -> None:
        for path, error in self._unread.items():
            # A dead link, or a folder that went away, is nobody's concern if it held nothing.
            if isinstance(error, FileNotFoundError) and not any(
                is_below(stamp[0], path) for stamp in self._stamps
            ):
                continue
            where = os.path.join(self._root.path, path) if path else self._root.path
            self._plan.problems.append(
                f"{where} cannot be read ({error.strerror}); its photos are kept"
            )


def _those_below(below: str, by_path: dict[str, T]) -> dict[str, T]:
    return {p: value for p, value in by_path.items() if is_below(p, below)} if below else by_path
