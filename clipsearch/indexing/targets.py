"""Which folders a run looks at, at URLs too, and what leaves the index by hand."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from clipsearch.errors import InvalidInput, arg
from clipsearch.indexing.plan import Plan, Target
from clipsearch.photos.files.mounts import is_vacant
from clipsearch.photos.files.urls import is_below, is_url, joined, normal, path_below
from clipsearch.photos.scanning.names import is_photo_name
from clipsearch.photos.scanning.rules import ScanRules
from clipsearch.store.catalog import Catalog, Known, Root, root_of

log = logging.getLogger("clipsearch")

_SOME = 200  # photos that are looked for where a root may have moved to


def choose_targets(catalog: Catalog, paths: Sequence[str]) -> list[Target]:
    """The folders that `paths` name, as roots and folders below them; all roots for no paths.

    A folder inside a root is a part of it; one that holds roots takes them in.

    Raises:
        InvalidInput: a path that is no folder.
    """
    if not paths:
        roots = catalog.roots()
        if not roots:
            raise InvalidInput("the index knows no folder yet: clipsearch index FOLDER")
        return [Target(root, "") for root in roots]
    folders = [_folder(catalog, path) for path in paths]
    for folder in folders:  # first all roots, so that none is taken in after it is a target
        if not any(is_below(folder, root.path) for root in catalog.roots()):
            root = catalog.add_root(folder)
            _take_over_rules(catalog, root)
    targets = {_target(catalog, folder) for folder in folders}
    return sorted(
        (target for target in targets if not any(_holds(other, target) for other in targets)),
        key=lambda target: (target.root.path, target.below),
    )


def _take_over_rules(catalog: Catalog, root: Root) -> None:
    """Have the rules of a missing root hold where its folder seems to be now: at a new root.

    That is the new root itself, or a folder in it. What has moved is told by contents, but those
    are read only after the rules are known.
    """
    for old in _missing_roots(catalog):
        folders = ["", os.path.basename(old.path), *_folders_in(root.path)]
        known = sorted(catalog.known(old.id).items())
        sample = known[:: max(1, len(known) // _SOME)]
        found = (it for it in folders if _are_in(joined(root.path, it), sample))
        if (folder := next(found, None)) is not None:
            catalog.carry_rules(old, root, folder)


def _missing_roots(catalog: Catalog) -> list[Root]:
    """The roots of which nothing is there; not those at URLs, which are not asked."""
    return [it for it in catalog.roots() if not is_url(it.path) and is_vacant(it.path)]


def _folders_in(root: str) -> list[str]:
    if is_url(root):
        return []
    try:
        with os.scandir(root) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []  # which the plan says


def _are_in(folder: str, some: Sequence[tuple[str, Known]]) -> bool:
    """Whether most of some photos are below a folder now, by their names and sizes."""
    there = [path for path, it in some if _size(joined(folder, path)) == it.size]
    return 2 * len(there) > len(some)


def _size(file: str) -> int | None:
    try:
        return os.stat(file, follow_symlinks=False).st_size
    except (OSError, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class RuleChanges:
    """What is said anew about which photos are looked at; None leaves a rule as it was."""

    include: Sequence[str] | None = None
    exclude: Sequence[str] | None = None
    follow_links: bool | None = None
    raw_too: bool | None = None

    def applied_to(self, rules: ScanRules) -> ScanRules:
        """The rules with the changes; an empty pattern stands for none."""
        said = {name: value for name, value in asdict(self).items() if value is not None}
        for name in ("include", "exclude"):
            if name in said:
                said[name] = tuple(filter(None, said[name]))
        return replace(rules, **said)


def change_rules(catalog: Catalog, targets: Sequence[Target], changes: RuleChanges) -> None:
    """Remember the rules of the targets' roots, for this run and later ones.

    Raises:
        InvalidInput: a pattern that means nothing, or a target that is a part of a root.
    """
    if changes == RuleChanges():
        return
    for root, below, *_ in targets:
        if below and below not in catalog.folder_rules(root.id):
            raise InvalidInput(
                f"{arg('include')}, {arg('exclude')}, {arg('follow_links')} and {arg('raw_too')}"
                f" hold for a whole indexed folder; name {root.path}, or put a .clipsearchignore"
                f" into {below}"
            )
    for target in targets:
        root_id, folder = target.root.id, target.below
        rules = catalog.folder_rules(root_id)[folder] if folder else catalog.rules(root_id)
        catalog.set_rules(root_id, changes.applied_to(rules), folder)


def settle(catalog: Catalog, plan: Plan) -> None:
    """Write what a plan knows without reading a file: what moved, and what folders show."""
    for root_id, seams in plan.seams.items():
        catalog.set_seams(root_id, seams)
    for folders in plan.folders:
        catalog.set_folders(*folders)
    for listings in plan.listings:
        catalog.set_listings(*listings)
    if plan.moves:
        catalog.remove_failures((item.root.id, item.found.path) for _, item in plan.moves)
        catalog.move_photos(
            (photo.known.id, item.root.id, item.found.path) for photo, item in plan.moves
        )


def leave_moved_roots(catalog: Catalog, plan: Plan) -> None:
    """Remove the missing roots whose photos have all been found elsewhere."""
    moved = {photo.root.id for photo in plan.moved}
    for root in _missing_roots(catalog):
        if root.id in moved and not catalog.count_photos(root.id) and not os.path.isdir(root.path):
            catalog.remove_root(root.id)
            log.warning(
                "%s is missing and all its photos were found elsewhere: it is no longer indexed"
                " itself; if it comes back, name it to clipsearch index",
                root.path,
            )


def take_back_roots(catalog: Catalog, before: Sequence[Root]) -> None:
    """Remove the roots that a run added, and indexed nothing of, before it failed."""
    for root in catalog.roots():
        if root not in before and not catalog.count_photos(root.id) and not catalog.failed(root.id):
            catalog.remove_root(root.id)


@dataclass(frozen=True, slots=True)
class Held:
    """What the index holds at a path."""

    photos: int
    roots: tuple[tuple[str, ScanRules], ...]  # folders that are indexed there, the inner first


def held_at(catalog: Catalog, path: str) -> Held:
    """What `forget` would take out.

    Raises:
        InvalidInput: the index does not know the path.
    """
    wanted = _real(path)
    parts = [(root, *_part_of(catalog, root, wanted)) for root in _roots_at(catalog, wanted)]
    whole = [it for root, part, _, _ in parts if not part for it in _indexed_as(catalog, root)]
    return Held(sum(len(photos) for _, _, photos, _ in parts), tuple(whole))


def _indexed_as(catalog: Catalog, root: Root) -> Iterator[tuple[str, ScanRules]]:
    """The folders that give a root and its rules when they are indexed one after the other."""
    for folder, rules in catalog.folder_rules(root.id).items():
        if rules != ScanRules():
            yield joined(root.path, folder), rules
    yield root.path, catalog.rules(root.id)


def forget(catalog: Catalog, path: str, keep_for: int | None = None) -> int:
    """Take a folder or a photo out; gives the number of photos taken out.

    A part of a root is kept out of later runs until it is named again. What it held is kept for
    `keep_for` days, or as long as the index keeps all.

    Raises:
        InvalidInput: the index does not know the path.
    """
    wanted = _real(path)
    taken = [_forget_in(catalog, root, wanted) for root in _roots_at(catalog, wanted)]
    digests = [known.digest for photos in taken for known in photos]
    catalog.sweep(digests)
    if keep_for is not None:
        catalog.keep_for(keep_for, digests)
    catalog.expire()
    return sum(map(len, taken))


def _roots_at(catalog: Catalog, wanted: str) -> list[Root]:
    roots = [r for r in catalog.roots() if is_below(r.path, wanted) or is_below(wanted, r.path)]
    if not roots:
        raise InvalidInput(_unknown(wanted))
    return roots


def _part_of(catalog: Catalog, root: Root, wanted: str) -> tuple[str, dict[str, Known], list[str]]:
    """What part of a root a path is, "" for all, with its photos and the files that failed."""
    part = "" if is_below(root.path, wanted) else path_below(wanted, root.path)
    photos, failed = catalog.known(root.id, part), list(catalog.failed(root.id, part))
    if part and not photos and not failed:
        raise InvalidInput(_unknown(wanted))
    return part, photos, failed


def _forget_in(catalog: Catalog, root: Root, wanted: str) -> Collection[Known]:
    part, photos, failed = _part_of(catalog, root, wanted)
    catalog.remove_photos(known.id for known in photos.values())
    catalog.remove_failures((root.id, path) for path in failed)
    if part:
        catalog.exclude(root.id, part)
    else:
        catalog.remove_root(root.id)
    return photos.values()


def _folder(catalog: Catalog, path: str) -> str:
    """The real path of a folder, or of a photo that was forgotten and is named to come back."""
    real = _real(path)
    # What is known and not there now may be a drive that is not connected; the plan says so.
    if os.path.isdir(real) or _is_known(catalog, real) or _is_excluded(catalog, real):
        return real
    if is_url(real):
        from clipsearch.photos.files.remote import check_root

        check_root(real)
        return real
    raise _no_folder(path)


def check_first(paths: Sequence[str]) -> None:
    """Raise InvalidInput unless an index can begin with these paths, of which one may be a URL."""
    if not paths:
        raise InvalidInput("there is no index yet; name a folder: clipsearch index FOLDER")
    for path in paths:
        real = _real(path)
        if not (is_url(real) or os.path.isdir(real)):
            raise _no_folder(path)


def _no_folder(path: str) -> InvalidInput:
    if os.path.exists(_real(path)):
        return InvalidInput(f"{path!r} is a file; index takes folders, such as its own")
    return InvalidInput(f"there is no folder {path!r}")


def _target(catalog: Catalog, folder: str) -> Target:
    root = root_of(folder, catalog.roots())
    assert root is not None  # it was added
    part = path_below(folder, root.path)
    for path in catalog.exclusions(root.id):
        if path != part and is_below(part, path):
            raise InvalidInput(
                f"{folder} lies in {joined(root.path, path)}, which was forgotten; name"
                " that to bring it back"
            )
    catalog.include(root.id, part)
    return Target(root, part.rpartition("/")[0] if _is_file(folder) else part)


def _is_file(path: str) -> bool:
    if not is_url(path):
        return os.path.isfile(path)
    from clipsearch.photos.files.remote import is_file

    return is_photo_name(path.rpartition("/")[2]) and is_file(path)


def _is_known(catalog: Catalog, folder: str) -> bool:
    """Whether a folder is a root, or is not there and has photos that are known."""
    root = root_of(folder, catalog.roots())
    if root is None or folder == root.path:
        return root is not None
    is_there = is_url(folder) or os.path.lexists(folder)
    return not is_there and bool(catalog.versions(root.id, path_below(folder, root.path)))


def _is_excluded(catalog: Catalog, file: str) -> bool:
    return any(
        is_below(file, root.path) and path_below(file, root.path) in catalog.exclusions(root.id)
        for root in catalog.roots()
    )


def _holds(other: Target, target: Target) -> bool:
    """Whether another target of the same root looks at all of this one."""
    inside = other.root == target.root and is_below(target.below, other.below)
    return inside and other != target


def _real(path: str) -> str:
    """The real path of a folder; of a photo, which may be gone, that of its folder and its name.

    Raises:
        InvalidInput: no name, or a URL that cannot be one of a folder.
    """
    if not path:  # which would be the folder that one happens to be in
        raise InvalidInput("the folder's name is empty")
    if is_url(path):
        return normal(path)
    # os.path's expanduser leaves the home of nobody alone, where pathlib's raises.
    absolute = Path(os.path.abspath(os.path.expanduser(path)))
    if absolute.is_dir():
        return str(absolute.resolve())
    return str(absolute.parent.resolve() / absolute.name)


def _unknown(path: str) -> str:
    return f"{path} is not in the index. clipsearch status lists its folders."
