"""What ten million photos cost the store, measured with embeddings that nobody took.

    python scripts/simulate_scale.py [--rows N ...] [--dim N] [--questions N] [--catalog N ...]
                                     [--scratch DIR] [--like INDEX]

For each number of `--rows`, 1,000,000 and 10,000,000 if none are given: writes so many embeddings
through the store, a batch at a time, builds the approximate index as `clipsearch optimize` does,
and prints tables of

- bytes on disk, seconds to write and to build, milliseconds to append 32 more, and the most memory
  of each step's process that is its own (RssAnon of /proc/self/status, looked at all along: pages
  that are mapped from files are not in it, and the system takes those back when it needs them);
- milliseconds of a first search when nothing of the files is in memory, and of one when all is;
- the recall@10 and @100 of the approximate index against exact search, for questions that are
  pictures and for words, without a filter and with ids that leave 50, 8 and 1 % of the photos,
  strewn evenly over the file. With a filter the store searches exactly in any case.

`--catalog N ...` does the same for catalogs of N photos (1,000,000) with dates, cameras, places,
perceptual hashes and embeddings: bytes a photo, selecting a filter's ids, and filling in the ten
photos of an answer. `--rows` or `--catalog` without a number leaves that part out.

What does not fit into the free memory or on the disk is not tried: a line says what is missing.

The embeddings are those of `bench_search.Photos`, to which `--like INDEX` compares an index of
real photos. What they resemble, each checked by that table:

- a cone, as CLIPs have (Levi and Gilboa, The Double-Ellipsoid Geometry of CLIP, 2025): two photos
  have a cosine of 0.5 by what all photos have in common. The `pocket` model has none, so the rest
  is compared with the mean taken off;
- anisotropy: the variance around the mean is that of about 30 directions and not of 512, and half
  of it lies in the largest ten. So it is with Flickr8k and `pocket`;
- clusters of all sizes: 50 photos each on average, the n-th largest as large as n to the power of
  -0.7, and 15 % of the photos in none; each photo as near to its cluster's middle as chance will.
  The nearest neighbours' cosines spread more widely than those of Flickr8k, and some photos are
  the neighbours of more others: they are somewhat more clustered;
- words lie on a cone of their own, at cosines of about 0.2 to any photo and 0.4 to the best. No
  CLIP was at hand to compare these with.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from bench_search import DIM, Photos, unit

from clipsearch.photos.facts.facts import Facts
from clipsearch.search.filtering.filters import Filters, select
from clipsearch.store.catalog import Catalog, Changes, NewPhoto
from clipsearch.store.vectors.approximate.building import build
from clipsearch.store.vectors.approximate.index import ApproximateIndex, faster
from clipsearch.store.vectors.file import VectorFile
from clipsearch.store.vectors.matches import Matches
from clipsearch.store.vectors.store import Within
from clipsearch.store.vectors.sync import file_to_search

ROWS_AT_A_TIME = 16_384
ROWS_MADE_UP = 1000  # embeddings that a catalog repeats
APPENDED = 32  # a batch of an index run
SHARES = (100, 50, 8, 1)  # percent of the photos that a filter leaves
SPARE = 1 << 30  # bytes of memory and disk that are left to others
BYTES_A_PHOTO = 3500  # of a catalog with 1,024-byte embeddings, while it is written
YEARS, EPOCH = 20, datetime(2005, 1, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="*", default=[1_000_000, 10_000_000])
    parser.add_argument("--catalog", type=int, nargs="*", default=[1_000_000])
    parser.add_argument("--dim", type=int, default=DIM)
    parser.add_argument("--questions", type=int, default=20, help="of each kind")
    parser.add_argument("--scratch", type=Path, help="where the files are, until they are deleted")
    parser.add_argument("--like", type=Path, metavar="INDEX", help="compare with real photos")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {options.dim} dimensions")
    if options.like:
        show_resemblance(options.like)
    with tempfile.TemporaryDirectory(prefix="simulate-", dir=options.scratch) as name:
        for count in sorted(options.rows):
            simulate_vectors(Path(name), count, options.dim, options.questions)
        for count in sorted(options.catalog):
            simulate_catalog(Path(name), count, options.dim)


def check_room(what: str, folder: Path, disk: int, memory: int) -> None:
    """End the program where something would not fit."""
    for name, needed, free in (
        ("disk space", disk, shutil.disk_usage(folder).free),
        ("memory", memory, free_memory()),
    ):
        if needed + SPARE > free:
            sys.exit(
                f"{what} need {(needed + SPARE) / 1e9:.1f} GB of {name}, and {free / 1e9:.1f} GB"
                " are free: not tried"
            )


def free_memory() -> int:
    return status("MemAvailable", "/proc/meminfo")


def status(name: str, path: str = "/proc/self/status") -> int:
    """A number of bytes that Linux tells."""
    (line,) = (line for line in Path(path).read_text().splitlines() if line.startswith(name + ":"))
    return 1024 * int(line.split()[1])


# Vectors


@dataclass(frozen=True)
class Built:
    write_seconds: float
    append_ms: float
    build_seconds: float
    write_memory: int
    build_memory: int
    rows_bytes: int
    index_bytes: int
    candidates: int


@dataclass(frozen=True)
class Searched:
    share: int  # percent of the photos that a filter leaves
    exact_ms: float
    approximate_ms: float
    recalls: dict[tuple[str, int], float]  # by the kind of question and k


@dataclass(frozen=True)
class Answers:
    open_ms: float
    memory: dict[str, int]
    warm: list[Searched]


def simulate_vectors(folder: Path, count: int, dim: int, questions: int) -> None:
    rows_bytes = count * (2 * dim + 8)
    # A warm exact search is one with all rows in memory; the made-up clusters take some, too.
    check_room(f"{count:,} rows", folder, rows_bytes + count * dim // 4, rows_bytes)
    stem = folder / f"{count}"
    writing = fresh_process(write_vectors, stem, count, dim, questions)
    built = fresh_process(build_index, stem, dim, *writing)
    cold = {how: fresh_process(first_search, stem, dim, how) for how in ("exact", "approximate")}
    answers = fresh_process(search_vectors, stem, dim)
    show_vectors(count, built, cold, answers)
    VectorFile(stem, dim).delete()


def write_vectors(stem: Path, count: int, dim: int, questions: int) -> tuple[float, float, int]:
    """Gives the seconds to write, the milliseconds of one batch more, and the store's memory."""
    photos, file, seconds = Photos(count, dim), VectorFile(stem, dim), 0.0
    rows = photos.photos(ROWS_AT_A_TIME).astype(np.float16)
    base, most = status("RssAnon"), 0
    for start in range(0, count, ROWS_AT_A_TIME):
        rows = photos.photos(min(ROWS_AT_A_TIME, count - start)).astype(np.float16)
        ids = np.arange(start, start + len(rows)) + 1
        with own_memory() as peak:
            seconds += timed(lambda ids=ids, rows=rows: file.add(ids, rows))[0]
        most = max(most, peak[0] - base)
    appended = [
        timed(lambda first=first: file.add(np.arange(first, first + APPENDED), rows[:APPENDED]))[0]
        for first in range(count + 1, count + 1 + 9 * APPENDED, APPENDED)
    ]
    np.savez(questions_of(stem), pictures=photos.photos(questions), words=photos.words(questions))
    return seconds, 1000 * median(appended), most


def build_index(
    stem: Path, dim: int, write_seconds: float, append_ms: float, write_memory: int
) -> Built:
    file = VectorFile(stem, dim)
    with own_memory() as peak:
        seconds, (index, _) = timed(lambda: build(file))
    return Built(
        write_seconds, append_ms, seconds, write_memory, peak[0],
        file.rows_path.stat().st_size + file.ids_path.stat().st_size,
        file.ann_path.stat().st_size, index.header.candidates,
    )  # fmt: skip


def first_search(stem: Path, dim: int, how: str) -> float:
    """Milliseconds from opening to the first answer, with the files out of memory before."""
    paths = [stem.with_name(stem.name + ending) for ending in (".f16", ".ids", ".ann")]
    for path in paths:
        forget(path)
    words = questions(stem)["words"]

    def ask() -> object:
        file = VectorFile(stem, dim)
        return (file if how == "exact" else faster(file)).search(words[0], 10)

    return 1000 * timed(ask)[0]


def search_vectors(stem: Path, dim: int) -> Answers:
    asked = questions(stem)
    read_ahead(stem.with_name(stem.name + ".f16"))
    open_seconds = median(timed(lambda: VectorFile(stem, dim))[0] for _ in range(5))
    file = VectorFile(stem, dim)
    index = faster(file)
    both = np.concatenate(list(asked.values()))
    memory = {}
    for name, searched in (("exact", file), ("approximate", index)):
        with own_memory() as peak:
            searched.search(both[0], 10)
        memory[name] = peak[0]
    with own_memory() as peak:
        warm = [search_within(file, index, asked, share) for share in SHARES]
    return Answers(1000 * open_seconds, memory | {"filtered": peak[0]}, warm)


def search_within(
    file: VectorFile,
    index: VectorFile | ApproximateIndex,
    asked: dict[str, np.ndarray],
    share: int,
) -> Searched:
    chosen = np.random.default_rng(share).random(len(file.ids)) < share / 100
    within = file.ids[chosen] if share < 100 else None
    times: dict[str, list[float]] = {"exact": [], "approximate": []}
    recalls = {}
    for kind, rows in asked.items():
        for k in (10, 100):
            shares = []
            for question in rows:
                exact_seconds, true = timed(lambda q=question, k=k: file.search(q, k, within))
                seconds, found = timed(lambda q=question, k=k: index.search(q, k, within))
                shares.append(recall(found, true))
                if k == 10:
                    times["exact"].append(1000 * exact_seconds)
                    times["approximate"].append(1000 * seconds)
            recalls[kind, k] = float(np.mean(shares))
    return Searched(share, median(times["exact"]), median(times["approximate"]), recalls)


def recall(found: Matches, true: Matches) -> float:
    """How much of the exact answer was found; of photos that score the same any will do."""
    return float((found.scores >= true.scores[-1] - 1e-6).sum()) / len(true.scores)


def show_vectors(count: int, built: Built, cold: dict[str, float], answers: Answers) -> None:
    print(f"\n## {count:,} rows\n")
    print("| rows | fp16 rows and ids | approximate index | written in | one batch more "
          "| index built in |\n|---|---|---|---|---|---|")  # fmt: skip
    print(
        f"| {count:,} | {built.rows_bytes / 1e6:,.0f} MB | {built.index_bytes / 1e6:,.0f} MB"
        f" | {built.write_seconds:.1f} s | {built.append_ms:.1f} ms | {built.build_seconds:.0f} s |"
    )
    print("\n| memory of its own | writing | building | exact search | approximate search "
          "| with filters |\n|---|---|---|---|---|---|")  # fmt: skip
    numbers = [built.write_memory, built.build_memory, *answers.memory.values()]
    print("| | " + " | ".join(f"{number / 1e6:,.0f} MB" for number in numbers) + " |")
    print("\n| opening | first search, nothing in memory: exact | approximate | candidates |")
    print("|---|---|---|---|")
    print(
        f"| {answers.open_ms:.1f} ms | {cold['exact'] / 1000:.1f} s"
        f" | {cold['approximate'] / 1000:.1f} s | {built.candidates} |"
    )
    print("\n| filter leaves | exact | approximate | recall@10: pictures | words "
          "| recall@100: pictures | words |\n|---|---|---|---|---|---|---|")  # fmt: skip
    for row in answers.warm:
        name = f"{row.share} %" if row.share < 100 else "all"
        recalls = [row.recalls[kind, k] for k in (10, 100) for kind in ("pictures", "words")]
        print(
            f"| {name} | {row.exact_ms:.1f} ms | {row.approximate_ms:.1f} ms | "
            + " | ".join(f"{share:.3f}" for share in recalls) + " |", flush=True,
        )  # fmt: skip


# Catalog


@dataclass(frozen=True)
class Asked:
    """Milliseconds, with nothing of the file in memory and again."""

    first: float
    again: float


def simulate_catalog(folder: Path, count: int, dim: int) -> None:
    size = count * (BYTES_A_PHOTO - 1024 + 2 * dim)
    check_room(f"{count:,} photos", folder, size, 0)
    where = folder / f"catalog-{count}"
    where.mkdir()
    written = fresh_process(write_catalog, where, count, dim)
    asked = fresh_process(ask_catalog, where, count)
    show_catalog(count, *written, asked)
    shutil.rmtree(where)


def write_catalog(folder: Path, count: int, dim: int) -> tuple[float, int, int]:
    """Gives the seconds, the bytes of the file, and those of it that are embeddings."""
    started, rng = time.perf_counter(), np.random.default_rng(0)
    with closing(Catalog.create(folder)) as catalog:
        model = catalog.add_model("made-up", "made-up", "made-up", dim, None)
        root = catalog.add_root("/photos")
        rows = rng.standard_normal((ROWS_MADE_UP, dim), np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        blobs = [row.tobytes() for row in rows.astype(np.float16)]
        for start in range(0, count, ROWS_AT_A_TIME):
            numbers = range(start, min(start + ROWS_AT_A_TIME, count))
            photos = [new_photo(number, count, root.id) for number in numbers]
            digests = [photo.digest for photo in photos]
            catalog.write(model.id, Changes(
                vectors=[(digest, blobs[at % ROWS_MADE_UP]) for at, digest in enumerate(digests)],
                pictures=[(digest, rng.bytes(8)) for digest in digests],
                photos=photos,
            ))  # fmt: skip
        seconds = time.perf_counter() - started
    return seconds, (folder / "catalog.db").stat().st_size, count * 2 * dim


def new_photo(number: int, count: int, root_id: int) -> NewPhoto:
    """One of a series over YEARS; half of them know where they were taken."""
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    taken = EPOCH + timedelta(days=365.25 * YEARS) * (number / count)
    facts = Facts(
        4032, 3024, taken.isoformat(timespec="seconds"), f"Maker Model {number // 50_000 % 12}",
        *((number % 180 - 90.0, number % 360 - 180.0) if number % 2 else (None, None)),
        "exif", "a lens of 26 mm f/1.5", 1,
    )  # fmt: skip
    path = f"{taken:%Y/%Y-%m}/IMG_{number:08}.jpg"
    return NewPhoto(None, root_id, path, digest, 3_000_000 + number % 4096, 1, facts)


def ask_catalog(folder: Path, count: int) -> dict[str, Asked]:
    """What a query asks a catalog for, each from a connection of its own."""
    rng = np.random.default_rng(1)
    hits = [[int(id) for id in rng.integers(1, count + 1, 10)] for _ in range(5)]

    def opening(catalog: Catalog, turn: int) -> object:
        return catalog.fingerprint(catalog.models()[0].id), catalog.last_vector_id()

    def filling_in(catalog: Catalog, turn: int) -> object:
        return catalog.photos_of_vectors(hits[turn])

    def selecting(share: int) -> Callable[[Catalog, int], object]:
        since = EPOCH + timedelta(days=365.25 * YEARS) * (1 - share / 100)

        def ids(catalog: Catalog, turn: int) -> object:
            chosen = select(Filters(since=f"{since:%Y-%m-%d}"), catalog)
            assert chosen is not None
            return Within(catalog, catalog.models()[0], chosen).ids

        return ids

    questions = {
        "seeing whether vectors are missing": opening,
        "ten photos of an answer": filling_in,
    }
    questions |= {f"ids of the latest {share} %": selecting(share) for share in SHARES[1:]}
    return {name: asked_of(folder, ask) for name, ask in questions.items()}


def asked_of(folder: Path, ask: Callable[[Catalog, int], object]) -> Asked:
    forget(folder / "catalog.db")
    with closing(Catalog.open(folder)) as catalog:
        times = [1000 * timed(lambda turn=turn: ask(catalog, turn))[0] for turn in range(5)]
    return Asked(times[0], median(times[1:]))


def show_catalog(
    count: int, seconds: float, size: int, of_vectors: int, asked: dict[str, Asked]
) -> None:
    print(f"\n## A catalog of {count:,} photos\n")
    print("| bytes a photo | of these embeddings | written in | photos a second |")
    print("|---|---|---|---|")
    print(
        f"| {size / count:,.0f} | {of_vectors / count:,.0f} | {seconds:.0f} s"
        f" | {count / seconds:,.0f} |"
    )
    print("\n| question | nothing in memory | again |\n|---|---|---|")
    for name, times in asked.items():
        print(f"| {name} | {times.first:,.1f} ms | {times.again:,.1f} ms |", flush=True)


# Resemblance


def show_resemblance(folder: Path) -> None:
    """Real embeddings beside as many made-up ones."""
    with closing(Catalog.open(folder)) as catalog:
        model = catalog.models()[0]
        real = file_to_search(folder, catalog, model).rows.astype(np.float32)
    made = Photos(len(real), real.shape[1])
    even = unit(np.random.default_rng(0).standard_normal(real.shape, np.float32))
    print(f"\n## {len(real):,} photos of {model.spec}, and as many made up\n")
    print("| embeddings | mean cosine | directions | largest 10 | nearest neighbour: 1 in 10 below "
          "| median | 1 in 10 above | hubs |\n|---|---|---|---|---|---|---|---|")  # fmt: skip
    for name, rows in (("real", real), ("made up", made.photos(len(real))), ("noise", even)):
        mean = rows.mean(0)
        around = unit(rows - mean)
        cosines = around @ around.T
        np.fill_diagonal(cosines, -1)
        nearest = cosines.max(1)
        low, middle, high = np.quantile(nearest, [0.1, 0.5, 0.9])
        variances = np.linalg.eigvalsh(np.cov((rows - mean).T))[::-1]
        directions = variances.sum() ** 2 / (variances**2).sum()
        # How often the photo that is a neighbour of most others is among their ten nearest.
        tenth = np.argpartition(-cosines, 10, axis=1)[:, :10]
        print(
            f"| {name} | {mean @ mean:.2f} | {directions:.0f}"
            f" | {variances[:10].sum() / variances.sum():.0%} | {low:.2f} | {middle:.2f}"
            f" | {high:.2f} | {np.bincount(tenth.ravel()).max()} |"
        )


# Measuring


def fresh_process(function: Callable[..., Any], *arguments: object) -> Any:
    """What a function gives in a process of its own, so that memory and caches are its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """The seconds that something took, and what it gave."""
    started = time.perf_counter()
    given = function()
    return time.perf_counter() - started, given


@contextmanager
def own_memory() -> Iterator[list[int]]:
    """The most of this process's memory that is mapped from no file, in bytes, as item 0."""
    peak, ended = [status("RssAnon")], threading.Event()

    def watch() -> None:
        while not ended.wait(0.005):
            peak[0] = max(peak[0], status("RssAnon"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        ended.set()
        watcher.join()
        peak[0] = max(peak[0], status("RssAnon"))


def questions_of(stem: Path) -> Path:
    return stem.with_suffix(".npz")


def questions(stem: Path) -> dict[str, np.ndarray]:
    with np.load(questions_of(stem)) as held:
        return {kind: held[kind].astype(np.float32) for kind in ("pictures", "words")}


def forget(path: Path) -> None:
    """Have the system drop what it holds of a file in memory, so that it is read from disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_ahead(path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        while file.read(1 << 24):
            pass


if __name__ == "__main__":
    main()
