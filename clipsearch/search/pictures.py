"""A picture that a question shows, as an embedding."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from clipsearch.encoders import Encoder
from clipsearch.errors import InvalidInput, PhotoError
from clipsearch.photos.decode import decode, read_file, to_rgb

Picture = str | os.PathLike[str] | Image.Image
Stored = Callable[[str], bytes | None]  # from a content's digest to its float16 row


def read_picture(path: str | os.PathLike[str]) -> bytes:
    """The bytes of an image file.

    Raises:
        InvalidInput: there are none to be had.
    """
    try:
        return read_file(Path(os.path.expanduser(path)))
    except PhotoError as error:
        raise InvalidInput(_no_picture(path, error)) from error


def embed_picture(picture: Picture, encoder: Callable[[], Encoder], stored: Stored) -> np.ndarray:
    """A picture's embedding, (dim,) float32 unit; of a file the stored one if there is one.

    The encoder is asked for only if it is needed.

    Raises:
        InvalidInput: a file that cannot be read as a picture.
    """
    if isinstance(picture, Image.Image):
        return _embed(to_rgb(picture), encoder())
    content = read_picture(picture)
    row = stored(hashlib.sha256(content).hexdigest())
    if row is not None:
        vector = np.frombuffer(row, np.float16).astype(np.float32)
        return np.asarray(vector / np.linalg.norm(vector))
    try:
        image = decode(content, min_side=encoder().resolution).image
    except PhotoError as error:
        raise InvalidInput(_no_picture(picture, error)) from error
    return _embed(image, encoder())


def _embed(image: Image.Image, encoder: Encoder) -> np.ndarray:
    row: np.ndarray = encoder.encode_images(encoder.prepare(image)[None])[0]
    return row


def _no_picture(path: str | os.PathLike[str], error: PhotoError) -> str:
    return f"{path} cannot be used as a picture: {error}"
