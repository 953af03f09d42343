"""In which forms a request's body may come, and how it is read; others are refused by 415."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic_core import from_json
from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.routing import Match
from starlette.types import Scope

from clipsearch.errors import InvalidInput
from clipsearch.web import forms
from clipsearch.web.asking.mistakes import Mistakes

JSON = "application/json"
MULTIPART = "multipart/form-data"
FORMS = (MULTIPART, "application/x-www-form-urlencoded")
# Nobody else is answered while JSON is read, and what it is made of costs more than its length.
# A batch of questions has some thousands.
MOST_PARTS = 100_000  # texts, lists and objects in one body


class Sent(Request):
    """A request whose body is read in bounds and to its end."""

    async def json(self) -> Any:
        """The body as JSON.

        Raises:
            JSONDecodeError: it is none.
            HTTPException: it is made of too much.
        """
        content = await self.body()
        if content.count(b'"') // 2 + content.count(b"[") + content.count(b"{") > MOST_PARTS:
            raise HTTPException(413, f"the body holds more than {MOST_PARTS} texts and lists")
        try:
            return from_json(content)
        except ValueError as error:
            raise json.JSONDecodeError(str(error), "", 0) from None

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """The body, piece by piece.

        Raises:
            MultiPartException: a form of several parts has no end.
            HTTPException: it is packed.
        """
        packed = self.headers.get("content-encoding", "identity").strip().lower()
        if packed != "identity":
            raise HTTPException(
                415,
                f"a body packed by {packed[:100]} is not taken; send it as it is",
                {"Accept-Encoding": "identity"},
            )
        end, last = self._end(), b"\r\n"
        has_ended = not end
        async for part in super().stream():
            if not has_ended:
                last = last[-len(end) :] + part
                has_ended = end in last
            yield part
        if not has_ended:
            raise MultiPartException(
                "the form is cut off: it does not end with its boundary and two hyphens"
            )

    def _end(self) -> bytes:
        """What ends a form of several parts; nothing for other bodies."""
        kind, more = parse_options_header(self.headers.get("content-type"))
        boundary = more.get(b"boundary") if kind.decode("latin-1") == MULTIPART else None
        return b"\r\n--" + boundary + b"--" if boundary else b""


class Route(APIRoute):
    """A route that reads what is `Sent`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What answers a request."""
        answer = super().get_route_handler()

        async def answer_sent(request: Request) -> Response:
            return await answer(Sent(request.scope, request.receive))

        return answer_sent


class JsonRoute(Route):
    """A route for requests in JSON; others go to the next one of its path."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether a request is for it."""
        match, child = super().matches(scope)
        if match == Match.FULL and kind_of(Headers(scope=scope)) != JSON:
            return Match.NONE, {}
        return match, child


def kind_of(headers: Headers) -> str:
    """The kind of a request's body; none for none."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def taking(*kinds: str) -> Callable[[Request], Any]:
    """A dependency that refuses bodies that are of none of these kinds, and parts given twice."""

    async def check(request: Request) -> None:
        kind = kind_of(request.headers)
        if kind not in kinds and (kind or _has_body(request.headers)):
            raise HTTPException(
                415,
                f"{kind[:100] or 'a body of no kind'} is not taken here; send {' or '.join(kinds)}",
                {"Accept-Post": ", ".join(kinds)},
            )
        if kind in FORMS:
            _check_once(name for name, _ in (await request.form()).multi_items())

    return check


async def once_in_address(request: Request) -> None:
    """A dependency that refuses parameters of one value that were given twice."""
    _check_once(name for name, _ in request.query_params.multi_items())


def _check_once(names: Iterable[str]) -> None:
    """Raise Mistakes if what has one value was given several, of which none is the right one."""
    twice = [it for it, count in Counter(names).items() if count > 1 and it in forms.SINGLE]
    if twice:
        told = "it is given more than once, and has one value"
        first = InvalidInput(f"{twice[0]}: {told}")
        raise Mistakes(first, [{"parameter": name, "detail": told} for name in twice])


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0").strip("0") != ""
