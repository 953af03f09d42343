"""Connections: how long each may take, and how many there may be."""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass
from typing import Any

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from clipsearch.web.answers import PROBLEM, error_answer

_MOST_REFUSED = 100  # that are told so; more are closed without a word


@dataclass(frozen=True, slots=True)
class Limits:
    """How many connections there may be, and for how long they may wait for their clients."""

    connections: int = 500
    of_one: int = 300  # address; a proxy before this server is one too
    head_within: float = 20.0  # seconds, of a request's line and headers, from the last answer on
    stalled: float = 120.0  # seconds in which a client takes nothing of an answer


USUAL = Limits()


class Connection(H11Protocol):
    """A connection that is closed where the client says nothing, or takes nothing, for long.

    Where there are too many, the one goes that has waited longest for its client, of the address
    that has most of them; while all are at work, a new one is told to come back.
    """

    def __init__(self, limits: Limits, *values: Any, **named: Any) -> None:
        super().__init__(*values, **named)
        self._limits = limits
        self._since = self.loop.time()  # from when on it has waited for its client
        self._waiting: asyncio.TimerHandle | None = None
        self._stalling: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request, if there is room."""
        super().connection_made(transport)  # type: ignore[arg-type]
        self._wait()
        self._have_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """End all that waits."""
        super().connection_lost(exc)
        _end(self._waiting)
        _end(self._stalling)

    def data_received(self, data: bytes) -> None:
        """Take a part of a request; the time for its head goes on until all of that is there."""
        super().data_received(data)
        if not self._is_resting():
            _end(self._waiting)

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        super().on_response_complete()
        if self._is_resting() and not self.transport.is_closing():
            self._wait()

    def pause_writing(self) -> None:
        """Wait until the client takes more of an answer, but not for ever."""
        super().pause_writing()
        self._stalling = self.loop.call_later(self._limits.stalled, self._break)

    def resume_writing(self) -> None:
        """Go on with an answer."""
        super().resume_writing()
        _end(self._stalling)

    def send_400_response(self, msg: str) -> None:
        """Tell who speaks no HTTP so, as all errors are told."""
        body = bytes(error_answer(400, msg.rstrip(".")).body)
        head = f"HTTP/1.1 400 Bad Request\r\nContent-Type: {PROBLEM}\r\n"
        head += f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _wait(self) -> None:
        _end(self._waiting)
        self._since = self.loop.time()
        self._waiting = self.loop.call_later(self._limits.head_within, self._give_up)

    def _give_up(self) -> None:
        if self._is_resting():
            self.transport.close()

    def _break(self) -> None:
        # What the system holds for the client goes too, and is not tried again for minutes.
        reset = self.transport.get_extra_info("socket")
        reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _is_resting(self) -> bool:
        """Whether it is the client's turn to say something."""
        is_answered = self.cycle is None or self.cycle.response_complete
        return is_answered and not self.transport.get_write_buffer_size()

    def _have_room(self) -> None:
        limits = self._limits
        if len(self.connections) <= min(limits.connections, limits.of_one):
            return
        of_each: dict[str, list[Connection]] = {}
        for it in self.connections:
            assert isinstance(it, Connection)
            of_each.setdefault(it._peer(), []).append(it)
        own = of_each[self._peer()]
        if len(self.connections) <= limits.connections and len(own) <= limits.of_one:
            return
        is_of_one = len(own) > limits.of_one
        among = [own] if is_of_one else sorted(of_each.values(), key=len, reverse=True)
        resting = (
            min(theirs, key=lambda it: it._since)
            for of_one in among
            if (theirs := [it for it in of_one if it is not self and it._is_resting()])
        )
        if (longest := next(resting, None)) is not None:
            self.connections.discard(longest)
            longest.transport.close()
        elif len(self.connections) > limits.connections + _MOST_REFUSED:
            self.transport.abort()
        else:
            self.app = _busy

    def _peer(self) -> str:
        return self.client[0] if self.client else ""


async def _busy(scope: Scope, receive: Receive, send: Send) -> None:
    await error_answer(503, "too many requests at once", {"Connection": "close"})(
        scope, receive, send
    )


def _end(timer: Any) -> None:
    if timer is not None:
        timer.cancel()
