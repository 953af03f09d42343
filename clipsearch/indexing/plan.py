"""Compare the disk with the catalog: what is new, changed, gone and the same."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from clipsearch.photos.scan import Found, walk
from clipsearch.store.catalog import Catalog, Known, Root, is_below


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
    known_failures: int = 0  # files that failed before and are as they were
    problems: list[str] = field(default_factory=list)  # one line each, for a person


def make_plan(
    catalog: Catalog, model_id: int | None, targets: Sequence[Target], prune: bool = False
) -> Plan:
    """Scan the targets and compare them with the catalog; changes nothing.

    A photo is the same while its size and mtime are. What a target that is missing, empty or not
    walked to its end no longer shows counts as unplugged and not as gone, unless `prune`.
    """
    plan = Plan()
    lacking = catalog.digests_without_vector(model_id) if model_id is not None else set()
    for target in targets:
        _plan_target(catalog, target, lacking, plan, prune)
    return plan


def _plan_target(
    catalog: Catalog, target: Target, lacking: set[str], plan: Plan, prune: bool
) -> None:
    root, below = target
    known = {p: k for p, k in catalog.known(root.id).items() if is_below(p, below)}
    failed = {p: at for p, at in catalog.failed(root.id).items() if is_below(p, below)}
    unread: list[str] = []

    def on_error(path: str, error: OSError) -> None:
        unread.append(path)
        where = os.path.join(root.path, path) if path else root.path
        plan.problems.append(f"{where} cannot be read ({error.strerror}); its photos are kept")

    place = os.path.join(root.path, below) if below else root.path
    if not os.path.isdir(place):
        if not prune:
            plan.problems.append(
                f"{place} is missing (a drive that is not connected?); its {len(known)} photos"
                " are kept. If it is gone for good: clipsearch index --prune, or clipsearch forget"
            )
            return
        found = []
    else:
        found = _not_excluded(list(walk(root.path, below, on_error)), catalog, root)
        if known and not found and not unread and not prune:
            plan.problems.append(
                f"{place} is empty where it held {len(known)} photos (a drive that is not"
                " connected?); they are kept. If they are gone for good: clipsearch index --prune"
            )
            return
    _compare(root, found, known, failed, lacking, plan)
    # What was seen has been taken out of `known` and `failed`.
    plan.gone += [
        Gone(root, path, photo)
        for path, photo in known.items()
        if not any(is_below(path, folder) for folder in unread)
    ]
    plan.mended += [
        (root.id, path) for path in failed if not any(is_below(path, folder) for folder in unread)
    ]


def _not_excluded(found: list[Found], catalog: Catalog, root: Root) -> list[Found]:
    excluded = catalog.exclusions(root.id)
    if not excluded:
        return found
    return [file for file in found if not any(is_below(file.path, path) for path in excluded)]


def _compare(
    root: Root,
    found: list[Found],
    known: dict[str, Known],
    failed: dict[str, tuple[int, int]],
    lacking: set[str],
    plan: Plan,
) -> None:
    for file in found:
        photo = known.pop(file.path, None)
        failed_at = failed.pop(file.path, None)
        if failed_at == (file.size, file.mtime_ns):
            plan.known_failures += 1
        elif photo is None:
            plan.work.append(Work(root, file, None))
        elif _is_same(photo, file) and photo.digest not in lacking:
            plan.unchanged += 1
        else:
            plan.work.append(Work(root, file, photo))


def _is_same(photo: Known, file: Found) -> bool:
    return (photo.size, photo.mtime_ns) == (file.size, file.mtime_ns)
