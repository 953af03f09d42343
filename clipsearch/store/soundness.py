"""Whether an index is as it should be: its catalog whole, and its vector files as the catalog."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clipsearch.notation import counted
from clipsearch.store.catalog import Catalog, Model
from clipsearch.store.database.units import unit_rows
from clipsearch.store.vectors.file import VectorFile
from clipsearch.store.vectors.sync import is_sealed, vector_file

_BATCH = 4096
REBUILD = "the next clipsearch query rebuilds it from the catalog"


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is wrong with an index, and what helps."""

    what: str
    remedy: str


def faults_of(folder: Path, catalog: Catalog) -> Iterator[Fault]:
    """All that is wrong with an index; every vector is looked at, and nothing is written."""
    restore = f"restore {folder} from a backup, or move it away and index again"
    try:
        for what in catalog.check():
            yield Fault(f"the catalog is damaged: {what}", restore)
        for model in catalog.models():
            yield from _of_model(folder, catalog, model, restore)
    except sqlite3.DatabaseError as error:
        yield Fault(f"the catalog cannot be read: {error}", restore)


def _of_model(folder: Path, catalog: Catalog, model: Model, restore: str) -> Iterator[Fault]:
    file = vector_file(folder, model)
    count, highest = catalog.fingerprint(model.id)
    if highest > catalog.last_vector_id():
        yield Fault(f"ids of {model.spec} are above those ever given out", restore)
    compared = _compare(catalog, model, file)
    if compared.bad:
        what = f"damaged in the catalog: {counted(compared.bad, 'embedding')} of {model.spec}"
        yield Fault(what, _after(catalog, folder, "clipsearch index --verify embeds them again"))
    if catalog.engine():
        return
    if count > compared.bad and not len(file.ids):
        what = f"the vector file of {model.spec} is missing or damaged"
        yield Fault(what, _after(catalog, folder, REBUILD))
        return
    delete = _after(catalog, folder, f"delete {file.rows_path}; {REBUILD}")
    if not is_sealed(catalog, model, file):
        yield Fault(f"the vector file of {model.spec} is of another catalog", delete)
        return
    if len(compared.absent):
        # What an index run wrote since the file was opened is there by now.
        there = np.isin(compared.absent, vector_file(folder, model).ids)
        if absent := int((~there).sum()):
            yield Fault(f"the vector file of {model.spec} lacks {absent} of {count}", delete)
    if compared.wrong:
        yield Fault(
            f"the vector file of {model.spec} has {counted(compared.wrong, 'row')} that the catalog"
            " has otherwise",
            delete,
        )


def _after(catalog: Catalog, folder: Path, remedy: str) -> str:
    """What helps an index; a copy, which nothing is written to, is renewed afterwards."""
    if catalog.origin is None:
        return remedy
    renew = f"clipsearch copy {folder} --index {catalog.origin.folder} renews it"
    return remedy.replace(REBUILD, renew) if REBUILD in remedy else f"{remedy}; {renew}"


class _Compared(NamedTuple):
    """How a file of vectors differs from its catalog."""

    bad: int  # vectors of the catalog that are no embeddings
    absent: np.ndarray  # ids that the file lacks, (n,) int64
    wrong: int  # rows of the file that are others than the catalog's


def _compare(catalog: Catalog, model: Model, file: VectorFile) -> _Compared:
    bad = wrong = 0
    absent = [np.empty(0, np.int64)]
    vectors = catalog.vectors_after(model.id, 0)
    while batch := list(islice(vectors, _BATCH)):
        rows, good = unit_rows([blob for _, blob in batch], model.dim)
        ids = np.array([id for id, _ in batch], np.int64)[good]
        bad += len(batch) - len(rows)
        there = np.isin(ids, file.ids)
        absent.append(ids[~there])
        same = (file.rows_of(ids[there]).view(np.uint16) == rows[there].view(np.uint16)).all(axis=1)
        wrong += int((~same).sum())
    return _Compared(bad, np.concatenate(absent), wrong)
