"""A file that is open already, sent whole or in part."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping
from email.utils import formatdate, parsedate_to_datetime
from typing import BinaryIO
from urllib.parse import quote

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from clipsearch.photos.facts.facts import NO_TIME
from clipsearch.photos.files.opening import OpenFile
from clipsearch.web.sending.head import BODILESS

_BLOCK = 1 << 18

# What browsers are told; RAW files and what has no name of its own are only bytes to them.
_TYPES = {
    ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".jpe": "image/jpeg", ".jfif": "image/jpeg",
    ".png": "image/png", ".apng": "image/png", ".gif": "image/gif", ".webp": "image/webp",
    ".avif": "image/avif", ".heic": "image/heic", ".heif": "image/heif", ".hif": "image/heif",
    ".tif": "image/tiff", ".tiff": "image/tiff", ".bmp": "image/bmp", ".jp2": "image/jp2",
    ".dng": "image/x-adobe-dng",
}  # fmt: skip


class BrokenOff(Exception):
    """A file that cannot be sent to its end, which is told by closing the connection."""


def read_on(file: BinaryIO, most: int) -> bytes:
    """The next bytes of a file of which more must come, up to `most`.

    Raises:
        BrokenOff: there are none, since it was cut, or its drive went away.
    """
    try:
        content = file.read(most)
    except OSError as error:
        raise BrokenOff(f"a photo's file could not be sent whole: {error.strerror}") from error
    if not content:
        raise BrokenOff("a photo's file has become shorter while it was sent")
    return content


class FileAnswer(Response):
    """An open file, which is closed when it is sent; `headers` are those of the request.

    It is sent from what is open and not by its path, which may lead elsewhere by now.
    """

    def __init__(self, file: OpenFile, name: str, headers: Mapping[str, str]) -> None:
        self._file, size, mtime_ns = file
        extension = os.path.splitext(name)[1].lower()
        kind = _TYPES.get(extension, "application/octet-stream")
        etag = f'"{mtime_ns:x}-{size:x}"'
        own = {
            "Accept-Ranges": "bytes",
            "Cache-Control": "private, no-cache",
            "ETag": etag,
            "Content-Disposition": f"inline; filename*=utf-8''{_quoted(name)}",
        }
        if mtime_ns >= NO_TIME:
            own["Last-Modified"] = formatdate(mtime_ns // 1_000_000_000, usegmt=True)
        status, self._start, self._length = _part(size, etag, mtime_ns, headers)
        if status in (206, 416):
            span = f"{self._start}-{self._start + self._length - 1}" if status == 206 else "*"
            own["Content-Range"] = f"bytes {span}/{size}"
        if status != 304:
            own["Content-Length"] = str(self._length)
        super().__init__(None, status, own, kind)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            headers = [it for it in self.raw_headers if it[0] != b"content-length"]
            if self.status_code != 304:
                headers.append((b"content-length", b"%d" % self._length))
            start = {"type": "http.response.start", "status": self.status_code}
            await send(start | {"headers": headers})
            await asyncio.to_thread(self._file.seek, self._start)
            left = 0 if scope.get(BODILESS) else self._length
            while left:
                content = await asyncio.to_thread(read_on, self._file, min(left, _BLOCK))
                left -= len(content)
                await send({"type": "http.response.body", "body": content, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            self._file.close()


def is_known(headers: Mapping[str, str], etag: str, mtime_ns: int | None = None) -> bool:
    """Whether who asks has what it would get, by RFC 9110, 13.1.2 and 13.1.3.

    `headers` are those of the request.
    """
    if (tags := headers.get("if-none-match")) is not None:
        known = [tag.strip().removeprefix("W/") for tag in tags.split(",")]
        return "*" in known or etag in known
    if mtime_ns is None or (since := headers.get("if-modified-since")) is None:
        return False
    try:
        return mtime_ns // 1_000_000_000 <= parsedate_to_datetime(since).timestamp()
    except (ValueError, OverflowError):  # which is as if it were not there
        return False


def _part(size: int, etag: str, mtime_ns: int, headers: Mapping[str, str]) -> tuple[int, int, int]:
    """The status, and the first byte and the number of bytes that are to be sent."""
    if is_known(headers, etag, mtime_ns if mtime_ns >= NO_TIME else None):
        return 304, 0, 0
    asked = re.fullmatch(r"bytes=(\d{0,19})-(\d{0,19})", headers.get("range", "").strip())
    if asked is None or not (asked[1] or asked[2]) or headers.get("if-range", etag) != etag:
        return 200, 0, size  # of several parts none is sent alone, which is allowed
    if asked[1]:
        first, last = int(asked[1]), min(int(asked[2] or size), size - 1)
        if asked[2] and int(asked[2]) < first:
            return 200, 0, size
    else:
        first, last = max(size - int(asked[2]), 0), size - 1
    if first > last:
        return 416, 0, 0
    return 206, first, last - first + 1


def _quoted(name: str) -> str:
    return quote(os.fsencode(name))
