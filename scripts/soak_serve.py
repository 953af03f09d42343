"""Whether a server stays as it is while it is used without a pause.

Starts `clipsearch serve --watch` on made pictures, or on a copy of some of a folder's, and lets
clients of every kind ask it on this machine at once: searches by words, by photos, by embeddings
and page by page, uploads of good and of broken pictures, thumbnails, originals, zips, duplicates,
listeners to events, questions that make no sense, clients that send half a request and clients
that leave in the middle of an answer. Meanwhile photos come and go in its folder, which is indexed.
Prints each minute the memory of the server and of its decoders, its descriptors, threads and
processes, and at the end how they differ from those after the first minute, when caches are warm.

    python scripts/soak_serve.py [FOLDER] [--minutes N] [--photos N]
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import numpy as np
from PIL import Image

WORDS = ("dog", "cat", "red", "boat", "beach", "night", "child", "snow", "green", "car", "old")
PATIENCE = 120  # seconds for an answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", help="photos to take; default: made ones")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--photos", type=int, default=200)
    options = parser.parse_args()
    if not Path("/proc/self/smaps_rollup").exists():
        sys.exit("this counts memory and descriptors in /proc, which Linux alone has")
    with tempfile.TemporaryDirectory() as scratch:
        sys.exit(soak(options, Path(scratch)))


def soak(options: argparse.Namespace, scratch: Path) -> int:
    photos = scratch / "photos"
    photos.mkdir()
    fill(photos, options.folder, options.photos)
    command = [sys.executable, "-m", "clipsearch"]
    environment = os.environ | {
        "CLIPSEARCH_CACHE": str(scratch / "cache"), "CLIPSEARCH_INDEX": str(scratch / "index"),
    }  # fmt: skip
    subprocess.run(
        [*command, "index", photos, "--model", "pocket"], env=environment, check=True,
        capture_output=True,
    )  # fmt: skip
    with (scratch / "said").open("w+") as said:
        served = subprocess.Popen(
            [*command, "serve", "--watch", "--port", "0"], env=environment, stderr=said
        )
        try:
            use(Server(served.pid, port_of(scratch / "said")), photos, options.minutes)
        finally:
            served.terminate()
            code = served.wait(PATIENCE)
        said.seek(0)
        lines = said.read().splitlines()[1:]
    print(f"it ended with {code}" + "".join(f"\n  it said: {line}" for line in lines[:20]))
    return code


class Server(NamedTuple):
    """A server that is used."""

    pid: int
    port: int


class Size(NamedTuple):
    """What a server takes."""

    server: float  # MB of memory that is its own
    mapped: float  # MB, its share of files that are in memory
    decoders: float  # MB, of all processes below it
    descriptors: int
    threads: int
    processes: int


def port_of(said: Path) -> int:
    while "serving http://" not in said.read_text():
        time.sleep(0.1)
    return int(said.read_text().split("serving http://")[1].split("/")[0].rpartition(":")[2])


def use(server: Server, photos: Path, minutes: float) -> None:
    """Ask without a pause for so many minutes, and tell what the server takes."""
    begun, is_over = time.monotonic(), threading.Event()
    answers: Counter[str] = Counter()
    clients = [
        threading.Thread(target=ask_on, args=(kind, server, photos, is_over, answers, number))
        for number, kind in enumerate(KINDS)
    ]
    clients.append(threading.Thread(target=change, args=(photos, is_over)))
    for client in clients:
        client.start()
    print("| minute | answers | own MB | mapped | decoders | descriptors | threads | processes |")
    print("|---|---|---|---|---|---|---|---|")
    sizes = []
    minute = 0
    while minute < minutes:
        minute += 1
        time.sleep(max(0.0, begun + 60 * min(minute, minutes) - time.monotonic()))
        sizes.append(rested(server))
        told = sizes[-1]
        print(
            f"| {minute} | {sum(answers.values()):,} | {told.server:.0f} | {told.mapped:.0f}"
            f" | {told.decoders:.0f}"
            f" | {told.descriptors} | {told.threads} | {told.processes} |", flush=True,
        )  # fmt: skip
    is_over.set()
    for client in clients:
        client.join()
    first, last = sizes[0], rested(server)
    print(
        f"after the first minute and at the end: {first.server:.0f} and {last.server:.0f} MB,"
        f" {first.descriptors} and {last.descriptors} descriptors"
    )
    for kind, count in sorted(answers.items()):
        print(f"  {count:9,} {kind}")


def rested(server: Server) -> Size:
    """The least of some looks, between which requests come and go."""
    looks = []
    for _ in range(20):
        looks.append(size_of(server.pid))
        time.sleep(0.1)
    return Size(*map(min, zip(*looks, strict=True)))


def size_of(pid: int) -> Size:
    place = Path(f"/proc/{pid}")
    below = descendants(pid)
    own, whole = memory(pid, "Pss_Anon:"), memory(pid)
    return Size(
        own, whole - own, sum(map(memory, below)), len(os.listdir(place / "fd")),
        len(os.listdir(place / "task")), len(below),
    )  # fmt: skip


def memory(pid: int, kind: str = "Pss:") -> float:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(kind):
                return int(line.split()[1]) / 1000
    return 0.0


def descendants(pid: int) -> list[int]:
    found = []
    with suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split():
                found += [int(child), *descendants(int(child))]
    return found


# Photos


def fill(photos: Path, source: Path | None, count: int) -> None:
    if source is None:
        for number in range(count):
            (photos / f"{number:04}.jpg").write_bytes(noise(number))
        return
    taken = [it for it in sorted(source.rglob("*")) if it.suffix.lower() in (".jpg", ".jpeg")]
    for number, file in enumerate(taken[:count]):
        shutil.copy(file, photos / f"{number:04}.jpg")


def noise(seed: int, size: tuple[int, int] = (500, 375), format: str = "JPEG") -> bytes:
    numbers = np.random.default_rng(seed)
    small = numbers.integers(0, 255, (6, 8, 3), np.uint8)
    content = io.BytesIO()
    Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(content, format)
    return content.getvalue()


def change(photos: Path, is_over: threading.Event) -> None:
    """Let photos come and go, some of them broken."""
    seed = 100_000
    while not is_over.wait(3):
        seed += 1
        (photos / f"new{seed}.jpg").write_bytes(noise(seed)[: None if seed % 5 else 2000])
        (photos / f"new{seed - 10}.jpg").unlink(missing_ok=True)


# Clients

Ask = Callable[["Client"], int]


class Client:
    """One that asks a server again and again, by chance."""

    def __init__(self, server: Server, photos: Path, seed: int) -> None:
        self.server = server
        self.photos = photos
        self.chance = random.Random(seed)
        self.ids = [1]

    def ask(self, method: str, path: str, body: bytes | None = None, kind: str = "") -> int:
        """Ask, and read the answer to its end; gives its status."""
        return self.answer(method, path, body, kind)[0]

    def answer(
        self, method: str, path: str, body: bytes | None = None, kind: str = ""
    ) -> tuple[int, bytes]:
        connection = HTTPConnection("127.0.0.1", self.server.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, {"Content-Type": kind} if kind else {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def words(self) -> str:
        return " ".join(self.chance.sample(WORDS, self.chance.randint(1, 4)))

    def id(self) -> int:
        return self.chance.choice(self.ids)

    def found(self, answer: tuple[int, bytes]) -> dict[str, Any]:
        page: dict[str, Any] = json.loads(answer[1])
        self.ids = [hit["id"] for hit in page.get("hits", ())] or self.ids
        return page


def search(client: Client) -> int:
    asked = {"q": client.words(), "k": client.chance.randint(1, 100)}
    if client.chance.random() < 0.3:
        asked |= {"type": "jpeg", "min_size": "100"}
    answer = client.answer("GET", f"/api/search?{urlencode(asked)}")
    client.found(answer)
    return answer[0]


def follow(client: Client) -> int:
    path = f"/api/search?{urlencode({'q': client.words(), 'k': 20})}"
    answer = client.answer("GET", path)
    while (cursor := client.found(answer).get("next")) and client.chance.random() < 0.8:
        answer = client.answer("GET", f"{path}&cursor={cursor}")
    return answer[0]


def batch(client: Client) -> int:
    questions = [{"q": client.words(), "k": 5} for _ in range(8)]
    questions.append({"embedding": [[1.0, 2.0]]})  # of no model
    body = json.dumps({"questions": questions}).encode()
    return client.ask("POST", "/api/search/batch", body, "application/json")


def upload(client: Client) -> int:
    fault = client.chance.random()
    size = client.chance.choice([(300, 200), (1200, 900), (4000, 3000)])
    picture = noise(client.chance.randint(0, 500), size, client.chance.choice(["JPEG", "PNG"]))
    if fault < 0.3:
        picture = picture[: len(picture) // 2]
    elif fault < 0.5:
        picture = client.chance.randbytes(5000)
    edge = "----edge"
    head = f'--{edge}\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    body = head.encode() + picture + f"\r\n--{edge}--\r\n".encode()
    return client.ask("POST", "/api/search", body, f"multipart/form-data; boundary={edge}")


def thumbnail(client: Client) -> int:
    search(client)
    size = client.chance.choice([160, 320, 640, 1600])
    return client.ask("GET", f"/api/photos/{client.id()}/thumbnail?size={size}")


def original(client: Client) -> int:
    search(client)
    return client.ask("GET", f"/api/photos/{client.id()}/original")


def zipped(client: Client) -> int:
    search(client)
    ids = urlencode([("id", id) for id in client.ids[:20]])
    return client.ask(client.chance.choice(["GET", "HEAD"]), f"/api/zip?{ids}")


def similar(client: Client) -> int:
    search(client)
    region = client.chance.choice(["", "&region=10%25,10%25,50%25,50%25"])
    return client.ask("GET", f"/api/photos/{client.id()}/similar?k=10{region}")


def look(client: Client) -> int:
    search(client)
    paths = (
        "/", "/api/status", "/api/facets", "/api/tags", "/openapi.json", "/readyz", "/metrics",
        f"/api/photos/{client.id()}", f"/api/photos/{client.id()}/labels",
        f"/api/photos/{client.id()}/duplicates", f"/api/photos/{client.id()}/exposure",
    )  # fmt: skip
    return client.ask("GET", client.chance.choice(paths))


def nonsense(client: Client) -> int:
    paths = (
        "/api/search?k=-1", "/api/search?near=nowhere", "/api/search?nothing=1",
        "/api/photos/999999999/original", "/api/photos/0", "/api/search?cursor=AAAA",
        "/../../etc/passwd", f"/api/search?{urlencode({'q': '(' * 900})}",
    )  # fmt: skip
    return client.ask("GET", client.chance.choice(paths))


def embed(client: Client) -> int:
    body = json.dumps({"texts": [client.words() for _ in range(5)]}).encode()
    status, content = client.answer("POST", "/api/embed", body, "application/json")
    if status == 200:
        row = json.loads(content)["embeddings"][0]
        asked = json.dumps({"embedding": [row], "k": 5}).encode()
        return client.ask("POST", "/api/search", asked, "application/json")
    return status


def listen(client: Client) -> int:
    with socket.create_connection(("127.0.0.1", client.server.port), PATIENCE) as listening:
        listening.sendall(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        listening.recv(4096)
        time.sleep(client.chance.random() * 5)
    return 200


def leave(client: Client) -> int:
    """Send a part of a request, or read a part of an answer, and go."""
    asked = client.chance.choice([
        b"GET /api/sea", b"GET /api/search?q=dog HTTP/1.1\r\nHost: loc",
        b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: 5000\r\n\r\n{",
        b"GET /api/search?k=500 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /api/photos/1/original HTTP/1.1\r\nHost: localhost\r\n\r\n",
        base64.b64encode(client.chance.randbytes(3000)),
    ])  # fmt: skip
    with socket.create_connection(("127.0.0.1", client.server.port), PATIENCE) as leaving:
        leaving.sendall(asked)
        if client.chance.random() < 0.5:
            leaving.settimeout(0.2)
            with suppress(TimeoutError):
                leaving.recv(100)
    return 0


KINDS: tuple[Ask, ...] = (
    search, search, follow, batch, upload, upload, thumbnail, original, zipped, similar, look,
    nonsense, embed, listen, listen, leave, leave,
)  # fmt: skip


def ask_on(
    kind: Ask,
    server: Server,
    photos: Path,
    is_over: threading.Event,
    answers: Counter[str],
    seed: int,
) -> None:
    client = Client(server, photos, seed)
    while not is_over.is_set():
        try:
            status = str(kind(client) or "left")
        except (OSError, HTTPException, ValueError) as error:
            status = type(error).__name__
            is_over.wait(0.2)
        answers[f"{kind.__name__} {status}"] += 1


if __name__ == "__main__":
    main()
