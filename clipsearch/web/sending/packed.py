"""Answers that are packed (gzip) for who takes that."""

from __future__ import annotations

import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import Receive, Scope, Send

_NEVER = re.compile(r"gzip\s*;\s*q\s*=\s*0(\.0*)?", re.IGNORECASE)  # RFC 9110, 12.4.2


class Packed(GZipMiddleware):
    """An application whose answers are packed, but for who says that it takes that in no case."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            taken = ",".join(Headers(scope=scope).getlist("accept-encoding")).split(",")
            if any(_NEVER.fullmatch(it.strip()) for it in taken):
                scope = {**scope}
                MutableHeaders(scope=scope)["accept-encoding"] = "identity"
        await super().__call__(scope, receive, send)
