"""Views to unit vectors by an image tower of torch, on any device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


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
        self._device = device
        self._dtype = DTYPES[precision]
        self._mean, self._std = _channels(mean, device), _channels(std, device)

    @torch.inference_mode()
    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Embed (n, r, r, c) uint8 views: (n, dim) float32, unit rows.

        A batch that the device has no memory for is done in halves.
        """
        try:
            pixels = self._on_device(batch).permute(0, 3, 1, 2).float()
            pixels = pixels.div_(255).sub_(self._mean).div_(self._std).to(self._dtype)
            return unit_rows(self._tower(pixels))
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                raise
        # Outside of the handler, whose traceback would keep the failed tensors alive.
        middle = len(batch) // 2
        return np.concatenate([self(batch[:middle]), self(batch[middle:])])

    def whole(self) -> torch.nn.Module:
        """The tower with all that is around it as one module, to be exported.

        It takes (n, r, r, c) uint8 views and gives (n, dim) unit rows.
        """
        return _Whole(self._tower, self._mean, self._std)

    def _on_device(self, batch: np.ndarray) -> torch.Tensor:
        # Copied, since a view that Pillow gave is read-only memory, which torch warns of.
        views = torch.tensor(batch)
        if self._device.startswith("cuda"):
            # From pinned memory the copy runs beside the computation of the batch before.
            return views.pin_memory().to(self._device, non_blocking=True)
        return views.to(self._device)


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
