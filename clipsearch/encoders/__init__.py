"""Pixels and words to unit vectors. Knows no folders, no database.

`load` gives the encoder of a model spec. A family of models is one file or folder here and one
line in `FAMILIES` (see `spec.py`); torch is imported only when a model is loaded.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from clipsearch.encoders.aliases import ALIASES, Alias
from clipsearch.encoders.spec import FAMILIES, LIGHT, WITHOUT_TORCH, Spec, parse_spec
from clipsearch.errors import ModelError, WeightsUnavailable

if TYPE_CHECKING:
    import numpy as np
    import torch

    from clipsearch.encoders.onnx.text_export import TextExport
    from clipsearch.photos.decoding.view import View

log = logging.getLogger("clipsearch")

_POCKET = "clipsearch.encoders.pocket.parts"  # imported when it is needed, as a family is

__all__ = [
    "Encoder",
    "Spec",
    "TextEncoder",
    "download",
    "is_here",
    "known",
    "load",
    "load_first",
    "parse_spec",
    "pocket_files",
]


class Known(NamedTuple):
    """What an index writes down of a model, known without loading it."""

    weights: str  # SHA-256 of the weights, hex
    preprocess: str
    dim: int


class Foretold(NamedTuple):
    """What is known of a model that needs no torch, before its towers are loaded."""

    weights: str  # of the identity
    preprocess: str  # of the identity
    dim: int
    view: View


class Encoder(Protocol):
    """A dual encoder: pictures and words into one space of unit vectors."""

    prepare: View  # brings an RGB picture to what the model sees; for any thread or process
    weights: str  # SHA-256 of the weights, hex
    preprocess: str  # what is done to a picture before the model sees it
    dim: int
    resolution: int  # pixels of the model's square view
    context: int  # tokens of text it reads
    batch_size: int  # pictures at a time that suit the device
    logit_scale: float  # cosines times this are the logits that the model was trained with
    logit_bias: float | None  # added to them, and then a sigmoid was trained; None: a softmax
    device: str
    precision: str  # "fp32", "bf16" or "fp16": of the image tower

    def encode_images(self, batch: np.ndarray) -> np.ndarray:
        """Embed (n, resolution, resolution, 3) uint8 views: (n, dim) float32, unit rows.

        Where `prepare` is a `MaskedView`, also (n, resolution, resolution, 4).
        """
        ...

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts: (n, dim) float32, unit rows. Tokens past `context` are cut."""
        ...

    def count_tokens(self, text: str) -> int:
        """How many tokens `text` has, start and end tokens included."""
        ...

    def text_export(self) -> TextExport | Path | None:
        """What can be exported, so that texts are embedded without torch; None for nothing.

        A path is the folder of what was exported already.
        """
        ...

    def image_export(self) -> torch.nn.Module | None:
        """What can be exported, so that pictures are embedded without torch; None for nothing.

        From (n, resolution, resolution, channels) uint8 views to (n, dim) unit rows; it shares
        the encoder's weights, device and precision.
        """
        ...


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


def load(spec: Spec, device: str = "auto", precision: str = "auto") -> Encoder:
    """The encoder that `spec` names, its weights loaded.

    `device` is "auto" or a torch device; `precision` is "auto", "fp32", "bf16" or "fp16".

    Raises:
        ModelError: no such model, or weights that do not fit it.
        WeightsUnavailable: the weights are not here and could not be downloaded.
        InvalidInput: the device does not exist on this machine.
    """
    if spec.is_int8:
        raise ModelError(
            f"{spec} was calibrated on the photos of an index and lies there: ask that index, or"
            " write a model in 8 bits for use elsewhere: clipsearch export onnx --int8"
        )
    _see_that_it_can_be_had(spec)
    if spec.family not in WITHOUT_TORCH:  # onnx asks onnxruntime what devices there are
        from clipsearch.encoders.device import pick_device, pick_precision

        device = pick_device(device)
        precision = pick_precision(device) if precision == "auto" else precision
    family = importlib.import_module(FAMILIES[spec.family])
    encoder: Encoder = family.load(spec, device, precision)
    return encoder


def _see_that_it_can_be_had(spec: Spec) -> None:
    """Of a model that is well known, before torch takes its seconds to be loaded.

    Raises:
        WeightsUnavailable: its weights are not here, and nobody can be asked for them.
    """
    alias = next((it for it in ALIASES.values() if it.hub and it.spec == str(spec)), None)
    if alias and not is_here(alias):
        from clipsearch.encoders.hub import see_hub

        see_hub(str(spec))


def load_light(spec: Spec, device: str = "auto") -> Encoder | None:
    """The encoder that `spec` names as onnxruntime runs it, without torch; None if torch must.

    Raises:
        InvalidInput: onnxruntime has no such device here.
    """
    if spec.is_int8 or spec.family not in LIGHT:
        return None
    family = importlib.import_module(LIGHT[spec.family])
    encoder: Encoder | None = family.open_light(spec, device)
    return encoder


def foretell(spec: Spec) -> Foretold | None:
    """What `load_light` is to give; None where that cannot be told, or torch is to load it."""
    if spec.is_int8 or spec.family not in LIGHT:
        return None
    found: Foretold | None = importlib.import_module(LIGHT[spec.family]).foretell(spec)
    return found


def load_first(
    wanted: Spec | None, device: str = "auto", precision: str = "auto", light: bool = False
) -> tuple[Spec, Encoder, str | None]:
    """The model that is taken where none is in use yet: the one wanted, the default, or pocket.

    Pocket where the default's weights cannot be had; then the last value says so. With `light` a
    model that needs no torch is loaded without it.

    Raises:
        ModelError, InvalidInput: as `load`.
    """

    def loaded(spec: Spec) -> Encoder:
        found = load_light(spec, device) if light else None
        return found or load(spec, device, precision)

    spec = wanted or parse_spec("default")
    try:
        return spec, loaded(spec), None
    except WeightsUnavailable:
        if wanted is not None or pocket_files() is None:
            raise
    pocket = parse_spec("pocket")
    note = (
        f"pocket was taken because the weights of {spec} could not be downloaded; it finds"
        " less. When there is a network: clipsearch index --model default, then"
        " clipsearch models remove pocket"
    )
    log.warning("%s", note)
    return pocket, loaded(pocket), note


def pocket_files() -> tuple[Path, Path] | None:
    """The pocket model's two tower files; None if their packages are not installed."""
    files: tuple[Path, Path] | None = importlib.import_module(_POCKET).pocket_files()
    return files


def known(spec: str) -> Known | None:
    """What a model is in this version of clipsearch, told without loading it.

    None for all but pocket, with the heads that ship or those of a file.
    """
    family, _, heads = spec.partition(":")
    if family != "pocket" or pocket_files() is None:
        return None
    found = importlib.import_module(_POCKET).known_of(*[Path(heads)] if heads else [])
    return Known(*found) if found else None


def download(spec: Spec) -> Path:
    """Fetch the weights and the tokenizer of a model; gives the weights file.

    Raises:
        ModelError: no such model, or one that is not fetched but installed.
        WeightsUnavailable: they could not be downloaded.
    """
    family = importlib.import_module(FAMILIES[spec.family])
    try:
        file: Path = family.download(spec)
    except WeightsUnavailable as error:
        from clipsearch.encoders.hub import cache_of_hub

        raise error.advising(
            "Connect to the internet; or run the same command on a machine that is connected, and"
            f" copy its folder {cache_of_hub()} here."
        ) from error
    return file


def is_here(alias: Alias) -> bool:
    """Whether a model's weights are on this machine; imports no torch."""
    if alias.hub is None:
        return pocket_files() is not None
    from huggingface_hub import try_to_load_from_cache

    return any(isinstance(try_to_load_from_cache(alias.hub, name), str) for name in alias.files)
