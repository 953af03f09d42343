"""Several questions answered at once, which costs less than one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clipsearch.errors import InvalidInput
from clipsearch.search.filters import Filters, select
from clipsearch.search.query import check_k, nearest_photos
from clipsearch.search.question import Term, combine, parse_question, parse_term
from clipsearch.search.results import Hit
from clipsearch.store.catalog import Catalog, Model, Selection

if TYPE_CHECKING:
    from clipsearch.models import Models
    from clipsearch.store.approximate import ApproximateIndex
    from clipsearch.store.vectors import Matches, VectorFile


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

    def terms(self) -> list[Term]:
        """Its parts, each with its weight.

        Raises:
            InvalidInput: nothing is asked for, or a part that makes no sense.
        """
        pictures = [*self.pictures, *self.minus_pictures]
        terms = parse_question(self.text) if self.text.strip() or not (pictures or self.minus) else []
        terms += [parse_term(part, -1.0) for part in self.minus]
        terms = [term._replace(is_picture=False) for term in terms]
        terms += [Term(row, 1.0, True) for row in self.pictures]
        return terms + [Term(row, -1.0, True) for row in self.minus_pictures]


@dataclass(slots=True)
class _Asked:
    """A question on its way to an answer."""

    question: Question
    terms: list[Term]
    selection: Selection | None
    row: np.ndarray | None = None  # (dim,) float32 unit: what is looked for
    nearest: Matches | None = None  # among all photos


def answer_many(
    catalog: Catalog,
    models: Models,
    model: Model,
    vectors: VectorFile | ApproximateIndex,
    questions: Sequence[Question],
) -> list[list[Hit] | InvalidInput]:
    """The hits of each question, best first, or what is wrong with it.

    Words are embedded together, and questions without filters search together.
    """
    answers: list[list[Hit] | InvalidInput] = [[] for _ in questions]
    asked: dict[int, _Asked] = {}
    for place, question in enumerate(questions):
        try:
            check_k(question.k)
            selection = select(question.filters, catalog) if question.filters else None
            asked[place] = _Asked(question, question.terms(), selection)
        except InvalidInput as error:
            answers[place] = error
    rows = _embedded(models, model, asked.values())
    for place, it in list(asked.items()):
        try:
            it.row = combine(it.terms, lambda term: _row(term, rows))
        except InvalidInput as error:
            answers[place] = error
            del asked[place]
    _search_together(vectors, [it for it in asked.values() if it.selection is None])
    for place, it in asked.items():
        answers[place] = _hits(catalog, model, vectors, it)
    return answers


def _embedded(models: Models, model: Model, asked: Iterable[_Asked]) -> dict[str, np.ndarray]:
    texts = list(
        dict.fromkeys(str(term.content) for it in asked for term in it.terms if not term.is_picture)
    )
    if not texts:
        return {}
    return dict(zip(texts, models.embed_texts(model, texts), strict=True))


def _row(term: Term, rows: dict[str, np.ndarray]) -> np.ndarray:
    return term.content if isinstance(term.content, np.ndarray) else rows[str(term.content)]


def _search_together(
    vectors: VectorFile | ApproximateIndex, asked: Sequence[_Asked]
) -> None:
    for reach in {_reach(it) for it in asked}:
        some = [it for it in asked if _reach(it) == reach]
        rows = np.stack([it.row for it in some if it.row is not None])
        for it, matches in zip(some, vectors.search_many(rows, reach), strict=True):
            it.nearest = matches


def _reach(it: _Asked) -> int:
    return it.question.k + 1  # one for the photo left out


def _hits(
    catalog: Catalog, model: Model, vectors: VectorFile | ApproximateIndex, it: _Asked
) -> list[Hit]:
    assert it.row is not None
    hits = nearest_photos(
        catalog, model, vectors, it.row, _reach(it), it.selection, first=it.nearest
    )
    return [hit for hit in hits if hit.id != it.question.leave_out][: it.question.k]
