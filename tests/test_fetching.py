"""Pictures from the web: what servers may do wrong, and where nothing is fetched from."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from clipsearch.errors import InvalidInput
from clipsearch.search import fetching
from clipsearch.search.fetching import fetch

OK = b"HTTP/1.0 200 OK\r\n\r\n"


@contextmanager
def answering(answer: bytes, host: str = "127.0.0.1", drip: bytes = b"") -> Iterator[str]:
    """A server that answers everything so, and then says `drip` for ever; gives its address."""
    over = threading.Event()
    clients = []

    def serve() -> None:
        with suppress(OSError):
            while True:
                client, _ = listening.accept()
                clients.append(threading.Thread(target=tell, args=[client]))
                clients[-1].start()

    def tell(client: socket.socket) -> None:
        with client, suppress(OSError):
            client.recv(4096)
            client.sendall(answer)
            while drip and not over.wait(0.02):
                client.sendall(drip)

    with socket.create_server((host, 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://{host}:{listening.getsockname()[1]}/"
        finally:
            over.set()
            listening.shutdown(socket.SHUT_RDWR)
            for each in (thread, *clients):
                each.join()


def complaint(url: str, only_public: bool = False) -> str:
    with pytest.raises(InvalidInput) as told:
        fetch(url, 1000, only_public)
    assert str(told.value).startswith(f"{url} could not be fetched: ")
    assert "\n" not in str(told.value)
    return str(told.value).removeprefix(f"{url} could not be fetched: ")


def test_no_more_is_fetched_than_asked_for() -> None:
    with answering(OK + bytes(100)) as url:
        assert fetch(url, 1000) == bytes(100)
        assert fetch(url, 10) == bytes(10)


@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 -5 no\r\n\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 404 Not\x1b[2J Found\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: ftp://example.com/a.jpg\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://[::1/\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n",
    ],
)
def test_an_odd_server_is_told_of_in_a_line(answer: bytes) -> None:
    with answering(answer) as url:
        assert complaint(url)


@pytest.mark.parametrize("url", ["http://[::1", "http://a b/", "http://\x00/", "http://:80/"])
def test_an_odd_address_is_told_of_in_a_line(url: str) -> None:
    assert complaint(url)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\na: ", OK])
def test_who_answers_for_ever_is_waited_for_only_so_long(
    answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "WHOLE", 0.4)
    with (
        answering(answer, drip=b"a") as url,
        pytest.raises(InvalidInput, match="more than 0 seconds"),
    ):
        fetch(url, 1 << 30)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.1", "2130706433", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0",
        "169.254.169.254", "10.0.0.1", "192.168.1.1", "[fe80::1]", "[fd00::1]", "224.0.0.1",
        "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "100.64.0.1", "nowhere.invalid",
    ],
)  # fmt: skip
def test_of_what_is_not_public_nothing_can_be_told_from_nothing(host: str) -> None:
    assert complaint(f"http://{host}:1/", only_public=True) == "there is nothing on the public web"


def test_from_the_web_nothing_leads_to_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def go(url: str) -> bytes:
        return f"HTTP/1.1 302 Found\r\nLocation: {url}\r\n\r\n".encode()

    with answering(OK + b"secret") as local, answering(go(local)) as here:
        assert fetch(here, 1000) == b"secret"  # from this machine to this machine
    monkeypatch.setattr(fetching, "_is_public", lambda address: address == "127.0.0.2")
    with answering(OK + b"secret") as local, answering(go(local), "127.0.0.2") as public:
        assert complaint(public) == "it leads from the web to this machine or its network"
        assert complaint(public, only_public=True) == "there is nothing on the public web"
    with answering(OK + b"open", "127.0.0.2") as other, answering(go(other), "127.0.0.2") as public:
        assert fetch(public, 1000, only_public=True) == b"open"
