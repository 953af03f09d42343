"""Every model that open_clip can build, by tag, from the hub, or from a weights file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image

from clipsearch.encoders.hub import from_hub, weights_hash
from clipsearch.encoders.images import DTYPES, ImageTower, batch_size, unit_rows
from clipsearch.encoders.onnx.text_export import TextExport
from clipsearch.encoders.openclip.recipe import Recipe, build, resolve
from clipsearch.encoders.openclip.text_tower import text_export
from clipsearch.encoders.quiet import quiet
from clipsearch.encoders.spec import Spec
from clipsearch.errors import ModelError
from clipsearch.photos.decoding.view import View


class OpenClipEncoder:
    """An open_clip model as an `Encoder`."""

    def __init__(
        self, recipe: Recipe, weights: str, device: str, precision: str, model: Any = None
    ) -> None:
        """`model` is what `recipe` builds, where it is built already."""
        self._recipe = recipe
        self._model = (model or build(recipe).eval().requires_grad_(False)).to(device)
        # The image tower runs on batches, so precision pays there; a query is one sentence,
        # and fp32 keeps it exact.
        self._model.visual.to(dtype=DTYPES[precision])
        self._tokenizer: Any = None
        config = self._model.visual.preprocess_cfg
        self.prepare = _view(config)
        self._images = ImageTower(
            _Images(self._model), config["mean"], config["std"], device, precision
        )
        self.weights = weights
        self.preprocess = _describe(config, recipe.quick_gelu)
        self.resolution = self.prepare.size
        self.context = _context(recipe)
        self.device = device
        self.precision = precision
        self.batch_size = batch_size(device)
        self.dim = self._embedding_size()
        self.logit_scale = float(self._model.logit_scale.exp())
        bias = getattr(self._model, "logit_bias", None)
        self.logit_bias = None if bias is None else float(bias)

    def encode_images(self, batch: np.ndarray) -> np.ndarray:
        """Embed (n, resolution, resolution, 3) uint8 views: (n, dim) float32, unit rows.

        A batch that the device has no memory for is done in halves.
        """
        return self._images(batch)

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts: (n, dim) float32, unit rows. Tokens past `context` are cut."""
        tokens = self.tokenizer()(list(texts)).to(self.device)
        return unit_rows(self._model.encode_text(tokens))

    def count_tokens(self, text: str) -> int:
        """How many tokens `text` has, start and end tokens included."""
        tokenizer = self.tokenizer()
        if isinstance(tokenizer, open_clip.SimpleTokenizer):
            return len(tokenizer.encode(text)) + 2
        return len(tokenizer.tokenizer(text)["input_ids"])

    def text_export(self) -> TextExport | None:
        """What `clipsearch.encoders.onnx.text_export` writes for queries without torch."""
        return text_export(self._model, self.tokenizer(), self.context)

    def image_export(self) -> torch.nn.Module:
        """What `clipsearch.encoders.onnx.export` writes for pictures without torch."""
        return self._images.whole()

    def tokenizer(self) -> Any:
        """open_clip's tokenizer of the model, read when it is first needed."""
        # Indexing needs none, and a tokenizer from the hub imports transformers.
        if self._tokenizer is None:
            self._tokenizer = from_hub(
                self._recipe.architecture,
                lambda: open_clip.get_tokenizer(self._recipe.architecture),
            )
        return self._tokenizer

    def _embedding_size(self) -> int:
        black = np.zeros((1, self.resolution, self.resolution, 3), np.uint8)
        return int(self.encode_images(black).shape[1])


class _Images(torch.nn.Module):
    """The image tower: (n, c, r, r) pixels to (n, dim) embeddings."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        embeddings: torch.Tensor = self.model.encode_image(pixels)
        return embeddings


def load(spec: Spec, device: str, precision: str) -> OpenClipEncoder:
    """The encoder of an open_clip model.

    Raises:
        ModelError: no such model, or weights that do not fit it.
        WeightsUnavailable: the weights are not here and could not be downloaded.
    """
    recipe = resolve(spec)
    with quiet():
        return OpenClipEncoder(recipe, weights_hash(recipe.checkpoint), device, precision)


def download(spec: Spec) -> Path:
    """Fetch weights and tokenizer into the Hugging Face cache; gives the weights file."""
    recipe = resolve(spec)
    from_hub(str(spec), lambda: open_clip.get_tokenizer(recipe.architecture))
    return recipe.checkpoint


def bare(spec: Spec) -> tuple[Any, View]:
    """The open_clip model of `spec` itself, and how pictures are brought to what it sees.

    Raises:
        ModelError, WeightsUnavailable: as `load`.
    """
    with quiet():
        model = build(resolve(spec)).eval().requires_grad_(False)
    return model, _view(model.visual.preprocess_cfg)


def _context(recipe: Recipe) -> int:
    """How many tokens the tokenizer gives at most; a tower of transformers' could take more."""
    name = recipe.architecture
    config = from_hub(name, lambda: open_clip.get_model_config(name))
    return int(config["text_cfg"].get("context_length", open_clip.tokenizer.DEFAULT_CONTEXT_LENGTH))


def _view(config: dict[str, Any]) -> View:
    # Not open_clip's transform itself: that needs torch wherever pictures are decoded, and makes
    # a float tensor of four times the bytes; normalizing is done on the device, by the batch.
    bilinear = config["interpolation"] == "bilinear"
    return View(
        _side(config["size"]),
        config["resize_mode"],
        Image.Resampling.BILINEAR if bilinear else Image.Resampling.BICUBIC,
        config["fill_color"],
    )


def _describe(config: dict[str, Any], quick_gelu: bool) -> str:
    facts = {key: config[key] for key in ("size", "mean", "std", "interpolation", "resize_mode")}
    return json.dumps(facts | {"quick_gelu": quick_gelu}, sort_keys=True)


def _side(size: int | Sequence[int]) -> int:
    if isinstance(size, int):
        return size
    if len(set(size)) != 1:
        raise ModelError(f"models that see {size[0]}x{size[1]} pixels are not supported")
    return int(size[0])
