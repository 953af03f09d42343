"""What it costs and gives to go past one process of one machine.

    python scripts/bench_scale.py [searching ...] [--rows N ...]

`searching`: milliseconds of one question to the files of an index (FAISS) and to a Milvus server
on this machine, without a filter and with filters that leave a half, a twelfth and a hundredth of
the photos; and how many of the ten best the engine finds. Embeddings are made up to resemble a
CLIP's, half of the questions are pictures and half words. Needs the groups `milvus` and `test`,
and the server's package (`pip install --no-deps milvus==2.3.5`).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from statistics import median

import numpy as np
from bench_search import DIM, Photos

from clipsearch.photos.facts import Facts
from clipsearch.search.filters import Filters, select
from clipsearch.store.catalog import Catalog, Changes, NewPhoto
from clipsearch.store.moving import move, opened
from clipsearch.store.vector_store import VectorStore, Within
from clipsearch.store.vectors import Matches

K = 10
QUESTIONS = 30  # of each kind
ROWS_AT_A_TIME = 10_000
SHARES = (50, 8, 1)  # percent of the photos: the width in pixels tells which


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument("--rows", type=int, nargs="*", default=[100_000, 500_000])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="scale-") as scratch:
        for part in options.parts:
            PARTS[part](options, Path(scratch))


def bench_searching(options: argparse.Namespace, scratch: Path) -> None:
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    import engine as engines

    os.environ["CLIPSEARCH_MILVUS_TOKEN"] = engines.TOKEN
    with engines.engine(scratch / "milvus") as engine:
        for count in options.rows:
            compare(count, scratch / f"{count}", f"milvus:{engine.address}")


def compare(count: int, folder: Path, address: str) -> None:
    """Print a table for so many rows."""
    folder.mkdir()
    made = Photos(count)
    with closing(Catalog.create(folder)) as catalog:
        write(catalog, made, count)
        (model,) = catalog.models()
        questions = np.concatenate([made.photos(QUESTIONS), made.words(QUESTIONS)])
        started = time.monotonic()
        move(folder, catalog, "faiss")
        print(f"\n{count:,} vectors: files in {time.monotonic() - started:.0f} s", end="")
        truth = ask(catalog, opened(folder, catalog, model), questions)
        started = time.monotonic()
        moved = move(folder, catalog, address)
        print(f", {moved.store} in {time.monotonic() - started:.0f} s\n")
        found = ask(catalog, opened(folder, catalog, model), questions)
        move(folder, catalog, "faiss")
    print("filter   FAISS ms   Milvus ms   recall@10: pictures   words")
    for share, (exact, exact_ms) in truth.items():
        matches, engine_ms = found[share]
        pictures, words = (
            recall(matches[:QUESTIONS], exact[:QUESTIONS]),
            recall(matches[QUESTIONS:], exact[QUESTIONS:]),
        )
        name = f"{share} %" if share < 100 else "none"
        print(f"{name:6} {exact_ms:10.1f} {engine_ms:11.1f} {pictures:21.3f} {words:7.3f}")


def write(catalog: Catalog, made: Photos, count: int) -> None:
    model = catalog.add_model("made-up", "made-up", "made-up", DIM, None)
    root = catalog.add_root("/photos")
    for start in range(0, count, ROWS_AT_A_TIME):
        rows = made.photos(min(ROWS_AT_A_TIME, count - start)).astype(np.float16)
        numbers = range(start, start + len(rows))
        photos = [
            NewPhoto(None, root.id, f"{n}.jpg", f"{n:064}", 1, 1, Facts(n % 100 + 1, 1))
            for n in numbers
        ]
        vectors = [(f"{n:064}", row.tobytes()) for n, row in zip(numbers, rows, strict=True)]
        catalog.write(model.id, Changes(vectors=vectors, photos=photos))


def ask(
    catalog: Catalog, store: VectorStore, questions: np.ndarray
) -> dict[int, tuple[list[Matches], float]]:
    """The answers and the median milliseconds, without a filter and for each of SHARES."""
    (model,) = catalog.models()
    answers = {}
    for share in (100, *SHARES):
        filters = Filters(min_size=f"{101 - share}")
        chosen = select(filters, catalog) if share < 100 else None
        matches, times = [], []
        for question in questions.astype(np.float32):
            started = time.perf_counter()
            within = Within(catalog, model, chosen) if chosen else None
            matches.append(store.search(question, K, within))
            times.append(1000 * (time.perf_counter() - started))
        answers[share] = matches, median(times)
    return answers


def recall(found: list[Matches], exact: list[Matches]) -> float:
    """How many of the exact answers are among those that were found."""
    pairs = zip(found, exact, strict=True)
    return float(np.mean([np.isin(right.ids, got.ids).mean() for got, right in pairs]))


PARTS = {"searching": bench_searching}

if __name__ == "__main__":
    main()
