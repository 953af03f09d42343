"""Read a photo's facts from its metadata."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from PIL import ExifTags, Image

from clipsearch.photos.facts.captions import plain, read_captions
from clipsearch.photos.facts.exif_texts import latin_or_utf8
from clipsearch.photos.facts.facts import Facts
from clipsearch.photos.facts.iptc import PLACE, read_iptc
from clipsearch.photos.facts.noted import label_of, location_of, rating_of
from clipsearch.photos.facts.people import read_people
from clipsearch.photos.facts.taken import written_time
from clipsearch.photos.facts.xmp import EXIF, PHOTOSHOP, XMP, read_xmp, value
from clipsearch.photos.formats import OpenPicture

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_NAME = 2000  # characters kept of a camera's name
_HAIR = 1e-4  # degrees, ten metres: so far a rounded number may be beyond a pole


def read_facts(opened: OpenPicture) -> Facts:
    """The facts of an opened picture, of its content alone; broken metadata counts as none."""
    exif = opened.exif
    details, gps = part_of(exif, ExifTags.IFD.Exif), part_of(exif, ExifTags.IFD.GPSInfo)
    xmp = read_xmp(opened.image, exif)
    record = read_iptc(opened.image)
    words = read_captions(xmp, record, exif, details)
    taken_at, taken_from = _taken(exif, details, xmp)
    latitude, longitude = _place(gps) or place_of_xmp(xmp) or (None, None)
    return Facts(
        *opened.size,
        taken_at=taken_at,
        taken_from=taken_from,
        camera=_camera(exif),
        lens=_text(details.get(ExifTags.Base.LensModel)) or None,
        latitude=latitude,
        longitude=longitude,
        orientation=opened.orientation,
        title=words.title,
        caption=words.caption,
        keywords=words.keywords,
        people=read_people(xmp, opened.orientation),
        rating=rating_of(xmp, exif),
        location=location_of(xmp, [text for key in PLACE for text in record.texts(key)[:1]]),
        label=label_of(xmp),
    )


def part_of(exif: Image.Exif, part: ExifTags.IFD) -> Mapping[int, Any]:
    """One part of an EXIF block; empty where it is broken."""
    try:
        return exif.get_ifd(part)
    except Exception:  # Pillow's EXIF parser raises nearly anything on hostile bytes
        return {}


# When


def _taken(
    exif: Mapping[int, Any], details: Mapping[int, Any], xmp: Element | None
) -> tuple[str | None, str | None]:
    """When it was taken, and what says so."""
    if when := _time_of_exif(exif, details):
        return when, "exif"
    if xmp is not None and (when := time_of_xmp(xmp)):
        return when, "xmp"
    return None, None


def _time_of_exif(exif: Mapping[int, Any], details: Mapping[int, Any]) -> str | None:
    tags = ExifTags.Base
    candidates = (
        (details.get(tags.DateTimeOriginal), details.get(tags.OffsetTimeOriginal)),
        (details.get(tags.DateTimeDigitized), details.get(tags.OffsetTimeDigitized)),
        (exif.get(tags.DateTime), details.get(tags.OffsetTime)),
    )
    times = (written_time(_text(value), _text(offset)) for value, offset in candidates)
    return next(filter(None, times), None)


def time_of_xmp(xmp: Element) -> str | None:
    """When a photo was taken, in ISO 8601, as XMP tells; None where it does not."""
    names = ((PHOTOSHOP, "DateCreated"), (EXIF, "DateTimeOriginal"), (XMP, "CreateDate"))
    times = (written_time(value(xmp, *name)) for name in names)
    return next(filter(None, times), None)


# With what


def _camera(exif: Mapping[int, Any]) -> str | None:
    make, model = _text(exif.get(ExifTags.Base.Make)), _text(exif.get(ExifTags.Base.Model))
    # Most models repeat the make: "Canon" and "Canon EOS 5D".
    if make and model and not model.lower().startswith(make.split()[0].lower()):
        return f"{make} {model}"
    return model or make or None


# Where


def _place(gps: Mapping[int, Any]) -> tuple[float, float] | None:
    tags = ExifTags.GPS
    return on_the_globe(
        _degrees(_numbers(gps.get(tags.GPSLatitude)), _text(gps.get(tags.GPSLatitudeRef)), "NS"),
        _degrees(_numbers(gps.get(tags.GPSLongitude)), _text(gps.get(tags.GPSLongitudeRef)), "EW"),
        _text(gps.get(tags.GPSStatus)),
    )


def place_of_xmp(xmp: Element | None) -> tuple[float, float] | None:
    """As XMP writes it: 48,51.5022N, or 48,51,30.13N."""
    if xmp is None:
        return None
    texts = (value(xmp, EXIF, "GPSLatitude"), value(xmp, EXIF, "GPSLongitude"))
    latitude, longitude = (
        _degrees(_numbers(text[:-1].split(",")), text[-1:], signs)
        for text, signs in zip(texts, ("NS", "EW"), strict=True)
    )
    return on_the_globe(latitude, longitude, value(xmp, EXIF, "GPSStatus"))


def on_the_globe(
    latitude: float | None, longitude: float | None, status: str = ""
) -> tuple[float, float] | None:
    """A place in degrees; None where it is none, or a receiver said so by its status, V."""
    if latitude is None or longitude is None or status[:1].upper() == "V":
        return None
    if not (math.isfinite(latitude) and math.isfinite(longitude)):
        return None
    if abs(latitude) > 90 + _HAIR or abs(longitude) > 180 + _HAIR:
        return None
    if latitude == longitude == 0:  # what a receiver writes that has not found itself
        return None
    return max(-90.0, min(latitude, 90.0)), max(-180.0, min(longitude, 180.0))


def _numbers(value: Any) -> list[float]:
    """Degrees, and minutes and seconds where they are told; 0/0 is for those that are not."""
    if isinstance(value, (str, bytes)):
        return []  # three digits would pass for three numbers
    try:
        numbers = [float(part) for part in (value if hasattr(value, "__iter__") else [value])]
    except (TypeError, ValueError, ZeroDivisionError):
        return []
    while len(numbers) > 1 and math.isnan(numbers[-1]):
        numbers.pop()
    return numbers


def _degrees(numbers: Sequence[float], ref: str, signs: str) -> float | None:
    """An angle of one to three numbers; `signs` are the first letters of the two directions."""
    ref = ref[:1].upper()
    if not 1 <= len(numbers) <= 3 or not all(map(math.isfinite, numbers)):
        return None
    if any(not 0 <= part <= 60 for part in numbers[1:]) or (ref and ref not in signs):
        return None
    angle = sum(abs(part) / float(60**power) for power, part in enumerate(numbers))
    is_negative = ref == signs[1] or math.copysign(1, numbers[0]) < 0
    return round(-angle if is_negative else angle, 7)


def _text(value: Any) -> str:
    return plain(latin_or_utf8(value), _NAME) if isinstance(value, (str, bytes)) else ""
