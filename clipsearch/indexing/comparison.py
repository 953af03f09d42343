"""Compare the disk with the catalog: what is new, changed, gone and the same."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import chain
from typing import TypeGuard

from clipsearch.errors import LARGEST
from clipsearch.indexing.away import EMPTY, MISSING, Away, Sight, emptied, seam_of
from clipsearch.indexing.moved import find_moved
from clipsearch.indexing.plan import (
    USUAL,
    Beside,
    Doubts,
    Folders,
    Gone,
    Listings,
    Plan,
    Ready,
    Target,
    Work,
)
from clipsearch.indexing.versions import Versions, folder_of
from clipsearch.photos.files.inode import Inode, inode_of, is_real_folder
from clipsearch.photos.files.mounts import mount_points, mount_table
from clipsearch.photos.files.urls import is_below, is_below_any, is_url, joined
from clipsearch.photos.scanning.beside import sidecars_of, version_of
from clipsearch.photos.scanning.listing import Found
from clipsearch.photos.scanning.names import extension_of
from clipsearch.photos.scanning.walk import walk, walk_folders
from clipsearch.store.catalog import Catalog, Known
from clipsearch.store.database.collector import no_garbage_collection

_FEW = 1000  # photos, up to which they are asked for one by one


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
    plan = Plan(targets=targets)
    with no_garbage_collection():
        for target in targets:
            _Comparison(catalog, model_id, target, doubts, ready, plan).run()
        if plan.work:
            find_moved(catalog, model_id, doubts, plan)
    return plan


def _is_number(inode: Inode | None) -> TypeGuard[Inode]:
    """Whether it is one: a few file systems have none, and some have larger ones than are kept."""
    return inode is not None and 0 < inode[1] <= LARGEST and inode[0] <= LARGEST


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
        self._path = joined(self._root.path, self._below)
        self._failed = catalog.failed(*self._lying)
        self._is_remote = is_url(self._root.path)
        by_listings = (
            self._deep
            and not self._below
            and not self._is_remote
            and not catalog.follows_links(self._root.id)
        )
        self._versions = Versions(
            catalog, model_id, self._lying, self._failed, doubts.verify, by_listings
        )
        self._excluded = catalog.exclusions(self._root.id)
        self._unread: dict[str, OSError] = {}
        self._kept: set[str] = set()  # folders whose photos are away
        self._inodes: dict[str, Inode] = {}  # of all folders
        self._sidecars: dict[str, tuple[Found, ...]] = {}  # by photo
        self._shown: dict[str, Inode] = {}  # of those that show photos
        remembered = {} if self._is_remote else catalog.seams(self._root.id)
        points = mount_points(mount_table())
        self._sight = Sight(self._root, self._below, self._deep, remembered, points)

    def run(self) -> None:
        """Add to the plan."""
        held = self._versions.held
        sure = self._doubts.prune or self._anchor is not None
        remote = self._is_remote  # then the listing itself tells whether it is there
        there = remote or is_real_folder(self._root.path, self._below)
        if not remote:
            self._sight.begin()
        differing = self._differing() if there else []
        if remote and isinstance(self._unread.get(self._below), FileNotFoundError):
            del self._unread[self._below]
            there = False
        if not there and not sure:
            self._report(MISSING, held)
            return
        if self._anchor and inode_of(self._anchor.path) != self._anchor.inode:
            self._plan.unplugged.append(self._target)
            return
        self._versions.read_rest()
        bare = held and held == len(self._versions.left) and not differing and not sure
        if bare and self._is_bare():
            self._sight.empty(self._below)
            self._remember()
            self._report(EMPTY, held)
            return
        known = self._known(differing)
        kept = self._set_apart(known, differing)
        for found in differing:
            if found.path not in kept:
                self._sort_in(found, known)
        paths = {found.path for found in differing}
        self._add_gone(known, kept | paths)
        self._add_beside(kept, paths)
        self._report_unread()
        self._remember()

    def _known(self, differing: list[Found]) -> dict[str, Known]:
        """What the catalog holds of photos that differ, or are not shown; perhaps of all."""
        wanted = {path for path, _, _ in chain(differing, self._versions.left)}
        if len(wanted) > _FEW:
            return self._catalog.known(*self._lying)
        return self._catalog.known_at(self._root.id, wanted)

    # What is away

    def _set_apart(self, known: dict[str, Known], differing: list[Found]) -> set[str]:
        """The photos that are not shown as they were, and away: they are kept as they are."""
        if self._is_remote:
            return set()
        if self._doubts.prune:
            self._sight.prune()
            return set()
        changed = {found.path: found for found in differing if found.path in known}
        lost = {path for path, _, _ in self._versions.left if path not in changed}
        lost = {path for path in lost if not self._is_unread(path)}
        kept = self._on_drives(known, changed, lost, bool(differing or self._versions.left))
        if self._anchor is None:
            for folder, paths in emptied(self._root.path, self._below, lost - kept).items():
                kept.update(paths)
                self._sight.empty(folder)
                self._keep(folder, EMPTY, paths, known)
        return kept

    def _on_drives(
        self, known: dict[str, Known], changed: dict[str, Found], lost: set[str], differs: bool
    ) -> set[str]:
        """Those of the lost and the changed that are on a drive which is not there."""
        altered = {
            path
            for path, found in changed.items()
            if (found.size, found.mtime_ns) != (known[path].size, known[path].mtime_ns)
        }
        seams = self._sight.seams()
        away: dict[str, tuple[str, set[str]]] = {}
        for seam in seams:
            if self._is_unread(seam):
                continue
            lacking = {path for path in lost | altered if seam_of(path, seams) == seam}
            if differs:
                overlaps = any(seam_of(folder, seams) == seam for folder in self._versions.same)
            else:  # nothing differs
                overlaps = self._sight.shows(seam)
            if lacking and not self._sight.is_the_same(seam, overlaps):
                copies = {it for it in lacking & altered if self._is_copy(changed[it], known[it])}
                lacking -= copies
                overlaps |= bool(copies)
            if state := self._sight.judge(seam, bool(lacking), overlaps):
                away[seam] = state, lacking
        for seam, (state, lacking) in away.items():
            self._keep(seam, state, lacking, known, self._sight.may_have_moved(seam))
        return set().union(*(lacking for _, lacking in away.values()))

    def _keep(
        self,
        folder: str,
        state: str,
        paths: Collection[str],
        known: dict[str, Known],
        may_have_moved: bool = True,
    ) -> None:
        away = joined(self._root.path, folder)
        self._kept.add(folder)
        self._plan.away.append(Away(away, state, len(paths)))
        if may_have_moved:
            self._plan.kept += [Gone(self._root, path, known[path], away) for path in paths]

    def _is_copy(self, found: Found, known: Known) -> bool:
        """Whether a file that has another time than a photo had is that photo all the same."""
        from clipsearch.indexing.loading import Unread, hash_file

        if found.size != known.size:
            return False
        result = hash_file(joined(self._root.path, found.path))
        return not isinstance(result, Unread) and result.digest == known.digest

    def _remember(self) -> None:
        if self._is_remote:
            return
        if self._sight.learnt != self._sight.remembered:
            self._plan.seams[self._root.id] = self._sight.learnt
        self._plan.inodes |= {(self._root.id, path): it for path, it in self._shown.items()}
        known = self._catalog.folders(self._root.id)
        new = {path: it for path, it in self._shown.items() if known.get(path) != it}
        looked_at = {
            path
            for path in known
            if (is_below(path, self._below) if self._deep else path == self._below)
        }
        lost = {folder_of(path) for path, _, _ in self._versions.left}
        gone = looked_at.difference(self._shown, lost)
        if new or gone:
            self._plan.folders.append(Folders(self._root.id, new, gone))
        listings, bare = self._versions.learnt()
        if listings or bare:
            self._plan.listings.append(Listings(self._root.id, self._model_id, listings, bare))

    # What is on the disk

    def _differing(self) -> list[Found]:
        """The photos on the disk that are not the same as in the catalog, or not surely."""
        differing: list[Found] = []
        for photos in self._found():
            if not photos:
                continue
            other = self._versions.differing(photos)
            self._plan.unchanged += len(photos) - len(other)
            folder = folder_of(photos[0].path)
            self._sight.shown.add(folder)
            if _is_number(inode := self._inodes.get(folder)):
                self._shown[folder] = inode
            differing += other
        return differing

    def _found(self) -> Iterator[list[Found]]:
        others = [root.path for root in self._catalog.roots() if root != self._root]
        folders = walk_folders(
            self._root.path, self._below, self._unread.__setitem__,
            self._catalog.rules(self._root.id), others, self._deep, self._pass_over,
            self._catalog.folder_rules(self._root.id), self._sight.crossed.add,
            self._inodes.__setitem__, self._pair,
        )  # fmt: skip
        if not self._excluded:
            return folders
        return map(self._without_excluded, folders)

    def _pair(self, photos: Sequence[Found], sidecars: Sequence[Found]) -> None:
        self._sidecars |= sidecars_of(photos, sidecars)

    def _pass_over(self, path: str) -> None:
        if not self._is_excluded(path):
            self._plan.passed_over[extension_of(path)] += 1

    def _is_excluded(self, path: str) -> bool:
        return is_below_any(path, self._excluded)

    def _without_excluded(self, photos: list[Found]) -> list[Found]:
        """Of the photos of one folder, those that were not forgotten."""
        if photos and self._is_excluded(folder_of(photos[0].path)):
            return []
        return [file for file in photos if file.path not in self._excluded]

    def _sort_in(self, found: Found, known: dict[str, Known]) -> None:
        failed_at = self._failed.pop(found.path, None)
        if failed_at == (found.size, found.mtime_ns) and not self._doubts.retry:
            if found.path not in known:
                self._sidecars.pop(found.path, None)  # there is nothing to tell them of
            return
        path = joined(self._root.path, found.path)
        if self._ready is None or self._ready(path, found):
            work = Work(self._root, found, known.get(found.path), self._doubts.verify)
            self._plan.work.append(work)

    def _add_gone(self, known: dict[str, Known], differing: set[str]) -> None:
        """What is left of versions and failures is gone, but for what could not be looked at."""
        self._plan.gone += [
            Gone(self._root, path, known[path])
            for path, _, _ in self._versions.left
            if path not in differing and not self._is_unread(path)
        ]
        self._plan.mended += [
            (self._root.id, path)
            for path in self._failed
            if not self._is_unread(path) and not is_below_any(path, self._kept)
        ]

    def _add_beside(self, kept: set[str], differing: set[str]) -> None:
        """What tells of photos and is new, another or gone; that of photos which are read anew."""
        if self._is_remote:
            return
        held = self._catalog.sidecars(*self._lying)
        for path, sidecars in self._sidecars.items():
            if held.pop(path, None) != version_of(sidecars) or path in differing:
                self._plan.beside.append(Beside(self._root, path, sidecars))
        lost = {path for path, _, _ in self._versions.left}
        self._plan.beside += [
            Beside(self._root, path, ())
            for path in held
            if path not in kept and path not in lost and not self._is_unread(path)
        ]

    def _is_unread(self, path: str) -> bool:
        return is_below_any(path, self._unread)

    def _is_bare(self) -> bool:
        """Whether no photo lies there, and it is not just the rules that leave all out."""
        if self._unread:
            return False
        everything = walk(self._root.path, self._below, lambda path, error: None, None)
        return next(everything, None) is None

    def _report(self, state: str, held: int) -> None:
        self._plan.unplugged.append(self._target)
        self._plan.away.append(Away(self._path, state, held))

    def _report_unread(self) -> None:
        for path, error in self._unread.items():
            # A dead link, or a folder that went away, is nobody's concern if it held nothing.
            if isinstance(error, FileNotFoundError) and not any(
                is_below(version[0], path) for version in self._versions.left
            ):
                continue
            if path == self._below and is_url(self._path):
                self._plan.unplugged.append(self._target)
            where = joined(self._root.path, path)
            self._plan.unread.append(where)
            self._plan.problems.append(
                f"{where} cannot be read ({error.strerror}); its photos are kept"
            )
