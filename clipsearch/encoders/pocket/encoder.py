"""The pocket model: a small dual encoder of frozen towers from PyPI and the heads that ship here.

The image tower is EfficientNet-Lite2, the text tower all-MiniLM-L6-v2; heads trained on captions
of Flickr8k and COCO bring both into one space (`scripts/train_pocket.py`). Nothing is downloaded.
Importing this module imports neither torch nor the towers' packages.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clipsearch.encoders.onnx.texts import TokenRules
from clipsearch.encoders.pocket.parts import (
    CONTEXT,
    PREPROCESS,
    RESOLUTION,
    VIEW,
    check_images,
    check_texts,
    heads_file,
    pocket_files,
    weights_with,
)
from clipsearch.encoders.spec import Spec
from clipsearch.errors import ModelError

if TYPE_CHECKING:
    import torch

    from clipsearch.encoders.onnx.text_export import TextExport
    from clipsearch.encoders.pocket.towers import ImageTower, TextTower, Tokenizer


class PocketEncoder:
    """The pocket model on one device. Each tower is read when it is first needed."""

    name = "pocket"
    preprocess = PREPROCESS
    resolution = RESOLUTION
    context = CONTEXT
    batch_size = 32
    logit_bias = None

    def __init__(self, files: tuple[Path, Path], heads: Path, device: str, precision: str) -> None:
        import torch

        from clipsearch.encoders.pocket.heads import read_heads

        self.device, self.precision = device, precision
        self.prepare = VIEW
        self._image_file, self._text_file = files
        self._dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[
            precision
        ]
        self.weights = weights_with(heads)
        self.heads, self.logit_scale = read_heads(heads)
        self.heads.to(device)
        self.dim = self.heads.dim

    def encode_images(self, batch: np.ndarray) -> np.ndarray:
        """Embed (n, 260, 260, 3) uint8 views: (n, dim) float32, unit rows."""
        import torch

        with torch.inference_mode():
            return _array(self.image_export()(self._views(batch)))

    def classify(self, batch: np.ndarray) -> np.ndarray:
        """The frozen tower's own ImageNet logits of the same views: (n, 1000) float32."""
        import torch

        with torch.inference_mode():
            return _array(self.see(batch)[2])

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts: (n, dim) float32, unit rows. Tokens past `context` are cut."""
        import torch

        if not texts:
            return np.empty((0, self.dim), np.float32)
        with torch.inference_mode():
            return _array(self.heads.text(*self.read(texts)))

    def see(self, batch: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What the image tower makes of views: maps, pooled features and ImageNet logits."""
        from clipsearch.encoders.pocket.towers import pixels_of

        tower = self._image_tower
        maps, pooled = tower(pixels_of(self._views(batch)))
        return maps, pooled, tower.classify(pooled)

    def read(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """What the text tower makes of texts: (n, t, 768) words, (n, t) which are no padding."""
        tokens, present = (part.to(self.device) for part in self._tokenizer(texts))
        return self._text_tower(tokens, present), present

    def classifier(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The weight (1000, 1280) and the bias (1000,) by which the image tower names classes."""
        last = self._image_tower.net.classifier
        return last.weight, last.bias

    def count_tokens(self, text: str) -> int:
        """How many tokens `text` has, start and end tokens included."""
        return self._tokenizer.count(text)

    def text_export(self) -> TextExport:
        """What `clipsearch.encoders.onnx.text_export` writes for queries without torch."""
        from clipsearch.encoders.onnx.text_export import TextExport
        from clipsearch.encoders.pocket.towers import JointText

        module = JointText(self._text_tower, self.heads)
        return TextExport(module, self._tokenizer.to_str(), TokenRules(CONTEXT, ""))

    def image_export(self) -> torch.nn.Module:
        """What `clipsearch.encoders.onnx.export` writes for pictures without torch."""
        from clipsearch.encoders.pocket.towers import JointPhoto

        return JointPhoto(self._image_tower, self.heads)

    def _views(self, batch: np.ndarray) -> torch.Tensor:
        import torch

        # A batch of photos may be read-only memory, which torch warns of: copy what it points to.
        return torch.tensor(batch, device=self.device)

    @cached_property
    def _image_tower(self) -> ImageTower:
        import torch

        from clipsearch.encoders.pocket.towers import ImageTower

        check_images(self._image_file)
        tower = ImageTower(self._image_file, self._dtype).to(self.device)
        return tower.to(memory_format=torch.channels_last)

    @cached_property
    def _text_tower(self) -> TextTower:
        from clipsearch.encoders.pocket.towers import TextTower

        check_texts(self._text_file)
        return TextTower(self._text_file).to(self.device)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        from clipsearch.encoders.pocket.towers import Tokenizer

        return Tokenizer(self._text_file.with_name("tokenizer.json"), CONTEXT)


def load(spec: Spec | None = None, device: str = "cpu", precision: str = "fp32") -> PocketEncoder:
    """The pocket model on a torch device; `precision` is "fp32", "bf16" or "fp16".

    Raises:
        ModelError: the packages that carry the towers are missing or not the pinned ones.
    """
    files = pocket_files()
    if files is None:
        raise ModelError("the pocket model needs: pip install 'clipsearch[pocket]'")
    return PocketEncoder(files, heads_file(spec), device, precision)


def download(spec: Spec) -> Path:
    """The image tower's file, which is installed and never fetched.

    Raises:
        ModelError: it is not installed.
    """
    del spec
    files = pocket_files()
    if files is None:
        raise ModelError("the pocket model comes with: pip install 'clipsearch[pocket]'")
    return files[0]


def _array(joint: torch.Tensor) -> np.ndarray:
    array: np.ndarray = joint.float().cpu().numpy()
    return array
