"""How well texts fit pictures, of which none need be indexed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from clipsearch.encoders.rows import embedded_texts
from clipsearch.errors import InvalidInput, arg
from clipsearch.models.loading import TextEncoder

T = TypeVar("T")

log = logging.getLogger("clipsearch")


@dataclass(frozen=True, slots=True)
class Scores:
    """Each picture compared with each text."""

    cosines: np.ndarray  # (pictures, texts) float32
    # (pictures, texts) float32, as `probabilities` gives them; NaN where a text would have to be
    # compared with others and there are none.
    probabilities: np.ndarray


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
        raise InvalidInput(
            f'give the texts to compare, such as "a dog" and "a cat", with {arg("texts")}'
        )
    if not all(text.strip() for text in texts):
        raise InvalidInput("one of the texts is empty")
    rows = np.stack([embed(picture) for picture in pictures])
    model = text_encoder()
    for text in texts:
        if model.count_tokens(text) > model.context:
            log.warning("the model reads %d tokens; cut: %s...", model.context, text[:40])
    cosines = rows @ embedded_texts(model, texts).T
    chances = probabilities(cosines, model.logit_scale, model.logit_bias)
    if len(texts) == 1 and model.logit_bias is None:
        chances[:] = np.nan  # a share of one would be 1, whatever the picture shows
    return Scores(cosines, chances)


def probabilities(cosines: np.ndarray, logit_scale: float, logit_bias: float | None) -> np.ndarray:
    """Probabilities of the texts along the last axis, as the model was trained: float32.

    CLIP was trained with a softmax (Radford et al. 2021, https://arxiv.org/abs/2103.00020): as if
    one of the texts were right, they add up to 1. SigLIP was trained with a sigmoid and a bias
    (Zhai et al. 2023, https://arxiv.org/abs/2303.15343): each says how likely a text is by itself.
    """
    logits = cosines * np.float32(logit_scale)
    if logit_bias is not None:
        # The sigmoid, in a form that neither overflows nor rounds small ones to 0.
        return np.asarray(np.exp(-np.logaddexp(0, -(logits + np.float32(logit_bias)))))
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(odds / odds.sum(-1, keepdims=True))
