"""JSON that a client has already is not sent again: its tag is made of what would be sent.

A tag by the index's version would be had without looking for the answer, but would be wrong:
answers also tell whether a drive is away, dates such as "2 weeks ago" move, and models are loaded.
"""

from __future__ import annotations

from hashlib import blake2b

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clipsearch.web.sending.files import is_known


class Tagged:
    """An application whose JSON has an ETag, and is 304 to who names it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        start: Message | None = None

        async def send_tagged(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and _is_json(message):
                start = message  # its headers are known when its body is
                return
            if start is not None:
                content = message.get("body", b"")  # all of it, as JSON is made here
                await send(_tagged(start, content, Headers(scope=scope)))
                if start["status"] == 304:
                    message = {"type": "http.response.body", "body": b""}
                start = None
            await send(message)

        await self._app(scope, receive, send_tagged)


def _is_json(start: Message) -> bool:
    kind = Headers(raw=start["headers"]).get("content-type", "")
    return start["status"] == 200 and kind == "application/json"


def _tagged(start: Message, content: bytes, asked: Headers) -> Message:
    headers = MutableHeaders(raw=start["headers"])
    # Weak, since the same may be sent packed.
    tag = f'"{blake2b(content, digest_size=12).hexdigest()}"'
    headers["ETag"] = f"W/{tag}"
    headers.setdefault("Cache-Control", "private, no-cache")
    if is_known(asked, tag):
        start["status"] = 304
        del headers["content-length"]
    return start
