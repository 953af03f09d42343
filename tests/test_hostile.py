"""A folder of broken, odd and hostile files is indexed, and each that cannot be is listed.

No crash, no hang, no warning: the real command line, on files made here.
"""

from __future__ import annotations

import io
import json
import os
import re
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Run, picture, soon
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from clipsearch import Library
from clipsearch.encoders import pocket_files
from clipsearch.errors import PhotoError
from clipsearch.photos.decoding.decode import decode, read_file, take_over_pillow
from clipsearch.photos.files.opening import MAX_BYTES

Named = Iterator[tuple[str, bytes]]

FORMATS = {
    "jpg": "JPEG", "png": "PNG", "webp": "WEBP", "gif": "GIF", "tif": "TIFF", "avif": "AVIF",
    "bmp": "BMP", "jp2": "JPEG2000", "ppm": "PPM",
}  # fmt: skip


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def noise(seed: int, size: tuple[int, int] = (160, 120)) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


# Broken


def truncated() -> Named:
    for extension, format in FORMATS.items():
        content = saved(noise(1), format)
        for share in (0.0005, 0.01, 0.2, 0.5, 0.8, 0.97):
            yield f"cut{share}.{extension}", content[: max(2, int(len(content) * share))]
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"):
        content = saved(noise(1), "TIFF", compression=compression)
        yield f"cut-{compression}.tiff", content[: len(content) // 2]
    progressive = saved(noise(1), "JPEG", progressive=True)
    yield "cut-progressive.jpg", progressive[: len(progressive) // 2]


def damaged() -> Named:
    for extension, format in FORMATS.items():
        content = saved(noise(2), format)
        for seed in range(6):
            rng = np.random.default_rng(seed)
            broken = bytearray(content)
            # Half of them in what comes first, where the sizes and tables are.
            end = len(content) if seed % 2 else min(len(content), 400)
            for place in rng.integers(2, end, 12):
                broken[place] = rng.integers(256)
            yield f"hit{seed}.{extension}", bytes(broken)


def no_pictures() -> Named:
    yield "zeros.jpg", bytes(10_000)
    yield "empty.png", b""
    yield "text.jpg", b"These are words.\n" * 50
    yield "page.JPG", b"<!DOCTYPE html><html><body>404 Not Found</body></html>"
    yield "drawing.png", b'<svg xmlns="http://www.w3.org/2000/svg"><rect/></svg>'
    yield "archive.jpeg", b"PK\x03\x04" + bytes(200)
    yield "document.tif", b"%PDF-1.7\n" + bytes(200)
    yield "program.gif", b"\x7fELF" + bytes(200)
    yield "film.heic", b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + bytes(200)
    yield "script.eps.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nquit\n"
    yield "random.webp", np.random.default_rng(3).bytes(5000)
    yield "raw.nef", b"MM\0*\0\0\0\x08" + bytes(100)
    yield "raw.cr2", b"II*\0\x10\0\0\0CR\2\0" + bytes(200)
    yield "raw.raf", b"FUJIFILMCCD-RAW 0201" + bytes(500)
    yield "raw.cr3", b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(200)
    yield "phone.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)
    starts = {
        "jpg": b"\xff\xd8\xff\xe0", "png": b"\x89PNG\r\n\x1a\n", "gif": b"GIF89a",
        "tif": b"II*\0", "webp": b"RIFF\xff\xff\0\0WEBP", "bmp": b"BM",
        "jp2": b"\0\0\0\x0cjP  \r\n\x87\n", "avif": b"\0\0\0\x1cftypavif",
    }  # fmt: skip
    for name, start in starts.items():
        yield f"only-a-start.{name}", start


def bombs() -> Named:
    yield "bomb.png", png(30_000, 30_000, b"\0" * 1000)
    yield "bomb-wide.png", png(2**31 - 1, 1, b"")
    yield "bomb-text.png", png(8, 8, bytes(8 * 25), text=zlib.compress(bytes(100_000_000), 9))
    yield "bomb.bmp", b"BM" + struct.pack("<LLLLllHHLLLLLL", 54, 0, 54, 40, 60_000, 60_000, 1, 24,
                                          0, 0, 0, 0, 0, 0)  # fmt: skip
    yield "bomb-rle.bmp", bmp_of_jumps(20_000_000, 15)
    yield "bomb.gif", b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b"\x2c" + (
        struct.pack("<HHHHB", 0, 0, 65_535, 65_535, 0) + b"\x02\x02\x44\x01\0;"
    )  # fmt: skip
    yield "bomb.ppm", b"P6 100000 100000 255\n"
    yield "bomb-tiles.tif", tiff({256: 64, 257: 64, 258: 8, 259: 8, 262: 1, 322: 65_536,
                                  323: 65_536, 324: 8, 325: 100})  # fmt: skip
    yield "bomb-strips.tif", tiff({256: 65_000, 257: 65_000, 258: 8, 259: 1, 262: 1, 273: 8,
                                   278: 1, 279: 100})  # fmt: skip
    progressive = bytearray(saved(Image.new("L", (64, 64)), "JPEG", progressive=True))
    at = progressive.index(b"\xff\xc2")
    progressive[at + 5 : at + 9] = struct.pack(">HH", 65_000, 65_000)
    yield "bomb-progressive.jpg", bytes(progressive)
    loop = tiff({256: 8, 257: 8, 258: 8, 259: 1, 262: 1, 273: 8, 279: 64}, following=8)
    yield "loop-of-directories.tif", loop


def png(width: int, height: int, pixels: bytes, text: bytes | None = None) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))
        )

    header = struct.pack(">LLBBBBB", width, height, 8, 2, 0, 0, 0)
    said = chunk(b"zTXt", b"Comment\0\0" + text) if text else b""
    body = chunk(b"IDAT", zlib.compress(pixels))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + said + body + chunk(b"IEND", b"")


def bmp_of_jumps(width: int, height: int) -> bytes:
    """A run-length BMP that jumps over 255 rows again and again."""
    header = struct.pack("<LLLLllHHLLLLLL", 0, 0, 1078, 40, width, height, 1, 8, 1, 0, 0, 0, 256, 0)
    return b"BM" + header + bytes(1024) + b"\0\2\xff\xff" * 100


def tiff(tags: dict[int, int], following: int = 0) -> bytes:
    rows = [struct.pack("<HHLL", tag, 4, 1, value) for tag, value in sorted(tags.items())]
    directory = struct.pack("<H", len(rows)) + b"".join(rows) + struct.pack("<L", following)
    return b"II*\0\x08\0\0\0" + directory + bytes(100)


def broken_metadata() -> Named:
    """Pictures that are whole, with metadata that is not: all of them can be read."""
    blocks = {
        "none": b"Exif\0\0", "words": b"Exif\0\0not a tiff",
        "far": b"Exif\0\0MM\0*\xff\xff\xff\xff",
        "zeros": bytes(60), "self": b"Exif\0\0II*\0\x08\0\0\0\1\0\x69\x87\4\0\1\0\0\0\x08\0\0\0",
        "huge": b"Exif\0\0II*\0\x08\0\0\0\1\0\x0f\1\2\0\xff\xff\xff\x7f\x1a\0\0\0",
        "many": b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(600),
        "kinds": b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\x63\0\1\0\0\0\6\0\0\0\0\0\0\0",
    }  # fmt: skip
    exif = Image.Exif()
    exif[0x0110], exif[0x0112] = "A camera", 6
    whole = exif.tobytes()
    for cut in range(8, len(whole), 9):
        blocks[f"cut{cut}"] = whole[:cut]
    for name, block in blocks.items():
        yield f"exif-{name}.jpg", saved(picture(hash_of(name)), "JPEG", exif=block)
    for format in ("PNG", "WEBP"):
        yield f"exif.{format.lower()}", saved(noise(4, (90, 60)), format, exif=blocks["self"])
    for name, profile in {
        "words": b"no profile",
        "zeros": bytes(200),
        "long": bytes(300_000),
    }.items():
        yield f"icc-{name}.jpg", saved(picture(hash_of(name)), "JPEG", icc_profile=profile)
        yield f"icc-{name}.png", saved(picture(hash_of(name), (99, 70)), "PNG", icc_profile=profile)
    for name, packet in {"words": b"no xml", "open": b"<a>" * 9000, "zeros": bytes(99)}.items():
        yield f"xmp-{name}.jpg", saved(picture(hash_of(name), (80, 60)), "JPEG", xmp=packet)
    yield (
        "photoshop.jpg",
        with_segment(saved(noise(5), "JPEG"), 0xED, b"Photoshop 3.0\08BIM\4\4\xff"),
    )
    yield "mpf.jpg", with_segment(saved(noise(6), "JPEG"), 0xE2, b"MPF\0II*\0\xff\xff\xff\xff")
    yield "comment.gif", saved(picture(7), "GIF", comment=bytes(70_000))  # longer than a JPEG's
    words = PngInfo()
    words.add_text("comment", "c" * 70_000)
    yield "comment.png", saved(picture(8), "PNG", pnginfo=words)


def hash_of(name: str) -> int:
    return zlib.crc32(name.encode())


def with_segment(jpeg: bytes, marker: int, body: bytes) -> bytes:
    return jpeg[:2] + struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body + jpeg[2:]


# Odd, and all of them can be read


def modes() -> Named:
    image = noise(7, (70, 50))
    for mode in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB"):
        yield f"mode-{mode}.tif", saved(image.convert(mode), "TIFF")
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        yield f"mode-{mode}.png", saved(image.convert(mode), "PNG")
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        yield f"mode-{mode}.bmp", saved(image.convert(mode), "BMP")
    for mode in ("L", "CMYK", "RGB"):
        yield f"mode-{mode}.jpg", saved(image.convert(mode), "JPEG")
    deep = np.random.default_rng(8).integers(0, 65_536, (50, 70)).astype(np.uint16)
    yield "16-bit.png", saved(Image.fromarray(deep), "PNG")
    yield "16-bit.tif", saved(Image.fromarray(deep), "TIFF")
    yield "16-bit.jp2", saved(Image.fromarray(deep), "JPEG2000")
    yield "16-bit.pgm", saved(Image.fromarray(deep.astype(np.int32)), "PPM")
    yield "32-bit.tif", saved(Image.fromarray(deep.astype(np.int32) * 9999), "TIFF")
    yield "signed.tif", saved(Image.fromarray(-deep.astype(np.int32)), "TIFF")
    extreme = np.array([[3.4e38, -3.4e38, np.nan], [np.inf, -np.inf, 0]], np.float32)
    yield "float.tif", saved(Image.fromarray(extreme), "TIFF")
    yield "no-number.tif", saved(Image.fromarray(np.full((9, 9), np.nan, np.float32)), "TIFF")
    for compression in ("group4", "tiff_lzw", "tiff_adobe_deflate", "packbits"):
        ink = image.convert("1") if compression == "group4" else image.rotate(len(compression))
        yield f"{compression}.tiff", saved(ink, "TIFF", compression=compression)


def sizes() -> Named:
    for extension in ("jpg", "png", "gif", "tif", "bmp", "ppm"):
        for size in ((1, 1), (1, 20_000), (20_000, 1)):
            shade = Image.new("RGB", size, (size[0] % 251, len(extension), size[1] % 241))
            name = f"{size[0]}x{size[1]}.{extension}"
            yield name, saved(shade, FORMATS[extension])
    yield "1x1.webp", saved(Image.new("RGB", (1, 1)), "WEBP")
    yield "1x16000.webp", saved(Image.new("RGB", (1, 16_000)), "WEBP")
    yield "large.jpg", saved(Image.new("L", (24_000, 12_000), 77), "JPEG")


def animations() -> Named:
    frames = [Image.new("RGB", (40, 30), (n * 20, 255 - n * 20, 99)) for n in range(9)]
    for extension in ("gif", "png", "webp", "tif", "avif"):
        options = {} if extension == "tif" else {"duration": 40}
        content = saved(frames[0], FORMATS[extension], save_all=True, append_images=frames[1:],
                        **options)  # fmt: skip
        yield f"moving.{extension}", content
    dot = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\2\2\x44\1\0"
    palette = bytes(range(12))
    yield (
        "hundred-thousand-frames.gif",
        (b"GIF89a" + struct.pack("<HHBBB", 9, 9, 0xF1, 0, 0) + palette + dot * 100_000 + b";"),
    )


def wrong_names() -> Named:
    for n, (extension, format) in enumerate(FORMATS.items()):
        other = [*FORMATS][(n + 1) % len(FORMATS)]
        yield f"in-truth-{extension}.{other}", saved(picture(20 + n), format)
    yield "UPPER.JPG", saved(picture(40), "JPEG")
    yield "two\nlines.jpg", saved(picture(41), "JPEG")
    yield "tab\t'\"$(touch x);*?.jpg", saved(picture(42), "JPEG")
    yield "-rf.jpg", saved(picture(43), "JPEG")
    yield "日本 \u202egnp.jpg", saved(picture(44), "JPEG")
    yield "\U0001f408.png", saved(picture(45), "PNG")
    yield os.fsdecode(b"caf\xe9.jpg"), saved(picture(46), "JPEG")
    yield "x" * 240 + ".jpg", saved(picture(47), "JPEG")


READABLE = (broken_metadata, modes, sizes, animations, wrong_names)
UNREADABLE = (truncated, no_pictures, bombs)
# Of which nearly all rows are there, if coarse.
NEARLY_WHOLE = ("cut0.97.gif", "cut0.97.jpg", "cut-progressive.jpg")


@cache
def everything() -> dict[str, bytes]:
    """The content of each file, by its name."""
    groups = (*UNREADABLE, damaged, *READABLE)
    return {name: content for group in groups for name, content in group()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """All of it, with things among it that are no files."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    for name, content in everything().items():
        (folder / name).write_bytes(content)
    (folder / "folder.jpg").mkdir()
    os.mkfifo(folder / "pipe.jpg")
    (folder / "endless.jpg").symlink_to("/dev/zero")
    (folder / "nowhere.jpg").symlink_to("nowhere")
    (folder / "itself.jpg").symlink_to("itself.jpg")
    with (folder / "sparse.tif").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    return folder


# Each sees pictures in its own way.
@pytest.mark.parametrize(
    "family", ["open_clip", pytest.param("pocket", marks=pytest.mark.thorough)]
)
def test_a_hostile_folder_is_indexed_and_every_failure_is_listed(
    folder: Path, clipsearch: Run, spec: str, family: str
) -> None:
    if family == "pocket" and pocket_files() is None:
        pytest.skip("needs the group pocket")
    spec = family if family == "pocket" else spec
    assert len(everything()) >= 200
    done = clipsearch("index", folder, "--model", spec, "--json")
    assert (done.returncode, unsaid(done.stderr)) == (0, [])
    report = json.loads(done.stdout)
    assert report["added"] + report["failed"] == len(everything()) + 1  # and the sparse one

    failures = {
        os.fsencode(entry["path"]): entry["reason"]
        for entry in json.loads(clipsearch("status", "--json").stdout)["failures"]
    }
    assert len(failures) == report["failed"]
    for reason in failures.values():
        assert_readable(reason)
    lines = clipsearch("status", "--failures")
    assert len(lines.stdout.splitlines()) == len(failures)
    for group in READABLE:
        for name, _ in group():
            assert os.fsencode(folder / name) not in failures, failures[os.fsencode(folder / name)]
    for group in UNREADABLE:
        for name, _ in group():
            if "loop-of" not in name and name not in NEARLY_WHOLE:
                assert os.fsencode(folder / name) in failures

    hits = json.loads(clipsearch("query", "x", "-k", "9999", "--json").stdout)
    assert len(hits) == report["added"]

    again = clipsearch("index", "--json")
    report = json.loads(again.stdout)
    assert (report["added"], report["failed"], report["unchanged"]) == (0, 0, len(hits))


def unsaid(stderr: str) -> list[str]:
    """The lines that the command line did not mean to print."""
    return [line for line in stderr.splitlines() if not line.startswith("clipsearch: ")]


def assert_readable(message: str) -> None:
    assert 5 < len(message) < 250
    assert message.isprintable()
    assert not any(word in message for word in ("BytesIO", "Traceback", "object at", "Errno"))


# One by one


@pytest.fixture
def as_the_program_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)  # put back afterwards
    take_over_pillow()


@pytest.mark.usefixtures("as_the_program_has_it")
@pytest.mark.parametrize("name", [name for name, _ in bombs()])
def test_a_bomb_takes_little_memory(name: str) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        decode(everything()[name], min_side=224)
    except PhotoError as error:
        assert_readable(str(error))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 600_000  # kilobytes


@pytest.mark.usefixtures("as_the_program_has_it")
def test_a_progressive_jpeg_is_held_whole_and_so_bounded_by_its_whole_size() -> None:
    for options in ({"progressive": True}, {}):
        content = saved(Image.new("RGB", (2000, 1000)), "JPEG", **options)
        assert decode(content, min_side=224, max_pixels=2_000_000)
    progressive = saved(Image.new("RGB", (2000, 1000)), "JPEG", progressive=True)
    with pytest.raises(PhotoError, match="2000x1000"):
        decode(progressive, min_side=224, max_pixels=1_000_000)


@pytest.mark.usefixtures("as_the_program_has_it")
def test_a_tall_picture_of_many_bits_is_shown_in_strips_as_in_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deep = Image.fromarray(np.random.default_rng(1).random((90, 30), np.float32))
    clear = noise(9, (30, 90)).convert("RGBA")
    clear.putalpha(noise(10, (30, 90)).convert("L"))
    pictures = [saved(deep, "TIFF"), saved(clear, "PNG")]
    whole = [decode(content).image.tobytes() for content in pictures]
    monkeypatch.setattr("clipsearch.photos.decoding.decode._STRIP", 30 * 7)
    assert [decode(content).image.tobytes() for content in pictures] == whole


@pytest.mark.parametrize(
    "make",
    [
        lambda path: os.mkfifo(path),
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.symlink_to("/dev/null"),
    ],
    ids=["pipe", "endless", "null"],
)
def test_what_is_no_plain_file_is_not_read(make: Any, tmp_path: Path) -> None:
    make(tmp_path / "x.jpg")
    with pytest.raises(PhotoError, match="not a plain file"):
        read_file(tmp_path / "x.jpg")


def test_a_file_of_many_gigabytes_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "x.tif").open("wb") as file:
        file.truncate(MAX_BYTES * 3)
    with pytest.raises(PhotoError, match=r"6\.0 GB is above the limit of 2 GB"):
        read_file(tmp_path / "x.tif")


# What names do to a terminal

ESCAPES = "\x1b]0;owned\x07\x9b31m\u202egpj.exe"


def test_no_name_reaches_a_terminal_raw(tmp_path: Path, index: Path, clipsearch: Run) -> None:
    (folder := tmp_path / f"photos {ESCAPES}").mkdir()
    picture(0).save(folder / f"{ESCAPES}.jpg")
    (folder / f"broken {ESCAPES}.jpg").write_bytes(b"no picture")
    for command in (
        ["index", folder, "--model", "pocket"], ["ls"], ["query", "a dog"], ["status"],
        ["status", "--failures"], ["dupes"], ["ls", folder / "nowhere"], ["index", folder / "no"],
        ["query", ESCAPES], ["similar", folder / f"broken {ESCAPES}.jpg"],
        ["forget", folder / "nowhere"], ["label", folder / f"broken {ESCAPES}.jpg"],
    ):  # fmt: skip
        done = clipsearch(*command)
        said = done.stdout + done.stderr
        assert said, command
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", said), (command, said)


MEASURED = """
import atexit, pathlib, re, sys
from clipsearch.__main__ import main

def tell():
    status = pathlib.Path("/proc/self/status").read_text()
    print(re.findall(r"VmHWM:\\s+(\\d+)", status)[0], file=sys.stderr)

atexit.register(tell)
main()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc for memory")
def test_no_picture_that_is_named_is_decoded_in_the_command_itself(
    tmp_path: Path, index: Path, cache: Path, clipsearch: Run
) -> None:
    for name, side in (("small", 60), ("large", 7000)):
        (tmp_path / name).mkdir()
        pixels = bytes((1 + 3 * side) * side)
        (tmp_path / name / "photo.png").write_bytes(png(side, side, pixels))
    assert clipsearch("index", tmp_path, "--model", "pocket").returncode == 0
    environment = {"CLIPSEARCH_INDEX": str(index), "CLIPSEARCH_CACHE": str(cache)}

    (tmp_path / "labels.txt").write_text("night\nday\n")

    def named(place: Path) -> dict[str, Path]:
        return {
            "PHOTO": place / "photo.png", "FOLDER": place, "LABELS": tmp_path / "labels.txt",
        }  # fmt: skip

    def peak(*arguments: str | Path) -> int:
        """The most memory that the command's own process took, in kilobytes."""
        command = [sys.executable, "-c", MEASURED, *map(str, arguments)]
        done = subprocess.run(
            command, env=os.environ | environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return int(done.stderr.splitlines()[-1])

    for command in (
        ["similar", "PHOTO", "--region", "0,0,50,50"], ["label", "PHOTO", "--labels", "LABELS"],
        ["score", "PHOTO", "--text", "night", "--text", "day"],
        ["ls", "--folder", "FOLDER", "--sheet", str(tmp_path / "sheet.html")],
    ):  # fmt: skip
        small, large = (
            peak(*[named(place).get(it, it) for it in command])
            for place in (tmp_path / "small", tmp_path / "large")
        )
        assert large - small < 60_000, command  # kilobytes; its pixels are 147,000


def test_the_index_and_the_caches_are_for_their_owner_alone(photos: Path, tmp_path: Path) -> None:
    index, cache = tmp_path / "old" / "index", tmp_path / "new" / "cache"
    environment = os.environ | {"CLIPSEARCH_INDEX": str(index), "CLIPSEARCH_CACHE": str(cache)}
    command = [sys.executable, "-m", "clipsearch", "index", photos, "--model", "pocket"]
    subprocess.run(command, env=environment, check=True, capture_output=True, umask=0o022)
    with Library.open(index, create=False) as library:
        library.copy(tmp_path / "copy")
    for folder in (index, cache, tmp_path / "copy"):
        assert folder.stat().st_mode & 0o077 == 0, folder
    index.chmod(0o755)  # which a person may want
    subprocess.run(command, env=environment, check=True, capture_output=True, umask=0o022)
    assert index.stat().st_mode & 0o777 == 0o755


FOR_EVER = """
import itertools, os, sys
from collections import deque
from clipsearch.photos.decoding import isolated

def work(told):
    with open(told, "w") as file:
        file.write(f"{os.getpid()}\\n")
    deque(itertools.count(), maxlen=0)  # lets no other thread in, as decoders may for seconds

if __name__ == "__main__":
    isolated.TIMEOUT = 3600.0
    with isolated.Processes(1) as processes:
        processes.start(work, sys.argv[1])()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it ends when it lets others in")
def test_a_decoder_amid_its_work_ends_with_the_process(tmp_path: Path) -> None:
    (program := tmp_path / "program.py").write_text(FOR_EVER)
    told = tmp_path / "told"
    process = subprocess.Popen([sys.executable, program, told], stderr=subprocess.DEVNULL)

    def is_there(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    try:
        soon(lambda: told.exists() and told.read_text().endswith("\n"))
    finally:
        process.kill()  # and the decoder with it
        process.wait()
    decoder = int(told.read_text())
    try:
        soon(lambda: not is_there(decoder))
    finally:
        with suppress(ProcessLookupError):
            os.kill(decoder, signal.SIGKILL)
