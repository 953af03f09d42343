"""The first answers ordered anew by a model that looks at picture and words together."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from math import isfinite

import numpy as np

from clipsearch.encoders.captioning import Matcher
from clipsearch.errors import InvalidInput
from clipsearch.indexing.loading import Loaded, Loaders, load_ahead
from clipsearch.search.question import Term
from clipsearch.search.results import Hit

FIRST = 32  # answers that are looked at; each takes a run of a model of hundreds of megabytes


def sentence_of(terms: Sequence[Term]) -> str:
    """The words that answers are to fit.

    Raises:
        InvalidInput: there are none.
    """
    words = [str(it.content) for it in terms if not it.is_picture and it.weight > 0]
    if not words:
        raise InvalidInput("--rerank reads words; ask with some, as in: a dog in the snow")
    return ", ".join(words)


def reranked(
    hits: Sequence[Hit],
    sentence: str,
    matcher: Matcher,
    loaders: AbstractContextManager[Loaders],
) -> list[Hit]:
    """The hits, the first of them ordered by how well they fit; files that cannot be read last."""
    first = {str(hit.path): hit for hit in hits[:FIRST]}
    with loaders as pool:
        loaded = dict(load_ahead({path: path for path in first}, matcher.prepare, pool, FIRST))
    views = {
        path: result.views[0]
        for path, result in loaded.items()
        if isinstance(result, Loaded) and result.views is not None
    }
    fits: dict[str, float] = {}
    paths = list(views)
    for start in range(0, len(paths), matcher.batch_size):
        some = paths[start : start + matcher.batch_size]
        rows = matcher.match(np.stack([views[path] for path in some]), sentence)
        # What is no number says nothing of a photo, and comes last as what cannot be read.
        fits |= {path: fit for path, fit in zip(some, rows.tolist(), strict=True) if isfinite(fit)}
    ordered = sorted(first, key=lambda path: -fits.get(path, -1.0))
    return [first[path] for path in ordered] + list(hits[FIRST:])
