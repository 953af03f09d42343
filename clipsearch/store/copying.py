"""Copies of an index, for other machines to search and as back-ups.

    vectors that the copy before has      -> those that came since are appended to its files
    any others, and what speeds up search -> a draft beside it
    the catalog, as it is at one moment   -> the draft, and the vectors are brought up to it
    the draft's files take their places, the catalog's last

Until then the copy before is searched; vectors that it does not know do no harm. Whatever stops
this leaves it as it was. A file that was replaced keeps another name until the next copy: who
reads it over a network file system would lose it otherwise.

A first copy is a draft as a whole, and its catalog is put in place first: by nothing else can the
rest be told from what is somebody's own.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from clipsearch.errors import InvalidInput, LibraryError
from clipsearch.progress import Progress
from clipsearch.replacing import (
    clear_unfinished,
    draft_folder,
    make_private,
    put_in_place,
    sync,
)
from clipsearch.store.catalog import Catalog
from clipsearch.store.database import FILE_NAME
from clipsearch.store.faults import explained
from clipsearch.store.lock import write_lock
from clipsearch.store.ownership import holds_catalog, is_vectors, others_in
from clipsearch.store.vectors.approximate.format import HEADER_SIZE
from clipsearch.store.vectors.file import VectorFile
from clipsearch.store.vectors.sync import bring_up, is_of, vector_file

BEFORE = ".before"  # the ending of a file that was replaced

_ROWS_A_BATCH = 16_384


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy holds."""

    folder: str
    photos: int
    bytes: int  # on disk
    left: str | None  # where more of it is, which is not the copy's


def copy(
    folder: Path,
    catalog: Catalog,
    target: Path,
    own: bool,
    questions: Sequence[str],
    progress: Progress,
) -> Copied:
    """Copy the index in `folder` to `target`, in place of a copy of it that is there.

    The copy can only be read, and knows what it is of; with `own` it is an index of its own. Of
    what was asked it has only `questions`. `progress` gets the bytes of the catalog.

    Raises:
        InvalidInput: something else is at `target`, or it is in the index.
        LibraryBusy: another process writes there.
        LibraryError: its disk is full or read-only.
    """
    source, named, target = Path(os.path.realpath(folder)), target, Path(os.path.realpath(target))
    with explained(target, "name another folder"):
        _check_target(catalog, source, target, own, named)
        _make_folder(target)
        with write_lock(target), _draft(target) as draft:
            _check_target(catalog, source, target, own, named)  # as it is by now
            if own or not catalog.engine():
                _copy_vectors(folder, target, draft, catalog)
            catalog.keep_columns()  # nobody can there
            origin = None if own else source
            _copy_catalog(folder, catalog, draft / FILE_NAME, origin, questions, progress)
            _bring_up(target, draft, catalog.index_id)
            _copy_models(folder, target, draft, catalog)
            _put_in_place(target, draft)
        return _copied(target, _left(catalog) if own else None)


def _check_target(catalog: Catalog, source: Path, target: Path, own: bool, named: Path) -> None:
    try:
        os.fspath(target).encode()
    except UnicodeEncodeError as error:
        raise InvalidInput("the name of a copy's folder must be valid text") from error
    if target != source and any(_is_same(folder, source) for folder in (target, *target.parents)):
        raise InvalidInput(f"{named} is in the index itself; name a folder elsewhere")
    if holds_catalog(target):
        with closing(Catalog.open(target)) as held:
            origin, held_id = held.origin, held.index_id
        if not own and origin and held_id == catalog.index_id and target != source:
            if (target / "vectors").is_symlink():
                raise InvalidInput(f"{named / 'vectors'} is a link; name a new or an empty folder")
            return
        what = f"a copy of {origin.folder}" if origin else "an index"
        if origin and held_id != catalog.index_id:
            what += ", but of another index than this"
    elif target.is_dir() and (others := others_in(target)):
        what = f"other files ({others[0]}...)"
    elif target.exists() and not target.is_dir():
        what = "a file"
    else:
        return
    raise InvalidInput(f"{named} is or holds {what}; name a new or an empty folder")


def _is_same(folder: Path, other: Path) -> bool:
    """Whether two names, of which one may be of nothing, are of one folder."""
    with suppress(OSError):
        return folder.samefile(other)
    return False


def _make_folder(folder: Path) -> None:
    is_new = not folder.exists()
    try:
        make_private(folder)
    except (FileExistsError, FileNotFoundError, NotADirectoryError) as error:
        raise LibraryError(
            f"{folder} cannot be made ({error.strerror}); name another folder"
        ) from error
    if is_new:
        sync(folder.parent)


@contextmanager
def _draft(target: Path) -> Iterator[Path]:
    """A new folder in `target`, for what takes its place there; removed at the end."""
    clear_unfinished(target)  # of a copy that was killed
    with draft_folder(target) as draft:
        (draft / "vectors").mkdir()
        yield draft


def _copy_vectors(folder: Path, target: Path, draft: Path, catalog: Catalog) -> None:
    """Append to the files that are there, or write others as a draft."""
    for model in catalog.models():
        ours, theirs = vector_file(folder, model), vector_file(target, model)
        if not len(ours.ids):
            continue
        if _is_begun_by(theirs, ours) and is_of(catalog, model, theirs):
            _append(theirs, ours)
        else:
            fresh = vector_file(draft, model)
            # In this order, since both only grow: the rows say how many ids there are.
            _copy_file(ours.rows_path, fresh.rows_path)
            _copy_file(ours.ids_path, fresh.ids_path)
        if not ours.ann_path.exists():
            if is_vectors(theirs.ann_path):
                theirs.ann_path.unlink()
        elif _head(ours.ann_path) != _head(theirs.ann_path):
            _copy_file(ours.ann_path, vector_file(draft, model).ann_path)


def _copy_models(folder: Path, target: Path, draft: Path, catalog: Catalog) -> None:
    """Copy the models in 8 bits that the copy lacks to the draft."""
    from clipsearch.encoders.onnx.calibrated import copy_to, fault_of, folder_in

    for model in catalog.models():
        if not model.is_int8:
            continue
        ours, theirs = (folder_in(place, model.weights) for place in (folder, target))
        # What is damaged here would take the place of what may be whole there.
        if not fault_of(ours) and fault_of(theirs):
            copy_to(ours, folder_in(draft, model.weights))


def _put_models_in_place(target: Path, draft: Path) -> None:
    for model in (draft / "models").glob("*"):
        there = target / "models" / model.name
        there.parent.mkdir(exist_ok=True)
        shutil.rmtree(there, ignore_errors=True)
        put_in_place(model, there)


def _append(theirs: VectorFile, ours: VectorFile) -> None:
    starts = range(len(theirs.ids), len(ours.ids), _ROWS_A_BATCH)
    parts = [slice(start, start + _ROWS_A_BATCH) for start in starts]
    theirs.extend(((ours.ids[some], ours.rows[some]) for some in parts), lambda: ours.seal)


def _is_begun_by(theirs: VectorFile, ours: VectorFile) -> bool:
    count = len(theirs.ids)
    begun = 0 < count <= len(ours.ids) and theirs.pair == ours.pair
    # What has another name too may be somebody's, who keeps it as it was.
    alone = all(
        is_vectors(path) and path.stat().st_nlink == 1
        for path in (theirs.rows_path, theirs.ids_path)
    )
    return alone and begun and bool((theirs.ids == ours.ids[:count]).all())


def _head(approximate: Path) -> bytes:
    """What tells one approximate index from another."""
    try:
        with approximate.open("rb") as file:
            return file.read(HEADER_SIZE)
    except FileNotFoundError:
        return b""


def _copy_file(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    sync(target)


def _copy_catalog(
    folder: Path,
    catalog: Catalog,
    file: Path,
    source: Path | None,
    questions: Sequence[str],
    progress: Progress,
) -> None:
    try:
        catalog.copy(file, source, questions, progress)
    except sqlite3.OperationalError:  # of the file that is written
        raise
    except sqlite3.DatabaseError:
        with explained(folder):
            raise


def _bring_up(target: Path, draft: Path, source: str) -> None:
    """Add the vectors that came to the index in between, and remove those that it has no more.

    `source` is the id of the index that is copied, which an index of its own has not.
    """
    stems = []
    with closing(Catalog.open(draft)) as catalog:
        for model in catalog.models() if catalog.engine() is None else []:
            fresh, file = vector_file(draft, model), vector_file(target, model)
            if fresh.seal.library == source:
                fresh.reseal(fresh.seal._replace(library=catalog.index_id))
            is_there = file.rows_path.exists() and not fresh.rows_path.exists()
            bring_up(catalog, model, file if is_there else fresh)
            stems.append(f"{file.rows_path.stem}.")
    for path in _vectors_in(target):
        if not path.name.startswith(tuple(stems)):
            path.unlink()


def _put_in_place(target: Path, draft: Path) -> None:
    if not holds_catalog(target):
        put_in_place(draft / FILE_NAME, target / FILE_NAME)
        put_in_place(draft / "vectors", target / "vectors")
        _put_models_in_place(target, draft)
        return
    _put_models_in_place(target, draft)
    (target / "vectors").mkdir(exist_ok=True)
    names = [f"vectors/{file.name}" for file in _vectors_in(draft)]
    for name in (*names, FILE_NAME):
        file = target / name
        with suppress(OSError):  # which there is not on all file systems
            file.with_name(file.name + BEFORE).unlink(missing_ok=True)
            os.link(file, file.with_name(file.name + BEFORE))
        put_in_place(draft / name, file)


def _vectors_in(folder: Path) -> list[Path]:
    there = folder / "vectors"
    return [path for path in there.iterdir() if is_vectors(path)] if there.is_dir() else []


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
        files = [target / FILE_NAME, *_vectors_in(target), *target.glob("models/*/*")]
        size = sum(file.stat().st_size for file in files if not file.name.endswith(BEFORE))
        return Copied(os.fspath(target), catalog.count_photos(), size, left)
