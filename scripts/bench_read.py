"""How well and how fast the text in pictures is read.

Usage: python scripts/bench_read.py [PHOTOS] [--each N]

Lines in several scripts are drawn plainly, tilted, small, pale and on a rough surface, and compared
with what is read: the character error rate is the number of letters that are wrong, missing or too
many, by that of those drawn. Then the seconds are told that a picture takes with text and without,
by the clock and on the processor, and the memory of a process that reads. Of the photos below
PHOTOS, if they are given, it is told which lines are read, and how many would be at other
thresholds: for photos of which one knows what text they show.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import written
from PIL import Image

from clipsearch.encoders.reading import TextReader, load_reader, rapid
from clipsearch.encoders.reading.line import Line
from clipsearch.photos.decoding.decode import decode, read_file

LINES = {
    "English": ("The quick brown fox jumps over", "Hardware shop, 12 March 2024", "Total: 118.63"),
    "German": ("Straße über Österreich", "Größe fünf, süße Äpfel", "Zwölf Boxkämpfer"),
    "French": ("Crème brûlée à la carte", "Où êtes-vous né, garçon", "Forêt, maïs, cœur"),
    "Spanish": ("El niño comió piñas", "¿Dónde está el baño?", "Mañana, canción"),
    "Polish": ("Zażółć gęślą jaźń", "Łódź, Kraków, Gdańsk", "Dziękuję, proszę"),
    "Chinese": ("五金商店收据总计", "欢迎来到北京火车站", "今日特价苹果三元"),
    "Japanese": ("領収書ありがとう", "東京駅への行き方", "カメラとレンズの店"),
    "Korean": ("안녕하세요 서울역", "영수증 합계 금액", "오늘의 특가 사과"),
    "Russian": ("Добро пожаловать", "Кассовый чек, итого", "Вокзал Москва"),
    "Greek": ("Καλώς ήρθατε", "Απόδειξη σύνολο", "Σταθμός Αθήνα"),
}


def tilted(image: Image.Image) -> Image.Image:
    return image.rotate(8, Image.Resampling.BICUBIC, expand=True, fillcolor=written.WHITE)


def small(image: Image.Image) -> Image.Image:
    """Letters of 20 pixels in a picture of 1600."""
    photo = Image.new("RGB", (1600, 1200), written.WHITE)
    sides = (image.width * 20 // 48, image.height * 20 // 48)
    photo.paste(image.resize(sides, Image.Resampling.BICUBIC), (200, 500))
    return photo


def pale(image: Image.Image) -> Image.Image:
    return image.point([215 + level * 40 // 255 for level in range(256)] * 3)


def rough(image: Image.Image) -> Image.Image:
    """White letters on a rough surface."""
    photo = written.noise(image.size, 3)
    photo.paste(written.WHITE, mask=image.convert("L").point([255 - it for it in range(256)]))
    return photo


WAYS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "plain": lambda image: image, "tilted": tilted, "small": small, "pale": pale, "rough": rough,
}  # fmt: skip


def errors(read: str, drawn: str) -> int:
    """Levenshtein's distance: letters to change, put in or take out."""
    row = list(range(len(drawn) + 1))
    for at, letter in enumerate(read, 1):
        before, row[0] = row[0], at
        for place, wanted in enumerate(drawn, 1):
            costs = (row[place] + 1, row[place - 1] + 1, before + (letter != wanted))
            before, row[place] = row[place], min(costs)
    return row[-1]


def compact(text: str) -> str:
    """Without spaces, of which scripts without them are read with some."""
    return "".join(text.split())


def lines_of(reader: TextReader, picture: Image.Image) -> list[Line]:
    return reader.read(reader.prepare(picture))


def tell_errors(reader: TextReader) -> None:
    print(f"\n{'character errors, %':22}" + "".join(f"{way:>8}" for way in WAYS))
    for script, texts in LINES.items():
        shares = []
        for change in WAYS.values():
            read = [
                "".join(line.text for line in lines_of(reader, change(written.in_script(text))))
                for text in texts
            ]
            wrong = sum(errors(compact(a), compact(b)) for a, b in zip(read, texts, strict=True))
            shares.append(100 * wrong / len(compact("".join(texts))))
        print(f"{script:22}" + "".join(f"{share:8.1f}" for share in shares))


def tell_speed(reader: TextReader, each: int) -> None:
    kinds: dict[str, Callable[[int], Image.Image]] = {
        "500x375, no text": lambda seed: written.noise((500, 375), seed),
        "4000x3000, no text": lambda seed: written.noise((500, 375), seed).resize((4000, 3000)),
        "receipt": lambda seed: written.receipt(seed)[0],
        "screenshot": lambda seed: written.screenshot(seed)[0],
        "page of a book": lambda seed: written.page()[0],
    }
    print(f"{'a picture':22}{'seconds':>8}{'of cpu':>8}{'lines':>8}{'MB at most':>12}")
    for kind, draw in kinds.items():
        clock = processor = lines = 0.0
        for seed in range(each):
            pixels = reader.prepare(draw(seed))
            began = time.perf_counter(), time.process_time()
            lines += len(reader.read(pixels)) / each
            clock += (time.perf_counter() - began[0]) / each
            processor += (time.process_time() - began[1]) / each
        print(f"{kind:22}{clock:8.2f}{processor:8.2f}{lines:8.1f}{memory():12.0f}")


def memory() -> float:
    """The most that this process had until now, MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def tell_photos(reader: TextReader, folder: Path) -> None:
    rapid.LEAST = rapid.LEAST_OF_ONE = 0.0
    counts: Counter[tuple[bool, float]] = Counter()
    photos = sorted(folder.rglob("*.jpg"))
    levels = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
    for photo in photos:
        for line in lines_of(reader, decode(read_file(photo)).image):
            is_one = sum(map(str.isalnum, line.text)) <= 1
            counts.update((is_one, level) for level in levels if line.certainty >= level)
            if line.certainty >= min(levels):
                print(f"{line.certainty:.3f}  {line.text}  {photo.name}")
    print(f"\n{len(photos)} photos; lines that are at least so certain:")
    for is_one, what in ((False, "several letters"), (True, "one letter")):
        told = "  ".join(f"{level}: {counts[is_one, level]}" for level in levels)
        print(f"{what:16}{told}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("photos", nargs="?", type=Path, help="photos of which the text is known")
    parser.add_argument("--each", type=int, default=10, help="pictures of a kind that are timed")
    asked = parser.parse_args()
    reader = load_reader()
    lines_of(reader, written.sign("warm"))
    tell_speed(reader, asked.each)
    if written.has_scripts():
        tell_errors(reader)
    if asked.photos:
        tell_photos(reader, asked.photos)


if __name__ == "__main__":
    main()
