"""Embeddings that come from outside, and the model that they are of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clipsearch.errors import InvalidInput, arg
from clipsearch.library import Library
from clipsearch.web.backend import Backend


def check_model(library: Library, model: str | None) -> None:
    """Raise InvalidInput if a model is named and the index does not have it."""
    if model is not None:
        library.answer((), model)


def model_meant(library: Library, spec: str | None) -> tuple[str, int]:
    """The name of a model of the index and the numbers of its embeddings.

    Raises:
        InvalidInput: the index has no such model, or none yet.
    """
    library.answer((), spec)  # which refuses one that the index does not have
    models = library.status().models
    if not models:
        raise InvalidInput("the index has no model yet; add photos")
    model = next((it for it in models if it.spec == spec), models[0])
    return model.spec, model.dim


async def read_embeddings(
    backend: Backend, given: Sequence[Sequence[float]], model: str | None
) -> list[np.ndarray]:
    """Embeddings as (dim,) float32 unit rows of a model.

    Raises:
        InvalidInput: they are of another length than the model's, or have no direction.
    """
    if not given:
        return []
    spec, dim = await backend.read(lambda library: model_meant(library, model))
    return [_unit(row, spec, dim) for row in given]


def _unit(numbers: Sequence[float], spec: str, dim: int) -> np.ndarray:
    if len(numbers) != dim:
        raise InvalidInput(
            f"{arg('embedding')} has {len(numbers)} numbers; those of {spec} have {dim}"
        )
    row = np.asarray(numbers, np.float64)
    largest = np.abs(row).max()
    if not largest:
        raise InvalidInput(f"{arg('embedding')} has no direction: all its numbers are 0")
    row = row / largest  # whose squares are in reach then
    return np.asarray(row / np.linalg.norm(row), np.float32)
