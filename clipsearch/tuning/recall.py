"""How often the right one comes first: recall of captions and photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DEPTHS = (1, 5, 10)


@dataclass(frozen=True, slots=True)
class Recall:
    """Shares of questions of which a right answer is among the first 1, 5 and 10."""

    text_to_image: tuple[float, ...]
    image_to_text: tuple[float, ...]

    @property
    def mean(self) -> float:
        """All of them in one number, to compare two models by."""
        return float(np.mean([*self.text_to_image, *self.image_to_text]))


def recall(images: np.ndarray, texts: np.ndarray, owners: Sequence[int] | np.ndarray) -> Recall:
    """Recall among (n, dim) images and (m, dim) texts, of which `owners` tells each one's image.

    A photo is found if any of its captions is; what ties with the right one counts before it.
    """
    right = np.asarray(owners)
    scores = texts @ images.T
    own = scores[np.arange(len(right)), right]
    to_image = (scores >= own[:, None]).sum(1) - 1
    best = np.full(len(images), -np.inf, scores.dtype)
    np.maximum.at(best, right, own)
    others = np.where(right[:, None] == np.arange(len(images)), -np.inf, scores)
    to_text = (others >= best).sum(0)
    return Recall(_shares(to_image), _shares(to_text))


def _shares(ranks: np.ndarray) -> tuple[float, ...]:
    return tuple(float((ranks < depth).mean()) for depth in DEPTHS)
