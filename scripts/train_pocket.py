"""Train and measure the heads of the pocket model: how a small text-to-image search is made.

Both towers stay frozen, so every photo and caption is run through them once and kept (`--cache`).
What is trained are a few small heads over those features, one after another from different
seeds; side by side they are the joint space. The loss is contrastive, and it has two sources:
the photos' captions, and what the image tower already knows, its 1,000 ImageNet classes.

    python scripts/train_pocket.py --flickr8k DIR               # train, write the heads, measure
    python scripts/train_pocket.py --flickr8k DIR --evaluate    # measure the heads that ship
"""

from __future__ import annotations

import argparse
import copy
import csv
import io
import math
import os
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from clipsearch.encoders.pocket import HEADS, PocketEncoder, load_pocket
from clipsearch.encoders.pocket_heads import (
    TOKEN_WIDTH,
    WORD,
    HeadShape,
    Heads,
    PhotoHead,
    TextHead,
    heads_from,
    heads_to,
    standard,
)
from clipsearch.encoders.pocket_towers import ImageTower, TextTower

RECIPE = "1"
SPLITS = ("train", "dev", "test")
CAPTIONS = 5
TEMPLATES = (
    "{}",
    "a {}",
    "a photo of a {}",
    "a photo of the {}",
    "a close-up photo of a {}",
    "a picture of a {} outside",
    "a {} in the background",
    "there is a {} here",
    "a photo of many {}s",
)
ASKED = "a photo of a {}"
EPOCHS = 14
BATCH = 512
KEPT = 27  # of the map's 81 tokens: a third the work, and the head cannot lean on any one
PEAK_RATE = 1e-3
DECAY = 0.1
AVERAGING = 0.97
CLASS_WEIGHT = 0.3
CLASSES_A_STEP = 400
TEMPERATURE = 14.0  # to start with: what a cosine is multiplied by


@dataclass(frozen=True, slots=True)
class Split:
    """The photos of one part of Flickr8k and their captions, five a photo."""

    names: list[str]
    captions: list[str]


@dataclass(frozen=True, slots=True)
class Photos:
    """What the image tower makes of n photos."""

    maps: Tensor  # (n, 81, TOKEN_WIDTH) bfloat16, standard
    pooled: Tensor  # (n, 1280) float32, as they come
    logits: Tensor  # (n, 1000) float32


@dataclass(frozen=True, slots=True)
class Texts:
    """What the text tower makes of n texts, one after another."""

    words: Tensor  # (all tokens, WORD) float16
    starts: Tensor  # (n + 1,) int64

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Some texts as (n, t, WORD) float32 and (n, t) bool: which words are no padding."""
        lengths = self.starts[rows + 1] - self.starts[rows]
        steps = torch.arange(int(lengths.max()))
        at = (self.starts[rows, None] + steps).clamp(max=len(self.words) - 1)
        return self.words[at].float(), steps < lengths[:, None]


@dataclass(frozen=True, slots=True)
class Features:
    """All that training reads."""

    views: list[Photos]  # the training photos as they are, then mirrored
    captions: Texts
    prompts: Texts  # class by class, each in all templates
    classifier: tuple[Tensor, Tensor]  # weight (1000, 1280), bias (1000,)


def main() -> None:
    options = _options()
    splits = read_splits(options.flickr8k)
    if not options.evaluate:
        began = time.monotonic()
        train(options.flickr8k, splits, options.cache)
        print(f"trained in {(time.monotonic() - began) / 60:.0f} minutes")
    encoder = load_pocket()
    photos = dict(read_photos(options.flickr8k))
    for name in ("dev", "test"):
        print_figures(name, splits[name], photos, encoder)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--flickr8k", type=Path, required=True, metavar="DIR")
    parser.add_argument("--evaluate", action="store_true", help="only measure the heads that ship")
    cache = Path(tempfile.gettempdir()) / "clipsearch-pocket"
    parser.add_argument("--cache", type=Path, default=cache, metavar="DIR", help="features, 3 GB")
    return parser.parse_args()


# --- the data ---------------------------------------------------------------------------------


def read_splits(folder: Path) -> dict[str, Split]:
    """The standard split of Flickr8k."""
    captions: dict[str, list[str]] = {}
    with (folder / "captions.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            captions.setdefault(Path(row["image"]).stem, []).append(row["caption"])
    splits = {}
    for part in SPLITS:
        names = [Path(line).stem for line in (folder / f"{part}.txt").read_text().split()]
        splits[part] = Split(names, [text for name in names for text in captions[name]])
    return splits


def read_photos(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Each photo's name and its file's bytes."""
    with tarfile.open(folder / "images.tar") as tar:
        for member in tar:
            file = tar.extractfile(member)
            if file is not None:
                yield Path(member.name).stem, file.read()


def opened(data: bytes) -> Image.Image:
    """A photo's pixels."""
    return Image.open(io.BytesIO(data)).convert("RGB")


def class_names() -> list[str]:
    """The 1,000 ImageNet classes in words, in the classifier's order."""
    from open_clip import IMAGENET_CLASSNAMES

    return list(IMAGENET_CLASSNAMES)


# --- features ---------------------------------------------------------------------------------


def cached(path: Path, make: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """What `make` gives, kept in a file and mapped from it, so that memory holds what is used."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(make(), path.with_suffix(".part"))
        os.replace(path.with_suffix(".part"), path)
    kept: tuple[Tensor, ...] = torch.load(path, mmap=True, weights_only=True)
    return kept


@torch.inference_mode()
def see(tower: ImageTower, views: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Views (260, 260, 3) uint8 to maps (n, 81, TOKEN_WIDTH) float16, pooled (n, 1280) float32."""
    maps, pooled = [], []
    for start in range(0, len(views), 16):  # larger batches leave the processor's cache
        pixels = torch.from_numpy(np.stack(views[start : start + 16])).permute(0, 3, 1, 2)
        pixels = pixels.float().div_(127.5).sub_(1).contiguous(memory_format=torch.channels_last)
        some_maps, some_pooled = tower(pixels)
        maps.append(some_maps.half())
        pooled.append(some_pooled)
    return torch.cat(maps), torch.cat(pooled)


@torch.inference_mode()
def read(encoder: PocketEncoder, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Texts to their words' features and starts, as `Texts` keeps them."""
    order = sorted(range(len(texts)), key=lambda row: encoder.count_tokens(texts[row]))
    words: list[Tensor] = [torch.empty(0)] * len(texts)
    for start in range(0, len(texts), 64):  # of like length, so that little is padding
        rows = order[start : start + 64]
        made, present = encoder.read_words([texts[row] for row in rows])
        for row, one, here in zip(rows, made, present, strict=True):
            words[row] = one[here].half()
    starts = torch.tensor([0, *np.cumsum([len(one) for one in words])])
    return torch.cat(words), starts


def gather(folder: Path, splits: dict[str, Split], cache: Path, heads: Heads) -> Features:
    """Run both towers over the training data, and set the heads' scales by it."""
    encoder = PocketTowers()
    train = splits["train"]
    files = dict(read_photos(folder))

    def view(mirror: bool) -> tuple[Tensor, Tensor]:
        views = []
        for name in train.names:
            image = opened(files[name])
            views.append(prepare(ImageOps.mirror(image) if mirror else image))
        return see(encoder.image, views)

    raw = [cached(cache / f"view{number}.pt", lambda: view(bool(number))) for number in (0, 1)]
    captions = Texts(*cached(cache / "captions.pt", lambda: read(encoder, train.captions)))
    filled = [template.format(name) for name in class_names() for template in TEMPLATES]
    prompts = Texts(*cached(cache / "prompts.pt", lambda: read(encoder, filled)))
    set_scales(heads, raw[0], captions, prompts)
    return Features(
        [_photos(encoder, heads, *one) for one in raw], captions, prompts, encoder.classifier
    )
