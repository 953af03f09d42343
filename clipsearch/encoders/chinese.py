"""Chinese-CLIP (Yang et al., 2022) as transformers runs it: photos, and words in Chinese.

The image tower is a ViT, the text tower a RoBERTa whose first token's last state stands for the
text. A model is a folder that transformers wrote, or a repository of the Hugging Face hub.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import constants as hub_constants
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from PIL import Image
from tokenizers import Tokenizer

from clipsearch.encoders.hub import from_hub, weights_hash
from clipsearch.encoders.images import DTYPES, ImageTower, batch_size, unit_rows
from clipsearch.encoders.onnx.text_export import TextExport
from clipsearch.encoders.onnx.texts import TokenRules
from clipsearch.encoders.quiet import quiet
from clipsearch.encoders.spec import TRANSFORMERS_FILES, Spec, weights_in
from clipsearch.errors import ModelError, first_line
from clipsearch.photos.decoding.view import Fit, View

CONTEXT = 52  # tokens; all of the authors' models were trained with so many
CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
VOCABULARIES = ("tokenizer.json", "vocab.txt")  # one of them is enough

# The authors' own preprocessing, for a folder that does not tell.
_USUAL: dict[str, Any] = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": int(Image.Resampling.BICUBIC),
    "do_center_crop": False,
}


class ChineseEncoder:
    """A Chinese-CLIP model as an `Encoder`."""

    def __init__(self, folder: Path, weights: str, device: str, precision: str) -> None:
        self._model = _model(folder).to(device)
        self._tokenizer = _tokenizer(folder)
        config = self._model.config
        self.resolution = int(config.vision_config.image_size)
        told = _USUAL | _json(folder / PREPROCESSOR)
        fit = _fit(told, self.resolution, folder)
        self.prepare = View(self.resolution, fit, Image.Resampling(told["resample"]))
        mean, std = told["image_mean"], told["image_std"]
        # Precision pays in the image tower alone, as with open_clip's models.
        for part in (self._model.vision_model, self._model.visual_projection):
            part.to(dtype=DTYPES[precision])
        self._images = ImageTower(_Images(self._model), mean, std, device, precision)
        self.weights = weights
        facts = {"size": self.resolution, "mean": mean, "std": std, "resize_mode": fit}
        facts |= {"interpolation": self.prepare.resample.name.lower()}
        facts |= {"activation": config.vision_config.hidden_act}
        self.preprocess = json.dumps(facts, sort_keys=True)
        self.dim = int(config.projection_dim)
        self.context = min(CONTEXT, int(config.text_config.max_position_embeddings))
        self.batch_size = batch_size(device)
        self.logit_scale = float(self._model.logit_scale.exp())
        self.logit_bias = None
        self.device, self.precision = device, precision

    def encode_images(self, batch: np.ndarray) -> np.ndarray:
        """Embed (n, resolution, resolution, 3) uint8 views: (n, dim) float32, unit rows."""
        return self._images(batch)

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts: (n, dim) float32, unit rows. Tokens past `context` are cut."""
        if not texts:
            return np.empty((0, self.dim), np.float32)
        limits = {"padding": True, "truncation": True, "max_length": self.context}
        told = self._tokenizer(list(texts), return_tensors="pt", **limits).to(self.device)
        states = self._model.text_model(told["input_ids"], told["attention_mask"])
        return unit_rows(self._model.text_projection(states.last_hidden_state[:, 0]))

    def count_tokens(self, text: str) -> int:
        """How many tokens `text` has, start and end tokens included."""
        return len(self._tokenizer(text, verbose=False)["input_ids"])

    def text_export(self) -> TextExport:
        """What `clipsearch.encoders.onnx.text_export` writes for queries without torch."""
        bare = Tokenizer.from_str(self._tokenizer.backend_tokenizer.to_str())
        bare.no_truncation()
        bare.no_padding()
        return TextExport(_JointText(self._model), bare.to_str(), TokenRules(self.context, ""))

    def image_export(self) -> torch.nn.Module:
        """What `clipsearch.encoders.onnx.export` writes for pictures without torch."""
        return self._images.whole()


class _Images(torch.nn.Module):
    """The image tower and its projection: (n, 3, r, r) pixels to (n, dim) embeddings."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        # The parts by themselves, since what `get_image_features` gives changed between versions.
        self.tower, self.projection = model.vision_model, model.visual_projection

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        embeddings: torch.Tensor = self.projection(self.tower(pixel_values=pixels).pooler_output)
        return embeddings


class _JointText(torch.nn.Module):
    """The text tower and its projection, for texts of one length; CPU, float32."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.tower = copy.deepcopy(model.text_model).cpu()
        self.projection = copy.deepcopy(model.text_projection).cpu()

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(n, t) int64 tokens to (n, dim) unit rows."""
        first = self.tower(tokens).last_hidden_state[:, 0]
        return torch.nn.functional.normalize(self.projection(first), dim=-1)


def load(spec: Spec, device: str, precision: str) -> ChineseEncoder:
    """The encoder of a Chinese-CLIP model.

    Raises:
        ModelError: no such model, or files that are not one's.
        WeightsUnavailable: the weights are not here and could not be downloaded.
    """
    with quiet():
        weights = download(spec)
        return ChineseEncoder(weights.parent, weights_hash(weights), device, precision)


def download(spec: Spec) -> Path:
    """Fetch weights, vocabulary and configuration; gives the weights file.

    Raises:
        ModelError: a folder that holds no model.
        WeightsUnavailable: they could not be downloaded.
    """
    if spec.hub:
        return from_hub(str(spec), lambda: _fetch(spec.hub))
    folder = Path(spec.file)
    weights = weights_in(folder) if folder.is_dir() else None
    if weights is None or not (folder / CONFIG).is_file():
        raise ModelError(
            f"{folder} is no folder of a Chinese-CLIP model: it must hold {CONFIG},"
            f" {' or '.join(TRANSFORMERS_FILES)}, and {' or '.join(VOCABULARIES)}"
        )
    return weights


def _fetch(repository: str) -> Path:
    # The weights last: if they are in the cache, so is all that was there beside them.
    for name in (CONFIG, PREPROCESSOR, "tokenizer_config.json", *VOCABULARIES):
        _fetched(repository, name)
    for name in TRANSFORMERS_FILES:
        if weights := _fetched(repository, name):
            return weights
    raise OSError(f"{repository} has no {' and no '.join(TRANSFORMERS_FILES)}")


def _fetched(repository: str, name: str) -> Path | None:
    try:
        return Path(hf_hub_download(repository, name))
    except LocalEntryNotFoundError:
        if hub_constants.HF_HUB_OFFLINE:
            return None
        raise  # the network failed, which does not tell that there is no such file
    except EntryNotFoundError:
        return None


def _model(folder: Path) -> Any:
    try:
        from transformers import ChineseCLIPModel
        from transformers.utils.logging import disable_progress_bar
    except ImportError as error:
        raise ModelError("Chinese-CLIP needs: pip install 'clipsearch[chinese]'") from error
    kind = _json(folder / CONFIG).get("model_type")
    if kind != "chinese_clip":
        raise ModelError(f"{folder} holds a model of the type {kind!r}, not 'chinese_clip'")
    disable_progress_bar()  # a second long, and not ours
    try:
        model, found = ChineseCLIPModel.from_pretrained(
            folder, local_files_only=True, output_loading_info=True
        )
    except Exception as error:  # damaged files raise nearly anything
        raise ModelError(f"the model in {folder} cannot be read: {first_line(error)}") from error
    # transformers fills with random numbers what it does not find.
    if absent := sorted({*found["missing_keys"], *map(str, found["mismatched_keys"])}):
        raise ModelError(f"the weights in {folder} do not fit: {absent[0]} is missing or of a"
                         f" wrong size, as are {len(absent) - 1} others")  # fmt: skip
    return model.float().eval().requires_grad_(False)


def _tokenizer(folder: Path) -> Any:
    from transformers import BertTokenizerFast

    if not any((folder / name).is_file() for name in VOCABULARIES):
        raise ModelError(f"{folder} holds no vocabulary: {' or '.join(VOCABULARIES)}")
    try:
        return BertTokenizerFast.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # damaged files raise nearly anything
        raise ModelError(
            f"the vocabulary in {folder} cannot be read: {first_line(error)}"
        ) from error


def _json(file: Path) -> dict[str, Any]:
    """What a JSON file of the folder tells; nothing if it is not there."""
    if not file.is_file():
        return {}
    try:
        told = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be read: {first_line(error)}") from error
    if not isinstance(told, dict):
        raise ModelError(f"{file} is no configuration")
    return told


def _fit(told: dict[str, Any], side: int, folder: Path) -> Fit:
    """How the preprocessing makes a square: the authors squash, a centre crop keeps the shape."""
    square = {"height": side, "width": side}
    size, crop = told.get("size", square), told.get("crop_size", square)
    if not told["do_center_crop"] and size == square:
        return "squash"
    if (
        told["do_center_crop"]
        and size in (side, {"shortest_edge": side})
        and crop in (side, square)
    ):
        return "shortest"
    raise ModelError(
        f"{folder / PREPROCESSOR} asks for size {size} and crop {crop}, which a model of"
        f" {side}x{side} pixels cannot use"
    )
