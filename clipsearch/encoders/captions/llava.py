"""LLaVA (Liu et al., 2023) by transformers, which may see a part of a picture by Alpha-CLIP.

Alpha-CLIP's authors put their image tower into LLaVA-1.5 in the place of CLIP's own of the same
size: it sees the whole picture, and the mask of the part in a fourth channel (Sun et al., 2023).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from clipsearch.encoders import alpha
from clipsearch.encoders.captions.blip import read_model, read_part
from clipsearch.encoders.captions.logits import Checked
from clipsearch.encoders.images import DTYPES, Pixels, in_halves
from clipsearch.encoders.openai_vit import as_transformers
from clipsearch.encoders.quiet import quiet
from clipsearch.errors import ModelError
from clipsearch.photos.decoding.view import MaskedView, View, with_all

ASKED = "Describe what the picture shows in one short sentence."
LONGEST = 60  # tokens of an answer

_LARGE = 1_000_000_000  # parameters, from which on float32 would fill most machines' memory
_WHITE = 252  # of 255, from which on the authors' mask counts after it was scaled

# LLaVA-1.5's way to ask, where a model brings none of its own.
_PROMPT = "USER: {image}\n{asked} ASSISTANT:"


class LlavaCaptioner:
    """LLaVA as a `Captioner`; with a checkpoint of Alpha-CLIP it sees the part that is meant."""

    def __init__(self, name: str, device: str, alpha_file: Path | None = None) -> None:
        import transformers

        self._config = read_part(name, transformers.AutoConfig.from_pretrained)
        if self._config.model_type != "llava":
            raise ModelError(
                f"{name} is a model of the type {self._config.model_type} and no LLaVA; name it"
                " without llava: before it"
            )
        model = read_model(name, transformers.LlavaForConditionalGeneration)
        processor = read_part(name, transformers.AutoImageProcessor.from_pretrained)
        mean, std = processor.image_mean, processor.image_std
        if alpha_file is None:
            self.prepare = _view(processor, self._side)
        else:
            _put_in(alpha_file, model)
            colour = tuple(int(255 * part) for part in mean)
            # As in the authors' demonstration: the whole picture, on a square of the mean colour.
            self.prepare = WholeView(self._side, "longest", fill=colour)
            mean, std = (*mean, alpha.MEAN[3]), (*std, alpha.STD[3])
        self._checked = Checked(name if alpha_file is None else f"{name} with {alpha_file}")
        self._sees_parts = alpha_file is not None
        self._dtype = _dtype(model, device)
        self._model = model.to(device, self._dtype)
        self._pixels = Pixels(mean, std, device)
        self._tokenizer = read_part(name, transformers.AutoTokenizer.from_pretrained)
        self._tokens = self._tokenizer(self._prompt(name), return_tensors="pt").to(device)
        self.batch_size = 1 if torch.device(device).type == "cpu" else 8

    @property
    def _side(self) -> int:
        return int(self._config.vision_config.image_size)

    def write(self, batch: np.ndarray) -> list[str]:
        """A sentence about each of (n, r, r, 3 or 4) uint8 views."""
        batch = with_all(batch) if self._sees_parts else batch
        return [text for part in in_halves(batch, self._answers) for text in part]

    @torch.inference_mode()
    def _answers(self, batch: np.ndarray) -> list[str]:
        pixels = self._pixels(batch).to(self._dtype)
        asked = {name: rows.repeat(len(batch), 1) for name, rows in self._tokens.items()}
        with quiet(), torch.device(pixels.device):  # transformers makes masks where torch says
            tokens = self._model.generate(
                **asked, pixel_values=pixels, max_new_tokens=LONGEST, do_sample=False,
                logits_processor=[self._checked],
            )  # fmt: skip
        answers = tokens[:, asked["input_ids"].shape[1] :]
        texts = self._tokenizer.batch_decode(answers, skip_special_tokens=True)
        return [" ".join(text.split()) for text in texts]

    def _prompt(self, name: str) -> str:
        """What is asked, in the model's own form, with as many places as its tower has patches."""
        image = self._tokenizer.convert_ids_to_tokens(self._config.image_token_id)
        if image is None:
            raise ModelError(f"the tokenizer of {name} has no token that stands for a picture")
        said = _PROMPT.format(image=image, asked=ASKED)
        if self._tokenizer.chat_template:
            content = [{"type": "image"}, {"type": "text", "text": ASKED}]
            said = self._tokenizer.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
            )
        patches = (self._side // self._config.vision_config.patch_size) ** 2
        places = patches + (self._config.vision_feature_select_strategy == "full")
        return str(said).replace(image, image * places)


@dataclass(frozen=True, slots=True)
class WholeView(MaskedView):
    """The whole picture, and a mask that counts where it is white through and through."""

    def with_mask(self, image: Image.Image, mask: Image.Image) -> np.ndarray:
        """An RGB picture and a mask of its size, 255 in the part, as (size, size, 4) uint8."""
        shown = np.where(self(mask.convert("RGB"))[..., :1] >= _WHITE, 255, 0)
        return np.concatenate([self(image), shown.astype(np.uint8)], axis=2)


def _view(processor: Any, side: int) -> View:
    """What LLaVA sees by itself, as its processor says: the middle, or all on a square."""
    resample = Image.Resampling(processor.resample)
    if getattr(processor, "do_pad", False):
        colour = tuple(int(255 * part) for part in processor.image_mean)
        return View(side, "longest", resample, colour)
    return View(side, "shortest" if processor.do_center_crop else "squash", resample)


def _put_in(file: Path, model: Any) -> None:
    """Put the image tower of an Alpha-CLIP checkpoint in the place of a LLaVA's own.

    Raises:
        ModelError: it is none, or of another size.
    """
    state = alpha.state_in(file)
    kernel = state.pop(alpha.VISUAL + alpha.ALPHA, None)
    if kernel is None:
        raise ModelError(f"{file} has no {alpha.ALPHA}, so it is not of Alpha-CLIP")
    tower = model.model.vision_tower
    tower = getattr(tower, "vision_model", tower)
    try:
        wanted = {name: value.shape for name, value in tower.state_dict().items()}
        named = _as_transformers(state)
        wrong = [name for name in wanted if name not in named or named[name].shape != wanted[name]]
        if wrong:
            raise ModelError(
                f"the image tower in {file} is not of the size of this LLaVA's: {wrong[0]} is"
                " missing or of another shape"
            )
        tower.load_state_dict({name: named[name] for name in wanted})
        colours = tower.embeddings.patch_embedding
        tower.embeddings.patch_embedding = alpha.Patches(colours, kernel)
    except AttributeError as error:
        raise ModelError("the image tower of this LLaVA is none of CLIP's") from error


def _as_transformers(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """An image tower of OpenAI's CLIP by the names that transformers gives its parts."""
    named: dict[str, torch.Tensor] = {}
    for name, value in state.items():
        if name.startswith(alpha.VISUAL):
            with suppress(KeyError):  # what is no part of it, as its projection
                named |= as_transformers(name.removeprefix(alpha.VISUAL), value)
    return named


def _dtype(model: Any, device: str) -> torch.dtype:
    """Half precision on a GPU, and where the weights would else fill the memory."""
    if torch.device(device).type != "cpu":
        return DTYPES["fp16"]
    large = sum(value.numel() for value in model.parameters()) > _LARGE
    return DTYPES["bf16" if large else "fp32"]
