"""Which errors an answer may be, as the API's description has them, and what makes each so."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from clipsearch.errors import ClipsearchError, InvalidInput, PhotoError
from clipsearch.web import forms
from clipsearch.web.answers import error_answer, json_answer, one_line
from clipsearch.web.asker import Busy

RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": forms.Error, "description": description}
    for status, description in {
        400: "something in the question makes no sense",
        401: "a token is needed",
        403: "sent by a page of another site",
        404: "there is no such photo, or its file is gone",
        408: "sent too slowly",
        413: "too large",
        422: "a value is not of its kind",
        503: "the model is being loaded, or the index is not there now",
    }.items()
}


class UnusablePicture(InvalidInput):
    """A picture that was sent makes no sense; `number` counts those of the question from 0."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number


async def _unusable(_: Request, error: UnusablePicture) -> Response:
    return json_answer({"error": one_line(str(error)), "image": error.number}, 400)


async def _expected(_: Request, error: ClipsearchError) -> Response:
    if isinstance(error, InvalidInput):
        return error_answer(400, str(error))
    return error_answer(404 if isinstance(error, PhotoError) else 503, str(error))


async def _busy(_: Request, error: Busy) -> Response:
    return error_answer(503, str(error))


async def _refused(request: Request, error: HTTPException) -> Response:
    headers = {"Allow": ", ".join(_methods(request))} if error.status_code == 405 else error.headers
    return error_answer(error.status_code, str(error.detail), headers)


def _methods(request: Request) -> list[str]:
    """The methods of all routes that a request's path has, by what the API's description says."""
    path = getattr(request.scope.get("route"), "path", None)
    found = {it.upper() for it in request.app.openapi()["paths"].get(path, ("GET",))}
    return sorted(found | ({"HEAD"} if "GET" in found else set()))


async def _not_valid(_: Request, error: RequestValidationError) -> Response:
    first = error.errors()[0]
    name = [part for part in first["loc"] if isinstance(part, str)][-1]  # numbers are of its values
    return error_answer(422, f"{name}: {first['msg']}")


async def _unexpected(_: Request, error: Exception) -> Response:
    return error_answer(500, f"unexpected {type(error).__name__}; this is a fault of clipsearch")


HANDLERS: dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]] = {
    UnusablePicture: _unusable,
    ClipsearchError: _expected,
    Busy: _busy,
    HTTPException: _refused,
    RequestValidationError: _not_valid,
    Exception: _unexpected,
}
