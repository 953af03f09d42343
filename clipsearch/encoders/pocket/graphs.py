"""The pocket model's towers as ONNX, made without torch.

Their graphs ship without weights, and tell of each where it is: of a tower at which byte of its
package's file, of the heads by its name. `scripts/pocket_graphs.py` writes them.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from clipsearch.encoders import Foretold
from clipsearch.encoders.onnx.encoder import OnnxEncoder
from clipsearch.encoders.onnx.shipped import (
    Known,
    Tower,
    cached_or_written,
    write_graph,
    write_towers,
)
from clipsearch.encoders.onnx.texts import TokenRules
from clipsearch.encoders.pocket import parts
from clipsearch.encoders.spec import Spec
from clipsearch.errors import ModelError

log = logging.getLogger("clipsearch")

GRAPHS = {name: Path(__file__).with_name(f"{name}.onnx") for name in ("image", "text")}
# With which names of weights begin: where one is in the tower's file, and its name in the heads'.
AT, HEADS = "at ", "heads "
SHAPE = "shape"  # under which a graph tells of which shape its heads are


class Heads(NamedTuple):
    """What a file of heads holds."""

    tensors: dict[str, np.ndarray]
    shape: dict[str, Any]
    logit_scale: float


def open_light(spec: Spec, device: str) -> OnnxEncoder | None:
    """The pocket model as onnxruntime runs it, from the cache, and written there if need be.

    None where that cannot be: heads of another shape, no room in the cache, no packages.

    Raises:
        ModelError: the heads cannot be read.
        InvalidInput: onnxruntime has no such device here.
    """
    heads = parts.heads_file(spec)
    identity = parts.weights_with(heads), parts.PREPROCESS
    return cached_or_written(spec, identity, device, partial(_write, spec, identity, heads))


def foretell(spec: Spec) -> Foretold | None:
    """What `open_light` is to give; None if it gives nothing."""
    known = parts.known_of(parts.heads_file(spec))
    if known is None or parts.pocket_files() is None:
        return None
    return Foretold(*known, parts.VIEW)


def write_images(spec: Spec, to: Path) -> bool:
    """Write the image tower as ONNX, before onnxruntime merges its operators.

    False as None is for `open_light`.

    Raises:
        ModelError: the tower's file is another than what the heads were made with.
    """
    files, heads = parts.pocket_files(), _stored(parts.heads_file(spec))
    if files is None:
        return False
    parts.check_images(files[0])
    try:
        write_graph(_tower("image", files[0], heads), to)
    except ModelError as error:
        log.debug("%s", error)
        return False
    return True


def _tower(name: str, tower: Path, heads: Heads) -> Tower:
    """The graph "image" or "text", and the weights of its tower's file and of the heads.

    Raises:
        ModelError: the heads are not of the shape that it was written for.
    """
    import onnx

    model = onnx.load(GRAPHS[name])
    told = {entry.key: entry.value for entry in model.metadata_props}
    if heads.shape != json.loads(told[SHAPE]):
        raise ModelError("the heads are of another shape than those that ship")
    file = np.memmap(tower, np.uint8, "r")

    def value_of(name: str, shape: tuple[int, ...]) -> np.ndarray | None:
        if name.startswith(HEADS):
            return heads.tensors[name.removeprefix(HEADS)]
        return _read(file, name.split()[1:3], shape) if name.startswith(AT) else None

    return Tower(model, value_of)


def _read(file: np.ndarray, place: Sequence[str], shape: tuple[int, ...]) -> np.ndarray:
    """A weight that begins at a byte of a file, its axes in an order as "2310"."""
    begin, order = int(place[0]), [int(axis) for axis in place[1]]
    values = np.frombuffer(file, "<f4", math.prod(shape), begin)
    return values.reshape([shape[axis] for axis in order]).transpose(np.argsort(order))


def _stored(file: Path) -> Heads:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="np") as stored:
            told = stored.metadata() or {}
            tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118
        return Heads(tensors, json.loads(told["shape"]), float(told["logit scale"]))
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ModelError(f"{file} holds no heads of the pocket model") from error


def _write(spec: Spec, identity: tuple[str, str], file: Path) -> None:
    """Write both towers, with the heads in a file, to the cache, as exports from torch are."""
    if (files := parts.pocket_files()) is None:
        raise ModelError("its packages are not installed")
    heads = _stored(file)
    parts.check_images(files[0])
    parts.check_texts(files[1])
    # Before anything is written: a text tower that fails then is not tried again, by torch neither.
    image, text = (_tower(name, file, heads) for name, file in zip(GRAPHS, files, strict=True))
    known = Known(
        *identity, heads.shape["members"] * heads.shape["out"], parts.RESOLUTION, parts.VIEW,
        parts.tokenizer_in(files[1].with_name("tokenizer.json")).to_str(),
        TokenRules(parts.CONTEXT, ""), heads.logit_scale,
    )  # fmt: skip
    write_towers(spec, known, text, image)
