"""What a server makes of its model and its search, in a library of many photos.

Starts `clipsearch serve` on an index whose embeddings are random and asks it over HTTP from a
process of its own, with 1, 8 and 32 clients that each ask again when they have their answer, always
with words that were not asked before. In between, the same questions are answered by the model
and the search alone, without HTTP: by as many threads as there are cores, each with its share of
the clients' questions at once; `model` is the share of that time that the model takes. All take
turns, round by round, since a shared machine's speed drifts.

    python scripts/bench_serve.py [PHOTOS] [--rounds N] [--seconds S] [--requests N]
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path
from urllib.parse import quote

from bench_cold import WORDS, fill_index, run
from peers import MODEL, make_weights
from PIL import Image

from clipsearch import Library
from clipsearch.encoders.onnx.texts import ExportedTexts
from clipsearch.search.answers import Question

CLIENTS = (1, 8, 32)
K = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=int, nargs="?", default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of one measurement")
    parser.add_argument("--requests", type=int, default=10_000, help="for the memory; 0: none")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        bench(options, Path(scratch))


def bench(options: argparse.Namespace, scratch: Path) -> None:
    os.environ["CLIPSEARCH_CACHE"] = str(scratch / "cache")
    weights = make_weights(scratch / "weights.safetensors")
    folder, index = scratch / "pictures", scratch / "index"
    folder.mkdir()
    Image.new("RGB", (64, 64), "red").save(folder / "red.jpg")
    clipsearch = [sys.executable, "-m", "clipsearch"]
    run([*clipsearch, "index", str(folder), "--index", str(index), "--model", f"{MODEL}:{weights}"])
    fill_index(index, folder, options.photos)
    served = subprocess.Popen(
        [*clipsearch, "serve", "--index", str(index), "--port", "0"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert served.stderr is not None
        port = int(served.stderr.readline().split("/")[2].rpartition(":")[2])
        compare(index, port, options)
        if options.requests:
            memory(port, served.pid, options.requests)
    finally:
        served.terminate()
        served.wait()


def compare(index: Path, port: int, options: argparse.Namespace) -> None:
    print(f"{options.photos:,} photos, {MODEL}, {options.rounds} rounds, {os.cpu_count()} cores")
    print("| clients | requests/s | alone/s | share | model | p50 | p95 | p99 |")
    print("|---|---|---|---|---|---|---|---|")
    first = Library.open(index, create=False)
    first.stay()
    first.load()
    number = count()
    ask(port, 8, 2.0, next(number))  # warms both
    alone(first, answer, 8, 2.0, next(number))
    (exported,) = Path(os.environ["CLIPSEARCH_CACHE"], "text").iterdir()
    tower = ExportedTexts(exported, stay=True)
    for clients in CLIENTS:
        times, rates, bounds, models = [], [], [], []
        for _ in range(options.rounds):
            bounds.append(alone(first, answer, clients, options.seconds, next(number)))
            embed = alone(
                first, lambda _, texts: tower.encode_texts(texts), clients, options.seconds / 2,
                next(number),
            )  # fmt: skip
            models.append(bounds[-1] / embed)
            took = ask(port, clients, options.seconds, next(number))
            rates.append(len(took) / options.seconds)
            times += took
        share = statistics.median(rate / bound for rate, bound in zip(rates, bounds, strict=True))
        cuts = [1000 * cut for cut in statistics.quantiles(times, n=100)]
        print(
            f"| {clients} | {statistics.median(rates):.1f} | {statistics.median(bounds):.1f}"
            f" | {share:.0%} | {statistics.median(models):.0%}"
            f" | {cuts[49]:.0f} ms | {cuts[94]:.0f} ms | {cuts[98]:.0f} ms |",
            flush=True,
        )
    first.close()


def answer(library: Library, texts: list[str]) -> object:
    return library.answer([Question(text, k=K) for text in texts])


def alone(
    first: Library,
    do: Callable[[Library, list[str]], object],
    clients: int,
    seconds: float,
    seed: int,
) -> float:
    """Questions a second without HTTP: of the model and the search, or of the model."""
    threads = min(clients, os.cpu_count() or 1)
    end, done = time.perf_counter() + seconds, [0] * threads

    def work(place: int) -> None:
        texts = questions(f"alone {seed} {place}")
        together = clients // threads
        with first.twin() as library:
            while time.perf_counter() < end:
                do(library, list(islice(texts, together)))
                done[place] += together

    workers = [threading.Thread(target=work, args=[place]) for place in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(done) / (time.perf_counter() - end + seconds)


def ask(port: int, clients: int, seconds: float, seed: int, most: int = sys.maxsize) -> list[float]:
    """Seconds that each request took, asked from a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_asked, (port, clients, seconds, seed, most))


def _asked(port: int, clients: int, seconds: float, seed: int, most: int) -> list[float]:
    return asyncio.run(_ask(port, clients, seconds, seed, most))


async def _ask(port: int, clients: int, seconds: float, seed: int, most: int) -> list[float]:
    times: list[float] = []
    end = time.perf_counter() + seconds

    async def client(number: int) -> None:
        # A bare socket: a client library would take as much of the cores as the server.
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for text in questions(f"http {seed} {number}"):
            if time.perf_counter() > end or len(times) >= most:
                break
            started = time.perf_counter()
            path = f"/api/search?q={quote(text)}&k={K}"
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            length = head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]
            await reader.readexactly(int(length))
            times.append(time.perf_counter() - started)
        writer.close()

    await asyncio.gather(*(client(number) for number in range(clients)))
    return times


def questions(seed: str) -> Iterator[str]:
    """Words that were not asked before: 8 to 12 tokens, as people ask."""
    for number in count():
        start = number % len(WORDS)
        yield f"a photo of {' '.join((WORDS * 2)[start : start + 3])} {seed} {number}"


def memory(port: int, pid: int, requests: int) -> None:
    print()
    asked = 0
    for goal in (requests // 10, requests):
        asked += len(ask(port, 32, 3600, 1_000_000 + goal, goal - asked))
        print(f"after {asked:,} requests the server has {resident(pid):.0f} MB in memory")


def resident(pid: int) -> float:
    """MB of a process's memory that are its own and not files that it has mapped."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    raise OSError("the kernel does not say")


if __name__ == "__main__":
    main()
