"""A model that another one learns from, besides the captions: knowledge distillation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from open_clip.loss import ClipLoss
from PIL import Image

from clipsearch.encoders import Encoder, load
from clipsearch.encoders.rows import are_units
from clipsearch.encoders.spec import parse_spec
from clipsearch.errors import ModelError

WEIGHT = 0.5  # of what a Chinese-CLIP learns of a teacher, as its authors have it


class Teacher:
    """Any model as open_clip's training loop calls a teacher.

    It is asked for the batch that was `shown` last, which it sees and reads in its own way: the
    same cuts of the photos, in its own size.
    """

    def __init__(self, spec: str, device: str) -> None:
        """Load the model.

        Raises:
            ModelError, WeightsUnavailable: it cannot be had.
        """
        self._spec = spec
        self._encoder: Encoder = load(parse_spec(spec), device)
        self._device = device
        self._shown: tuple[np.ndarray, Sequence[str]] | None = None

    def show(self, views: np.ndarray, texts: Sequence[str]) -> None:
        """What is asked about next: (n, r, r, 3) uint8 views of any size, and n texts."""
        self._shown = views, texts

    def eval(self) -> None:
        """Nothing: it never learns."""

    def __call__(self, *_: Any) -> dict[str, torch.Tensor]:
        """What it makes of the batch, as open_clip's models tell it: unit rows and their scale.

        Raises:
            ModelError: a row is none.
        """
        assert self._shown is not None
        views, texts = self._shown
        seen = np.stack([self._encoder.prepare(Image.fromarray(view)) for view in views])
        return {
            "image_features": self._rows(self._encoder.encode_images(seen)),
            "text_features": self._rows(self._encoder.encode_texts(list(texts))),
            "logit_scale": torch.tensor(self._encoder.logit_scale, device=self._device),
        }

    def _rows(self, rows: np.ndarray) -> torch.Tensor:
        if not are_units(rows).all():
            raise ModelError(
                f"the teacher {self._spec} gives no usable embeddings: its weights are damaged; get"
                " them anew, or name another"
            )
        return torch.tensor(rows, device=self._device)


class LikenessLoss(torch.nn.Module):
    """Chinese-CLIP's loss with a teacher: how like its pictures' embeddings are is learnt too.

    As in cn_clip 1.6 (`cosineSimilarityLoss`): one less the mean cosine, where a teacher's
    embeddings of another length are stretched to the student's.
    """

    def __init__(self, weight: float = WEIGHT) -> None:
        super().__init__()
        self._weight, self._plain = weight, ClipLoss()

    def forward(
        self,
        image_features: torch.Tensor,
        text_features: torch.Tensor,
        logit_scale: torch.Tensor,
        dist_image_features: torch.Tensor,
        output_dict: bool = False,
        **_: torch.Tensor,
    ) -> Any:
        """The losses, of (n, dim) unit rows of the student and (n, d) of the teacher."""
        plain = self._plain(image_features, text_features, logit_scale)
        stretched = torch.nn.functional.interpolate(
            dist_image_features[None, None], size=image_features.shape, mode="bilinear",
            align_corners=False,
        )[0, 0]  # fmt: skip
        unlike = 1 - torch.nn.functional.cosine_similarity(image_features, stretched).mean()
        losses = {"contrastive_loss": plain, "distill_loss": self._weight * unlike}
        return losses if output_dict else tuple(losses.values())
