"""The text towers and tokenizers of open_clip, in the form in which they are exported."""

from __future__ import annotations

import copy
from typing import Any

import open_clip
import torch
from open_clip.transformer import text_global_pool
from tokenizers import Tokenizer

from clipsearch.encoders.onnx.text_export import TextExport
from clipsearch.encoders.onnx.texts import TokenRules
from clipsearch.encoders.openclip.words import clip_tokenizer


def text_export(model: Any, tokenizer: Any, context: int) -> TextExport | None:
    """What to export of an open_clip model; None for a kind that is not known."""
    module = module_of(model)
    if module is None:
        return None
    causal = isinstance(module, _Causal)
    if isinstance(tokenizer, open_clip.SimpleTokenizer):
        json, clean = _clip_tokenizer(tokenizer), _cleaning(tokenizer)
        rules = TokenRules(context, clean, None if causal else 0, causal=causal)
    elif getattr(tokenizer, "tokenizer_mode", None) == "":
        fast = tokenizer.tokenizer
        json = fast.backend_tokenizer.to_str()
        replaced = fast.sep_token_id if tokenizer.strip_sep_token else None
        rules = TokenRules(context, _cleaning(tokenizer), fast.pad_token_id, replaced)
    else:
        return None
    bare = Tokenizer.from_str(json)
    bare.no_truncation()
    bare.no_padding()
    # A copy, since the model itself may be on a GPU.
    module = copy.deepcopy(module).float().cpu().eval()
    return TextExport(module, bare.to_str(), rules)


def module_of(model: Any) -> torch.nn.Module | None:
    """The text tower of an open_clip model as it is exported, with the model's own weights.

    (n, t) int64 tokens to (n, dim) unit rows; None for a kind that is not known.
    """
    part = getattr(model, "text", model)
    causal = (
        getattr(part, "attn_mask", None) is not None
        and getattr(part, "cls_emb", None) is None
        and not getattr(part, "use_pad_mask", False)
        and _pooling(part) in ("argmax", "eos")
    )
    if causal:
        return _Causal(part)
    return None if part is model else _Whole(part)


class _Causal(torch.nn.Module):
    """A causal tower run on as many tokens as there are, where open_clip wants all 77.

    What follows the end token changes nothing before it.
    """

    def __init__(self, part: Any) -> None:
        super().__init__()
        self.token_embedding = part.token_embedding
        self.transformer = part.transformer
        self.ln_final = part.ln_final
        self.positions = part.positional_embedding
        self.projection = part.text_projection
        self.mask: torch.Tensor
        self.register_buffer("mask", part.attn_mask.clone())
        self._pooling = _pooling(part)
        self._end = getattr(part, "text_eos_id", getattr(part, "eos_id", None))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(n, t) int64 tokens to (n, dim) unit rows."""
        length = tokens.shape[1]
        x = self.token_embedding(tokens) + self.positions[:length]
        x = self.ln_final(self.transformer(x, attn_mask=self.mask[:length, :length]))
        x = text_global_pool(x, tokens, self._pooling, self._end)
        if isinstance(self.projection, torch.nn.Linear):
            x = self.projection(x)
        elif self.projection is not None:
            x = x @ self.projection
        return torch.nn.functional.normalize(x, dim=-1)


class _Whole(torch.nn.Module):
    """A tower run as open_clip runs it, always on a full context."""

    def __init__(self, part: Any) -> None:
        super().__init__()
        self.part = part

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(n, context) int64 tokens to (n, dim) unit rows."""
        return torch.nn.functional.normalize(self.part(tokens), dim=-1)


def _pooling(part: Any) -> str:
    return str(getattr(part, "text_pool_type", getattr(part, "pool_type", "")))


def _cleaning(tokenizer: Any) -> str:
    ways = ("lower", "whitespace", "canonicalize")
    names = {open_clip.tokenizer.get_clean_fn(way): way for way in ways}
    return names[tokenizer.clean_fn]


def _clip_tokenizer(simple: Any) -> str:
    merges = sorted(simple.bpe_ranks, key=simple.bpe_ranks.get)
    tokenizer = clip_tokenizer(simple.encoder, merges, simple.sot_token_id, simple.eot_token_id)
    return str(tokenizer.to_str())
