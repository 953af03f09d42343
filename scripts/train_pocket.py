"""Train and measure the heads of the pocket model: how a small text-to-image search is made.

Both towers stay frozen, so every photo and caption is run through them once and kept (`--cache`).
What is trained are a few small heads over those features, each in a process of its own and from
a seed of its own; side by side they are the joint space. The loss is contrastive, and it has two
sources: the photos' captions, and what the image tower already knows, its 1,000 ImageNet classes.

    python scripts/train_pocket.py --flickr8k DIR               # train, write the heads, measure
    python scripts/train_pocket.py --flickr8k DIR --evaluate    # measure the heads that ship
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from clipsearch.encoders.learning import Course
from clipsearch.encoders.pocket.encoder import HEADS, PocketEncoder, load, pocket_files
from clipsearch.encoders.pocket.features import (
    Features,
    Photos,
    Texts,
    class_prompts,
    features,
    measured,
    read,
)
from clipsearch.encoders.pocket.heads import Heads, Scales, heads_to
from clipsearch.encoders.pocket.learning import LR_FROM_SCRATCH, SHAPE
from clipsearch.encoders.pocket.training import Member, MemberTraining, fill
from clipsearch.evaluation.ranks import best_ranks_of, ranks_of

RECIPE = "2"
TRAINED_ON = "Flickr8k train captions, ImageNet class names"
SPLITS = ("train", "dev", "test")
CAPTIONS = 5
ASKED = "a photo of a {}"
VIEWS = 2  # of each training photo: as it is, then mirrored and a little cropped
COURSE = Course(epochs=12, batch_size=500, lr=LR_FROM_SCRATCH, weight_decay=0.1)
HEADER = """\
           text to photo         photo to text         class to its photo
R@           1     5    10         1     5    10         1     5    10  mean rank    n"""
SURE = 0.8  # of a class, by the frozen classifier


@dataclass(frozen=True, slots=True)
class Split:
    """The photos of one part of Flickr8k and their captions, five a photo."""

    names: list[str]
    captions: list[str]


def main() -> None:
    options = _options()
    splits = read_splits(options.flickr8k)
    if not options.evaluate:
        began = time.monotonic()
        train(options.flickr8k, splits, options.cache)
        print(f"trained in {(time.monotonic() - began) / 60:.0f} minutes")
    encoder, files = load(), dict(read_photos(options.flickr8k))
    print(HEADER)
    for part in ("dev", "test"):
        print(f"{part:5} {line(measure(splits[part], files, encoder))}")


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
def see(encoder: PocketEncoder, views: Sequence[np.ndarray]) -> tuple[Tensor, ...]:
    """Views (260, 260, 3) uint8 to maps (n, 81, TOKEN_WIDTH) float16, pooled (n, 1280), logits."""
    parts = []
    for start in range(0, len(views), 16):  # larger batches leave the processor's cache
        maps, pooled, logits = encoder.see(np.stack(views[start : start + 16]))
        parts.append((maps.half(), pooled, logits))
    return tuple(torch.cat(part) for part in zip(*parts, strict=True))


def changed(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A photo mirrored and a little cropped: the captions stay true."""
    width, height = image.size
    side = rng.uniform(0.85, 1, 2)
    x, y = rng.uniform(0, 1 - side)
    right, bottom = x + side[0], y + side[1]
    return ImageOps.mirror(image).crop((x * width, y * height, right * width, bottom * height))


def gather(folder: Path, train: Split, cache: Path) -> tuple[Features, Scales]:
    """Run both towers over the training data, once; with the scales that make it standard."""
    encoder = load()
    views = [
        Photos(
            *cached(cache / f"view{number}.pt", partial(_view, encoder, folder, train, number > 0))
        )
        for number in range(VIEWS)
    ]
    captions = Texts(*cached(cache / "captions.pt", partial(read, encoder, train.captions)))
    prompts = Texts(*cached(cache / "prompts.pt", partial(read, encoder, class_prompts())))
    counts = [CAPTIONS] * len(train.names)
    found = features(views, captions, counts, prompts, encoder.classifier())
    return found, measured(found)


def _view(encoder: PocketEncoder, folder: Path, train: Split, change: bool) -> tuple[Tensor, ...]:
    files, rng = dict(read_photos(folder)), np.random.default_rng(1)
    images = (opened(files[name]) for name in train.names)
    return see(encoder, [encoder.prepare(changed(i, rng) if change else i) for i in images])


# --- training ---------------------------------------------------------------------------------


def train_member(folder: Path, cache: Path, kept: Path, seed: int) -> None:
    """Train one photo head and one text head; keep the mean of their last weights in a file."""
    torch.set_num_threads(1)  # the members share the machine
    found, scales = gather(folder, read_splits(folder)["train"], cache)
    torch.manual_seed(seed)
    training = MemberTraining(Member(found, scales, SHAPE, half=True), COURSE, seed)
    for epoch in range(1, COURSE.epochs + 1):
        loss = training.epoch(epoch, lambda: None)
        print(f"member {seed}, epoch {epoch} of {COURSE.epochs}: loss {loss:.3f}", flush=True)
    torch.save(training.average, kept)


def train(folder: Path, splits: dict[str, Split], cache: Path) -> None:
    """Train every member and write the heads file."""
    _, scales = gather(folder, splits["train"], cache)  # so that no two members make the cache
    heads = Heads(SHAPE)
    heads.scales = scales
    # Started afresh, as a fork would inherit torch's threads as locks that nobody holds.
    with (
        tempfile.TemporaryDirectory() as kept,
        ProcessPoolExecutor(SHAPE.members, get_context("spawn")) as pool,
    ):
        files = [Path(kept) / f"{seed}.pt" for seed in range(SHAPE.members)]
        made = [
            pool.submit(train_member, folder, cache, file, seed) for seed, file in enumerate(files)
        ]
        for seed, (one, file) in enumerate(zip(made, files, strict=True)):
            one.result()
            fill(heads, seed, torch.load(file, weights_only=True))
    write(heads, splits["dev"], dict(read_photos(folder)))


def write(heads: Heads, dev: Split, files: dict[str, bytes]) -> None:
    """Write the heads file, all or nothing."""
    tensors, metadata = heads_to(heads)
    metadata |= {"recipe version": RECIPE, "trained on": TRAINED_ON, "logit scale": "1"}
    part, towers = HEADS.with_suffix(".part"), pocket_files()
    assert towers is not None  # or nothing would have been trained
    save_file(tensors, part, metadata=metadata)
    # The members' mean is sharper than each: the temperature that fits it is found on dev.
    found = measure(dev, files, PocketEncoder(towers, part, "cpu", "fp32"))
    scale = best_scale(torch.from_numpy(found.captions @ found.photos.T))
    save_file(tensors, part, metadata=metadata | {"logit scale": str(scale)})
    part.chmod(0o644)  # save_file makes files for their owner alone
    os.replace(part, HEADS)


def best_scale(scores: Tensor) -> float:
    """What (captions, photos) cosines are best multiplied by before the softmax."""
    right = torch.arange(len(scores)) // CAPTIONS
    return min(
        map(float, range(8, 80)), key=lambda scale: float(F.cross_entropy(scale * scores, right))
    )


# --- measuring --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Measured:
    """What the shipped encoder makes of one part of Flickr8k."""

    photos: np.ndarray  # (photos, dim) float32 unit rows
    captions: np.ndarray  # (captions, dim) float32 unit rows
    asked: Tensor  # (CLASSES, photos) float32 cosines of "a photo of a CLASS"
    chances: Tensor  # (photos, CLASSES) float32, the frozen classifier's


def measure(split: Split, files: dict[str, bytes], encoder: PocketEncoder) -> Measured:
    """Encode one part as a search does, and compare every caption with every photo."""
    photos, logits = [], []
    for start in range(0, len(split.names), 16):
        names = split.names[start : start + 16]
        batch = np.stack([encoder.prepare(opened(files[name])) for name in names])
        photos.append(encoder.encode_images(batch))
        logits.append(encoder.classify(batch))
    images = np.concatenate(photos)
    asked = _encoded(encoder, [ASKED.format(name) for name in class_names()])
    chances = torch.from_numpy(np.concatenate(logits)).softmax(-1)
    captions = _encoded(encoder, split.captions)
    return Measured(images, captions, torch.from_numpy(asked @ images.T), chances)


def _encoded(encoder: PocketEncoder, texts: Sequence[str]) -> np.ndarray:
    parts = [encoder.encode_texts(texts[start : start + 64]) for start in range(0, len(texts), 64)]
    return np.concatenate(parts)


def line(measured: Measured) -> str:
    """One row of the table: recalls in percent."""
    own = np.repeat(np.arange(len(measured.photos)), CAPTIONS)
    to_photo = ranks_of(measured.captions, measured.photos, own)
    to_text = best_ranks_of(measured.photos, measured.captions, own)
    named = class_ranks(measured)
    recalls = "   ".join(f"{_recalls(ranks):>18}" for ranks in (to_photo, to_text, named))
    return f"{recalls} {named.mean():10.1f} {len(named):4}"


def class_ranks(measured: Measured) -> np.ndarray:
    """For each photo of whose class the classifier is sure: its rank, from 1, among other classes'.

    The query is the class's name; photos that the classifier gives the same class do not count.
    """
    sure, classes = measured.chances.max(1)
    ranks = []
    for photo in torch.nonzero(sure > SURE).flatten().tolist():
        scores = measured.asked[classes[photo]]
        better = (scores > scores[photo]) & (classes != classes[photo])
        ranks.append(1 + int(better.sum()))
    return np.array(ranks)


def _recalls(ranks: np.ndarray) -> str:
    return "".join(f"{100 * (ranks <= k).mean():6.1f}" for k in (1, 5, 10))


if __name__ == "__main__":
    main()
