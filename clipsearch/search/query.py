"""Find the photos nearest to a vector."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np

from clipsearch.errors import InvalidInput
from clipsearch.search.relevance import (
    SAMPLE,
    Calibration,
    calibrate_picture,
    calibrate_text,
    relevance,
)
from clipsearch.search.results import Hit
from clipsearch.store.approximate import faster
from clipsearch.store.catalog import EVERYTHING, Catalog, Model, PhotoRow, Selection
from clipsearch.store.vectors import Matches, VectorFile

# Photos looked up at a time: where all are asked for, their rows do not all stand beside the hits.
_ROWS = 10_000

_Judge = Callable[[Matches], np.ndarray]  # the relevance of each match, (n,) float32


def nearest_photos(
    catalog: Catalog,
    model: Model,
    vectors: VectorFile,
    query: np.ndarray,
    k: int | None,
    selection: Selection | None = None,
    leave_out: Path | None = None,
    exact: bool = False,
    neutral: np.ndarray | None = None,
) -> list[Hit]:
    """The k photos with the highest cosine to `query`, (dim,) float32 unit, best first.

    Photos of one content share a vector and all count; None asks for all photos. Only photos of
    the `selection` are looked at; `leave_out` is a file not to be given. An approximate index is
    used where there is one, unless `exact`. `neutral`, the embeddings of NEUTRAL, goes with a
    question in words; one with a picture in it has None.
    """
    within = None
    if selection is not None:
        within = np.fromiter(catalog.selected_vectors(model.id, selection), np.int64)
    reach = sys.maxsize if k is None else k + 1  # one for the photo left out
    judge = _judge(vectors, query, neutral)
    searched = vectors if exact else faster(vectors)
    while True:
        matches = searched.search(query, reach, within)
        hits = list(_hits(catalog, matches, judge, selection or EVERYTHING, leave_out))
        # Vectors of photos that are gone may still be in the file: look further then.
        if k is None or len(hits) >= k or len(matches.ids) < reach:
            return hits[:k]
        reach *= 4


def check_k(k: int | None) -> None:
    """Raise InvalidInput unless `k` photos can be asked for; None asks for all."""
    if k is not None and k < 1:
        raise InvalidInput(f"-k must be at least 1, not {k}")


def _hits(
    catalog: Catalog,
    matches: Matches,
    judge: _Judge,
    selection: Selection,
    leave_out: Path | None,
) -> Iterator[Hit]:
    for start in range(0, len(matches.ids), _ROWS):
        some = Matches(*(all[start : start + _ROWS] for all in (matches.ids, matches.scores)))
        photos = catalog.photos_of_vectors(some.ids.tolist(), selection)
        columns = (some.ids, some.scores, judge(some))
        for id, score, worth in zip(*(column.tolist() for column in columns), strict=True):
            for photo in photos.get(id, []):
                if leave_out is None or not _is_file(photo, leave_out):
                    yield Hit(Path(photo.path), score, photo.id, photo.facts, worth)


def _judge(vectors: VectorFile, query: np.ndarray, neutral: np.ndarray | None) -> _Judge:
    """What gives the relevance of matches; it looks at the library when it is first needed."""

    @cache
    def calibration() -> Calibration:
        rows, total = vectors.spread(SAMPLE)
        if neutral is None:
            return calibrate_picture(rows, total)
        return calibrate_text(rows, total, neutral)

    def judge(matches: Matches) -> np.ndarray:
        rows = vectors.rows_of(matches.ids)
        return relevance(calibration(), query, matches.scores, rows)

    return judge


def _is_file(photo: PhotoRow, file: Path) -> bool:
    try:
        # Names are compared first: a look at the disk for every hit would be slow.
        return os.path.basename(photo.path) == file.name and os.path.samefile(photo.path, file)
    except OSError:
        return False
