"""Whether the server is well, and how the index changes while one listens."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from clipsearch.errors import ClipsearchError
from clipsearch.library import Library
from clipsearch.web import forms, told
from clipsearch.web.answers import error_answer, json_answer
from clipsearch.web.backend import OfApp
from clipsearch.web.errors import RESPONSES
from clipsearch.web.sending.head import BODILESS

EVENTS = "text/event-stream"
_NOT_KEPT = {"Cache-Control": "no-store"}

router = APIRouter(tags=["server"])


@router.get("/healthz", response_model=told.Health, responses={403: RESPONSES[403]})
async def healthz() -> Response:
    """Whether the server answers at all; who asks needs no token, and is told nothing else."""
    return json_answer({"status": "ok"}, headers=_NOT_KEPT)


@router.get(
    "/readyz", response_model=told.Health, responses={it: RESPONSES[it] for it in (403, 503)}
)
async def readyz(backend: OfApp) -> Response:
    """Whether questions in words are answered at once; 503 where not; no token, nothing else."""
    try:
        is_ready = await backend.read(Library.is_loaded)
    except ClipsearchError:  # why, is told to who has the token
        is_ready = False
    if not is_ready:
        return error_answer(503, "not ready", _NOT_KEPT)
    return json_answer({"status": "ok"}, headers=_NOT_KEPT)


@router.get(
    "/api/events", response_class=Response,
    responses=RESPONSES | {200: {"content": {EVENTS: {"schema": {"type": "string"}}}}},
)  # fmt: skip
async def events(request: Request, _: forms.NoQuery, backend: OfApp) -> Response:
    """Tell the number of photos and how far indexing is, each time that changes.

    Each event is of the kind `index`, with `photos`, `failures` and `indexing` as in the status, or
    `problem`, with an `error`.
    """
    headers = _NOT_KEPT | {"X-Accel-Buffering": "no"}  # a proxy is not to gather them
    if request.scope.get(BODILESS):
        return Response(headers=headers, media_type=EVENTS)
    stream: Any = backend.events.listen()
    return StreamingResponse(stream, headers=headers, media_type=EVENTS)
