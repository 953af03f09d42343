"""One photo: what is known of it, others like it, its thumbnail, and its file."""

from __future__ import annotations

import os
from dataclasses import asdict
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.exceptions import HTTPException

from clipsearch.photos.decoding.exposure import exposure_of
from clipsearch.photos.files.opening import open_below, read_below
from clipsearch.search.pictures import parse_part
from clipsearch.web import forms
from clipsearch.web.answers import json_answer
from clipsearch.web.asking.mistakes import all_mistakes
from clipsearch.web.asking.questions import similar_page
from clipsearch.web.backend import OfApp
from clipsearch.web.errors import RESPONSES
from clipsearch.web.sending.files import FileAnswer, is_known

Id = Annotated[int, Path(ge=1, le=2**63 - 1, description="as answers name it")]

NoQuery = Annotated[forms.NoParameters, Query()]

router = APIRouter(prefix="/api/photos/{id}", responses=RESPONSES, tags=["photos"])


@router.get("", response_model=forms.OnePhoto)
async def photo(id: Id, _: NoQuery, backend: OfApp) -> Response:
    """What is known of a photo."""
    stored = await backend.stored(id)
    there = await backend.read(lambda library: library.is_present(stored))
    facts = {"path": stored.row.path, "id": id, **asdict(stored.row.facts), "present": there}
    return json_answer(facts | {"folder": stored.place.root, "bytes": stored.place.size})


@router.get("/exposure", response_model=forms.Exposure)
async def exposure(id: Id, _: NoQuery, backend: OfApp) -> Response:
    """How a photo was exposed, as its file tells."""
    stored = await backend.stored(id)
    found = await backend.make(lambda: backend.processes.start(exposure_of, stored.place)())
    return json_answer(asdict(found))


@router.get("/description", response_model=forms.Description)
async def description(
    id: Id, asked: Annotated[forms.PartForm, Query()], backend: OfApp
) -> Response:
    """Say in a sentence what a photo shows, or a region of it, if the server was told a model."""
    if (describer := backend.describer) is None:
        raise HTTPException(
            404, "nothing is described here; start: clipsearch serve --describe blip"
        )
    part = parse_part(asked.region, None)
    stored = await backend.stored(id)
    async with backend.describing:
        text = await backend.make(
            lambda: describer.describe(read_below(stored.place), part, backend.processes)
        )
    return json_answer({"model": describer.model, "text": text})


@router.get("/similar", response_model=forms.Found)
async def similar(id: Id, asked: Annotated[forms.SimilarForm, Query()], backend: OfApp) -> Response:
    """Find photos like one of the index, or like a region of it."""
    stored = await backend.stored(id)
    async with all_mistakes(backend, asked):
        row = await backend.embed(stored, asked.region, asked.model)
        return json_answer(await similar_page(backend, asked, row, id))


@router.get(
    "/thumbnail", response_class=Response,
    responses={200: {"content": {"image/webp": {}}}, 304: {}},
)  # fmt: skip
async def thumbnail(
    request: Request, id: Id, asked: Annotated[forms.SizeForm, Query()], backend: OfApp
) -> Response:
    """A photo in WebP, upright, its longer side of at most `size` pixels."""
    size = asked.size
    stored = await backend.stored(id)
    digest = stored.row.digest
    headers = {"ETag": f'"{digest}-{size}"', "Cache-Control": "private, max-age=300"}
    if is_known(request.headers, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    content = await backend.make(partial(backend.thumbnails.get, stored.place, digest, size))
    return Response(content, headers=headers, media_type="image/webp")


@router.get(
    "/original", response_class=Response,
    responses={200: {"content": {"image/*": {}}}, 206: {}, 304: {}, 416: {}},
)  # fmt: skip
async def original(request: Request, id: Id, _: NoQuery, backend: OfApp) -> Response:
    """The photo's file as it is."""
    stored = await backend.stored(id)
    file = await backend.make(partial(open_below, stored.place))
    return FileAnswer(file, os.path.basename(stored.row.path), request.headers)
