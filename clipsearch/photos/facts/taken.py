"""When a photo was taken, as EXIF, XMP and the names of files write it."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from unicodedata import normalize

# As cameras and programs write it: with other signs, padded with blanks, without seconds, and with
# whatever behind it. What was found is not given back (+), or 2019:07:041 would be July.
_WRITTEN = re.compile(
    r"\s*(\d{4})(?:\s*[:/.\-]\s*(\d\d?)(?:\s*[:/.\-]\s*(\d\d?)"
    r"(?:(?:\s+|\s*[T:_]\s*)(\d\d?)\s*[:.]\s*(\d\d?)(?:\s*[:.]\s*(\d\d?)(?:[.,]\d*)?)?+"
    r"(?:\s*([AP])\.?M)?+)?+)?+)?+(?!\d)",
    re.IGNORECASE | re.ASCII,
)
_ZONE = re.compile(r"\s*(?:(Z)|([+-])(\d\d)(?::?(\d\d))?)(?![\d:])", re.IGNORECASE | re.ASCII)
_FARTHEST_ZONE = 14 * 60  # minutes from UTC

# A day in a file's name, behind nothing but letters, and perhaps the time; not a part of a longer
# number, as of a telephone.
_NAMED = re.compile(
    r"(?:^|[\W_])[^\W\d_]*((?:19|20)\d\d)([-_.]?)(\d\d)\2(\d\d)"
    r"(?:(?:T|\s*[-_.]\s*|\s+(?:[^\W\d_]{1,6}(?:\(s\)|\.)?\s+){0,2})?"
    r"(?:(\d\d)(\d\d)(\d\d)(?:\d{3})?|(\d\d?)([-_.:])(\d\d)\9(\d\d)(?:[-_.]\d{1,3})?)"
    r"(?:\s?([ap])\.?m)?Z?)?(?![^\W_])",
    re.IGNORECASE,
)
_FIRST_NAMED = date(1990, 1, 1)  # what looks like an earlier day is another number


def written_time(text: str, zone: str = "") -> str | None:
    """The moment that a text of EXIF or XMP begins with, in ISO 8601; None where it is none.

    With the offset that `zone` names, or else the text itself, if either does. What names a day,
    a month or a year alone is its first moment.
    """
    match = _WRITTEN.match(text)
    if match is None:
        return None
    *numbers, half = match.groups()
    if not numbers[2] and text[match.end() :].strip("\0 :/.-"):
        return None  # a number that begins something else
    when = _moment([int(part) for part in numbers if part], half)
    if when is None:
        return None
    offset = _offset(zone) or (_offset(text[match.end() :]) if numbers[3] else "")
    return when.isoformat() + offset


def named_time(name: str, today: date) -> str | None:
    """The moment that the name of a file tells, in ISO 8601; None where it tells none.

    Such as IMG-20190704-WA0001 or "Screenshot 2021-03-04 at 12.13.14"; a day without a time is
    its first moment. What would be after tomorrow is no date but a number.
    """
    for match in _NAMED.finditer(normalize("NFKC", name)):
        parts = match.groups()
        day = [int(parts[number]) for number in (0, 2, 3)]
        time = [int(part) for part in (*parts[4:8], *parts[9:11]) if part]
        known = _moment(day)
        if known and _FIRST_NAMED <= known.date() <= today + timedelta(days=1):
            when = _moment(day + time, parts[11]) if time else known
            return (when or known).isoformat()
    return None


def _moment(numbers: list[int], half: str | None = None) -> datetime | None:
    """Year, month, day, hour, minute and second, as many as there are; `half` is "a" or "p"."""
    year, month, day, hour, minute, second = numbers + [1, 1, 1, 0, 0, 0][len(numbers) :]
    if half and 1 <= hour <= 12:
        hour = hour % 12 + 12 * (half in "Pp")
    if hour > 24 or minute > 59 or second > 60:
        return None
    try:  # a day may end at 24:00:00, and a minute with a leap second, which is of that minute
        start = datetime(year, month, day)
        return start + timedelta(hours=hour, minutes=minute, seconds=min(second, 59))
    except (ValueError, OverflowError):
        return None  # cameras without a set clock write 0000:00:00


def _offset(text: str) -> str:
    """The offset from UTC that a text begins with, as ISO 8601 writes it; "" for none."""
    match = _ZONE.match(text)
    if match is None:
        return ""
    if match[1]:
        return "+00:00"
    hours, minutes = int(match[3]), int(match[4] or 0)
    if minutes > 59 or 60 * hours + minutes > _FARTHEST_ZONE:
        return ""
    sign = match[2] if hours or minutes else "+"
    return f"{sign}{hours:02}:{minutes:02}"
