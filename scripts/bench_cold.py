"""How long one query takes as a whole process, in a library of many photos.

Prints, from one run with the same random weights of ViT-B-32-256: `clipsearch query` with words
that were never asked before, the same with words that were, `clipsearch similar` with a picture
that is not indexed, and where rclip is installed in an environment of its own, `rclip
--no-indexing` with such words and pictures (`--rclip PATH`; needs onnx and onnxscript here).
The embeddings of the photos are random: finding good ones is not what is measured.

    python scripts/bench_cold.py [PHOTOS] [--rounds N] [--rclip BIN/rclip]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from peers import MODEL, export_for_rclip, make_weights
from PIL import Image

from clipsearch.photos.facts.facts import Facts
from clipsearch.store.catalog import Catalog, Changes, NewPhoto
from clipsearch.store.vectors.sync import bring_up, vector_file

DIM = 512
WORDS = ("black", "cat", "couch", "boat", "harbour", "child", "birthday", "mountain", "red", "snow")
FRESH, AGAIN, RCLIP = "clipsearch query", "clipsearch query, asked before", "rclip --no-indexing"
SIMILAR, RCLIP_SIMILAR = "clipsearch similar, another picture", "rclip --no-indexing, a picture"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=int, nargs="?", default=100_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--rclip", type=Path, metavar="PATH")
    options = parser.parse_args()
    # As on most machines, where Python keeps the bytecode of what the programs import.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory() as scratch:
        bench(options, Path(scratch))


def bench(options: argparse.Namespace, scratch: Path) -> None:
    os.environ["CLIPSEARCH_CACHE"] = str(scratch / "cache")
    weights = make_weights(scratch / "weights.safetensors")
    folder, index = scratch / "pictures", scratch / "index"
    folder.mkdir()
    Image.new("RGB", (64, 64), "red").save(folder / "red.jpg")
    clipsearch = [sys.executable, "-m", "clipsearch"]
    spec = f"{MODEL}:{weights}"
    run([*clipsearch, "index", str(folder), "--index", str(index), "--model", spec])
    fill_index(index, folder, options.photos)
    asking = [*clipsearch, "query", "--index", str(index), "-k", "10"]
    similar = [*clipsearch, "similar", "--index", str(index), "-k", "10"]
    commands = {FRESH: asking, AGAIN: asking, SIMILAR: similar}
    if options.rclip:
        data = export_for_rclip(weights, scratch / "rclip")
        os.environ["RCLIP_DATADIR"] = str(data)
        run([str(options.rclip), "--filepath-only", "warm up"], folder)
        fill_rclip(data / "db.sqlite3", folder, options.photos)
        commands[RCLIP] = [str(options.rclip), "--no-indexing", "--filepath-only", "-t", "10"]
        commands[RCLIP_SIMILAR] = commands[RCLIP]
    compare(commands, folder, options)


def compare(commands: dict[str, list[str]], folder: Path, options: argparse.Namespace) -> None:
    times: dict[str, list[float]] = {name: [] for name in commands}
    busy: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(-1, options.rounds):  # the first round warms the disk's cache
        for name, command in commands.items():
            asked = "a black cat on a couch" if name == AGAIN else question(number)
            if name in (SIMILAR, RCLIP_SIMILAR):
                asked = str(picture(number, folder.parent))
            started, spent = time.perf_counter(), cpu_seconds()
            run([*command, asked], folder)
            if number >= 0:
                times[name].append(time.perf_counter() - started)
                busy[name].append(cpu_seconds() - spent)
    print(f"{options.photos:,} photos, {MODEL}, {options.rounds} rounds, {os.cpu_count()} cores")
    print("| program | median | fastest | slowest | CPU |")
    print("|---|---|---|---|---|")
    for name, seconds in times.items():
        print(
            f"| {name} | {statistics.median(seconds):.3f} s | {min(seconds):.3f} s"
            f" | {max(seconds):.3f} s | {statistics.median(busy[name]):.3f} s |"
        )


def question(number: int) -> str:
    rng = np.random.default_rng(number + 1)
    return f"a photo of {' '.join(rng.permutation(WORDS)[:4])} {number + 1}"


def picture(number: int, folder: Path) -> Path:
    pixels = np.random.default_rng(number + 1).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    file = folder / f"asked {number}.jpg"
    Image.fromarray(pixels).resize((640, 480), Image.Resampling.BICUBIC).save(file)
    return file


def rows(count: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    for _ in range(count):
        row = rng.standard_normal(DIM, np.float32)
        yield row / np.linalg.norm(row)


def fill_index(index: Path, folder: Path, count: int) -> None:
    catalog = Catalog.open(index)
    (root,), (model,) = catalog.roots(), catalog.models()
    changes = Changes()
    for number, row in enumerate(rows(count)):
        digest = hashlib.sha256(b"%d" % number).hexdigest()
        name = f"{number // 200:05}/IMG_{number:06}.JPG"
        changes.vectors.append((digest, row.astype("<f2").tobytes()))
        changes.photos.append(NewPhoto(None, root.id, name, digest, 3_000_000, 0, Facts()))
    catalog.write(model.id, changes)
    bring_up(catalog, model, vector_file(index, model))
    catalog.close()


def fill_rclip(database: Path, folder: Path, count: int) -> None:
    with sqlite3.connect(database) as db:
        db.executemany(
            "INSERT INTO images (filepath, modified_at, size, vector, hash) VALUES (?, 0, 1, ?, ?)",
            (
                (f"{folder}/{at // 200:05}/IMG_{at:06}.JPG", row.tobytes(), str(at))
                for at, row in enumerate(rows(count))
            ),
        )
    db.close()


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(command: Sequence[str], folder: Path | None = None) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")


if __name__ == "__main__":
    main()
