"""How well texts fit pictures, of which none need be indexed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from clipsearch.encoders import Encoder
from clipsearch.errors import InvalidInput
from clipsearch.search.pictures import Picture, Stored, embed_picture

log = logging.getLogger("clipsearch")


@dataclass(frozen=True, slots=True)
class Scores:
    """Each picture compared with each text."""

    cosines: np.ndarray  # (pictures, texts) float32
    probabilities: np.ndarray  # (pictures, texts) float32; each row's sum is 1


def score_pictures(
    pictures: Sequence[Picture],
    texts: Sequence[str],
    encoder: Callable[[], Encoder],
    stored: Stored,
) -> Scores:
    """Compare pictures with texts; `stored` gives embeddings that are there already.

    Raises:
        InvalidInput: no pictures, no texts, an empty one, or a file that is no picture.
    """
    if not pictures:
        raise InvalidInput("name at least one picture")
    if isinstance(texts, str) or not texts:
        raise InvalidInput('give the texts to compare: --text "a dog" --text "a cat"')
    if not all(text.strip() for text in texts):
        raise InvalidInput("one of the texts is empty")
    rows = np.stack([embed_picture(picture, encoder, stored) for picture in pictures])
    model = encoder()
    for text in texts:
        if model.count_tokens(text) > model.context:
            log.warning("the model reads %d tokens; cut: %s...", model.context, text[:40])
    cosines = rows @ embed_texts(model, texts).T
    return Scores(cosines, softmax(cosines, model.logit_scale))


def embed_texts(encoder: Encoder, texts: Sequence[str]) -> np.ndarray:
    """Embed texts: (n, dim) float32, unit rows."""
    return encoder.encode_texts(list(texts))


def softmax(cosines: np.ndarray, logit_scale: float) -> np.ndarray:
    """Probabilities along the last axis, as if one of the texts were right: float32, same shape.

    This is how CLIP was trained (Radford et al. 2021, https://arxiv.org/abs/2103.00020). SigLIP
    was trained with a sigmoid and a bias for each pair, which say how likely each text is by
    itself; among given texts the order is the same, and that is what these numbers are for.
    """
    logits = cosines * np.float32(logit_scale)
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(odds / odds.sum(-1, keepdims=True))
