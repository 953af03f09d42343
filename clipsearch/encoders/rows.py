"""What models give, looked at before it is believed: a row that is no unit vector means nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from clipsearch.errors import InvalidInput

if TYPE_CHECKING:
    import numpy as np

UNUSABLE = "the model gave no usable embedding of it"
_LENGTHS = (0.98, 1.02)  # of a unit row in float16


class _Texts(Protocol):
    def encode_texts(self, texts: Sequence[str]) -> np.ndarray: ...


def are_units(rows: np.ndarray) -> np.ndarray:
    """Which of (n, dim) rows are finite and of unit length, within what float16 rounds: (n,)."""
    import numpy as np

    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.linalg.norm(rows.astype(np.float32), axis=1)
    units: np.ndarray = (lengths > _LENGTHS[0]) & (lengths < _LENGTHS[1])  # neither is true of NaN
    return units


def embedded_texts(encoder: _Texts, texts: Sequence[str]) -> np.ndarray:
    """What an encoder makes of texts, (n, dim) float32 unit rows.

    Raises:
        InvalidInput: one of them is no unit row.
    """
    rows = encoder.encode_texts(texts)
    units = are_units(rows)
    if not units.all():
        raise no_embedding(texts[int((~units).argmax())])
    return rows


def no_embedding(text: str) -> InvalidInput:
    """The error of a text of which a model makes no unit row."""
    return InvalidInput(f"the model gave no usable embedding of {text[:80]!r}; ask another way")
