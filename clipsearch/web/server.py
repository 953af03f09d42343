"""The application, listening until it is told to stop."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import re
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

import uvicorn

from clipsearch.describing import Describer
from clipsearch.ending import STOPPED_WITHIN, Askings, Scratch, end_in, end_now
from clipsearch.errors import ClipsearchError, InvalidInput, arg
from clipsearch.library import Library
from clipsearch.photos.scanning.listing import holds_photos
from clipsearch.web.app import Access, create_app
from clipsearch.web.below import checked_root
from clipsearch.web.connections import USUAL, Connection, Limits
from clipsearch.web.guard import site_of

log = logging.getLogger("clipsearch")

_MOST_LINES = 1000  # said, that are remembered

LEAST_TOKEN = 12  # characters, of one that a person chose
_FINISHING = 2  # seconds of a stop, for answers that were begun
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def check_access(host: str, token: str | None, origins: list[str], root_path: str = "") -> Access:
    """Who may ask, and below which path; a token is made where one is needed.

    Raises:
        InvalidInput: the token is too short to keep anybody out, or has what no header can hold, or
            an origin or the path is none.
    """
    root = checked_root(root_path)
    if token is not None and not (len(token) >= LEAST_TOKEN and token.isascii()):
        raise InvalidInput(f"{arg('token')} needs {LEAST_TOKEN} characters or more, in ASCII")
    if token is not None and not all(letter.isalnum() or letter in "-._~" for letter in token):
        raise InvalidInput(f"{arg('token')} may have letters, digits and -._~ in it")
    for origin in origins:
        if not _is_origin(origin):
            raise InvalidInput(
                f"{arg('allow_origin')} {origin!r} is none; write https://photos.example"
            )
    if token is None and host not in _LOOPBACK:
        token = secrets.token_urlsafe(24)
    return Access(host, token, tuple(site_of(it) or it for it in origins), root)


def _is_origin(text: str) -> bool:
    """Whether it is scheme, host and perhaps port of a site, as browsers send it."""
    if not re.fullmatch(r"https?://[^/?#@\s]+", text, re.IGNORECASE):
        return False
    try:
        parts = urlsplit(text)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # as of brackets that hold no address
        return False


def offered_folder() -> str | None:
    """The folder where one is, if it holds photos, which can then be indexed; else None."""
    try:
        here = os.getcwd()
    except OSError:  # it was deleted
        return None
    return here if holds_photos(here) else None


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        InvalidInput: the port is in use, or the host is none of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(128)
        except BaseException:
            listening.close()
            raise
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise InvalidInput(
                f"port {port} is in use, perhaps by another clipsearch serve; choose one with"
                f" {arg('port')}"
            ) from error
        raise InvalidInput(
            f"cannot listen on {host} port {port}: {error.strerror or error}"
        ) from error
    return listening


def address_of(listening: socket.socket, access: Access) -> str:
    """The URL under which the page is, without a token."""
    port = listening.getsockname()[1]
    host = "localhost" if access.host in ("0.0.0.0", "::", "") else access.host
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}{access.root}/"


def opening(address: str, access: Access) -> str:
    """The URL that opens the page, with the token where one is needed."""
    return address + (f"?token={access.token}" if access.token else "")


def leading_there(address: str, scratch: Scratch) -> str:
    """The URL of a file in `scratch` that leads a browser to an address with a token.

    What a program is started with, every user of the machine can see.
    """
    file = Path(scratch.name) / "open.html"  # in a folder that is its owner's alone
    file.write_text(f'<meta http-equiv="refresh" content="0; url={address}">')
    return file.as_uri()


def run(
    open: Callable[[], Library],
    listening: socket.socket,
    access: Access,
    watch: bool = False,
    ready: Callable[[], None] | None = None,
    offered: str | None = None,
    describer: Describer | None = None,
    limits: Limits = USUAL,
) -> None:
    """Serve until Ctrl-C or SIGTERM; `ready` is called when requests are answered.

    With `watch` the index follows its folders meanwhile. `offered` and `describer` are as in
    `create_app`.

    Raises:
        ClipsearchError: what `open` raises.
    """
    # It tells of each broken upload, to which the client gets an answer.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # it tells of each broken request
    logging.getLogger("uvicorn.error").addFilter(_is_not_told)
    log.addFilter(_Once())
    watching = threading.Event()
    stopping, unwatched = asyncio.Event(), threading.Event()
    app = create_app(open, access, watching, offered, describer, stopping)
    server = _Server(
        uvicorn.Config(
            app, http=partial(Connection, limits),  # type: ignore[arg-type]
            ws="none", log_config=None, access_log=False, server_header=False, lifespan="on",
            timeout_graceful_shutdown=_FINISHING,
        ),
        ready or (lambda: None), stopping, unwatched,
    )  # fmt: skip
    with _watched(open, watching, unwatched) if watch else _nothing():
        server.run(sockets=[listening])


def _is_not_told(record: logging.LogRecord) -> bool:
    """Whether a line says more than that an answer was broken off, which `Measured` tells why."""
    return "without completing" not in record.getMessage()


class _Once(logging.Filter):
    """Lets each line through once: what clients ask again and again is not told again."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is said."""
        if (line := record.getMessage()) in self._said:
            return False
        if len(self._said) < _MOST_LINES:
            self._said.add(line)
        return True


class _Server(uvicorn.Server):
    """A server that says when it is ready."""

    def __init__(
        self, config: uvicorn.Config, ready: Callable[[], None],
        stopping: asyncio.Event, unwatched: threading.Event,
    ) -> None:  # fmt: skip
        super().__init__(config)
        self._ready = ready
        self._stopping, self._unwatched = stopping, unwatched
        self._askings = Askings()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Bring to an end what is in work."""
        self._stopping.set()
        self._unwatched.set()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop soon, by the second signal at once; none is raised again when it has stopped."""
        if self._askings.is_second():
            end_now()
        if not self.should_exit:
            self.should_exit = True
            for name in ("uvicorn.error", "asyncio"):  # of each answer that is cut off
                logging.getLogger(name).setLevel(logging.CRITICAL + 1)
            end_in(STOPPED_WITHIN, lambda: end_now(0))


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def _watched(
    open: Callable[[], Library], watching: threading.Event, stop: threading.Event
) -> Iterator[None]:
    """Follow the index's folders in a thread, with a library of its own, until `stop` is set."""

    def follow() -> None:
        try:
            with open() as library:
                watching.set()
                library.watch(stop=stop, isolated=True)
        except ClipsearchError as error:
            log.warning("the folders are followed no more: %s", error)
        finally:
            watching.clear()

    thread = threading.Thread(target=follow, name="clipsearch-watch")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
