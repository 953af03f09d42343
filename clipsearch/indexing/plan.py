"""Compare the disk with the catalog: what is new, changed, gone and the same."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from clipsearch.photos.scan import (
    Found,
    Identity,
    extension_of,
    identity_of,
    is_real_folder,
    walk,
    walk_folders,
)
from clipsearch.photos.urls import is_url, joined
from clipsearch.store.catalog import Catalog, Known, Root
from clipsearch.store.database import is_below

# Whether a new or changed file, by its absolute path and as it was found, can be read now.
Ready = Callable[[str, Found], bool]


class Anchor(NamedTuple):
    """A folder that was seen to be there; while it is the same one, no drive went away."""

    path: str
    identity: Identity


class Target(NamedTuple):
    """A root, and the part of it to look at: a folder below it, "" for all."""

    root: Root
    below: str
    deep: bool = True  # with all folders below; else only what lies right in the folder
    anchor: Anchor | None = None  # with one, what the target does not show is gone for sure


class Work(NamedTuple):
    """A file to read; `known` is what the catalog holds under the same path, if anything."""

    root: Root
    found: Found
    known: Known | None
    anew: bool = False  # also what is known of its content is read again


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
    unplugged: list[Target] = field(default_factory=list)  # not there, or empty all at once
    unchanged: int = 0
    targets: Sequence[Target] = ()
    unread: list[str] = field(default_factory=list)  # folders and files that gave no listing
    problems: list[str] = field(default_factory=list)  # one line each, for a person
    passed_over: Counter[str] = field(default_factory=Counter)  # pictures not read, by extension
    is_partial: bool = False  # none of the targets is a whole root

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
    catalog: Catalog,
    model_id: int | None,
    targets: Sequence[Target],
    doubts: Doubts = USUAL,
    ready: Ready | None = None,
) -> Plan:
    """Scan the targets and compare them with the catalog; changes nothing.

    The model is the one that is to have embedded all, None one that has embedded nothing yet.
    What the catalog holds of files that are not `ready` stays as it is.

    A photo is the same while its size and mtime are. What a target that is missing, empty or not
    walked to its end no longer shows counts as unplugged and not as gone, unless pruned or sure.
    """
    is_partial = all(target.below or not target.deep for target in targets)
    plan = Plan(targets=targets, is_partial=is_partial)
    with _no_garbage_collection():
        for target in targets:
            _Comparison(catalog, model_id, target, doubts, ready, plan).run()
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
        self,
        catalog: Catalog,
        model_id: int | None,
        target: Target,
        doubts: Doubts,
        ready: Ready | None,
        plan: Plan,
    ) -> None:
        self._catalog = catalog
        self._model_id = model_id
        self._target = target
        self._root, self._below, self._deep, self._anchor = target
        self._doubts = doubts
        self._ready = ready
        self._plan = plan
        self._lying = (self._root.id, self._below, self._deep)
        self._place = joined(self._root.path, self._below)
        self._failed = catalog.failed(*self._lying)
        # What was seen on the disk is taken out; at a million photos this is what takes memory.
        self._stamps = catalog.stamps(*self._lying)
        self._excluded = catalog.exclusions(self._root.id)
        self._unread: dict[str, OSError] = {}

    def run(self) -> None:
        """Add to the plan."""
        held = len(self._stamps)
        sure = self._doubts.prune or self._anchor is not None
        remote = is_url(self._root.path)  # then the listing itself tells whether it is there
        there = remote or is_real_folder(self._root.path, self._below)
        differing = self._differing() if there else []
        if remote and isinstance(self._unread.get(self._below), FileNotFoundError):
            del self._unread[self._below]
            there = False
        if not there and not sure:
            self._report(f"is missing, with {held} photos")
            return
        if self._anchor and identity_of(self._anchor.path) != self._anchor.identity:
            self._plan.unplugged.append(self._target)
            return
        bare = held and held == len(self._stamps) and not differing and not sure
        if bare and self._is_bare():
            self._report(f"is empty where it held {held} photos")
            return
        known = self._catalog.known(*self._lying) if differing or self._stamps else {}
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
            self._catalog.rules(self._root.id), others, self._deep, self._pass_over,
        )  # fmt: skip
        if not self._excluded:
            return folders
        return ([file for file in photos if not self._is_excluded(file.path)] for photos in folders)

    def _pass_over(self, path: str) -> None:
        if not self._is_excluded(path):
            self._plan.passed_over[extension_of(path)] += 1

    def _is_excluded(self, path: str) -> bool:
        return any(is_below(path, folder) for folder in self._excluded)

    def _doubted(self) -> Container[str]:
        """The paths of photos that may have changed though their stamps did not."""
        if self._doubts.verify:
            return {path for path, _, _ in self._stamps}
        return self._catalog.without_vector(self._model_id, *self._lying).union(self._failed)

    def _sort_in(self, found: Found, known: dict[str, Known]) -> None:
        failed_at = self._failed.pop(found.path, None)
        if failed_at == (found.size, found.mtime_ns) and not self._doubts.retry:
            return
        path = joined(self._root.path, found.path)
        if self._ready is None or self._ready(path, found):
            work = Work(self._root, found, known.get(found.path), self._doubts.verify)
            self._plan.work.append(work)

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
        if self._unread:
            return False
        everything = walk(self._root.path, self._below, lambda path, error: None, None)
        return next(everything, None) is None

    def _report(self, state: str) -> None:
        self._plan.unplugged.append(self._target)
        doubt = "" if is_url(self._place) else " (a drive that is not connected?)"
        self._plan.problems.append(
            f"{self._place} {state}{doubt}; they are kept. If they are gone for good: clipsearch"
            " index --prune, or clipsearch forget"
        )

    def _report_unread(self) -> None:
        for path, error in self._unread.items():
            # A dead link, or a folder that went away, is nobody's concern if it held nothing.
            if isinstance(error, FileNotFoundError) and not any(
                is_below(stamp[0], path) for stamp in self._stamps
            ):
                continue
            if path == self._below and is_url(self._place):
                self._plan.unplugged.append(self._target)
            where = joined(self._root.path, path)
            self._plan.unread.append(where)
            self._plan.problems.append(
                f"{where} cannot be read ({error.strerror}); its photos are kept"
            )
