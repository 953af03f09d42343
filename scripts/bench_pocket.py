"""What it costs that pocket makes larger pictures squares of 224 pixels and compresses them first.

    python scripts/bench_pocket.py FOLDER [--megapixels 12]

The photos of a folder, enlarged to so many megapixels if that is asked for, are decoded, prepared
and embedded by ONNX Runtime with that view and without it, in turns: the processor's time a photo,
medians. Reading files is left out.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from clipsearch.encoders import Encoder, load_light, parse_spec
from clipsearch.photos.decoding.decode import decode
from clipsearch.photos.decoding.jpeg import as_jpeg
from clipsearch.photos.decoding.view import View

BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--megapixels", type=float)
    parser.add_argument("--most", type=int, default=300, help="photos")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    photos = [file.read_bytes() for file in sorted(given.folder.glob("*.jpg"))[: given.most]]
    if given.megapixels:
        photos = [enlarged(photo, given.megapixels) for photo in photos]
    encoder = load_light(parse_spec("pocket"), "cpu")
    assert encoder is not None
    views = {"without": replace(encoder.prepare, taught=0), "with": encoder.prepare}
    seconds(encoder, encoder.prepare, photos[:BATCH])
    runs = [
        (name, seconds(encoder, view, photos))
        for _ in range(given.rounds)
        for name, view in views.items()
    ]
    print("| view | decode and prepare, ms a photo | and embed |")
    print("|---|---|---|")
    for name in views:
        prepared, whole = (
            1000 * statistics.median(took[part] for other, took in runs if other == name)
            for part in range(2)
        )
        print(f"| {name} | {prepared / len(photos):.2f} | {whole / len(photos):.2f} |")


def enlarged(photo: bytes, megapixels: float) -> bytes:
    """A photo of so many megapixels, as JPEG."""
    image = Image.open(BytesIO(photo)).convert("RGB")
    scale = (megapixels * 1e6 / (image.width * image.height)) ** 0.5
    size = (round(image.width * scale), round(image.height * scale))
    return as_jpeg(image.resize(size, Image.Resampling.BICUBIC), 88)


def seconds(encoder: Encoder, view: View, photos: list[bytes]) -> tuple[float, float]:
    """The processor's time to decode and prepare photos, and to embed them too."""
    prepared, began = 0.0, time.process_time()
    for start in range(0, len(photos), BATCH):
        before = time.process_time()
        some = photos[start : start + BATCH]
        batch = np.stack([view(decode(photo, encoder.resolution).image) for photo in some])
        prepared += time.process_time() - before
        encoder.encode_images(batch)
    return prepared, time.process_time() - began


if __name__ == "__main__":
    main()
