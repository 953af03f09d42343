"""Open a picture safely, at the size asked for."""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageChops

from clipsearch.errors import FileUnreadable, PhotoError
from clipsearch.photos.decoding.memory import large_pixels
from clipsearch.photos.facts.exif import read_facts
from clipsearch.photos.facts.facts import Facts
from clipsearch.photos.files.opening import MAX_BYTES
from clipsearch.photos.files.urls import is_url, normal
from clipsearch.photos.formats import JPEG_END, OpenPicture, jpeg_has_end, open_picture

# A picture that would need more than this once decoded is refused: 256 megapixels of RGB take
# 0.8 GB. JPEGs are decoded at a fraction of their size, so theirs may be far larger.
MAX_PIXELS = 256_000_000

# Formats of which `decode_frames` shows more than one picture; pages of a TIFF are none of it.
_MOVING = ("GIF", "PNG", "WEBP", "AVIF")
# Frames are decoded one after the other, so of a long animation only the start is looked at.
_MOST_FRAMES = 1000

# What a power cut or a broken copy leaves of a file whose room was taken already.
_UNWRITTEN = bytes(4096)
# Of a JPEG that is cut off the last rows may be missing; more, and it is damaged.
_MOST_MISSING = 0.1
_CUT_OFF = "its end is missing"

# Pictures are turned into RGB so many pixels at a time, so that in between they take no more
# memory than their own.
_STRIP = 1 << 22
_PIECE = 1 << 20  # bytes read at a time of a file that is only hashed


class Undecided(PhotoError):
    """A file whose decoder hung, crashed or had no memory; the next try may go well."""


@dataclass(frozen=True, slots=True)
class Photo:
    """A decoded picture: RGB, upright, and the facts its file tells."""

    image: Image.Image
    facts: Facts


def take_over_pillow() -> None:
    """Let `decode` alone decide what is too large, and silence Pillow's warnings.

    Pillow's own limit on pixels looks at the header, so it refuses a 200-megapixel JPEG that is
    decoded at an eighth of its size; damaged metadata, normal in photo libraries, warns on
    stderr; and a text of more than a megabyte, which image generators write, costs a PNG. The
    settings are global to the process: a program calls this, a library does not.
    """
    from PIL import PngImagePlugin  # takes a query some milliseconds that it has no use for

    Image.MAX_IMAGE_PIXELS = None
    PngImagePlugin.MAX_TEXT_CHUNK = 16 << 20
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)


def read_file(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a file, or of what is at a URL.

    Raises:
        FileUnreadable: they cannot be had, now.
        PhotoError: there are none, there are too many, or it is no plain file.
        InvalidInput: a URL that cannot be one of a photo.
    """
    if is_url(path):
        from clipsearch.photos.files.remote import read

        return read(normal(os.fspath(path)), MAX_BYTES)
    with _plain_file(path) as file:
        content = file.read()
    if not content:
        raise PhotoError("the file is empty")
    return content


def read_pieces(path: str | os.PathLike[str]) -> Iterator[bytes]:
    """The bytes of a file piece by piece, so that a large one takes no memory; else `read_file`."""
    if is_url(path):
        yield read_file(path)
        return
    is_empty = True
    with _plain_file(path) as file:
        while piece := file.read(_PIECE):
            is_empty = False
            yield piece
    if is_empty:
        raise PhotoError("the file is empty")


@contextmanager
def _plain_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A plain file that is not too large, to be read; what fails on the way is told."""
    try:
        # A pipe that nobody writes to would be waited for without end.
        with open(path, "rb", opener=_open_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise PhotoError("not a plain file but a pipe, a socket or a device")
            if status.st_size > MAX_BYTES:
                raise PhotoError(
                    f"a file of {status.st_size / (1 << 30):.1f} GB is above the limit of"
                    f" {MAX_BYTES >> 30} GB"
                )
            yield file
    except OSError as error:
        if error.errno == errno.ENXIO:  # what a socket says
            raise PhotoError("not a plain file but a pipe, a socket or a device") from error
        raise FileUnreadable(error.strerror or str(error)) from error


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def decode(
    content: bytes,
    min_side: int | None = None,
    max_pixels: int = MAX_PIXELS,
    turn: AbstractContextManager[Any] | None = None,
    large: int | None = None,
) -> Photo:
    """Decode the bytes of an image file into an upright RGB picture.

    With `min_side` a JPEG is decoded at the smallest of 1/1, 1/2, 1/4, 1/8 of its size (DCT
    scaling) that leaves the shorter side at least that many pixels: several times faster, and
    never below what a model of that resolution looks at; a camera's RAW is shown by its embedded
    preview, or at half its size. EXIF orientation is applied. Transparency is laid on white, as
    a browser shows it; of an animation the first frame counts. `turn` is held while a picture of
    more than `large` pixels is decoded, by default this process's share, so that workers who share
    one take turns.

    Raises:
        PhotoError: not an image, truncated or damaged, more than `max_pixels` to decode, or of a
            kind whose optional group is not installed.
    """
    room = partial(_room, turn, large)
    with _reasons():
        opened = open_picture(content, min_side, max_pixels, room)
        facts = read_facts(opened)
        with room(opened.held):
            opened, flaw = _load(opened, content, min_side, max_pixels)
            return Photo(to_rgb(_upright(opened)), replace(facts, flaw=flaw))


def exif_of(content: bytes) -> Image.Exif:
    """The EXIF block of an image file, which is decoded no further than that takes.

    Raises:
        PhotoError: as `decode`, but that damaged pixels may go unseen.
    """
    with _reasons():
        return open_picture(content, 1, MAX_PIXELS).exif


def decode_frames(
    content: bytes,
    frames: int,
    min_side: int | None = None,
    max_pixels: int = MAX_PIXELS,
    turn: AbstractContextManager[Any] | None = None,
    large: int | None = None,
) -> list[Image.Image]:
    """Decode up to `frames` evenly spaced frames of an animation, the first among them.

    Of anything that does not move, and of what is too large for more, that is the picture alone.
    `turn` is held while frames of more than `large` pixels in all are decoded.

    Raises:
        PhotoError: as `decode`; damage behind the first frame only ends the list.
    """
    with _reasons():
        opened = open_picture(content, min_side, max_pixels)  # which moves, and is no RAW
        pixels = opened.image.width * opened.image.height
        moves = opened.image.format in _MOVING
        total = min(getattr(opened.image, "n_frames", 1), _MOST_FRAMES) if moves else 1
        wanted = max(1, min(frames, total, max_pixels // pixels))
        with _room(turn, large, wanted * pixels):
            opened, _ = _load(opened, content, min_side, max_pixels)
            return _frames_of(opened, [number * total // wanted for number in range(1, wanted)])


def _room(
    turn: AbstractContextManager[Any] | None, large: int | None, pixels: int
) -> AbstractContextManager[Any]:
    """What is held while so many pixels are decoded."""
    if turn is None or pixels <= (large_pixels() if large is None else large):
        return nullcontext()
    return turn


def _frames_of(opened: OpenPicture, further: Sequence[int]) -> list[Image.Image]:
    """The picture that is loaded, and those of other numbers up to one that is damaged."""
    shown = [to_rgb(_upright(opened)).copy()]
    try:
        for number in further:
            opened.image.seek(number)
            opened.image.load()
            shown.append(to_rgb(_upright(opened)).copy())
    except Exception:  # what decoders raise on damaged bytes; the frames before it are good
        return shown
    return shown


def _load(
    opened: OpenPicture, content: bytes, min_side: int | None, max_pixels: int
) -> tuple[OpenPicture, str | None]:
    """Decode a picture; gives it, and what is missing of it if nearly all is there."""
    if opened.image.format not in ("JPEG", "MPO"):
        opened.image.load()
        return opened, None
    held = content.rstrip(b"\0") if content.endswith(_UNWRITTEN) else content
    if len(held) == len(content) or held.endswith(JPEG_END):
        try:
            opened.image.load()
            whole = held.endswith(JPEG_END) or jpeg_has_end(content)
            return opened, None if whole else _CUT_OFF
        except OSError as error:
            if "truncated" not in str(error).lower():
                raise
    # With an end libjpeg shows what there is, and grey for what is missing.
    opened = open_picture(held + JPEG_END, min_side, max_pixels)
    opened.image.load()
    missing = _grey_below(opened.image)
    if missing > _MOST_MISSING:
        raise OSError("image file is truncated")
    return opened, _CUT_OFF


def _grey_below(image: Image.Image) -> float:
    """The share of a picture's rows, from the last one up, that end in grey."""
    image = image.crop((image.width - 1, 0, image.width, image.height))
    last = image.getpixel((0, image.height - 1))
    if not set(last if isinstance(last, tuple) else (last,)) <= {127, 128}:
        return 0.0
    bands = ImageChops.difference(image, Image.new(image.mode, image.size, last)).split()
    boxes = [band.getbbox() for band in bands]
    return 1 - max(box[3] if box else 0 for box in boxes) / image.height


@contextmanager
def _reasons() -> Iterator[None]:
    """Turn whatever a decoder raises into the reason why a file is no photo."""
    try:
        yield
    except PhotoError:
        raise
    except Image.DecompressionBombError as error:
        raise PhotoError("more pixels than PIL.Image.MAX_IMAGE_PIXELS allows") from error
    except MemoryError as error:
        raise Undecided("too large to decode in memory") from error
    except Exception as error:  # decoders raise nearly anything on damaged bytes
        if "out of memory" in str(error).lower():
            raise Undecided("too large to decode in memory") from error
        raise PhotoError(f"damaged: {_one_line(error)}") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """The picture in RGB: transparency on white, 16-bit and float values scaled to 8 bits."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return _in_strips(image, _scaled_to_8_bits(image))
    if image.has_transparency_data:
        return _in_strips(image, _on_white)
    return image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _scaled_to_8_bits(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """What brings a strip of a picture of large or fractional numbers to 8 bits."""
    low, high = 0.0, 65535.0
    ranges = [_range(strip) for _, strip in _strips(image)]
    highest = max(high for _, high in ranges)
    if image.mode == "F" or highest > 65535:
        # Floats and 32-bit integers have no agreed range, so the picture's own is used.
        low, high = min(low for low, _ in ranges), highest
        if low > high:  # not one number in it is finite
            low, high = 0.0, 1.0

    def scaled(strip: Image.Image) -> Image.Image:
        values = np.nan_to_num(_values(strip), nan=low, posinf=high, neginf=low)
        values = (values - low) * (255 / ((high - low) or 1))
        return Image.fromarray(values.round().clip(0, 255).astype(np.uint8))

    return scaled


def _range(image: Image.Image) -> tuple[float, float]:
    values = _values(image)
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (np.inf, -np.inf)


def _values(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(np.float64)  # a float32 cannot hold its own range's width


def _in_strips(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    canvas = Image.new("RGB", image.size)
    for top, strip in _strips(image):
        canvas.paste(convert(strip), (0, top))
    return canvas


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    rows = max(1, _STRIP // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _upright(opened: OpenPicture) -> Image.Image:
    return opened.image if opened.turn is None else opened.image.transpose(opened.turn)


def _one_line(error: Exception) -> str:
    said = " ".join(str(error).split()).rstrip(".")
    if "truncated" in said.lower():
        return "image file is truncated"
    if "Decompressed data too large" in said:
        return "the texts or the colour profile in it are too large"
    # What a decoder or parser trips over deep inside tells a person nothing.
    inner = re.match(r"decoder error|could not create decoder|invalid literal", said)
    if said and not inner and isinstance(error, (OSError, SyntaxError, ValueError, EOFError)):
        return said[:200]
    return f"its content is broken ({said[:60] or type(error).__name__})"
