"""Building an approximate index: of which vectors, with how many candidates, and how good it is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

import numpy as np

from clipsearch.errors import InvalidInput, LibraryError
from clipsearch.progress import Progress, untold
from clipsearch.replacing import put_in_place
from clipsearch.store.vectors.approximate.format import BLOCK, Header, codes_start, write_header
from clipsearch.store.vectors.approximate.index import MAX_SHARE, NEAREST, ApproximateIndex, load
from clipsearch.store.vectors.approximate.scanner import Scanner, new_index, padded
from clipsearch.store.vectors.faiss_import import import_faiss, threads
from clipsearch.store.vectors.file import VectorFile
from clipsearch.store.vectors.matches import Matches, scored

ROWS_A_BATCH = 16_384  # encoded at a time
ROWS_TO_TRAIN = 4096  # FAISS looks at no more for 16 centroids
MIN_ROWS = 1000

QUESTIONS = 100  # asked when the index is built, to see how many candidates are needed
# What is reached with those questions before the candidates are doubled for good measure.
RECALL = 0.995
MIN_CANDIDATES = 64
LIMITS = (1000, 4000, 16_000, 64_000)  # of candidates that are tried, in turn
# How much nearer than to chance a question in words is to what it asks for, as a cosine.
WORDS_COSINE = 0.35
# What came after the build is searched exactly; with more than this share of it, it is renewed.
GROWTH = 0.2

# Exact search that takes no longer needs no help.
FAST_ENOUGH_MS = 100


@dataclass(frozen=True, slots=True)
class Optimized:
    """What `optimize` found and did for the vectors of one model."""

    spec: str
    vectors: int
    exact_ms: float  # of one exact search, in memory
    built: bool  # False where exact search needs no help
    approximate_ms: float | None = None  # of one approximate search
    recall: float | None = None  # at 10, of questions made up from the rows
    bytes: int = 0  # of the approximate index on disk
    seconds: float = 0.0  # that building it took


def optimize(
    spec: str, vectors: VectorFile, force: bool = False, progress: Progress | None = None
) -> Optimized:
    """Build an approximate index if exact search takes long, or in any case by `force`.

    Raises:
        InvalidInput, LibraryError: the vectors are too few, or cannot be told apart by codes.
    """
    count, started = len(vectors.ids), time.monotonic()
    questions = vectors.scattered[_sample(count, 7)].astype(np.float32)
    exact_ms = _milliseconds(vectors.search, questions)
    if (exact_ms <= FAST_ENOUGH_MS or count < MIN_ROWS) and not force:
        return Optimized(spec, count, exact_ms, False)
    index, recall = build(vectors, progress)
    seconds = round(time.monotonic() - started, 1)
    return Optimized(
        spec, count, exact_ms, True, _milliseconds(index.search, questions), recall,
        vectors.ann_path.stat().st_size, seconds,
    )  # fmt: skip


def _milliseconds(search: Callable[[np.ndarray, int], Matches], questions: np.ndarray) -> float:
    """The median of several searches; what the disk holds is read into memory by the first."""
    times = []
    for question in questions:
        started = time.perf_counter()
        search(question, NEAREST)
        times.append(time.perf_counter() - started)
    return round(1000 * float(np.median(times)), 1) if times else 0.0


def renew(vectors: VectorFile) -> None:
    """Build an approximate index that is of little use by now again; drop it if that fails."""
    if not vectors.ann_path.exists():
        return
    index = load(vectors, vectors.ann_path)
    if index and len(vectors.ids) - index.header.count <= GROWTH * len(vectors.ids):
        return
    try:
        build(vectors)
    except (InvalidInput, LibraryError):  # too few by now, or too much alike
        vectors.ann_path.unlink()


def build(vectors: VectorFile, progress: Progress | None = None) -> tuple[ApproximateIndex, float]:
    """Write the approximate index of all vectors, and give it with its recall@10.

    The recall is that of questions made up from the rows: half are pictures, half are as far
    from all pictures as words are. `progress` gets what is done and its total. The file is put in
    place when it is complete, so that whatever stops this leaves an older one as it was.

    Raises:
        InvalidInput: there are too few vectors.
        LibraryError: the vectors cannot be told apart by codes.
    """
    if len(vectors.ids) < MIN_ROWS:
        raise InvalidInput(
            f"an approximate index needs {MIN_ROWS} photos or more, and there are"
            f" {len(vectors.ids)}; exact search needs no help with them"
        )
    path = vectors.ann_path
    fresh = path.with_suffix(".ann.new")
    show = progress or untold
    try:
        fresh.unlink(missing_ok=True)  # of a build that was killed
        centroids = _trained(vectors)
        header = _write_codes(vectors, fresh, centroids, show)
        write_header(fresh, header, centroids)
        draft = load(vectors, fresh)
        if draft is None:
            raise LibraryError(
                "these vectors do not survive being rounded to 4-bit codes, so exact search"
                " stays in use"
            )
        candidates, recall = _measured(draft, show)
        write_header(fresh, replace(header, candidates=candidates), centroids)
        put_in_place(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
    index = load(vectors, path)
    assert index is not None
    return index, recall


def _trained(vectors: VectorFile) -> np.ndarray:
    """Centroids, (dim / 2, 16, 2) float32, of a sample of the rows."""
    rows = vectors.scattered[_sample(len(vectors.ids), ROWS_TO_TRAIN)]
    index = new_index(vectors.dim)
    with threads(1) as pool:
        pool.submit(index.train, padded(rows.astype(np.float32))).result()
    centroids: np.ndarray = import_faiss().vector_to_array(index.pq.centroids)
    return centroids.reshape(-1, 16, 2)


def _write_codes(vectors: VectorFile, path: Path, centroids: np.ndarray, show: Progress) -> Header:
    count = len(vectors.ids) // BLOCK * BLOCK
    cores = os.cpu_count() or 1

    def encoded(start: int) -> bytes:
        return Scanner(centroids).encode(vectors.rows[start : min(start + ROWS_A_BATCH, count)])

    with path.open("wb") as file, threads(cores) as pool:
        file.seek(codes_start(vectors.dim))
        for first in range(0, count, ROWS_A_BATCH * cores):
            show(first, 2 * count)
            last = min(first + ROWS_A_BATCH * cores, count)
            file.writelines(pool.map(encoded, range(first, last, ROWS_A_BATCH)))
    return Header(vectors.pair, vectors.dim, count, int(vectors.ids[count - 1]), 0)


def _measured(index: ApproximateIndex, show: Progress) -> tuple[int, float]:
    """How many candidates to rank exactly, and the recall@10 that they give."""
    vectors, count = index.vectors, index.header.count
    questions = _questions(vectors.scattered[_sample(count, QUESTIONS)].astype(np.float32))
    worst = []
    for number, question in enumerate(questions):
        show(count + count * number // len(questions), 2 * count)
        # The file's last rows, less than a block, are not in the index.
        true = vectors.search(question, NEAREST + BLOCK)
        worst.append(true.scores[true.ids <= index.header.last_id][:NEAREST][-1])
    # Few at first: a scan takes the longer the more it is to give.
    most = min(max(1000, count // 100), int(MAX_SHARE * count))
    for limit in [*takewhile(lambda limit: limit < most, LIMITS), most]:
        asked = zip(questions, worst, strict=True)
        ranks = np.stack([_ranks(index, *question, limit) for question in asked])
        needed = int(np.quantile(ranks, RECALL)) + 1
        candidates = max(2 * needed, MIN_CANDIDATES)
        if candidates <= limit:
            break
    if needed > limit:
        raise LibraryError(
            "an approximate index of these vectors would miss too many photos, so exact search"
            " stays in use"
        )
    return candidates, float((ranks < min(candidates, limit)).mean())


def _ranks(index: ApproximateIndex, question: np.ndarray, worst: float, limit: int) -> np.ndarray:
    """Where the NEAREST stand by their codes, (NEAREST,) int64; `limit` for what is not before it.

    `worst` is the score of the last of them.
    """
    vectors, ranks = index.vectors, np.full(NEAREST, limit)
    positions = index.candidates(question, limit)
    near = scored(question, vectors.ids, vectors.scattered, positions)
    # By score, not by id: of photos that score the same any will do.
    good = np.flatnonzero(near.scores >= worst - 1e-6)[:NEAREST]
    ranks[: len(good)] = good
    return ranks


def _questions(rows: np.ndarray) -> np.ndarray:
    """Half of `rows`, (n, dim) float32, as they are, and half moved away from all pictures."""
    noise = np.random.default_rng(0).standard_normal(rows.shape, np.float32)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    away = float(np.sqrt(1 - WORDS_COSINE**2))
    rows[1::2] = WORDS_COSINE * rows[1::2] + away * noise[1::2]
    return rows


def _sample(count: int, size: int) -> np.ndarray:
    """Up to `size` of the positions from 0 to `count`, (n,) int64, ascending."""
    chosen = np.random.default_rng(0).choice(max(count, 1), min(count, size), replace=False)
    return np.sort(chosen)
