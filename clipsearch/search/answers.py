"""From questions to the photos that answer them: one way, for one question and for many.

    words and pictures -> terms -> a vector -> its nearest, with those that it is written about

Of many questions the words are embedded together, and those without filters search together.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from clipsearch.encoders.rows import no_embedding
from clipsearch.errors import InvalidInput, arg
from clipsearch.photos.files.urls import AllowUrl, PhotoPath, Url, is_url, normal
from clipsearch.search.filtering.filters import Filters, select
from clipsearch.search.nearest import (
    LeaveOut,
    Space,
    Spaces,
    check_k,
    is_file,
    judge_of,
    nearest_photos,
)
from clipsearch.search.neutral import NEUTRAL
from clipsearch.search.question import Term, combine, parse_question, parse_term
from clipsearch.search.results import Hit, Nothing, stands_out
from clipsearch.store.catalog import Catalog, Model, StoredPhoto
from clipsearch.store.conditions import EVERYTHING, Condition
from clipsearch.store.folder import StrPath, expanded

if TYPE_CHECKING:
    from PIL import Image

    from clipsearch.encoders.reading.line import Line
    from clipsearch.models import Models
    from clipsearch.photos.decoding.isolated import Processes
    from clipsearch.search.hybrid import Lifts, Written
    from clipsearch.search.pictures import AskedPictures, Part
    from clipsearch.search.scoring import Scores
    from clipsearch.store.vectors.matches import Matches


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
    # The words are looked for in what is written about photos too; None: as if this were not
    # asked where nothing of them is written.
    hybrid: bool | None = None

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


@dataclass(frozen=True, slots=True)
class Wanted:
    """A question that was read: what is looked for, and where.

    Raises:
        InvalidInput: k below 1.
    """

    terms: Sequence[Term]
    k: int | None = 10  # None for all
    filters: Filters | None = None
    leave_out: LeaveOut | None = None
    relevant: bool = False
    exact: bool = False
    written: Written | None = None  # what is looked for in words

    def __post_init__(self) -> None:
        check_k(self.k)

    def in_writing(self, hybrid: bool | None) -> Wanted:
        """The same, also looked for in what is written about photos; as `Question.hybrid` says.

        Raises:
            InvalidInput: `hybrid`, and there are no words, or quotes with none in them.
        """
        if hybrid is False:
            return self
        from clipsearch.search.hybrid import read_written, words_of

        if hybrid is None:
            return replace(self, written=words_of(self.terms))
        return replace(self._unquoted(), written=read_written(self.terms))

    def where_written(self, catalog: Catalog) -> Wanted:
        """The same, where quotes that ask for nothing are those of the plain question."""
        if self.written is None:
            return self
        written = self.written.where_written(catalog)
        return replace(self._unquoted() if written.quotes else self, written=written)

    def _unquoted(self) -> Wanted:
        return replace(self, terms=[term.without_quotes() for term in self.terms])

    def selection(self, catalog: Catalog) -> Condition | None:
        """Which photos are looked at; None for all.

        Raises:
            InvalidInput: a filter that makes no sense.
        """
        chosen = select(self.filters, catalog) if self.filters else None
        return self.written.narrowed(chosen, catalog) if self.written else chosen


def wanted_by(question: Question) -> Wanted:
    """A question, read.

    Raises:
        InvalidInput: nothing is asked for, or a part that makes no sense.
    """
    left = question.leave_out
    wanted = Wanted(
        question.terms(), question.k, question.filters,
        None if left is None else lambda photo: photo.id == left, question.relevant,
    )  # fmt: skip
    return wanted.in_writing(question.hybrid)


@dataclass(slots=True)
class _Asked:
    """A question on its way to an answer."""

    wanted: Wanted
    selection: Condition | None
    row: np.ndarray  # (dim,) float32 unit: what is looked for
    lifts: Lifts | None = None  # by what is written of it about photos
    nearest: Matches | None = None  # among all photos, where that was looked for already

    @property
    def reach(self) -> int | None:
        """How many photos are looked for, of which the best are given; None for all."""
        if self.lifts is None or self.wanted.k is None:
            return self.wanted.k
        from clipsearch.search.hybrid import reach

        return reach(self.wanted.k)


class Found(NamedTuple):
    """The hits of a question, best first, and what was looked at for them."""

    hits: list[Hit]
    selection: Condition


def find_many(
    space: Space, models: Models, questions: Sequence[Wanted | InvalidInput]
) -> list[Found | InvalidInput]:
    """What each question finds, or what is wrong with it; its pictures have their embeddings."""
    read = [
        it if isinstance(it, InvalidInput) else it.where_written(space.catalog) for it in questions
    ]
    rows = _embedded(models, space.model, [it for it in read if isinstance(it, Wanted)])
    asked = [it if isinstance(it, InvalidInput) else _asked(it, space, rows) for it in read]
    _search_together(space, [it for it in asked if isinstance(it, _Asked)])
    neutral = partial(models.embed_neutral, space.model, NEUTRAL)
    return [
        it if isinstance(it, InvalidInput)
        else Found(_hits(space, it, neutral), it.selection or EVERYTHING)
        for it in asked
    ]  # fmt: skip


def _embedded(models: Models, model: Model, questions: Iterable[Wanted]) -> dict[str, np.ndarray]:
    words = [str(term.content) for it in questions for term in it.terms if not term.is_picture]
    return models.usable_rows(model, words) if words else {}


def _asked(wanted: Wanted, space: Space, rows: dict[str, np.ndarray]) -> _Asked | InvalidInput:
    try:
        row = combine(wanted.terms, lambda term: _row(term, rows))
        lifts = wanted.written.lifts(space) if wanted.written else None
        return _Asked(wanted, wanted.selection(space.catalog), row, lifts)
    except InvalidInput as error:
        return error


def _row(term: Term, rows: dict[str, np.ndarray]) -> np.ndarray:
    if term.row is not None:
        return term.row
    text = str(term.content)
    if text not in rows:
        raise no_embedding(text)
    return rows[text]


def _search_together(space: Space, asked: Sequence[_Asked]) -> None:
    """Search once for all that look among all photos for as many, where several do."""
    alike: dict[int, list[_Asked]] = {}
    for it in asked:
        if it.selection is None and it.reach is not None and not it.wanted.exact:
            alike.setdefault(it.reach, []).append(it)
    for k, some in alike.items():
        if len(some) > 1:
            rows = np.stack([it.row for it in some])
            for it, matches in zip(some, space.vectors.search_many(rows, k + 1), strict=True):
                it.nearest = matches


def _hits(space: Space, it: _Asked, neutral: Callable[[], np.ndarray]) -> list[Hit]:
    wanted = it.wanted
    in_words = not any(term.is_picture for term in wanted.terms)
    judge = judge_of(space, it.row, it.selection, neutral if in_words else None)

    def nearest(
        selection: Condition | None, k: int | None, first: Matches | None = None
    ) -> list[Hit]:
        return nearest_photos(
            space, it.row, k, selection, wanted.leave_out, wanted.exact, judge=judge, first=first
        )

    hits = nearest(it.selection, it.reach, it.nearest)
    if it.lifts is not None:
        from clipsearch.search.hybrid import with_lines, with_written

        hits = with_written(space, it.row, wanted.k, it.selection, it.lifts, hits, nearest)
        assert wanted.written is not None
        hits = with_lines(space.catalog, hits, wanted.written)
    return [hit for hit in hits if stands_out(hit)] if wanted.relevant else hits


class Answers:
    """Answers questions to one index."""

    def __init__(self, folder: Path, catalog: Catalog, models: Models) -> None:
        self._catalog = catalog
        self._models = models
        self._spaces = Spaces(folder, catalog)

    def find(self, wanted: Wanted, allow_url: AllowUrl = False) -> list[Hit]:
        """The hits of one question, best first; its pictures are read first."""
        model = self._models.chosen()
        if model is None:
            return []
        terms = [self._with_row(term, model, allow_url) for term in wanted.terms]
        return self._find(model, replace(wanted, terms=terms))

    def find_reranked(
        self, wanted: Wanted, by: str, isolated: bool, allow_url: AllowUrl = False
    ) -> list[Hit]:
        """As `find`, the first hits ordered by the model `by`, which looks at their files."""
        from clipsearch.encoders.captions import load_matcher
        from clipsearch.indexing.loading import Loaders
        from clipsearch.search.rerank import FIRST, reranked, sentence_of

        sentence = sentence_of(wanted.terms)
        reach = None if wanted.k is None else max(wanted.k, FIRST)
        hits = self.find(replace(wanted, k=reach), allow_url)
        if hits:
            matcher = load_matcher(by, self._models.device)
            hits = reranked(hits, sentence, matcher, Loaders(isolated=isolated))
        return hits[: wanted.k]

    def find_similar(
        self, image: StrPath | Image.Image, wanted: Wanted, part: Part | None, allow_url: AllowUrl
    ) -> list[Hit]:
        """The hits that look like a picture, or a part of it, whose own file is left out."""
        model = self._models.chosen()
        picture = self.pictures.read(image, allow_url)
        if model is None:
            return []
        row = self.pictures.embed_read(model, picture, part)
        file = _path_of(image) if isinstance(image, (str, os.PathLike)) else None
        leave_out = None if file is None else partial(is_file, file)
        term = Term(picture.name, 1.0, True, row)
        return self._find(model, replace(wanted, terms=[term], leave_out=leave_out))

    def answer(
        self, questions: Sequence[Question], spec: str | None
    ) -> list[Answer | InvalidInput]:
        """The answer to each question, or what is wrong with it; `spec` names one of the models."""
        model = self._models.chosen(spec)
        if model is None:
            return [Answer([], self._catalog.count_photos())] * len(questions)
        space = self._spaces.of(model)
        found = find_many(space, self._models, [_read(question) for question in questions])
        return [
            it if isinstance(it, InvalidInput) else Answer(it.hits, space.count(it.selection))
            for it in found
        ]

    def why_nothing(self, question: Question, spec: str | None) -> Nothing:
        """Why a question found nothing; its pictures count for nothing."""
        catalog = self._catalog
        chosen = (select(question.filters, catalog) if question.filters else None) or EVERYTHING
        if not catalog.count_photos():
            return Nothing("empty")
        if not catalog.count_selected(chosen):
            return Nothing("filters")
        if question.hybrid is not False and (question.text.strip() or question.minus):
            from clipsearch.search.hybrid import words_of

            written = words_of(replace(question, pictures=(), minus_pictures=()).terms())
            for reason, part in (("quotes", replace(written, none=())), ("minus", written)):
                chosen = part.narrowed(chosen, catalog) or chosen
                if not catalog.count_selected(chosen):
                    return Nothing(reason, part.nowhere(catalog))
        model = self._models.chosen(spec)
        if model is None or not len(catalog.selected_vector_ids(model.id, chosen)):
            return Nothing("unembedded")
        return Nothing("relevance" if question.relevant else "itself")

    def embed(
        self,
        picture: bytes | StoredPhoto,
        region: str | None,
        spec: str | None,
        processes: Processes | None,
    ) -> np.ndarray | None:
        """A picture's embedding, (dim,) float32 unit; None without a model."""
        model = self._models.chosen(spec)
        if model is None:
            return None
        return self.pictures.embed_known(model, picture, region, processes)

    def embed_texts(self, texts: Sequence[str], spec: str | None) -> np.ndarray | None:
        """The embeddings of texts, (n, dim) float32, unit rows; None without a model."""
        model = self._models.chosen(spec)
        if model is None:
            return None
        rows = self._models.usable_rows(model, texts)
        return np.stack([_row(Term(text, 1.0, False), rows) for text in texts])

    def score(self, images: Sequence[StrPath | Image.Image], texts: Sequence[str]) -> Scores:
        """How well each text fits each picture, indexed or not."""
        from clipsearch.search.scoring import score_pictures

        model = self._models.chosen()
        if model is None:
            raise InvalidInput(
                f"the index has no model yet; add photos, or name a model with {arg('model')}"
                f" and no {arg('index')}"
            )
        embed = partial(self.pictures.embed, model)
        return score_pictures(images, texts, embed, partial(self._models.texts, model))

    def captions(self, image: StrPath) -> dict[str, str]:
        """What models wrote about a photo, by the model's name."""
        content = self.pictures.read(image).content
        assert isinstance(content, bytes)
        return self._catalog.captions_of(sha256(content).hexdigest())

    def lines(self, image: StrPath, model: str) -> list[Line]:
        """The text in a picture, as a model read it, or reads it now."""
        from clipsearch.encoders.reading import reader_name

        name = reader_name(model)
        picture = self.pictures.read(image)
        assert isinstance(picture.content, bytes)
        kept = self._catalog.lines_of(sha256(picture.content).hexdigest())
        return kept[name] if name in kept else self.pictures.read_lines(picture, model)

    @cached_property
    def pictures(self) -> AskedPictures:
        """The pictures that this index is asked with; a question in words has none."""
        from clipsearch.search.pictures import AskedPictures

        return AskedPictures(self._catalog, self._models)

    def _find(self, model: Model, wanted: Wanted) -> list[Hit]:
        """The hits of a question whose pictures have their embeddings."""
        (found,) = find_many(self._spaces.of(model), self._models, [wanted])
        if isinstance(found, InvalidInput):
            raise found
        return found.hits

    def _with_row(self, term: Term, model: Model, allow_url: AllowUrl) -> Term:
        if not term.is_picture or term.row is not None:
            return term
        return term._replace(row=self.pictures.embed(model, term.content, allow_url))


def _read(question: Question) -> Wanted | InvalidInput:
    try:
        return wanted_by(question)
    except InvalidInput as error:
        return error


def _path_of(image: StrPath) -> PhotoPath:
    """The one path, or URL, of a picture that is asked with."""
    if is_url(image):
        return Url(normal(os.fspath(image)))
    return expanded(image).resolve()
