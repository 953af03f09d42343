"""How close indexing comes to what decoding and embedding allow.

Prints, from one run on one machine with the same random weights: the rate of decoding alone, of
embedding alone, the bound that the two give (they share the cores on a CPU; on a GPU the slower
one is the bound), what the engine and what the whole `clipsearch index` process reach, in its first
run with the model, which writes it to the cache, and in later ones, and beside them the plain loop
that one would write with open_clip, in fp32. Where rclip is installed in an environment of its own,
`--rclip PATH` runs it too, on an ONNX export of the same weights (needs the packages onnx and
onnxscript here).

    python scripts/bench_index.py --photos DIR [--megapixels 12] [--count 240] [--rclip BIN/rclip]

`--int8` also takes the whole process in an index with a model in 8 bits, which is calibrated on DIR
before it is timed. After `scripts/as_processor avx2` all of them run as on a processor with nothing
newer than AVX2.

The pictures are those of DIR, enlarged to `--megapixels` with some noise, since photos of cameras
have noise, which decoding time depends on; `--megapixels 0` takes them as they are.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from statistics import median

import numpy as np
from peers import MODEL, export_for_rclip, make_weights
from PIL import Image

from clipsearch import Library, encoders
from clipsearch.encoders.choice import choose
from clipsearch.encoders.onnx.encoder import OnnxEncoder
from clipsearch.indexing.loading import Loaders
from clipsearch.photos.scanning.names import is_photo_name

# torch and open_clip are imported where they are needed: the worker processes import this file.
BATCH = 64
DECODING, EMBEDDING, BOUND = "decoding alone", "embedding alone", "the bound of these two"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True, metavar="DIR")
    parser.add_argument("--megapixels", type=float, default=12)
    parser.add_argument("--count", type=int, default=240)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rclip", type=Path, metavar="PATH")
    parser.add_argument("--int8", action="store_true")
    options = parser.parse_args()
    # As on most machines, where Python keeps the bytecode of what the programs import.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory() as scratch:
        bench(options, Path(scratch))


def bench(options: argparse.Namespace, scratch: Path) -> None:
    folder = make_pictures(options.photos, options.megapixels, options.count, scratch / "pictures")
    weights = make_weights(scratch / "weights.safetensors")
    spec = f"{MODEL}:{weights}"
    torch = encoders.load(encoders.parse_spec(spec))
    encoder = usual_encoder(spec, torch)
    files = sorted(folder.iterdir())
    kept, empty = scratch / "cache", scratch / "first"
    process(folder, spec, fresh(scratch) / "index", kept)
    works: dict[str, Callable[[], object]] = {
        DECODING: lambda: decode_all(files, encoder, options.workers),
        EMBEDDING: lambda: embed_views(len(files), encoder),
        f"embedding alone, PyTorch in {torch.precision}": lambda: embed_views(len(files), torch),
        "clipsearch, the engine": lambda: engine(folder, spec, encoder, fresh(scratch)),
        "clipsearch index, the whole process": lambda: process(
            folder, spec, fresh(scratch) / "index", kept
        ),
        "the same, the first run with the model": lambda: process(
            folder, spec, fresh(scratch) / "index", fresh(empty)
        ),
        "plain open_clip loop, fp32": lambda: plain_loop(files, weights),
    }
    if options.int8:
        small = in_8_bits(options.photos, spec, scratch / "int8", kept)
        works["the same, in 8 bits"] = lambda: process(
            folder, f"int8:{spec}", shutil.copytree(small, fresh(scratch) / "index"), kept
        )
    if options.rclip:
        data = export_for_rclip(weights, scratch / "rclip")
        works["rclip, the whole process"] = lambda: rclip(options.rclip, folder, data)
    # In turn, since the speed of a shared machine drifts; what is compared is of one round.
    rounds = [measure(works, len(files), encoder.device) for _ in range(options.rounds)]
    size = sum(file.stat().st_size for file in files) / len(files) / 1e6
    shown = f"{options.megapixels:g} megapixels" if options.megapixels else "as they are"
    print(
        f"\n{len(files)} JPEGs, {shown}, {size:.1f} MB each; {MODEL} on {encoder.device},"
        f" {encoder.precision}; {os.cpu_count()} cores; medians of {len(rounds)} rounds\n"
    )
    print("| what | images/s | share of the bound |\n|---|---|---|")
    for name in rounds[0]:
        images = median(one[name] for one in rounds)
        share = median(one[name] / one[BOUND] for one in rounds)
        print(f"| {name} | {images:.1f} | {share:.0%} |")


def measure(works: dict[str, Callable[[], object]], count: int, device: str) -> dict[str, float]:
    rates = {name: rate(count, work) for name, work in works.items()}
    decoding, embedding = rates[DECODING], rates[EMBEDDING]
    shared = device == "cpu"
    bound = 1 / (1 / decoding + 1 / embedding) if shared else min(decoding, embedding)
    return {BOUND: bound, **rates}


def fresh(scratch: Path) -> Path:
    scratch.mkdir(exist_ok=True)
    return Path(tempfile.mkdtemp(dir=scratch))


def rate(count: int, work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return count / (time.perf_counter() - started)


def decode_all(files: list[Path], encoder: encoders.Encoder, workers: int) -> None:
    with Loaders(workers, isolated=True) as loaders:
        for wait in [loaders.submit(str(file), encoder.prepare) for file in files]:
            wait()


def embed_views(count: int, encoder: encoders.Encoder) -> None:
    rng = np.random.default_rng(0)
    side = encoder.resolution
    views = rng.integers(0, 256, (BATCH, side, side, 3), dtype=np.uint8)
    for _ in range(max(1, round(count / BATCH))):
        encoder.encode_images(views)


def engine(folder: Path, spec: str, encoder: encoders.Encoder, scratch: Path) -> None:
    with Library.open(scratch / "index", model=spec, encoder=encoder) as library:
        report = library.index([folder], isolated=True)
        assert not report.failed


def usual_encoder(spec: str, torch: encoders.Encoder) -> encoders.Encoder:
    """What embeds many photos here."""
    runtime = choose("open_clip", "auto", "auto", 10**6).runtime
    light = None if runtime == "torch" else encoders.load_light(encoders.parse_spec(spec))
    if runtime == "openvino":
        light = light.by_openvino if isinstance(light, OnnxEncoder) else None
    return light or torch


def process(
    folder: Path, spec: str, index: Path, cache: Path, *options: str
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "clipsearch", "index", str(folder), "--model", spec]
    command += ["--index", str(index), *options]
    environment = os.environ | {"CLIPSEARCH_CACHE": str(cache)}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment)


def in_8_bits(photos: Path, spec: str, index: Path, cache: Path) -> Path:
    """An index of photos with a model in 8 bits."""
    said = process(photos, spec, index, cache, "--precision", "int8").stderr
    print(said, file=sys.stderr)
    return index


def plain_loop(files: list[Path], weights: Path) -> None:
    import open_clip
    import torch

    model, _, preprocess = open_clip.create_model_and_transforms(MODEL, pretrained=str(weights))
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(files), BATCH):
            images = [preprocess(Image.open(file)) for file in files[start : start + BATCH]]
            features = model.encode_image(torch.stack(images))
            features /= features.norm(dim=-1, keepdim=True)


def rclip(program: Path, folder: Path, data: Path) -> None:
    (data / "db.sqlite3").unlink(missing_ok=True)
    environment = os.environ | {"RCLIP_DATADIR": str(data)}
    command = [str(program), "--filepath-only", "a dog"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"rclip failed:\n{done.stderr}")


def make_pictures(photos: Path, megapixels: float, count: int, folder: Path) -> Path:
    folder.mkdir()
    names = sorted(file for file in photos.iterdir() if is_photo_name(file.name))
    rng = np.random.default_rng(0)
    noise = rng.integers(-8, 9, (3024, 4032, 3), dtype=np.int16)
    for number, file in enumerate(islice(cycle(names), count)):
        target = folder / f"{number:05}.jpg"
        if not megapixels:
            # A few bytes after its end make each file another content, as photos are.
            target.write_bytes(file.read_bytes() + number.to_bytes(4, "big"))
            continue
        with Image.open(file) as image:
            scale = (megapixels * 1e6 / (image.width * image.height)) ** 0.5
            size = (round(image.width * scale), round(image.height * scale))
            large = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BICUBIC))
        tiles = (-(-size[1] // noise.shape[0]), -(-size[0] // noise.shape[1]), 1)
        noisy = large + np.tile(noise, tiles)[: size[1], : size[0]]
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(target, quality=90)
    return folder


if __name__ == "__main__":
    main()
