"""Connections of clients that send nothing, take nothing or are too many; and a stop among them."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import socket
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from http.client import HTTPConnection
from io import BytesIO
from pathlib import Path
from struct import pack

from conftest import picture
from served import DEADLINE, Process, Serve
from starlette.types import Message
from test_hostile import png
from tiny import open_tiny

from clipsearch.web.app import create_app
from clipsearch.web.guard import MOST_BYTES, MOST_JSON

HEAD = (
    "POST /api/search HTTP/1.1\r\nHost: localhost\r\n"
    "Content-Type: multipart/form-data; boundary=edge\r\n"
)


@contextmanager
def clients(server: Process, count: int, saying: bytes = b"") -> Iterator[list[socket.socket]]:
    with ExitStack() as open_ones:
        made = []
        for _ in range(count):
            client = socket.create_connection(("127.0.0.1", server.port), DEADLINE)
            made.append(open_ones.enter_context(client))
            client.sendall(saying)
        yield made


def sent(content: bytes) -> bytes:
    """The request of a picture that is sent."""
    body = b'--edge\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    body += content + b"\r\n--edge--\r\n"
    return f"{HEAD}Content-Length: {len(body)}\r\n\r\n".encode() + body


def slow_picture(side: int = 15_900) -> bytes:
    """A small file, below the limit of pixels, that takes a decoder seconds."""
    return png(side, side, zlib.compress(bytes((1 + 3 * side) * side), 1))


def seconds_of_decoders(server: Process) -> float:
    """The processor's time that the processes have taken that a server has started."""
    total, below = 0, {server.process.pid}
    stats = [file.read_text() for file in Path("/proc").glob("[0-9]*/stat")]
    facts = {int(it.split()[0]): it.rpartition(")")[2].split() for it in stats}
    for pid in sorted(facts):  # a process comes after the one that has started it
        if int(facts[pid][1]) in below:
            below.add(pid)
            total += int(facts[pid][11]) + int(facts[pid][12])
    return total / os.sysconf("SC_CLK_TCK")


def limited(**limits: float) -> str:
    return json.dumps(limits)


def test_who_says_nothing_is_closed(indexed: Path, serve: Serve) -> None:
    server = serve(LIMITS=limited(head_within=0.2))
    for saying in (b"", b"GET /api/status HTTP/1.1\r\nHost: local"):
        with clients(server, 3, saying) as silent:
            assert [client.recv(100) for client in silent] == [b"", b"", b""]
    # After an answer the time begins anew, and a part of the next request does not stop it.
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with clients(server, 1, request + b"GET /api") as [client]:
        received = b"".join(iter(lambda: client.recv(4096), b""))
        assert received.count(b"HTTP/1.1 ") == 1


def test_silent_connections_make_room_for_who_asks(indexed: Path, serve: Serve) -> None:
    server = serve(LIMITS=limited(connections=20, of_one=12))
    with clients(server, 40), clients(server, 40, b"GET / HT"):
        for _ in range(30):
            assert json.loads(server.get("/api/status"))["photos"] == 12


def test_where_all_are_at_work_a_new_one_is_told_to_come_back(indexed: Path, serve: Serve) -> None:
    server = serve(LIMITS=limited(of_one=4))
    begun = f"{HEAD}Content-Length: 100\r\nExpect: 100-continue\r\n\r\n".encode()
    with clients(server, 4, begun) as sending:
        assert all(b" 100 " in client.recv(100) for client in sending)
        connection = HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE)
        connection.request("GET", "/api/status")
        answer = connection.getresponse()
        kind = answer.getheader("Content-Type")
        assert (answer.status, kind) == (503, "application/problem+json")
        assert answer.getheader("Retry-After")
        assert "error" in json.loads(answer.read())
        connection.close()
    assert json.loads(server.get("/api/status"))["photos"] == 12


def test_who_sends_too_much_hears_so_at_the_end_of_it(indexed: Path, serve: Serve) -> None:
    server = serve()
    for kind, most in (("image/jpeg", MOST_BYTES), ("application/json", MOST_JSON)):
        connection = HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE)
        for _ in range(2):  # the connection stays
            # Sent to its end before anything is received, as most clients do.
            connection.request("POST", "/api/search", bytes(most + 1), {"Content-Type": kind})
            answer = connection.getresponse()
            assert (answer.status, json.loads(answer.read())["status"]) == (413, 413)
        connection.close()


def test_who_takes_nothing_of_an_answer_is_closed(photos: Path, index: Path, serve: Serve) -> None:
    large = b"".join(pack("<Q", number) for number in range(3_000_000))
    stream = BytesIO()
    picture(1).save(stream, "PNG")
    (photos / "large.png").write_bytes(stream.getvalue() + large)  # what follows a picture is kept
    with open_tiny(index) as library:
        library.index([photos])
    server = serve(LIMITS=limited(stalled=0.2))
    hits = json.loads(server.get("/api/search", k=100))["hits"]
    id = next(hit["id"] for hit in hits if hit["path"].endswith("large.png"))
    request = f"GET /api/photos/{id}/original HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", server.port))
        client.sendall(request)
        waiting = select.poll()
        waiting.register(client, 0)  # for its end alone
        assert waiting.poll(1000 * DEADLINE)


def test_a_stop_waits_for_nobody_and_says_nothing(
    photos: Path, index: Path, serve: Serve, tmp_path: Path
) -> None:
    for seed in range(4):
        (photos / f"slow-{seed}.png").write_bytes(slow_picture() + bytes([seed]))
    with open_tiny(index) as library:
        library.index([photos])
    server = serve(CLIPSEARCH_CACHE=str(tmp_path / "kept"))
    hits = json.loads(server.get("/api/search", k=100))["hits"]
    asked = [
        f"GET /api/photos/{hit['id']}/thumbnail HTTP/1.1\r\nHost: localhost\r\n\r\n" for hit in hits
    ]
    slow = f"{HEAD}Content-Length: 100\r\n\r\nhalf".encode()
    with ExitStack() as several:
        for request in [*map(str.encode, asked), *[sent(slow_picture())] * 4, *[slow] * 4]:
            several.enter_context(clients(server, 1, request))
        several.enter_context(clients(server, 10))
        end = time.monotonic() + DEADLINE
        while seconds_of_decoders(server) < 1 and time.monotonic() < end:
            time.sleep(0.05)
        assert server.stopped(signal.SIGINT) == (0, "")


def test_who_is_not_answered_for_a_stop_is_told_so(indexed: Path, serve: Serve) -> None:
    server = serve()
    stalled = f"{HEAD}Content-Length: 100\r\nExpect: 100-continue\r\n\r\n".encode()
    with clients(server, 4, stalled) as sending:
        assert all(b" 100 " in client.recv(100) for client in sending)
        server.process.send_signal(signal.SIGTERM)
        answers = [b"".join(iter(partial(client.recv, 4096), b"")) for client in sending]
    for answer in answers:
        head, _, body = answer.lower().partition(b"\r\n\r\n")
        assert head.startswith(b"http/1.1 503 "), answer
        assert b"content-type: application/problem+json" in head
        assert b"retry-after: " in head
        assert json.loads(body)["status"] == 503
    assert server.process.communicate(timeout=DEADLINE)[1] == ""


def test_who_sends_just_as_the_server_stops_is_told_so_too(indexed: Path) -> None:
    async def ask() -> list[Message]:
        answer: list[Message] = []
        app = create_app(lambda: open_tiny(indexed, create=False))
        headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
        scope = {
            "type": "http", "method": "POST", "path": "/api/search", "query_string": b"",
            "headers": headers, "scheme": "http", "client": ("127.0.0.1", 1), "http_version": "1.1",
        }  # fmt: skip

        async def receive() -> Message:
            asyncio.get_running_loop().call_soon(asking.cancel)  # when this is there, not before
            return {"type": "http.request", "body": b'{"q": "a"}'}

        async def send(message: Message) -> None:
            answer.append(message)

        asking = asyncio.ensure_future(app(scope, receive, send))
        await asking
        return answer

    start, body = asyncio.run(ask())
    assert start["status"] == 503
    assert json.loads(body["body"])["error"] == "the server is stopping"


def test_a_stream_of_events_comes_to_its_end_at_a_stop(indexed: Path, serve: Serve) -> None:
    server = serve()
    asked = b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with clients(server, 3, asked) as listening:
        for client in listening:
            while not (received := client.recv(4096)).endswith(b"\n\n\r\n"):
                assert received
        server.process.send_signal(signal.SIGTERM)
        for client in listening:  # the last chunk, of no bytes
            assert b"".join(iter(partial(client.recv, 4096), b"")).endswith(b"0\r\n\r\n")
    assert server.process.communicate(timeout=DEADLINE)[1] == ""
