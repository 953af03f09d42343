"""The pictures that a request brings, as embeddings; all that cannot be used are told together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from fastapi import UploadFile

from clipsearch.errors import InvalidInput
from clipsearch.web.asking.mistakes import Mistake, Mistakes, mistake_of
from clipsearch.web.backend import Backend


@dataclass(frozen=True, slots=True)
class SentPicture:
    """One of them, under its parameter, in which `number` counts from 0."""

    parameter: str
    number: int
    upload: UploadFile
    region: str | None = None


async def embed_sent(
    backend: Backend, pictures: Sequence[SentPicture], model: str | None
) -> list[np.ndarray | None]:
    """Their embeddings, (dim,) float32 unit each; None each where there is no model yet.

    Raises:
        Mistakes: some are no pictures, or have no such region.
    """
    rows: list[np.ndarray | None] = []
    wrong: list[tuple[InvalidInput, Mistake]] = []
    for it in pictures:
        try:
            rows.append(await backend.embed(it.upload.file.read, it.region, model))
        except InvalidInput as error:
            named = (
                InvalidInput(f"{it.upload.filename!r}: {error}") if it.upload.filename else error
            )
            number = {"image": it.number} if it.parameter == "image" else {}
            told = mistake_of(error) | {"detail": mistake_of(named)["detail"]} | number
            wrong.append((named, {"parameter": it.parameter} | told))
    if wrong:
        raise Mistakes(wrong[0][0], [told for _, told in wrong])
    return rows
