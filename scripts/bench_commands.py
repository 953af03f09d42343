"""What each command of every day takes in a large library, as a whole process and in one.

Usage: python scripts/bench_commands.py [PHOTOS] [--rounds N] [--folder DIR]

Makes a folder of 1,000,000 tiny files (4 GB on most file systems, and as much for the index) and
an index that knows them all, with the bundled model `pocket`: made-up embeddings, dates over
twenty years, twelve cameras, places for every other photo, titles for a third. Then prints, with
the median seconds and the most memory of each:

- commands as whole processes, beside `find DIR -type f -printf '%s %T@ %p\\n'`, in turns. Words are
  never asked for twice;
- what a program or a server does that has the library open, with the memory that it holds in the
  end.

`--folder` keeps what was made for the next run.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from bench_filters import AT_A_TIME, photo
from bench_scan import make_files
from bench_search import Photos
from PIL import Image

from clipsearch import Filters, Library, Question
from clipsearch.photos.scanning.walk import walk
from clipsearch.store.catalog import Catalog, Changes
from clipsearch.store.upkeep import renew_all

WORDS = ("black", "cat", "couch", "boat", "harbour", "child", "birthday", "mountain", "red", "snow")
FIND = "find"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=int, nargs="?", default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where all is kept; else thrown away")
    options = parser.parse_args()
    # As on most machines, where Python keeps the bytecode of what the programs import.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory(prefix="bench-commands-") as name:
        folder = (options.folder or Path(name)) / f"{options.photos}"
        os.environ["CLIPSEARCH_CACHE"] = str(folder / "cache")
        os.environ["CLIPSEARCH_INDEX"] = str(folder / "index")
        if not folder.exists():
            # Apart, since a process begins with the most memory of the one that starts it.
            with ProcessPoolExecutor(1, get_context("spawn")) as other:
                other.submit(make, folder, options.photos).result()
        compare(folder / "photos", options.photos, options.rounds)
        with Library.open(folder / "index", create=False) as library:
            measure(library, options.photos, options.rounds)


def make(folder: Path, count: int) -> None:
    """Files, and the index that a run over them would have made."""
    photos, index = folder / "photos", folder / "index"
    photos.mkdir(parents=True)
    picture(photos / "first.png", 0)
    run(clipsearch("index", str(photos), "--model", "pocket"))
    make_files(photos, count)
    with closing(Catalog.open(index)) as catalog:
        (root,), (model,) = catalog.roots(), catalog.models()
        embeddings = Photos(count, model.dim)
        found = sorted(walk(str(photos), "", lambda path, error: sys.exit(f"{path}: {error}")))
        files = [file for file in found if file.path.endswith(".JPG")]
        for start in range(0, count, AT_A_TIME):
            changes = Changes()
            some = files[start : start + AT_A_TIME]
            rows = embeddings.photos(len(some)).astype(np.float16)
            for number, file, row in zip(range(start, count), some, rows, strict=False):
                new = photo(root.id, number, count, file)
                changes.photos.append(new)
                changes.vectors.append((new.digest, row.tobytes()))
            catalog.write(model.id, changes)
        renew_all(index, catalog)


def compare(photos: Path, count: int, rounds: int) -> None:
    """Whole processes, in turns."""
    find = ["find", str(photos), "-type", "f", "-printf", r"%s %T@ %p\n"]
    anywhere = photos / "added"
    anywhere.mkdir(exist_ok=True)

    def one_new(turn: int) -> list[str]:
        picture(anywhere / f"{time.time_ns()}.png", turn)
        return clipsearch("index")

    commands: dict[str, Callable[[int], list[str]]] = {
        FIND: lambda turn: find,
        "index, nothing to do": lambda turn: clipsearch("index"),
        "index, one new photo": one_new,
        "query, new words": lambda turn: clipsearch("query", words(turn)),
        "query, new words, --since": lambda turn: clipsearch(
            "query", words(turn), "--since", f"2015-01-{turn + 2:02}"
        ),
        "query, new words, --camera": lambda turn: clipsearch(
            "query", words(turn), "--camera", f"model {turn % 10}"
        ),
        "query, words that titles have": lambda turn: clipsearch(
            "query", f"photo {turn + 40} {words(turn)}"
        ),
        "similar, a photo of the index": lambda turn: clipsearch(
            "similar", str(photos / "first.png")
        ),
        "ls, the first 100": lambda turn: clipsearch("ls", "-k", "100"),
        "ls, all in a pipe": lambda turn: clipsearch("ls"),
        "status": lambda turn: clipsearch("status"),
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    most: dict[str, float] = {}
    for turn in range(-1, rounds):  # the first round warms the disk's cache
        for name, command in commands.items():
            seconds, memory = run(command(turn + 1))
            if turn >= 0:
                times[name].append(seconds)
                most[name] = max(most.get(name, 0.0), memory)
    base = statistics.median(times[FIND])
    print(f"{count:,} photos, {os.cpu_count()} cores, medians of {rounds} rounds")
    print("| whole process | median | times find | most memory |\n|---|---|---|---|")
    for name, seconds_of in times.items():
        middle = statistics.median(seconds_of)
        print(
            f"| {name} | {middle:.2f} s | {middle / base:.2f} | {most[name]:.0f} MB |", flush=True
        )


def measure(library: Library, count: int, rounds: int) -> None:
    """What an open library does."""
    rng = np.random.default_rng(0)

    def asked(text: str, filters: Filters | None = None) -> None:
        library.answer([Question(text, filters=filters)])

    works: dict[str, Callable[[int], object]] = {
        "a question, new words": lambda turn: asked(words(turn)),
        "the same since 2015": lambda turn: asked(
            words(turn), Filters(since=f"2015-01-{turn + 2:02}")
        ),
        "the same of one camera": lambda turn: asked(
            words(turn), Filters(camera=f"model {turn % 10}")
        ),
        "words that titles have": lambda turn: asked(f"photo {turn + 140} {words(turn)}"),
        "all hits": lambda turn: library.answer([Question(words(turn), k=count)]),
        "facets": lambda turn: library.facets(),
        "photos, the first 100": lambda turn: library.photos(k=100),
        "photos, far behind": lambda turn: library.photos(
            k=100, offset=int(count * 5 // 6 + rng.integers(1000))
        ),
        "status": lambda turn: library.status(),
    }
    print("| in an open library | first | median of the others |\n|---|---|---|")
    for name, work in works.items():
        seconds = []
        for turn in range(rounds + 1):
            started = time.perf_counter()
            work(turn)
            seconds.append(time.perf_counter() - started)
        first, others = seconds[0], statistics.median(seconds[1:])
        print(f"| {name} | {first * 1e3:.0f} ms | {others * 1e3:.1f} ms |", flush=True)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(f"most memory of this process: {most:.0f} MB")


def words(turn: int) -> str:
    rng = np.random.default_rng(time.time_ns())
    return f"{' '.join(rng.permutation(WORDS)[:4])} {turn}"


def picture(file: Path, turn: int) -> None:
    pixels = np.random.default_rng(time.time_ns() + turn).integers(
        0, 256, (6, 8, 3), dtype=np.uint8
    )
    Image.fromarray(pixels).resize((640, 480), Image.Resampling.BICUBIC).save(file)


def clipsearch(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "clipsearch", *arguments]


def run(command: Sequence[str]) -> tuple[float, float]:
    """Seconds of a process, and the MB of its peak."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    if process.returncode is None:
        process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        sys.exit(f"{' '.join(command)} failed:\n{said.decode()}")
    return time.perf_counter() - started, used.ru_maxrss / 1e3


if __name__ == "__main__":
    main()
