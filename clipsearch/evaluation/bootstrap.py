"""How far a measured figure can be trusted: 95% intervals by the bootstrap (Efron, 1979).

What was measured is drawn anew, with replacement, a thousand times; the middle 95% of the figures
that come out are the interval. The draws are always the same, so the figures are, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 1000
_SEED = 0
_ENDS = (0.025, 0.975)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its 95% interval."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """The figure as `--json` shows it."""
        return {
            "value": round(self.value, 6),
            "low": round(self.low, 6),
            "high": round(self.high, 6),
        }


@dataclass(frozen=True, slots=True)
class RankEstimates:
    """What many ranks come to."""

    recall: dict[int, Estimate]  # by k: the share of ranks up to k
    median: Estimate


def estimate_ranks(ranks: np.ndarray, images: np.ndarray, ks: Sequence[int]) -> RankEstimates:
    """Recalls and median of (m,) ranks, with intervals.

    `images` (m,) int64 says which image each rank belongs to, from 0 on without a gap. Images are
    drawn and bring all their ranks along, since the captions of one image are no independent
    measurements.
    """
    order = np.argsort(ranks, kind="stable")
    ranks, images = ranks[order], images[order]
    up_to = np.searchsorted(ranks, ks, side="right")  # so many ranks are up to each k
    recalls, medians = [], []
    for times in _draws(int(images.max()) + 1):
        reached = np.concatenate([[0], times[images].cumsum()])
        recalls.append(reached[up_to] / reached[-1])
        middle = np.array([(reached[-1] - 1) // 2, reached[-1] // 2])
        medians.append(ranks[np.searchsorted(reached, middle, side="right") - 1].mean())
    shares = np.array(recalls)
    return RankEstimates(
        {k: _estimate(shares[:, column]) for column, k in enumerate(ks)},
        _estimate(np.array(medians)),
    )


def estimate_shares(hits: np.ndarray, counts: np.ndarray) -> tuple[list[Estimate], Estimate]:
    """The share of `hits` among the `counts` of each group, and the mean of all groups' shares.

    Both are (groups,) int64. Each group is drawn from by itself.
    """
    rng = np.random.default_rng(_SEED)
    shares = hits / counts
    # Of n drawn with replacement, so many are hits as of n throws of a coin that is so biased.
    drawn = rng.binomial(counts, shares, (RESAMPLES, len(counts))) / counts
    rows = np.concatenate([shares[None], drawn])
    return [_estimate(column) for column in rows.T], _estimate(rows.mean(1))


def _draws(count: int) -> Iterator[np.ndarray]:
    """How often each of so many is drawn, (count,) int64: first what was measured, each once."""
    rng = np.random.default_rng(_SEED)
    yield np.ones(count, np.int64)
    for _ in range(RESAMPLES):
        yield np.bincount(rng.integers(count, size=count), minlength=count)


def _estimate(figures: np.ndarray) -> Estimate:
    """The first figure, with the interval of those that were drawn."""
    low, high = np.quantile(figures[1:], _ENDS)
    return Estimate(float(figures[0]), float(low), float(high))
