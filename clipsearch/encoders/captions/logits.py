"""What a model gives for each next word, looked at before a sentence is made of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from clipsearch.errors import ModelError


@dataclass(frozen=True, slots=True)
class Checked:
    """Refuses what is no number, of which any word or none would be made; for transformers too."""

    model: str

    def __call__(self, tokens: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """The logits (n, words) of what follows on tokens (n, length), as they are.

        Raises:
            ModelError: there is no row without NaN.
        """
        if logits.isnan().any(dim=-1).all():
            raise ModelError(
                f"{self.model} gives NaN for every picture: its weights are damaged; get them anew"
            )
        return logits
