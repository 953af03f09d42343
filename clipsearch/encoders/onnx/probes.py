"""Pictures made up to see whether what was exported gives the vectors that it should."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clipsearch.photos.decoding.view import MaskedView

if TYPE_CHECKING:
    from clipsearch.encoders import Encoder


def made_views(encoder: Encoder, count: int) -> np.ndarray:
    """Pictures made up for a check, as the model sees them: (count, r, r, channels) uint8.

    From single colours over smooth patterns to noise.
    """
    rng = np.random.default_rng(0)
    side, channels = encoder.resolution, 4 if isinstance(encoder.prepare, MaskedView) else 3
    views = []
    for number in range(count):
        cells = (1, 2, 5, 16, 64, side)[number % 6]
        coarse = rng.integers(0, 256, (cells, cells, channels))
        step = -(-side // cells)
        views.append(coarse.repeat(step, 0).repeat(step, 1)[:side, :side])
    return np.stack(views).astype(np.uint8)
