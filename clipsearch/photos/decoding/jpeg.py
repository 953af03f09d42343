"""A picture's pixels as JPEG."""

from __future__ import annotations

from io import BytesIO

from PIL import Image


def as_jpeg(image: Image.Image, quality: int) -> bytes:
    """An RGB picture as a JPEG file; `quality` is Pillow's, from 1 to 95."""
    # Pillow hands on the comment of the file that it read, which may be too long for a JPEG.
    image.save(file := BytesIO(), "JPEG", quality=quality, comment=b"")
    return file.getvalue()
