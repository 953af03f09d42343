"""From what is asked over HTTP to a page of photos: one way, for all routes that give some."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from clipsearch.errors import InvalidInput, arg
from clipsearch.library import Library
from clipsearch.search.answers import Question
from clipsearch.search.results import Hit, Nothing, Photo
from clipsearch.web import forms
from clipsearch.web.asking.cursors import cursor_of, seen_by
from clipsearch.web.asking.embeddings import check_model
from clipsearch.web.asking.mistakes import all_mistakes
from clipsearch.web.backend import Backend

Page = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Rows:
    """Embeddings that are asked with, (dim,) float32 unit each."""

    plus: Sequence[np.ndarray] = ()
    minus: Sequence[np.ndarray] = ()
    is_asked: bool = False  # also where there is no model yet that could have made some


async def page_of(backend: Backend, asked: forms.SearchForm, rows: Rows = Rows()) -> Page:
    """The page of photos that is asked for: of the answers to a question, or of all photos.

    Raises:
        Mistakes: the question makes no sense.
        HTTPException: it names a photo that the index does not hold.
    """
    async with all_mistakes(backend, asked):
        is_question = asked.q.strip() or asked.minus or asked.like or asked.minus_like
        if not (is_question or rows.is_asked):
            return await _listed(backend, asked)
        if asked.sort is not None:
            raise InvalidInput(f"{arg('sort')} is for lists; answers to a question come best first")
        plus = [*rows.plus, *await _of_photos(backend, asked.like, asked.model)]
        minus = [*rows.minus, *await _of_photos(backend, asked.minus_like, asked.model)]
        question = Question(
            asked.q, asked.minus, plus, minus, filters=asked.filters(),
            relevant=asked.relevant, hybrid=asked.hybrid,
        )  # fmt: skip
        return await _answered(backend, asked, question, {*asked.like, *asked.minus_like})


async def similar_page(
    backend: Backend, asked: forms.SimilarForm, row: np.ndarray | None, id: int
) -> Page:
    """The page that is asked for of photos like one, or like a region of it.

    Raises:
        Mistakes: the question makes no sense.
    """
    question = Question(
        pictures=[] if row is None else [row], filters=asked.filters(), relevant=asked.relevant,
        leave_out=id if asked.region is None else None,
    )  # fmt: skip
    return await _answered(backend, asked, question)


async def _of_photos(backend: Backend, ids: Sequence[int], model: str | None) -> list[np.ndarray]:
    rows = [await backend.embed(await backend.stored(id), None, model) for id in ids]
    return [row for row in rows if row is not None]  # none are where there is no model yet


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in all answers a page is: what is before it, and what is not given at all."""

    seen: Set[int]  # ids, by a cursor
    left_out: Set[int]
    offset: int
    k: int
    is_followed: bool  # whether the page after it can be told by a cursor

    @property
    def reach(self) -> int:
        """How many answers are looked at for it."""
        return len(self.seen | self.left_out) + self.offset + self.k

    def cut(self, found: Sequence[Hit] | Sequence[Photo]) -> list[dict[str, Any]]:
        """The page of all that was found, with ranks that count on."""
        passed = self.seen | self.left_out
        some = [it for it in found if it.id not in passed][self.offset : self.offset + self.k]
        first = self.offset + len(self.seen) + 1
        return [it.as_dict(rank) for rank, it in enumerate(some, first)]

    def told(self, hits: list[dict[str, Any]], total: int, nothing: Nothing | None = None) -> Page:
        """The page as it is told, `total` of whose photos the filters leave."""
        page = {"hits": hits, "total": total, "offset": self.offset, "k": self.k}
        seen = self.seen | {hit["id"] for hit in hits}
        goes_on = self.is_followed and len(hits) == self.k  # what was seen may be gone by now
        page["next"] = cursor_of(seen) if goes_on else None
        return page | {"nothing": None if nothing is None else asdict(nothing)}


def _place(asked: forms.AnyPage, others: Set[int]) -> _Place:
    if asked.cursor is not None and asked.offset:
        raise InvalidInput(f"{arg('cursor')} and {arg('offset')} both tell a page; give one")
    seen: Set[int] = frozenset() if asked.cursor is None else seen_by(asked.cursor)
    left_out = {*asked.exclude, *others}
    return _Place(seen, left_out, asked.offset, asked.k, not asked.offset)


async def _answered(
    backend: Backend, asked: forms.PageForm, question: Question, left_out: Set[int] = frozenset()
) -> Page:
    place = _place(asked, left_out)
    question = replace(question, k=place.reach)
    answer = await backend.asker.ask(question, asked.model)
    nothing = None
    if not answer.hits:
        nothing = await backend.read(lambda library: library.why_nothing(question, asked.model))
    return place.told(place.cut(answer.hits), answer.total, nothing)


async def _listed(backend: Backend, asked: forms.SearchForm) -> Page:
    """Photos without a question, as `clipsearch ls` lists them."""
    place = _place(asked, frozenset())

    def ask(library: Library) -> Page:
        check_model(library, asked.model)
        filters = asked.filters()
        if place.seen or place.left_out:
            photos = place.cut(library.photos(filters, place.reach, sort=asked.sort or "latest"))
        else:
            some = library.photos(filters, place.k, place.offset, asked.sort or "latest")
            photos = [it.as_dict(rank) for rank, it in enumerate(some, place.offset + 1)]
        hits = [
            {"score": None, "relevance": None} | it | {"written": 0.0, "lines": []} for it in photos
        ]
        return place.told(hits, library.count(filters))

    return await backend.read(ask)
