"""How long search takes at scale, beside what the memory allows and what others take.

Usage: python scripts/bench_search.py [ROWS ...] [--huge] [--rounds N] [--folder DIR] [--kinds]

Makes vector files of 10,000, 100,000 and 1,000,000 rows of 512 numbers (`--huge`: 10,000,000 too,
11 GB on disk), which resemble a CLIP's embeddings of photos: a narrow cone with clusters of all
sizes in it, and questions in words far outside of it. Then prints tables of

- one warm query and a batch of them, by exact search, by the approximate index, by NumPy, by FAISS
  and by usearch where it is installed; and the bound of exact search, which is the time that all
  cores need to read the same bytes,
- one query in a fresh process, and its peak memory,
- building the approximate index, and the recall@10 that it gives,
- `--kinds`: other kinds of approximate index: how much of an inverted file must be read and how
  far a graph be walked, for the same recall.

The programs take turns, so that other work on the machine slows all of them. `--folder` keeps the
files for the next run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from clipsearch.store.vectors.approximate.building import build
from clipsearch.store.vectors.approximate.index import ApproximateIndex, faster
from clipsearch.store.vectors.faiss_import import threads
from clipsearch.store.vectors.file import VectorFile

DIM = 512
K = 10
ROWS_AT_A_TIME = 50_000
BATCH = 100
MOST_IN_FP32 = 2_000_000  # rows that others get, who need 2 KB a row and a copy
CORES = os.cpu_count() or 1


class Photos:
    """Made-up embeddings of photos, and of words to ask for them.

    Cosines are about those of a CLIP: 0.5 between two photos, 0.85 between neighbours, 0.2 between
    words and any photo and 0.4 between words and the best one. The variance of the photos is as
    that of 40 even directions; of Flickr8k's, embedded with pocket, it is 32.
    """

    def __init__(self, count: int, dim: int = DIM) -> None:
        self.dim = dim
        self.rng = rng = np.random.default_rng(count)
        numbers = np.arange(dim, dtype=np.float32)
        self.wide = unit((numbers + 4) ** -0.75)
        self.narrow = unit((numbers + 20) ** -0.5)
        turn = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
        self.turn = turn.astype(np.float32)
        clusters = max(20, count // 50)
        self.centers = rng.standard_normal((clusters, dim), np.float32) * self.wide
        sizes = (np.arange(clusters) + 1.0) ** -0.7
        self.shares = np.cumsum(sizes / sizes.sum())
        self.photo_cone, self.word_cone = unit(rng.standard_normal((2, dim))).astype(np.float32)

    def photos(self, count: int) -> np.ndarray:
        """Unit rows, (count, dim) float32."""
        return unit(0.7 * self.photo_cone + 0.7 * self._contents(count))

    def words(self, count: int) -> np.ndarray:
        """Unit rows, (count, dim) float32."""
        noise = self.rng.standard_normal((count, self.dim), np.float32)
        noise /= np.float32(self.dim**0.5)
        cones = 0.25 * self.photo_cone + 0.8 * self.word_cone
        return unit(cones + 0.35 * self._contents(count) + 0.35 * noise)

    def _contents(self, count: int) -> np.ndarray:
        rng = self.rng
        rows = self.centers[
            np.searchsorted(self.shares, rng.random(count) * self.shares[-1], "right")
        ]
        alone = rng.random(count) < 0.15
        rows[alone] = rng.standard_normal((int(alone.sum()), self.dim), np.float32) * self.wide
        spread = rng.uniform(0.3, 0.8, (count, 1)).astype(np.float32)
        noise = rng.standard_normal((count, self.dim), np.float32) * self.narrow
        return (np.sqrt(1 - spread**2) * rows + spread * noise) @ self.turn


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--huge", action="store_true", help="also 10,000,000 rows")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--folder", type=Path, help="where the files are kept; else thrown away")
    parser.add_argument("--kinds", action="store_true", help="other kinds of index, too")
    parser.add_argument("--one", nargs=2, metavar=("KIND", "STEM"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one_query(options.one[0], Path(options.one[1]))
        return
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    print(f"{CORES} cores, load {os.getloadavg()[0]:.1f}, FAISS {faiss.__version__}")
    with tempfile.TemporaryDirectory(prefix="bench-search-") as name:
        folder = options.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        for count in [*options.rows, *([10_000_000] if options.huge else [])]:
            stem = folder / f"{count}"
            pictures, words = make(stem, count)
            print(f"\n# {count:,} rows\n", flush=True)
            measure(stem, pictures, words, options.rounds)
            if options.kinds:
                compare_kinds(VectorFile(stem, DIM), pictures, words)


def make(stem: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Write a vector file unless it is there; gives questions: pictures and words."""
    questions = stem.with_suffix(".npz")
    if not questions.exists():
        photos, file = Photos(count), VectorFile(stem, DIM)
        file.delete()
        for start in range(0, count, ROWS_AT_A_TIME):
            size = min(ROWS_AT_A_TIME, count - start)
            file.add(np.arange(start, start + size) + 1, photos.photos(size).astype(np.float16))
            file = VectorFile(stem, DIM)
        np.savez(questions, pictures=photos.photos(BATCH), words=photos.words(BATCH))
    with np.load(questions) as held:
        return held["pictures"], held["words"]


def measure(stem: Path, pictures: np.ndarray, words: np.ndarray, rounds: int) -> None:
    built = fresh_process("build", stem)
    file = VectorFile(stem, DIM)
    index = faster(file)
    if isinstance(index, VectorFile):
        sys.exit("the approximate index was not built")
    print(
        f"Approximate index: {file.ann_path.stat().st_size / 1e6:.0f} MB, built in"
        f" {built['seconds']:.1f} s, peak {built['peak_mb']:.0f} MB with the rows that it maps;"
        f" {index.header.candidates} candidates;"
    )
    for name, asked in (("pictures", pictures), ("words", words)):
        true = [set(file.search(question, K).ids.tolist()) for question in asked]
        found = [set(index.search(question, K).ids.tolist()) for question in asked]
        share = sum(len(a & b) for a, b in zip(true, found, strict=True)) / (K * len(asked))
        print(f"recall@{K} of {len(asked)} {name}: {share:.4f}")
    warm(file, index, words, rounds)
    cold(stem)


def warm(file: VectorFile, index: ApproximateIndex, words: np.ndarray, rounds: int) -> None:
    """One query and a batch, everything in memory."""
    numbers = file.rows.reshape(-1).view(np.int64)
    step = -(-len(numbers) // CORES)
    parts = [numbers[start : start + step] for start in range(0, len(numbers), step)]
    pool = threads(CORES)
    one: dict[str, Callable[[np.ndarray], object]] = {
        "reading the bytes (the bound)": lambda q: list(pool.map(np.add.reduce, parts)),
        "clipsearch, exact": lambda q: file.search(q[0], K),
        "clipsearch, approximate": lambda q: index.search(q[0], K),
    }
    many: dict[str, Callable[[np.ndarray], object]] = {
        "clipsearch, exact": lambda q: [file.search(row, K) for row in q],
        "clipsearch, approximate": lambda q: [index.search(row, K) for row in q],
    }
    if len(file.ids) <= MOST_IN_FP32:
        wide = file.rows.astype(np.float32)
        flat = faiss.IndexFlatIP(DIM)
        flat.add(wide)
        one |= {"NumPy, fp32": lambda q: best(wide @ q[0]), "FAISS FlatIP, fp32": asker(flat)}
        many |= {"NumPy, fp32": lambda q: best(q @ wide.T), "FAISS FlatIP, fp32": asker(flat)}
    if exact := usearch(file):
        one["usearch, exact, fp16"] = exact
        many["usearch, exact, fp16"] = exact
    show("one query, warm", timed(one, [words[number][None] for number in range(rounds)]))
    few = [words] * max(1, rounds // 5)
    show(f"{len(words)} queries, warm, a query", timed(many, few), 1 / len(words))


def best(scores: np.ndarray) -> np.ndarray:
    return np.argpartition(-scores, K, axis=-1)[..., :K]


def asker(index: Any) -> Callable[[np.ndarray], object]:
    def ask(questions: np.ndarray) -> object:
        faiss.omp_set_num_threads(CORES)  # clipsearch has set it to one
        return index.search(questions, K)

    return ask


def usearch(file: VectorFile) -> Callable[[np.ndarray], object] | None:
    try:
        from usearch.index import MetricKind, search
    except ImportError:
        print("\nusearch is not installed: pip install usearch")
        return None
    rows = np.asarray(file.rows)
    return lambda questions: search(
        rows, questions.astype(np.float16), K, MetricKind.IP, exact=True, threads=CORES
    )


def timed(
    programs: dict[str, Callable[[np.ndarray], object]], questions: Iterable[np.ndarray]
) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in programs}
    for program in programs.values():  # once before it counts
        program(next(iter(questions)))
    for question in questions:
        for name, program in programs.items():
            started = time.perf_counter()
            program(question)
            times[name].append(time.perf_counter() - started)
    return times


def show(what: str, times: dict[str, list[float]], scale: float = 1) -> None:
    base = times[next(iter(times))]
    print(
        f"\n| {what} | fastest | median | of the first, fastest | median |\n|---|---|---|---|---|"
    )
    for name, seconds in times.items():
        low, middle = min(seconds), statistics.median(seconds)
        print(
            f"| {name} | {low * scale * 1e3:.2f} ms | {middle * scale * 1e3:.2f} ms"
            f" | {low / min(base):.2f} | {middle / statistics.median(base):.2f} |"
        )
    sys.stdout.flush()


def cold(stem: Path) -> None:
    """One query in a fresh process; the files are in the disk's cache."""
    print("\n| fresh process | whole | open and first query | peak memory |\n|---|---|---|---|")
    for kind, name in (("nothing", "importing NumPy and FAISS"), ("exact", "clipsearch, exact"),
                       ("approximate", "clipsearch, approximate")):  # fmt: skip
        said = [fresh_process(kind, stem) for _ in range(5)]
        whole, first, peak = (
            statistics.median(one[key] for one in said) for key in ("whole", "seconds", "peak_mb")
        )
        print(f"| {name} | {whole:.2f} s | {first * 1e3:.0f} ms | {peak:.0f} MB |", flush=True)


def fresh_process(kind: str, stem: Path) -> dict[str, float]:
    started = time.perf_counter()
    command = [sys.executable, __file__, "--one", kind, str(stem)]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    facts: dict[str, float] = json.loads(said)
    return facts | {"whole": time.perf_counter() - started}


def one_query(kind: str, stem: Path) -> None:
    started = time.perf_counter()
    if kind != "nothing":
        file = VectorFile(stem, DIM)
        question = unit(np.ones(DIM, np.float32))
        if kind == "build":
            build(file)
        elif kind == "exact":
            file.search(question, K)
        else:
            faster(file).search(question, K)
    seconds = time.perf_counter() - started
    # Of this program alone; getrusage counts what the program that started it took, too.
    status = Path("/proc/self/status").read_text()
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", status)
    print(json.dumps({"seconds": seconds, "peak_mb": int(peak) / 1e3}))


def compare_kinds(file: VectorFile, pictures: np.ndarray, words: np.ndarray) -> None:
    """What an inverted file and a graph need for the recall of 0.99 that is asked for."""
    rows = file.rows.astype(np.float32)
    faiss.omp_set_num_threads(CORES)
    lists = int(4 * len(rows) ** 0.5)
    inner = faiss.METRIC_INNER_PRODUCT
    kinds: dict[str, tuple[Any, str, Sequence[int]]] = {
        f"IVF{lists},SQ8": (
            faiss.index_factory(DIM, f"IVF{lists},SQ8", inner),
            "nprobe",
            [max(1, lists * share // 1000) for share in (5, 10, 20, 50, 100, 200, 300, 500)],
        ),
        "HNSW32,SQ8": (
            faiss.index_factory(DIM, "HNSW32,SQ8", inner),
            "efSearch",
            [32, 64, 128, 256, 512, 1024, 2048, 4096],
        ),
    }
    print("\n| kind | built in | questions | setting | recall@10, ranked exactly | one query |")
    print("|---|---|---|---|---|---|")
    for name, (index, setting, values) in kinds.items():
        started = time.perf_counter()
        index.train(rows[:: max(1, len(rows) // (lists * 40))])
        index.add(rows)
        seconds = time.perf_counter() - started
        for what, asked in (("pictures", pictures), ("words", words)):
            true = [set(file.search(question, K).ids.tolist()) for question in asked]
            for value in values:
                faiss.ParameterSpace().set_index_parameter(index, setting, value)
                started = time.perf_counter()
                places = [index.search(question[None], 10 * K)[1][0] for question in asked]
                each = (time.perf_counter() - started) / len(asked)
                # Among 100 by their codes the exact ranking finds what is there of the true 10.
                found = [set(file.ids[row[row >= 0]].tolist()) for row in places]
                pairs = zip(true, found, strict=True)
                recall = sum(len(a & b) for a, b in pairs) / (K * len(asked))
                if recall >= 0.99 or value == values[-1]:
                    print(
                        f"| {name} | {seconds:.0f} s | {what} | {setting}={value} | {recall:.3f}"
                        f" | {each * 1e3:.1f} ms |",
                        flush=True,
                    )
                    break


if __name__ == "__main__":
    main()
