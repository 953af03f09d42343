"""Thumbnails kept on disk: each is made once, and those that were not looked at longest go first.

They belong to contents and not to files, so that several indexes and copies of a photo share one.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import threading
import time
from contextlib import suppress
from io import BytesIO
from pathlib import Path

from clipsearch.photos.decoding.isolated import Processes, Turn, untimed
from clipsearch.photos.decoding.thumbnail import shrunk
from clipsearch.photos.files.opening import Place, read_below
from clipsearch.replacing import is_unfinished, make_private, replacing

log = logging.getLogger("clipsearch")

SIZES = (160, 320, 640, 1600)  # pixels of the longer side
MOST_BYTES = 1 << 30
_QUALITY = 80
_EFFORT = 2  # of WebP's encoder, 0 to 6: more takes much longer and saves little
_LEFT = 0.9  # of the limit, after those that go
_SEEN_AGAIN = 3600  # seconds until looking at one is worth writing down
_UNFINISHED = 3600  # seconds after which nobody is still writing
_NAME = re.compile(r"[0-9a-f]{64}-\d+\.webp")  # of those that are deleted to make room


class Thumbnails:
    """A folder of thumbnails; may be used from many threads, and by several processes at once."""

    def __init__(self, folder: Path, processes: Processes, most_bytes: int = MOST_BYTES) -> None:
        self._folder = folder
        self._processes = processes
        self._most_bytes = most_bytes
        self._total: int | None = None  # bytes on disk, about; None before they were counted
        self._tidying = threading.Lock()

    def get(self, place: Place, digest: str, size: int) -> bytes:
        """A photo's thumbnail in WebP, upright and at most `size` pixels; made if there is none.

        `digest` is its content's, as it was indexed.

        Raises:
            PhotoError: its file is gone, cannot be read or is no picture any more.
        """
        file = self._file(digest, size)
        if (kept := _read(file)) is not None:
            return kept
        # Of a file that has changed since, it is kept under what is in it now.
        made: tuple[str, bytes] = self._processes.start(make_thumbnail, place, size)()
        digest, content = made
        self._keep(self._file(digest, size), content)
        return content

    def _file(self, digest: str, size: int) -> Path:
        return self._folder / digest[:2] / f"{digest}-{size}.webp"

    def _keep(self, file: Path, content: bytes) -> None:
        try:
            make_private(self._folder.parent)
            make_private(self._folder)  # photos may be private where the cache is not
            file.parent.mkdir(exist_ok=True)
            with replacing(file, lasting=False) as fresh:
                fresh.write_bytes(content)
        except OSError as error:  # it was made, and is shown; it will be made again
            log.warning("a thumbnail cannot be kept: %s", error)
            return
        with self._tidying:
            if self._total is None:
                self._total = sum(size for _, size, _ in self._all())
            else:
                self._total += len(content)
            if self._total > self._most_bytes:
                self._total = self._tidy()

    def _tidy(self) -> int:
        """Delete those that were not looked at longest; gives the bytes that are left."""
        kept = sorted(self._all())
        total = sum(size for _, size, _ in kept)
        for _, size, path in kept:
            if total <= _LEFT * self._most_bytes:
                break
            with suppress(OSError):
                os.unlink(path)
            total -= size
        return total

    def _all(self) -> list[tuple[float, int, str]]:
        """(when it was looked at last, bytes, path) of all; what a crash left behind is deleted."""
        found = []
        for path in self._folder.glob("*/*"):
            with suppress(OSError):
                status = path.stat()
                if _NAME.fullmatch(path.name):
                    found.append((status.st_mtime, status.st_size, str(path)))
                elif is_unfinished(path.name) and status.st_mtime < time.time() - _UNFINISHED:
                    path.unlink()
        return found


def make_thumbnail(place: Place, size: int) -> tuple[str, bytes]:
    """The digest of a photo's content, SHA-256 in hex, and its thumbnail in WebP.

    Raises:
        PhotoError: it cannot be read, or is no picture.
    """
    with untimed():
        content = read_below(place)
    image = shrunk(content, (size, size), Turn())
    stream = BytesIO()
    image.save(stream, "WEBP", quality=_QUALITY, method=_EFFORT)
    return hashlib.sha256(content).hexdigest(), stream.getvalue()


def _read(file: Path) -> bytes | None:
    """A thumbnail that is kept, None if there is none or a power cut spoiled it."""
    try:
        content = file.read_bytes()
        whole = content[:4] == b"RIFF" and int.from_bytes(content[4:8], "little") + 8 == len(
            content
        )
        if whole and file.stat().st_mtime < time.time() - _SEEN_AGAIN:
            os.utime(file)
        return content if whole else None
    except OSError:
        return None
