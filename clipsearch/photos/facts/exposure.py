"""How a photo was exposed, as its EXIF tells; it is read when somebody looks at the photo."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from PIL import ExifTags, Image

from clipsearch.photos.facts.exif import part_of


@dataclass(frozen=True, slots=True)
class Exposure:
    """The settings of the camera; None where the file does not say."""

    exposure_time: float | None = None  # seconds
    aperture: float | None = None  # the f-number
    iso: int | None = None
    focal_length: float | None = None  # millimetres
    focal_length_35mm: float | None = None  # what shows as much on 35 mm film


def read_exposure(exif: Image.Exif) -> Exposure:
    """What EXIF tells of the exposure; numbers that cannot be count as none."""
    tags, told = ExifTags.Base, part_of(exif, ExifTags.IFD.Exif)
    iso = _positive(told.get(tags.ISOSpeedRatings)) or _positive(told.get(tags.ISOSpeed))
    return Exposure(
        _positive(told.get(tags.ExposureTime)) or _of_shutter(told.get(tags.ShutterSpeedValue)),
        _positive(told.get(tags.FNumber)) or _of_aperture(told.get(tags.ApertureValue)),
        round(iso) or None if iso else None,
        _positive(told.get(tags.FocalLength)),
        _positive(told.get(tags.FocalLengthIn35mmFilm)),
    )


def _of_shutter(value: Any) -> float | None:
    """Seconds, of APEX: so many times they are halved from one second on."""
    number = _number(value)
    return round(2**-number, 6) if number is not None and abs(number) <= 20 else None


def _of_aperture(value: Any) -> float | None:
    """The f-number, of APEX."""
    number = _number(value)
    return round(2 ** (number / 2), 1) if number is not None and 0 <= number <= 20 else None


def _positive(value: Any) -> float | None:
    number = _number(value)
    return number if number is not None and number > 0 else None


def _number(value: Any) -> float | None:
    """A number of EXIF's, the first of several; 0/0, which is for what is not known, is none."""
    if isinstance(value, (str, bytes)):
        return None
    try:
        number = float(value[0] if isinstance(value, tuple) else value)
    except (TypeError, ValueError, ZeroDivisionError, IndexError, OverflowError):
        return None
    return round(number, 6) if math.isfinite(number) and abs(number) < 1e9 else None
