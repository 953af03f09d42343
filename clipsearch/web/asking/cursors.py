"""Cursors: which photos a client was given already, in a text that it hands back.

What was given is left out of the next page, whatever has changed meanwhile: no photo comes twice,
and one that was there all the time comes at last. Nothing is kept here for who never comes back.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Collection, Iterator

from clipsearch.errors import LARGEST, InvalidInput, arg

MOST_SEEN = 10_000  # photos that a cursor leads through; what it says fits an address then
_MOST_BYTES = 10 * MOST_SEEN  # of their ids, unpacked


def cursor_of(seen: Collection[int]) -> str:
    """A cursor for who was given photos with these ids."""
    content, before = bytearray(), 0
    for id in sorted(seen):
        content += _varint(id - before)
        before = id
    return base64.urlsafe_b64encode(zlib.compress(content, 9)).rstrip(b"=").decode()


def seen_by(cursor: str) -> set[int]:
    """The ids of the photos that were given already.

    Raises:
        InvalidInput: it is no cursor of ours, or has led through MOST_SEEN photos.
    """
    try:
        packed = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        unpacking = zlib.decompressobj()
        content = unpacking.decompress(packed, _MOST_BYTES)
        if not unpacking.eof:
            raise ValueError("its end is not there")
        seen = set(_ids(content))
    except (ValueError, zlib.error):
        raise InvalidInput(
            f"{arg('cursor')} is none; give back what an answer has as next, as it is"
        ) from None
    if len(seen) >= MOST_SEEN:
        raise InvalidInput(
            f"{arg('cursor')} has led through {MOST_SEEN} photos, and leads no further; ask for"
            f" fewer by filters, or go on with {arg('offset')}"
        )
    return seen


def _varint(number: int) -> bytes:
    content = bytearray()
    while number > 127:
        content.append(number & 127 | 128)
        number >>= 7
    content.append(number)
    return bytes(content)


def _ids(content: bytes) -> Iterator[int]:
    id, number, shift = 0, 0, 0
    for byte in content:
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            id += number
            if not 0 < id <= LARGEST:
                raise ValueError("no photo has such an id")
            yield id
            number, shift = 0, 0
        elif shift > 63:
            raise ValueError("a number has no end")
    if shift:
        raise ValueError("a number has no end")
