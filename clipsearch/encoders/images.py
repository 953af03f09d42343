"""Views to what models of torch take, and to unit vectors by an image tower, on any device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch

T = TypeVar("T")

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Pixels:
    """Brings (n, r, r, c) uint8 views to a device as (n, c, r, r) float32, normalized.

    `mean` and `std`, of values from 0 to 1, tell c.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], device: str) -> None:
        self._device = device
        self.mean, self.std = _channels(mean, device), _channels(std, device)

    def __call__(self, batch: np.ndarray) -> torch.Tensor:
        """The pixels of a batch of views."""
        pixels = self._on_device(batch).permute(0, 3, 1, 2).float()
        return pixels.div_(255).sub_(self.mean).div_(self.std)

    def _on_device(self, batch: np.ndarray) -> torch.Tensor:
        # Copied, since a view that Pillow gave is read-only memory, which torch warns of.
        views = torch.tensor(batch)
        if self._device.startswith("cuda"):
            # From pinned memory the copy runs beside the computation of the batch before.
            return views.pin_memory().to(self._device, non_blocking=True)
        return views.to(self._device)


class ImageTower:
    """An image tower with what its pixels go through before it.

    `tower` takes (n, c, r, r) pixels in `precision`, of which `mean` and `std` tell c, and gives
    (n, dim) embeddings.
    """

    def __init__(
        self,
        tower: torch.nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        device: str,
        precision: str,
    ) -> None:
        self._tower = tower
        self._dtype = DTYPES[precision]
        self._pixels = Pixels(mean, std, device)

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Embed (n, r, r, c) uint8 views: (n, dim) float32, unit rows.

        A batch that the device has no memory for is done in halves.
        """
        return np.concatenate(in_halves(batch, self._rows))

    @torch.inference_mode()
    def _rows(self, batch: np.ndarray) -> np.ndarray:
        return unit_rows(self._tower(self._pixels(batch).to(self._dtype)))

    def whole(self) -> torch.nn.Module:
        """The tower with all that is around it as one module, to be exported.

        It takes (n, r, r, c) uint8 views and gives (n, dim) unit rows.
        """
        return _Whole(self._tower, self._pixels.mean, self._pixels.std)


def in_halves(batch: np.ndarray, run: Callable[[np.ndarray], T]) -> list[T]:
    """What `run` gives for a batch, in parts if the device has no memory for all of it at once.

    Raises:
        torch.OutOfMemoryError: there is none for a single picture.
    """
    try:
        return [run(batch)]
    except torch.OutOfMemoryError:
        if len(batch) == 1:
            raise
    # Outside of the handler, whose traceback would keep the failed tensors alive.
    middle = len(batch) // 2
    return in_halves(batch[:middle], run) + in_halves(batch[middle:], run)


class _Whole(torch.nn.Module):
    def __init__(self, tower: torch.nn.Module, mean: torch.Tensor, std: torch.Tensor) -> None:
        super().__init__()
        self.tower = tower
        self.mean: torch.Tensor
        self.std: torch.Tensor
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        pixels = views.permute(0, 3, 1, 2).float()
        pixels = pixels.div(255).sub(self.mean).div(self.std)
        return torch.nn.functional.normalize(self.tower(pixels), dim=-1)


def batch_size(device: str) -> int:
    """How many pictures at a time suit a device."""
    # A GPU wants much at once (and has the memory, or halves it); a CPU's cache wants little.
    return 64 if torch.device(device).type == "cpu" else 512


def unit_rows(embeddings: torch.Tensor) -> np.ndarray:
    """(n, dim) of any precision and device as float32 unit rows."""
    rows: np.ndarray = torch.nn.functional.normalize(embeddings.float(), dim=-1).cpu().numpy()
    return rows


def _channels(values: Sequence[float], device: str) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32, device=device).view(1, len(values), 1, 1)
