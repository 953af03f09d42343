"""A file is what its content says; HEIC and camera RAW open where their groups are installed."""

from __future__ import annotations

import builtins
import io
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from conftest import picture
from PIL import Image

from clipsearch.errors import PhotoError
from clipsearch.photos.decoding.decode import decode, take_over_pillow
from clipsearch.photos.scanning.names import is_photo_name

RED = (30_000, 8_000, 4_000)  # what a sensor sees in its red, green and blue places


@pytest.fixture(autouse=True)
def pillow_as_the_program_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)  # put back afterwards
    take_over_pillow()


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make a module seem not installed."""

    def hide(module: str) -> None:
        monkeypatch.setitem(sys.modules, module, None)

    return hide


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def reason(content: bytes, **options: int) -> str:
    with pytest.raises(PhotoError) as caught:
        decode(content, **options)
    return str(caught.value)


def difference(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(one, np.float32) - np.asarray(other, np.float32)).mean())


# HEIC


def heic(image: Image.Image, **options: Any) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    file = io.BytesIO()
    pillow_heif.from_pillow(image).save(file, quality=90, **options)
    return file.getvalue()


def test_a_heic_opens() -> None:
    shown = decode(heic(picture(1)), min_side=100)
    assert (shown.image.mode, shown.image.size) == ("RGB", (320, 240))
    assert difference(shown.image, picture(1)) < 4


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_heic_is_upright_and_turned_once(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x0110] = orientation, "iPhone 15"
    turn = {1: None, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90,
            8: Image.Transpose.ROTATE_270}[orientation]  # fmt: skip
    stored = picture(1) if turn is None else picture(1).transpose(turn)
    shown = decode(heic(stored, exif=exif.tobytes()))
    assert (shown.facts.width, shown.facts.height) == shown.image.size == (320, 240)
    assert difference(shown.image, picture(1)) < 4
    assert (shown.facts.camera, shown.facts.orientation) == ("iPhone 15", orientation)


def test_a_heic_above_the_limit_is_refused() -> None:
    assert "320x240" in reason(heic(picture(1)), max_pixels=1000)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.95])
def test_a_truncated_heic_gives_a_reason(share: float) -> None:
    content = heic(picture(1))
    assert "\n" not in reason(content[: int(len(content) * share)])


def test_without_its_group_a_heic_says_what_to_install(without: Callable[[str], None]) -> None:
    content = heic(picture(1))
    without("pillow_heif")
    assert "HEIC needs: pip install 'clipsearch[heic]'" in reason(content)


# RAW


def dng(preview: Image.Image | None = None, orientation: int = 1) -> bytes:
    """A small DNG of a red field: 640x480 places of a sensor, and perhaps a JPEG before them."""
    width, height = 640, 480
    mosaic = np.full((height, width), RED[1], "<u2")
    mosaic[0::2, 0::2], mosaic[1::2, 1::2] = RED[0], RED[2]
    out = bytearray(b"II*\0\0\0\0\0")
    at = _put(out, mosaic.tobytes())
    raw = {
        254: "L0", 256: f"L{width}", 257: f"L{height}", 258: "H16", 259: "H1", 262: "H32803",
        273: f"L{at}", 277: "H1", 278: f"L{height}", 279: f"L{mosaic.nbytes}", 33421: "H2 2",
        33422: "B0 1 1 2", 50714: "H0", 50717: "H65535",
    }  # fmt: skip
    main = {
        271: "sMaker", 272: "sModel One", 274: f"H{orientation}", 306: "s2024:05:06 07:08:09",
        50706: "B1 4 0 0", 50708: "sModel One", 50721: "l1 1 0 1 0 1 0 1 1 1 0 1 0 1 0 1 1 1",
        50728: "r1 1 1 1 1 1", 50778: "H21",
    }  # fmt: skip
    if preview:
        jpeg = saved(preview, "JPEG")
        main |= {
            254: "L1", 256: f"L{preview.width}", 257: f"L{preview.height}", 258: "H8 8 8",
            259: "H7", 262: "H6", 273: f"L{_put(out, jpeg)}", 277: "H3", 279: f"L{len(jpeg)}",
            330: f"L{_directory(out, raw)}",
        }  # fmt: skip
    else:
        main = raw | main
    out[4:8] = struct.pack("<L", _directory(out, main))
    return bytes(out)


def _put(out: bytearray, data: bytes) -> int:
    out += b"\0" * (len(out) % 2)
    out += data
    return len(out) - len(data)


def _directory(out: bytearray, entries: dict[int, str]) -> int:
    rows = b""
    for tag, (kind, *text) in sorted(entries.items()):
        code, count, data = _packed(kind, "".join(text))
        value = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack("<L", _put(out, data))
        rows += struct.pack("<HHL", tag, code, count) + value
    return _put(out, struct.pack("<H", len(entries)) + rows + b"\0\0\0\0")


def _packed(kind: str, text: str) -> tuple[int, int, bytes]:
    if kind == "s":
        return 2, len(text) + 1, text.encode() + b"\0"
    numbers: Sequence[int] = [int(word) for word in text.split()]
    code, each = {"B": (1, 1), "H": (3, 1), "L": (4, 1), "r": (5, 2), "l": (10, 2)}[kind]
    data = struct.pack(f"<{len(numbers)}{kind.replace('r', 'L')}", *numbers)
    return code, len(numbers) // each, data


BLUE = Image.new("RGB", (320, 240), "blue")


def colour(image: Image.Image) -> str:
    red, _, blue = image.getpixel((60, 60))
    return "red" if red > blue else "blue"


@pytest.mark.parametrize(
    ("preview", "min_side", "size", "shown"),
    [
        (BLUE, 224, (320, 240), "blue"),
        (BLUE, 240, (320, 240), "blue"),
        (BLUE, 241, (640, 480), "red"),
        (BLUE, None, (640, 480), "red"),
        (BLUE.resize((160, 120)), 224, (320, 240), "red"),
        (None, 224, (320, 240), "red"),
        (None, 300, (640, 480), "red"),
        (None, None, (640, 480), "red"),
    ],
)
def test_a_raw_is_shown_by_its_preview_where_that_is_large_enough(
    preview: Image.Image | None, min_side: int | None, size: tuple[int, int], shown: str
) -> None:
    pytest.importorskip("rawpy")
    photo = decode(dng(preview), min_side=min_side)
    assert (photo.image.mode, photo.image.size, colour(photo.image)) == ("RGB", size, shown)
    assert (photo.facts.width, photo.facts.height) == (640, 480)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("preview", [None, BLUE], ids=["raw", "preview"])
def test_a_raw_is_upright(preview: Image.Image | None, orientation: int) -> None:
    pytest.importorskip("rawpy")
    upright = (240, 320) if orientation > 4 else (320, 240)
    photo = decode(dng(preview, orientation), min_side=224)
    assert photo.image.size == upright
    assert (photo.facts.width, photo.facts.height) == (upright[0] * 2, upright[1] * 2)


def test_a_raw_tells_its_facts() -> None:
    pytest.importorskip("rawpy")
    told = decode(dng(BLUE, 6), min_side=224).facts
    assert (told.camera, told.taken_at, told.orientation) == (
        "Maker Model One", "2024-05-06T07:08:09", 6,
    )  # fmt: skip


@pytest.mark.parametrize("preview", [None, BLUE], ids=["raw", "preview"])
@pytest.mark.parametrize("length", [9, 100, 10_000, 600_000])
def test_a_truncated_raw_gives_a_picture_or_a_reason(
    length: int, preview: Image.Image | None
) -> None:
    pytest.importorskip("rawpy")
    try:
        assert decode(dng(preview)[:length], min_side=224).image.mode == "RGB"
    except PhotoError as error:
        assert_readable(str(error))


def assert_readable(message: str) -> None:
    assert message
    assert "\n" not in message


def test_a_raw_above_the_limit_is_refused() -> None:
    pytest.importorskip("rawpy")
    assert "640x480" in reason(dng(), max_pixels=1000)


def test_without_its_group_a_raw_says_what_to_install(without: Callable[[str], None]) -> None:
    without("rawpy")
    assert "camera RAW needs: pip install 'clipsearch[raw]'" in reason(dng(BLUE))


@pytest.mark.parametrize(
    "start", [b"IIRO\x08\0", b"MMOR", b"IIU\0\x18", b"FUJIFILMCCD-RAW 0201", b"\0\0\0\x18ftypcrx "]
)
def test_other_raws_are_told_by_their_start(start: bytes, without: Callable[[str], None]) -> None:
    without("rawpy")
    assert "clipsearch[raw]" in reason(start + bytes(100))


def test_a_tiff_is_no_raw() -> None:
    for preview in (saved(BLUE, "TIFF"), saved(BLUE, "TIFF", compression="jpeg")):
        assert colour(decode(preview).image) == "blue"


# Late


def test_neither_group_is_imported_for_other_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("rawpy", "pillow_heif"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    imported = []
    real = builtins.__import__
    monkeypatch.setattr(
        builtins, "__import__", lambda name, *rest: (imported.append(name), real(name, *rest))[1]
    )
    for format in ("JPEG", "PNG", "AVIF", "TIFF"):
        decode(saved(picture(1), format))
    assert not {"rawpy", "pillow_heif"} & {*imported, *sys.modules}


@pytest.mark.parametrize("name", ["a.heic", "A.HEIC", "b.HIF", "c.dng", "d.CR3", "e.nef", "f.raf"])
def test_their_names_are_photos(name: str) -> None:
    assert is_photo_name(name)


# What else lies about under a photo's name


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (bytes(5000), "zero bytes"),
        (b"", "is empty"),
        (b"\n<!DOCTYPE html><html>404</html>", "web page"),
        (b"<html><body>", "web page"),
        (b'<?xml version="1.0"?>\n<svg xmlns="x">', "SVG"),
        (b"%PDF-1.7\n", "PDF"),
        (b"8BPS\0\1", "Photoshop"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript"),
        (b"PK\x03\x04\x14\0", "ZIP"),
        (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2mp41", "video"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "video"),
        (b"RIFF\x10\0\0\0AVI LIST", "video"),
        (b"\0\0\1\0\1\0\x10\x10", "icon"),
        (b"just words", "not an image that can be read"),
    ],
)
def test_what_is_no_photo_is_named(content: bytes, said: str) -> None:
    assert said in reason(content)


def test_postscript_starts_no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess

    started: list[object] = []
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **options: started.append(args))
    eps = saved(Image.new("RGB", (9, 9)), "EPS")
    assert "PostScript" in reason(eps)
    assert started == []
