"""Zero-shot labels: which words of a list fit a photo best, and how often in a library.

As in the CLIP paper (Radford et al. 2021, https://arxiv.org/abs/2103.00020, section 3.1.4): a
label's embedding is the mean of those of several sentences made with it.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from clipsearch.encoders.imagenet import class_names
from clipsearch.encoders.rows import embedded_texts
from clipsearch.errors import InvalidInput
from clipsearch.models import TextEncoder
from clipsearch.photos.files.urls import PhotoPath, photo_path
from clipsearch.search.filters import Filters, no_photos_below, select
from clipsearch.search.results import Hit
from clipsearch.search.scoring import probabilities
from clipsearch.store.catalog import EVERYTHING, Catalog, Model, Selection
from clipsearch.store.label_rows import LabelRows, read_label_rows, write_label_rows
from clipsearch.store.presence import Presence
from clipsearch.store.vector_store import VectorStore

log = logging.getLogger("clipsearch")

# A list of labels, or where one is: a file's name, "imagenet", or None for our own.
Labels = Sequence[str] | str | os.PathLike[str] | None

Progress = Callable[[int, int], None]

OURS = Path(__file__).with_name("labels.txt")

# The seven that OpenAI's notebook on prompts for ImageNet chose among its 80, one after another
# by how much each adds (https://github.com/openai/CLIP, Prompt_Engineering_for_ImageNet.ipynb).
TEMPLATES = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)

_LABELS_AT_A_TIME = 16  # 112 sentences fit any memory
_MANY_LABELS = 100  # more than these take long enough to say so
_ROWS_AT_A_TIME = 4096


@dataclass(frozen=True, slots=True)
class Label:
    """A label of one photo."""

    label: str
    probability: float  # among the labels of the list; with SigLIP, by itself
    score: float  # cosine of the label's and the photo's embedding

    def as_dict(self, rank: int) -> dict[str, Any]:
        """The label as `--json` shows it; `rank` counts from 1."""
        return {
            "rank": rank,
            "label": self.label,
            "probability": round(self.probability, 6),
            "score": round(self.score, 6),
        }


@dataclass(frozen=True, slots=True)
class LabelCount:
    """How many photos a label is the best one of."""

    label: str
    photos: int
    example: PhotoPath  # the photo that it is most probable for

    def as_dict(self, rank: int) -> dict[str, Any]:
        """The count as `--json` shows it; `rank` counts from 1."""
        return {
            "rank": rank,
            "label": self.label,
            "photos": self.photos,
            "example": str(self.example),
        }


@dataclass(frozen=True, slots=True)
class LabelledPhoto:
    """A photo that a label is the best one of."""

    hit: Hit  # its score is the cosine of the label's and the photo's embedding
    probability: float

    def as_dict(self, rank: int) -> dict[str, Any]:
        """The photo as `--json` shows it; `rank` counts from 1."""
        return {**self.hit.as_dict(rank), "probability": round(self.probability, 6)}


@dataclass(frozen=True, slots=True)
class LabelSet:
    """Labels made ready to be compared with photos."""

    labels: list[str]
    vectors: np.ndarray  # (labels, dim) float32, unit rows
    logit_scale: float  # the model's
    logit_bias: float | None  # the same


def read_labels(labels: Labels) -> list[str]:
    """The labels that are meant, each once, white space made even.

    In a file they stand one a line; empty lines and those that begin with # do not count.

    Raises:
        InvalidInput: the file cannot be read, or there is not one label.
    """
    if labels is None:
        lines: Iterable[str] = _lines(OURS)
    elif labels == "imagenet":
        lines = class_names()
    elif isinstance(labels, (str, os.PathLike)):
        lines = _lines(Path(os.path.expanduser(labels)))
    else:
        lines = labels
    found = [label for label in dict.fromkeys(" ".join(line.split()) for line in lines) if label]
    if not found:
        raise InvalidInput(f"{_named(labels)} holds no labels; write one a line")
    return found


def embed_labels(
    labels: Sequence[str],
    file: Path,
    model: Model,
    encoder: Callable[[], TextEncoder],
    progress: Progress,
    keep: bool = True,
) -> LabelSet:
    """The labels' embeddings; those that `file` does not remember are made, and kept there.

    Where they are not to be kept they are made each time. The encoder is asked for only if one is
    missing.
    """
    made_with = _made_with(model)
    known = read_label_rows(file, made_with)
    if known is None:
        known = LabelRows(encoder().logit_scale, encoder().logit_bias)
    missing = [label for label in labels if label not in known.rows]
    if missing:
        try:
            _embed_missing(missing, known, encoder(), progress)
        finally:  # what was made before Ctrl-C need not be made again
            if keep:
                _remember(file, made_with, known)
    rows = np.stack([known.rows[label] for label in labels])
    return LabelSet(list(labels), rows, known.logit_scale, known.logit_bias)


def are_embedded(labels: Sequence[str], file: Path, model: Model) -> bool:
    """Whether `file` remembers what a model makes of all of the labels."""
    known = read_label_rows(file, _made_with(model))
    return known is not None and set(labels) <= known.rows.keys()


def ensembles(labels: Sequence[str], templates: Sequence[str], encoder: TextEncoder) -> np.ndarray:
    """Each label put into all templates, in the place of {}: the means, (n, dim) float32 unit."""
    texts = [template.replace("{}", label) for label in labels for template in templates]
    rows = embedded_texts(encoder, texts).reshape(len(labels), len(templates), -1).mean(1)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def best_labels(vector: np.ndarray, labels: LabelSet, k: int) -> list[Label]:
    """The k labels that fit a photo's embedding, (dim,) float32 unit, best first."""
    cosines = labels.vectors @ vector
    chances = probabilities(cosines, labels.logit_scale, labels.logit_bias)
    return [
        Label(labels.labels[place], float(chances[place]), float(cosines[place]))
        for place in np.argsort(-cosines, kind="stable")[:k]
    ]


def count_labels(
    catalog: Catalog,
    model: Model,
    vectors: VectorStore,
    labels: Sequence[str],
    embed: Callable[[Sequence[str]], LabelSet],
    folder: str | os.PathLike[str] | None,
    k: int,
) -> list[LabelCount]:
    """The k labels that are the best ones of most photos below a folder, most first.

    Raises:
        InvalidInput: the index knows no such folder.
    """
    place, ids_of_photos = _vectors_below(folder, catalog, model)
    ids, copies = np.unique(ids_of_photos, return_counts=True)
    if not len(ids):
        return []  # and no minutes spent on labels
    best = _best_of_each(vectors, ids, embed(labels))
    photos = np.bincount(best.labels, copies[np.searchsorted(ids, best.ids)], minlength=len(labels))
    surest = np.argsort(-best.probabilities, kind="stable")
    found, first = np.unique(best.labels[surest], return_index=True)
    most = np.argsort(-photos[found], kind="stable")[:k]
    examples = _hits(catalog, best, surest[first[most]], place)
    return [
        LabelCount(labels[best.labels[at]], int(photos[best.labels[at]]), hits[0].path)
        for at, hits in examples
    ]


def photos_labelled(
    catalog: Catalog,
    model: Model,
    vectors: VectorStore,
    labels: Sequence[str],
    embed: Callable[[Sequence[str]], LabelSet],
    label: str,
    folder: str | os.PathLike[str] | None,
    k: int,
) -> list[LabelledPhoto]:
    """The k photos below a folder that `label` is the best one of, most probable first.

    Raises:
        InvalidInput: no such label, or the index knows no such folder.
    """
    wanted = _place(label, labels)
    place, ids_of_photos = _vectors_below(folder, catalog, model)
    ids = np.unique(ids_of_photos)
    if not len(ids):
        return []
    best = _best_of_each(vectors, ids, embed(labels))
    surest = np.argsort(-best.probabilities, kind="stable")
    chosen = surest[best.labels[surest] == wanted][:k]
    return [
        LabelledPhoto(hit, float(best.probabilities[at]))
        for at, hits in _hits(catalog, best, chosen, place)
        for hit in hits
    ][:k]


class _Best(NamedTuple):
    """The best label of each of n vectors."""

    ids: np.ndarray  # (n,) int64, ascending
    labels: np.ndarray  # (n,) int64, places in the list
    scores: np.ndarray  # (n,) float32, cosine
    probabilities: np.ndarray  # (n,) float32


def _best_of_each(vectors: VectorStore, ids: np.ndarray, labels: LabelSet) -> _Best:
    columns = np.ascontiguousarray(labels.vectors.T)
    nothing = np.empty(0, np.int64)
    parts = [_Best(nothing, nothing, nothing.astype(np.float32), nothing.astype(np.float32))]
    for block_ids, rows in vectors.blocks(ids, _ROWS_AT_A_TIME):
        cosines = rows.astype(np.float32) @ columns
        parts.append(_best_of_block(block_ids, cosines, labels))
    return _Best(*map(np.concatenate, zip(*parts, strict=True)))


def _best_of_block(ids: np.ndarray, cosines: np.ndarray, labels: LabelSet) -> _Best:
    best = cosines.argmax(1)
    scores = np.take_along_axis(cosines, best[:, None], 1)
    if labels.logit_bias is not None:
        chances = probabilities(scores[:, 0], labels.logit_scale, labels.logit_bias)
        return _Best(ids, best, scores[:, 0], chances)
    # The softmax of the best alone, in the memory that is there.
    cosines -= scores
    cosines *= np.float32(labels.logit_scale)
    np.exp(cosines, out=cosines)
    return _Best(ids, best, scores[:, 0], 1 / cosines.sum(1))


def _hits(
    catalog: Catalog, best: _Best, chosen: np.ndarray, place: Selection
) -> Iterator[tuple[int, list[Hit]]]:
    """The photos of each chosen vector, by its place in `best`."""
    photos = catalog.photos_of_vectors(best.ids[chosen].tolist(), place)
    presence = Presence(catalog)
    for at in chosen.tolist():
        hits = [
            Hit(
                photo_path(photo.path),
                float(best.scores[at]),
                photo.id,
                photo.facts,
                present=presence.of(photo.path),
            )
            for photo in presence.last(photos.get(int(best.ids[at]), ()), lambda it: it.path)
        ]
        if hits:  # not so if it was removed since
            yield at, hits


def _vectors_below(
    folder: str | os.PathLike[str] | None, catalog: Catalog, model: Model
) -> tuple[Selection, np.ndarray]:
    """A folder as a selection of photos, None for all, and the vector id of each of them."""
    place = select(Filters(folder=[folder]), catalog) if folder is not None else None
    ids = np.array(catalog.vectors_of_photos(model.id, place or EVERYTHING), np.int64)
    if place and not len(ids):
        raise no_photos_below(folder)
    return place or EVERYTHING, ids


def _place(label: str, labels: Sequence[str]) -> int:
    wanted = " ".join(label.split())
    if wanted in labels:
        return labels.index(wanted)
    near = difflib.get_close_matches(wanted, labels, n=3)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise InvalidInput(f"{label!r} is not among the labels{hint}")


def _embed_missing(
    missing: Sequence[str], known: LabelRows, encoder: TextEncoder, progress: Progress
) -> None:
    if len(missing) > _MANY_LABELS:
        log.warning(
            "embedding %d labels, once for this model; on a CPU that can take minutes",
            len(missing),
        )
    for start in range(0, len(missing), _LABELS_AT_A_TIME):
        some = missing[start : start + _LABELS_AT_A_TIME]
        known.rows.update(zip(some, ensembles(some, TEMPLATES, encoder), strict=True))
        progress(start + len(some), len(missing))


def _remember(file: Path, made_with: str, known: LabelRows) -> None:
    if not known.rows:
        return
    try:
        write_label_rows(file, made_with, known)
    except OSError as error:
        log.warning("the labels' embeddings could not be kept: %s", error.strerror or error)


def _made_with(model: Model) -> str:
    """What the embeddings depend on, besides the labels."""
    parts = [model.weights, model.preprocess, *TEMPLATES]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _lines(file: Path) -> list[str]:
    try:
        text = file.read_text("utf-8-sig")
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file} is no list of labels: it is not UTF-8 text") from error
    return [line for line in text.splitlines() if not line.startswith("#")]


def _named(labels: Labels) -> str:
    return os.fspath(labels) if isinstance(labels, (str, os.PathLike)) else "the list"
