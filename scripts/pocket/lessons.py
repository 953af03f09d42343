"""What the heads of the pocket model learn from: photos, photos changed, and words for both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from clipsearch.encoders.pocket.encoder import PocketEncoder
from clipsearch.encoders.pocket.features import (
    Features,
    Names,
    Photos,
    class_prompts,
    features,
    measured,
)
from clipsearch.encoders.pocket.heads import Scales
from clipsearch.encoders.pocket.parts import PREPROCESS
from pocket.cache import View, key_of, read_kept, see
from pocket.looks import LOOKS
from pocket.sources import Photo, opened, read_files
from pocket.words import FORMS, forms_of, names_of

RECIPE = "3"  # another one keeps its features elsewhere
VIEWS = 2  # of each photo: as it is, then mirrored and a little cropped
EACH_LOOK = 120  # photos
CAPTIONS_A_LOOK = 2  # of each of them
NAMES_WEIGHT, LOOKS_WEIGHT = 0.45, 0.15


@dataclass(frozen=True, slots=True)
class Changed:
    """A photo that was made to look some way."""

    photo: int  # its number among the photos
    look: int
    seed: int


@dataclass(frozen=True, slots=True)
class Lessons:
    """The photos to learn from, and those of them that also come changed."""

    photos: list[Photo]
    changed: list[Changed]

    @property
    def key(self) -> str:
        """A name for what is made of them."""
        return key_of(RECIPE, PREPROCESS, [photo.name for photo in self.photos], EACH_LOOK)


def lessons_of(photos: list[Photo]) -> Lessons:
    """Some of the photos made to look each of the ways there are."""
    rng = np.random.default_rng(5)
    count = min(EACH_LOOK, len(photos))
    picked = [rng.choice(len(photos), count, replace=False) for _ in LOOKS]
    pairs = [(int(photo), look) for look, some in enumerate(picked) for photo in some]
    return Lessons(photos, [Changed(*pair, seed) for seed, pair in enumerate(pairs)])


def gather(lessons: Lessons, encoder: PocketEncoder, cache: Path) -> tuple[Features, Scales]:
    """Run both towers over all of it, once; with the scales that make it standard."""
    cache.mkdir(parents=True, exist_ok=True)
    rows = [*lessons.photos, *(_photo(lessons, one) for one in lessons.changed)]
    captions = read_kept(encoder, [text for row in rows for text in row.captions], cache)
    prompts = read_kept(encoder, class_prompts(), cache)
    found = features(
        _views(lessons, encoder, cache), captions, [len(row.captions) for row in rows], prompts,
        encoder.classifier(),
    )  # fmt: skip
    named = _names(lessons, encoder, cache), _looks(lessons, encoder, cache)
    found = replace(found, names=named, turns=_turns(rows), ordinary=len(lessons.photos))
    return found, measured(found)


def _photo(lessons: Lessons, one: Changed) -> Photo:
    """A changed photo with captions that are true of it."""
    photo, words = lessons.photos[one.photo], LOOKS[one.look].words
    rng = np.random.default_rng((3, one.seed))
    said = [
        _said(rng.choice(words), rng.choice(photo.captions), rng) for _ in range(CAPTIONS_A_LOOK)
    ]
    return replace(photo, captions=said)


def _said(look: str, caption: str, rng: np.random.Generator) -> str:
    caption = caption.strip().rstrip(". ")
    lower = caption[:1].lower() + caption[1:]
    return str(rng.choice([f"{look}: {caption}", f"{caption}, {look}", f"{look} of {lower}"]))


def _turns(rows: Sequence[Photo]) -> tuple[Tensor, ...]:
    """Each source's photos: beside others of their own kind they are harder to tell apart.

    Photos with many captions come twice in an epoch, as they have more to tell.
    """
    turns: dict[Path, list[int]] = {}
    for number, row in enumerate(rows):
        often = 2 if len(row.captions) > CAPTIONS_A_LOOK else 1
        turns.setdefault(row.folder, []).extend([number] * often)
    return tuple(torch.tensor(some) for some in turns.values())


# --- what is seen -----------------------------------------------------------------------------


def _views(lessons: Lessons, encoder: PocketEncoder, cache: Path) -> list[Photos]:
    files = {
        (folder, name): data
        for folder in {photo.folder for photo in lessons.photos}
        for name, data in read_files(folder)
    }
    data = [files[photo.folder, photo.name] for photo in lessons.photos]
    views: list[Photos] = []
    for number in range(VIEWS):
        plain: list[View] = [
            partial(_see, encoder, one, seed if number else None) for seed, one in enumerate(data)
        ]
        changed = [partial(_look, encoder, data[one.photo], one, number) for one in lessons.changed]
        views.append(see(encoder, [*plain, *changed], cache, key_of(lessons.key, number)))
    return views


def _see(encoder: PocketEncoder, data: bytes, seed: int | None) -> np.ndarray:
    image = opened(data)
    return encoder.prepare(image if seed is None else _moved(image, np.random.default_rng(seed)))


def _look(encoder: PocketEncoder, data: bytes, one: Changed, view: int) -> np.ndarray:
    rng = np.random.default_rng((7 + view, one.seed))
    return encoder.prepare(LOOKS[one.look].change(opened(data), rng))


def _moved(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A photo mirrored and a little cropped: its captions stay true."""
    width, height = image.size
    side = rng.uniform(0.85, 1, 2)
    x, y = rng.uniform(0, 1 - side)
    right, bottom = x + side[0], y + side[1]
    return ImageOps.mirror(image).crop((x * width, y * height, right * width, bottom * height))


# --- what it is called ------------------------------------------------------------------------


def _names(lessons: Lessons, encoder: PocketEncoder, cache: Path) -> Names:
    """What captions and labels name."""
    names, own = names_of([(*photo.captions, *photo.labels) for photo in lessons.photos])
    shown = torch.zeros(len(own) + len(lessons.changed), len(names), dtype=torch.bool)
    for row, mine in zip(shown, own, strict=False):
        row[mine] = True
    for row, one in enumerate(lessons.changed, len(own)):
        shown[row] = shown[one.photo]
    texts = read_kept(encoder, [form for name in names for form in forms_of(name)], cache)
    assert len(texts.starts) - 1 == FORMS * len(names)
    return Names(texts, texts.sentences(), shown, NAMES_WEIGHT)


def _looks(lessons: Lessons, encoder: PocketEncoder, cache: Path) -> Names:
    """What photos are called that look some way."""
    most = max(len(look.words) for look in LOOKS)
    # All have as many words; who has fewer says some twice.
    words = [(look.words * most)[number] for look in LOOKS for number in range(most)]
    texts = read_kept(encoder, words, cache)
    shown = torch.zeros(len(lessons.photos) + len(lessons.changed), len(LOOKS), dtype=torch.bool)
    for row, one in enumerate(lessons.changed, len(lessons.photos)):
        shown[row, one.look] = True
    return Names(texts, texts.sentences(), shown, LOOKS_WEIGHT)
