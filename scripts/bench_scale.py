"""What it costs and gives to go past one process of one machine.

    python scripts/bench_scale.py [encoding|searching ...] [--count N] [--model SPEC] [--rounds N]
                                  [--rows N ...]

`encoding`: images a second of an index run here, and with `--ray` on a cluster of one machine and
of two, which are both this one with its cores shared out. So two can be no faster than one; what
is seen is what Ray takes for itself: once with a model, and once with one that takes no time, in
microseconds an image. What starts (Ray's processes, the model in each of them) is shown apart: the
rates are from the first commit on. They take turns, and medians of the rounds are shown, since the
speed of a shared machine drifts. Needs the group `ray`.

`searching`: milliseconds of one question to the files of an index (FAISS) and to a Milvus server
on this machine, without a filter and with filters that leave a half, a twelfth and a hundredth of
the photos; and how many of the ten best the engine finds. Embeddings are made up to resemble a
CLIP's, half of the questions are pictures and half words. Needs the groups `milvus` and `test`,
and the server's package (`pip install --no-deps milvus==2.3.5`).
"""

from __future__ import annotations

import argparse
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from bench_search import DIM, Photos
from PIL import Image

from clipsearch import Library, encoders
from clipsearch.photos.decoding.view import View
from clipsearch.photos.facts.facts import Facts
from clipsearch.search.filtering.filters import Filters, select
from clipsearch.store.catalog import Catalog, Changes, NewPhoto
from clipsearch.store.moving import move, to_search
from clipsearch.store.vectors.matches import Matches
from clipsearch.store.vectors.store import VectorStore, Within

BATCH = 16  # small, so that the blocks are many
SMALL = 16  # times as many where no model takes time
ALONE = "without Ray"

K = 10
QUESTIONS = 30  # of each kind
ROWS_AT_A_TIME = 10_000
SHARES = (50, 8, 1)  # percent of the photos: the width in pixels tells which


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument("--count", type=int, default=1000, help="pictures to embed")
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, nargs="*", default=[100_000, 500_000])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="scale-") as scratch:
        for part in options.parts:
            PARTS[part](options, Path(scratch))


# Encoding


@dataclass(frozen=True)
class Speed:
    start: float  # seconds to the first commit
    rate: float  # images a second from then on


class Instant:
    """An encoder that takes no time: the overall colour of a picture."""

    prepare = View(32, "squash")
    weights, preprocess = "instant", "32 squash"
    dim, resolution, context, batch_size = 3, 32, 1, BATCH
    logit_scale, logit_bias, device, precision = 1.0, None, "cpu", "fp32"

    def encode_images(self, batch: np.ndarray) -> np.ndarray:
        rows = batch.mean(axis=(1, 2), dtype=np.float32) + 1
        unit: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit


def bench_encoding(options: argparse.Namespace, scratch: Path) -> None:
    cores = os.cpu_count() or 1
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    os.environ["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"] = "0"
    models = {options.model: encoders.load(encoders.parse_spec(options.model)), "none": Instant()}
    folders = {
        options.model: make_pictures(scratch / "photos", options.count, (500, 375)),
        "none": make_pictures(scratch / "small", SMALL * options.count, (64, 48)),
    }
    speeds: dict[tuple[str, str], list[Speed]] = {}

    def measure(where: str, ray: str | None, workers: int) -> None:
        for name, encoder in models.items():
            speed = speed_of(folders[name], encoder, ray, workers, scratch)
            speeds.setdefault((name, where), []).append(speed)

    for _ in range(options.rounds):
        measure(ALONE, None, cores)
        for machines in (1, 2):
            each = max(1, cores // machines)
            with ray_cluster(machines, each) as address:
                measure(f"Ray, {machines} x {each} cores", address, each)
    print(
        f"\n{options.count} pictures of 500 x 375 for {options.model}, {SMALL * options.count} of"
        f" 64 x 48 for no model; {cores} cores; medians of {options.rounds} rounds\n"
    )
    print("| model | where | s to the first commit | images/s then | µs an image more |")
    print("|---|---|---|---|---|")
    for name, where in sorted(speeds, key=lambda key: list(models).index(key[0])):
        pairs = list(zip(speeds[name, where], speeds[name, ALONE], strict=True))
        start = median(it.start for it, _ in pairs)
        rate = median(it.rate for it, _ in pairs)
        more = median(1e6 / it.rate - 1e6 / alone.rate for it, alone in pairs)
        shown = "" if where == ALONE else f"{more:.0f}"
        print(f"| {name} | {where} | {start:.1f} | {rate:.1f} | {shown} |")


def speed_of(folder: Path, encoder: object, ray: str | None, workers: int, scratch: Path) -> Speed:
    commits: list[tuple[float, int]] = []
    started = time.perf_counter()

    def note(done: int, total: int) -> None:
        if done:
            commits.append((time.perf_counter(), done))

    index = Path(tempfile.mkdtemp(dir=scratch))
    with Library.open(index, model="pocket", encoder=encoder) as library:  # type: ignore[arg-type]
        report = library.index(
            [folder], batch_size=BATCH, workers=workers, isolated=True, ray=ray, progress=note
        )
    assert report.complete
    assert not report.failed
    (first, early), (last, all_) = commits[0], commits[-1]
    return Speed(first - started, (all_ - early) / (last - first))


@contextmanager
def ray_cluster(machines: int, cores: int) -> Iterator[str]:
    """The address of a cluster whose machines are all this one."""
    with ExitStack() as stack:
        # Not in the scratch folder: the paths of sockets are short.
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp"))
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{found.getsockname()[1]}"
        head = f"--head --port={address.partition(':')[2]} --temp-dir={folder}"
        head += " --include-dashboard=false --disable-usage-stats"
        for number in range(machines):
            how = f"--address={address}" if number else head
            stack.enter_context(ray_machine(f"{how} --num-cpus={cores}", address))
        yield address


@contextmanager
def ray_machine(how: str, address: str) -> Iterator[None]:
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *how.split()]
    command += ["--node-ip-address=127.0.0.1", "--object-store-memory=200000000"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout
        for line in process.stdout:
            if "Ray runtime started" in line:
                break
        else:
            sys.exit("Ray did not start")
        yield
    finally:
        process.terminate()
        process.wait()


def make_pictures(folder: Path, count: int, size: tuple[int, int]) -> Path:
    """Smooth ones with some noise, all different."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 12, (size[1], size[0], 3), dtype=np.uint8)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 240, (6, 8, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize(size, Image.Resampling.BILINEAR))
        Image.fromarray(smooth + noise).save(folder / f"{number:05}.jpg", quality=90)
    return folder


# Searching


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
        truth = ask(catalog, to_search(folder, catalog, model), questions)
        started = time.monotonic()
        moved = move(folder, catalog, address)
        print(f", {moved.store} in {time.monotonic() - started:.0f} s\n")
        found = ask(catalog, to_search(folder, catalog, model), questions)
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


PARTS: dict[str, Callable[[argparse.Namespace, Path], None]] = {
    "encoding": bench_encoding,
    "searching": bench_searching,
}

if __name__ == "__main__":
    main()
