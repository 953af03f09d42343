"""The index as a whole: what it holds, counted in several ways, and what the server is doing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from starlette.exceptions import HTTPException

from clipsearch.library import Library
from clipsearch.search.labels.fitting import LabelCount
from clipsearch.web import forms, told
from clipsearch.web.answers import json_answer
from clipsearch.web.asking.mistakes import all_mistakes
from clipsearch.web.backend import Backend, OfApp, Offer
from clipsearch.web.errors import RESPONSES

MOST_TAGS = 100
MOST_DOTS = 5000

router = APIRouter(responses=RESPONSES, tags=["index"])


@router.get("/api/status", response_model=told.Status)
async def status(_: forms.NoQuery, backend: OfApp) -> Response:
    """What the index holds, and what the server is doing."""
    return json_answer(await backend.read(partial(_status, backend)))


@router.get("/api/facets", response_model=told.Facets)
async def facets(asked: Annotated[forms.FilterForm, Query()], backend: OfApp) -> Response:
    """The photos that the filters leave, by folder, camera, month and kind."""
    async with all_mistakes(backend, asked):
        found = await backend.read(lambda library: library.facets(asked.filters()))
    return json_answer(
        {
            "folders": _named("path", found.folders),
            "cameras": _named("name", found.cameras),
            "months": _named("month", found.months),
            "places": found.places,
            "people": _named("name", found.people),
            "types": _named("type", found.types),
            "towns": _named("name", found.towns),
            "countries": _named("name", found.countries),
        }
    )


@router.get("/api/map", response_model=told.Map)
async def dots(asked: Annotated[forms.MapForm, Query()], backend: OfApp) -> Response:
    """Where the photos that the filters leave were taken: the dots of a map."""
    async with all_mistakes(backend, asked):
        found = await backend.read(lambda library: library.dots(asked.grid, asked.filters()))
    return json_answer({"grid": asked.grid, "dots": [asdict(it) for it in found[:MOST_DOTS]]})


@router.get("/api/tags", response_model=told.Tags)
async def tags(_: forms.NoQuery, backend: OfApp) -> Response:
    """The labels of `clipsearch label`, where it was run before."""
    return _tagged(await backend.read(lambda library: library.counted_labels()))


@router.post("/api/tags", response_model=told.Tags)
async def make_tags(_: forms.NoQuery, backend: OfApp) -> Response:
    """The same; where it was not run before, that is done first, in a minute or two."""
    async with backend.labelling:
        return _tagged(await backend.read(lambda library: library.count_labels(k=MOST_TAGS)))


def _tagged(counts: Sequence[LabelCount]) -> Response:
    return json_answer({"labels": _named("label", [(it.label, it.photos) for it in counts])})


@router.post("/api/index", response_model=told.Status)
async def index_offered(_: forms.NoQuery, backend: OfApp) -> Response:
    """Begin to index the folder that the status offers; it then tells how far that is."""
    offer = await backend.read(partial(_offer, backend))
    if offer is None:
        raise HTTPException(404, "no folder is offered; add photos with clipsearch index FOLDER")
    offer.take()
    return json_answer(await backend.read(partial(_status, backend)))


def _offer(backend: Backend, library: Library) -> Offer | None:
    """The folder that is offered, as long as the index holds nothing."""
    return None if backend.offer is None or library.count() else backend.offer


def _status(backend: Backend, library: Library) -> dict[str, Any]:
    held, is_loaded = library.status(), library.is_loaded()
    if not is_loaded and backend.asker.problem is None:
        backend.asker.load()
    sees = library.is_loaded(pictures=True) or backend.ahead.has_failed
    if not sees:
        backend.ahead.load()
    models = [model.spec for model in held.models]
    return {
        "version": version("clipsearch"),
        "photos": held.photos,
        "failures": len(held.failures),
        "model": models[0] if models else None,
        "models": models,
        "state": "ready" if is_loaded else "loading",
        "pictures": "ready" if sees else "loading",
        "problem": backend.asker.problem,
        "indexing": asdict(held.indexing) if held.indexing else None,
        "watching": backend.watching.is_set(),
        "offer": _offered(_offer(backend, library)),
        "describes": backend.describer.model if backend.describer else None,
        "folders": [{"path": root.path, "photos": root.photos} for root in held.roots],
    }


def _offered(offer: Offer | None) -> dict[str, Any] | None:
    if offer is None:
        return None
    return {"folder": offer.folder, "taken": offer.is_taken, "problem": offer.problem}


def _named(name: str, counts: Sequence[tuple[str, int]]) -> list[dict[str, Any]]:
    return [{name: value, "photos": count} for value, count in counts]
