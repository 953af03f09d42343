"""Which perceptual hash tells copies of a picture from other pictures, at what distance.

Usage: python scripts/bench_dupes.py [PHOTOS OTHERS] [--photos-at-scale N] [--alike N]

Each photo below PHOTOS is copied in ways that leave it the same picture (`COPIES`) and in ways
that do not (`FRAMINGS`), and the share of pairs within each distance is printed. The pictures
below OTHERS are all different: what is found among them is false. ImageHash's kinds are compared
if it is installed. Before that the grouping itself is timed over made-up catalogs: of bursts, and
of frames that all look the same. Without folders that is all.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance

from clipsearch import encoders
from clipsearch.photos.decoding.phash import perceptual_hash
from clipsearch.photos.facts.facts import Facts
from clipsearch.photos.files.presence import Seen
from clipsearch.search.duplicates.groups import KINDS, find_duplicates
from clipsearch.search.duplicates.pictures import SAME_PICTURE
from clipsearch.store.catalog import Catalog, Changes, NewPhoto

Change = Callable[[Image.Image], Image.Image]
Hash = Callable[[Image.Image], bytes]

DISTANCES = (0, 2, 4, 6, 8, 10)  # bits


def encoded(image: Image.Image, quality: int, format: str = "JPEG") -> Image.Image:
    file = io.BytesIO()
    image.save(file, format, quality=quality)
    return Image.open(file).convert("RGB")


def scaled(image: Image.Image, factor: float) -> Image.Image:
    size = (round(image.width * factor), round(image.height * factor))
    return encoded(image.resize(size, Image.Resampling.BICUBIC), 85)


def warmer(image: Image.Image) -> Image.Image:
    factors = np.array([1.08, 1.0, 0.92])
    return Image.fromarray((np.asarray(image) * factors).clip(0, 255).astype(np.uint8))


def moved(image: Image.Image, share: float) -> Image.Image:
    """Framed anew: cut at left and above, and half as much at right and below."""
    x, y = image.width * share, image.height * share
    box = (round(x), round(y), round(image.width - x / 2), round(image.height - y / 2))
    return image.crop(box)


COPIES: dict[str, Change] = {
    "JPEG 85": lambda image: encoded(image, 85),
    "JPEG 30": lambda image: encoded(image, 30),
    "WebP 70": lambda image: encoded(image, 70, "WEBP"),
    "half as wide": lambda image: scaled(image, 1 / 2),
    "a third as wide": lambda image: scaled(image, 1 / 3),
    "twice as wide": lambda image: scaled(image, 2),
    "brighter by 10%": lambda image: ImageEnhance.Brightness(image).enhance(1.1),
    "contrast +15%": lambda image: ImageEnhance.Contrast(image).enhance(1.15),
    "colour +30%": lambda image: ImageEnhance.Color(image).enhance(1.3),
    "warmer": warmer,
    "gamma 0.85": lambda image: image.point(
        [round(255 * (i / 255) ** 0.85) for i in range(256)] * 3
    ),
    "black and white": lambda image: image.convert("L").convert("RGB"),
}
FRAMINGS: dict[str, Change] = {
    "moved by 1%": lambda image: moved(image, 0.01),
    "moved by 3%": lambda image: moved(image, 0.03),
    "moved by 6%": lambda image: moved(image, 0.06),
}


def hash_kinds() -> dict[str, Hash]:
    kinds: dict[str, Hash] = {"clipsearch": perceptual_hash}
    if importlib.util.find_spec("imagehash"):
        import imagehash

        for name in ("phash", "dhash", "whash"):
            function = getattr(imagehash, name)
            kinds[f"ImageHash {name}"] = lambda image, f=function: np.packbits(
                f(image).hash
            ).tobytes()
    return kinds


def opened(path: Path) -> Image.Image:
    return Image.open(path).convert("RGB")


def hashes_of(image: Image.Image) -> list[bytes]:
    return [kind(image) for kind in hash_kinds().values()]


def hash_file(path: Path) -> list[bytes]:
    return hashes_of(opened(path))


def hash_copies(path: Path) -> list[list[bytes]]:
    image = opened(path)
    changes = [*COPIES.values(), *FRAMINGS.values()]
    return [hashes_of(image), *(hashes_of(change(image)) for change in changes)]


def bits(hashes: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Hashes as (n,) uint64, and which of them there are: a plain picture has none."""
    words = np.frombuffer(b"".join(one or bytes(8) for one in hashes), np.uint64)
    return words, np.array([bool(one) for one in hashes])


def print_row(name: str, values: list[str]) -> None:
    print("| " + " | ".join([name, *values]) + " |")


def compare_hashes(photos: list[Path], others: list[Path]) -> None:
    with ProcessPoolExecutor() as pool:
        copies = list(pool.map(hash_copies, photos, chunksize=8))
        different = list(pool.map(hash_file, others, chunksize=64))
    for place, kind in enumerate(hash_kinds()):
        print(f"\n{kind}: found of {len(photos)}, in percent, by distance\n")
        print_row("copy", [f"{distance}" for distance in DISTANCES])
        originals, hashed = bits([row[0][place] for row in copies])
        for number, name in enumerate([*COPIES, *FRAMINGS], 1):
            words, also = bits([row[number][place] for row in copies])
            apart = np.where(hashed & also, np.bitwise_count(originals ^ words), 99)
            print_row(name, [f"{100 * np.mean(apart <= d):.1f}" for d in DISTANCES])
        words, hashed = bits([row[place] for row in different])
        counts = false_pairs(words[hashed])
        print_row(f"false pairs of {len(others)}", [f"{counts[d]}" for d in DISTANCES])
        print(f"\nwithout a hash: {np.count_nonzero(~hashed)} of {len(others)}")


def false_pairs(words: np.ndarray) -> np.ndarray:
    """How many pairs of (n,) uint64 are within each distance, (65,) int64."""
    counts = np.zeros(65, np.int64)
    for start in range(0, len(words), 512):
        apart = np.bitwise_count(words[start : start + 512, None] ^ words[None, :])
        upper = np.arange(start, start + len(apart))[:, None] < np.arange(len(words))
        counts += np.bincount(apart[upper], minlength=65)
    return counts.cumsum()


def compare_embeddings(photos: list[Path], others: list[Path]) -> None:
    """The cosines of copies, of other framings and of different pictures, with pocket."""
    encoder = encoders.load(encoders.parse_spec("pocket"))

    def embedded(paths: list[Path], change: Change = lambda image: image) -> np.ndarray:
        views = [encoder.prepare(change(opened(path))) for path in paths]
        return encoder.encode_images(np.stack(views))

    print("\ncosines with pocket\n")
    print_row("pair", ["lowest", "1 in 100 below", "median", f"{SAME_PICTURE} or more, %"])
    originals = embedded(photos)
    for name, change in (COPIES | FRAMINGS).items():
        print_cosines(name, np.einsum("nd,nd->n", originals, embedded(photos, change)))
    rows = embedded(others)
    print_cosines("different pictures", (rows @ rows.T)[np.triu_indices(len(rows), 1)])


def print_cosines(name: str, cosines: np.ndarray) -> None:
    low, hundredth, median = np.percentile(cosines, [0, 1, 50])
    share = 100 * np.mean(cosines >= SAME_PICTURE)
    print_row(name, [f"{low:.2f}", f"{hundredth:.2f}", f"{median:.2f}", f"{share:.1f}"])


def pages(count: int) -> list[Image.Image]:
    """Pages of one layout with other words on each."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(count):
        page = Image.new("RGB", (800, 1100), "white")
        draw = ImageDraw.Draw(page)
        for y in range(80, 1020, 22):
            words = ["x" * n for n in rng.integers(2, 10, rng.integers(3, 14))]
            draw.text((80, y), " ".join(words)[:80], "black", font_size=16)
        made.append(page)
    return made


def show_pages(count: int) -> None:
    for name, kind in hash_kinds().items():
        words, hashed = bits([kind(page) for page in pages(count)])
        pairs = false_pairs(words[hashed])
        print(f"{name}: {pairs[4]} false pairs within 4 bits among {count} pages of text,"
              f" {np.count_nonzero(~hashed)} of them without a hash")  # fmt: skip


def time_cost(file: Path) -> None:
    image = opened(file)
    image = image.resize((504, 378)) if image.width > 600 else image
    for name, kind in hash_kinds().items():
        kind(image)
        started = time.thread_time()
        for _ in range(200):
            kind(image)
        cost = (time.thread_time() - started) * 5
        print(f"{name}: {cost:.2f} ms for {image.width} x {image.height} pixels")


def time_groups(count: int) -> None:
    """Group `count` photos, every tenth a copy of the one before, the others in bursts."""
    rng = np.random.default_rng(0)
    subjects = rng.standard_normal((count // 5 + 1, 12)) @ rng.standard_normal((12, 64))
    strengths = subjects.repeat(5, 0)[:count] + 2 * rng.standard_normal((count, 64))
    strengths[9::10] = strengths[8::10][: len(strengths[9::10])]
    hashes = np.packbits(strengths > np.median(strengths, 1, keepdims=True), axis=1)
    rows = rng.standard_normal((count // 5 + 1, 512)).repeat(5, 0)[:count]
    rows += 0.3 * rng.standard_normal((count, 512))
    rows[9::10] = rows[8::10][: len(rows[9::10])]
    print(grouped(hashes, rows, facts))


def time_alike(count: int) -> None:
    """Group frames that all look the same: of one moment, of no time, and half of them dated."""
    rng = np.random.default_rng(0)
    words = np.uint64(1) << rng.integers(0, 64, (count, 2), np.uint64)
    hashes = np.bitwise_xor.reduce(words, axis=1).view(np.uint8).reshape(-1, 8)
    rows = 1 + 0.3 * rng.standard_normal((count, 512))
    undated = Facts(4000, 3000)
    dated = replace(undated, taken_at="2000-01-01T00:00:00", taken_from="exif")
    print("of one moment:", grouped(hashes, rows, lambda _: dated))
    print("without a time:", grouped(hashes, rows, lambda _: undated))
    half = grouped(hashes, rows, lambda number: facts(5 * number) if number % 2 else undated)
    print("every second dated:", half)


def grouped(hashes: np.ndarray, rows: np.ndarray, facts: Callable[[int], Facts]) -> str:
    """What it costs to group photos with (n, 8) uint8 hashes and (n, dim) float rows."""
    count = len(rows)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as place:
        catalog = Catalog.create(Path(place))
        root = catalog.add_root("/photos")
        model = catalog.add_model("made-up", "0", "0", 512, None)
        digests = [f"{number:064x}" for number in rng.permutation(count)]
        changes = Changes(
            vectors=[
                (d, r.tobytes()) for d, r in zip(digests, rows.astype(np.float16), strict=True)
            ],
            pictures=[(d, h.tobytes()) for d, h in zip(digests, hashes, strict=True)],
            photos=[
                NewPhoto(None, root.id, f"{number}.jpg", digest, 10**6, 10**18, facts(number))
                for number, digest in enumerate(digests)
            ],
        )
        catalog.write(model.id, changes)
        catalog.close()
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            return pool.submit(group, place).result()


def group(place: str) -> str:
    """Group the photos of a catalog; alone in its process, so that its memory is its own."""
    started = time.monotonic()
    catalog = Catalog.open(Path(place))
    (model,) = catalog.models()
    groups = find_duplicates(
        catalog, model, catalog.pictures(), KINDS, 60, lambda place: Seen(frozenset({place.path}))
    )  # no file is there, so none is looked at
    seconds = time.monotonic() - started
    kinds = [group.kind for group in groups]
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) >> 10
    return (
        f"{catalog.count_photos()} photos: {seconds:.1f} s, {kinds.count('pictures')} groups of"
        f" pictures, {kinds.count('shots')} of shots; peak of the process {peak} MB"
    )


def facts(number: int) -> Facts:
    """Taken in bursts of five, a second apart, one burst every five minutes; copies lack a time."""
    second = number // 5 * 300 + number % 5
    taken = str(np.datetime64("2000-01-01T00:00:00") + np.timedelta64(second, "s"))
    if number % 10 == 9:
        return Facts(4000, 3000)
    return Facts(4000, 3000, taken_at=taken, taken_from="exif")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("photos", type=Path, nargs="?")
    parser.add_argument("others", type=Path, nargs="?", help="without these only groups are timed")
    parser.add_argument("--photos-at-scale", type=int, default=200_000)
    parser.add_argument("--alike", type=int, default=4000)
    arguments = parser.parse_args()
    time_groups(arguments.photos_at_scale)
    time_alike(arguments.alike)
    if not (arguments.photos and arguments.others):
        return
    photos, others = (
        sorted(file for file in folder.iterdir() if file.suffix in (".jpg", ".png", ".webp"))
        for folder in (arguments.photos, arguments.others)
    )
    time_cost(photos[0])
    show_pages(1000)
    compare_hashes(photos, others)
    compare_embeddings(photos[:100], others[:1000])


if __name__ == "__main__":
    main()
