"""Pictures that are asked with: from a file, stdin, the web or memory, whole or in part."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from clipsearch.errors import InvalidInput, PhotoError
from clipsearch.photos.decode import decode, read_file, to_rgb
from clipsearch.store.catalog import Catalog, Model

if TYPE_CHECKING:
    from PIL import Image

    from clipsearch.encoders import Encoder
    from clipsearch.models import Models
    from clipsearch.photos.isolated import Processes

STDIN = "-"
MOST_BYTES = 64 << 20  # that are fetched from the web or read from stdin
TIMEOUT = 20.0  # seconds without an answer


class Picture(NamedTuple):
    """A picture that is asked with, and what to call it."""

    content: bytes | Image.Image  # a file's bytes, or pixels
    name: str


class Region(NamedTuple):
    """A part of a picture, as the eye sees it (EXIF orientation applied)."""

    left: float
    top: float
    width: float
    height: float
    in_percent: bool  # else in pixels

    def cut(self, image: Image.Image) -> Image.Image:
        """That part of the picture.

        Raises:
            InvalidInput: it is not wholly inside.
        """
        across, down = image.size
        box = [self.left, self.top, self.left + self.width, self.top + self.height]
        if self.in_percent:
            box = [side * whole / 100 for side, whole in zip(box, (across, down) * 2, strict=True)]
        left, top, right, bottom = (round(side) for side in box)
        if left < 0 or top < 0 or right > across or bottom > down:
            raise InvalidInput(f"--region reaches beyond the picture, which is {across}x{down}")
        if left >= right or top >= bottom:
            raise InvalidInput("--region holds not one pixel")
        return image.crop((left, top, right, bottom))


def parse_region(text: str) -> Region:
    """A region as x,y,width,height in pixels, or all in percent: "25%,0%,50%,100%".

    Raises:
        InvalidInput: it is none.
    """
    parts = [part.strip() for part in text.split(",")]
    in_percent = all(part.endswith("%") for part in parts)
    numbers = [part.removesuffix("%") if in_percent else part for part in parts]
    if len(numbers) != 4 or not all(re.fullmatch(r"\d+(\.\d+)?", number) for number in numbers):
        raise InvalidInput(
            f"--region {text!r} is none; write x,y,width,height in pixels, as 0,0,300,200, or in"
            " percent, as 25%,0%,50%,100%"
        )
    return Region(*map(float, numbers), in_percent)  # type: ignore[call-arg, arg-type]


def read_picture(source: str | os.PathLike[str] | Image.Image, allow_url: bool = False) -> Picture:
    """Read a picture: a file, stdin for "-", or what a URL leads to; pixels are taken as they are.

    Raises:
        InvalidInput: it cannot be read, or is a URL and those are not allowed.
    """
    if not isinstance(source, (str, os.PathLike)):
        return Picture(source, "the picture")
    name = os.fspath(source)
    if name == STDIN:
        return Picture(_limited(sys.stdin.buffer.read(MOST_BYTES + 1), "stdin"), "stdin")
    if not name:
        raise InvalidInput("the name of the picture is empty")
    if re.match(r"https?://", name):
        return Picture(_fetch(name, allow_url), name)
    try:
        return Picture(read_file(os.path.expanduser(name)), name)
    except PhotoError as error:
        raise InvalidInput(f"{name} cannot be used as a picture: {error}") from error


def _fetch(url: str, allowed: bool) -> bytes:
    if not allowed:
        raise InvalidInput(f"{url} is on the web, and nothing is fetched without --allow-url")
    import urllib.error
    import urllib.request

    request = urllib.request.Request(url, headers={"User-Agent": "clipsearch"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            return _limited(answer.read(MOST_BYTES + 1), url)
    except urllib.error.URLError as error:
        reason = getattr(error.reason, "strerror", None) or error.reason
        raise InvalidInput(f"{url} could not be fetched: {reason}") from error
    except (OSError, ValueError) as error:  # a time-out, or a broken answer
        raise InvalidInput(f"{url} could not be fetched: {error}") from error


def _limited(content: bytes, source: str) -> bytes:
    if not content:
        raise InvalidInput(f"{source} holds no picture: it is empty")
    if len(content) > MOST_BYTES:
        raise InvalidInput(f"{source} is larger than {MOST_BYTES >> 20} MB; save it as a file")
    return content


def embed_picture(
    picture: Picture,
    models: Models,
    model: Model,
    catalog: Catalog,
    region: Region | None = None,
    processes: Processes | None = None,
) -> np.ndarray:
    """A picture's embedding, (dim,) float32 unit; the stored one if its content is indexed.

    `processes` decode it, where there are any.

    Raises:
        InvalidInput: it is no picture, or the region is not in it.
    """
    content = picture.content
    if isinstance(content, bytes) and region is None:
        stored = stored_embedding(model, catalog, hashlib.sha256(content).hexdigest())
        if stored is not None:
            return stored
    return encode_picture(picture, models.encoder(model), region, processes)


def stored_embedding(model: Model, catalog: Catalog, digest: str) -> np.ndarray | None:
    """A content's embedding, (dim,) float32 unit; None where the model has not seen it."""
    stored = catalog.vector_of(model.id, digest)
    if stored is None:
        return None
    row = np.frombuffer(stored, np.float16).astype(np.float32)
    return np.asarray(row / np.linalg.norm(row))


def encode_picture(
    picture: Picture,
    encoder: Encoder,
    region: Region | None = None,
    processes: Processes | None = None,
) -> np.ndarray:
    """A picture's embedding, (dim,) float32 unit, as an encoder gives it.

    Raises:
        InvalidInput: it is no picture, or the region is not in it.
    """
    content, name = picture
    try:
        if not isinstance(content, bytes):
            image = to_rgb(content)
            view = encoder.prepare(region.cut(image) if region else image)
        elif processes is None:
            view = view_of(content, encoder.prepare, encoder.resolution, region)
        else:
            view = processes.start(view_of, content, encoder.prepare, encoder.resolution, region)()
    except PhotoError as error:
        raise InvalidInput(f"{name} cannot be used as a picture: {error}") from error
    return np.asarray(encoder.encode_images(view[None])[0])


def view_of(
    content: bytes,
    prepare: Callable[[Image.Image], np.ndarray],
    resolution: int,
    region: Region | None,
) -> np.ndarray:
    """What a model sees of a file's bytes, (resolution, resolution, 3) uint8.

    Raises:
        PhotoError: they are no picture.
        InvalidInput: the region is not in it.
    """
    # A part of a picture is looked at as closely as the file allows.
    image = decode(content, None if region else resolution).image
    return prepare(region.cut(image) if region else image)
