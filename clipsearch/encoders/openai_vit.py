"""The parts of a ViT as OpenAI's CLIP names them, by the names that transformers gives them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_PARTS = {
    "conv1.weight": "embeddings.patch_embedding.weight",
    "class_embedding": "embeddings.class_embedding",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_pre": "pre_layrnorm", "ln_post": "post_layernorm",
}  # fmt: skip
_LAYER_PARTS = {
    "ln_1": "layer_norm1", "ln_2": "layer_norm2", "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2",
}  # fmt: skip


def as_transformers(name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    """A tensor of the tower, but for its projection, by its name there; one of it may be three.

    Raises:
        KeyError: there is no such part.
    """
    found = re.fullmatch(r"transformer\.resblocks\.(\d+)\.(.+)", name)
    if not found:
        return {_exchanged(name, _PARTS): tensor}
    layer, part = f"encoder.layers.{found[1]}.", found[2]
    if joint := re.fullmatch(r"attn\.in_proj_(weight|bias)", part):
        thirds = zip("qkv", tensor.chunk(3), strict=True)
        return {f"{layer}self_attn.{which}_proj.{joint[1]}": third for which, third in thirds}
    return {layer + _exchanged(part, _LAYER_PARTS): tensor}


def _exchanged(name: str, names: dict[str, str]) -> str:
    for theirs, ours in names.items():
        if name == theirs or name.startswith(theirs + "."):
            return ours + name.removeprefix(theirs)
    raise KeyError(name)
