"""A model of an index loaded, and whether it is the one that the index was made with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from clipsearch import encoders
from clipsearch.encoders.spec import INT8, Spec, sha256_of, weights_in
from clipsearch.errors import ModelMismatch
from clipsearch.store.catalog import Model

if TYPE_CHECKING:
    import numpy as np

Identity = tuple[str, str]  # of a model: its weights and how pictures are prepared for it


class TextEncoder(Protocol):
    """What embeds words: an encoder, or what was exported of one."""

    @property
    def context(self) -> int:
        """How many tokens of text it reads."""

    @property
    def logit_scale(self) -> float:
        """Cosines times this are the logits that the model was trained with."""

    @property
    def logit_bias(self) -> float | None:
        """What is added to them, and then a sigmoid was trained; None where it was a softmax."""

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts: (n, dim) float32, unit rows. Tokens past `context` are cut."""
        ...

    def count_tokens(self, text: str) -> int:
        """How many tokens `text` has, start and end tokens included."""
        ...


def newer(model: Model) -> encoders.Shipped | None:
    """A model that ships as it is by now; None where the index has it so, and for any other."""
    now = encoders.shipped(model.spec)
    return now if now and now[:2] != identity_of(model) else None


def identity_of(model: Model) -> Identity:
    """What tells whether vectors are of one and the same model."""
    # Not its id, which another model has one day.
    return model.weights, model.preprocess


def is_unit(row: bytes) -> bool:
    """Whether (dim,) little-endian float32 numbers are an embedding."""
    import numpy as np

    from clipsearch.encoders.rows import are_units

    return bool(are_units(np.frombuffer(row, "<f4")[None])[0])


def loaded_as(spec: Spec, device: str, model: Model) -> encoders.Encoder:
    """The encoder that a name gives, which must be the model.

    Raises:
        ModelMismatch: it is another.
    """
    return checked(open_model(spec, device, model), model)


def open_model(spec: Spec, device: str, model: Model) -> encoders.Encoder:
    """The encoder that a name gives; of a model in 8 bits that names the folder in the index."""
    if not model.spec.startswith(INT8):
        return encoders.load(spec, device)
    from clipsearch.encoders.onnx.encoder import open_calibrated

    return open_calibrated(Path(spec.file), device)


def exported_as(
    spec: Spec, device: str, model: Model, loaded: encoders.Encoder | None = None
) -> encoders.Encoder:
    """The model as ONNX Runtime runs it, exported first unless that was done before."""
    from clipsearch.encoders.onnx.encoder import open_cached
    from clipsearch.encoders.onnx.export import export_to_cache

    exported: encoders.Encoder | None = open_cached(*identity_of(model), device)
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
    file = weights_in(Path(spec.file))
    return file is not None and sha256_of(file) == model.weights
