"""Models in 8 bits, of which the index in a folder holds the image tower."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from clipsearch.cache import is_settled
from clipsearch.encoders import Encoder
from clipsearch.encoders.spec import Spec
from clipsearch.errors import InvalidInput, ModelError, arg, did_you_mean
from clipsearch.models.loading import identity_of, newer
from clipsearch.store.catalog import Catalog, Model

if TYPE_CHECKING:
    from clipsearch.encoders.onnx.encoder import OnnxEncoder
    from clipsearch.encoders.onnx.folder import Facts

log = logging.getLogger("clipsearch")

PRECISIONS = ("fp32", "int8")


def check_precision(name: str) -> None:
    """Raise InvalidInput unless that is what an index's model may be in."""
    if name not in PRECISIONS:
        hint = did_you_mean(name, PRECISIONS)
        raise InvalidInput(f"{arg('precision')} is fp32 or int8, not {name!r}{hint}")


def in_onnx(spec: Spec, encoder: Encoder) -> OnnxEncoder:
    """A model on the processor as ONNX Runtime runs it, exported to the cache if need be.

    Raises:
        ModelError: it cannot be exported.
    """
    from clipsearch.encoders.onnx.encoder import OnnxEncoder
    from clipsearch.encoders.onnx.export import export_to_cache

    return encoder if isinstance(encoder, OnnxEncoder) else export_to_cache(spec, encoder, "cpu")


def take_int8(
    catalog: Catalog, held: Model | None, name: str, small: Facts, note: str | None
) -> None:
    """Write down a model in 8 bits, in the place of the one that is held, if there is one.

    Of that a file was lost or damaged: it goes with what it embedded, unless it came out the same.
    """
    from clipsearch.store.moving import remove

    if held is None:
        catalog.add_model(name, *small.identity, small.dim, note)
    elif identity_of(held) != small.identity:
        remove(catalog.folder, catalog, held)
        catalog.renew_model(held.id, *small.identity, small.dim)
        remove_int8(catalog.folder, held)


def is_spoilt(index: Path, model: Model) -> bool:
    """Whether a model in 8 bits lacks a file, or was made of one of another version."""
    from clipsearch.encoders.onnx.calibrated import fault_of, folder_in

    if fault := fault_of(folder_in(index, model.weights)):
        log.warning("%s", fault[0])
        return True
    return newer(reader_of(index, model)) is not None


def reader_of(index: Path, model: Model) -> Model:
    """The model that embeds words for a model: itself, or what it is in full.

    Raises:
        ModelError: that cannot be told, since a file is lost or damaged.
    """
    if not model.is_int8:
        return model
    from clipsearch.encoders.onnx.calibrated import calibration_in, folder_in

    full = calibration_in(folder_in(index, model.weights))
    return replace(model, spec=full.spec, weights=full.weights, runtime="auto")


def has_texts(index: Path, model: Model) -> bool:
    """Whether it was tried to export what embeds words for a model, or cannot be."""
    from clipsearch.encoders.onnx.texts import RULES, folder_of

    try:
        return is_settled(folder_of(*identity_of(reader_of(index, model))), RULES)
    except ModelError as error:
        log.debug("%s", error)
        return True


def remove_int8(index: Path, model: Model) -> None:
    """Remove the files of a model that is in 8 bits; of others there are none."""
    if model.is_int8:
        from clipsearch.encoders.onnx.calibrated import folder_in

        shutil.rmtree(folder_in(index, model.weights), ignore_errors=True)


def warn_of_processor(index: Path, model: Model) -> None:
    """Say of a model in 8 bits where this machine's processor may give others than before."""
    if not model.is_int8:
        return
    from clipsearch.encoders.onnx.calibrated import folder_in, told_by, warning_of

    made_of = told_by(folder_in(index, model.weights))
    if made_of and (warning := warning_of(made_of)):
        log.warning("%s", warning)
