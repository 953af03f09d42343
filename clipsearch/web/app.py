"""The application: what is asked for over HTTP is asked of the library and told as JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from threading import Event

from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES
from starlette.types import ASGIApp

from clipsearch.describing import Describer
from clipsearch.library import Library
from clipsearch.web.asking.bodies import once_in_address
from clipsearch.web.backend import Backend
from clipsearch.web.below import Below
from clipsearch.web.description.openapi import Versioned, described
from clipsearch.web.errors import HANDLERS
from clipsearch.web.guard import Guard
from clipsearch.web.metrics import Measured
from clipsearch.web.routes import download, embed, health, pages, photos, search, status
from clipsearch.web.sending.ended import Ended
from clipsearch.web.sending.head import Headed
from clipsearch.web.sending.known import Tagged
from clipsearch.web.sending.packed import Packed

# What is packed already, is sent in parts, or is sent while it comes to be.
_NOT_PACKED = (*DEFAULT_EXCLUDED_CONTENT_TYPES, "image/*", "application/octet-stream")


@dataclass(frozen=True, slots=True)
class Access:
    """Who may ask."""

    host: str = "127.0.0.1"
    token: str | None = None
    origins: Sequence[str] = ()  # of other sites whose pages may ask
    root: str = ""  # the path of the site below which all is, as /photos


def create_app(
    open: Callable[[], Library],
    access: Access = Access(),
    watching: Event | None = None,
    offered: str | None = None,
    describer: Describer | None = None,
    stopping: asyncio.Event | None = None,
) -> ASGIApp:
    """The application over the index that `open` opens; an ASGI server runs it.

    `watching` is set while the index follows its folders. `offered` is a folder that its page
    offers to index while the index holds no photos. `describer` says what photos show, and parts
    of them, where that is wanted. `stopping` is set when the server begins to stop, which ends
    what would go on for as long as it runs.

    Raises:
        ClipsearchError: what `open` raises.
    """
    backend = Backend(open, watching or Event(), offered, describer, stopping)
    api = _routed(backend, access.root)
    app: ASGIApp = Guard(
        Ended(Headed(_packed(Measured(Versioned(Tagged(api)), backend.metrics)))),
        access.host,
        access.token,
        access.origins,
        access.root,
    )
    if access.origins:
        app = CORSMiddleware(
            app,
            access.origins,
            allow_methods=["GET", "HEAD", "POST"],
            allow_headers=["Authorization", "Content-Type", "If-None-Match"],
            expose_headers=["ETag", "Retry-After"],
        )
    return Below(app, access.root) if access.root else app


def _routed(backend: Backend, root: str) -> FastAPI:
    api = FastAPI(
        title="clipsearch", version=version("clipsearch"), lifespan=backend.lifespan,
        docs_url=None, redoc_url=None, summary="Find photos by what they show.",
        dependencies=[Depends(once_in_address)], servers=[{"url": root or "/"}],
        exception_handlers=HANDLERS, generate_unique_id_function=_name_of,
    )  # fmt: skip
    api.state.backend = backend
    api.openapi = partial(described, api)  # type: ignore[method-assign]
    for router in (search.in_json, photos.several):
        api.include_router(router)
    for subject in (search, embed, photos, download, status, health, pages):
        api.include_router(subject.router)
    api.mount("/static", StaticFiles(directory=pages.STATIC))
    return api


def _packed(app: ASGIApp) -> ASGIApp:
    """The application, whose JSON and texts are packed for who takes that.

    How long what is packed is can tell a secret that stands beside what another chose (BREACH). The
    token stands in no body, and no page of another site can have anything asked: see `Guard`.
    """
    return Packed(app, minimum_size=1000, compresslevel=5, exclude_content_types=_NOT_PACKED)


def _name_of(route: APIRoute) -> str:
    return route.name
