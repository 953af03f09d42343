"""Models whose graphs ship without weights, written to the cache as exports from torch are.

A family tells what fills its graphs; no torch is needed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from clipsearch.encoders.onnx.encoder import OnnxEncoder, open_cached
from clipsearch.encoders.onnx.export import write_to_cache
from clipsearch.encoders.onnx.folder import FORMAT, IMAGES, Facts, view_as_json
from clipsearch.encoders.onnx.text_export import keep_texts, optimize
from clipsearch.encoders.onnx.texts import RULES, TOKENIZER, TOWER, TokenRules
from clipsearch.encoders.spec import Spec
from clipsearch.errors import ClipsearchError, ModelError
from clipsearch.photos.decoding.view import View

if TYPE_CHECKING:
    import numpy as np
    import onnx

log = logging.getLogger("clipsearch")

# The weight of a name and a shape; None for what is a constant of the graph.
Values = Callable[[str, tuple[int, ...]], "np.ndarray | None"]


class Tower(NamedTuple):
    """A graph and what fills it."""

    graph: onnx.ModelProto
    values: Values


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a model beside its graphs."""

    weights: str  # of the identity
    preprocess: str  # of the identity
    dim: int
    resolution: int
    view: View
    tokenizer: str  # as JSON of the tokenizers library
    rules: TokenRules
    logit_scale: float
    logit_bias: float | None = None


def cached_or_written(
    spec: Spec, identity: tuple[str, str], device: str, write: Callable[[], None]
) -> OnnxEncoder | None:
    """The model of this identity from the cache, written there by `write` if need be.

    None where that raises ClipsearchError: torch has to run it.

    Raises:
        InvalidInput: onnxruntime has no such device here.
    """
    if found := open_cached(*identity, device):
        return found
    try:
        write()
    except ClipsearchError as error:
        log.debug("%s is not run without torch: %s", spec, error)
        return None
    return open_cached(*identity, device)


def write_towers(spec: Spec, known: Known, texts: Tower, images: Tower) -> None:
    """Write both towers to the cache, at the same time.

    Raises:
        ModelError: the cache has no room, or its text tower could not be written once.
        InvalidInput: the cache cannot be written.
    """

    def write_texts(folder: Path) -> None:
        logits = {"logit_scale": known.logit_scale, "logit_bias": known.logit_bias}
        (folder / RULES).write_text(json.dumps(asdict(known.rules) | logits), "utf-8")
        (folder / TOKENIZER).write_text(known.tokenizer, "utf-8")
        _write(texts, folder / TOWER)

    def write_images(folder: Path) -> Facts:
        _write(images, folder / IMAGES)
        return Facts(
            FORMAT, str(spec), known.weights, known.preprocess, "fp32", known.dim,
            known.resolution, known.rules.context, known.logit_scale, known.logit_bias,
            view_as_json(known.view), {},  # the cache has its own sums
        )  # fmt: skip

    with ThreadPoolExecutor(1, "clipsearch-texts") as beside:
        kept = beside.submit(keep_texts, known.weights, known.preprocess, write_texts)
        write_to_cache(known.weights, known.preprocess, write_images)
    if not kept.result():
        raise ModelError("its text tower could not be written to the cache")


def _write(tower: Tower, file: Path) -> None:
    with TemporaryDirectory(dir=file.parent) as folder:
        write_graph(tower, plain := Path(folder) / file.name)
        optimize(plain, file)


def write_graph(tower: Tower, file: Path) -> None:
    """Write a graph, and beside it its weights as float32, one by one since they may be large."""
    import onnx

    place = file.with_suffix(".weights")
    with place.open("wb") as weights:
        for tensor in tower.graph.graph.initializer:
            value = tower.values(tensor.name, tuple(tensor.dims))
            if value is None:
                continue
            content = value.astype("<f4", copy=False).tobytes()
            told = {"location": place.name, "offset": weights.tell(), "length": len(content)}
            for key, fact in told.items():
                tensor.external_data.add(key=key, value=str(fact))
            tensor.data_location = onnx.TensorProto.EXTERNAL
            weights.write(content)
    onnx.save(tower.graph, file)
