"""How far an answer stands out: 0 to 1, so that an unrelated question can be told that it is one.

A cosine alone says little: what is high for one model, library or question is low for another.
So it is compared with what a few dozen everyday texts (`NEUTRAL`) score in the same library, in
two ways that stay the same when a model's cosines are all stretched or shifted:

- The score beside the best scores that those texts find here (a cohort, as in the score
  normalisation of speaker verification: Auckenthaler, Carey and Lloyd-Thomas, 2000). A text that
  no photo fits finds less than everyday texts find.
- The score less the mean score of those texts on the very same photo (the test normalisation of
  the same paper, over the question's distance from those texts). It does not ask how
  many photos fit, so that "a dog" stands out on each photo of a library of dogs.

A picture has no such texts. It is compared with how near the library's own photos lie to their
nearest neighbours. docs/relevance.md tells how the weights were found and what they are worth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clipsearch.encoders.rows import are_units

# Fitted by scripts/eval_relevance.py on the dev split of Flickr8k: the two comparisons, then a
# constant; and for pictures one comparison and a constant.
TEXT_WEIGHTS = (1.2, 1.2, -3.35)
PICTURE_WEIGHTS = (6.0, -0.7)

SAMPLE = 2_000  # rows are enough to know a library's scores; more only cost time
COHORT = 60  # of the library's photos, whose nearest neighbours are looked at


@dataclass(frozen=True, slots=True)
class Calibration:
    """What scores are worth in one library: everything but the question."""

    best: float  # what neutral texts, or for pictures the library's photos, find: the mean
    spread: float  # and how much that varies; for pictures, how far it is to the same picture
    centre: np.ndarray | None  # (dim,) float32, mean of the neutral texts; None for pictures
    unit: float  # the deviation of neutral texts' scores, a unit of their distance from `centre`


def calibrate_text(rows: np.ndarray, total: int, neutral: np.ndarray) -> Calibration:
    """The scale for questions in words.

    `rows` are some of the `total` rows of the library, (n, dim) float16 unit, evenly spread and
    one at least: SAMPLE are enough. `neutral` is what the model makes of NEUTRAL, (m, dim)
    float32 unit, one at least.
    """
    scores = neutral @ usable(rows).T
    best, deviation = scores.max(axis=1), max(float(scores.std()), 1e-6)
    centre = neutral.mean(axis=0)
    distance = max(float(np.linalg.norm(neutral - centre, axis=1).mean()), 1e-6)
    return Calibration(
        float(best.mean()) + _growth(scores, total),
        # In a library that has all of it the best scores lie close, and no question would do.
        max(float(best.std()), deviation / 2),
        centre,
        deviation / distance,
    )


def calibrate_picture(rows: np.ndarray, total: int) -> Calibration:
    """The scale for questions by picture; `rows` and `total` as in `calibrate_text`."""
    some = usable(rows)
    if len(some) < 2:  # no neighbours: only the same picture is known to be near
        return Calibration(0.0, 1.0, None, 1.0)
    chosen = np.arange(0, len(some), max(1, len(some) // COHORT))
    scores = some[chosen] @ some.T
    scores[np.arange(len(chosen)), chosen] = np.nan  # a photo is not its own neighbour
    # Not the mean: where many photos have copies, one that only looks alike should still count.
    best = float(np.quantile(np.nanmax(scores, axis=1), 0.25)) + _growth(scores, total)
    best = min(best, 0.95)  # and where all have, at least a copy should
    return Calibration(best, 1 - best, None, 1.0)


def relevance(
    calibration: Calibration, query: np.ndarray, scores: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """How far each hit stands out, (k,) float32 from 0 to 1; see `results.stands_out`.

    `query` is (dim,) float32 unit, `scores` the hits' cosines (k,), `rows` the hits' own vectors
    (k, dim). Only a hint: it follows the model, and is wrong where the model is wrong.
    """
    weights = PICTURE_WEIGHTS if calibration.centre is None else TEXT_WEIGHTS
    # Sums and no matrix product: its last digits depend on how many hits there are.
    logits = (features(calibration, query, scores, rows) * weights[:-1]).sum(axis=1) + weights[-1]
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -30, 30))), np.float32)


def features(
    calibration: Calibration, query: np.ndarray, scores: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """What `relevance` weighs: (k, 2) for words, (k, 1) for pictures."""
    above_best = (scores - calibration.best) / calibration.spread
    if calibration.centre is None:
        return above_best[:, None]
    distance = max(float(np.linalg.norm(query - calibration.centre)), 1e-6)
    above_neutral = scores - (rows.astype(np.float32) * calibration.centre).sum(axis=1)
    return np.stack([above_best, above_neutral / distance / calibration.unit], axis=1)


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
