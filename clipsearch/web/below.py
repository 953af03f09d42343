"""The application below a path of a site, where a proxy has other things beside it."""

from __future__ import annotations

import re
from functools import partial
from urllib.parse import urlsplit, urlunsplit

from starlette.datastructures import MutableHeaders
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clipsearch.errors import InvalidInput, arg


def checked_root(path: str) -> str:
    """The path of a site below which all is, without a slash at its end; "" for the site itself.

    Raises:
        InvalidInput: it is none.
    """
    root = path.rstrip("/")
    if root and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", root):
        raise InvalidInput(f"{arg('root_path')} {path!r} is none; write it as /photos")
    return root


class Below:
    """An application that is asked below a path, whether or not a proxy has taken that off."""

    def __init__(self, app: ASGIApp, root: str) -> None:
        self._app = app
        self._root = root

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            if scope["path"] == self._root:  # what the page names is beside that, and not below
                query = scope["query_string"].decode("latin-1")
                to = f"{self._root}/{'?' * bool(query)}{query}"
                await RedirectResponse(to, 308)(scope, receive, send)
                return
            if scope["path"].startswith(f"{self._root}/"):
                scope = {**scope, "path": scope["path"].removeprefix(self._root)}
        await self._app(scope, receive, partial(self._send_below, send))

    async def _send_below(self, send: Send, message: Message) -> None:
        """Send a part of an answer, which leads elsewhere below the path alone."""
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            to = urlsplit(headers.get("location", ""))
            if to.netloc:  # as one has it that adds a slash, or takes one off
                headers["location"] = urlunsplit(("", "", self._root + to.path, to.query, ""))
        await send(message)
