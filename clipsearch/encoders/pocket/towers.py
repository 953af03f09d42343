"""The frozen towers of the pocket model, read from the packages that carry them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clipsearch.encoders.pocket.heads import Heads
from clipsearch.encoders.pocket.parts import tokenizer_in

STAGES = (2, 4, 5, 6)  # the image tower's stages whose maps are handed on
EXACT = 3  # so many stages, of the first, stay in float32: bfloat16 there costs all the accuracy
GRID = 9  # the side of its last map, to which the earlier ones are averaged
TEXT_LAYERS = 6
TEXT_HEADS = 12
TEXT_WIDTH = 384
MIDDLE_LAYER = 3


class ImageTower(nn.Module):
    """EfficientNet-Lite2 without its classifier's last say: maps, pooled features and logits."""

    def __init__(self, path: Path, dtype: torch.dtype = torch.float32, folded: bool = True) -> None:
        """Read it from its package's file; `folded` merges its norms into what they follow."""
        super().__init__()
        self.net = _efficientnet(path)
        if folded:
            _fold_norms(self.net)
        self._dtype = dtype
        for part in (*self.net.blocks[EXACT:], self.net.conv_head):
            part.to(dtype)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(n, 3, 260, 260) float32 in [-1, 1] to (n, 81, 728) maps, (n, 1280) features, float32."""
        x = self.net.bn1(self.net.conv_stem(pixels))
        maps = []
        for number, stage in enumerate(self.net.blocks):
            x = stage(x.to(self._dtype) if number == EXACT else x)
            if number in STAGES:
                maps.append(F.adaptive_avg_pool2d(x, GRID).float())
        pooled = self.net.bn2(self.net.conv_head(x)).float().mean((2, 3))
        return torch.cat(maps, 1).flatten(2).transpose(1, 2), pooled

    def classify(self, pooled: Tensor) -> Tensor:
        """(n, 1280) pooled features to (n, 1000) ImageNet logits, float32."""
        head = self.net.classifier
        return F.linear(pooled, head.weight, head.bias)


def _efficientnet(path: Path) -> Any:
    import timm

    net: Any = timm.create_model("tf_efficientnet_lite2", pretrained=False)
    saved = torch.load(path, weights_only=True, map_location="cpu")
    own = net.state_dict()
    # The package names its tensors otherwise, but keeps timm's order.
    renamed = dict(zip(own, saved.values(), strict=True))
    net.load_state_dict(renamed)  # which checks every shape
    net.eval().requires_grad_(False)
    return net


def _fold_norms(net: Any) -> None:
    """Merge each batch norm into the convolution before it: faster, and exacter in bf16."""
    _fold(net, "conv_stem", "bn1")
    _fold(net, "conv_head", "bn2")
    for stage in net.blocks:
        for block in stage:
            inverted = hasattr(block, "conv_pwl")
            convs = ("conv_pw", "conv_dw", "conv_pwl") if inverted else ("conv_dw", "conv_pw")
            for number, conv in enumerate(convs, start=1):
                _fold(block, conv, f"bn{number}")


def _fold(owner: Any, conv_name: str, norm_name: str) -> None:
    conv, norm = getattr(owner, conv_name), getattr(owner, norm_name)
    gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    conv.weight.data.mul_(gain[:, None, None, None])
    conv.bias = nn.Parameter(norm.bias - norm.running_mean * gain, requires_grad=False)
    setattr(owner, norm_name, norm.act)


def pixels_of(views: Tensor) -> Tensor:
    """(n, 260, 260, 3) uint8 views to (n, 3, 260, 260) float32 in [-1, 1]."""
    pixels = views.permute(0, 3, 1, 2).float().div(127.5).sub(1)
    return pixels.contiguous(memory_format=torch.channels_last)


class TextTower(nn.Module):
    """all-MiniLM-L6-v2: a six-layer BERT, written out here because importing one takes seconds."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        from safetensors.torch import load_file

        saved = load_file(path)
        self.words = nn.Parameter(saved["embeddings.word_embeddings.weight"])
        self.positions = nn.Parameter(saved["embeddings.position_embeddings.weight"])
        # Sentences come alone, so that every token is of the first kind.
        self.kind = nn.Parameter(saved["embeddings.token_type_embeddings.weight"][0])
        self.norm = _norm(saved, "embeddings.LayerNorm")
        self.layers = nn.ModuleList(
            _TextLayer(saved, f"encoder.layer.{number}") for number in range(TEXT_LAYERS)
        )
        self.eval().requires_grad_(False)

    def forward(self, tokens: Tensor, present: Tensor) -> Tensor:
        """(n, t) int64 tokens, (n, t) bool to (n, t, 768): the last layer's and the middle's."""
        positions = self.positions[: tokens.shape[1]]
        x = self.norm(F.embedding(tokens, self.words) + positions + self.kind)
        middle = x
        for number, layer in enumerate(self.layers, start=1):
            x = layer(x, present[:, None, None])
            middle = x if number == MIDDLE_LAYER else middle
        return torch.cat([x, middle], -1)


class JointText(nn.Module):
    """The text tower and the heads as one module, for texts of one length; CPU, float32."""

    def __init__(self, tower: TextTower, heads: Heads) -> None:
        super().__init__()
        self.tower = copy.deepcopy(tower).cpu()
        self.heads = copy.deepcopy(heads).cpu()

    def forward(self, tokens: Tensor) -> Tensor:
        """(n, t) int64 tokens to (n, dim) float32 unit rows."""
        present = torch.ones_like(tokens, dtype=torch.bool)
        return self.heads.text(self.tower(tokens, present), present)


class JointPhoto(nn.Module):
    """The image tower and the heads as one module."""

    def __init__(self, tower: ImageTower, heads: Heads) -> None:
        super().__init__()
        self.tower = tower
        self.heads = heads

    def forward(self, views: Tensor) -> Tensor:
        """(n, 260, 260, 3) uint8 views to (n, dim) float32 unit rows."""
        maps, pooled = self.tower(pixels_of(views))
        # The heads are small and stay in float32: only the tower has a precision.
        return self.heads.photo(maps, pooled, self.tower.classify(pooled))


class _TextLayer(nn.Module):
    def __init__(self, saved: Mapping[str, Tensor], name: str) -> None:
        super().__init__()
        self.query = _linear(saved, f"{name}.attention.self.query")
        self.key = _linear(saved, f"{name}.attention.self.key")
        self.value = _linear(saved, f"{name}.attention.self.value")
        self.merge = _linear(saved, f"{name}.attention.output.dense")
        self.merge_norm = _norm(saved, f"{name}.attention.output.LayerNorm")
        self.widen = _linear(saved, f"{name}.intermediate.dense")
        self.narrow = _linear(saved, f"{name}.output.dense")
        self.narrow_norm = _norm(saved, f"{name}.output.LayerNorm")

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = (_split(part(x)) for part in (self.query, self.key, self.value))
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = self.merge_norm(x + self.merge(seen.transpose(1, 2).flatten(2)))
        normed: Tensor = self.narrow_norm(x + self.narrow(F.gelu(self.widen(x))))
        return normed


def _split(x: Tensor) -> Tensor:
    n, t, _ = x.shape
    return x.view(n, t, TEXT_HEADS, -1).transpose(1, 2)


def _linear(saved: Mapping[str, Tensor], name: str) -> nn.Linear:
    weight, bias = saved[f"{name}.weight"], saved[f"{name}.bias"]
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(bias)
    return layer


def _norm(saved: Mapping[str, Tensor], name: str) -> nn.LayerNorm:
    layer = nn.LayerNorm(TEXT_WIDTH, eps=1e-12, device="meta")
    layer.weight = nn.Parameter(saved[f"{name}.weight"])
    layer.bias = nn.Parameter(saved[f"{name}.bias"])
    return layer


class Tokenizer:
    """MiniLM's tokenizer: texts as padded token numbers."""

    def __init__(self, path: Path, context: int) -> None:
        self._context = context
        self._inner = tokenizer_in(path)

    def to_str(self) -> str:
        """The tokenizer as JSON of the tokenizers library."""
        return str(self._inner.to_str())

    def count(self, text: str) -> int:
        """How many tokens a text has, start and end tokens included."""
        return len(self._inner.encode(text).ids)

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Texts to (n, t) int64 tokens, and (n, t) bool: which of them are no padding."""
        rows = [torch.tensor(self._cut(self._inner.encode(text).ids)) for text in texts]
        lengths = torch.tensor([len(row) for row in rows])
        tokens = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        return tokens, torch.arange(tokens.shape[1]) < lengths[:, None]

    def _cut(self, row: list[int]) -> list[int]:
        # The end token stays the last one when a text is cut.
        return row if len(row) <= self._context else [*row[: self._context - 1], row[-1]]
