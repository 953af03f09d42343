"""Alpha-CLIP (Sun et al., 2023): CLIP with a fourth channel, which tells the part that is meant.

It is OpenAI's CLIP with one more convolution, of the mask, whose patches are added to those of the
colours. The authors' checkpoints hold the image tower alone, since they left the text tower as it
was; that one is then OpenAI's own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from open_clip.model import build_model_from_openai_state_dict

from clipsearch.encoders.hub import weights_hash
from clipsearch.encoders.openclip.checkpoint import State, tensors_in
from clipsearch.encoders.openclip.encoder import OpenClipEncoder
from clipsearch.encoders.openclip.recipe import Recipe, resolve
from clipsearch.encoders.quiet import quiet
from clipsearch.encoders.spec import Spec
from clipsearch.errors import ModelError, first_line
from clipsearch.photos.decoding.view import MaskedView, with_all

VISUAL, ALPHA, TEXT = "visual.", "conv1_alpha.weight", "token_embedding.weight"

# OpenAI's, and last those of the mask.
MEAN = (0.48145466, 0.4578275, 0.40821073, 0.5)
STD = (0.26862954, 0.26130258, 0.27577711, 0.26)

# OpenAI's models by the patches, the width and the positions of their image towers.
_TOWERS = {
    (32, 768, 50): "ViT-B-32",
    (16, 768, 197): "ViT-B-16",
    (14, 1024, 257): "ViT-L-14",
    (14, 1024, 577): "ViT-L-14-336",
}


class AlphaEncoder(OpenClipEncoder):
    """An Alpha-CLIP model as an `Encoder`; without a mask the whole picture is meant."""

    prepare: MaskedView

    def __init__(
        self, recipe: Recipe, weights: str, device: str, precision: str, model: Any
    ) -> None:
        super().__init__(recipe, weights, device, precision, model)
        self.prepare = MaskedView(self.resolution)

    def encode_images(self, batch: np.ndarray) -> np.ndarray:
        """Embed (n, resolution, resolution, 3 or 4) uint8 views: (n, dim) float32, unit rows.

        The fourth channel is 255 where the part is that is meant, and 0 elsewhere.
        """
        return super().encode_images(with_all(batch))


class Patches(torch.nn.Module):
    """Patches of four channels, in the place of CLIP's own convolution of three."""

    def __init__(self, colours: Any, kernel: torch.Tensor) -> None:
        super().__init__()
        self.colours = colours
        self.kernel = torch.nn.Parameter(kernel)

    @property
    def weight(self) -> torch.Tensor:
        """That of the colours, which transformers asks for the precision."""
        weight: torch.Tensor = self.colours.weight
        return weight

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(n, 4, r, r) pixels to (n, width, r / patch, r / patch)."""
        # Laid out as CLIP's own pixels are, so that the sums are the same to the last bit.
        colours = pixels[:, :3].contiguous(memory_format=torch.channels_last)
        of_mask = torch.nn.functional.conv2d(
            pixels[:, 3:], self.kernel, None, self.colours.stride, self.colours.padding
        )
        patches: torch.Tensor = self.colours(colours) + of_mask
        return patches


def load(spec: Spec, device: str, precision: str) -> AlphaEncoder:
    """The encoder of an Alpha-CLIP checkpoint.

    Raises:
        ModelError: a file that is none.
        WeightsUnavailable: it has no text tower, and OpenAI's could not be downloaded.
    """
    file = download(spec)
    with quiet():
        model = _model(file)
        # Of the recipe only the tokenizer is taken, which is the same for all of OpenAI's models.
        recipe = Recipe("ViT-B-32", file, True, None)
        return AlphaEncoder(recipe, weights_hash(file), device, precision, model)


def download(spec: Spec) -> Path:
    """The weights file, which must be here already: the authors offer it by hand alone.

    Raises:
        ModelError: it is no file.
    """
    file = Path(spec.file)
    if spec.hub or not file.is_file():
        raise ModelError(
            f"{spec} is no weights file. Download one from the list of models of the authors,"
            " https://github.com/SunzeY/AlphaCLIP, and write alpha-clip:FILE."
        )
    return file


def _model(file: Path) -> Any:
    state = state_in(file)
    kernel = state.pop(VISUAL + ALPHA, None)
    if kernel is None:
        raise ModelError(
            f"{file} has no {ALPHA}, so it is not of Alpha-CLIP; for plain CLIP write its"
            " architecture, as ViT-B-16:FILE"
        )
    if TEXT not in state:
        state = _openai(file, state) | state
    try:
        model = build_model_from_openai_state_dict(dict(state), cast_dtype=torch.float32).float()
        model.load_state_dict(state)  # once more, since building halves the precision
    except (ArithmeticError, AssertionError, LookupError, RuntimeError, ValueError) as error:
        raise ModelError(
            f"the weights in {file} are not of a CLIP that can be built: {first_line(error)}"
        ) from error
    colours = model.visual.conv1
    if kernel.shape != (colours.out_channels, 1, *colours.kernel_size):
        raise ModelError(f"the {ALPHA} in {file} is not of the size of its other weights")
    model.visual.conv1 = Patches(colours, kernel)
    side = model.visual.image_size
    model.visual.preprocess_cfg = {
        "size": side, "mode": "RGB", "mean": MEAN, "std": STD, "interpolation": "bicubic",
        "resize_mode": "shortest", "fill_color": 0,
    }  # fmt: skip
    return model.eval().requires_grad_(False)


def state_in(file: Path) -> State:
    """The tensors of a checkpoint in float32, named as CLIP names them."""
    state = {name: tensor.float() for name, tensor in tensors_in(file).items()}
    if ALPHA in state:  # the image tower alone
        state = {VISUAL + name: tensor for name, tensor in state.items()}
    # The authors' attention is a layer of its own, CLIP's a part of another.
    return {
        name.replace(".attn.in_proj.", ".attn.in_proj_"): tensor
        for name, tensor in state.items()
        if name not in ("input_resolution", "context_length", "vocab_size")
    }


def _openai(file: Path, state: State) -> State:
    """What OpenAI's model of the same image tower holds beside that tower."""
    try:
        width, _, patch, _ = state[VISUAL + "conv1.weight"].shape
        name = _TOWERS[patch, width, len(state[VISUAL + "positional_embedding"])]
    except (KeyError, ValueError) as error:
        raise ModelError(
            f"{file} has no text tower, and its image tower is not of a size that OpenAI's CLIP"
            f" has: {', '.join(_TOWERS.values())}"
        ) from error
    whole = state_in(resolve(Spec("open_clip", name, tag="openai")).checkpoint)
    return {name: tensor for name, tensor in whole.items() if not name.startswith(VISUAL)}
