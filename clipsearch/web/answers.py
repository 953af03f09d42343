"""The form of answers: JSON, with a page of photos or with what was wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from starlette.responses import Response

from clipsearch.notation import as_json
from clipsearch.search.answers import Question
from clipsearch.search.results import Nothing
from clipsearch.web.backend import Backend
from clipsearch.web.forms import PageForm

RETRY_AFTER = "2"  # seconds


def json_answer(
    value: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A value as JSON."""
    return Response(as_json(value), status, headers, "application/json")


async def hits_answer(asked: PageForm, question: Question, backend: Backend) -> Response:
    """The page that is asked for of the photos that answer a question."""
    answer = await backend.asker.ask(question, asked.model)
    nothing = None
    if not answer.hits:
        nothing = await backend.read(lambda library: library.why_nothing(question, asked.model))
    hits = answer.hits[asked.offset : asked.offset + asked.k]
    shown = [hit.as_dict(rank) for rank, hit in enumerate(hits, asked.offset + 1)]
    return page_answer(asked, shown, answer.total, nothing)


def page_answer(
    asked: PageForm, hits: list[dict[str, Any]], total: int, nothing: Nothing | None = None
) -> Response:
    """A page of photos, `total` of which the filters leave, or why a question found none."""
    page = {"hits": hits, "total": total, "offset": asked.offset, "k": asked.k}
    return json_answer(page | {"nothing": None if nothing is None else asdict(nothing)})


def error_answer(status: int, reason: str, headers: Mapping[str, str] | None = None) -> Response:
    """Why there is no answer, in one line."""
    if status == 503:
        headers = {**(headers or {}), "Retry-After": RETRY_AFTER}
    return json_answer({"error": one_line(reason)}, status, headers)


def one_line(text: str) -> str:
    """A text with each run of blanks and line ends as one blank."""
    return " ".join(text.split())
