"""Embeddings, for who compares them elsewhere or asks with them later."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from fastapi import APIRouter, Body, Depends, Form, Response

from clipsearch.library import Library
from clipsearch.web import forms, told
from clipsearch.web.answers import json_answer
from clipsearch.web.asker import Busy
from clipsearch.web.asking.bodies import JSON, MULTIPART, Route, taking
from clipsearch.web.asking.embeddings import model_meant
from clipsearch.web.asking.sent import SentPicture, embed_sent
from clipsearch.web.backend import OfApp
from clipsearch.web.errors import RESPONSES

router = APIRouter(responses=RESPONSES, tags=["search"], route_class=Route)


@router.post("/api/embed", response_model=told.Vectors, dependencies=[Depends(taking(JSON))])
async def embed_texts(
    asked: Annotated[forms.ToEmbed, Body()], _: forms.NoQuery, backend: OfApp
) -> Response:
    """Embed texts as they are: signs and quotes mean nothing in them."""

    def embed(library: Library) -> tuple[tuple[str, int], np.ndarray | None]:
        model = model_meant(library, asked.model)
        if asked.model is None and not library.is_loaded():
            raise Busy("the model is still being loaded")
        return model, library.embed_texts(asked.texts, model=asked.model)

    model, rows = await backend.read(embed)
    return _told(model, [] if rows is None else [*rows])


@router.post(
    "/api/embed/pictures",
    response_model=told.Vectors,
    dependencies=[Depends(taking(MULTIPART))],
)
async def embed_pictures(
    asked: Annotated[forms.PictureToEmbed, Form(media_type="multipart/form-data")],
    _: forms.NoQuery,
    backend: OfApp,
) -> Response:
    """Embed pictures that are sent."""
    model = await backend.read(lambda library: model_meant(library, asked.model))
    sent = [SentPicture("image", number, file) for number, file in enumerate(asked.image)]
    rows = await embed_sent(backend, sent, asked.model)
    return _told(model, [row for row in rows if row is not None])


def _told(model: tuple[str, int], rows: list[np.ndarray]) -> Response:
    spec, dim = model
    return json_answer({"model": spec, "dim": dim, "embeddings": [row.tolist() for row in rows]})
