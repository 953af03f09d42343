"""Models that are taken out of an index, with their embeddings and what was made for them."""

from __future__ import annotations

from pathlib import Path

from clipsearch.encoders.spec import Spec
from clipsearch.errors import InvalidInput
from clipsearch.models.loading import is_named
from clipsearch.models.precision import remove_int8
from clipsearch.store.catalog import Catalog, Model


def remove(catalog: Catalog, spec: Spec, folder: Path) -> int:
    """Take a model out of the index in `folder`; gives how many embeddings it had.

    Raises:
        InvalidInput: the index has no such model, or no other.
    """
    held = catalog.models()
    model = next((model for model in held if is_named(spec, model)), None)
    if model is None:
        has = ", ".join(other.spec for other in held) or "none yet"
        raise InvalidInput(f"the index holds no embeddings of {spec}; it has those of: {has}")
    if len(held) == 1:
        raise InvalidInput(
            f"{spec} is the index's only model, and without one nothing can be found; add"
            " another first: clipsearch index --model SPEC"
        )
    count, _ = catalog.fingerprint(model.id)
    _take_out(catalog, model, folder)
    return count


def make_room(catalog: Catalog, asked: Model, folder: Path) -> None:
    """Take out what embedded nothing, so that the model that is asked for is the main one."""
    for model in catalog.unused_models():
        if model.id != asked.id:
            _take_out(catalog, model, folder)


def _take_out(catalog: Catalog, model: Model, folder: Path) -> None:
    from clipsearch.store.moving import remove

    remove(folder, catalog, model)
    catalog.remove_model(model.id)
    remove_int8(folder, model)
