"""What the routes have in common: the index while the application runs, and threads to ask it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial
from threading import Event, Thread
from typing import Annotated, Any, TypeVar

import numpy as np
from fastapi import Depends, FastAPI, Request
from starlette.exceptions import HTTPException

from clipsearch.cache import cache_folder
from clipsearch.describing import Describer
from clipsearch.errors import ClipsearchError
from clipsearch.library import Library
from clipsearch.photos.decoding.isolated import Processes
from clipsearch.photos.decoding.thumbnail_cache import Thumbnails
from clipsearch.search.duplicates.groups import Group
from clipsearch.store.catalog import StoredPhoto
from clipsearch.web.ahead import Ahead
from clipsearch.web.asker import Asker
from clipsearch.web.libraries import Libraries
from clipsearch.web.metrics import Metrics
from clipsearch.web.sending.events import Events

T = TypeVar("T")


class Offer:
    """A folder of photos that this server would index, where the index holds none yet."""

    def __init__(self, open: Callable[[], Library], folder: str) -> None:
        self.folder = folder
        self.problem: str | None = None  # why it could not be indexed
        self._open = open
        self._stopping = Event()
        self._thread: Thread | None = None

    @property
    def is_taken(self) -> bool:
        """Whether the folder is being indexed."""
        return self._thread is not None and self._thread.is_alive()

    def take(self) -> None:
        """Begin to index the folder, unless that was begun."""
        if not self.is_taken:
            self.problem = None
            self._thread = Thread(target=self._index, name="clipsearch-index")
            self._thread.start()

    def stop(self) -> None:
        """End after what is in work, which is kept."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _index(self) -> None:
        try:
            with self._open() as library:
                library.index([self.folder], isolated=True, stopping=self._stopping.is_set)
        except ClipsearchError as error:
            self.problem = str(error)


class Backend:
    """An index, what searches it and what makes thumbnails of it, from the start to the end."""

    def __init__(
        self,
        open: Callable[[], Library],
        watching: Event,
        offered: str | None = None,
        describer: Describer | None = None,
        stopping: asyncio.Event | None = None,
    ) -> None:
        self.offer = Offer(open, offered) if offered else None
        self.libraries = Libraries(open)
        self.watching = watching
        self.metrics = Metrics()
        self.events = Events(partial(self.read, _changing), stopping or asyncio.Event())
        self._comparing = asyncio.Lock()  # duplicates are looked for once, for all that wait
        self._groups: tuple[Hashable, list[Group]] = (None, [])
        self.labelling = asyncio.Lock()  # it takes all cores, and is done once
        self.describer = describer
        self.describing = asyncio.Lock()  # one at a time takes all cores
        self.asker = Asker(self.libraries, self.metrics.batches)
        cores = os.cpu_count() or 1
        self.processes = Processes(cores)
        # Pictures that are asked with wait for each other and for nothing else, nor does it.
        self._eyes = Processes(max(1, cores // 2))
        self._lookers = ThreadPoolExecutor(max(1, cores // 2), "clipsearch-look")
        self.ahead = Ahead(self.libraries, self._eyes)
        self.thumbnails = Thumbnails(cache_folder() / "thumbnails", self.processes)
        self._readers = ThreadPoolExecutor(cores + 4, "clipsearch-read")
        # Of their own, since a page asks for a hundred at once and waits for a search meanwhile.
        self._makers = ThreadPoolExecutor(2 * cores, "clipsearch-thumbnail")

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """Begin and end the threads."""
        self.asker.start()
        self.ahead.start()
        yield
        await asyncio.to_thread(self._stop)

    def _stop(self) -> None:
        if self.offer:
            self.offer.stop()
        pools = self._readers, self._makers, self._lookers
        for threads in pools:
            threads.shutdown(cancel_futures=True, wait=False)
        for processes in (self.processes, self._eyes):
            processes.stop()
        self.asker.stop()
        self.ahead.stop()
        for threads in pools:
            threads.shutdown()
        self.libraries.close()

    async def read(self, ask: Callable[[Library], T]) -> T:
        """What `ask` finds out of a library, in a thread."""
        return await self._in(self._readers, ask)

    async def embed(
        self, picture: Callable[[], bytes] | StoredPhoto, region: str | None, model: str | None
    ) -> np.ndarray | None:
        """The embedding of a picture that is asked with, as `Library.embed` gives it.

        Its content is read in the thread: those that wait for one are kept on disk, not in memory.
        """

        def look(library: Library) -> np.ndarray | None:
            content = picture() if callable(picture) else picture
            return library.embed(content, region=region, model=model, processes=self._eyes)

        return await self._in(self._lookers, look)

    async def _in(self, threads: ThreadPoolExecutor, ask: Callable[[Library], T]) -> T:
        def run() -> T:
            with self.libraries.lent() as library:
                return ask(library)

        return await asyncio.get_running_loop().run_in_executor(threads, run)

    async def make(self, work: Callable[[], T]) -> T:
        """What a longer work gives, in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._makers, work)

    async def duplicates(self) -> list[Group]:
        """The groups of duplicates, looked for anew when the index has changed."""
        async with self._comparing:
            version = await self.read(lambda library: library.version())
            if self._groups[0] != version:
                found = await self.read(lambda library: library.duplicates(isolated=True))
                self._groups = version, found
            return self._groups[1]

    async def stored(self, id: int) -> StoredPhoto:
        """A photo of the index."""
        photo = await self.read(lambda library: library.stored(id))
        if photo is None:
            raise HTTPException(404, f"the index holds no photo with the id {id}")
        return photo


def _changing(library: Library) -> dict[str, Any]:
    held = library.status()
    indexing = asdict(held.indexing) if held.indexing else None
    return {"photos": held.photos, "failures": len(held.failures), "indexing": indexing}


async def _backend(request: Request) -> Backend:
    backend: Backend = request.app.state.backend
    return backend


# What a route says that it takes; it gets that of its application.
OfApp = Annotated[Backend, Depends(_backend)]
