"""Captions by CoCa (Yu et al., 2022), which embeds pictures and writes about them."""

from __future__ import annotations

from typing import Any

import numpy as np
import open_clip
import torch

from clipsearch.encoders.captions.logits import Checked
from clipsearch.encoders.images import Pixels, in_halves
from clipsearch.encoders.openclip.encoder import bare
from clipsearch.encoders.spec import Spec
from clipsearch.errors import ModelError, WeightsUnavailable, arg

SHORTEST, LONGEST = 5, 30  # tokens, as open_clip's own `generate` takes if nothing is said
_WAYS_ON = (
    "Connect to the internet once; or name the file of its weights, as"
    f" {arg('model')} coca_ViT-B-32:FILE does."
)


class CocaCaptioner:
    """An open_clip CoCa model as a `Captioner`.

    The likeliest token is taken each time, as by `generate(generation_type="top_k", top_k=1)`.
    That function itself needs parts of transformers that are gone since its version 5.
    """

    def __init__(self, spec: Spec, device: str) -> None:
        try:
            model, self.prepare = bare(spec)
        except WeightsUnavailable as error:
            raise error.advising(_WAYS_ON) from error
        if not hasattr(model, "text_decoder"):
            raise ModelError(f"{spec} writes no captions: of open_clip's models only CoCa does")
        self._checked = Checked(str(spec))
        self._model: Any = model.to(device)
        config = model.visual.preprocess_cfg
        self._pixels = Pixels(config["mean"], config["std"], device)
        self._tokenizer = open_clip.SimpleTokenizer()
        self.batch_size = 16 if torch.device(device).type == "cpu" else 128

    def write(self, batch: np.ndarray) -> list[str]:
        """A caption for each of (n, r, r, 3) uint8 views."""
        parts = in_halves(batch, self.tokens)
        return [self._as_text(tokens) for part in parts for tokens in part.tolist()]

    @torch.inference_mode()
    def tokens(self, batch: np.ndarray) -> torch.Tensor:
        """The tokens of the captions, (n, at most LONGEST) int64, padded with zeros."""
        seen = self._model(self._pixels(batch))
        features = {"image_latent": seen["image_features"], "image_embs": seen["image_embs"]}
        start, end = self._tokenizer.sot_token_id, self._tokenizer.eot_token_id
        device = seen["image_embs"].device
        out = torch.full((len(batch), 1), start, device=device)
        ended = torch.zeros(len(batch), dtype=torch.bool, device=device)
        while not ended.all() and out.shape[1] < LONGEST:
            found = self._model(None, out, **features, output_labels=False)
            logits = self._checked(out, found["logits"][:, -1])
            if out.shape[1] < SHORTEST:
                logits[:, end] = -torch.inf
            following = logits.argmax(dim=-1)
            if out.shape[1] + 1 == LONGEST:
                following[:] = end
            following[ended] = 0
            out = torch.cat([out, following[:, None]], dim=1)
            ended |= following == end
        return out

    def _as_text(self, tokens: list[int]) -> str:
        end = self._tokenizer.eot_token_id
        words = tokens[1 : tokens.index(end)] if end in tokens else tokens[1:]
        return " ".join(self._tokenizer.decode(words).split())
