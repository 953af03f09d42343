"""Whether an index is as it should be: its catalog whole, and its vector files as the catalog."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from clipsearch.store.catalog import Catalog, Model
from clipsearch.store.sync import vector_file

_BATCH = 4096
_LENGTHS = (0.98, 1.02)  # of a unit row in float16
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
    if count and not len(file.ids):
        yield Fault(f"the vector file of {model.spec} is missing or damaged", REBUILD)
        return
    if len(file.ids) and file.fingerprint()[1] > catalog.last_vector_id():
        yield Fault(f"the vector file of {model.spec} is of another, later catalog", REBUILD)
        return
    absent = wrong = bad = 0
    vectors = catalog.vectors_after(model.id, 0)
    while batch := list(islice(vectors, _BATCH)):
        whole = [(id, blob) for id, blob in batch if len(blob) == 2 * model.dim]
        ids = np.array([id for id, _ in whole], np.int64)
        rows = np.frombuffer(b"".join(blob for _, blob in whole), np.float16)
        rows = rows.reshape(-1, model.dim)
        bad += len(batch) - int(_are_units(rows).sum())
        there = np.isin(ids, file.ids)
        absent += int((~there).sum())
        same = (file.rows_of(ids[there]).view(np.uint16) == rows[there].view(np.uint16)).all(axis=1)
        wrong += int((~same).sum())
    if bad:
        yield Fault(f"{bad} embeddings of {model.spec} in the catalog are damaged", restore)
    if absent:
        yield Fault(f"the vector file of {model.spec} lacks {absent} of {count}", REBUILD)
    if wrong:
        yield Fault(
            f"the vector file of {model.spec} has {wrong} rows that are not the catalog's",
            f"delete {file.rows_path}; {REBUILD}",
        )


def _are_units(rows: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(rows.astype(np.float32), axis=1)
    low, high = _LENGTHS
    units: np.ndarray = (lengths > low) & (lengths < high)  # neither is true of NaN
    return units
