"""How the index changes, told to any number of clients as it does (server-sent events)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from clipsearch.errors import ClipsearchError
from clipsearch.notation import as_json
from clipsearch.web.answers import one_line
from clipsearch.web.asker import Busy

MOST_LISTENING = 100  # clients; each is a connection that stays
_EVERY = 1.0  # seconds between two looks, which are one for all that listen
_ALIVE = 15.0  # seconds after which a client is told that nothing has changed


class Events:
    """The state of the index, looked at while anybody listens, and told when it is another."""

    def __init__(self, look: Callable[[], Awaitable[dict[str, Any]]]) -> None:
        self._look = look
        self._listening = 0
        self._state: bytes | None = None
        self._changed = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    def listen(self) -> AsyncIterator[bytes]:
        """The state now, and again each time it has changed, in the form of text/event-stream.

        Raises:
            Busy: MOST_LISTENING listen already.
        """
        if self._listening >= MOST_LISTENING:
            raise Busy("too many listen already; ask /api/status from time to time")
        return self._told()

    async def _told(self) -> AsyncIterator[bytes]:
        self._listening += 1
        if self._looking is None:
            self._looking = asyncio.create_task(self._keep_looking())
        told = None
        try:
            while True:
                changed, state = self._changed, self._state
                if state is not None and state != told:
                    told = state
                    yield state
                try:
                    await asyncio.wait_for(changed.wait(), _ALIVE)
                except TimeoutError:
                    yield b":\n\n"
        finally:
            self._listening -= 1
            if not self._listening and self._looking is not None:
                self._looking.cancel()
                self._looking = self._state = None

    async def _keep_looking(self) -> None:
        while True:
            state = await self._seen()
            if state != self._state:
                self._state = state
                self._changed.set()
                self._changed = asyncio.Event()
            await asyncio.sleep(_EVERY)

    async def _seen(self) -> bytes:
        try:
            return _event("index", await self._look())
        except ClipsearchError as error:
            return _event("problem", {"error": one_line(str(error))})


def _event(name: str, value: Any) -> bytes:
    return f"event: {name}\ndata: {as_json(value)}\n\n".encode()
