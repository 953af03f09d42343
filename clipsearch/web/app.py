"""The application: what is asked for over HTTP is asked of the library and told as JSON."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from threading import Event
from typing import Annotated, Any, TypeVar

import numpy as np
from fastapi import FastAPI, Form, Query, Request, Response, UploadFile
from fastapi import Path as InPath
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from clipsearch.cache import cache_folder
from clipsearch.errors import (
    ClipsearchError,
    InvalidInput,
    PhotoError,
)
from clipsearch.library import Library
from clipsearch.notation import as_json
from clipsearch.photos.decoding.isolated import Processes
from clipsearch.photos.decoding.thumbnail_cache import SIZES, Thumbnails
from clipsearch.photos.files.opening import open_below
from clipsearch.search.answers import Answer, Question
from clipsearch.store.catalog import StoredPhoto
from clipsearch.web import forms
from clipsearch.web.asker import Asker, Busy
from clipsearch.web.docs import docs_page
from clipsearch.web.files import FileAnswer
from clipsearch.web.guard import Guard
from clipsearch.web.libraries import Libraries
from clipsearch.web.metrics import Measured, Metrics

STATIC = Path(__file__).with_name("static")
RETRY_AFTER = "2"  # seconds

T = TypeVar("T")

Id = Annotated[int, InPath(ge=1, le=2**63 - 1, description="as answers name it")]
_JSON = "application/json"
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": forms.Error, "description": description}
    for status, description in {
        400: "something in the question makes no sense",
        401: "a token is needed",
        403: "sent by a page of another site",
        404: "there is no such photo, or its file is gone",
        408: "sent too slowly",
        413: "too large",
        422: "a value is not of its kind",
        503: "the model is being loaded, or the index is not there now",
    }.items()
}


@dataclass(frozen=True, slots=True)
class Access:
    """Who may ask."""

    host: str = "127.0.0.1"
    token: str | None = None
    origins: Sequence[str] = ()  # of other sites whose pages may ask


def create_app(
    open: Callable[[], Library], access: Access = Access(), watching: Event | None = None
) -> ASGIApp:
    """The application over the index that `open` opens; an ASGI server runs it.

    `watching` is set while the index follows its folders.

    Raises:
        ClipsearchError: what `open` raises.
    """
    server = _Server(open, watching or Event())
    api = FastAPI(
        title="clipsearch", version=version("clipsearch"), lifespan=server.lifespan,
        docs_url=None, redoc_url=None, summary="Find photos by what they show.",
    )  # fmt: skip
    _add_routes(api, server)
    _add_errors(api)
    app: ASGIApp = Guard(Measured(api, server.metrics), access.host, access.token, access.origins)
    if access.origins:
        app = CORSMiddleware(
            app, access.origins, allow_methods=["GET", "POST"], allow_headers=["Authorization"]
        )
    return app


class _Server:
    """What the routes have in common while the application runs."""

    def __init__(self, open: Callable[[], Library], watching: Event) -> None:
        self.libraries = Libraries(open)
        self.watching = watching
        self.metrics = Metrics()
        self.asker = Asker(self.libraries, self.metrics.batches)
        cores = os.cpu_count() or 1
        self.processes = Processes(cores)
        self.thumbnails = Thumbnails(cache_folder() / "thumbnails", self.processes)
        self._readers = ThreadPoolExecutor(cores + 4, "clipsearch-read")
        # Of their own, since a page asks for a hundred at once and waits for a search meanwhile.
        self._makers = ThreadPoolExecutor(2 * cores, "clipsearch-thumbnail")

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """Begin and end the threads."""
        self.asker.start()
        yield
        await asyncio.to_thread(self._stop)

    def _stop(self) -> None:
        self._readers.shutdown(cancel_futures=True, wait=False)
        self._makers.shutdown(cancel_futures=True, wait=False)
        self.processes.stop()
        self.asker.stop()
        for threads in (self._readers, self._makers):
            threads.shutdown()
        self.libraries.close()

    async def read(self, ask: Callable[[Library], T]) -> T:
        """What `ask` finds out of a library, in a thread."""

        def run() -> T:
            with self.libraries.lent() as library:
                return ask(library)

        return await asyncio.get_running_loop().run_in_executor(self._readers, run)

    async def make(self, work: Callable[[], T]) -> T:
        """What a longer work gives, in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._makers, work)

    async def stored(self, id: int) -> StoredPhoto:
        """A photo of the index."""
        photo = await self.read(lambda library: library.stored(id))
        if photo is None:
            raise HTTPException(404, f"the index holds no photo with the id {id}")
        return photo


def _add_routes(api: FastAPI, server: _Server) -> None:
    get = partial(api.get, responses=_ERRORS)

    @get("/api/search", response_model=forms.Found)
    async def search(asked: Annotated[forms.SearchForm, Query()]) -> Response:
        """Find photos by words; without any, list photos, the latest taken first."""
        if not asked.q.strip() and not asked.minus:
            return await _listed(server, asked)
        question = Question(
            asked.q, asked.minus, k=asked.offset + asked.k, filters=asked.filters(),
            relevant=asked.relevant, hybrid=asked.hybrid,
        )  # fmt: skip
        return _found(asked, await server.asker.ask(question, asked.model))

    @api.post("/api/search", response_model=forms.Found, responses=_ERRORS)
    async def search_by_pictures(
        asked: Annotated[forms.PictureForm, Form(media_type="multipart/form-data")],
    ) -> Response:
        """Find photos by pictures that are sent, by words, or by both together.

        `region`, x,y,width,height in pixels or percent, is a part of the first picture.
        """
        image, minus_image = asked.image, asked.minus_image
        if not (asked.q.strip() or asked.minus or image or minus_image):
            return await _listed(server, asked)
        regions = [asked.region, *[None] * forms.MOST_PICTURES]
        rows = [
            await _embedded(server, sent, asked.model, part)
            for sent, part in zip(image, regions, strict=False)
        ]
        minus = [await _embedded(server, minus_image, asked.model)] if minus_image else []
        question = Question(
            asked.q, asked.minus, _known(rows), _known(minus), asked.offset + asked.k,
            asked.filters(), relevant=asked.relevant, hybrid=asked.hybrid,
        )  # fmt: skip
        return _found(asked, await server.asker.ask(question, asked.model))

    @get("/api/photos/{id}", response_model=forms.OnePhoto)
    async def photo(id: Id) -> Response:
        """What is known of a photo."""
        stored = await server.stored(id)
        there = await server.read(lambda library: library.is_present(stored))
        facts = {"path": stored.row.path, "id": id, **asdict(stored.row.facts), "present": there}
        return _json(facts | {"folder": stored.place.root})

    @get("/api/photos/{id}/similar", response_model=forms.Found)
    async def similar(id: Id, asked: Annotated[forms.SimilarForm, Query()]) -> Response:
        """Find photos like one of the index, or like a region of it."""
        stored = await server.stored(id)
        row = await server.read(
            lambda library: library.embed(
                stored, region=asked.region, model=asked.model, processes=server.processes
            )
        )
        question = Question(
            pictures=[] if row is None else [row], k=asked.offset + asked.k,
            filters=asked.filters(), relevant=asked.relevant,
            leave_out=id if asked.region is None else None,
        )  # fmt: skip
        return _found(asked, await server.asker.ask(question, asked.model))

    @get(
        "/api/photos/{id}/thumbnail", response_class=Response,
        responses=_ERRORS | {200: {"content": {"image/webp": {}}}, 304: {}},
    )  # fmt: skip
    async def thumbnail(
        request: Request,
        id: Id,
        size: Annotated[int, Query(json_schema_extra=forms.size_schema())] = 320,
    ) -> Response:
        """A photo in WebP, upright, its longer side of at most `size` pixels."""
        if size not in SIZES:
            raise HTTPException(422, f"size: one of {', '.join(map(str, SIZES))}")
        stored = await server.stored(id)
        digest = stored.row.digest
        headers = {"ETag": f'"{digest}-{size}"', "Cache-Control": "private, max-age=300"}
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        content = await server.make(partial(server.thumbnails.get, stored.place, digest, size))
        return Response(content, headers=headers, media_type="image/webp")

    @get(
        "/api/photos/{id}/original", response_class=Response,
        responses=_ERRORS | {200: {"content": {"image/*": {}}}, 206: {}, 304: {}, 416: {}},
    )  # fmt: skip
    async def original(request: Request, id: Id) -> Response:
        """The photo's file as it is."""
        stored = await server.stored(id)
        file = await server.make(partial(open_below, stored.place))
        return FileAnswer(file, os.path.basename(stored.row.path), request.headers)

    @get("/api/status", response_model=forms.Status)
    async def status() -> Response:
        """What the index holds, and what the server is doing."""
        return _json(await server.read(partial(_status, server)))

    @get("/api/facets", response_model=forms.Facets)
    async def facets(asked: Annotated[forms.FilterForm, Query()]) -> Response:
        """The photos that the filters leave, by folder, camera, month and kind."""
        found = await server.read(lambda library: library.facets(asked.filters()))
        return _json(
            {
                "folders": _named("path", found.folders),
                "cameras": _named("name", found.cameras),
                "months": _named("month", found.months),
                "places": found.places,
                "types": _named("type", found.types),
            }
        )

    @get("/api/tags", response_model=forms.Tags)
    async def tags() -> Response:
        """The labels of `clipsearch label`, where it was run before."""
        counts = await server.read(lambda library: library.counted_labels())
        return _json({"labels": _named("label", [(it.label, it.photos) for it in counts])})

    @api.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return server.metrics.answer()

    @api.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(docs_page(api.openapi()))

    @api.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    api.mount("/static", StaticFiles(directory=STATIC))


async def _embedded(
    server: _Server, sent: UploadFile, model: str | None, region: str | None = None
) -> np.ndarray | None:
    # Read in the thread, so that those that wait for one are kept on disk and not in memory.
    return await server.read(
        lambda library: library.embed(
            sent.file.read(), region=region, model=model, processes=server.processes
        )
    )


def _known(rows: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    return [row for row in rows if row is not None]  # none are where there is no model yet


async def _listed(server: _Server, asked: forms.PageForm) -> Response:
    """Photos without a question, as `clipsearch ls` lists them."""

    def ask(library: Library) -> tuple[list[dict[str, Any]], int]:
        filters = asked.filters()
        photos = library.photos(filters, asked.k, asked.offset)
        facts = [photo.as_dict(rank) for rank, photo in enumerate(photos, asked.offset + 1)]
        return [{"score": None, "relevance": None} | it for it in facts], library.count(filters)

    hits, total = await server.read(ask)
    return _json({"hits": hits, "total": total, "offset": asked.offset, "k": asked.k})


def _found(asked: forms.PageForm, answer: Answer) -> Response:
    hits = answer.hits[asked.offset : asked.offset + asked.k]
    shown = [hit.as_dict(rank) for rank, hit in enumerate(hits, asked.offset + 1)]
    return _json({"hits": shown, "total": answer.total, "offset": asked.offset, "k": asked.k})


def _status(server: _Server, library: Library) -> dict[str, Any]:
    held, is_loaded = library.status(), library.is_loaded()
    if not is_loaded and server.asker.problem is None:
        server.asker.load()
    models = [model.spec for model in held.models]
    return {
        "version": version("clipsearch"),
        "photos": held.photos,
        "failures": len(held.failures),
        "model": models[0] if models else None,
        "models": models,
        "state": "ready" if is_loaded else "loading",
        "problem": server.asker.problem,
        "indexing": asdict(held.indexing) if held.indexing else None,
        "watching": server.watching.is_set(),
        "folders": [{"path": root.path, "photos": root.photos} for root in held.roots],
    }


def _named(name: str, counts: Sequence[tuple[str, int]]) -> list[dict[str, Any]]:
    return [{name: value, "photos": count} for value, count in counts]


def _json(value: Any) -> Response:
    return Response(as_json(value), media_type=_JSON)


def _error(status: int, reason: str) -> Response:
    headers = {"Retry-After": RETRY_AFTER} if status == 503 else None
    content = as_json({"error": " ".join(reason.split())})
    return Response(content, status, headers, _JSON)


def _add_errors(api: FastAPI) -> None:
    @api.exception_handler(ClipsearchError)
    async def expected(_: Request, error: Exception) -> Response:
        if isinstance(error, InvalidInput):
            return _error(400, str(error))
        return _error(404 if isinstance(error, PhotoError) else 503, str(error))

    @api.exception_handler(Busy)
    async def busy(_: Request, error: Exception) -> Response:
        return _error(503, str(error))

    @api.exception_handler(HTTPException)
    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _error(error.status_code, str(error.detail))

    @api.exception_handler(Exception)
    async def unexpected(_: Request, error: Exception) -> Response:
        return _error(500, f"unexpected {type(error).__name__}; this is a fault of clipsearch")

    @api.exception_handler(RequestValidationError)
    async def not_valid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        return _error(422, f"{first['loc'][-1]}: {first['msg']}")
