"""A true encoder of sixteen numbers, without torch: exact answers, and a start in no time.

Run as a program it indexes: `python tiny.py INDEX FOLDER BATCH_SIZE`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clipsearch import Library
from clipsearch.encoders.spec import Spec
from clipsearch.photos.decoding.view import View

OTHER = "ViT-B-32-256/datacomp_s34b_b86k"  # a model's name


class TinyEncoder:
    """Embeds a picture as its coarse brightness pattern, a text as its letters' counts."""

    prepare = View(16, "squash")
    weights = "tiny"
    preprocess = "16 squash"
    dim = 16
    resolution = 16
    context = 100
    batch_size = 64
    logit_scale = 100.0
    logit_bias: float | None = None
    device = "cpu"
    precision = "fp32"

    def encode_images(self, batch: np.ndarray) -> np.ndarray:
        coarse = batch.mean(axis=3).reshape(-1, 4, 4, 4, 4).mean(axis=(2, 4)).reshape(-1, 16)
        return _unit(coarse - coarse.mean(axis=1, keepdims=True) + 1e-3)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        counts = np.zeros((len(texts), 16), np.float32)
        for row, text in enumerate(texts):
            for letter in text:
                counts[row, ord(letter) % 16] += 1
        return _unit(counts + 1e-3)

    def count_tokens(self, text: str) -> int:
        return len(text)

    def text_export(self) -> None:
        return None

    def image_export(self) -> None:
        return None


class BlindEncoder(TinyEncoder):
    """Sees the same in every picture and reads the same in every text."""

    def encode_images(self, batch: np.ndarray) -> np.ndarray:
        return _unit(np.ones((len(batch), self.dim), np.float32))

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        return _unit(np.ones((len(texts), self.dim), np.float32))


def load(spec: Spec, device: str, precision: str) -> TinyEncoder:
    """As a family of models (see docs/models.md): `tiny:a/b`, `tiny:a/blind`, or `tiny:a/large`."""
    if spec.hub.endswith("/large"):
        bytearray(1 << 60)  # more memory than there is
    return BlindEncoder() if spec.hub.endswith("/blind") else TinyEncoder()


def open_tiny(folder: Path, model: str = "pocket", **how: Any) -> Library:
    """A library whose model is the tiny one, by the name of another."""
    return Library.open(folder, model=model, encoder=TinyEncoder(), **how)


def open_other(folder: Path, **how: Any) -> Library:
    """The same by the name of a model that comes with no version of clipsearch.

    What embedded its photos is so the same for the command line, which finds another pocket.
    """
    return open_tiny(folder, OTHER, **how)


def _unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


if __name__ == "__main__":
    with open_tiny(Path(sys.argv[1])) as library:
        print(library.index([sys.argv[2]], batch_size=int(sys.argv[3])))
