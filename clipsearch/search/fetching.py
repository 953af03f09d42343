"""A picture that is fetched from the web: from where, how much of it, and for how long."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, InvalidURL
from typing import Any

from clipsearch.errors import InvalidInput, first_line

WHOLE = 30.0  # seconds, from the first word to the last byte
_PIECE = 1 << 16  # bytes
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # an IPv4 address in its last four bytes


class _NotPublic(OSError):
    """An address of this machine or its network, which is not spoken to."""


class _TooLong(OSError):
    """It took more than WHOLE seconds."""


def fetch(url: str, most: int, only_public: bool = False) -> bytes:
    """The first `most` bytes of what an address of http or https leads to.

    With `only_public` neither it nor what it redirects to may be this machine or one of its
    network, by the very addresses that are spoken to, and no proxy is used. Otherwise a redirect
    leads there only from there.

    Raises:
        InvalidInput: it could not be fetched; with `only_public` what is not public is as what is
            nowhere.
    """
    with _told(url, only_public), _Fetching(only_public) as fetching:
        return fetching.get(url, most)


class _Fetching:
    """One fetch, over all redirects; a context manager."""

    def __init__(self, only_public: bool) -> None:
        self._may_be_local = not only_public
        self._end = time.monotonic() + WHOLE
        self._spoken_to: list[socket.socket] = []
        self._answers: list[HTTPResponse] = []
        self._timer = threading.Timer(WHOLE, self._break_off)
        self._opener = urllib.request.OpenerDirector()
        self._opener.addheaders = [("User-Agent", "clipsearch")]
        handlers: list[urllib.request.BaseHandler] = [
            _Handler(self), urllib.request.HTTPRedirectHandler(),
            urllib.request.HTTPErrorProcessor(), urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.UnknownHandler(),
        ]  # fmt: skip
        if not only_public:
            handlers.append(urllib.request.ProxyHandler())
        for handler in handlers:
            self._opener.add_handler(handler)

    def __enter__(self) -> _Fetching:
        self._timer.daemon = True
        self._timer.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._timer.cancel()
        for answer in self._answers:  # also of redirects that led nowhere
            answer.close()
        for connection in self._spoken_to:
            connection.close()

    def get(self, url: str, most: int) -> bytes:
        """The first `most` bytes of an answer."""
        try:
            with self._opener.open(url, timeout=WHOLE) as answer:
                pieces, size = [], 0
                while size < most and (piece := answer.read(min(_PIECE, most - size))):
                    pieces.append(piece)
                    size += len(piece)
        finally:
            if time.monotonic() >= self._end:  # whatever came of its being broken off
                raise _TooLong
        return b"".join(pieces)

    def connect(self, address: tuple[str, int], *others: object) -> socket.socket:
        """A connection to a host that may be spoken to, as `socket.create_connection` gives it."""
        fault: OSError = _NotPublic()
        for family, kind, protocol, _, place in socket.getaddrinfo(
            *address, type=socket.SOCK_STREAM
        ):
            is_public = _is_public(str(place[0]))
            if not (is_public or self._may_be_local):
                continue
            connection = socket.socket(family, kind, protocol)
            self._spoken_to.append(connection)
            try:
                connection.settimeout(max(0.01, self._end - time.monotonic()))
                connection.connect(place)
            except OSError as error:
                connection.close()
                fault = error
            else:
                self._may_be_local = not is_public
                return connection
        raise fault

    def of(self, kind: Any) -> Any:
        """What makes connections of a kind that speak only to whom this may speak."""

        def make(*values: Any, **named: Any) -> Any:
            connection = kind(*values, **named)
            connection._create_connection = self.connect
            return connection

        return make

    def kept(self, answer: HTTPResponse) -> HTTPResponse:
        """An answer, which is closed at the end of this in any case."""
        self._answers.append(answer)
        return answer

    def _break_off(self) -> None:
        for connection in self._spoken_to:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(urllib.request.AbstractHTTPHandler):
    http_request = https_request = urllib.request.AbstractHTTPHandler.do_request_

    def __init__(self, fetching: _Fetching) -> None:
        super().__init__()
        self._fetching = fetching

    def http_open(self, request: urllib.request.Request) -> HTTPResponse:
        """Ask over a connection of the fetch's."""
        return self._asked(HTTPConnection, request)

    def https_open(self, request: urllib.request.Request) -> HTTPResponse:
        """Ask over one with TLS."""
        return self._asked(HTTPSConnection, request)

    def _asked(self, kind: Any, request: urllib.request.Request) -> HTTPResponse:
        return self._fetching.kept(self.do_open(self._fetching.of(kind), request))


def _is_public(address: str) -> bool:
    """Whether an address is one of the public web, also where it stands for another one."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            ip = inner
    return ip.is_global and not ip.is_multicast


@contextmanager
def _told(url: str, only_public: bool) -> Iterator[None]:
    """Turn whatever goes wrong into a line about the address."""
    try:
        yield
    except (OSError, ValueError, HTTPException) as error:
        raise InvalidInput(f"{url} could not be fetched: {_reason(error, only_public)}") from error


def _reason(error: BaseException, only_public: bool) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return first_line(error)  # the code and what the server says to it
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, str):
        return cause
    if isinstance(cause, _TooLong):
        return f"it took more than {WHOLE:.0f} seconds"
    if only_public and isinstance(cause, (_NotPublic, socket.gaierror)):
        return "there is nothing on the public web"
    if isinstance(cause, _NotPublic):
        return "it leads from the web to this machine or its network"
    if isinstance(cause, TimeoutError):
        return "no answer came"
    if isinstance(cause, InvalidURL | ValueError):
        return "that is no address of the web"
    if isinstance(cause, HTTPException):
        return "its server does not speak HTTP"
    return getattr(cause, "strerror", None) or first_line(cause)
