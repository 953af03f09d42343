"""Copies of an index, for other machines to search and as back-ups.

    the vectors, and what was built of them -> files beside those of the copy before
    the catalog, as it is at one moment     -> a file beside that of the copy before
    each takes its place; vectors that came in between are appended from the catalog

Until then the copy before is searched, and whatever stops this leaves it as it was.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from clipsearch.errors import InvalidInput
from clipsearch.store.approximate import HEADER_SIZE
from clipsearch.store.catalog import Catalog
from clipsearch.store.database import FILE_NAME
from clipsearch.store.faults import explained
from clipsearch.store.lock import write_lock
from clipsearch.store.sync import bring_up, vector_file

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy holds."""

    folder: str
    photos: int
    bytes: int  # on disk
    left: str | None  # where more of it is, which is not the copy's


def copy(folder: Path, catalog: Catalog, target: Path, own: bool, progress: Progress) -> Copied:
    """Copy the index in `folder` to `target`, in place of a copy of it that is there.

    The copy can only be read, and knows what it is of; with `own` it is an index of its own.
    `progress` gets the bytes of the larger part, the catalog.

    Raises:
        InvalidInput: something else is at `target`.
        LibraryBusy: another process writes there.
        LibraryError: its disk is full or read-only.
    """
    source = Path(os.path.realpath(folder))
    with explained(target):
        _check_place(source, target, own)
        (target / "vectors").mkdir(parents=True, exist_ok=True)
        with write_lock(target), ExitStack() as drafts:
            waiting = [(target / f"{FILE_NAME}.new", target / FILE_NAME)]
            if own or not catalog.engine():
                waiting = [*_vectors_to_copy(folder, target, catalog), *waiting]
            for draft, _ in waiting:
                draft.unlink(missing_ok=True)
                drafts.callback(draft.unlink, missing_ok=True)
            for draft, place in waiting[:-1]:
                _copy_file(folder / "vectors" / place.name, draft)
            catalog.copy(waiting[-1][0], None if own else source, progress)
            for draft, place in waiting:
                os.replace(draft, place)
            return _finished(folder, target, _left(catalog) if own else None)


def _check_place(source: Path, target: Path, own: bool) -> None:
    if (target / FILE_NAME).exists():
        with closing(Catalog.open(target)) as held:
            origin = held.origin
        if not own and origin and origin.folder == os.fspath(source):
            return
        what = f"a copy of {origin.folder}" if origin else "an index"
    elif target.is_dir() and (others := os.listdir(target)):
        what = f"other files ({min(others)}...)"
    elif target.exists() and not target.is_dir():
        what = "a file"
    else:
        return
    raise InvalidInput(f"{target} is or holds {what}; name a new or an empty folder")


def _vectors_to_copy(folder: Path, target: Path, catalog: Catalog) -> list[tuple[Path, Path]]:
    """Where the files go that the copy lacks or has otherwise: first beside their place."""
    pairs = [(vector_file(folder, model), vector_file(target, model)) for model in catalog.models()]
    places = []
    for ours, theirs in pairs:
        if len(ours.ids) and not (len(theirs.ids) and ours.pair == theirs.pair):
            places += [theirs.rows_path, theirs.ids_path]
        if _head(ours.ann_path) != _head(theirs.ann_path) and ours.ann_path.exists():
            places.append(theirs.ann_path)
    return [(place.with_name(f"{place.name}.copy"), place) for place in places]


def _head(approximate: Path) -> bytes:
    """What tells one approximate index from another."""
    try:
        with approximate.open("rb") as file:
            return file.read(HEADER_SIZE)
    except FileNotFoundError:
        return b""


def _copy_file(source: Path, place: Path) -> None:
    shutil.copyfile(source, place)
    with place.open("rb+") as file:
        os.fsync(file.fileno())


def _left(catalog: Catalog) -> str | None:
    engine = catalog.engine()
    if engine is None:
        return None
    return (
        f"its vectors are in its own files; those in {engine.address} stay with the index that was"
        f" copied, in collections named clipsearch_{engine.library}_..."
    )


def _finished(folder: Path, target: Path, left: str | None) -> Copied:
    """Remove what the index has no more, and append the vectors that came in between."""
    for file in (target / "vectors").iterdir():
        if not (folder / "vectors" / file.name).exists():
            file.unlink()
    with closing(Catalog.open(target)) as catalog:
        if catalog.engine() is None:
            for model in catalog.models():
                bring_up(catalog, model, vector_file(target, model))
        files = [target / FILE_NAME, *(target / "vectors").iterdir()]
        size = sum(file.stat().st_size for file in files)
        return Copied(os.fspath(target), catalog.count_photos(), size, left)
