"""The photos and captions that the pocket model learns from, as they lie in their folders."""

from __future__ import annotations

import csv
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo and what people say of it."""

    folder: Path
    name: str
    captions: list[str] = field(default_factory=list)
    labels: tuple[str, ...] = ()  # kinds of things that are in it; more may be


Splits = dict[str, list[Photo]]


def read_flickr8k(folder: Path) -> Splits:
    """Flickr8k in its standard split, five captions a photo."""
    captions: dict[str, list[str]] = {}
    for row in _rows(folder):
        captions.setdefault(Path(row["image"]).stem, []).append(row["caption"])
    names = {part: (folder / f"{part}.txt").read_text().split() for part in SPLITS}
    return {
        part: [Photo(folder, name, captions[name]) for name in map(_stem, listed)]
        for part, listed in names.items()
    }


def read_coco(folder: Path) -> Splits:
    """Photos of COCO: one caption a photo in train, five in dev and test, and labels."""
    photos: dict[str, dict[str, Photo]] = {part: {} for part in SPLITS}
    for row in _rows(folder):
        name, labels = _stem(row["image"]), tuple(filter(None, row["labels"].split(";")))
        photo = photos[row["split"]].setdefault(name, Photo(folder, name, labels=labels))
        photo.captions.append(row["caption"])
    return {part: list(some.values()) for part, some in photos.items()}


def read_files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Each photo's name and its file's bytes."""
    with tarfile.open(folder / "images.tar") as tar:
        for member in tar:
            file = tar.extractfile(member)
            if file is not None:
                yield _stem(member.name), file.read()


def opened(data: bytes) -> Image.Image:
    """A photo's pixels."""
    return Image.open(io.BytesIO(data)).convert("RGB")


def _rows(folder: Path) -> Iterator[dict[str, str]]:
    with (folder / "captions.csv").open(newline="") as file:
        yield from csv.DictReader(file)


def _stem(name: str) -> str:
    return Path(name).stem
