"""A photo made small, to be shown."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from PIL import Image

from clipsearch.photos.decoding.decode import decode, read_file
from clipsearch.photos.files.urls import PhotoPath


def thumbnail(
    file: PhotoPath, size: tuple[int, int], turn: AbstractContextManager[Any] | None = None
) -> Image.Image:
    """A photo in RGB, upright, within `size` pixels; `turn` as in `decode`.

    Raises:
        PhotoError: the file is gone, or no picture any more; the message is the reason alone.
    """
    image = decode(read_file(file), min_side=min(size), turn=turn).image
    image.thumbnail(size)
    return image


def shrunk(content: bytes, size: int) -> Image.Image:
    """A file's picture in RGB, upright, its longer side of at most `size` pixels.

    Raises:
        PhotoError: it is no picture.
    """
    image = decode(content, min_side=size).image
    image.thumbnail((size, size))
    return image
