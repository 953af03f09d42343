"""How long a run with nothing to do takes: `clipsearch index` beside `find` over the same files.

Usage: python scripts/bench_scan.py [FILES] [--rounds N] [--profile]

Makes a folder of that many tiny files and an index that knows them all (its vectors are random:
embedding 100,000 pictures is not what is measured), then runs the two programs in turn, each as
a whole process. The goal is at most twice the time of `find DIR -type f -printf '%s %T@ %p\\n'`.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clipsearch.cache import give_up
from clipsearch.encoders.onnx.folder import cached_folder
from clipsearch.encoders.onnx.texts import folder_of
from clipsearch.photos.facts.facts import Facts
from clipsearch.photos.scanning.walk import walk
from clipsearch.search.neutral import NEUTRAL
from clipsearch.store.catalog import Catalog, Changes, NewPhoto
from clipsearch.store.vectors.file import VectorFile
from clipsearch.store.vectors.sync import bring_up

FILES_A_FOLDER = 200
ROWS_A_COMMIT = 10_000
DIM = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=int, nargs="?", default=100_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--profile", action="store_true", help="also show where the time goes")
    options = parser.parse_args()
    # As on most machines, where Python keeps the bytecode of what the programs import.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory(prefix="bench-scan-") as name:
        photos, index = Path(name, "photos"), Path(name, "index")
        os.environ["CLIPSEARCH_CACHE"] = str(Path(name, "cache"))
        make_files(photos, options.files)
        fill_index(index, photos)
        compare(photos, index, options.files, options.rounds)
        if options.profile:
            run([sys.executable, "-m", "cProfile", "-s", "tottime", *indexing(photos, index)[1:]])


def make_files(photos: Path, count: int) -> None:
    for number in range(count):
        folder = photos / f"{number // FILES_A_FOLDER // 12:03}" / f"{number // FILES_A_FOLDER:05}"
        if number % FILES_A_FOLDER == 0:
            folder.mkdir(parents=True)
        with open(folder / f"IMG_{number:06}.JPG", "wb") as file:
            file.write(b"%d" % number)


def fill_index(index: Path, photos: Path) -> None:
    """Write what an index run would have: a row and a vector for each file."""
    index.mkdir()
    catalog = Catalog.create(index)
    root = catalog.add_root(str(photos))
    model = catalog.add_model("ViT-B-32-256/datacomp_s34b_b86k", "0" * 64, "none", DIM, None)
    files = list(walk(str(photos), "", lambda path, error: sys.exit(f"{path}: {error}")))
    rng = np.random.default_rng(0)
    for start in range(0, len(files), ROWS_A_COMMIT):
        changes = Changes()
        for found in files[start : start + ROWS_A_COMMIT]:
            digest = hashlib.sha256(found.path.encode()).hexdigest()
            photo = NewPhoto(None, root.id, found.path, digest, found.size, found.mtime_ns, Facts())
            changes.photos.append(photo)
            row = rng.standard_normal(DIM, np.float32)
            changes.vectors.append((digest, (row / np.linalg.norm(row)).astype("f2").tobytes()))
        catalog.write(model.id, changes)
    # What a run that embedded something does at its end, and one with nothing to do does not.
    for folder in folder_of, cached_folder:
        give_up(folder(model.weights, model.preprocess))
    catalog.remember(model.id, dict.fromkeys(NEUTRAL, bytes(4 * DIM)))
    stem = f"{model.id}-ViT-B-32-256-datacomp_s34b_b86k"
    bring_up(catalog, model, VectorFile(index / "vectors" / stem, DIM))
    catalog.close()


def compare(photos: Path, index: Path, count: int, rounds: int) -> None:
    find = ["find", str(photos), "-type", "f", "-printf", r"%s %T@ %p\n"]
    nothing = [sys.executable, "-c", "pass"]
    commands = {
        "find": find,
        "clipsearch index": indexing(photos, index),
        "python -c pass": nothing,
    }
    said = run(commands["clipsearch index"])  # also warms the disk's cache
    if f" {count} unchanged" not in said:
        sys.exit(f"the index does not know its files: {said}")
    times: dict[str, list[float]] = {name: [] for name in commands}
    busy: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            started, spent = time.perf_counter(), cpu_seconds()
            run(command, quiet=True)
            times[name].append(time.perf_counter() - started)
            busy[name].append(cpu_seconds() - spent)
    print(f"{count:,} unchanged files, {rounds} rounds, {os.cpu_count()} cores: {said.strip()}")
    print("| program | median | fastest | slowest | CPU | times find | CPU, times find |")
    print("|---|---|---|---|---|---|---|")
    base, base_cpu = statistics.median(times["find"]), statistics.median(busy["find"])
    for name, seconds in times.items():
        middle, cpu = statistics.median(seconds), statistics.median(busy[name])
        print(
            f"| {name} | {middle:.3f} s | {min(seconds):.3f} s | {max(seconds):.3f} s"
            f" | {cpu:.3f} s | {middle / base:.2f} | {cpu / base_cpu:.2f} |"
        )


def cpu_seconds() -> float:
    """What the programs run so far have used; it tells more than the clock on a busy machine."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def indexing(photos: Path, index: Path) -> list[str]:
    return [sys.executable, "-m", "clipsearch", "index", str(photos), "--index", str(index)]


def run(command: Sequence[str], quiet: bool = False) -> str:
    if quiet:  # to a file, so that find's output costs the reader nothing
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return ""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()
