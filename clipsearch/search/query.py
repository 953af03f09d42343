"""Find the photos nearest to a vector."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from clipsearch.errors import InvalidInput
from clipsearch.search.results import Hit
from clipsearch.store.approximate import ApproximateIndex
from clipsearch.store.catalog import Catalog, PhotoRow
from clipsearch.store.vectors import Matches, VectorFile


def nearest_photos(
    catalog: Catalog,
    vectors: VectorFile | ApproximateIndex,
    query: np.ndarray,
    k: int,
    leave_out: Path | None = None,
) -> list[Hit]:
    """The k photos with the highest cosine to `query`, (dim,) float32 unit, best first.

    Photos of one content share a vector and all count. `leave_out` is a file not to be given.
    """
    reach = k + 1  # one for the photo left out
    while True:
        matches = vectors.search(query, reach)
        hits = list(_hits(catalog, matches, leave_out))
        # Vectors of photos that are gone may still be in the file: look further then.
        if len(hits) >= k or len(matches.ids) < reach:
            return hits[:k]
        reach *= 4


def check_k(k: int) -> None:
    """Raise InvalidInput unless `k` photos can be asked for."""
    if k < 1:
        raise InvalidInput(f"-k must be at least 1, not {k}")


def _hits(catalog: Catalog, matches: Matches, leave_out: Path | None) -> Iterator[Hit]:
    photos = catalog.photos_of_vectors([int(id) for id in matches.ids])
    for id, score in zip(matches.ids, matches.scores, strict=True):
        for photo in photos.get(int(id), []):
            if leave_out is None or not _is_file(photo, leave_out):
                yield Hit(Path(photo.path), float(score), photo.id, photo.facts)


def _is_file(photo: PhotoRow, file: Path) -> bool:
    try:
        # Names are compared first: a look at the disk for every hit would be slow.
        return os.path.basename(photo.path) == file.name and os.path.samefile(photo.path, file)
    except OSError:
        return False
