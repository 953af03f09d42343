"""The encodings in which EXIF holds texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_LONGEST = 100_000  # bytes

# The eight bytes before a comment, and what it may be written in then, the likeliest first.
_CHARACTERS = {
    b"ASCII\0\0\0": ("utf-8", "cp1252"),
    b"JIS\0\0\0\0\0": ("iso2022_jp", "shift_jis"),
    b"\0\0\0\0\0\0\0\0": ("utf-8", "cp1252"),
}
_UNICODE = b"UNICODE\0"


def latin_or_utf8(value: str | bytes) -> str:
    """A text that Pillow took for Latin-1, as it does with all; valid UTF-8 is hardly ever that."""
    try:
        content = value.encode("latin-1") if isinstance(value, str) else value
    except UnicodeEncodeError:
        return str(value)  # not read by Pillow
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def windows_text(value: Any) -> str:
    """A text as Windows writes it (XPTitle and its like): UTF-16, as bytes or their numbers."""
    content = _bytes(value)
    return content.decode("utf-16-le", "ignore").rstrip("\0 ").strip()


def comment_of(value: Any) -> str:
    """A comment (UserComment), in the encoding that its first eight bytes name."""
    if isinstance(value, str):
        value = value.encode("latin-1", "replace")
    content = _bytes(value)
    name, text = content[:8], content[8:]
    if name == _UNICODE:
        return _utf_16(text).strip("\0 ")
    for encoding in _CHARACTERS.get(name, ("utf-8", "cp1252")):
        try:
            return (text if name in _CHARACTERS else content).decode(encoding).strip("\0 ")
        except UnicodeDecodeError:
            continue
    return ""


def _utf_16(text: bytes) -> str:
    """What is in the order of bytes that it begins with, or else in the one that has more zeros."""
    if text.startswith((b"\xff\xfe", b"\xfe\xff")):
        return text.decode("utf-16", "ignore")
    is_big = text[::2].count(0) > text[1::2].count(0)
    found = text.decode("utf-16-be" if is_big else "utf-16-le", "ignore")
    if text[::2].count(0) == text[1::2].count(0):  # as of Chinese: letters, or odd ones
        other = text.decode("utf-16-be", "ignore")
        found = max(found, other, key=lambda it: sum(map(str.isalnum, it)))
    return found


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value[:_LONGEST]
    if isinstance(value, Sequence) and not isinstance(value, str):
        try:
            return bytes(value[:_LONGEST])
        except (TypeError, ValueError):
            return b""
    return b""
