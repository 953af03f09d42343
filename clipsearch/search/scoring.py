"""How well texts fit pictures, of which none need be indexed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from clipsearch.errors import InvalidInput
from clipsearch.models import TextEncoder

T = TypeVar("T")

log = logging.getLogger("clipsearch")


@dataclass(frozen=True, slots=True)
class Scores:
    """Each picture compared with each text."""

    cosines: np.ndarray  # (pictures, texts) float32
    probabilities: np.ndarray  # (pictures, texts) float32; each row's sum is 1


def score_pictures(
    pictures: Sequence[T],
    texts: Sequence[str],
    embed: Callable[[T], np.ndarray],
    text_encoder: Callable[[], TextEncoder],
) -> Scores:
    """Compare pictures, of which `embed` gives (dim,) float32 unit embeddings, with texts.

    Raises:
        InvalidInput: no pictures, no texts, an empty one, or a file that is no picture.
    """
    if not pictures:
        raise InvalidInput("name at least one picture")
    if isinstance(texts, str) or not texts:
        raise InvalidInput('give the texts to compare: --text "a dog" --text "a cat"')
    if not all(text.strip() for text in texts):
        raise InvalidInput("one of the texts is empty")
    rows = np.stack([embed(picture) for picture in pictures])
    model = text_encoder()
    for text in texts:
        if model.count_tokens(text) > model.context:
            log.warning("the model reads %d tokens; cut: %s...", model.context, text[:40])
    cosines = rows @ model.encode_texts(texts).T
    return Scores(cosines, softmax(cosines, model.logit_scale))


def softmax(cosines: np.ndarray, logit_scale: float) -> np.ndarray:
    """Probabilities along the last axis, as if one of the texts were right: float32, same shape.

    This is how CLIP was trained (Radford et al. 2021, https://arxiv.org/abs/2103.00020). SigLIP
    was trained with a sigmoid and a bias for each pair, which say how likely each text is by
    itself; among given texts the order is the same, and that is what these numbers are for.
    """
    logits = cosines * np.float32(logit_scale)
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(odds / odds.sum(-1, keepdims=True))
