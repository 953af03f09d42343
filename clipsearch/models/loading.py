"""A model of an index loaded, and whether it is the one that the index was made with."""

from __future__ import annotations

from pathlib import Path

from clipsearch import encoders
from clipsearch.cache import sha256_of
from clipsearch.encoders.spec import Spec, weights_in
from clipsearch.errors import ModelMismatch, WeightsUnavailable, arg
from clipsearch.store.catalog import Model

Identity = tuple[str, str]  # of a model: its weights and how pictures are prepared for it


def newer(model: Model, named: Spec | None = None) -> encoders.Known | None:
    """A model as this version of clipsearch has it; None where the index has it so, or it is own.

    `named` is what it was asked for as, if it was. Of a file of a person's own only how pictures
    are prepared can be newer: with other weights it is another model.
    """
    name = str(named or model.spec)
    now = encoders.known(name)
    if now is None or now[:2] == identity_of(model):
        return None
    return now if ":" not in name or now.weights == model.weights else None


def identity_of(model: Model) -> Identity:
    """What tells whether vectors are of one and the same model."""
    # Not its id, which another model has one day.
    return model.weights, model.preprocess


def is_unit(row: bytes, dim: int) -> bool:
    """Whether these are the (dim,) little-endian float32 numbers of an embedding."""
    import numpy as np

    from clipsearch.encoders.rows import are_units

    return len(row) == 4 * dim and bool(are_units(np.frombuffer(row, "<f4")[None])[0])


def loaded_as(spec: Spec, device: str, model: Model) -> encoders.Encoder:
    """The encoder that a name gives, which must be the model.

    Raises:
        ModelMismatch: it is another.
    """
    return checked(open_model(spec, device, model), model)


def open_model(spec: Spec, device: str, model: Model) -> encoders.Encoder:
    """The encoder that a name gives; of a model in 8 bits that names the folder in the index."""
    if not model.is_int8:
        return encoders.load(spec, device)
    from clipsearch.encoders.onnx.encoder import open_calibrated

    return open_calibrated(Path(spec.file), device)


def open_or_advise(spec: Spec, device: str, model: Model) -> encoders.Encoder:
    """The same; where its weights cannot be had, the error says what helps with this model.

    Raises:
        WeightsUnavailable, and as `encoders.load`.
    """
    try:
        return open_model(spec, device, model)
    except WeightsUnavailable as error:
        from clipsearch.encoders.hub import three_ways

        # What was indexed with one model cannot be asked with another.
        pocket = (
            "index with the model that needs no download: clipsearch index"
            f" {arg('model')} pocket, and ask with {arg('model')} pocket"
        )
        raise error.advising(three_ways(str(spec), pocket)) from error


def exported_as(
    spec: Spec,
    device: str,
    model: Model,
    loaded: encoders.Encoder | None = None,
    fast: bool = False,
) -> encoders.Encoder:
    """The model as ONNX Runtime runs it, exported first unless that was done before.

    With `fast` one that was is run by OpenVINO if that can be: the other then takes no memory.
    """
    from clipsearch.encoders.onnx.encoder import open_cached
    from clipsearch.encoders.onnx.export import export_to_cache

    exported: encoders.Encoder | None = open_cached(*identity_of(model), device, fast)
    if exported is None and loaded is None:
        exported = encoders.load_light(spec, device)
    if exported is None and spec.family != "onnx":
        loaded = loaded or checked(encoders.load(spec, "cpu", "fp32"), model)
        exported = export_to_cache(spec, loaded, device)
    return exported or loaded_as(spec, device, model)


def checked(encoder: encoders.Encoder, model: Model) -> encoders.Encoder:
    """The encoder, if it is the model's.

    Raises:
        ModelMismatch: it is another's.
    """
    if (encoder.weights, encoder.preprocess) != (model.weights, model.preprocess):
        if newer(model):
            raise ModelMismatch(
                f"this index was made with {model.spec} of another version of clipsearch; to have"
                " its photos embedded anew by that of this version: clipsearch index"
            )
        if encoder.weights == model.weights:
            raise ModelMismatch(
                f"this index was made with {model.spec}, but pictures were prepared for it in"
                " another way, so their scores would mean nothing.\nMake a new index:"
                " clipsearch index FOLDER --index OTHER_FOLDER --model SPEC"
            )
        raise ModelMismatch(
            f"the weights are not those of {model.spec} that this index was made with, so their"
            " scores would mean nothing.\nBring the old file back, or make a new index:"
            " clipsearch index FOLDER --index OTHER_FOLDER --model SPEC"
        )
    return encoder


def is_named(spec: Spec, model: Model) -> bool:
    """Whether `spec` names the model, also when the same weights file has another path."""
    if str(spec) == model.spec:
        return True
    if spec.is_int8:  # each is of one index, whatever else is named so
        return False
    if spec.family == "onnx":
        from clipsearch.encoders.onnx.encoder import identity_of as identity_in

        return identity_in(spec) == identity_of(model)
    if not spec.file or spec.name != model.spec.partition(":")[0]:
        return False
    if now := encoders.known(str(spec)):
        return now.weights == model.weights
    file = weights_in(Path(spec.file))
    return file is not None and sha256_of(file) == model.weights
