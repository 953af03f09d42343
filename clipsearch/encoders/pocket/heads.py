"""The trained heads of the pocket model: from the towers' features to one joint space."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from clipsearch.errors import ModelError

TOKEN_WIDTH = 48 + 120 + 208 + 352  # the image tower's four maps, one after another
GRID = 9
POOLED = 1280
CLASSES = 1000
SENTENCE = 384
WORD = 2 * SENTENCE  # a word is the text tower's last and middle layer, side by side


@dataclass(frozen=True, slots=True)
class HeadShape:
    """The sizes of the heads."""

    members: int = 2
    width: int = 256
    out: int = 256
    layers: int = 1
    queries: int = 4
    dropout: float = 0.1


class Block(nn.Module):
    """One pre-norm transformer layer."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.merge = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * width, width),
        )
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(n, t, width) to the same shape; `mask` (n, 1, 1, t) bool, true where one may look."""
        n, t, width = x.shape
        q, k, v = self.qkv(self.norm(x)).view(n, t, 3, width // 64, 64).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.drop(self.merge(seen.transpose(1, 2).reshape(n, t, width)))
        mixed: Tensor = x + self.drop(self.mlp(x))
        return mixed


class AttentionPool(nn.Module):
    """Several learned queries over the tokens, each giving one part of the result."""

    def __init__(self, width: int, queries: int, out: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.score = nn.Linear(width, queries)
        self.value = nn.Linear(width, width)
        self.merge = nn.Linear(queries * width, out)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(n, t, width) tokens to (n, out)."""
        x = self.norm(x)
        score = self.score(x).transpose(1, 2)
        if mask is not None:
            score = score.masked_fill(~mask[:, 0], -1e4)
        pooled = score.softmax(-1) @ self.value(x)
        merged: Tensor = self.merge(pooled.flatten(1))
        return merged


class PhotoHead(nn.Module):
    """From an image tower's features to one part of the joint space."""

    def __init__(self, shape: HeadShape) -> None:
        super().__init__()
        width, drop = shape.width, shape.dropout
        self.tokens = nn.Linear(TOKEN_WIDTH, width)
        # Of the map's cells; files of heads have it under this name.
        self.place = nn.Parameter(torch.randn(GRID * GRID, width) * 0.02)
        self.pooled = nn.Linear(POOLED, width)
        self.named = nn.Linear(SENTENCE, width)
        self.blocks = nn.ModuleList(Block(width, drop) for _ in range(shape.layers))
        self.pool = AttentionPool(width, shape.queries, shape.out)
        self.direct = nn.Sequential(nn.Dropout(2 * drop), nn.Linear(POOLED + SENTENCE, shape.out))
        self.drop = nn.Dropout(drop)

    def forward(
        self, tokens: Tensor, pooled: Tensor, named: Tensor, cells: Tensor | None = None
    ) -> Tensor:
        """(n, t, TOKEN_WIDTH), (n, POOLED), (n, SENTENCE) to (n, out), not yet unit length.

        `cells` (t,) int64 says which of the map's tokens these are; all, if not given.
        """
        where = self.place if cells is None else self.place[cells]
        x = self.tokens(tokens) + where
        whole = torch.stack([self.pooled(pooled), self.named(named)], 1)
        x = self.drop(torch.cat([whole, x], 1))
        for block in self.blocks:
            x = block(x, None)
        joint: Tensor = self.pool(x, None) + self.direct(torch.cat([pooled, named], 1))
        return joint


class TextHead(nn.Module):
    """From a text tower's words to one part of the joint space."""

    def __init__(self, shape: HeadShape) -> None:
        super().__init__()
        width, drop = shape.width, shape.dropout
        self.words = nn.Linear(WORD, width)
        self.blocks = nn.ModuleList(Block(width, drop) for _ in range(shape.layers))
        self.pool = AttentionPool(width, shape.queries, shape.out)
        self.direct = nn.Sequential(nn.Dropout(drop), nn.Linear(SENTENCE, shape.out))
        self.drop = nn.Dropout(drop)

    def forward(self, words: Tensor, sentence: Tensor, present: Tensor) -> Tensor:
        """(n, t, WORD), (n, SENTENCE), (n, t) bool to (n, out), not yet unit length."""
        mask = present[:, None, None]
        x = self.drop(self.words(words))
        for block in self.blocks:
            x = block(x, mask)
        joint: Tensor = self.pool(x, mask) + self.direct(sentence)
        return joint


class Scales(nn.Module):
    """What brings the towers' features to mean 0 and deviation 1, and names to the classes."""

    tokens: Tensor
    pooled: Tensor
    words: Tensor
    names: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("tokens", torch.zeros(2, TOKEN_WIDTH))  # means, then deviations
        self.register_buffer("pooled", torch.zeros(2, POOLED))
        self.register_buffer("words", torch.zeros(2, WORD))
        self.register_buffer("names", torch.zeros(CLASSES, SENTENCE))  # unit rows

    def named(self, logits: Tensor) -> Tensor:
        """(n, CLASSES) logits to (n, SENTENCE): the names' embeddings, as likely as the classes."""
        return _even(logits.softmax(-1) @ self.names)

    def sentence(self, words: Tensor, present: Tensor) -> Tensor:
        """(n, t, WORD), (n, t) bool to (n, SENTENCE): the last layer's mean, as MiniLM is read."""
        last = words[..., :SENTENCE] * present[..., None]
        return _even(last.sum(1))


def _even(rows: Tensor) -> Tensor:
    # Rows of deviation 1, as the other features have it.
    unit: Tensor = F.normalize(rows, dim=-1)
    return unit * math.sqrt(SENTENCE)


class Heads(nn.Module):
    """All heads: their parts side by side are the joint space."""

    def __init__(self, shape: HeadShape) -> None:
        super().__init__()
        self.shape = shape
        self.scales = Scales()
        self.photos = nn.ModuleList(PhotoHead(shape) for _ in range(shape.members))
        self.texts = nn.ModuleList(TextHead(shape) for _ in range(shape.members))

    @property
    def dim(self) -> int:
        """The joint space's dimensions."""
        return self.shape.members * self.shape.out

    def photo(self, tokens: Tensor, pooled: Tensor, logits: Tensor) -> Tensor:
        """(n, 81, TOKEN_WIDTH), (n, POOLED), (n, CLASSES) to (n, dim) unit rows."""
        tokens = standard(tokens, self.scales.tokens)
        pooled = standard(pooled, self.scales.pooled)
        named = self.scales.named(logits)
        return _side_by_side([head(tokens, pooled, named) for head in self.photos])

    def text(self, words: Tensor, present: Tensor) -> Tensor:
        """(n, t, WORD), (n, t) bool to (n, dim) unit rows."""
        sentence = self.scales.sentence(words, present)
        words = standard(words, self.scales.words) * present[..., None]
        return _side_by_side([head(words, sentence, present) for head in self.texts])


def standard(x: Tensor, scale: Tensor) -> Tensor:
    """`x` less the means (the first row of `scale`), over the deviations (the second)."""
    return (x - scale[0]) / scale[1]


def _side_by_side(parts: list[Tensor]) -> Tensor:
    # Unit parts, so that the cosine of the whole is the mean of the members' cosines.
    return F.normalize(torch.cat([F.normalize(part, dim=-1) for part in parts], -1), dim=-1)


def heads_from(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Heads:
    """The heads that a file's tensors and metadata describe, in float32."""
    heads = Heads(HeadShape(**json.loads(metadata["shape"])))
    heads.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    return heads.eval().requires_grad_(False)


def read_heads(file: Path) -> tuple[Heads, float]:
    """The heads of a file, and what their cosines are multiplied by to be logits.

    Raises:
        ModelError: it holds no heads of the pocket model.
    """
    try:
        with safe_open(file, framework="pt") as stored:
            metadata = stored.metadata() or {}
            tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118
        return heads_from(tensors, metadata), float(metadata["logit scale"])
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise ModelError(f"{file} holds no heads of the pocket model") from error


def heads_to(heads: Heads) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors, in float16, and the metadata that `heads_from` reads back."""
    tensors = {name: tensor.half().contiguous() for name, tensor in heads.state_dict().items()}
    return tensors, {"shape": json.dumps(asdict(heads.shape))}
