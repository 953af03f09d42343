"""Models that were exported, and what runs them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from clipsearch import encoders
from clipsearch.encoders.spec import Spec
from clipsearch.errors import InvalidInput, ModelError, arg
from clipsearch.models.loading import exported_as, identity_of
from clipsearch.store.catalog import Model

if TYPE_CHECKING:
    from clipsearch.photos.decoding.view import View


def as_run_by(runtime: str, encoder: encoders.Encoder) -> encoders.Encoder:
    """An encoder that was exported as OpenVINO runs it, if that is meant and can be."""
    from clipsearch.encoders.onnx.encoder import OnnxEncoder

    if runtime != "openvino" or not isinstance(encoder, OnnxEncoder):
        return encoder
    return encoder.by_openvino or encoder


def exported_for(
    spec: Spec, device: str, model: Model, loaded: encoders.Encoder | None = None
) -> encoders.Encoder:
    """The model as what it is kept with runs it, exported first unless that was done before."""
    exported = exported_as(spec, device, model, loaded, fast=model.runtime == "openvino")
    return as_run_by(model.runtime, exported)


def see_that_it_runs(model: Model, encoder: encoders.Encoder) -> None:
    """Raise InvalidInput if OpenVINO was asked for and is not what runs the encoder."""
    from clipsearch.encoders.onnx.encoder import OnnxEncoder

    is_run = isinstance(encoder, OnnxEncoder) and encoder.uses_openvino
    if model.runtime == "openvino" and not is_run:
        raise InvalidInput(
            f"OpenVINO cannot run {model.spec}, or gives other vectors (--debug says more); use"
            f" {arg('runtime')} onnx"
        )


def view_of(model: Model, spec: Spec) -> View | None:
    """How pictures are prepared for a model that was exported, or needs no torch for that."""
    from clipsearch.encoders.onnx.folder import FACTS, cached_folder, facts_in, view_from

    folder = cached_folder(*identity_of(model))
    if (folder / FACTS).is_file():
        with suppress(ModelError):
            return view_from(facts_in(folder).view)
    told = encoders.foretell(spec)
    return told.view if told and told[:2] == identity_of(model) else None
