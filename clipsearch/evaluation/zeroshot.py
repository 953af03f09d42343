"""Zero-shot classification: which of the classes' names fits each photo best.

As in the CLIP paper (Radford et al. 2021, https://arxiv.org/abs/2103.00020, section 3.1): a name
is put into several sentences, whose mean stands for the class.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clipsearch.errors import InvalidInput
from clipsearch.evaluation.bootstrap import Estimate, estimate_shares
from clipsearch.evaluation.embedding import Candidates, Embedder, LeftOut
from clipsearch.evaluation.ranks import ranks_of
from clipsearch.indexing.loading import Loaders
from clipsearch.photos.scanning.walk import walk
from clipsearch.progress import Progress
from clipsearch.search.labels.lists import TEMPLATES

log = logging.getLogger("clipsearch")


@dataclass(frozen=True, slots=True)
class ClassFolders:
    """Photos that are sorted into a folder for each class."""

    classes: list[str]  # names, as the texts have them
    images: list[Path]
    classes_of: np.ndarray  # (images,) int64, the number of each image's class


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The share of photos whose class is the best one, or among the best five."""

    top1: Estimate
    top5: Estimate | None  # None with fewer than five classes

    def as_dict(self) -> dict[str, Any]:
        """The accuracy as `--json` shows it."""
        return {
            "top1": self.top1.as_dict(),
            "top5": self.top5.as_dict() if self.top5 else None,
        }


@dataclass(frozen=True, slots=True)
class ZeroShotFigures:
    """What one model tells rightly."""

    model: str
    all: Accuracy  # each photo counting the same
    mean: Accuracy  # each class counting the same
    by_class: dict[str, Accuracy]

    def as_dict(self) -> dict[str, Any]:
        """The figures as `--json` shows them."""
        return {
            "model": self.model,
            **self.all.as_dict(),
            "mean_of_classes": self.mean.as_dict(),
            "classes": {name: it.as_dict() for name, it in self.by_class.items()},
        }


@dataclass(frozen=True, slots=True)
class ZeroShotReport:
    """What several models tell rightly of the same photos."""

    images: dict[str, int]  # by class
    templates: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    models: tuple[ZeroShotFigures, ...]

    def as_dict(self) -> dict[str, Any]:
        """The report as `--json` shows it."""
        return {
            "images": sum(self.images.values()),
            "images_by_class": self.images,
            "templates": list(self.templates),
            "left_out": [one.as_dict() for one in self.left_out],
            "models": [one.as_dict() for one in self.models],
        }


def read_classes(folder: str | os.PathLike[str]) -> ClassFolders:
    """The photos below each folder of `folder`, whose names are those of the classes.

    An underscore in a name stands for a space.

    Raises:
        InvalidInput: it is no folder, or two of its folders stand for one class.
    """
    root = os.path.abspath(os.path.expanduser(folder))
    if not os.path.isdir(root):
        raise InvalidInput(f"there is no folder {os.fspath(folder)!r}")
    names: dict[str, str] = {}  # of folders, by class
    images: list[Path] = []
    owners: list[str] = []
    strays = 0
    for found in sorted(walk(root, "", _warn)):
        inner, slash, _ = found.path.partition("/")
        if not slash:
            strays += 1
            continue
        name = " ".join(inner.replace("_", " ").split())
        if names.setdefault(name, inner) != inner:
            raise InvalidInput(f"the folders {names[name]!r} and {inner!r} are of one name")
        images.append(Path(root, found.path))
        owners.append(name)
    if strays:
        log.warning("photos that lie in no class's folder and are left out: %d", strays)
    classes = sorted(names)
    number_of = {name: number for number, name in enumerate(classes)}
    return ClassFolders(classes, images, np.array([number_of[name] for name in owners], np.int64))


def evaluate_zeroshot(
    folders: ClassFolders,
    models: Candidates,
    templates: Sequence[str] = (),
    *,
    isolated: bool = False,
    progress: Progress | None = None,
) -> ZeroShotReport:
    """How well models tell the classes of photos apart by their names.

    A class is the mean of its name in all `templates`, at the place of {}; for none, those of
    `Library.label`. Images that cannot be read, and classes without any, are left out for all
    models alike. `progress` and `isolated` are as in `evaluate_retrieval`.

    Raises:
        InvalidInput: a template without {}, or fewer than two classes have photos.
        ModelError: a model cannot be loaded.
    """
    templates = tuple(templates) or TEMPLATES
    for template in templates:
        if "{}" not in template:
            raise InvalidInput(
                f"the template {template!r} has no {{}}, where the class's name goes"
            )
    _check_classes(folders)
    texts = len(folders.classes) * len(templates)
    found = []
    with Loaders(isolated=isolated) as loaders:
        embedder = Embedder(loaders, len(models) * (len(folders.images) + texts), progress)
        for name, load in models.items():
            encoder = load()
            images, kept = embedder.images(folders.images, name, encoder)
            if len(kept) < len(folders.images):
                folders = _only(folders, kept)
                _check_classes(folders)
            classes = embedder.classes(folders.classes, templates, encoder)
            found.append(figures(name, images, classes, folders))
    counts = np.bincount(folders.classes_of).tolist()
    return ZeroShotReport(
        dict(zip(folders.classes, counts, strict=True)), templates,
        tuple(embedder.left_out), tuple(found),
    )  # fmt: skip


def figures(
    name: str, images: np.ndarray, classes: np.ndarray, folders: ClassFolders
) -> ZeroShotFigures:
    """What embeddings come to, of images (n, dim) and of classes (c, dim), float32 unit rows."""
    ranks = ranks_of(images, classes, folders.classes_of)
    counts = np.bincount(folders.classes_of, minlength=len(classes))
    each, mean, whole = [], [], []
    for k in (1, 5):
        hits = np.bincount(folders.classes_of[ranks <= k], minlength=len(classes))
        shares, mean_share = estimate_shares(hits, counts)
        each.append(shares)
        mean.append(mean_share)
        whole.append(estimate_shares(hits.sum(keepdims=True), counts.sum(keepdims=True))[1])
    few = len(classes) < 5

    def accuracy(top1: Estimate, top5: Estimate) -> Accuracy:
        return Accuracy(top1, None if few else top5)

    by_class = map(accuracy, *each)
    return ZeroShotFigures(
        name, accuracy(*whole), accuracy(*mean), dict(zip(folders.classes, by_class, strict=True))
    )


def _only(folders: ClassFolders, kept: Sequence[int]) -> ClassFolders:
    """The images of some numbers, and the classes that have one."""
    there, numbers = np.unique(folders.classes_of[kept], return_inverse=True)
    gone = sorted(set(folders.classes) - {folders.classes[number] for number in there})
    if gone:
        log.warning("left out the classes without an image that can be read: %s", ", ".join(gone))
    return ClassFolders(
        [folders.classes[number] for number in there],
        [folders.images[number] for number in kept],
        numbers.astype(np.int64),
    )


def _check_classes(folders: ClassFolders) -> None:
    if len(folders.classes) < 2:
        raise InvalidInput(
            "two folders with photos are needed at least, each named as what its photos show;"
            f" there {'is one' if folders.classes else 'are none'}"
        )


def _warn(path: str, error: OSError) -> None:
    log.warning("%s cannot be looked at: %s", path or "the folder", error.strerror or error)
