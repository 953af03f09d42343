"""Captions and image-text matching by transformers: BLIP (Li et al., 2022), and ViT with GPT-2."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import constants
from PIL import Image

from clipsearch.encoders.captions.logits import Checked
from clipsearch.encoders.hub import from_hub, offline
from clipsearch.encoders.images import Pixels, in_halves
from clipsearch.encoders.quiet import quiet
from clipsearch.errors import ModelError, first_line
from clipsearch.photos.decoding.view import View

BEAMS = 3  # the captions that BLIP's paper reports were searched for with as many
LONGEST = 30  # tokens of a caption

# The class that runs a captioning model, by the type that its configuration states.
_CAPTIONERS = {
    "blip": "BlipForConditionalGeneration",
    "vision-encoder-decoder": "VisionEncoderDecoderModel",
}


class _Sight:
    """What a transformers model sees of a picture."""

    def __init__(self, processor: Any, name: str, device: str) -> None:
        size = dict(processor.size)
        if not size.get("height") or size["height"] != size.get("width"):
            raise ModelError(f"{name} does not see a square, and so cannot be used: {size}")
        self.prepare = View(size["height"], "squash", Image.Resampling(processor.resample))
        self.pixels = Pixels(processor.image_mean, processor.image_std, device)


class SentenceCaptioner:
    """BLIP, or another pair of an image encoder and a text decoder, as a `Captioner`."""

    def __init__(self, name: str, device: str) -> None:
        import transformers

        config = read_part(name, transformers.AutoConfig.from_pretrained)
        if config.model_type not in _CAPTIONERS:
            raise ModelError(
                f"{name} is a model of the type {config.model_type}, which writes no captions"
                f" here; models of the types {' and '.join(_CAPTIONERS)} do"
            )
        kind = getattr(transformers, _CAPTIONERS[config.model_type])
        self._model = read_model(name, kind).float().to(device)
        self._tokenizer = read_part(name, transformers.AutoTokenizer.from_pretrained)
        processor = read_part(name, transformers.AutoImageProcessor.from_pretrained)
        sight = _Sight(processor, name, device)
        self.prepare, self._pixels = sight.prepare, sight.pixels
        self._checked = Checked(name)
        self.batch_size = 8 if torch.device(device).type == "cpu" else 64

    def write(self, batch: np.ndarray) -> list[str]:
        """A caption for each of (n, r, r, 3) uint8 views."""
        return [text for part in in_halves(batch, self._captions) for text in part]

    @torch.inference_mode()
    def _captions(self, batch: np.ndarray) -> list[str]:
        pixels = self._pixels(batch)
        with quiet(), torch.device(pixels.device):  # transformers makes masks where torch says
            tokens = self._model.generate(
                pixel_values=pixels, num_beams=BEAMS, max_new_tokens=LONGEST, do_sample=False,
                logits_processor=[self._checked],
            )  # fmt: skip
        texts = self._tokenizer.batch_decode(tokens, skip_special_tokens=True)
        return [" ".join(text.split()) for text in texts]


class BlipMatcher:
    """BLIP's image-text matching head as a `Matcher`."""

    def __init__(self, name: str, device: str) -> None:
        from transformers import AutoImageProcessor, AutoTokenizer, BlipForImageTextRetrieval

        self._model = read_model(name, BlipForImageTextRetrieval).float().to(device)
        self._tokenizer = read_part(name, AutoTokenizer.from_pretrained)
        sight = _Sight(read_part(name, AutoImageProcessor.from_pretrained), name, device)
        self.prepare, self._pixels = sight.prepare, sight.pixels
        self._checked = Checked(name)
        self._longest = int(self._model.config.text_config.max_position_embeddings)
        self.batch_size = 8 if torch.device(device).type == "cpu" else 64

    def match(self, batch: np.ndarray, text: str) -> np.ndarray:
        """How likely each of (n, r, r, 3) uint8 views fits a text: (n,) float32, 0 to 1."""
        return np.concatenate(in_halves(batch, partial(self._fits, text)))

    @torch.inference_mode()
    def _fits(self, text: str, batch: np.ndarray) -> np.ndarray:
        pixels = self._pixels(batch)
        limits = {"truncation": True, "max_length": self._longest}
        tokens = self._tokenizer([text] * len(batch), return_tensors="pt", **limits)
        with torch.device(pixels.device):  # transformers makes masks where torch says
            found = self._model(
                input_ids=tokens["input_ids"].to(pixels.device),
                attention_mask=tokens["attention_mask"].to(pixels.device),
                pixel_values=pixels,
            )
        scores = self._checked(tokens["input_ids"], found.itm_score.float())
        fits: np.ndarray = scores.softmax(dim=-1)[:, 1].cpu().numpy()
        return fits


def read_model(name: str, kind: Any) -> Any:
    """The model of a name as one of transformers' classes, in the precision that it is kept in.

    Raises:
        ModelError: its weights are others, or cannot be read.
        WeightsUnavailable: they are not here and could not be downloaded.
    """
    model, found = read_part(name, lambda *where, **how: kind.from_pretrained(
        *where, output_loading_info=True, **how
    ))  # fmt: skip
    # transformers fills with random numbers what it does not find; what no answer depends on may.
    absent = [key for key in map(str, found["missing_keys"]) if "pooler" not in key]
    if absent := sorted({*absent, *map(str, found["mismatched_keys"])}):
        raise ModelError(
            f"the weights of {name} are not those of a {kind.__name__}: {absent[0]} is missing or"
            f" of a wrong size, as are {len(absent) - 1} others"
        )
    return model.eval().requires_grad_(False)


def read_part(name: str, get: Callable[..., Any]) -> Any:
    """What `get` reads of a model by its name: its tokenizer, say.

    Raises:
        ModelError, WeightsUnavailable: as `read_model`.
    """
    if not Path(name).is_dir():
        return from_hub(name, lambda: _loaded(name, get), _WAYS_ON)
    try:
        with offline(), quiet():
            return _loaded(name, get)
    except Exception as error:  # damaged files raise nearly anything
        raise ModelError(f"the model in {name} cannot be read: {first_line(error)}") from error


def _loaded(name: str, get: Callable[..., Any]) -> Any:
    """What `get` loads; a bar is drawn only while something is downloaded."""
    from transformers.utils import logging

    drawn = logging.is_progress_bar_enabled()
    if constants.HF_HUB_OFFLINE:
        logging.disable_progress_bar()
    try:
        return get(name)
    finally:
        if drawn:
            logging.enable_progress_bar()


_WAYS_ON = (
    "Connect to the internet once; or name a folder that holds its files:"
    " config.json, preprocessor_config.json, the tokenizer's, and model.safetensors."
)
