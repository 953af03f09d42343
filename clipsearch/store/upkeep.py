"""What is done to the vectors of all models of an index at once."""

from __future__ import annotations

from pathlib import Path

from clipsearch.errors import InvalidInput
from clipsearch.progress import Progress
from clipsearch.store.catalog import Catalog
from clipsearch.store.database.unused import remove_files
from clipsearch.store.moving import remove, to_write
from clipsearch.store.vectors.approximate.building import Optimized, optimize, renew
from clipsearch.store.vectors.store import FileStore
from clipsearch.store.vectors.sync import bring_up, vector_file


def renew_all(folder: Path, catalog: Catalog) -> None:
    """Bring all vectors up to the catalog; the caller holds the index's lock."""
    for model in catalog.models():
        vectors = to_write(folder, catalog, model)
        if isinstance(vectors, FileStore):
            renew(vectors.file)


def optimize_all(
    folder: Path, catalog: Catalog, force: bool, progress: Progress | None
) -> tuple[Optimized, ...]:
    """Build an approximate index for each model; the caller holds the index's lock.

    Raises:
        InvalidInput: the vectors are in an engine, or `force` with too few photos.
        LibraryError: the vectors do not allow it.
    """
    if engine := catalog.engine():
        raise InvalidInput(
            f"the vectors of this index are in {engine.address}, which keeps an approximate index"
            " by itself"
        )
    done = []
    for model in catalog.models():
        vectors = vector_file(folder, model)
        bring_up(catalog, model, vectors)
        done.append(optimize(model.spec, vectors, force, progress))
    return tuple(done)


def discard(folder: Path, catalog: Catalog) -> None:
    """Close a catalog and remove it with all that belongs to it; the caller holds the lock."""
    for model in catalog.models():
        remove(folder, catalog, model)
    catalog.close()
    remove_files(folder)
