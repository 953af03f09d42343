"""What a photo's EXIF says: when, where and with what it was taken."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from PIL import ExifTags, Image

_TIME = re.compile(r"(\d{4})[:\-](\d\d)[:\-](\d\d)[ T](\d\d):(\d\d):(\d\d)")
_OFFSET = re.compile(r"[+-]\d\d:\d\d")


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one photo; None where its file does not say."""

    width: int | None = None  # pixels, as the eye sees it (EXIF orientation applied)
    height: int | None = None
    taken_at: str | None = None  # ISO 8601, with the UTC offset where the camera wrote one
    camera: str | None = None
    latitude: float | None = None  # degrees, south negative
    longitude: float | None = None  # degrees, west negative


def read_facts(image: Image.Image, size: tuple[int, int]) -> Facts:
    """Read the facts of an opened image of `size` pixels; broken EXIF counts as no EXIF."""
    width, height = size
    try:
        exif = image.getexif()
        if exif.get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8):
            width, height = height, width
        details = exif.get_ifd(ExifTags.IFD.Exif)
        place = _place(exif.get_ifd(ExifTags.IFD.GPSInfo))
    except Exception:  # Pillow's EXIF parser raises nearly anything on hostile bytes
        return Facts(width, height)
    return Facts(width, height, _taken_at(exif, details), _camera(exif), *place)


def _taken_at(exif: Mapping[int, Any], details: Mapping[int, Any]) -> str | None:
    tags = ExifTags.Base
    candidates = (
        (details.get(tags.DateTimeOriginal), details.get(tags.OffsetTimeOriginal)),
        (details.get(tags.DateTimeDigitized), details.get(tags.OffsetTimeDigitized)),
        (exif.get(tags.DateTime), details.get(tags.OffsetTime)),
    )
    for value, offset in candidates:
        match = _TIME.match(_text(value))
        if not match:
            continue
        try:
            when = datetime(*(int(part) for part in match.groups()))  # type: ignore[arg-type]
        except ValueError:
            continue  # cameras without a set clock write 0000:00:00
        zone = _text(offset)
        return when.isoformat() + (zone if _OFFSET.fullmatch(zone) else "")
    return None


def _camera(exif: Mapping[int, Any]) -> str | None:
    make, model = _text(exif.get(ExifTags.Base.Make)), _text(exif.get(ExifTags.Base.Model))
    # Most models repeat the make: "Canon" and "Canon EOS 5D".
    if make and model and not model.lower().startswith(make.split()[0].lower()):
        return f"{make} {model}"
    return model or make or None


def _place(gps: Mapping[int, Any]) -> tuple[float | None, float | None]:
    tags = ExifTags.GPS
    latitude = _degrees(gps.get(tags.GPSLatitude), gps.get(tags.GPSLatitudeRef), "S", 90)
    longitude = _degrees(gps.get(tags.GPSLongitude), gps.get(tags.GPSLongitudeRef), "W", 180)
    if latitude is None or longitude is None:
        return None, None
    return latitude, longitude


def _degrees(value: Any, ref: Any, negative: str, limit: int) -> float | None:
    if isinstance(value, (str, bytes)):
        return None  # three digits would pass for three numbers
    try:
        degrees, minutes, seconds = (float(part) for part in value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    angle = degrees + minutes / 60 + seconds / 3600
    if not math.isfinite(angle) or abs(angle) > limit:
        return None
    return round(-angle if _text(ref).upper() == negative else angle, 7)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return value.replace("\0", " ").strip() if isinstance(value, str) else ""
