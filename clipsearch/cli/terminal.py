"""What a terminal is given: lines that break between words, colours, links, and how wide it is."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

if TYPE_CHECKING:
    from clipsearch.photos.files.urls import PhotoPath

Colour = Literal["red", "green", "yellow", "dim"]

_CODES: dict[Colour, int] = {"red": 31, "green": 32, "yellow": 33, "dim": 2}
# Terminals that show the codes they do not know, or know none. As most programs do, all others
# are believed to understand links (OSC 8) or to ignore them.
_PLAIN = re.compile(r"|unknown|dumb|linux|cygwin|cons25|vt\d+.*|eterm.*")
_USUAL_WIDTH = 80
# A word with the spaces before it; what stands in quotes is one.
_WORD = re.compile(r" *(?:(?<![\w'])'[^'\n]+'(?!\w)|`[^`\n]+`|\"[^\"\n]+\"|[^ ])+")
_HANGING = re.compile(r" *(?:\d+\. )?")
_LONGEST_NAME = 12  # words, of a path that stands in no quotes


def width_of(stream: TextIO) -> int:
    """How many cells a line of a terminal has; $COLUMNS overrules."""
    with suppress(ValueError):
        if (said := int(os.environ.get("COLUMNS", ""))) > 0:
            return said
    with suppress(OSError, ValueError):
        return os.get_terminal_size(stream.fileno()).columns or _USUAL_WIDTH
    return _USUAL_WIDTH


def cells(text: str) -> int:
    """How many cells of a terminal a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def fitted(text: str, stream: TextIO, hang: int = 0) -> str:
    """A text as a stream is given it: for a terminal in lines that break between words.

    What a line has too much is indented by `hang`, or as the line is, with its number.
    """
    if not stream.isatty():
        return text
    width = width_of(stream)
    return "\n".join(_paragraph(line, width, hang) for line in text.split("\n"))


def _paragraph(line: str, width: int, hang: int) -> str:
    own = _HANGING.match(line)
    hang = hang or len(own[0] if own else "")
    return f"\n{' ' * hang}".join(broken(line, width, hang))


def broken(text: str, width: int, hang: int = 0) -> list[str]:
    """A line of text as lines of at most so many cells; of all but the first `hang` fewer.

    A word, a path or what stands in quotes is never broken, though it be longer.
    """
    lines = [""]
    for word in _words(text, width - hang):
        room = width - (hang if len(lines) > 1 else 0)
        if lines[-1].strip() and cells(lines[-1]) + cells(word) > room:
            lines.append(word.lstrip(" "))
        else:
            lines[-1] += word
    return lines


def _words(text: str, longest: int) -> Iterator[str]:
    words = _WORD.findall(text)
    while words:
        word = words.pop(0)
        if len(word) > longest and " " in word.strip():  # a sentence in quotes
            first, *others = re.findall(r" *[^ ]+", word)
            yield from (first, *others)
            continue
        if word.lstrip(" (").startswith("/"):
            # A file's name may have spaces: what is there is a path.
            for count in range(min(len(words), _LONGEST_NAME), 0, -1):
                path = "".join([word, *words[:count]])
                if os.path.lexists(path.strip(" ().,;:")):
                    word, words = path, words[count:]
                    break
        yield word


def coloured(text: str, colour: Colour, stream: TextIO) -> str:
    """A text in a colour where the stream is a terminal that has it; NO_COLOR says not to."""
    if os.environ.get("NO_COLOR") or not (stream.isatty() and _knows_codes()):
        return text
    return styled(text, colour)


def styled(text: str, colour: Colour) -> str:
    """A text in a colour, or dim."""
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m"


def is_decorated() -> bool:
    """Whether the terminal takes links and dim text; FORCE_HYPERLINK=0 or 1 overrules."""
    forced = os.environ.get("FORCE_HYPERLINK")
    return forced != "0" if forced else _knows_codes()


def _knows_codes() -> bool:
    if os.name == "nt":
        return "WT_SESSION" in os.environ  # Windows Terminal; the old console shows the codes
    return not _PLAIN.fullmatch(os.environ.get("TERM", ""))


def linked(text: str, path: PhotoPath) -> str:
    """Text that leads to a file when clicked (OSC 8)."""
    return f"\x1b]8;;{link_to(path)}\x1b\\{text}\x1b]8;;\x1b\\"


def link_to(path: PhotoPath) -> str:
    """A file's URL; it names this machine where the terminal stands at another."""
    host = socket.gethostname() if "SSH_CONNECTION" in os.environ else ""
    whole = path.absolute() if isinstance(path, Path) else path
    return whole.as_uri().replace("file://", f"file://{host}", 1)
