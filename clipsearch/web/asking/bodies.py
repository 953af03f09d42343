"""In which forms a request's body may come; one of another is refused by 415."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Scope

JSON = "application/json"
FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")


class JsonRoute(APIRoute):
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
    """A dependency that refuses bodies that are of none of these kinds."""

    async def check(request: Request) -> None:
        kind = kind_of(request.headers)
        if kind and kind not in kinds:
            raise HTTPException(
                415,
                f"{kind[:100]} is not taken here; send {' or '.join(kinds)}",
                {"Accept-Post": ", ".join(kinds)},
            )

    return check
