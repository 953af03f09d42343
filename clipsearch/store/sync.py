"""Bring a model's vector file up to its catalog."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from clipsearch.encoders.spec import HUB
from clipsearch.errors import LibraryBusy
from clipsearch.store.catalog import Catalog, Model
from clipsearch.store.lock import write_lock
from clipsearch.store.vectors import VectorFile

# Rows of photos that are gone cost little in a search and much to sweep out of a large file.
SWEEP_SHARE = 0.1
_BATCH = 4096


def vector_file(folder: Path, model: Model) -> VectorFile:
    """A model's vectors in an index folder."""
    # A name that tells a person which model it is, and is unique in the index.
    name = model.spec if model.spec.startswith(HUB) else model.spec.partition(":")[0]
    stem = f"{model.id}-" + re.sub(r"[^A-Za-z0-9._-]+", "-", name)
    return VectorFile(folder / "vectors" / stem, model.dim)


def opened(folder: Path, catalog: Catalog, model: Model) -> VectorFile:
    """A model's vectors, brought up to the catalog on disk if possible, else in memory."""
    vectors = vector_file(folder, model)
    if catalog.is_read_only:
        hold_missing(catalog, model, vectors)
    elif is_behind(catalog, model, vectors):
        try:
            with write_lock(folder):
                bring_up(catalog, model, vectors)
        except (LibraryBusy, OSError):
            hold_missing(catalog, model, vectors)
    return vectors


def is_behind(catalog: Catalog, model: Model, file: VectorFile) -> bool:
    """Whether the catalog holds vectors that the file lacks.

    Ids ascend, are never used twice and are appended in order, so comparing the counts and the
    highest ids is enough.
    """
    count, highest = catalog.fingerprint(model.id)
    held, held_highest = file.fingerprint()
    return held < count or not highest <= held_highest <= catalog.last_vector_id()


def bring_up(catalog: Catalog, model: Model, file: VectorFile) -> None:
    """Append what the file lacks, and rewrite it where it is damaged or mostly out of date.

    The caller holds the index's lock.
    """
    if file.fingerprint()[1] > catalog.last_vector_id():
        # The catalog was put back from an older copy, and will give these ids out again.
        _rewrite(catalog, model, file)
        return
    for ids, rows in _missing(catalog, model, file):
        file.add(ids, rows)
    alive, held = catalog.fingerprint(model.id)[0], len(file.ids)
    if held < alive:
        _rewrite(catalog, model, file)
    elif held - alive > SWEEP_SHARE * held:
        file.keep(np.fromiter(catalog.vector_ids(model.id), np.int64))


def hold_missing(catalog: Catalog, model: Model, file: VectorFile) -> None:
    """Take what the file lacks into memory alone, for a search that may not write."""
    if file.fingerprint()[1] > catalog.last_vector_id():
        if catalog.origin:
            return  # the copy was renewed since its catalog was opened, and ids are not used twice
        file.disregard()
    batches = list(_missing(catalog, model, file))
    held = len(file.ids) + sum(len(ids) for ids, _ in batches)
    if held < catalog.fingerprint(model.id)[0]:
        # Rows are missing from the middle: a damaged file, so nothing of it is believed.
        file.disregard()
        batches = list(_missing(catalog, model, file))
    if batches:
        ids = [id for batch, _ in batches for id in batch]
        file.hold(ids, np.concatenate([rows for _, rows in batches]))


def _rewrite(catalog: Catalog, model: Model, file: VectorFile) -> None:
    file.replace(_as_arrays(catalog.vectors_after(model.id, 0), model.dim))


def _missing(
    catalog: Catalog, model: Model, file: VectorFile
) -> Iterator[tuple[list[int], np.ndarray]]:
    return _as_arrays(catalog.vectors_after(model.id, file.fingerprint()[1]), model.dim)


def _as_arrays(
    vectors: Iterable[tuple[int, bytes]], dim: int
) -> Iterator[tuple[list[int], np.ndarray]]:
    vectors = iter(vectors)
    while batch := list(islice(vectors, _BATCH)):
        blobs = b"".join(blob for _, blob in batch)
        yield [id for id, _ in batch], np.frombuffer(blobs, np.float16).reshape(-1, dim)
