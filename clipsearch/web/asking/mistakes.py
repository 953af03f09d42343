"""What is wrong with a request, all of it at once, under the names that HTTP has for its parts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from clipsearch.errors import INDEX_FOLDER, InvalidInput, did_you_mean
from clipsearch.library import Library
from clipsearch.search.answers import Question
from clipsearch.search.filtering.filters import Filters
from clipsearch.web import forms
from clipsearch.web.answers import one_line
from clipsearch.web.asking.embeddings import check_model
from clipsearch.web.backend import Backend

Mistake = dict[str, Any]

# What pydantic calls by Python's names.
_OBJECTS = ("dict_type", "model_type", "model_attributes_type")
_FILES = (["image"], ["minus_image"])

# What is called otherwise than in Python.
_NAMES = {"text": "q", "images": "image", INDEX_FOLDER: "index"}
# Each filter is looked at by itself, and those that mean something together too.
_ALONE = [(name,) for name in forms.FilterForm.model_fields if name not in ("near", "within")]
_PARTS = [*_ALONE, ("near", "within"), ("since", "until")]


class Mistakes(InvalidInput):
    """Several things that are wrong with a question."""

    def __init__(self, first: InvalidInput, all: Sequence[Mistake]) -> None:
        super().__init__(first.said(_name))
        self.all = all


def mistake_of(error: InvalidInput) -> Mistake:
    """One that the library told, with the parameter that it names."""
    named: list[str] = []

    def name(parameter: str) -> str:
        named.append(_name(parameter))
        return named[-1]

    told: Mistake = {"detail": one_line(error.said(name))}
    return told | ({"parameter": named[0]} if named else {})


def mistakes_of(error: InvalidInput) -> Sequence[Mistake]:
    """All that an error tells."""
    return error.all if isinstance(error, Mistakes) else [mistake_of(error)]


def in_http(error: InvalidInput) -> str:
    """A message of the library with the parameters' names in HTTP."""
    return error.said(_name)


@asynccontextmanager
async def all_mistakes(backend: Backend, asked: forms.FilterForm) -> AsyncIterator[None]:
    """What is done inside is done for a request; where that makes no sense, all of why is told.

    Raises:
        Mistakes: instead of InvalidInput, where there are several or one is known by its name.
    """
    try:
        yield
    except InvalidInput as error:
        found = await backend.read(lambda library: [*_mistakes(library, asked)])
        told = {it["detail"] for it in found}
        own = [it for it in mistakes_of(error) if it["detail"] not in told]
        raise Mistakes(error, [*own, *found]) from error


def _mistakes(library: Library, asked: forms.FilterForm) -> Iterator[Mistake]:
    """What is wrong with any part of a question, as far as it can be told without the others."""
    given = asked.filters() or Filters()
    wrong: set[str] = set()
    for names in _PARTS:
        some = {name: getattr(given, name) for name in names}
        if wrong.isdisjoint(names) and (error := _error_of(library.count, Filters(**some))):
            wrong |= set(names)
            yield {"parameter": names[0]} | mistake_of(error)
    if isinstance(asked, forms.PageForm) and (
        error := _error_of(check_model, library, asked.model)
    ):
        yield mistake_of(error)
    if isinstance(asked, forms.SearchForm) and (error := _words_error(asked)):
        yield {"parameter": "q"} | mistake_of(error)


def _words_error(asked: forms.SearchForm) -> InvalidInput | None:
    has_words = asked.q.strip() or asked.minus
    return _error_of(Question(asked.q, asked.minus).terms) if has_words else None


def _error_of(ask: Callable[..., Any], *given: Any) -> InvalidInput | None:
    try:
        ask(*given)
    except InvalidInput as error:
        return error
    return None


def pointed(error: InvalidInput, at: str) -> Mistakes:
    """The same mistakes with where each is in JSON, of a question that is `at` a pointer."""
    return Mistakes(error, [it | _pointer(it, at) for it in mistakes_of(error)])


def _pointer(mistake: Mistake, at: str) -> Mistake:
    if (name := mistake.get("parameter")) is None:
        return {}
    return {"pointer": f"{at}{'/filters' * (name in forms.FilterForm.model_fields)}/{name}"}


def _name(parameter: str) -> str:
    return _NAMES.get(parameter, parameter)


def mistakes_of_form(errors: Sequence[Mapping[str, Any]], known: Sequence[str]) -> list[Mistake]:
    """What pydantic told of a request's parts, where parameters of these names are known."""
    return [_of_form(error, known) for error in errors]


def _of_form(error: Mapping[str, Any], known: Sequence[str]) -> Mistake:
    where, *within = error["loc"]
    names = [part for part in within if isinstance(part, str)]
    if error["type"] == "json_invalid":
        return {"detail": f"the body is no JSON: {error.get('ctx', {}).get('error', '')}"}
    detail = error["msg"]
    if error["type"] == "extra_forbidden":
        detail = f"there is no such parameter{did_you_mean(names[-1], known)}"
    elif error["type"] in _OBJECTS:
        detail = "Input should be a valid object"
    elif error["type"] == "value_error" and names[-1:] in _FILES:
        detail = "Input should be a file, with a filename"
    elif error["type"] == "missing":
        detail = "it is missing" if names else "the body is empty"
    told: Mistake = {"detail": detail}
    if names:
        told["parameter"] = names[-1]
    if where == "body":
        told["pointer"] = "#" + "".join(f"/{_escaped(part)}" for part in within)
    return told


def _escaped(part: Any) -> str:
    """A part of a JSON pointer (RFC 6901)."""
    return str(part).replace("~", "~0").replace("/", "~1")
