"""The authors' own form of a Chinese-CLIP: one `.pt` file, whose tensors tell its size.

A ViT becomes the model that transformers has for it, of the same numbers. Of the ResNet there is
none in transformers: it is put together here, with its parts named alike.
"""

from __future__ import annotations

import io
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from open_clip.modified_resnet import ModifiedResNet
from transformers import ChineseCLIPConfig, ChineseCLIPModel, ChineseCLIPTextModel

from clipsearch.encoders.openai_vit import as_transformers
from clipsearch.encoders.openclip.checkpoint import State, tensors_in
from clipsearch.errors import ModelError, first_line

HEAD = 64  # numbers that a head of attention has, but for the widest image tower
_HEAD_OF = {1280: 80}

VISUAL, BERT = "visual.", "bert."
_RESNET = "visual.layer1.0.conv1.weight"


@dataclass(frozen=True, slots=True)
class Shape:
    """How large the towers of a model are."""

    dim: int
    side: int  # pixels
    layers: int | tuple[int, ...]  # of a ViT; of the four stages of a ResNet
    width: int
    patch: int | None  # None of a ResNet
    head: int
    text: dict[str, Any]  # as transformers names it

    @property
    def is_resnet(self) -> bool:
        """Whether its image tower is a ResNet."""
        return not isinstance(self.layers, int)


class ResNetModel(torch.nn.Module):
    """Chinese-CLIP with a ResNet, its parts named as transformers names those of a ViT's."""

    def __init__(self, config: Any, shape: Shape) -> None:
        super().__init__()
        assert not isinstance(shape.layers, int)
        self.config = config
        heads = 32 * shape.width // shape.head
        self.vision_model = _Pooled(
            ModifiedResNet(list(shape.layers), shape.dim, heads, shape.side, shape.width)
        )
        self.visual_projection = torch.nn.Identity()  # the tower ends with one of its own
        self.text_model = ChineseCLIPTextModel(config.text_config, add_pooling_layer=False)
        self.text_projection = torch.nn.Linear(shape.text["hidden_size"], shape.dim, bias=False)
        torch.nn.init.normal_(self.text_projection.weight, std=shape.text["hidden_size"] ** -0.5)
        self.logit_scale = torch.nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def authors_form(self) -> bytes:
        """A file as the authors' own training writes it, which their package reads."""
        state = {}
        for name, tensor in self.state_dict().items():
            name = name.replace("vision_model.tower.", VISUAL).replace("text_model.", BERT)
            of_words = name == "text_projection.weight"
            state["text_projection" if of_words else name] = tensor.T if of_words else tensor
        named = {f"module.{name}": part.detach().clone() for name, part in state.items()}
        content = io.BytesIO()  # in which nothing tells of a file's name
        torch.save({"epoch": 0, "step": 0, "name": "clipsearch", "state_dict": named}, content)
        return content.getvalue()


class _Pooled(torch.nn.Module):
    def __init__(self, tower: Any) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, pixel_values: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(pooler_output=self.tower(pixel_values))


def read(file: Path) -> Any:
    """The model in a file of the authors', in float32.

    Raises:
        ModelError: it is none, or damaged.
    """
    state = {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in tensors_in(file).items()
        if not name.startswith("bert.pooler")
    }
    try:
        shape = _shape(state)
        model = _built(shape, _renamed(state, shape))
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise ModelError(
            f"the weights in {file} are of no Chinese-CLIP that can be built: {first_line(error)}"
        ) from error
    return model.float().eval().requires_grad_(False)


def fresh(shape: Shape) -> Any:
    """A model of that shape with random weights."""
    config = _config(shape)
    return ResNetModel(config, shape) if shape.is_resnet else ChineseCLIPModel(config)


def _built(shape: Shape, state: State) -> Any:
    if shape.is_resnet:
        model = fresh(shape)
        model.load_state_dict(state)
        return model
    # Not made at random first, which takes long where it is large.
    model, found = ChineseCLIPModel.from_pretrained(
        None, config=_config(shape), state_dict=state, output_loading_info=True
    )
    faults = [*found["missing_keys"], *found["unexpected_keys"], *found["mismatched_keys"]]
    if faults:
        raise ValueError(f"{faults[0]} is missing, of a wrong size or unknown")
    return model


def _config(shape: Shape) -> Any:
    image: dict[str, Any] = {"image_size": shape.side, "hidden_act": "relu"}
    if not shape.is_resnet:
        image |= {
            "hidden_size": shape.width, "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.width // shape.head, "patch_size": shape.patch,
            "intermediate_size": 4 * shape.width, "hidden_act": "quick_gelu",
        }  # fmt: skip
    return ChineseCLIPConfig(vision_config=image, text_config=shape.text, projection_dim=shape.dim)


def described(told: dict[str, Any]) -> Shape:
    """The shape that a file of the authors' configurations, of image and text tower, tells.

    Raises:
        ModelError: it lacks something.
        TypeError, ValueError: something is no number.
    """
    try:
        layers, width = told["vision_layers"], int(told["vision_width"])
        if isinstance(layers, str):
            layers = json.loads(layers)
        text = {
            name.removeprefix("text_"): value
            for name, value in told.items()
            if name.startswith("text_")
        }
        return Shape(
            int(told["embed_dim"]), int(told["image_resolution"]),
            tuple(layers) if isinstance(layers, list) else int(layers), width,
            told.get("vision_patch_size"), int(told.get("vision_head_width", HEAD)),
            text | {"vocab_size": int(told["vocab_size"])},
        )  # fmt: skip
    except KeyError as error:
        raise ModelError(f"it tells no {error}") from error


def _shape(state: State) -> Shape:
    words = state["bert.embeddings.word_embeddings.weight"]
    text = {
        "vocab_size": words.shape[0], "hidden_size": words.shape[1],
        "num_hidden_layers": _count(state, r"bert\.encoder\.layer\.(\d+)\."),
        "num_attention_heads": words.shape[1] // HEAD,
        "intermediate_size": len(state["bert.encoder.layer.0.intermediate.dense.bias"]),
        "max_position_embeddings": len(state["bert.embeddings.position_embeddings.weight"]),
        "type_vocab_size": len(state["bert.embeddings.token_type_embeddings.weight"]),
    }  # fmt: skip
    dim = state["text_projection"].shape[1]
    if _RESNET in state:
        layers = tuple(_count(state, rf"visual\.layer{stage}\.(\d+)\.") for stage in (1, 2, 3, 4))
        side = 32 * _grid(state["visual.attnpool.positional_embedding"])
        return Shape(dim, side, layers, len(state[_RESNET]), None, HEAD, text)
    width, _, patch, _ = state["visual.conv1.weight"].shape
    return Shape(
        dim, patch * _grid(state["visual.positional_embedding"]),
        _count(state, r"visual\.transformer\.resblocks\.(\d+)\."), width, patch,
        _HEAD_OF.get(width, HEAD), text,
    )  # fmt: skip


def _grid(positions: torch.Tensor) -> int:
    """How many patches a side has; there is one position more than patches."""
    return math.isqrt(len(positions) - 1)


def _count(state: State, pattern: str) -> int:
    return len({found[1] for name in state if (found := re.match(pattern, name))})


def _renamed(state: State, shape: Shape) -> State:
    renamed: State = {}
    for name, tensor in state.items():
        if name == "text_projection":
            renamed["text_projection.weight"] = tensor.T.contiguous()
        elif name.startswith(BERT):
            renamed["text_model." + name.removeprefix(BERT)] = tensor
        elif not name.startswith(VISUAL):
            renamed[name] = tensor
        elif shape.is_resnet:
            renamed["vision_model.tower." + name.removeprefix(VISUAL)] = tensor
        else:
            renamed |= _of_vit(name.removeprefix(VISUAL), tensor)
    return renamed


def _of_vit(name: str, tensor: torch.Tensor) -> State:
    """A tensor of the authors' ViT by its name in transformers, where one of theirs is three."""
    if name == "proj":
        return {"visual_projection.weight": tensor.T.contiguous()}
    return {f"vision_model.{ours}": part for ours, part in as_transformers(name, tensor).items()}
