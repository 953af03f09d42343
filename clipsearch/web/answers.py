"""The form of answers: JSON, with a page of photos, or with what was wrong as RFC 9457 has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from clipsearch.notation import as_json

RETRY_AFTER = "2"  # seconds

# What kinds of problems there are beside those that the status alone tells (RFC 9457, 4.2.1).
PLAIN = "about:blank"
INVALID = "urn:clipsearch:problem:invalid-request"
UNUSABLE_PICTURE = "urn:clipsearch:problem:unusable-picture"
NOT_READY = "urn:clipsearch:problem:not-ready"
_TITLES = {
    INVALID: "The request makes no sense",
    UNUSABLE_PICTURE: "A picture that was sent cannot be used",
    NOT_READY: "Not ready; ask again soon",
}
PROBLEM = "application/problem+json"


def json_answer(
    value: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A value as JSON, which is not kept without being asked for again."""
    own = {"Cache-Control": "private, no-cache", **(headers or {})}
    return Response(as_json(value), status, own, "application/json")


def error_answer(
    status: int,
    reason: str,
    headers: Mapping[str, str] | None = None,
    kind: str = PLAIN,
    mistakes: Sequence[Mapping[str, Any]] = (),
    **more: Any,
) -> Response:
    """Why there is no answer, in one line.

    `mistakes` are all that are wrong with the request, each with its `detail` and, where it is of
    one, its `parameter` and the `pointer` to it in JSON. `more` are members of the problem.
    """
    if status == 503:
        headers = {**(headers or {}), "Retry-After": RETRY_AFTER}
        kind = NOT_READY
    line = one_line(reason)
    detail = "; ".join(map(_said, mistakes)) if len(mistakes) > 1 else line
    title = _TITLES.get(kind) or HTTPStatus(status).phrase
    problem = {"error": line, "type": kind, "title": title, "status": status, "detail": detail}
    if mistakes:
        problem["errors"] = list(mistakes)
    own = {"Cache-Control": "no-store", **(headers or {})}
    return Response(as_json(problem | more), status, own, PROBLEM)


def _said(mistake: Mapping[str, Any]) -> str:
    name = mistake.get("parameter")
    detail: str = mistake["detail"]
    return detail if name is None or detail.startswith(name) else f"{name}: {detail}"


def one_line(text: str) -> str:
    """A text with each run of blanks and line ends as one blank."""
    return " ".join(text.split())
