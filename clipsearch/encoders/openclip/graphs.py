"""Models of open_clip as ONNX, made without torch.

The graphs of the architectures that people use most ship without weights, and name each as a
weights file does. `scripts/openclip_graphs.py` writes them, and `known.json`, which tells of open
clip's weights into which graphs they go and how pictures are prepared for them.
"""

from __future__ import annotations

import gzip
import json
import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clipsearch.encoders import Foretold
from clipsearch.encoders.aliases import OPEN_CLIP_FILES
from clipsearch.encoders.hub import weights_hash
from clipsearch.encoders.onnx.encoder import OnnxEncoder
from clipsearch.encoders.onnx.export import check_room
from clipsearch.encoders.onnx.folder import cached_folder, view_from
from clipsearch.encoders.onnx.shipped import (
    Known,
    Tower,
    cached_or_written,
    write_graph,
    write_towers,
)
from clipsearch.encoders.onnx.texts import TokenRules
from clipsearch.encoders.openclip.words import usual_tokenizer
from clipsearch.encoders.spec import OPEN_CLIP_CONFIG, Spec
from clipsearch.errors import ModelError

if TYPE_CHECKING:
    import onnx

log = logging.getLogger("clipsearch")

FOLDER = Path(__file__).with_name("graphs")
KNOWN = FOLDER / "known.json"
# With which names of weights begin: a key of a weights file; what pixels are normalized by.
WEIGHT, PIXELS = "weight ", "pixels "
_SCALE, _BIAS = "logit_scale", "logit_bias"


def graph_file(graph: str, tower: str) -> Path:
    """Where the graph of a tower, "image" or "text", ships."""
    return FOLDER / f"{graph}.{tower}.onnx.gz"


def open_light(spec: Spec, device: str) -> OnnxEncoder | None:
    """A model as onnxruntime runs it, from the cache, and written there if need be.

    None where that cannot be: an architecture whose graph does not ship, weights that are not on
    this machine or in another form, no room in the cache.

    Raises:
        ModelError: the weights cannot be read.
        InvalidInput: onnxruntime has no such device here.
    """
    if (found := _find(spec)) is None:
        return None
    told, file = found
    identity = weights_hash(file), told["preprocess"]
    return cached_or_written(spec, identity, device, partial(_write, spec, identity, told, file))


def foretell(spec: Spec) -> Foretold | None:
    """What `open_light` is to give; None if it gives nothing."""
    if (found := _find(spec)) is None:
        return None
    told, file = found
    try:
        with _opened(file) as stored:
            for tower in ("text", "image"):
                _checked(_graph(told["graph"], tower), stored)
        weights = weights_hash(file)
    except ModelError:
        return None
    return Foretold(weights, told["preprocess"], told["dim"], view_from(told["view"]))


def write_images(spec: Spec, to: Path) -> bool:
    """Write the image tower as ONNX, before onnxruntime merges its operators.

    False as None is for `open_light`.
    """
    if (found := _find(spec)) is None:
        return False
    told, file = found
    try:
        with _opened(file) as stored:
            _checked(graph := _graph(told["graph"], "image"), stored)
            write_graph(Tower(graph, partial(_value, stored, json.loads(told["preprocess"]))), to)
    except ModelError as error:
        log.debug("%s", error)
        return False
    return True


@cache
def _known() -> dict[str, dict[str, Any]]:
    """What is known of weights, by their spec, or "NAME:" of any file of an architecture."""
    told = json.loads(KNOWN.read_text("utf-8"))
    return {
        spec: weights | told["graphs"][weights["graph"]]
        for spec, weights in told["weights"].items()
    }


def _find(spec: Spec) -> tuple[dict[str, Any], Path] | None:
    """What is known of a model, and its weights file; None unless it is here and can be read so."""
    told = _known().get(f"{spec.name}:" if spec.file else f"{spec.name}/{spec.tag}")
    if told is None:
        return None
    if spec.file:
        file = Path(spec.file)
        told_otherwise = file.with_name(OPEN_CLIP_CONFIG).is_file()
        return None if told_otherwise or file.suffix != ".safetensors" else (told, file)
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(told["hub"], OPEN_CLIP_FILES[0])
    return (told, Path(cached)) if isinstance(cached, str) else None


def _write(spec: Spec, identity: tuple[str, str], told: Mapping[str, Any], file: Path) -> None:
    tokenizer = usual_tokenizer()
    if tokenizer is None:
        raise ModelError("open_clip has no file of its tokenizer's words")
    with _opened(file) as stored:
        graphs = {tower: _graph(told["graph"], tower) for tower in ("text", "image")}
        sizes = [_checked(graph, stored) for graph in graphs.values()]
        check_room(4 * max(sizes), cached_folder(*identity))
        pixels = json.loads(told["preprocess"])
        scale = float(np.exp(stored.get_tensor(_SCALE).astype(np.float32)))
        bias = stored.get_tensor(_BIAS) if _BIAS in stored.keys() else None  # noqa: SIM118
        view = view_from(told["view"])
        known = Known(
            *identity, told["dim"], view.size, view, tokenizer.to_str(),
            TokenRules(told["context"], told["clean"], causal=True), scale,
            None if bias is None else float(bias),
        )  # fmt: skip
        values = partial(_value, stored, pixels)
        write_towers(spec, known, *(Tower(graph, values) for graph in graphs.values()))


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="np") as stored:
            yield stored
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{file} holds weights in another form") from error


def _graph(graph: str, tower: str) -> onnx.ModelProto:
    import onnx

    return onnx.load_from_string(gzip.decompress(graph_file(graph, tower).read_bytes()))


def _checked(graph: onnx.ModelProto, stored: Any) -> int:
    """How many numbers fill a graph; raises KeyError or ValueError if the file has others."""
    size = 0
    for weight in graph.graph.initializer:
        if weight.name.startswith(WEIGHT):
            there = stored.get_slice(weight.name.removeprefix(WEIGHT))
            if there.get_shape() != list(weight.dims):
                raise ValueError(weight.name)
            size += math.prod(weight.dims)
    return size


def _value(
    stored: Any, pixels: Mapping[str, Any], name: str, shape: tuple[int, ...]
) -> np.ndarray | None:
    if name.startswith(PIXELS):
        return np.array(pixels[name.removeprefix(PIXELS)]).reshape(shape)
    if name.startswith(WEIGHT):
        value: np.ndarray = stored.get_tensor(name.removeprefix(WEIGHT))
        return value
    return None
