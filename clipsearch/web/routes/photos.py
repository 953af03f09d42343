"""One photo: what is known of it, others like it, its thumbnail, and its file."""

from __future__ import annotations

import os
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.exceptions import HTTPException

from clipsearch.library import Library
from clipsearch.photos.decoding.exposure import exposure_of
from clipsearch.photos.files.opening import open_below, read_below
from clipsearch.search.pictures import parse_part
from clipsearch.store.catalog import StoredPhoto
from clipsearch.web import forms, told
from clipsearch.web.answers import error_answer, json_answer
from clipsearch.web.asking.mistakes import all_mistakes
from clipsearch.web.asking.questions import similar_page
from clipsearch.web.backend import OfApp
from clipsearch.web.errors import BYTES, RESPONSES
from clipsearch.web.sending.files import FileAnswer, is_known

Id = Annotated[int, Path(ge=1, le=2**63 - 1, description="as answers name it")]

several = APIRouter(prefix="/api/photos", responses=RESPONSES, tags=["photos"])
router = APIRouter(prefix="/api/photos/{id}", responses=RESPONSES, tags=["photos"])


@router.get("", response_model=told.OnePhoto)
async def photo(id: Id, _: forms.NoQuery, backend: OfApp) -> Response:
    """What is known of a photo."""
    stored = await backend.stored(id)
    return json_answer(await backend.read(lambda library: _known(library, stored)))


@several.get("", response_model=told.Photos)
async def photos(asked: Annotated[forms.PhotosForm, Query()], backend: OfApp) -> Response:
    """What is known of several photos."""
    ids = list(dict.fromkeys(asked.id))

    def ask(library: Library) -> list[dict[str, Any]]:
        return [_known(library, it) for id in ids if (it := library.stored(id)) is not None]

    found = await backend.read(ask)
    missing = set(ids) - {it["id"] for it in found}
    return json_answer({"photos": found, "missing": [id for id in ids if id in missing]})


def _known(library: Library, photo: StoredPhoto) -> dict[str, Any]:
    row, place = photo.row, photo.place
    there = library.is_present(photo)
    facts = {"path": row.path, "id": row.id, **asdict(row.facts), "present": there}
    facts |= {"place": row.locality and row.locality.as_dict()}
    return facts | {"folder": place.root, "bytes": place.size}


@router.get("/captions", response_model=told.Captions)
async def captions(id: Id, _: forms.NoQuery, backend: OfApp) -> Response:
    """What models wrote about a photo, as `clipsearch caption` had them do."""
    stored = await backend.stored(id)
    written = await backend.read(lambda library: library.captions_of(stored))
    by_model = [{"model": model, "text": text} for model, text in written.items()]
    return json_answer({"captions": by_model})


@router.get("/lines", response_model=told.Lines)
async def lines(id: Id, _: forms.NoQuery, backend: OfApp) -> Response:
    """The text in a photo's picture, as `clipsearch read` read it."""
    stored = await backend.stored(id)
    read = await backend.read(lambda library: library.lines_of(stored))
    found = [line.as_dict() | {"model": model} for model, some in read.items() for line in some]
    return json_answer({"lines": found})


@router.get("/labels", response_model=told.PhotoLabels)
async def labels(id: Id, asked: Annotated[forms.LabelForm, Query()], backend: OfApp) -> Response:
    """The labels that fit a photo best; the first time that takes a minute or two."""
    stored = await backend.stored(id)
    async with backend.labelling:
        found = await backend.read(
            lambda library: library.labels_of(stored, asked.k, processes=backend.processes)
        )
    return json_answer({"labels": [it.as_dict(rank) for rank, it in enumerate(found, 1)]})


@router.get("/duplicates", response_model=told.Duplicates)
async def duplicates(id: Id, _: forms.NoQuery, backend: OfApp) -> Response:
    """The groups of duplicates that a photo is in, as `clipsearch dupes` finds them."""
    await backend.stored(id)
    groups = await backend.duplicates()
    own = [it.as_dict() for it in groups if id in {photo.id for photo in it.photos}]
    return json_answer({"groups": own})


@router.get("/exposure", response_model=told.Exposure)
async def exposure(id: Id, _: forms.NoQuery, backend: OfApp) -> Response:
    """How a photo was exposed, as its file tells."""
    stored = await backend.stored(id)
    found = await backend.make(lambda: backend.processes.start(exposure_of, stored.place)())
    return json_answer(asdict(found))


@router.get("/description", response_model=told.Description)
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


@router.get("/similar", response_model=told.Found)
async def similar(id: Id, asked: Annotated[forms.SimilarForm, Query()], backend: OfApp) -> Response:
    """Find photos like one of the index, or like a region of it."""
    stored = await backend.stored(id)
    async with all_mistakes(backend, asked):
        row = await backend.embed(stored, asked.region, asked.model)
        return json_answer(await similar_page(backend, asked, row, id))


@router.get(
    "/thumbnail", response_class=Response,
    responses={200: {"content": {"image/webp": BYTES}}, 304: {}},
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
    responses={
        200: {"content": {"image/*": BYTES}}, 206: {"content": {"image/*": BYTES}},
        304: {},
        416: RESPONSES[404] | {"description": "the file has no such part"},
    },
)  # fmt: skip
async def original(request: Request, id: Id, _: forms.NoQuery, backend: OfApp) -> Response:
    """The photo's file as it is."""
    stored = await backend.stored(id)
    file = await backend.make(partial(open_below, stored.place))
    answer = FileAnswer(file, os.path.basename(stored.row.path), request.headers)
    if answer.status_code == 416:
        file.content.close()
        span = {"Content-Range": answer.headers["content-range"], "Accept-Ranges": "bytes"}
        return error_answer(416, "the file has no such part", span)
    return answer
