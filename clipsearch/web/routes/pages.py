"""What is no part of the API: the page, the API's description, and the server's metrics."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, HTMLResponse

from clipsearch.web.backend import OfApp
from clipsearch.web.description.page import docs_page

STATIC = Path(__file__).parents[1] / "static"

router = APIRouter(include_in_schema=False)


@router.get("/metrics")
async def metrics(backend: OfApp) -> Response:
    """How the server does, for Prometheus."""
    return backend.metrics.answer()


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """All routes, for a person to read."""
    return HTMLResponse(docs_page(request.app.openapi()))


@router.get("/")
async def page() -> FileResponse:
    """The page, which asks all else of the API."""
    return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})
