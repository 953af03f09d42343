"""Find the photos nearest to a vector."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from clipsearch.errors import InvalidInput
from clipsearch.search.results import Hit
from clipsearch.store.approximate import ApproximateIndex
from clipsearch.store.catalog import EVERYTHING, Catalog, Model, PhotoRow, Selection
from clipsearch.store.vectors import Matches, VectorFile

# Photos looked up at a time: where all are asked for, their rows do not all stand beside the hits.
_ROWS = 10_000


def nearest_photos(
    catalog: Catalog,
    model: Model,
    vectors: VectorFile | ApproximateIndex,
    query: np.ndarray,
    k: int | None,
    selection: Selection | None = None,
    leave_out: Path | None = None,
) -> list[Hit]:
    """The k photos with the highest cosine to `query`, (dim,) float32 unit, best first.

    Photos of one content share a vector and all count; None asks for all photos. Only photos of
    the `selection` are looked at; `leave_out` is a file not to be given.
    """
    within = None
    if selection is not None:
        within = np.fromiter(catalog.selected_vectors(model.id, selection), np.int64)
    reach = sys.maxsize if k is None else k + 1  # one for the photo left out
    while True:
        matches = vectors.search(query, reach, within)
        hits = list(_hits(catalog, matches, selection or EVERYTHING, leave_out))
        # Vectors of photos that are gone may still be in the file: look further then.
        if k is None or len(hits) >= k or len(matches.ids) < reach:
            return hits[:k]
        reach *= 4


def check_k(k: int | None) -> None:
    """Raise InvalidInput unless `k` photos can be asked for; None asks for all."""
    if k is not None and k < 1:
        raise InvalidInput(f"-k must be at least 1, not {k}")


def _hits(
    catalog: Catalog, matches: Matches, selection: Selection, leave_out: Path | None
) -> Iterator[Hit]:
    for start in range(0, len(matches.ids), _ROWS):
        ids, scores = (
            values[start : start + _ROWS].tolist() for values in (matches.ids, matches.scores)
        )
        photos = catalog.photos_of_vectors(ids, selection)
        for id, score in zip(ids, scores, strict=True):
            for photo in photos.get(id, []):
                if leave_out is None or not _is_file(photo, leave_out):
                    yield Hit(Path(photo.path), score, photo.id, photo.facts)


def _is_file(photo: PhotoRow, file: Path) -> bool:
    try:
        # Names are compared first: a look at the disk for every hit would be slow.
        return os.path.basename(photo.path) == file.name and os.path.samefile(photo.path, file)
    except OSError:
        return False
