"""The application: what is asked for over HTTP, asked of the library, and told as JSON."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Response
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

from clipsearch import __version__
from clipsearch.library import Library
from clipsearch.photos.decode import decode, read_file
from clipsearch.search.filters import Filters

STATIC = Path(__file__).with_name("static")


def create_app(folder: Path) -> FastAPI:
    app = FastAPI(title="clipsearch", version=__version__, docs_url=None, redoc_url=None)

    def chosen(library: Library, id: int) -> Any:
        return next((photo for photo in library.photos() if photo.id == id), None)

    @app.get("/api/search")
    def search(
        q: str = "",
        k: Annotated[int, Query(ge=1, le=500)] = 50,
        offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
        folder_: Annotated[list[str], Query(alias="folder")] = [],  # noqa: B006
        since: str | None = None,
        until: str | None = None,
        camera: str | None = None,
    ) -> Response:
        filters = Filters(folder=folder_, since=since, until=until, camera=camera)
        with Library.open(folder, create=False) as library:
            photos = library.photos(filters)
            if q.strip():
                hits = [
                    hit.as_dict(rank)
                    for rank, hit in enumerate(library.query(q, k + offset, filters=filters), 1)
                ]
            else:
                hits = [
                    {"score": None, "relevance": None} | photo.as_dict(rank)
                    for rank, photo in enumerate(photos, 1)
                ]
        hits = hits[offset : offset + k]
        return _json({"hits": hits, "total": len(photos), "offset": offset, "k": k})

    @app.get("/api/photos/{id}")
    def photo(id: int) -> Response:
        with Library.open(folder, create=False) as library:
            found = chosen(library, id)
        if found is None:
            return _json({"error": "no such photo"}, 404)
        facts = found.as_dict(0)
        del facts["rank"]
        return _json(facts | {"folder": str(found.path.parent)})

    @app.get("/api/photos/{id}/similar")
    def similar(id: int, k: int = 50, offset: int = 0, region: str | None = None) -> Response:
        with Library.open(folder, create=False) as library:
            found = chosen(library, id)
            if found is None:
                return _json({"error": "no such photo"}, 404)
            hits = [
                hit.as_dict(r)
                for r, hit in enumerate(library.similar(found.path, k + offset, region=region), 1)
            ]
            total = library.status().photos
        return _json({"hits": hits[offset:], "total": total, "offset": offset, "k": k})

    @app.get("/api/photos/{id}/thumbnail")
    def thumbnail(id: int, size: int = 320) -> Response:
        with Library.open(folder, create=False) as library:
            found = chosen(library, id)
        if found is None:
            return _json({"error": "no such photo"}, 404)
        image = decode(read_file(found.path), min_side=size).image
        image.thumbnail((size, size))
        stream = BytesIO()
        image.save(stream, "WEBP", quality=80)
        return Response(stream.getvalue(), media_type="image/webp")

    @app.get("/api/photos/{id}/original")
    def original(id: int) -> Response:
        with Library.open(folder, create=False) as library:
            found = chosen(library, id)
        if found is None:
            return _json({"error": "no such photo"}, 404)
        return FileResponse(found.path, content_disposition_type="inline")

    @app.get("/api/status")
    def status() -> Response:
        with Library.open(folder, create=False) as library:
            held = library.status()
        models = [model.spec for model in held.models]
        return _json(
            {
                "version": __version__,
                "photos": held.photos,
                "failures": len(held.failures),
                "model": models[0] if models else None,
                "models": models,
                "state": "ready",
                "indexing": None,
                "watching": False,
                "folders": [{"path": root.path, "photos": root.photos} for root in held.roots],
            }
        )

    @app.get("/api/facets")
    def facets() -> Response:
        with Library.open(folder, create=False) as library:
            photos, held = library.photos(), library.status()
        cameras: dict[str, int] = {}
        months: dict[str, int] = {}
        for it in photos:
            if it.facts.camera:
                cameras[it.facts.camera] = cameras.get(it.facts.camera, 0) + 1
            if it.facts.taken_at:
                month = it.facts.taken_at[:7]
                months[month] = months.get(month, 0) + 1
        return _json(
            {
                "folders": [{"path": root.path, "photos": root.photos} for root in held.roots],
                "cameras": [{"name": name, "photos": count} for name, count in cameras.items()],
                "months": [
                    {"month": name, "photos": count} for name, count in sorted(months.items())
                ],
                "places": sum(it.facts.latitude is not None for it in photos),
                "types": [{"type": "jpeg", "photos": len(photos)}],
            }
        )

    @app.get("/api/tags")
    def tags() -> Response:
        return _json({"labels": []})

    app.mount("/static", StaticFiles(directory=STATIC))

    @app.get("/", include_in_schema=False)
    def page() -> Response:
        return FileResponse(STATIC / "index.html")

    @app.middleware("http")
    async def headers(request: Any, call_next: Any) -> Any:
        answer = await call_next(request)
        answer.headers["Content-Security-Policy"] = (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:;"
            " connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
        )
        return answer

    return app


def _json(value: Any, status: int = 200) -> Response:
    return Response(json.dumps(value), status, media_type="application/json")
