"""Words looked for twice: in what a picture shows, and in what is written about it.

The two rankings are fused by the ranks alone, since a cosine and a BM25 have no common measure:
reciprocal rank fusion (Cormack, Clarke and Büttcher, 2009), a photo's score being the sum of
1 / (60 + its rank) over the rankings that it is in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from clipsearch.errors import InvalidInput, arg
from clipsearch.search.nearest import Embedded, LeaveOut, Space, nearest_photos
from clipsearch.search.question import Term
from clipsearch.search.results import Hit
from clipsearch.store.conditions import EVERYTHING, All, Condition, Is, Not, Says
from clipsearch.store.database.fulltext import has_words

K = 60  # the constant of the paper: how little the first ranks differ
DEPTH = 1000  # ranks of the embeddings that count, as in the paper

# They stand in nearly every caption, and so would rank captioned photos before all others.
_ENGLISH = (
    "a an and are as at by for from in into is it its near next of off on or out over some that"
    " the their there this to two under up with"
)
COMMON = frozenset(_ENGLISH.split())


@dataclass(frozen=True, slots=True)
class Written:
    """What a question looks for in the words of photos."""

    any: tuple[str, ...]  # the more of these the better
    all: tuple[str, ...]  # these must occur
    none: tuple[str, ...]  # and these must not

    def narrowed(self, selection: Condition | None) -> Condition | None:
        """The selected photos that have what must occur, and nothing that must not."""
        parts = [] if selection is None else [selection]
        parts += map(Says, self.all)
        parts += [Not(Says(it)) for it in self.none]
        return All(tuple(parts)) if parts else None


def read_written(terms: Sequence[Term]) -> Written:
    """What is looked for in words: those of the terms, where what stands in quotes must occur.

    Of a term that counts against, what stands in quotes must not occur.

    Raises:
        InvalidInput: no words, or quotes with none in them.
    """
    wanted = [term for term in terms if not term.is_picture and term.weight > 0]
    if not wanted:
        raise InvalidInput(
            f"{arg('hybrid')} looks for words; ask with some, as in: a birthday cake"
        )
    words = [word for term in wanted for word in str(term.content).lower().split()]
    telling = [word for word in words if word not in COMMON] or words
    quoted = [(term.weight > 0, _quoted(it)) for term in terms for it in term.quoted]
    return Written(
        tuple(telling),
        tuple(it for is_wanted, it in quoted if is_wanted),
        tuple(it for is_wanted, it in quoted if not is_wanted),
    )


def fused_photos(
    space: Space,
    query: np.ndarray,
    k: int | None,
    selection: Condition | None,
    written: Written,
    leave_out: LeaveOut | None = None,
    exact: bool = False,
    neutral: Embedded | None = None,
) -> list[Hit]:
    """The k photos that fit `query`, (dim,) float32 unit, and what is written, best first.

    Only photos of the `selection`, which `written` has narrowed; the others are as for
    `nearest_photos`.
    """
    nearest = partial(
        nearest_photos, space, query, leave_out=leave_out, exact=exact, neutral=neutral
    )
    seen = nearest(None if k is None else max(k, DEPTH), selection)
    read = space.catalog.photos_with_words(space.model.id, written.any, selection or EVERYTHING)
    best = fuse([[(hit.id, -hit.score) for hit in seen], read])
    best = best[: None if k is None else k + 1]  # one for the photo left out
    hits = {hit.id: hit for hit in seen}
    if others := [id for id in best if id not in hits]:
        hits |= {hit.id: hit for hit in nearest(None, Is("id", "in", tuple(others)))}
    return [hits[id] for id in best if id in hits][:k]


def fuse(rankings: Iterable[Sequence[tuple[int, float]]]) -> list[int]:
    """Ids by the sum of 1 / (K + rank) over rankings of (id, value), lowest value first.

    What has the same value shares the rank of the first; what has the same sum keeps the order of
    the rankings.
    """
    sums: dict[int, float] = {}
    for ranking in rankings:
        rank, before = 0, None
        for at, (id, value) in enumerate(ranking, 1):
            if value != before:
                rank, before = at, value
            sums[id] = sums.get(id, 0.0) + 1 / (K + rank)
    return sorted(sums, key=lambda id: -sums[id])


def _quoted(text: str) -> str:
    if not has_words(text):
        raise InvalidInput(f'there is no word to look for in the quotes: "{text}"')
    return text
