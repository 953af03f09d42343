"""How far an answer stands out: 0 to 1, so that an unrelated question can be told that it is one.

A cosine alone says little: what is high for one model, library or question is low for another. So
a question in words is weighed by three numbers, which stay the same when a model's cosines are all
stretched or shifted:

- The score, above the mean score of a few dozen everyday texts (`NEUTRAL`) in the same library,
  in deviations of their scores on one and the same photo.
- How many photos were looked at: of many the best one scores high by chance.
- How far the question lies from those texts. What is told in detail ("two men in red shirts play
  football") scores higher on photos that fit in part than a plain word does on those that fit.

The last two are the same for all answers to a question, so the relevance falls as the score does.
How many of the photos fit is not asked: "a dog" stands out on each photo of a library of dogs.

A picture has no such texts. It is compared with how near the library's own photos lie to their
nearest neighbours. docs/relevance.md tells how the weights were found and what they are worth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from clipsearch.encoders.rows import are_units

SAMPLE = 2_000  # rows are enough to know a library's scores; more only cost time
COHORT = 60  # of the library's photos, whose nearest neighbours are looked at


class Scale(Protocol):
    """What scores are worth in one library: everything but the question."""

    weights: ClassVar[tuple[float, ...]]  # of the features, then a constant

    def features(self, query: np.ndarray, scores: np.ndarray, photos: int) -> np.ndarray:
        """What `relevance` weighs, (k, features)."""


@dataclass(frozen=True, slots=True)
class WordScale:
    """The scale for questions in words."""

    mean: float  # of the scores of everyday texts
    deviation: float  # of their scores on one photo
    centre: np.ndarray  # (dim,) float32, the mean of the everyday texts
    distance: float  # from it to one of them, in the mean

    # Fitted by scripts/eval_relevance.py, as are those for pictures.
    weights: ClassVar[tuple[float, ...]] = (1.91, -0.53, -5.17, 3.14)

    def features(self, query: np.ndarray, scores: np.ndarray, photos: int) -> np.ndarray:
        """As `Scale.features`: height, size of the library, distance of the question."""
        height = (scores - self.mean) / self.deviation
        size = np.full_like(height, np.log(max(1, photos)))
        distance = np.full_like(height, np.linalg.norm(query - self.centre) / self.distance)
        return np.stack([height, size, distance], axis=1)


@dataclass(frozen=True, slots=True)
class PictureScale:
    """The scale for questions with a picture in them."""

    best: float  # how near a photo's nearest neighbour is
    spread: float  # and how far it is from there to the same picture

    weights: ClassVar[tuple[float, ...]] = (6.0, -0.7)

    def features(self, query: np.ndarray, scores: np.ndarray, photos: int) -> np.ndarray:
        """As `Scale.features`: height, from 0 for a neighbour to 1 for the same picture."""
        return np.asarray((scores - self.best) / self.spread)[:, None]


def word_scale(rows: np.ndarray, neutral: np.ndarray) -> WordScale:
    """The scale for words of a library.

    `rows` are some of its rows, (n, dim) float16 unit, evenly spread and one at least: SAMPLE are
    enough. `neutral` is what the model makes of NEUTRAL, (m, dim) float32 unit, one at least.
    """
    scores = usable(rows) @ neutral.T
    centre = neutral.mean(axis=0)
    return WordScale(
        float(scores.mean()),
        max(float(scores.std(axis=1).mean()), 1e-6),
        centre,
        max(float(np.linalg.norm(neutral - centre, axis=1).mean()), 1e-6),
    )


def picture_scale(rows: np.ndarray, total: int) -> PictureScale:
    """The scale for pictures of a library of `total` photos; `rows` as in `word_scale`."""
    some = usable(rows)
    if len(some) < 2:  # no neighbours: only the same picture is known to be near
        return PictureScale(0.0, 1.0)
    chosen = np.arange(0, len(some), max(1, len(some) // COHORT))
    scores = some[chosen] @ some.T
    scores[np.arange(len(chosen)), chosen] = np.nan  # a photo is not its own neighbour
    # Not the mean: where many photos have copies, one that only looks alike should still count.
    best = float(np.quantile(np.nanmax(scores, axis=1), 0.25)) + _growth(scores, total)
    best = min(best, 0.95)  # and where all have, at least a copy should
    return PictureScale(best, 1 - best)


def relevance(scale: Scale, query: np.ndarray, scores: np.ndarray, photos: int) -> np.ndarray:
    """How far each hit stands out, (k,) float32 from 0 to 1; see `results.stands_out`.

    `query` is (dim,) float32 unit, `scores` the hits' cosines (k,), `photos` the number of those
    that were looked at. Only a hint: it follows the model, and is wrong where the model is wrong.
    """
    # Sums and no matrix product: its last digits depend on how many hits there are.
    weighed = scale.features(query, scores, photos) * scale.weights[:-1]
    logits = weighed.sum(axis=1) + scale.weights[-1]
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -30, 30))), np.float32)


def usable(rows: np.ndarray) -> np.ndarray:
    """The rows that are unit rows, in float32; an index made before they were looked at has others.

    All of them where none is.
    """
    units = are_units(rows)
    some: np.ndarray = rows[units] if units.any() else np.nan_to_num(rows)
    return some.astype(np.float32)


def _growth(scores: np.ndarray, total: int) -> float:
    """How much higher the best of `total` scores is than the best of a sample's, (m, n).

    The largest of n normal values lies about sqrt(2 ln n) deviations above their mean.
    """
    deviation = float(np.nanstd(scores, axis=1).mean())
    return deviation * float(np.sqrt(2 * np.log(total)) - np.sqrt(2 * np.log(scores.shape[1])))
