"""How much memory a run over large files takes at its peak, with how many workers.

Usage: python scripts/bench_memory.py [--megapixels N] [--files N] [--workers N ...] [--kinds K ...]

Makes large pictures, TIFFs that are large as files too and PNGs that are so only when decoded, and
has `clipsearch index` read them as a whole process, and the same where workers take no turns. What
all its processes hold together (PSS: shared pages count once) is looked at twenty times a second.
Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

PROGRAM = "from clipsearch.cli import main; main()"
WITHOUT_TURNS = """
from dataclasses import replace
from clipsearch.indexing import loading
loading._shared_out = lambda limits, workers: replace(
    limits, large_file=1 << 62, large_pixels=1 << 62
)
"""
TICK = 0.05  # seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megapixels", type=int, default=80)
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--kinds", nargs="+", default=["tif", "png"])
    options = parser.parse_args()
    for kind in options.kinds:
        with tempfile.TemporaryDirectory(prefix="bench-memory-") as name:
            photos = Path(name, "photos")
            make_files(photos, kind, options.files, options.megapixels)
            largest = max(file.stat().st_size for file in photos.iterdir()) / 1e6
            print(
                f"{options.files} .{kind}, {options.megapixels} megapixels, {largest:.0f} MB each"
            )
            compare(photos, options.files, options.workers)


def make_files(photos: Path, kind: str, count: int, megapixels: int) -> None:
    photos.mkdir()
    side = round((megapixels * 1_000_000) ** 0.5)
    ramp = np.linspace(0, 255, side).astype(np.uint8)
    pixels = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None], np.uint8(0)), axis=2)
    for number in range(count):
        pixels[: side // 4, :, 2] = number  # no content twice, which would be decoded once
        more = {"compress_level": 1} if kind == "png" else {}
        Image.fromarray(pixels).save(photos / f"{number}.{kind}", **more)


def compare(photos: Path, files: int, workers: list[int]) -> None:
    print(f"{'workers':>7}  {'turns: peak':>12} {'time':>7}  {'no turns: peak':>14} {'time':>7}")
    for count in workers:
        peak, seconds = run(PROGRAM, photos, files, count)
        freely, freely_seconds = run(WITHOUT_TURNS + PROGRAM, photos, files, count)
        print(
            f"{count:7}  {peak / 1e9:9.2f} GB {seconds:5.1f} s"
            f"  {freely / 1e9:11.2f} GB {freely_seconds:5.1f} s"
        )


def run(program: str, photos: Path, files: int, workers: int) -> tuple[int, float]:
    """The peak of all processes of a run in bytes, and its seconds."""
    with tempfile.TemporaryDirectory(prefix="bench-memory-") as index:
        options = ["--model", "pocket", "--workers", str(workers), "--json"]
        command = [sys.executable, "-c", program, "index", str(photos), "--index", index + "/i"]
        began = time.perf_counter()
        process = subprocess.Popen(
            command + options, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        peak = 0
        while process.poll() is None:
            peak = max(peak, held_by(process.pid))
            time.sleep(TICK)
        seconds = time.perf_counter() - began
        answer, _ = process.communicate()
        if json.loads(answer)["added"] != files:
            raise SystemExit(f"not all files were read: {answer}")
        return peak, seconds


def held_by(session: int) -> int:
    """The bytes that the processes of a session hold."""
    return sum(
        pss_of(place) for place in Path("/proc").iterdir()
        if place.name.isdecimal() and session_of(int(place.name)) == session
    )  # fmt: skip


def session_of(process: int) -> int | None:
    try:
        return os.getsid(process)
    except OSError:  # it ended meanwhile
        return None


def pss_of(place: Path) -> int:
    try:
        lines = (place / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))


if __name__ == "__main__":
    main()
