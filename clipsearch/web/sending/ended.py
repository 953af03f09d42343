"""Answers that a stop of the server cuts off before they have begun: 503, and come back."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clipsearch.web.answers import error_answer


class Ended:
    """An application that tells who is not answered because the server stops."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        has_begun = False

        async def send_seen(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, send_seen)
        except asyncio.CancelledError:  # the task, or the work in a thread that it waits for
            if has_begun or scope["type"] != "http":
                raise
            stopping = error_answer(503, "the server is stopping", {"Connection": "close"})
            await stopping(scope, receive, send)
