"""Dates as people write them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from clipsearch.errors import InvalidInput

_ISO = re.compile(r"(\d{4})(?:-(\d\d?)(?:-(\d\d?))?)?")


class Span(NamedTuple):
    """From `start` up to but not including `end`, in the time of the place, without an offset."""

    start: datetime
    end: datetime


def parse_date(text: str) -> Span:
    """The year, month, day or moment that a text names: '2024', 'May 2024', '2 weeks ago'.

    Relative ones count from today. Through the dateparser library, but for ISO dates.

    Raises:
        InvalidInput: it names none.
    """
    try:
        return _iso(text.strip()) or _any(text)
    except (ValueError, OverflowError):
        raise InvalidInput(
            f"{text!r} is no date; write one such as 2024, 2024-05-31, 'May 2024' or '2 weeks ago'"
        ) from None


def _iso(text: str) -> Span | None:
    match = _ISO.fullmatch(text)
    if match:
        year, month, day = (int(part) if part else None for part in match.groups())
        period = "day" if day else "month" if month else "year"
        return _span(datetime(year or 1, month or 1, day or 1), period)
    try:
        moment = datetime.fromisoformat(text).replace(tzinfo=None)
    except ValueError:
        return None
    return _span(moment, "time" if len(text) > len("2024-05-31") else "day")


def _any(text: str) -> Span:
    # How long ago is counted to the day; a date that is named is as exact as it was written.
    when = _parsed(text, ["relative-time"])
    if when.date_obj is not None:
        return _span(when.date_obj, "time" if when.period == "time" else "day")
    when = _parsed(text, ["absolute-time", "custom-formats"])
    if when.date_obj is None:
        raise ValueError
    return _span(when.date_obj, when.period)


def _parsed(text: str, parsers: list[str]) -> Any:
    from dateparser.date import DateDataParser

    settings = {
        "PARSERS": parsers,
        "RETURN_TIME_AS_PERIOD": True,
        "PREFER_DATES_FROM": "past",
        "PREFER_DAY_OF_MONTH": "first",
        "PREFER_MONTH_OF_YEAR": "first",
    }
    when = DateDataParser(languages=["en"], settings=settings).get_date_data(text)
    return when if when.date_obj else DateDataParser(settings=settings).get_date_data(text)


def _span(moment: datetime, period: str) -> Span:
    moment = moment.replace(tzinfo=None)
    if period == "time":
        return Span(moment, moment + timedelta(seconds=1))
    start = datetime(moment.year, moment.month, moment.day)
    if period == "year":
        return Span(start.replace(month=1, day=1), datetime(start.year + 1, 1, 1))
    if period == "month":
        first = start.replace(day=1)
        return Span(first, (first + timedelta(days=31)).replace(day=1))
    return Span(start, start + timedelta(days=1))
