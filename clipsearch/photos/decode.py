"""Open a picture safely, at the size asked for."""

from __future__ import annotations

import io
import os
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from clipsearch.errors import FileUnreadable, PhotoError
from clipsearch.photos.facts import Facts, read_facts

# A picture that would need more than this once decoded is refused: 256 megapixels of RGB take
# 0.8 GB. JPEGs are decoded at a fraction of their size, so theirs may be far larger.
MAX_PIXELS = 256_000_000


@dataclass(frozen=True, slots=True)
class Photo:
    """A decoded picture: RGB, upright, and the facts its file tells."""

    image: Image.Image
    facts: Facts


def take_over_pillow() -> None:
    """Let `decode` alone decide what is too large, and silence Pillow's warnings.

    Pillow's own limit on pixels looks at the header, so it refuses a 200-megapixel JPEG that is
    decoded at an eighth of its size, and damaged metadata, normal in photo libraries, warns on
    stderr. Both settings are global to the process: a program calls this, a library does not.
    """
    Image.MAX_IMAGE_PIXELS = None
    warnings.filterwarnings("ignore", module=r"PIL\.")


def read_file(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a file.

    Raises:
        FileUnreadable: they cannot be had, now.
        PhotoError: there are none.
    """
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise FileUnreadable(error.strerror or str(error)) from error
    if not content:
        raise PhotoError("the file is empty")
    return content


def decode(content: bytes, min_side: int | None = None, max_pixels: int = MAX_PIXELS) -> Photo:
    """Decode the bytes of an image file into an upright RGB picture.

    With `min_side` a JPEG is decoded at the smallest of 1/1, 1/2, 1/4, 1/8 of its size (DCT
    scaling) that leaves the shorter side at least that many pixels: several times faster, and
    never below what a model of that resolution looks at. EXIF orientation is applied.
    Transparency is laid on white, as a browser shows it; of an animation the first frame counts.

    Raises:
        PhotoError: not an image, truncated or damaged, or more than `max_pixels` to decode.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            size = image.size
            if min_side is not None:
                image.draft("RGB", _draft_size(size, min_side))
            if image.width * image.height > max_pixels:
                raise PhotoError(
                    f"{image.width}x{image.height} pixels is above the limit of"
                    f" {max_pixels // 1_000_000} megapixels"
                )
            facts = read_facts(image, size)  # after the limit: Pillow decodes a PNG for its EXIF
            image.load()
            return Photo(to_rgb(_upright(image)), facts)
    except PhotoError:
        raise
    except Image.DecompressionBombError as error:
        raise PhotoError("more pixels than PIL.Image.MAX_IMAGE_PIXELS allows") from error
    except UnidentifiedImageError as error:
        raise PhotoError("not an image that can be read") from error
    except MemoryError as error:
        raise PhotoError("too large to decode in memory") from error
    except Exception as error:  # decoders raise nearly anything on damaged bytes
        raise PhotoError(f"damaged: {_one_line(error)}") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """The picture in RGB: transparency on white, 16-bit and float values scaled to 8 bits."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return _scaled_to_8_bits(image).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        canvas = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(canvas, layer).convert("RGB")
    return image.convert("RGB")


def _scaled_to_8_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.float32)
    if image.mode == "F" or values.max() > 65535:
        # Floats and 32-bit integers have no agreed range, so the picture's own is used.
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        values = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
        values = (values - low) * (255 / ((high - low) or 1))
    else:
        values /= 257  # 65535 becomes 255
    return Image.fromarray(values.round().clip(0, 255).astype(np.uint8))


def _upright(image: Image.Image) -> Image.Image:
    # A broken EXIF block must not cost the picture.
    try:
        return ImageOps.exif_transpose(image) or image
    except Exception:
        return image


def _draft_size(size: tuple[int, int], min_side: int) -> tuple[int, int]:
    # Pillow picks one scale for which both sides stay at least as large as asked, so asking
    # for a square of the shorter side's target bounds the shorter side.
    return (min(size[0], min_side), min(size[1], min_side))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
