"""What a question costs among some photos, beside what it costs among all.

Usage: python scripts/bench_filters.py [PHOTOS] [--rounds N] [--folder DIR]

Makes an index of 300,000 photos that are not there (1 GB on disk), with dates over twenty years,
twelve cameras, places for every other photo and folders of 200. Then prints how long `answer`
takes without a filter and with one of each kind, in turns, so that other work on the machine slows
all of them; and how long facets, counts and pages of `ls` take. No filter is asked for twice, so
that nothing of it is remembered. `--folder` keeps the index for the next run.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from bench_search import DIM, Photos

from clipsearch import Facts, Filters, Library, Question
from clipsearch.photos.scanning.listing import Found
from clipsearch.store.catalog import Catalog, Changes, NewPhoto
from clipsearch.store.upkeep import renew_all

AT_A_TIME = 10_000
BEGIN, DAYS = datetime(2005, 1, 1), 20 * 365.25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=int, nargs="?", default=300_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--folder", type=Path, help="where the index is kept; else thrown away")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-filters-") as name:
        index = (options.folder or Path(name)) / f"{options.photos}"
        if not index.exists():
            make(index, options.photos)
        with Library.open(index, create=False) as library:
            measure(library, options.photos, options.rounds)


def make(index: Path, count: int) -> None:
    index.mkdir(parents=True)
    photos = Photos(count)
    with closing(Catalog.create(index)) as catalog:
        root = catalog.add_root("/photos").id
        model = catalog.add_model("made-up", "made-up", "made-up", DIM, None)
        for start in range(0, count, AT_A_TIME):
            numbers = range(start, min(start + AT_A_TIME, count))
            rows = photos.photos(len(numbers)).astype(np.float16)
            some = [photo(root, number, count) for number in numbers]
            vectors = [(it.digest, row.tobytes()) for it, row in zip(some, rows, strict=True)]
            catalog.write(model.id, Changes(photos=some, vectors=vectors))
        renew_all(index, catalog)


def photo(root: int, number: int, count: int, file: Found | None = None) -> NewPhoto:
    """The one of this number, of a file that is there or of one that is not."""
    taken = BEGIN + timedelta(days=DAYS * number / count)
    place = (number * 7 % 180 - 90.0, number * 13 % 360 - 180.0) if number % 2 else (None, None)
    facts = Facts(
        4032, 3024, taken.isoformat(timespec="seconds"), f"Model {12 * number // count}", *place,
        "exif", title=f"photo {number % 256}" if number % 3 == 0 else None,
    )  # fmt: skip
    path = file.path if file else f"{number // 2400:03}/{number // 200:05}/IMG_{number:07}.JPG"
    size, mtime_ns = (file.size, file.mtime_ns) if file else (1, 1)
    digest = hashlib.sha256(path.encode()).hexdigest()
    return NewPhoto(None, root, path, digest, size, mtime_ns, facts)


def filters(turn: int) -> dict[str, Filters | None]:
    """One of each kind; another at each turn, which leaves as many."""
    day, early = f"{turn % 28 + 1:02}", f"19{turn % 100:02}"
    return {
        "none": None,
        "date, leaves 50 %": Filters(since=f"2015-01-{day}"),
        "date, 10 %": Filters(since=f"2023-01-{day}"),
        "date, 1 %": Filters(since=f"2024-10-{day}"),
        "place known, 50 %": Filters(has="gps", since=early),
        "place, within 300 km": Filters(near=f"{turn},10", within="300km"),
        "place, within 5,000 km": Filters(near=f"{turn},10", within="5000km"),
        "camera, 8 %": Filters(camera=f"model {turn % 10}", until=f"20{50 + turn}"),
        "folder": Filters(folder=f"/photos/{turn:03}"),
        "title, 33 %": Filters(has="title", since=early),
        "size, 100 %": Filters(min_size="8MP", since=early),
        "shape, 100 %": Filters(orientation="landscape", since=early),
        "kind, 100 %": Filters(type="jpeg", since=early),
        "five together, 7 %": Filters(
            has=("gps", "title"), since=early, until="2018", camera="model", type="jpeg",
            orientation="landscape",
        ),
    }  # fmt: skip


def measure(library: Library, count: int, rounds: int) -> None:
    row = np.random.default_rng(0).standard_normal(DIM).astype(np.float32)
    row /= np.linalg.norm(row)

    def ask(chosen: Filters | None) -> None:
        library.answer([Question(pictures=[row], filters=chosen)])

    show("filter", timed(ask, map(filters, range(rounds + 1))))
    others: dict[str, Callable[[], object]] = {
        "facets": lambda: library.facets(),
        "count since 2015": lambda: library.count(since="2015"),
        "the first 10 of ls": lambda: library.photos(k=10),
        "10 of ls, far behind": lambda: library.photos(k=10, offset=count * 5 // 6),
    }
    show("other", timed(lambda ask: ask(), (others for _ in range(rounds + 1))))


def timed(ask: Callable[[Any], object], turns: Iterable[dict[str, Any]]) -> dict[str, list[float]]:
    """The seconds that each took at each turn but the first."""
    times: dict[str, list[float]] = {}
    for turn in turns:
        for name, what in turn.items():
            started = time.perf_counter()
            ask(what)
            times.setdefault(name, []).append(time.perf_counter() - started)
    return {name: seconds[1:] for name, seconds in times.items()}


def show(what: str, times: dict[str, list[float]]) -> None:
    base = statistics.median(times[next(iter(times))])
    print(f"\n| {what} | median | of the first |\n|---|---|---|")
    for name, seconds in times.items():
        middle = statistics.median(seconds)
        print(f"| {name} | {middle * 1e3:.1f} ms | {middle / base:.2f} |", flush=True)


if __name__ == "__main__":
    main()
