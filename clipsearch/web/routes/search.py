"""Searching: by words, by pictures that are sent, and listing where nothing is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Form, Query, Response, UploadFile

from clipsearch.errors import InvalidInput
from clipsearch.library import Library
from clipsearch.search.answers import Question
from clipsearch.web import forms
from clipsearch.web.answers import hits_answer, page_answer
from clipsearch.web.backend import Backend, OfApp
from clipsearch.web.errors import RESPONSES, UnusablePicture

router = APIRouter(responses=RESPONSES)


@router.get("/api/search", response_model=forms.Found)
async def search(asked: Annotated[forms.SearchForm, Query()], backend: OfApp) -> Response:
    """Find photos by words; without any, list photos, the latest taken first."""
    if not asked.q.strip() and not asked.minus:
        return await _listed(backend, asked)
    question = Question(
        asked.q, asked.minus, k=asked.offset + asked.k, filters=asked.filters(),
        relevant=asked.relevant, hybrid=asked.hybrid,
    )  # fmt: skip
    return await hits_answer(asked, question, backend)


@router.post("/api/search", response_model=forms.Found)
async def search_by_pictures(
    asked: Annotated[forms.PictureForm, Form(media_type="multipart/form-data")], backend: OfApp
) -> Response:
    """Find photos by pictures that are sent, by words, or by both together.

    `region`, x,y,width,height in pixels or percent, is a part of the first picture.
    """
    image, minus_image = asked.image, asked.minus_image
    if not (asked.q.strip() or asked.minus or image or minus_image):
        if asked.filters() is None:
            raise InvalidInput("nothing was asked; send words as q, pictures as image, or both")
        return await _listed(backend, asked)
    regions = [asked.region, *[None] * forms.MOST_PICTURES]
    rows = [
        await _of_question(backend, sent, number, asked.model, part)
        for number, (sent, part) in enumerate(zip(image, regions, strict=False))
    ]
    minus = [await _embedded(backend, minus_image, asked.model)] if minus_image else []
    question = Question(
        asked.q, asked.minus, _known(rows), _known(minus), asked.offset + asked.k,
        asked.filters(), relevant=asked.relevant, hybrid=asked.hybrid,
    )  # fmt: skip
    return await hits_answer(asked, question, backend)


async def _of_question(
    backend: Backend, sent: UploadFile, number: int, model: str | None, region: str | None
) -> np.ndarray | None:
    try:
        return await _embedded(backend, sent, model, region)
    except InvalidInput as error:
        raise UnusablePicture(str(error), number) from error


async def _embedded(
    backend: Backend, sent: UploadFile, model: str | None, region: str | None = None
) -> np.ndarray | None:
    try:
        return await backend.embed(sent.file.read, region, model)
    except InvalidInput as error:  # several may have been sent
        raise InvalidInput(
            f"{sent.filename!r}: {error}" if sent.filename else str(error)
        ) from error


def _known(rows: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    return [row for row in rows if row is not None]  # none are where there is no model yet


async def _listed(backend: Backend, asked: forms.PageForm) -> Response:
    """Photos without a question, as `clipsearch ls` lists them."""

    def ask(library: Library) -> tuple[list[dict[str, Any]], int]:
        filters = asked.filters()
        photos = library.photos(filters, asked.k, asked.offset)
        facts = [photo.as_dict(rank) for rank, photo in enumerate(photos, asked.offset + 1)]
        return [
            {"score": None, "relevance": None} | it | {"written": 0.0} for it in facts
        ], library.count(filters)

    return page_answer(asked, *await backend.read(ask))
