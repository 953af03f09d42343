"""The perceptual hash of a picture, which its re-encoded and resized copies share.

The DCT hash of Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions"
(2010), nearly bit for bit what ImageHash calls phash. That library imports SciPy for two cosine
transforms, which costs each worker 0.3 s and 28 MB, and takes twice as long for a picture: see
docs/benchmarks.md.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

# Pixels of the shorter side that a picture should have, so that its size does not show.
LEAST_SIDE = 128

_SIDE = 32  # pixels of the grey square that is looked at
_LOW = 8  # of its frequencies, the lowest in each direction make a bit each

# Half of the frequencies are weaker than this in what is plain (black, a sky, a gradient: below
# 1) and in pages of text (10 to 20), not so in 99% of photos. Their bits tell a layout at most.
_PLAIN = 20.0

_PHASES = np.arange(_LOW)[:, None] * (2 * np.arange(_SIDE) + 1) * (np.pi / (2 * _SIDE))
_COSINES = (np.cos(_PHASES) * np.sqrt(2 / _SIDE)).astype(np.float32)  # (8, 32)
_COSINES[0] /= np.sqrt(2)  # orthonormal: a strength does not depend on the side


def perceptual_hash(image: Image.Image) -> bytes:
    """An RGB picture's 64 bits; nothing (`b""`) for one too plain to tell it from others.

    Copies differ in few of the bits; see docs/benchmarks.md for how few.
    """
    small = image.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    grey = np.asarray(small.convert("L"), np.float32)
    low = _COSINES @ grey @ _COSINES.T
    if np.median(np.abs(low)) < _PLAIN:
        return b""
    return np.packbits(low > np.median(low)).tobytes()
