"""Photos' files as one zip, made while it is sent: no more than a piece of one is in memory."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from io import RawIOBase
from typing import Any

from clipsearch.errors import PhotoError
from clipsearch.photos.files.opening import OpenFile, open_below
from clipsearch.store.catalog import StoredPhoto
from clipsearch.web.sending.files import read_on

NAME = "photos.zip"
_LEFT_OUT = "left out.txt"
_BLOCK = 1 << 18
_NOT_IN_NAMES = {ord(letter): "_" for letter in '\\/:*?"<>|'} | dict.fromkeys(range(32), "_")


def zipped(photos: Sequence[StoredPhoto]) -> Iterator[bytes]:
    """The pieces of a zip of the photos' files as they are; a text in it tells of those left out.

    Each file is opened when it is its turn, as `open_below` does. Photos are hardly ever made
    smaller by packing, so it is not tried.
    """
    sink = _Sink()
    left_out = []
    names = _names(photos)
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for photo, name in zip(photos, names, strict=True):
            try:
                file = open_below(photo.place)
            except PhotoError as error:
                left_out.append(f"{name}: {error}\n")
                continue
            with file.content:
                yield from _packed(file, name, archive, sink)
        if left_out:
            archive.writestr(_LEFT_OUT, "".join(left_out))
    yield sink.taken()


def _packed(file: OpenFile, name: str, archive: zipfile.ZipFile, sink: _Sink) -> Iterator[bytes]:
    entry = zipfile.ZipInfo(name, _when(file.mtime_ns))
    entry.external_attr = 0o644 << 16
    with archive.open(entry, "w", force_zip64=file.size >= zipfile.ZIP64_LIMIT) as packed:
        left = file.size
        while left:
            content = read_on(file.content, min(left, _BLOCK))
            left -= len(content)
            packed.write(content)
            yield sink.taken()


def _when(mtime_ns: int) -> tuple[int, int, int, int, int, int]:
    """A time on this machine's clock, which is what zip files tell, from 1980 to 2107."""
    when = datetime(1980, 1, 1)
    with suppress(OverflowError, ValueError, OSError):
        local = datetime.fromtimestamp(mtime_ns // 1_000_000_000, UTC).astimezone()
        when = local.replace(tzinfo=None) if 1980 <= local.year <= 2107 else when
    return when.year, when.month, when.day, when.hour, when.minute, when.second


def _names(photos: Sequence[StoredPhoto]) -> list[str]:
    """A name in the zip for each photo: its file's, with a number where another has it already."""
    taken = {_LEFT_OUT.casefold()}
    names = []
    for photo in photos:
        plain = photo.place.path.rpartition("/")[2].translate(_NOT_IN_NAMES)
        plain = plain.encode("utf-8", "replace").decode()  # of a name that is no text
        stem, dot, ending = plain.rpartition(".")
        name, number = plain, 1
        while name.casefold() in taken:
            number += 1
            name = f"{stem} ({number}){dot}{ending}"
        taken.add(name.casefold())
        names.append(name)
    return names


class _Sink(RawIOBase):
    """Keeps what is written until it is taken; a zip that goes nowhere but onwards."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        """Whether it takes anything."""
        return True

    def write(self, content: Any) -> int:
        """Keep a piece."""
        self._pieces.append(bytes(content))
        return len(content)

    def taken(self) -> bytes:
        """What was written since the last time."""
        content = b"".join(self._pieces)
        self._pieces.clear()
        return content
