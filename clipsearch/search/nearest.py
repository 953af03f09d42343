"""Find the photos nearest to a vector."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Hashable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from clipsearch.errors import LARGEST, InvalidInput, arg, check_number, did_you_mean
from clipsearch.photos.files.urls import PhotoPath, Url, photo_path
from clipsearch.search.relevance import (
    SAMPLE,
    PictureScale,
    WordScale,
    picture_scale,
    relevance,
    usable,
    word_scale,
)
from clipsearch.search.results import Hit
from clipsearch.store.catalog import Catalog, Model, PhotoRow
from clipsearch.store.catalog.photos import ORDERS
from clipsearch.store.conditions import EVERYTHING, Condition
from clipsearch.store.database.collector import no_garbage_collection
from clipsearch.store.moving import to_search
from clipsearch.store.presence import Presence
from clipsearch.store.vectors.matches import Matches
from clipsearch.store.vectors.store import VectorStore, Within

# Photos looked up at a time: where all are asked for, their rows do not all stand beside the hits.
_ROWS = 10_000

Judge = Callable[[np.ndarray], np.ndarray]  # from scores to relevance, both (n,) float32
LeaveOut = Callable[[PhotoRow], bool]  # whether a photo is not to be given
Embedded = Callable[[], np.ndarray]  # what the model makes of NEUTRAL, (m, dim) float32 unit


@dataclass
class Space:
    """A model's vectors, and what many questions to them have in common."""

    catalog: Catalog
    model: Model
    vectors: VectorStore

    @cached_property
    def scale_of_pictures(self) -> PictureScale:
        """What the scores of a question with a picture in it are worth here."""
        return picture_scale(*self.vectors.spread(SAMPLE))

    def scale_of_words(self, neutral: Embedded) -> WordScale:
        """What the scores of a question in words are worth here."""
        if self._scale_of_words is None:
            rows, _ = self.vectors.spread(SAMPLE)
            self._scale_of_words = word_scale(rows, neutral())
        return self._scale_of_words

    @cached_property
    def sample(self) -> np.ndarray:
        """Some of the vectors, evenly spread: (n, dim) float32, unit rows."""
        return usable(self.vectors.spread(SAMPLE)[0])

    def count(self, selection: Condition) -> int:
        """How many photos are selected."""
        if selection not in self._counts:
            self._counts[selection] = self.catalog.count_selected(selection)
        return self._counts[selection]

    _scale_of_words: WordScale | None = None
    _counts: dict[Condition, int] = field(default_factory=dict)


class Spaces:
    """The spaces of a catalog's models, opened again only when photos or files were written."""

    def __init__(self, folder: Path, catalog: Catalog) -> None:
        self._folder = folder
        self._catalog = catalog
        self._version: Hashable = None
        self._spaces: dict[int, Space] = {}

    def of(self, model: Model) -> Space:
        """A model's space, as the catalog is now."""
        version = self._catalog.version()  # before the file is opened, so that nothing is missed
        if version != self._version:
            self._spaces, self._version = {}, version
        space = self._spaces.get(model.id)
        if space is None or not space.vectors.is_current():
            vectors = to_search(self._folder, self._catalog, model)
            space = self._spaces[model.id] = Space(self._catalog, model, vectors)
        return space


def nearest_photos(
    space: Space,
    query: np.ndarray,
    k: int | None,
    selection: Condition | None = None,
    leave_out: LeaveOut | None = None,
    exact: bool = False,
    *,
    judge: Judge,
    first: Matches | None = None,
) -> list[Hit]:
    """The k photos with the highest cosine to `query`, (dim,) float32 unit, best first.

    Photos of one content share a vector and all count, those that are away last; None asks for all
    photos. Only photos of the `selection` are looked at; `leave_out` tells of one that is not to be
    given. An approximate index is used where there is one, unless `exact`. `judge` tells the
    relevance. `first` is what a search for k + 1 vectors has found already.
    """
    catalog = space.catalog
    within = Within(catalog, space.model, selection) if selection is not None else None
    reach = sys.maxsize if k is None else k + 1  # one for the photo left out
    while True:
        matches = first or space.vectors.search(query, reach, within, exact)
        with no_garbage_collection() if len(matches.ids) > _ROWS else nullcontext():
            hits = list(_hits(catalog, matches, judge, selection or EVERYTHING, leave_out))
        # Vectors of photos that are gone may still be in the file: look further then.
        if k is None or len(hits) >= k or len(matches.ids) < reach:
            return hits[:k]
        reach, first = 4 * reach, None


def check_k(k: int | None) -> None:
    """Raise InvalidInput unless `k` photos can be asked for; None asks for all."""
    check_number(arg("k"), k, 1, LARGEST // 8)  # with room to look further


def check_sort(sort: str) -> None:
    """Raise InvalidInput unless photos can be listed in such an order."""
    if sort not in ORDERS:
        raise InvalidInput(
            f"{arg('sort')} {sort!r} is unknown; it can be {', '.join(ORDERS)}"
            f"{did_you_mean(sort, ORDERS)}"
        )


def _hits(
    catalog: Catalog,
    matches: Matches,
    judge: Judge,
    selection: Condition,
    leave_out: LeaveOut | None,
) -> Iterator[Hit]:
    presence = Presence(catalog)
    for start in range(0, len(matches.ids), _ROWS):
        some = Matches(*(all[start : start + _ROWS] for all in (matches.ids, matches.scores)))
        photos = catalog.photos_of_vectors(some.ids.tolist(), selection)
        columns = (some.ids, some.scores, judge(some.scores))
        for id, score, worth in zip(*(column.tolist() for column in columns), strict=True):
            alike = photos.get(id, ())
            for photo in alike if len(alike) < 2 else presence.last(alike, _path_of):
                if leave_out is None or not leave_out(photo):
                    path, there = photo_path(photo.path), presence.of(photo.path)
                    facts, place = photo.facts, photo.locality
                    yield Hit(path, score, photo.id, facts, worth, there, place=place)


def _path_of(photo: PhotoRow) -> str:
    return photo.path


def judge_of(
    space: Space, query: np.ndarray, selection: Condition | None, neutral: Embedded | None
) -> Judge:
    """What tells the relevance of photos; it looks at the library when it is first needed.

    `neutral` goes with a question in words; one with a picture in it has None.
    """

    def judge(scores: np.ndarray) -> np.ndarray:
        scale = space.scale_of_pictures if neutral is None else space.scale_of_words(neutral)
        return relevance(scale, query, scores, space.count(selection or EVERYTHING))

    return judge


def is_file(file: PhotoPath, photo: PhotoRow) -> bool:
    """Whether a photo's file is a certain one."""
    if isinstance(file, Url):
        return photo.path == file
    try:
        # Names are compared first: a look at the disk for every hit would be slow.
        return os.path.basename(photo.path) == file.name and os.path.samefile(photo.path, file)
    except OSError:
        return False
