"""How well a model finds, in the few numbers that are looked at after each epoch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clipsearch.evaluation.ranks import best_ranks_of, ranks_of
from clipsearch.evaluation.retrieval import KS


@dataclass(frozen=True, slots=True)
class Recall:
    """Shares of questions of which a right answer is among the first 1, 5 and 10."""

    text_to_image: tuple[float, ...]
    image_to_text: tuple[float, ...]

    @property
    def mean(self) -> float:
        """All of them in one number, to compare two models by."""
        return float(np.mean([*self.text_to_image, *self.image_to_text]))

    def as_dict(self) -> dict[str, dict[str, float]]:
        """The shares as `--json` shows them."""
        ways = {"text_to_image": self.text_to_image, "image_to_text": self.image_to_text}
        return {
            way: {f"recall_at_{k}": round(share, 6) for k, share in zip(KS, shares, strict=True)}
            for way, shares in ways.items()
        }


def recall(images: np.ndarray, texts: np.ndarray, owners: np.ndarray) -> Recall:
    """Recall of images (n, dim) and their texts (m, dim), float32 unit rows.

    `owners` (m,) int64, ascending, says which image each text is of; each image has one at least.
    """
    return Recall(
        _shares(ranks_of(texts, images, owners)), _shares(best_ranks_of(images, texts, owners))
    )


def _shares(ranks: np.ndarray) -> tuple[float, ...]:
    return tuple(float((ranks <= k).mean()) for k in KS)
