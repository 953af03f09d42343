"""An approximate index of a model's vectors, for libraries that exact search takes long over.

`<model>.ann` keeps a quarter of a byte a number: rows are product-quantized, each pair of
numbers to the nearest of 16 centroids of its own (Jegou, Douze and Schmid, 2011), and FAISS
scans the 4-bit codes with SIMD table look-ups (Andre, Kermarrec and Le Scouarnec, 2015). Those
that come out best are ranked by their exact rows.

All codes are scanned, none skipped as an inverted file or a graph does: how much of those must be
read depends on the questions, and is the more the farther these lie from all pictures, as words
do (docs/benchmarks.md).
"""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from clipsearch.errors import InvalidInput, LibraryError
from clipsearch.replacing import put_in_place
from clipsearch.store.vectors import NOTHING, Matches, VectorFile, best, scored, threads

MAGIC = b"clipsearch ann 1"  # 16 bytes: what the file is, and the format's version
CHECKED = 56  # bytes before the checksum
HEADER_SIZE = 64
CODES_ALIGNMENT = 4096
BLOCK = 32  # rows whose codes FAISS interleaves

# Rows scanned at a time by a thread: their codes are copied to where FAISS wants them, which
# costs little more than reading them, since 8 MB (512 dimensions) stay in the cache.
ROWS_A_SCAN = 65_536
ROWS_A_BATCH = 16_384  # encoded at a time
ROWS_TO_TRAIN = 4096  # FAISS looks at no more for 16 centroids
MIN_ROWS = 1000

QUESTIONS = 100  # asked when the index is built, to see how many candidates are needed
NEAREST = 10
# What is reached with those questions before the candidates are doubled for good measure.
RECALL = 0.995
MIN_CANDIDATES = 64
LIMITS = (1000, 4000, 16_000, 64_000)  # of candidates that are tried, in turn
# With more candidates than this share of the rows, exact search does as well.
MAX_SHARE = 1 / 16
# How much nearer than to chance a question in words is to what it asks for, as a cosine.
WORDS_COSINE = 0.35
# What came after the build is searched exactly; with more than this share of it, it is renewed.
GROWTH = 0.2

# Exact search that takes no longer needs no help.
FAST_ENOUGH_MS = 100

Progress = Callable[[int, int], None]


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


@dataclass(frozen=True, slots=True)
class Header:
    """What an approximate index was made of."""

    pair: bytes  # 8 random bytes of the vector file
    dim: int
    count: int  # of the vector file's first rows, a multiple of BLOCK
    last_id: int  # of the last of them
    candidates: int  # ranked by their exact rows for an answer of NEAREST


class ApproximateIndex:
    """A vector file searched by its codes, and exactly among the candidates they give."""

    def __init__(
        self, vectors: VectorFile, header: Header, centroids: np.ndarray, codes: np.ndarray
    ) -> None:
        self.vectors = vectors
        self.header = header
        self._centroids = centroids  # (dim / 2, 16, 2) float32
        self._codes = codes  # (count / BLOCK, bytes of a block) uint8

    def search(self, query: np.ndarray, k: int, within: np.ndarray | None = None) -> Matches:
        """The k rows with the highest inner product with `query`, (dim,) float32; nearly all.

        Scores are exact. Rows that came after the index was built are searched exactly, and so
        is everything if the answer is limited to the ids `within`, (n,) int64, or if k is large.
        """
        wanted = self.header.candidates * -(-k // NEAREST)
        if within is not None or wanted > MAX_SHARE * self.header.count:
            return self.vectors.search(query, k, within)
        places = self.candidates(query, wanted)
        near = scored(query, self.vectors.ids, self.vectors.scattered, places)
        return best(k, near, self.vectors.search(query, k, start=self.header.count))

    def search_many(self, queries: np.ndarray, k: int) -> list[Matches]:
        """As `search` for each of `queries`, (n, dim) float32."""
        return [self.search(query, k) for query in queries]

    def candidates(self, query: np.ndarray, wanted: int) -> np.ndarray:
        """Where the rows stand whose codes score best, (wanted,) int64, best first."""
        blocks = len(self._codes)
        parts = min(os.cpu_count() or 1, -(-blocks * BLOCK // ROWS_A_SCAN))
        step = -(-blocks // parts)
        spans = [(start, min(start + step, blocks)) for start in range(0, blocks, step)]
        with threads(parts) as pool:
            found = pool.map(lambda span: self._scan(query, wanted, *span), spans)
            return best(wanted, *found).ids

    def _scan(self, query: np.ndarray, wanted: int, start: int, stop: int) -> Matches:
        """The best of the blocks from `start` to `stop`, by their codes; ids are places."""
        scanner = _Scanner(self._centroids)
        found, step = NOTHING, ROWS_A_SCAN // BLOCK
        for first in range(start, stop, step):
            scores, places = scanner.search(self._codes[first : min(first + step, stop)], query,
                                            wanted)  # fmt: skip
            # Sorted, so what is worse than all that was found so far is cut off at once.
            worst = found.scores[-1] if len(found.ids) == wanted else -np.inf
            better = int(np.searchsorted(-scores, -worst))
            if better:
                new = Matches(first * BLOCK + places[:better], scores[:better])
                found = best(wanted, found, new)
        return found

    def looks_right(self) -> bool:
        """Whether codes taken here and there decode to about the rows that they stand for.

        And whether FAISS, which is lent them behind its back, scans them as it should.
        """
        chosen = np.linspace(0, len(self._codes) - 1, 4, dtype=int)
        places = (chosen[:, None] * BLOCK + np.arange(BLOCK)).ravel()
        scanner = _Scanner(self._centroids)
        decoded = scanner.decode(self._codes[chosen])[:, : self.vectors.dim]
        rows = self.vectors.scattered[places].astype(np.float32)
        cosines = (decoded * rows).sum(1) / np.linalg.norm(decoded, axis=1).clip(1e-9)
        if cosines.mean() <= 0.8:
            return False
        scores, found = scanner.search(self._codes[chosen], rows[0], len(places))
        off = np.abs(scores - (decoded @ rows[0])[found])  # a scan rounds to 8 bits
        return len(set(found.tolist())) == len(places) and bool(off.max() < 0.1)


class _Scanner:
    """A FAISS index that is lent a few blocks of codes at a time; for one thread."""

    def __init__(self, centroids: np.ndarray) -> None:
        self.index = _new_index(2 * len(centroids))
        _faiss().copy_array_to_vector(centroids.ravel(), self.index.pq.centroids)
        self.index.is_trained = True

    def search(
        self, codes: np.ndarray, query: np.ndarray, wanted: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores (n,) float32, best first, and places (n,) int64 among the rows of `codes`."""
        self._take(codes)
        question = _padded(np.asarray(query, np.float32)[None])
        scores, places = self.index.search(question, min(wanted, self.index.ntotal))
        return scores[0], places[0]

    def encode(self, rows: np.ndarray) -> bytes:
        """The codes of whole blocks of (n, dim) float16 rows."""
        self.index.add(_padded(rows.astype(np.float32)))
        codes: np.ndarray = _faiss().vector_to_array(self.index.codes)
        return codes[: len(rows) // BLOCK * _block_size(rows.shape[1])].tobytes()

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """About the rows that `codes` were made of, (n, dim) float32."""
        self._take(codes)
        rows: np.ndarray = self.index.reconstruct_n(0, self.index.ntotal)
        return rows

    def _take(self, codes: np.ndarray) -> None:
        if self.index.codes.size() < codes.size:
            self.index.codes.resize(codes.size)
        lent = _faiss().rev_swig_ptr(self.index.codes.get(), codes.size)
        np.copyto(lent, codes.ravel())
        self.index.ntotal = self.index.ntotal2 = len(codes) * BLOCK


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


def faster(vectors: VectorFile) -> ApproximateIndex | VectorFile:
    """The vectors by their approximate index, or as they are where there is none that fits."""
    return load(vectors, vectors.ann_path) or vectors


def load(vectors: VectorFile, path: Path) -> ApproximateIndex | None:
    """The approximate index in a file; None if it is missing, damaged or of other vectors."""
    try:
        content = np.memmap(path, np.uint8, "r")
    except (OSError, ValueError):  # missing, or of no bytes
        return None
    pairs = (vectors.dim + 1) // 2
    head = content[: HEADER_SIZE + pairs * 16 * 2 * 4].tobytes()
    checksum = zlib.crc32(head[:CHECKED] + head[HEADER_SIZE:])
    if not head.startswith(MAGIC) or head[CHECKED:HEADER_SIZE] != np.int64(checksum).tobytes():
        return None
    numbers = np.frombuffer(head, np.int64, 4, len(MAGIC) + 8).tolist()
    header = Header(head[len(MAGIC) : len(MAGIC) + 8], *numbers)
    if not _fits(header, vectors):
        return None
    centroids = np.frombuffer(head, np.float32, offset=HEADER_SIZE).reshape(pairs, 16, 2)
    codes = content[_codes_start(vectors.dim) :]
    if len(codes) != header.count // BLOCK * _block_size(vectors.dim):
        return None
    index = ApproximateIndex(
        vectors, header, centroids, codes.reshape(-1, _block_size(vectors.dim))
    )
    return index if index.looks_right() else None


def _fits(header: Header, vectors: VectorFile) -> bool:
    """Whether these are the codes of the file's first rows.

    Ids ascend and are never used twice, so the count and the last one are enough.
    """
    count, ids = header.count, vectors.ids
    return (
        header.dim == vectors.dim
        and 0 < count <= len(ids)
        and count % BLOCK == 0
        and header.last_id == ids[count - 1]
        and header.pair == vectors.pair
    )


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
    show = progress or (lambda done, total: None)
    try:
        fresh.unlink(missing_ok=True)  # of a build that was killed
        centroids = _trained(vectors)
        header = _write_codes(vectors, fresh, centroids, show)
        _write_header(fresh, header, centroids)
        draft = load(vectors, fresh)
        if draft is None:
            raise LibraryError(
                "these vectors do not survive being rounded to 4-bit codes, so exact search"
                " stays in use"
            )
        candidates, recall = _measured(draft, show)
        _write_header(fresh, replace(header, candidates=candidates), centroids)
        put_in_place(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
    index = load(vectors, path)
    assert index is not None
    return index, recall


def _trained(vectors: VectorFile) -> np.ndarray:
    """Centroids, (dim / 2, 16, 2) float32, of a sample of the rows."""
    rows = vectors.scattered[_sample(len(vectors.ids), ROWS_TO_TRAIN)]
    index = _new_index(vectors.dim)
    with threads(1) as pool:
        pool.submit(index.train, _padded(rows.astype(np.float32))).result()
    centroids: np.ndarray = _faiss().vector_to_array(index.pq.centroids)
    return centroids.reshape(-1, 16, 2)


def _write_codes(vectors: VectorFile, path: Path, centroids: np.ndarray, show: Progress) -> Header:
    count = len(vectors.ids) // BLOCK * BLOCK
    cores = os.cpu_count() or 1

    def encoded(start: int) -> bytes:
        return _Scanner(centroids).encode(vectors.rows[start : min(start + ROWS_A_BATCH, count)])

    with path.open("wb") as file, threads(cores) as pool:
        file.seek(_codes_start(vectors.dim))
        for first in range(0, count, ROWS_A_BATCH * cores):
            show(first, 2 * count)
            last = min(first + ROWS_A_BATCH * cores, count)
            file.writelines(pool.map(encoded, range(first, last, ROWS_A_BATCH)))
    return Header(vectors.pair, vectors.dim, count, int(vectors.ids[count - 1]), 0)


def _write_header(path: Path, header: Header, centroids: np.ndarray) -> None:
    numbers = [header.dim, header.count, header.last_id, header.candidates]
    head = MAGIC + header.pair + np.array(numbers, np.int64).tobytes()
    checksum = zlib.crc32(head + centroids.tobytes())
    with path.open("r+b") as file:
        file.write(head + np.int64(checksum).tobytes() + centroids.tobytes())


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
    places = index.candidates(question, limit)
    near = scored(question, vectors.ids, vectors.scattered, places)
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
    """Up to `size` of the places from 0 to `count`, (n,) int64, ascending."""
    chosen = np.random.default_rng(0).choice(max(count, 1), min(count, size), replace=False)
    return np.sort(chosen)


def _padded(rows: np.ndarray) -> np.ndarray:
    """The rows, with a zero at the end of each where their length is odd."""
    return np.pad(rows, ((0, 0), (0, rows.shape[1] % 2)))


def _new_index(dim: int) -> Any:
    faiss = _faiss()
    pairs = (dim + 1) // 2
    return faiss.IndexPQFastScan(2 * pairs, pairs, 4, faiss.METRIC_INNER_PRODUCT)


def _block_size(dim: int) -> int:
    """Bytes of the codes of BLOCK rows: FAISS keeps an even number of half bytes a row."""
    return BLOCK * ((dim + 3) // 4)


def _codes_start(dim: int) -> int:
    end = HEADER_SIZE + (dim + 1) // 2 * 16 * 2 * 4
    return -(-end // CODES_ALIGNMENT) * CODES_ALIGNMENT


def _faiss() -> Any:
    # Imported late, since it takes a quarter of a second; its type stubs lack what is used here.
    import faiss

    return faiss
