"""Which new files are photos that were elsewhere before, as far as that is known unread."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

from clipsearch.indexing.away import Sight
from clipsearch.indexing.plan import Doubts, Gone, Plan, Work
from clipsearch.photos.files.inode import Inode
from clipsearch.photos.files.mounts import is_vacant, mount_points, mount_table
from clipsearch.photos.files.urls import is_below, is_url, joined
from clipsearch.store.catalog import Catalog, Root


def find_moved(catalog: Catalog, model_id: int | None, doubts: Doubts, plan: Plan) -> None:
    """Look for new files among the photos that are not at their places any more.

    One at the same place below another root, with the same size and time, is the same, and so is
    one in the same folder, wherever that is now, with the same name, size and time. What else has
    the size of a new file may be, which is told when that is read.
    """
    sizes = {item.found.size for item in plan.work if item.known is None}
    taken = {photo.known.id for photo in (*plan.gone, *plan.kept)}
    lost = [photo for photo in _lost(catalog, sizes) if photo.known.id not in taken]
    if not doubts.verify and sizes and (lost or taken):
        lacking = catalog.digests_without_vector(model_id)
        sure = [photo for photo in lost if photo.known.digest not in lacking]
        _pair_at_the_same_place(plan, sure)
        others = (*plan.gone, *plan.kept, *sure)
        _pair_in_the_same_folder(
            catalog, plan, [photo for photo in others if photo.known.digest not in lacking]
        )
    found = {photo.known.id for photo, _ in plan.moves}
    plan.gone = [photo for photo in plan.gone if photo.known.id not in found]
    plan.kept = [photo for photo in (*plan.kept, *lost) if photo.known.id not in found]


def _pair_at_the_same_place(plan: Plan, photos: Sequence[Gone]) -> None:
    alike: dict[tuple[str, int, int], list[Gone]] = {}
    for photo in photos:
        version = (photo.path, photo.known.size, photo.known.mtime_ns)
        alike.setdefault(version, []).append(photo)
    pairs = []
    for item in plan.work:
        # A version and a Found are equal tuples.
        if item.known is None and alike.get(item.found):
            pairs.append((alike[item.found].pop(), item))
    _move(plan, pairs)


def _pair_in_the_same_folder(catalog: Catalog, plan: Plan, photos: Sequence[Gone]) -> None:
    moved = {photo.known.id for photo, _ in plan.moves}
    before = {root.id: catalog.folders(root.id) for root in {photo.root for photo in photos}}
    inodes = {(root_id, path): it for root_id, all in before.items() for path, it in all.items()}
    old: dict[object, list[Gone]] = {}
    for photo in photos:
        mark = _mark(inodes, photo.root, photo.path, photo.known.size, photo.known.mtime_ns)
        if mark and photo.known.id not in moved:
            old.setdefault(mark, []).append(photo)
    new: dict[object, list[Work]] = {}
    for item in plan.work if old else ():
        mark = _mark(plan.inodes, item.root, *item.found)
        if mark in old and item.known is None:
            new.setdefault(mark, []).append(item)
    pairs = [
        (old[mark][0], items[0])
        for mark, items in new.items()
        if len(items) == len(old[mark]) == 1  # else nobody knows which is which
    ]
    _move(plan, [it for it in pairs if _is_missing(joined(it[0].root.path, it[0].path))])


def _mark(
    inodes: Mapping[tuple[int, str], Inode], root: Root, path: str, size: int, mtime_ns: int
) -> tuple[Inode, str, int, int] | None:
    """What tells a file in a folder, whatever that is called; None where nothing does."""
    folder, _, name = path.rpartition("/")
    inode = inodes.get((root.id, folder))
    return (inode, name, size, mtime_ns) if inode else None


def _move(plan: Plan, pairs: Sequence[tuple[Gone, Work]]) -> None:
    plan.moves += pairs
    plan.moved += [photo for photo, _ in pairs if photo.away is not None]
    done = {id(item) for _, item in pairs}
    plan.work = [item for item in plan.work if id(item) not in done]


def _lost(catalog: Catalog, sizes: set[int]) -> Iterator[Gone]:
    """The photos of these sizes in bytes whose files are not there; those at URLs are not asked."""
    roots = {root.id: root for root in catalog.roots() if not is_url(root.path)}
    points = mount_points(mount_table())
    vacant = {root.id for root in roots.values() if is_vacant(root.path)}
    drives: dict[int, list[str]] = {}  # folders of such as are away inside a root
    for root_id, path, known in catalog.known_of_sizes(sizes):
        if root_id not in roots:
            continue
        root = roots[root_id]
        if root_id not in drives:
            drives[root_id] = Sight(root, "", True, catalog.seams(root_id), points).lacking()
        if root_id in vacant or (
            _is_missing(joined(root.path, path))
            and not any(is_below(path, drive) for drive in drives[root_id])
        ):
            yield Gone(root, path, known, root.path)


def _is_missing(file: str) -> bool:
    try:
        os.lstat(file)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        pass  # nobody knows
    return False
