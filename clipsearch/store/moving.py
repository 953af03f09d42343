"""Where an index's vectors are: opened there, and moved from one store to another."""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clipsearch.errors import InvalidInput, LibraryBusy, LibraryError, did_you_mean
from clipsearch.store.catalog import Catalog, Engine, Model
from clipsearch.store.lock import write_lock
from clipsearch.store.vectors import sync
from clipsearch.store.vectors.store import Away, FileStore, VectorStore
from clipsearch.store.vectors.sync import vector_file

if TYPE_CHECKING:
    from clipsearch.progress import Progress

log = logging.getLogger("clipsearch")

FILES = "faiss"  # the index folder's own files

COMPARED = 10_000  # photos, evenly spread, whose vectors and facts are compared after a move


@dataclass(frozen=True, slots=True)
class Moved:
    """What a move did."""

    store: str  # "faiss" or "milvus:http://..."
    photos: int  # held there, each once a model
    compared: int  # vectors that were read back and found the same
    left: str | None  # what could not be cleared away where they were


def to_search(folder: Path, catalog: Catalog, model: Model) -> VectorStore:
    """A model's vectors where they are, brought up to the catalog there or in memory."""
    engine = catalog.engine()
    if engine is None:
        return FileStore(catalog, model, sync.file_to_search(folder, catalog, model))
    from clipsearch.store.milvus.store import MilvusStore

    store = MilvusStore(engine, catalog, model)
    if store.lag():
        try:
            if catalog.is_read_only:  # who writes to the index tells the engine
                store.hold_missing()
            else:
                with write_lock(folder):
                    store.bring_up()
        except (LibraryBusy, OSError):
            store.hold_missing()
    return store


def to_write(folder: Path, catalog: Catalog, model: Model) -> VectorStore | Away:
    """A model's vectors where they are, brought up there; the caller holds the index's lock.

    An engine that cannot be used keeps nobody from writing to the index: it is told later.
    """
    engine = catalog.engine()
    if engine is None:
        files = FileStore(catalog, model, vector_file(folder, model))
        files.bring_up()
        return files
    from clipsearch.store.milvus.store import MilvusStore

    try:
        store = MilvusStore(engine, catalog, model)
        store.bring_up()
    except LibraryError as error:
        log.warning("%s.\nThe index is written all the same", error)
        return Away(model.dim)
    return store


def remove(folder: Path, catalog: Catalog, model: Model) -> None:
    """Remove a model's vectors from where they are."""
    vector_file(folder, model).delete()
    if engine := catalog.engine():
        from clipsearch.store.milvus.store import MilvusStore

        MilvusStore(engine, catalog, model).drop()


def choose(catalog: Catalog, store: str) -> None:
    """Say where the vectors of a new index go; the caller holds the index's lock.

    Raises:
        InvalidInput: it is no store, or the vectors are somewhere else by now.
        LibraryError: no engine answers there.
    """
    address = _read(store)
    held = catalog.engine()
    if address == (held.address if held else None):
        return
    if catalog.models():
        raise InvalidInput(
            f"the vectors of this index are in {held.address if held else 'its own files'}; move"
            f" them: clipsearch store move {store}"
        )
    if address is not None:
        _check(address)
        catalog.add_engine(Engine(address, secrets.token_hex(4), True))
    catalog.keep_engine(address)


def move(folder: Path, catalog: Catalog, store: str, progress: Progress | None = None) -> Moved:
    """Bring all vectors to another store and search there; the caller holds the index's lock.

    The old one is searched until the new one holds all, and only then removed. A move that was
    stopped goes on where it was; a move to where the vectors are looks whether they are right.

    Raises:
        InvalidInput: it is no store.
        LibraryError: no engine answers there, or it does not hold what it was given.
    """
    address = _read(store)
    models = catalog.models()
    if address is None:
        moved = _fill_files(folder, catalog, models)
    else:
        moved = _fill(_engine_at(catalog, address), catalog, models, progress)
    others = [engine for engine in catalog.engines() if engine.address != address]
    catalog.keep_engine(address)
    if address is not None:
        for model in models:
            vector_file(folder, model).delete()
    # Also what a move that was stopped has left.
    left = [line for engine in others if (line := _clear(engine, catalog, models))]
    return Moved(store if address is None else address, *moved, "\n".join(left) or None)


def _read(store: str) -> str | None:
    if store == FILES:
        return None
    from clipsearch.store.milvus.address import SCHEME, read_address

    if not store.startswith(SCHEME):
        hint = did_you_mean(store.partition(":")[0], (FILES, SCHEME.rstrip(":")))
        raise InvalidInput(
            f"{store!r} is no store; it can be faiss or milvus:http://HOST:19530{hint}"
        )
    return read_address(store)


def _check(address: str) -> None:
    from clipsearch.store.milvus.client import check_engine

    check_engine(address)


def _engine_at(catalog: Catalog, address: str) -> Engine:
    """The engine that vectors go to, remembered so that a move that is stopped goes on."""
    for engine in catalog.engines():
        if engine.address == address:
            return engine
    _check(address)
    engine = Engine(address, secrets.token_hex(4), False)
    catalog.add_engine(engine)
    return engine


def _fill(
    engine: Engine, catalog: Catalog, models: list[Model], progress: Progress | None
) -> tuple[int, int]:
    from clipsearch.store.milvus.store import MilvusStore

    photos = compared = 0
    for model in models:
        store = MilvusStore(engine, catalog, model)
        store.bring_up(progress)
        if store.differences(COMPARED):  # as after an older catalog was put back
            store.make_anew()
            store.bring_up(progress)
        count, _ = store.fingerprint()
        wrong = store.differences(COMPARED)
        if wrong or count != catalog.count_embedded_photos(model.id):
            raise LibraryError(
                f"the engine at {engine.address} does not hold what it was given ({wrong} of"
                f" {min(count, COMPARED)} photos differ); nothing was removed. Drop the collection"
                f" {store.collection.name} there, and move again"
            )
        photos += count
        compared += min(count, COMPARED)
    return photos, compared


def _fill_files(folder: Path, catalog: Catalog, models: list[Model]) -> tuple[int, int]:
    count = 0
    for model in models:
        file = vector_file(folder, model)
        sync.bring_up(catalog, model, file)
        if sync.is_behind(catalog, model, file):
            raise LibraryError(f"{file.rows_path} does not hold what it was given; move again")
        count += len(file.ids)
    return count, 0


def _clear(engine: Engine, catalog: Catalog, models: list[Model]) -> str | None:
    from clipsearch.store.milvus.store import MilvusStore

    try:
        for model in models:
            MilvusStore(engine, catalog, model).drop()
    except LibraryError as error:
        return f"what was at {engine.address} could not be removed: {error}"
    return None
