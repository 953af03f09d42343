"""Dates as people write them, in English and in the language of the person's locale."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from importlib import import_module
from typing import NamedTuple
from unicodedata import normalize

from clipsearch.errors import InvalidInput

_LONGEST = 100  # characters of a date; more is something else

_ISO = re.compile(r"(\d{4})(?:-(\d\d?)(?:-(\d\d?)(?:Z|[+-]\d\d:?\d\d)?)?)?", re.ASCII)
_ISO_WEEK = re.compile(r"(\d{4})-?W(\d\d)(?:-?(\d))?", re.ASCII | re.IGNORECASE)
_DECADE = re.compile(r"(?:the )?(\d{3}0)s", re.ASCII)
_NUMBERS = re.compile(r"(\d{1,4})([./-])(\d{1,2})(?:\2(\d{4}|\d{1,2}))?", re.ASCII)
_EAST_ASIAN = re.compile(r"(\d{4})[年년](?:(\d\d?)[月월](?:(\d\d?)[日일])?)?", re.ASCII)
_CLOCK = re.compile(r"(\d\d?):(\d\d)(?::(\d\d))?\s?(?:([ap])\.?m\.?)?", re.ASCII)
_DAY = re.compile(r"(\d\d?)(?:st|nd|rd|th|\.|º|er)?", re.ASCII)

_UNITS = ("second", "minute", "hour", "day", "week", "month", "year")
_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september",
    "october", "november", "december",
)  # fmt: skip
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_COUNTS = (
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve",
)  # fmt: skip
_MONTH_FIRST = {"US", "PH", "PR", "GU", "VI", "AS", "MP", "UM"}  # where 03/04 is in March


_OF = ("de", "del", "\u0433", "\u0433.")  # in Spanish and the like; "year" in Russian


class Span(NamedTuple):
    """From `start` up to but not including `end`, in the time there, without an offset."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Language:
    """The words of a language that dates are written with, in small letters."""

    months: dict[str, int]
    weekdays: dict[str, int]  # from 0 for Monday
    periods: dict[str, tuple[int, str]]  # "last year": how many ago, of what
    counted: tuple[tuple[re.Pattern[str], str], ...]  # "3 years ago", and of what
    fillers: frozenset[str]  # that may stand between the parts of a date
    numerals: dict[str, str]  # "three": "3"


def parse_date(text: str, now: datetime | None = None, locale: str | None = None) -> Span:
    """The year, month, week, day or moment that a text names: '2024', 'May 2024', '2 weeks ago'.

    Relative ones count from `now`, on the clock of the place. What is not in English is in the
    language of the `locale`, as "de_DE.UTF-8"; without one that is the person's own.

    Raises:
        InvalidInput: it names none, or could mean two.
    """
    if len(text) > _LONGEST:
        raise _no_date(f"{text[:40]}…")
    now = now or datetime.now()
    here = _locale() if locale is None else locale
    try:
        span = _iso(text.strip()) or _any(_small(text), now, here)
    except (ValueError, OverflowError):
        span = None
    if span is None:
        raise _no_date(text)
    return span


def understood(text: str) -> Span | None:
    """What a date was taken for, None where that cannot be in doubt: ISO 8601."""
    span = parse_date(text)
    return None if _iso(text.strip()) else span


def _no_date(text: str) -> InvalidInput:
    return InvalidInput(
        f"{text!r} is no date; write one such as 2024, 2024-05-31, 'May 2024', 'last year' or"
        " '2 weeks ago'"
    )


def _locale() -> str:
    names = ("LC_ALL", "LC_TIME", "LANG")
    return next(filter(None, (os.environ.get(name) for name in names)), "")


def _small(text: str) -> str:
    text = normalize("NFKC", text).casefold()
    return " ".join(text.replace(",", " ").replace("'", " ").replace("\u2019", " ").split())


# ISO 8601


def _iso(text: str) -> Span | None:
    if match := _ISO.fullmatch(text):
        return _numbered(match)
    if match := _ISO_WEEK.fullmatch(text):
        start = date.fromisocalendar(int(match[1]), int(match[2]), int(match[3] or 1))
        return _span(datetime(*start.timetuple()[:3]), "day" if match[3] else "week")
    if text[:4].isdecimal() and len(text) >= len("20240531"):
        try:
            moment = datetime.fromisoformat(text).replace(tzinfo=None)
        except ValueError:
            return None
        return _span(moment, "second" if len(text) > len("2024-05-31") else "day")
    return None


def _numbered(match: re.Match[str]) -> Span:
    year, month, day = (int(part) if part else None for part in match.groups())
    return _span(datetime(year or 0, month or 1, day or 1), _exactness(month, day))


def _exactness(month: int | None, day: int | None) -> str:
    return "day" if day else "month" if month else "year"


# Other ways


def _any(text: str, now: datetime, locale: str) -> Span | None:
    if match := _DECADE.fullmatch(text):
        year = int(match[1])
        return Span(datetime(year, 1, 1), datetime(year + 10, 1, 1))
    if match := _EAST_ASIAN.fullmatch(text.replace(" ", "")):
        return _numbered(match)
    if span := _in(ENGLISH, text, now, locale):
        return span
    code = re.split(r"[_.@-]", locale)[0].lower()
    language = _language(code) if code.isalpha() and code not in ("en", "c", "posix") else None
    return _in(language, text, now, locale) if language else None


def _in(language: Language, text: str, now: datetime, locale: str) -> Span | None:
    if text in language.periods:
        return _period(*language.periods[text], now)
    plain = " ".join(language.numerals.get(word, word) for word in text.split())
    for pattern, unit in language.counted:
        if match := pattern.fullmatch(plain):
            return _ago(int(match[1]), unit, now)
    return _named(language, text, now, locale)


def _period(count: int, unit: str, now: datetime) -> Span:
    """A whole unit of time, so many before the one that is now."""
    if unit in ("second", "minute", "hour"):
        return _span(now, "second")
    return _span(_before(now, count, unit), unit)


def _ago(count: int, unit: str, now: datetime) -> Span:
    """The day, or for less the moment, so many units before now."""
    if unit in ("second", "minute", "hour"):
        # By the clock of the world, which no summer time turns.
        moment = now.astimezone() - timedelta(**{f"{unit}s": count})
        return _span(moment.astimezone(), "second")
    return _span(_before(now, count, unit), "day")


def _before(now: datetime, count: int, unit: str) -> datetime:
    if unit in ("day", "week"):
        return now - timedelta(days=count * (7 if unit == "week" else 1))
    months = 12 * now.year + now.month - 1 - count * (12 if unit == "year" else 1)
    year, month = divmod(months, 12)
    first = datetime(year, month + 1, 1)
    last = (_next_month(first) - timedelta(days=1)).day  # the 31st may be no day of that month
    return first.replace(day=min(now.day, last))


def _named(language: Language, text: str, now: datetime, locale: str) -> Span | None:
    """A date of which each word is known, each once: day, month, year, weekday and time."""
    text, clock = _without_clock(text)
    numbers = next(filter(None, map(_NUMBERS.fullmatch, text.split())), None)
    words = [word for word in text.split() if word not in language.fillers]
    weekday = _taken(words, language.weekdays)
    if numbers:
        span = _numeric(numbers, locale) if words == [numbers[0]] else None
    elif weekday is not None and words in ([], ["last"]):
        days = (now.weekday() - weekday) % 7 or 7 * bool(words)
        span, weekday = _period(days, "day", now), None
    else:
        span = _spelled(language, words, now)
    if span is None or (weekday is not None and span.start.weekday() != weekday):
        return None
    if clock is None:
        return span
    is_day = span.end - span.start == timedelta(days=1)
    return _span(datetime.combine(span.start, clock.time()), "second") if is_day else None


def _without_clock(text: str) -> tuple[str, datetime | None]:
    match = _CLOCK.search(text)
    if match is None:
        return text, None
    hour, minute, second, half = match.groups()
    hours = int(hour) if half is None else int(hour) % 12 + 12 * (half == "p")
    clock = datetime(1, 1, 1, hours, int(minute), int(second or 0))
    return f"{text[: match.start()]} {text[match.end() :]}", clock


def _taken(words: list[str], known: dict[str, int]) -> int | None:
    """What one of the words stands for, which is taken out."""
    for at, word in enumerate(words):
        if (found := known.get(word, known.get(word.rstrip(".")))) is not None:
            del words[at]
            return found
    return None


def _spelled(language: Language, words: list[str], now: datetime) -> Span | None:
    """A month by its name, with a day or not, and with a year or else the latest there was."""
    month = _taken(words, language.months)
    if month is None:
        return None
    years = [word for word in words if re.fullmatch(r"\d{4}\.?", word, re.ASCII)]
    days = [match for word in words if (match := _DAY.fullmatch(word))]
    if len(years) > 1 or len(days) > 1 or len(years) + len(days) < len(words):
        return None
    day = int(days[0][1]) if days else None
    year = int(years[0][:4]) if years else now.year
    if not years and (month, day or 1) > (now.month, now.day):
        year -= 1
    return _span(datetime(year, month, 1 if day is None else day), _exactness(month, day))


def _numeric(match: re.Match[str], locale: str) -> Span | None:
    """5.3.2024, 5/3/2024 or 2024/3/5; of the first the day comes first, of the second it may."""
    first, sign, second, third = match.groups()
    one, two = int(first), int(second)
    if len(first) == 4:
        return _span(datetime(one, two, int(third or 1)), "day" if third else "month")
    if len(first) > 2 or third is None or len(third) < (2 if sign == "." else 4):
        return None
    year = int(third) if len(third) == 4 else _century(int(third))
    if sign == "." or one > 12:
        return _span(datetime(year, two, one), "day")
    if one != two and two <= 12:
        return _span(datetime(year, *_ordered(match[0], one, two, year, locale)), "day")
    return _span(datetime(year, one, two), "day")


def _ordered(text: str, one: int, two: int, year: int, locale: str) -> tuple[int, int]:
    """The month and the day of two numbers that could both be either, as the locale has it."""
    country = re.search(r"_([A-Z]{2})", locale)
    if country is None:
        raise InvalidInput(
            f"{text!r} could be two dates; write {year}-{two:02}-{one:02} or"
            f" {year}-{one:02}-{two:02}"
        )
    return (one, two) if country[1] in _MONTH_FIRST else (two, one)


def _century(year: int) -> int:
    return year + (2000 if 2000 + year <= date.today().year else 1900)


def _next_month(first: datetime) -> datetime:
    return (first + timedelta(days=31)).replace(day=1)


def _span(moment: datetime, period: str) -> Span:
    """The period that a moment lies in."""
    moment = moment.replace(tzinfo=None)
    if period == "second":
        moment = moment.replace(microsecond=0)
        return Span(moment, moment + timedelta(seconds=1))
    start = datetime(moment.year, moment.month, moment.day)
    try:
        if period == "year":
            start = start.replace(month=1, day=1)
            return Span(start, start.replace(year=start.year + 1))
        if period == "month":
            start = start.replace(day=1)
            return Span(start, _next_month(start))
        if period == "week":
            start -= timedelta(days=start.weekday())
            return Span(start, start + timedelta(days=7))
        return Span(start, start + timedelta(days=1))
    except (ValueError, OverflowError):  # the end of the last year
        return Span(start, datetime.max)


# Languages


def _english() -> Language:
    months = {name: number for number, name in enumerate(_MONTHS, 1)}
    months |= {name[:3]: number for name, number in months.items()} | {"sept": 9}
    weekdays = {name: number for number, name in enumerate(_WEEKDAYS)}
    weekdays |= {name[:3]: number for name, number in weekdays.items()}
    periods = {"now": (0, "second"), "today": (0, "day"), "tomorrow": (-1, "day")}
    periods |= {"yesterday": (1, "day"), "day before yesterday": (2, "day")}
    periods |= {"the day before yesterday": (2, "day")}
    for unit in ("week", "month", "year"):
        periods |= {f"this {unit}": (0, unit), f"last {unit}": (1, unit)}
        periods |= {f"previous {unit}": (1, unit)}
    return Language(
        months,
        weekdays,
        periods,
        tuple((re.compile(rf"(\d{{1,6}}) {unit}s? ago", re.ASCII), unit) for unit in _UNITS),
        frozenset(("of", "the", "on", "at", "in")),
        {"a": "1", "an": "1"} | {word: str(count) for count, word in enumerate(_COUNTS, 1)},
    )


ENGLISH = _english()


@cache
def _language(code: str) -> Language | None:
    """The words of a language, None where nobody knows them."""
    try:
        told = import_module(f"dateparser.data.date_translation_data.{code}").info
    except ImportError:
        return None
    return Language(
        dict(_words(told, _MONTHS, 1)),
        dict(_words(told, _WEEKDAYS, 0)),
        dict(_periods(told.get("relative-type", {}))),
        tuple(_counted(told.get("relative-type-regex", {}))),
        frozenset(map(_small, (*told.get("skip", ()), *told.get("pertain", ()), *_OF))),
        dict(_numerals(told.get("simplifications", ()))),
    )


def _numerals(told: Iterable[dict[str, str]]) -> Iterator[tuple[str, str]]:
    for pairs in told:
        yield from ((_small(word), digits) for word, digits in pairs.items() if digits.isdecimal())


def _words(
    told: dict[str, list[str]], names: tuple[str, ...], first: int
) -> Iterator[tuple[str, int]]:
    for number, name in enumerate(names, first):
        yield from ((_small(word), number) for word in told.get(name, ()))


def _periods(told: dict[str, list[str]]) -> Iterator[tuple[str, tuple[int, str]]]:
    for meaning, words in told.items():
        if match := re.fullmatch(rf"(\d) ({'|'.join(_UNITS)}) ago", meaning):
            yield from ((_small(word), (int(match[1]), match[2])) for word in words)


def _counted(told: dict[str, list[str]]) -> Iterator[tuple[re.Pattern[str], str]]:
    for meaning, patterns in told.items():
        if match := re.fullmatch(rf"\\1 ({'|'.join(_UNITS)}) ago", meaning):
            for pattern in patterns:
                plain = re.sub(r"\(\\d\+\+?[^)]*\)", r"(\\d{1,6})", normalize("NFKC", pattern))
                yield re.compile(plain.casefold().replace("\\\\d", "\\d")), match[1]
