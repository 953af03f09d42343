"""Views as the numbers that a model of torch takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch


class Pixels:
    """Brings (n, r, r, 3) uint8 views to a device as (n, 3, r, r) float32, normalized."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], device: str) -> None:
        self._device = device
        self._mean, self._std = (
            torch.tensor(values, dtype=torch.float32, device=device).view(1, 3, 1, 1)
            for values in (mean, std)
        )

    def __call__(self, batch: np.ndarray) -> torch.Tensor:
        """The pixels of a batch of views."""
        # Copied, since a view that Pillow gave is read-only memory, which torch warns of.
        pixels = torch.tensor(batch).to(self._device).permute(0, 3, 1, 2).float()
        return pixels.div_(255).sub_(self._mean).div_(self._std)
