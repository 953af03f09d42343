"""Which errors an answer may be, as the API's description has them, and what makes each so."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from clipsearch.errors import ClipsearchError, InvalidInput, PhotoError
from clipsearch.web.answers import INVALID, PROBLEM, UNUSABLE_PICTURE, error_answer
from clipsearch.web.asker import Busy
from clipsearch.web.asking.mistakes import in_http, mistakes_of, mistakes_of_form
from clipsearch.web.description.openapi import as_version_1

RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {
        "description": description,
        "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
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
BYTES = {"schema": {"type": "string", "format": "binary"}}  # an answer that is a file


def answer_to(error: Exception) -> Response | None:
    """What is told of an error that a request can come to; None for one that is not expected."""
    match error:
        case InvalidInput():
            all = mistakes_of(error)
            pictures = [it["image"] for it in all if "image" in it]
            kind = UNUSABLE_PICTURE if pictures else INVALID
            first = {"image": pictures[0]} if pictures else {}
            return error_answer(400, in_http(error), kind=kind, mistakes=all, **first)
        case ClipsearchError():
            return error_answer(404 if isinstance(error, PhotoError) else 503, str(error))
        case Busy():
            return error_answer(503, str(error))
        case HTTPException():
            return error_answer(error.status_code, str(error.detail), error.headers)
    return None


async def _expected(_: Request, error: Exception) -> Response:
    answer = answer_to(error)
    assert answer is not None
    return answer


async def _refused(request: Request, error: HTTPException) -> Response:
    if error.status_code == 405:
        headers = {"Allow": ", ".join(_methods(request))}
        return error_answer(405, str(error.detail), headers)
    return await _expected(request, error)


def _methods(request: Request) -> list[str]:
    """The methods of all routes that a request's path has, by what the API's description says."""
    operations = _operations(request) or {"get": {}}
    found = {it.upper() for it in operations}
    return sorted(found | ({"HEAD"} if "GET" in found else set()))


def _operations(request: Request) -> dict[str, Any]:
    path = getattr(request.scope.get("route"), "path", None)
    found: dict[str, Any] = request.app.openapi()["paths"].get(path and as_version_1(path), {})
    return found


async def _not_valid(request: Request, error: RequestValidationError) -> Response:
    known = [it["name"] for it in _operations(request).get("get", {}).get("parameters", ())]
    mistakes = mistakes_of_form(error.errors(), known)
    kind, where = error.errors()[0]["type"], error.errors()[0]["loc"]
    is_none = kind == "json_invalid" or (kind, where) == ("missing", ("body",))
    status = 400 if is_none else 422
    named = f"{name}: " if (name := mistakes[0].get("parameter")) else ""
    return error_answer(status, f"{named}{mistakes[0]['detail']}", kind=INVALID, mistakes=mistakes)


async def _unexpected(_: Request, error: Exception) -> Response:
    return error_answer(500, f"unexpected {type(error).__name__}; this is a fault of clipsearch")


HANDLERS: dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]] = {
    ClipsearchError: _expected,
    Busy: _expected,
    HTTPException: _refused,
    RequestValidationError: _not_valid,
    Exception: _unexpected,
}
