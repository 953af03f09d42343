"""What an assistant sends, in which each text is one that can be read."""

from __future__ import annotations

import json
import os
import sys
from io import BufferedReader, RawIOBase, TextIOWrapper
from typing import BinaryIO


def mended(line: bytes) -> bytes:
    """A line of JSON in which halves of letters (lone surrogates) are question marks.

    JSON can write such a half, and what reads messages for us would leave them unanswered.
    """
    if rb"\ud" not in line.lower():
        return line
    try:
        message = json.dumps(json.loads(line), ensure_ascii=False)
    except (ValueError, RecursionError):  # which is told as it is told of others
        return line
    return message.encode("utf-8", "replace") + b"\n"


class _Mended(RawIOBase):
    """A stream of lines, each mended."""

    def __init__(self, lines: BinaryIO) -> None:
        self._lines = lines
        self._rest = b""

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, room: memoryview) -> int:  # type: ignore[override]
        """Read what there is of a line; 0 at the end."""
        if not self._rest:
            self._rest = mended(self._lines.readline())
        count = min(len(room), len(self._rest))
        room[:count], self._rest = self._rest[:count], self._rest[count:]
        return count


def mend_stdin() -> None:
    """Have stdin mended; what this process starts finds nothing there."""
    wire, nothing = os.dup(0), os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    lines = BufferedReader(_Mended(os.fdopen(wire, "rb", closefd=False)))
    sys.stdin = TextIOWrapper(lines, encoding="utf-8", errors="replace")
