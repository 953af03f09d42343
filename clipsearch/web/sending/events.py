"""How the index changes, told to any number of clients as it does (server-sent events)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from clipsearch.errors import ClipsearchError
from clipsearch.notation import as_json
from clipsearch.web.answers import one_line
from clipsearch.web.asker import Busy

log = logging.getLogger("clipsearch")

MOST_LISTENING = 100  # clients; each is a connection that stays
_EVERY = 1.0  # seconds between two looks, which are one for all that listen
_ALIVE = 15.0  # seconds after which a client is told that nothing has changed


class Events:
    """The state of the index, looked at while anybody listens, and told when it is another."""

    def __init__(
        self, look: Callable[[], Awaitable[dict[str, Any]]], stopping: asyncio.Event
    ) -> None:
        self._look = look
        self._stopping = stopping
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
            while not self._stopping.is_set():
                changed, state = self._changed, self._state
                if state is not None and state != told:
                    told = state
                    yield state
                if not await _any_of(changed, self._stopping):
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
        except Exception as error:  # the next look may go well, and all that listen wait for it
            what = f"unexpected {type(error).__name__}"
            log.error(
                "%s at a look at the index: %s; this is a fault of clipsearch", what, error,
                exc_info=log.isEnabledFor(logging.DEBUG),
            )  # fmt: skip
            return _event("problem", {"error": f"{what}; this is a fault of clipsearch"})


async def _any_of(*events: asyncio.Event) -> bool:
    """Whether one of them is set before it is time for a sign of life."""
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        done, _ = await asyncio.wait(waiting, timeout=_ALIVE, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()
    return bool(done)


def _event(name: str, value: Any) -> bytes:
    return f"event: {name}\ndata: {as_json(value)}\n\n".encode()
