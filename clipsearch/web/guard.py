"""Who may ask, and what browsers are told to do with the answers: around everything, as ASGI."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import re
import socket
from collections.abc import Iterator, Sequence
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clipsearch.web.answers import error_answer
from clipsearch.web.asking.bodies import JSON, kind_of

COOKIE = "clipsearch-token"
HEALTH = ("/healthz", "/readyz")
MOST_BYTES = 32 << 20  # of a request; several photos from a phone, or one from a large camera
MOST_JSON = 16 << 20  # bytes; 32 questions with 16 embeddings each of the longest that there are
SLOWEST = 30.0  # seconds without a byte of a request that was begun
WHOLE_WITHIN = 300.0  # seconds, of a request's body
MOST_SENDING = 64  # requests with a body at once; what they have sent is on disk or in memory

_NEEDS_TOKEN = (
    "a token is needed: open {root}/?token= and the token, which clipsearch serve was given or"
    " printed"
)
ELSEWHERE = "requests from other sites are not answered"
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:;"
        " connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_HERE = {"localhost", "127.0.0.1", "::1"}
_EVERYWHERE = {"0.0.0.0", "::", ""}
_HOST = re.compile(
    r"(?P<name>\[[0-9A-Fa-f:.]+\]|[\w.~!$&'()*+,;=%-]*)(:(?P<port>[0-9]{0,5}))?", re.ASCII
)
_UNSAID = {"http": ":80", "https": ":443"}
_READING = ("GET", "HEAD", "OPTIONS")


class Refused(HTTPException):
    """A request that is not answered, with the status and the reason."""


class Guard:
    """Lets through only what may be asked, and adds the headers that keep answers private.

    A page of another site that has its own name lead to this machine (DNS rebinding) is known by
    the Host header; one that sends or asks something here, by Origin and Sec-Fetch-Site.
    """

    def __init__(
        self,
        app: ASGIApp,
        host: str,
        token: str | None,
        origins: Sequence[str] = (),
        root: str = "",
    ) -> None:
        self._app = app
        self._host = host.strip("[]").lower()
        self._token = token
        self._root = root
        self._origins = set(origins)
        # They may ask in any case, so it does no harm if this server goes by their name.
        self._names = {urlsplit(origin).hostname for origin in origins}
        self._sending = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        try:
            self._check(scope)
            answer = self._login(scope)
        except Refused as refused:
            answer = _refusal(refused)
        if answer is not None:
            await answer(scope, receive, send_guarded)
            return
        if scope["method"] in _READING:
            await self._app(scope, receive, send_guarded)
            return
        if self._sending >= MOST_SENDING:
            busy = error_answer(503, "too much is being sent at once")
            await busy(scope, receive, send_guarded)
            return
        self._sending += 1
        try:
            limit = _limit(Headers(scope=scope))
            await self._app(scope, _limited(receive, limit), send_guarded)
        finally:
            self._sending -= 1

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        name = _name(host)
        if name is None:
            raise Refused(400, f"{host[:100]!r} is no host")
        if not _asks_health(scope) and not self._is_known(name):
            raise Refused(400, f"this server does not go by the name {name[:100]!r}")
        if not (_opens_the_page(scope, headers) or self._is_own(scope, headers, host)):
            raise Refused(403, ELSEWHERE)
        if _asks_health(scope):
            return
        if self._token is not None and not self._has_token(scope, headers):
            raise Refused(401, _NEEDS_TOKEN.format(root=self._root))
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > _limit(headers):
            raise _too_much(_limit(headers))

    def _is_known(self, name: str) -> bool:
        if name in _HERE or name == self._host or name in self._names:
            return True
        if self._host not in _EVERYWHERE:
            return False
        own = socket.gethostname().lower()
        return _is_address(name) or name in (own, own.partition(".")[0] + ".local")

    def _is_own(self, scope: Scope, headers: Headers, host: str) -> bool:
        origin = headers.get("origin")
        if origin in self._origins:
            return True
        site = headers.get("sec-fetch-site")
        if origin is not None and (scope["method"] not in _READING or site is None):
            own = site_of(f"{origin.partition('://')[0]}://{host}")
            return own is not None and site_of(origin) == own
        return site in (None, "same-origin", "none")  # no browser asks, or for no other site's page

    def _has_token(self, scope: Scope, headers: Headers) -> bool:
        kind, _, bearer = headers.get("authorization", "").partition(" ")
        given = [bearer.strip()] if kind.lower() == "bearer" else []
        given += _tokens_in_cookies(headers)
        given += _token_in_address(scope)
        return any([self._is_token(one) for one in given])  # noqa: C419  all are compared

    def _is_token(self, given: str) -> bool:
        assert self._token is not None
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._token.encode())

    def _login(self, scope: Scope) -> Response | None:
        """The page without the token in its address, which is in a cookie from here on."""
        if self._token is None or not _token_in_address(scope):
            return None
        answer = RedirectResponse(f"{self._root}/", 303)
        answer.set_cookie(
            COOKIE, self._token, path=f"{self._root}/", secure=scope["scheme"] == "https",
            httponly=True, samesite="strict",
        )  # fmt: skip
        return answer


def _asks_health(scope: Scope) -> bool:
    """Whether it is asked whether the server is well, which may be told to anybody.

    Who watches over servers asks by any address and has no token; nothing that is private is told.
    """
    return scope["method"] in _READING and scope["path"] in HEALTH


def _opens_the_page(scope: Scope, headers: Headers) -> bool:
    """Whether a link to the page was followed, wherever it stands."""
    return (
        scope["method"] in _READING
        and scope["path"] == "/"
        and headers.get("sec-fetch-mode", "navigate") == "navigate"
        and "origin" not in headers  # which a link that is followed does not come with
    )


def _tokens_in_cookies(headers: Headers) -> Iterator[str]:
    """What cookies of our name hold; the others are any program's of this machine, and of any form.

    Reading all of them, as Python's library does, takes seconds for a long one.
    """
    for line in headers.getlist("cookie"):
        for cookie in line.split(";"):
            name, _, value = cookie.strip().partition("=")
            if name == COOKIE:
                yield value.strip('"')


def _token_in_address(scope: Scope) -> list[str]:
    if scope["path"] != "/" or scope["method"] not in ("GET", "HEAD"):
        return []
    return parse_qs(scope["query_string"].decode("latin-1")).get("token", [])


def _limit(headers: Headers) -> int:
    """How many bytes a request may have."""
    return MOST_JSON if kind_of(headers) == JSON else MOST_BYTES


def _too_much(limit: int) -> Refused:
    smaller = "fewer questions at once" if limit == MOST_JSON else "a smaller picture"
    return Refused(413, f"more than {limit >> 20} MB; send {smaller}")


def _limited(receive: Receive, limit: int) -> Receive:
    """Receive a request's body up to `limit` bytes, unless it comes too slowly."""
    seen, is_whole = 0, False
    end = asyncio.get_running_loop().time() + WHOLE_WITHIN

    async def receive_limited() -> Message:
        nonlocal seen, is_whole
        if is_whole:  # from here on it is only heard whether the client hangs up
            return await receive()
        try:
            left = end - asyncio.get_running_loop().time()
            async with asyncio.timeout(min(SLOWEST, left)):
                message = await receive()
        except TimeoutError:
            raise Refused(408, "the request came too slowly") from None
        seen += len(message.get("body", b""))
        if seen > limit:
            raise _too_much(limit)
        is_whole = not message.get("more_body", False)
        return message

    return receive_limited


def _refusal(refused: Refused) -> Response:
    headers = {"WWW-Authenticate": "Bearer"} if refused.status_code == 401 else {}
    return error_answer(refused.status_code, refused.detail, headers)


def _name(host: str) -> str | None:
    """The name in a Host header, without the port, which differs behind a tunnel; "" for none.

    None where it is no host (RFC 9110, 7.2).
    """
    found = _HOST.fullmatch(host)
    if found is None or int(found["port"] or 0) > 65535:
        return None
    return found["name"].strip("[]").lower().removesuffix(".")  # which a name in full ends with


def site_of(origin: str) -> str | None:
    """A site as browsers name it in Origin: in small letters, without the port that goes unsaid.

    None where it is none.
    """
    scheme, _, host = origin.lower().partition("://")
    if scheme not in _UNSAID or not host or not _HOST.fullmatch(host):
        return None
    return f"{scheme}://{host.removesuffix(_UNSAID[scheme])}"


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
