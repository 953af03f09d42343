"""Models made ready to embed without torch: their towers, each exported once for every user."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from clipsearch.cache import cache_folder, has_room, is_settled
from clipsearch.encoders import load_light
from clipsearch.encoders.spec import WITHOUT_TORCH, family_of
from clipsearch.errors import ModelError, ModelMismatch
from clipsearch.models import Models
from clipsearch.models.precision import has_texts
from clipsearch.progress import Progress
from clipsearch.store.catalog import Catalog, Model

log = logging.getLogger("clipsearch")

# The model loaded, its text tower traced, optimized and compared, the texts embedded, the image
# tower written.
_STEPS = 6


def export_towers(
    catalog: Catalog, models: Models, texts: Sequence[str], progress: Progress
) -> None:
    """Export the towers of all models of an index of which that was not tried yet.

    `texts` that every question will need are embedded, so that the first one finds them.
    """
    bare = [it for it in catalog.models() if _lacks_towers(catalog, models, it)]
    if bare and not has_room():
        log.warning(
            "%s cannot be written to, or is full: questions and few pictures take some seconds"
            " more, since PyTorch is loaded for them; CLIPSEARCH_CACHE can name another folder",
            cache_folder(),
        )
        bare = []
    lacking = [
        model
        for model in catalog.models()
        if model in bare or len(catalog.answered(model.id, texts)) < len(texts)
    ]
    for number, model in enumerate(lacking):
        steps = itertools.count(_STEPS * number)
        step = partial(_step, steps, _STEPS * len(lacking), progress)
        try:
            if model in bare:
                _export(catalog, models, model, texts, step)
            else:
                models.embed_neutral(model, texts)
        except (ModelError, ModelMismatch) as error:  # queries will say so
            log.debug("%s", error)
        progress(_STEPS * (number + 1), _STEPS * len(lacking))


def _export(
    catalog: Catalog, models: Models, model: Model, texts: Sequence[str], step: Callable[[], None]
) -> None:
    step()
    load_light(models.spec_of(model), "cpu")  # which writes both, where their graphs ship
    if not has_texts(catalog.folder, model):
        models.export_texts(model, step)
    models.embed_neutral(model, texts)
    if _lacks_images(models, model):
        from clipsearch.encoders.onnx.export import try_export

        step()
        try_export(models.spec_of(model), models.encoder(model))


def _lacks_towers(catalog: Catalog, models: Models, model: Model) -> bool:
    """Whether there is a tower of which the export was not tried yet."""
    return not has_texts(catalog.folder, model) or _lacks_images(models, model)


def _lacks_images(models: Models, model: Model) -> bool:
    """Whether few pictures would be embedded by an image tower whose export was not tried yet."""
    from clipsearch.encoders.onnx.folder import FACTS, cached_folder

    if model.runtime != "auto" or family_of(model.spec) in WITHOUT_TORCH:
        return False
    is_wanted = models.choice(model, 1).runtime == "onnx"
    return is_wanted and not is_settled(cached_folder(model.weights, model.preprocess), FACTS)


def _step(steps: Iterator[int], total: int, progress: Progress) -> None:
    progress(next(steps), total)
