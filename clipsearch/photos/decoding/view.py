"""The square that a model sees of a picture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from io import BytesIO
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

from clipsearch.photos.decoding.jpeg import as_jpeg

Fit = Literal["shortest", "longest", "squash", "within"]

_QUALITY = 80  # of JPEG: about what photos that were made small for learning are kept with


@dataclass(frozen=True, slots=True)
class View:
    """How a picture is brought to a model's square; holds no torch, so any process can have it.

    "shortest" fits the shorter side and crops the middle, "squash" stretches, "longest" fits the
    longer side and fills the rest with `fill`, a grey or a colour. "within" keeps the picture's own
    shape, and makes it smaller only where a side is longer. The sizes and offsets are those
    of open_clip and torchvision, so the pixels are too, but for roundings (mean difference under
    0.02 of 255).

    A model that learned from small compressed photos alone takes the sharpness of others for a
    trait: with `taught`, the side of these in pixels, a larger picture is first made such a square.
    """

    size: int
    fit: Fit = "shortest"
    resample: Image.Resampling = Image.Resampling.BICUBIC
    fill: int | tuple[int, ...] = 0
    taught: int = 0

    def __call__(self, image: Image.Image) -> np.ndarray:
        """An RGB picture as (size, size, 3) uint8; (height, width, 3) where it keeps its shape."""
        if 0 < self.taught < max(image.size):
            image = self._as_taught(image)
        if self.fit == "within":
            seen = self._within(image)
        elif self.fit == "squash":
            seen = image.resize((self.size, self.size), self.resample)
        elif self.fit == "longest":
            seen = self._whole(image)
        else:
            seen = self._middle(image)
        return np.asarray(seen)

    def _as_taught(self, image: Image.Image) -> Image.Image:
        square = image.resize((self.taught, self.taught), self.resample)
        return Image.open(BytesIO(as_jpeg(square, _QUALITY))).convert("RGB")

    def _middle(self, image: Image.Image) -> Image.Image:
        # Only what the crop keeps is resized: one pass, and a picture of 1 x 20,000 pixels does
        # not become one of 224 x 4,480,000 on the way.
        width, height = image.size
        shorter = min(width, height)
        scaled = (int(self.size * width / shorter), int(self.size * height / shorter))
        left, top = (round((side - self.size) / 2) for side in scaled)
        across, down = width / scaled[0], height / scaled[1]
        box = (left * across, top * down, (left + self.size) * across, (top + self.size) * down)
        box = (box[0], box[1], min(box[2], width), min(box[3], height))
        return image.resize((self.size, self.size), self.resample, box)

    def _within(self, image: Image.Image) -> Image.Image:
        if max(image.size) <= self.size:
            return image
        width, height = (max(1, round(it * self.size / max(image.size))) for it in image.size)
        return image.resize((width, height), self.resample)

    def _whole(self, image: Image.Image) -> Image.Image:
        longer = max(image.size)
        scaled = [max(1, round(side * self.size / longer)) for side in image.size]
        fitted = image.resize((scaled[0], scaled[1]), self.resample)
        left, top = ((self.size - side) // 2 for side in scaled)
        border = (left, top, self.size - scaled[0] - left, self.size - scaled[1] - top)
        fill = (self.fill,) * 3 if isinstance(self.fill, int) else self.fill
        return ImageOps.expand(fitted, border, fill)


@dataclass(frozen=True, slots=True)
class MaskedView(View):
    """The view of a model that can be told which part of a picture is meant."""

    def with_mask(self, image: Image.Image, mask: Image.Image) -> np.ndarray:
        """An RGB picture and a mask of its size, 255 in the part, as (size, size, 4) uint8.

        The whole picture is seen, whatever its shape, for the part may lie at an edge.
        """
        whole = replace(self, fit="longest")
        soft = replace(whole, resample=Image.Resampling.BILINEAR)
        return np.concatenate([whole(image), soft(mask.convert("RGB"))[..., :1]], axis=2)


def with_all(batch: np.ndarray) -> np.ndarray:
    """(n, size, size, 3 or 4) uint8 views with four channels: without a mask all is meant."""
    if batch.shape[3] == 4:
        return batch
    everything = np.full((*batch.shape[:3], 1), 255, np.uint8)
    return np.concatenate([batch, everything], axis=3)
