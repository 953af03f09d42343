"""What commands say in the same words: of a photo, a number of things, a path, finding nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from clipsearch.photos.files.urls import PhotoPath
    from clipsearch.photos.scanning.rules import ScanRules
    from clipsearch.search.filtering.filters import Filters
    from clipsearch.search.results import Nothing

# What moves a terminal's cursor, ends a line, or has text run the other way.
_UNSEEN = r"\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
_CONTROL = re.compile(rf"[\x00-\x1f{_UNSEEN}]")
_CONTROL_IN_LINES = re.compile(rf"[\x00-\x08\x0b-\x1f{_UNSEEN}]")


class Photo(Protocol):
    """A photo of an answer; what has `score` and `relevance` besides is shown with them."""

    @property
    def path(self) -> PhotoPath:
        """Absolute path of the file, or its URL."""

    def as_dict(self, rank: int) -> dict[str, Any]:
        """What `--json` and `--csv` show; `rank` counts from 1."""


def score_of(photo: Photo, digits: int) -> tuple[str, ...]:
    """A photo's score, to be shown; nothing for one without."""
    score: float | None = getattr(photo, "score", None)
    return () if score is None else (f"{score:.{digits}f}",)


def fit_of(photo: Photo) -> tuple[str, ...]:
    """How far a photo stands out as an answer, in percent; nothing for one without."""
    relevance: float | None = getattr(photo, "relevance", None)
    if relevance is None:
        return ()
    percent = round(100 * relevance)
    # What is left out by --relevant is not shown as what is kept.
    return (f"{percent - (percent == 50 and round(relevance, 3) < 0.5)}%",)


def written_of(photo: Photo) -> tuple[str, ...]:
    """Whether a photo is found by what is written about it; nothing of others."""
    written: float = getattr(photo, "written", 0.0)
    return ("written" if written == 1 else "partly written",) if written else ()


def away_of(photo: Photo) -> str:
    """What is said of a photo that is not there now; nothing of others."""
    return "" if getattr(photo, "present", True) else "  (away)"


def printable(path: str) -> str:
    """A path on one line: control characters and bytes that are no text are shown as \\x.."""
    if path.isprintable():
        return path
    shown = _CONTROL.sub(_escaped, path)
    return "".join(f"\\x{ord(c) - 0xDC00:02x}" if "\udc80" <= c <= "\udcff" else c for c in shown)


def harmless(text: str) -> str:
    """Lines of text that do to a terminal nothing but stand there, whatever names are in them."""
    return _CONTROL_IN_LINES.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    number = ord(found[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def nothing_found(why: Nothing, filters: Filters | None) -> str:
    """Why no photo was found, and what to do."""
    among = " within the filters" if filters else ""
    nowhere = " and ".join(f'"{printable(it)}"' for it in why.nowhere)
    quotes = (
        f": {nowhere} {'are' if len(why.nowhere) > 1 else 'is'} in no path, title, caption or"
        " keyword, nor in the text of a picture; what is not in quotes is looked for in pictures"
        " too"
        if nowhere
        else "; what is not in quotes need not be written"
    )
    return {
        "empty": "the index holds no photos",
        "filters": "no photo satisfies the filters",
        "quotes": f"no photo{among} has all the words in quotes{quotes}",
        "minus": f"every photo{among} that is left has words in quotes after a minus",
        "unembedded": f"no photo{among or ' of the index'} is embedded yet; go on with: clipsearch"
        " index",
        "relevance": f"no photo{among} fits for certain; without --relevant the nearest are shown",
        "itself": f"the index holds no other photos{among}",
    }[why.reason]


def options_of(rules: ScanRules) -> str:
    """The options of `clipsearch index` that a folder's rules came from."""
    import shlex

    said = [("--include", pattern) for pattern in rules.include]
    said += [("--exclude", pattern) for pattern in rules.exclude]
    flags = ["--follow-links"] * rules.follow_links + ["--raw-too"] * rules.raw_too
    return " ".join([*(f"{option} {shlex.quote(pattern)}" for option, pattern in said), *flags])
