"""Copies of an index, for other machines to search and as back-ups.

    vectors that the copy before has      -> those that came since are appended to its files
    any others, and what speeds up search -> a draft beside it
    the catalog, as it is at one moment   -> the draft, and the vectors are brought up to it
    the draft's files take their places, the catalog's last

Until then the copy before is searched; vectors that it does not know do no harm. Whatever stops
this leaves it as it was. A file that was replaced keeps another name until the next copy: who
reads it over a network file system would lose it otherwise.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from clipsearch.errors import InvalidInput, LibraryError
from clipsearch.store.approximate import HEADER_SIZE
from clipsearch.store.catalog import Catalog
from clipsearch.store.database import FILE_NAME, is_ours
from clipsearch.store.faults import explained
from clipsearch.store.lock import write_lock
from clipsearch.store.sync import bring_up, is_of, vector_file
from clipsearch.store.vectors import VectorFile

DRAFT = ".draft"
BEFORE = ".before"  # the ending of a file that was replaced

_ROWS_A_BATCH = 16_384

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
    `progress` gets the bytes of the catalog.

    Raises:
        InvalidInput: something else is at `target`.
        LibraryBusy: another process writes there.
        LibraryError: its disk is full or read-only.
    """
    source = Path(os.path.realpath(folder))
    with explained(target, "name another folder"):
        _check_place(catalog, source, target, own)
        _make_folder(target / "vectors")
        draft = target / DRAFT
        with write_lock(target):
            shutil.rmtree(draft, ignore_errors=True)  # of a copy that was stopped
            try:
                (draft / "vectors").mkdir(parents=True)
                if own or not catalog.engine():
                    _copy_vectors(folder, target, catalog)
                _copy_catalog(folder, catalog, draft / FILE_NAME, None if own else source, progress)
                _bring_up(target, catalog.identity)
                _put_in_place(target)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
            return _copied(target, _left(catalog) if own else None)


def _check_place(catalog: Catalog, source: Path, target: Path, own: bool) -> None:
    try:
        os.fspath(target).encode()
    except UnicodeEncodeError as error:
        raise InvalidInput("the name of a copy's folder must be valid text") from error
    if (target / FILE_NAME).exists():
        with closing(Catalog.open(target)) as held:
            origin, identity = held.origin, held.identity
        if not own and origin and identity == catalog.identity and target.resolve() != source:
            return
        what = f"a copy of {origin.folder}" if origin else "an index"
        if origin and identity != catalog.identity:
            what += ", but of another index than this"
    elif target.is_dir() and (others := [name for name in os.listdir(target) if not is_ours(name)]):
        what = f"other files ({min(others)}...)"
    elif target.exists() and not target.is_dir():
        what = "a file"
    else:
        return
    raise InvalidInput(f"{target} is or holds {what}; name a new or an empty folder")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, FileNotFoundError, NotADirectoryError) as error:
        raise LibraryError(
            f"{folder.parent} cannot be made ({error.strerror}); name another folder"
        ) from error


def _copy_vectors(folder: Path, target: Path, catalog: Catalog) -> None:
    """Append to the files that are there, or write others as a draft."""
    for model in catalog.models():
        ours, theirs = vector_file(folder, model), vector_file(target, model)
        if not len(ours.ids):
            continue
        if _is_begun_by(theirs, ours) and is_of(catalog, model, theirs):
            for start in range(len(theirs.ids), len(ours.ids), _ROWS_A_BATCH):
                some = slice(start, start + _ROWS_A_BATCH)
                theirs.add(ours.ids[some], ours.rows[some], ours.seal)
        else:
            fresh = vector_file(target / DRAFT, model)
            # In this order, since both only grow: the rows say how many ids there are.
            _copy_file(ours.rows_path, fresh.rows_path)
            _copy_file(ours.ids_path, fresh.ids_path)
        if not ours.ann_path.exists():
            theirs.ann_path.unlink(missing_ok=True)
        elif _head(ours.ann_path) != _head(theirs.ann_path):
            _copy_file(ours.ann_path, vector_file(target / DRAFT, model).ann_path)


def _is_begun_by(theirs: VectorFile, ours: VectorFile) -> bool:
    count = len(theirs.ids)
    begun = 0 < count <= len(ours.ids) and theirs.pair == ours.pair
    return begun and bool((theirs.ids == ours.ids[:count]).all())


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


def _copy_catalog(
    folder: Path, catalog: Catalog, file: Path, source: Path | None, progress: Progress
) -> None:
    try:
        catalog.copy(file, source, progress)
    except sqlite3.OperationalError:  # of the place that is written to
        raise
    except sqlite3.DatabaseError:
        with explained(folder):
            raise


def _bring_up(target: Path, source: str) -> None:
    """Add the vectors that came to the index in between, and remove those that it has no more.

    `source` is the identity of the index that is copied, which an index of its own has not.
    """
    draft = target / DRAFT
    stems = []
    with closing(Catalog.open(draft)) as catalog:
        for model in catalog.models() if catalog.engine() is None else []:
            fresh, file = vector_file(draft, model), vector_file(target, model)
            if fresh.seal.library == source:
                fresh.reseal(fresh.seal._replace(library=catalog.identity))
            bring_up(catalog, model, fresh if fresh.rows_path.exists() else file)
            stems.append(f"{file.rows_path.stem}.")
    for path in (target / "vectors").iterdir():
        if not path.name.startswith(tuple(stems)):
            path.unlink()


def _put_in_place(target: Path) -> None:
    draft = target / DRAFT
    names = [f"vectors/{file.name}" for file in (draft / "vectors").iterdir()]
    for name in (*names, FILE_NAME):
        place = target / name
        with suppress(OSError):  # which there is not on all file systems
            place.with_name(place.name + BEFORE).unlink(missing_ok=True)
            os.link(place, place.with_name(place.name + BEFORE))
        os.replace(draft / name, place)


def _left(catalog: Catalog) -> str | None:
    engine = catalog.engine()
    if engine is None:
        return None
    return (
        f"its vectors are in its own files; those in {engine.address} stay with the index that was"
        f" copied, in collections named clipsearch_{engine.library}_..."
    )


def _copied(target: Path, left: str | None) -> Copied:
    with closing(Catalog.open(target)) as catalog:
        files = [target / FILE_NAME, *(target / "vectors").iterdir()]
        size = sum(file.stat().st_size for file in files if not file.name.endswith(BEFORE))
        return Copied(os.fspath(target), catalog.count_photos(), size, left)
