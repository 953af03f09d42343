"""Searching: by words, by pictures that are sent, by embeddings; many questions at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Body, Depends, Form, Query, Response

from clipsearch.errors import InvalidInput
from clipsearch.web import forms, told
from clipsearch.web.answers import json_answer
from clipsearch.web.asking.bodies import FORMS, JSON, JsonRoute, Route, taking
from clipsearch.web.asking.embeddings import check_model, read_embeddings
from clipsearch.web.asking.mistakes import all_mistakes, pointed
from clipsearch.web.asking.questions import Page, Rows, page_of
from clipsearch.web.asking.sent import SentPicture, embed_sent
from clipsearch.web.backend import Backend, OfApp
from clipsearch.web.errors import RESPONSES, answer_to

router = APIRouter(responses=RESPONSES, tags=["search"], route_class=Route)
in_json = APIRouter(responses=RESPONSES, tags=["search"], route_class=JsonRoute)


@router.get("/api/search", response_model=told.Found)
async def search(asked: Annotated[forms.SearchForm, Query()], backend: OfApp) -> Response:
    """Find photos by words or by photos of the index; without any, list photos."""
    return json_answer(await page_of(backend, asked))


@in_json.post("/api/search", response_model=told.Found)
async def search_by_json(
    asked: Annotated[forms.JsonQuestion, Body()], _: forms.NoQuery, backend: OfApp
) -> Response:
    """Find photos by a question in JSON, also by embeddings.

    A form is taken here too, as by `search/pictures`.
    """
    return json_answer(await _by_json(backend, asked, "#"))


@router.post("/api/search", include_in_schema=False, dependencies=[Depends(taking(JSON, *FORMS))])
@router.post(
    "/api/search/pictures", response_model=told.Found, dependencies=[Depends(taking(*FORMS))]
)
async def search_by_pictures(
    asked: Annotated[forms.PictureForm, Form(media_type="multipart/form-data")],
    _: forms.NoQuery,
    backend: OfApp,
) -> Response:
    """Find photos by pictures that are sent, by words, or by both together.

    `region`, x,y,width,height in pixels or percent, is a part of the first picture.
    """
    image, minus_image = asked.image, asked.minus_image
    _check_asked(asked, bool(image or minus_image))
    async with all_mistakes(backend, asked):
        # Before the pictures, or the first of them would be blamed.
        await backend.read(lambda library: check_model(library, asked.model))
        sent = [
            SentPicture("image", number, file, asked.region if number == 0 else None)
            for number, file in enumerate(image)
        ]
        if minus_image:
            sent.append(SentPicture("minus_image", 0, minus_image))
        rows = await embed_sent(backend, sent, asked.model)
    plus, minus = rows[: len(image)], rows[len(image) :]
    asked_with = Rows(_known(plus), _known(minus), bool(rows))
    return json_answer(await page_of(backend, asked, asked_with))


@router.post("/api/search/batch", response_model=told.Answers, dependencies=[Depends(taking(JSON))])
async def search_batch(
    asked: Annotated[forms.Batch, Body()], _: forms.NoQuery, backend: OfApp
) -> Response:
    """Answer several questions at once; what is wrong with one stands in its place."""
    answers = await asyncio.gather(
        *(
            _answer_or_problem(backend, it, f"#/questions/{number}")
            for number, it in enumerate(asked.questions)
        )
    )
    return json_answer({"answers": answers})


async def _answer_or_problem(backend: Backend, asked: forms.JsonQuestion, at: str) -> Any:
    try:
        return await _by_json(backend, asked, at)
    except Exception as error:
        answer = answer_to(error)
        if answer is None:
            raise
        return json.loads(bytes(answer.body))


async def _by_json(backend: Backend, asked: forms.JsonQuestion, at: str) -> Page:
    form, embeddings = asked.as_form(), asked.embedding + asked.minus_embedding
    try:
        _check_asked(form, bool(embeddings))
        rows = await read_embeddings(backend, embeddings, asked.model)
        count = len(asked.embedding)
        return await page_of(backend, form, Rows(rows[:count], rows[count:], bool(embeddings)))
    except InvalidInput as error:
        raise pointed(error, at) from error


def _check_asked(asked: forms.SearchForm, has_more: bool) -> None:
    """Refuse what asks nothing at all, which is where something is sent a slip."""
    has_words = asked.q.strip() or asked.minus or asked.like or asked.minus_like
    if not (has_words or has_more) and asked.filters() is None and asked.sort is None:
        raise InvalidInput("nothing was asked; send words as q, pictures as image, or both")


def _known(rows: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    return [row for row in rows if row is not None]  # none are where there is no model yet
