"""Bring a model's vector file up to its catalog."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from clipsearch.encoders.rows import are_units
from clipsearch.encoders.spec import HUB
from clipsearch.errors import LibraryBusy
from clipsearch.store.catalog import Catalog, Model
from clipsearch.store.database.units import unit_rows
from clipsearch.store.lock import write_lock
from clipsearch.store.vectors.file import VectorFile
from clipsearch.store.vectors.format import Seal

# Rows of photos that are gone cost little in a search and much to sweep out of a large file.
SWEEP_SHARE = 0.1
_BATCH = 4096
# Rows that are compared with the catalog's whenever a file is opened, and where no seal tells more.
_COMPARED = 6
_COMPARED_UNSEALED = 1000


def vector_file(folder: Path, model: Model) -> VectorFile:
    """A model's vectors in an index folder."""
    # A name that tells a person which model it is, and is unique in the index.
    name = model.spec if model.spec.startswith(HUB) else model.spec.partition(":")[0]
    stem = f"{model.id}-" + re.sub(r"[^A-Za-z0-9._-]+", "-", name)
    return VectorFile(folder / "vectors" / stem, model.dim)


def file_to_search(folder: Path, catalog: Catalog, model: Model) -> VectorFile:
    """A model's vectors, brought up to the catalog on disk if possible, else in memory."""
    vectors = vector_file(folder, model)
    if catalog.is_read_only or catalog.is_replaced:
        hold_missing(catalog, model, vectors)
    elif is_behind(catalog, model, vectors):
        try:
            with write_lock(folder):
                bring_up(catalog, model, vectors)
        except (LibraryBusy, OSError):
            hold_missing(catalog, model, vectors)
    return vectors


def is_behind(catalog: Catalog, model: Model, file: VectorFile) -> bool:
    """Whether the file is to be brought up: it lacks vectors, or is of something else.

    Ids ascend, are never used twice in one history of a catalog, and are appended in order, so
    that comparing the counts and the highest ids is enough once the file is known to be its own.
    """
    count, highest = catalog.fingerprint(model.id)
    held = len(file.ids) + file.seal.passed
    return held < count or _last_taken(file) < highest or not is_of(catalog, model, file)


def is_of(catalog: Catalog, model: Model, file: VectorFile) -> bool:
    """Whether what the file holds was taken from this catalog, as it is or was."""
    if not len(file.ids):
        return True
    compared = _COMPARED if file.seal.library else _COMPARED_UNSEALED
    return is_sealed(catalog, model, file) and _agree(catalog, model, file, compared)


def is_sealed(catalog: Catalog, model: Model, file: VectorFile) -> bool:
    """Whether a file says that it is of this catalog, or nothing, as an older clipsearch's do."""
    if file.fingerprint()[1] > catalog.last_vector_id():
        return False  # it was put back from an older copy, and will give these ids out again
    library, last_id, stamp, _ = file.seal
    is_known = library == catalog.index_id and catalog.stamp(model.id, last_id) == stamp
    return is_known or not library


def bring_up(catalog: Catalog, model: Model, file: VectorFile) -> None:
    """Append what the file lacks, and rewrite it where it is damaged or mostly out of date.

    The caller holds the index's lock.
    """
    file.open()  # again: another may have written to it before the lock was ours
    with catalog.snapshot():
        if file.is_whole and is_of(catalog, model, file) and _is_sound(file):
            missing = _Rows(catalog, model, _last_taken(file))
            file.extend(missing, partial(_seal, catalog, model, missing, file.seal.passed))
            file.reseal(_seal(catalog, model, missing, file.seal.passed))
        else:
            _rewrite(catalog, model, file)
        alive, held = catalog.fingerprint(model.id)[0], len(file.ids)
        if held + file.seal.passed < alive:
            _rewrite(catalog, model, file)
        elif held - alive > SWEEP_SHARE * held:
            file.keep(np.fromiter(catalog.vector_ids(model.id), np.int64))


def follow(
    catalog: Catalog, model: Model, file: VectorFile, added: Sequence[tuple[int, bytes]]
) -> None:
    """Append new vectors, just committed, to a file that was brought up to those before.

    The caller holds the index's lock, since before the file was brought up.
    """
    if not added:
        return
    if not file.is_on_disk():  # somebody deleted it
        bring_up(catalog, model, file)
        return
    last = added[-1][0]
    seal = Seal(catalog.index_id, last, catalog.stamp(model.id, last) or bytes(8), file.seal.passed)
    rows = np.frombuffer(b"".join(row for _, row in added), np.float16)
    file.add([id for id, _ in added], rows.reshape(-1, model.dim), seal)


def hold_missing(catalog: Catalog, model: Model, file: VectorFile) -> None:
    """Take what the file lacks into memory alone, for a search that may not write."""
    if not (is_of(catalog, model, file) or _is_of_a_later_copy(catalog, model, file)):
        file.disregard()
    missing = _Rows(catalog, model, _last_taken(file))
    batches = list(missing)
    held = len(file.ids) + sum(len(ids) for ids, _ in batches)
    if held + file.seal.passed + missing.passed < catalog.fingerprint(model.id)[0]:
        # Rows are missing from the middle: a damaged file, so nothing of it is believed.
        file.disregard()
        batches = list(_Rows(catalog, model, 0))
    if batches:
        ids = np.concatenate([ids for ids, _ in batches])
        file.hold(ids, np.concatenate([rows for _, rows in batches]))


def _is_of_a_later_copy(catalog: Catalog, model: Model, file: VectorFile) -> bool:
    """Whether a copy was renewed since its catalog was opened: its files come first."""
    is_ours = catalog.origin is not None and file.seal.library == catalog.index_id
    return is_ours and _agree(catalog, model, file, _COMPARED)


def _is_sound(file: VectorFile) -> bool:
    """Whether all rows are embeddings, which nobody looked at before there were seals."""
    return bool(file.seal.library) or all(
        are_units(file.rows[start : start + _BATCH]).all()
        for start in range(0, len(file.ids), _BATCH)
    )


def _agree(catalog: Catalog, model: Model, file: VectorFile, compared: int) -> bool:
    """Whether rows of the file are those of the catalog: the first, the last and some others."""
    first, last = int(file.ids[0]), int(file.ids[-1])
    chosen = {first, *(int(random.choice(file.ids)) for _ in range(compared))}
    found = [catalog.vector_at(model.id, id) for id in sorted(chosen)]
    found.append(catalog.vector_before(model.id, last))
    return all(_holds(file, *it) for it in found if it is not None and it[0] <= last)


def _holds(file: VectorFile, id: int, row: bytes) -> bool:
    position = int(np.searchsorted(file.ids, id))
    if position < len(file.ids) and file.ids[position] == id:
        return bool(file.scattered[position].tobytes() == row)
    _, good = unit_rows([row], file.dim)  # one that is damaged is not in the file
    return not good[0]


def _last_taken(file: VectorFile) -> int:
    """The id up to which the file has what its catalog has."""
    held = file.fingerprint()[1]
    return max(held, file.seal.last_id) if file.is_whole else held


class _Rows:
    """A model's vectors above an id as (ids, rows) batches, but for those that are damaged."""

    def __init__(self, catalog: Catalog, model: Model, after: int) -> None:
        self.passed = 0  # of those that were given so far
        self._vectors = catalog.vectors_after(model.id, after)
        self._dim = model.dim

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        while batch := list(islice(self._vectors, _BATCH)):
            rows, good = unit_rows([blob for _, blob in batch], self._dim)
            self.passed += len(batch) - len(rows)
            if len(rows):
                yield np.array([id for id, _ in batch], np.int64)[good], rows


def _seal(catalog: Catalog, model: Model, rows: _Rows, passed: int) -> Seal:
    """What says that a file is up to the catalog, once it has taken `rows`."""
    return Seal(catalog.index_id, *catalog.last_batch(model.id), passed + rows.passed)


def _rewrite(catalog: Catalog, model: Model, file: VectorFile) -> None:
    rows = _Rows(catalog, model, 0)
    file.replace(rows, partial(_seal, catalog, model, rows, 0))
