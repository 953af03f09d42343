"""Which labels of a list fit a photo best, and how often in a library."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from clipsearch.errors import InvalidInput, did_you_mean
from clipsearch.photos.files.urls import PhotoPath, photo_path
from clipsearch.search.filtering.filters import Filters, no_photos_below, select
from clipsearch.search.labels.lists import LabelSet
from clipsearch.search.results import Hit
from clipsearch.search.scoring import probabilities
from clipsearch.store.catalog import Catalog, Model
from clipsearch.store.conditions import EVERYTHING, Condition
from clipsearch.store.presence import Presence
from clipsearch.store.vectors.store import VectorStore

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


def best_labels(vector: np.ndarray, labels: LabelSet, k: int) -> list[Label]:
    """The k labels that fit a photo's embedding, (dim,) float32 unit, best first."""
    cosines = labels.vectors @ vector
    chances = probabilities(cosines, labels.logit_scale, labels.logit_bias)
    return [
        Label(labels.labels[number], float(chances[number]), float(cosines[number]))
        for number in np.argsort(-cosines, kind="stable")[:k]
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
    below, ids_of_photos = _vectors_below(folder, catalog, model)
    ids, copies = np.unique(ids_of_photos, return_counts=True)
    if not len(ids):
        return []  # and no minutes spent on labels
    best = _best_of_each(vectors, ids, embed(labels))
    photos = np.bincount(best.labels, copies[np.searchsorted(ids, best.ids)], minlength=len(labels))
    surest = np.argsort(-best.probabilities, kind="stable")
    found, first = np.unique(best.labels[surest], return_index=True)
    most = np.argsort(-photos[found], kind="stable")[:k]
    examples = _hits(catalog, best, surest[first[most]], below)
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
    wanted = _number(label, labels)
    below, ids_of_photos = _vectors_below(folder, catalog, model)
    ids = np.unique(ids_of_photos)
    if not len(ids):
        return []
    best = _best_of_each(vectors, ids, embed(labels))
    surest = np.argsort(-best.probabilities, kind="stable")
    chosen = surest[best.labels[surest] == wanted][:k]
    return [
        LabelledPhoto(hit, float(best.probabilities[at]))
        for at, hits in _hits(catalog, best, chosen, below)
        for hit in hits
    ][:k]


class _Best(NamedTuple):
    """The best label of each of n vectors."""

    ids: np.ndarray  # (n,) int64, ascending
    labels: np.ndarray  # (n,) int64, their numbers in the list
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
    catalog: Catalog, best: _Best, chosen: np.ndarray, below: Condition
) -> Iterator[tuple[int, list[Hit]]]:
    """The photos of each chosen vector, by its number in `best`."""
    photos = catalog.photos_of_vectors(best.ids[chosen].tolist(), below)
    presence = Presence(catalog)
    for at in chosen.tolist():
        hits = [
            Hit(
                photo_path(photo.path),
                float(best.scores[at]),
                photo.id,
                photo.facts,
                present=presence.of(photo.path),
                place=photo.locality,
            )
            for photo in presence.last(photos.get(int(best.ids[at]), ()), lambda it: it.path)
        ]
        if hits:  # not so if it was removed since
            yield at, hits


def _vectors_below(
    folder: str | os.PathLike[str] | None, catalog: Catalog, model: Model
) -> tuple[Condition, np.ndarray]:
    """A folder as a selection of photos, None for all, and the vector id of each of them."""
    below = select(Filters(folder=[folder]), catalog) if folder is not None else None
    ids = catalog.vector_ids_of_photos(model.id, below or EVERYTHING)
    if below and not len(ids):
        raise no_photos_below(folder)
    return below or EVERYTHING, ids


def _number(label: str, labels: Sequence[str]) -> int:
    wanted = " ".join(label.split())
    if wanted in labels:
        return labels.index(wanted)
    raise InvalidInput(f"{label!r} is not among the labels{did_you_mean(wanted, labels)}")
