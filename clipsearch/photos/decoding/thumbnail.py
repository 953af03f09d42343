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
    return shrunk(read_file(file), size, turn)


def shrunk(
    content: bytes, size: tuple[int, int], turn: AbstractContextManager[Any] | None = None
) -> Image.Image:
    """The same of a file's content.

    Raises:
        PhotoError: it is no picture.
    """
    image = decode(content, min_side=min(size), turn=turn).image
    image.thumbnail(size)
    return image
