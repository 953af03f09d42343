"""Read a photo's facts from its metadata."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from PIL import ExifTags

from clipsearch.photos.captions import plain, read_captions
from clipsearch.photos.facts import Facts
from clipsearch.photos.formats import Opened

_TIME = re.compile(r"(\d{4})[:\-](\d\d)[:\-](\d\d)[ T](\d\d):(\d\d):(\d\d)")
_OFFSET = re.compile(r"[+-]\d\d:\d\d")


def read_facts(opened: Opened) -> Facts:
    """The facts of an opened picture, of its content alone; broken metadata counts as none."""
    exif = opened.exif
    words = read_captions(opened.image, exif)
    facts = Facts(
        *opened.size,
        orientation=opened.orientation,
        title=words.title,
        caption=words.caption,
        keywords=words.keywords,
    )
    try:
        details = exif.get_ifd(ExifTags.IFD.Exif)
        latitude, longitude = _place(exif.get_ifd(ExifTags.IFD.GPSInfo))
    except Exception:  # Pillow's EXIF parser raises nearly anything on hostile bytes
        return facts
    taken_at = _taken_at(exif, details)
    return replace(
        facts,
        taken_at=taken_at,
        taken_from="exif" if taken_at else None,
        camera=_camera(exif),
        lens=_text(details.get(ExifTags.Base.LensModel)) or None,
        latitude=latitude,
        longitude=longitude,
    )


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
    return plain(value) if isinstance(value, str) else ""
