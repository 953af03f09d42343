"""Distances on a sphere of the Earth's size."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

EARTH = 6371.0088  # km, its radius
DEGREE = 111.0  # km, of latitude: a little less than it is


def kilometres(latitude: float, longitude: float, other: float, further: float) -> float:
    """The distance of two places in degrees, by haversines."""
    here, there = math.radians(latitude), math.radians(other)
    half = math.sin((there - here) / 2) ** 2
    half += math.cos(here) * math.cos(there) * math.sin(math.radians(further - longitude) / 2) ** 2
    return 2 * EARTH * math.asin(math.sqrt(min(1.0, half)))


def distances(
    latitude: np.ndarray, longitude: np.ndarray, other: float, further: float
) -> np.ndarray:
    """As `kilometres`, of many places, (n,) float64 each, from one."""
    import numpy as np  # late, since what reads photos alone needs none

    here, there = np.radians(latitude), math.radians(other)
    half = np.sin((there - here) / 2) ** 2
    half += np.cos(here) * math.cos(there) * np.sin(np.radians(further - longitude) / 2) ** 2
    return np.asarray(2 * EARTH * np.arcsin(np.sqrt(np.minimum(1.0, half))))
