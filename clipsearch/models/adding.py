"""A model that is added to an index, or becomes that of this version of clipsearch."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from clipsearch import encoders
from clipsearch.encoders.spec import Spec
from clipsearch.models.loading import identity_of
from clipsearch.store.catalog import Catalog, Model

log = logging.getLogger("clipsearch")


class _Known(Protocol):
    """An encoder, or what is known of one."""

    @property
    def weights(self) -> str: ...

    @property
    def preprocess(self) -> str: ...

    @property
    def dim(self) -> int: ...


def added(catalog: Catalog, spec: Spec, known: _Known, runtime: str, note: str | None) -> Model:
    """The model as the catalog holds it, added unless it is there by some name.

    `note` says why it is added where nobody chose it.
    """
    for model in catalog.models():
        if (known.weights, known.preprocess) == identity_of(model):
            return model
    model = catalog.add_model(str(spec), known.weights, known.preprocess, known.dim, note)
    _offer(catalog, model)
    if runtime != model.runtime:
        catalog.set_runtime(model.id, runtime)
        model = replace(model, runtime=runtime)
    return model


def renew(catalog: Catalog, folder: Path, model: Model, now: encoders.Known) -> None:
    """Take a model of the index in `folder` as it is by now; what it embedded is of no use."""
    from clipsearch.store.moving import remove

    count, _ = catalog.fingerprint(model.id)
    if count:
        log.warning(
            "the %s of this version is another one than what embedded the %d photos of this index:"
            " they are embedded anew", model.spec, count,
        )  # fmt: skip
    remove(folder, catalog, model)
    if any(identity_of(other) == now[:2] for other in catalog.models()):
        catalog.remove_model(model.id)  # which is there by another name
    else:
        catalog.renew_model(model.id, *now)


def _offer(catalog: Catalog, added: Model) -> None:
    """Say of a model that nobody chose how the one that was added answers in its place."""
    for model in catalog.models():
        if model.note and model.id != added.id:
            note = (
                f"{model.spec} was taken when nothing better could be downloaded, and answers"
                f" questions until: clipsearch models remove {model.spec}"
            )
            catalog.set_note(model.id, note)
