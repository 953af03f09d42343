"""Several questions answered at once, which costs less than one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from clipsearch.encoders.rows import no_embedding
from clipsearch.errors import InvalidInput
from clipsearch.search.filters import Filters, select
from clipsearch.search.hybrid import Written, fused_photos, read_written
from clipsearch.search.neutral import NEUTRAL
from clipsearch.search.query import Embedded, Space, check_k, nearest_photos
from clipsearch.search.question import Term, combine, parse_question, parse_term
from clipsearch.search.results import Hit, stands_out
from clipsearch.store.catalog import EVERYTHING, Catalog, Model, Selection

if TYPE_CHECKING:
    from clipsearch.models import Models
    from clipsearch.store.vectors import Matches


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked for: words, embeddings of pictures, or both together.

    `text` has parts with signs and weights as in `Library.query`, all of them words: what looks
    like a path or a URL is none here. `pictures` are (dim,) float32 unit rows of the model.
    """

    text: str = ""
    minus: Sequence[str] = ()
    pictures: Sequence[np.ndarray] = ()
    minus_pictures: Sequence[np.ndarray] = ()
    k: int = 10
    filters: Filters | None = None
    leave_out: int | None = None  # the id of a photo not to be given
    relevant: bool = False  # only what stands out
    hybrid: bool = False  # the words are looked for in what is written about photos too

    def terms(self) -> list[Term]:
        """Its parts, each with its weight.

        Raises:
            InvalidInput: nothing is asked for, or a part that makes no sense.
        """
        rows = [(row, 1.0) for row in self.pictures]
        rows += [(row, -1.0) for row in self.minus_pictures]
        terms = parse_question(self.text) if self.text.strip() or not (rows or self.minus) else []
        terms += [parse_term(part, -1.0) for part in self.minus]
        terms = [term._replace(is_picture=False) for term in terms]
        return terms + [Term("a picture", weight, True, row) for row, weight in rows]


class Answer(NamedTuple):
    """What a question finds."""

    hits: list[Hit]  # best first
    total: int  # photos that the filters leave, and what must be written about them


@dataclass(slots=True)
class _Asked:
    """A question on its way to an answer."""

    question: Question
    terms: list[Term]
    selection: Selection | None
    written: Written | None  # what is looked for in words
    row: np.ndarray | None = None  # (dim,) float32 unit: what is looked for
    nearest: Matches | None = None  # among all photos


def answer_many(
    space: Space, models: Models, questions: Sequence[Question]
) -> list[Answer | InvalidInput]:
    """The answer to each question, or what is wrong with it.

    Words are embedded together, and questions without filters search together.
    """
    answers: dict[int, Answer | InvalidInput] = {}
    asked: dict[int, _Asked] = {}
    for place, question in enumerate(questions):
        try:
            check_k(question.k)
            asked[place] = _asked(question, space.catalog)
        except InvalidInput as error:
            answers[place] = error
    rows = _embedded(models, space.model, asked.values())
    for place, it in list(asked.items()):
        try:
            it.row = combine(it.terms, lambda term: _row(term, rows))
        except InvalidInput as error:
            answers[place] = error
            del asked[place]
    alike = [it for it in asked.values() if it.selection is None and it.written is None]
    _search_together(space, alike)
    neutral = partial(models.embed_neutral, space.model, NEUTRAL)
    for place, it in asked.items():
        total = space.count(it.selection or EVERYTHING)
        answers[place] = Answer(_hits(space, it, neutral), total)
    return [answers[place] for place in range(len(questions))]


def _asked(question: Question, catalog: Catalog) -> _Asked:
    terms = question.terms()
    selection = select(question.filters, catalog) if question.filters else None
    if not question.hybrid:
        return _Asked(question, terms, selection, None)
    written = read_written(terms)
    terms = [term.without_quotes() for term in terms]
    return _Asked(question, terms, written.narrowed(selection), written)


def _embedded(models: Models, model: Model, asked: Iterable[_Asked]) -> dict[str, np.ndarray]:
    words = [str(term.content) for it in asked for term in it.terms if not term.is_picture]
    return models.usable_rows(model, words) if words else {}


def _row(term: Term, rows: dict[str, np.ndarray]) -> np.ndarray:
    if term.row is not None:
        return term.row
    text = str(term.content)
    if text not in rows:
        raise no_embedding(text)
    return rows[text]


def _search_together(space: Space, asked: Sequence[_Asked]) -> None:
    for count in {it.question.k for it in asked}:
        some = [it for it in asked if it.question.k == count]
        rows = np.stack([it.row for it in some if it.row is not None])
        # One more for the photo left out, and one more as `nearest_photos` looks for.
        for it, matches in zip(some, space.vectors.search_many(rows, count + 2), strict=True):
            it.nearest = matches


def _hits(space: Space, it: _Asked, neutral: Embedded) -> list[Hit]:
    assert it.row is not None
    question = it.question
    scale = None if any(term.is_picture for term in it.terms) else neutral
    if it.written is not None:
        hits = fused_photos(space, it.row, question.k + 1, it.selection, it.written, neutral=scale)
    else:
        hits = nearest_photos(
            space, it.row, question.k + 1, it.selection, neutral=scale, first=it.nearest
        )
    hits = [hit for hit in hits if hit.id != question.leave_out][: question.k]
    return [hit for hit in hits if stands_out(hit)] if question.relevant else hits
