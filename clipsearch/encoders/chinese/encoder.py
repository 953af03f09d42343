"""Chinese-CLIP as an encoder: a folder that transformers wrote, or a file of the authors'."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import constants as hub_constants
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from tokenizers import Tokenizer

from clipsearch.encoders.aliases import CHINESE_FILES, TRANSFORMERS_FILES
from clipsearch.encoders.chinese.preprocessing import (
    PREPROCESSOR,
    PROCESSOR,
    Preprocessing,
    read_json,
    told_in,
)
from clipsearch.encoders.hub import from_hub, weights_hash
from clipsearch.encoders.images import DTYPES, ImageTower, batch_size, unit_rows
from clipsearch.encoders.onnx.text_export import TextExport
from clipsearch.encoders.onnx.texts import TokenRules
from clipsearch.encoders.quiet import quiet
from clipsearch.encoders.spec import Spec, weights_in
from clipsearch.errors import ModelError, first_line

CONTEXT = 52  # tokens; all of the authors' models were trained with so many
CONFIG = "config.json"
VOCABULARIES = ("tokenizer.json", "vocab.txt")  # one of them is enough
OWN_VOCABULARY = Path(__file__).parent  # of Chinese BERT, which all of the authors' models have
OWN_TOKENS = 21128
LONGEST_WORD = 200  # letters of a word that the authors' tokenizer still takes apart


@dataclass(frozen=True, slots=True)
class Parts:
    """A model as torch has it, and what goes with it."""

    model: Any  # transformers' ChineseCLIPModel, or what has its parts
    tokenizer: Any  # transformers' BertTokenizerFast
    preprocessing: Preprocessing


class ChineseEncoder:
    """A Chinese-CLIP model as an `Encoder`."""

    def __init__(self, parts: Parts, weights: str, device: str, precision: str) -> None:
        self._model = parts.model.to(device)
        self._tokenizer = parts.tokenizer
        config = self._model.config
        self.resolution = int(config.vision_config.image_size)
        prepared = parts.preprocessing
        self.prepare = prepared.view
        # Precision pays in the image tower alone, as with open_clip's models.
        for part in (self._model.vision_model, self._model.visual_projection):
            part.to(dtype=DTYPES[precision])
        self._images = ImageTower(
            Images(self._model), prepared.mean, prepared.std, device, precision
        )
        self.weights = weights
        facts = {"size": self.resolution, "mean": prepared.mean, "std": prepared.std}
        facts |= {"resize_mode": prepared.view.fit}
        facts |= {"interpolation": prepared.view.resample.name.lower()}
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
        return unit_rows(embedded(self._model, *self.tokens(texts)))

    def tokens(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Texts as (n, longest) int64 tokens, cut after `context` of them, and 1 where they are."""
        limits = {"padding": True, "truncation": True, "max_length": self.context}
        told = self._tokenizer(list(texts), return_tensors="pt", **limits).to(self.device)
        return told["input_ids"], told["attention_mask"]

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


class Images(torch.nn.Module):
    """The image tower and its projection: (n, 3, r, r) pixels to (n, dim) embeddings."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        # The parts by themselves, since what `get_image_features` gives changed between versions.
        self.tower, self.projection = model.vision_model, model.visual_projection

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Embed normalized pixels."""
        embeddings: torch.Tensor = self.projection(self.tower(pixel_values=pixels).pooler_output)
        return embeddings


def embedded(model: Any, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """What the text tower makes of (n, t) int64 tokens where the mask is 1: (n, dim) embeddings."""
    states = model.text_model(tokens, mask)
    embeddings: torch.Tensor = model.text_projection(states.last_hidden_state[:, 0])
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
        return ChineseEncoder(read(weights), weights_hash(weights), device, precision)


def download(spec: Spec) -> Path:
    """Fetch weights, vocabulary and configuration; gives the weights file.

    Raises:
        ModelError: a folder that holds no model.
        WeightsUnavailable: they could not be downloaded.
    """
    if spec.hub:
        return from_hub(str(spec), lambda: _fetch(spec.hub))
    path = Path(spec.file)
    if path.is_file():
        return path
    weights = weights_in(path)
    if weights is None or not (path / CONFIG).is_file():
        raise ModelError(
            f"{path} is no folder of a Chinese-CLIP model: it must hold {CONFIG},"
            f" {' or '.join(TRANSFORMERS_FILES)}, and {' or '.join(VOCABULARIES)}"
        )
    return weights


def read(weights: Path) -> Parts:
    """What a weights file is of: one of the authors', or one in a folder of transformers'.

    Raises:
        ModelError: it is damaged, or what goes with it is, or is missing.
    """
    folder = weights.parent
    is_transformers = weights.name in TRANSFORMERS_FILES
    if is_transformers:
        model, tokenizer = _model(folder), tokenizer_in(folder)
        told, source = told_in(folder)
    else:
        _need_transformers()
        from clipsearch.encoders.chinese import authors

        model, told, source = authors.read(weights), {}, weights
        tokenizer = authors_tokenizer(folder, model.config.text_config.vocab_size)
    side = int(model.config.vision_config.image_size)
    return Parts(model, tokenizer, Preprocessing.of(side, told, source))


def _fetch(repository: str) -> Path:
    # The weights last: if they are in the cache, so is all that was there beside them.
    for name in (CONFIG, PREPROCESSOR, PROCESSOR, "tokenizer_config.json", *VOCABULARIES):
        _fetched(repository, name)
    own = CHINESE_FILES.get(repository)
    names = (*TRANSFORMERS_FILES, own) if own else TRANSFORMERS_FILES
    for name in names:
        if weights := _fetched(repository, name):
            return weights
    raise OSError(f"{repository} has no {' and no '.join(names)}")


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
    _need_transformers()
    from transformers import ChineseCLIPModel

    kind = read_json(folder / CONFIG).get("model_type")
    if kind != "chinese_clip":
        raise ModelError(f"{folder} holds a model of the type {kind!r}, not 'chinese_clip'")
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


def _need_transformers() -> None:
    if find_spec("transformers") is None:
        raise ModelError("Chinese-CLIP needs: pip install 'clipsearch[chinese]'")
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # a second long, and not ours


def authors_tokenizer(folder: Path, tokens: int) -> Any:
    """The tokenizer of one of the authors' models, which knows so many tokens.

    Their vocabulary is here; of another there must be a file in the folder.

    Raises:
        ModelError: there is none, or one of another size.
    """
    source = OWN_VOCABULARY if tokens == OWN_TOKENS else folder
    tokenizer = tokenizer_in(source)
    if len(tokenizer) != tokens:
        raise ModelError(
            f"the model knows {tokens} tokens, and the vocabulary in {source} has {len(tokenizer)}"
        )
    tokenizer.backend_tokenizer.model.max_input_chars_per_word = LONGEST_WORD
    return tokenizer


def tokenizer_in(folder: Path) -> Any:
    """The tokenizer of a folder's vocabulary.

    Raises:
        ModelError: it holds none, or a damaged one.
    """
    from transformers import BertTokenizerFast

    if not any((folder / name).is_file() for name in VOCABULARIES):
        raise ModelError(f"{folder} holds no vocabulary: {' or '.join(VOCABULARIES)}")
    try:
        return BertTokenizerFast.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # damaged files raise nearly anything
        raise ModelError(
            f"the vocabulary in {folder} cannot be read: {first_line(error)}"
        ) from error
