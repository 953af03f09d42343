"""The IPTC record of a photo's file (IIM 4), as JPEG, TIFF, PNG and JPEG 2000 hold it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

Key = tuple[int, int]  # a record and a dataset

TITLE, HEADLINE, CAPTION, KEYWORDS = (2, 5), (2, 105), (2, 120), (2, 25)
PLACE = ((2, 92), (2, 90), (2, 95), (2, 101))  # sublocation, city, state, country
_CHARACTER_SET = (1, 90)

# How IPTC names character sets, by escape sequences of ISO 2022.
_CHARACTERS = {
    b"\x1b%G": "utf-8", b"\x1b%/I": "utf-8", b"\x1b-A": "latin-1", b"\x1b.A": "latin-1",
    b"\x1b-B": "iso8859-2", b"\x1b-C": "iso8859-3", b"\x1b-D": "iso8859-4",
    b"\x1b-L": "iso8859-5", b"\x1b-G": "iso8859-6", b"\x1b-F": "iso8859-7",
    b"\x1b-H": "iso8859-8", b"\x1b-M": "iso8859-9",
}  # fmt: skip

_TAG_OF_TIFF = 33723
_RESOURCE = 0x0404  # of Photoshop's
_PROFILE = "Raw profile type iptc"  # of a PNG, as ImageMagick and Exiv2 write it
_MOST = 5000  # values


@dataclass(frozen=True, slots=True)
class Record:
    """The values that a record has, by their keys."""

    values: Mapping[Key, Sequence[bytes]]

    def texts(self, key: Key) -> list[str]:
        """The values of a key as texts."""
        characters = _CHARACTERS.get(next(iter(self.values.get(_CHARACTER_SET, ())), b""))
        return [_decoded(value, characters) for value in self.values.get(key, ())]


def read_iptc(image: Image.Image) -> Record:
    """The record of an opened image; an empty one where there is none, or it is broken."""
    found: dict[Key, list[bytes]] = {}
    for key, value in _values(_block(image)):
        found.setdefault(key, []).append(value)
    return Record(found)


def _block(image: Image.Image) -> bytes:
    """The record as it is written; empty where there is none."""
    held: Any = b""
    try:
        if image.format == "TIFF":
            # As bytes: some programs say that they are numbers of four each.
            held = image.tag_v2._tagdata.get(_TAG_OF_TIFF, b"")  # type: ignore[attr-defined]
        elif image.format == "PNG":
            held = _resource(bytes.fromhex("".join(image.info.get(_PROFILE, "").split()[2:])))
        elif "photoshop" in image.info:
            held = image.info["photoshop"].get(_RESOURCE, b"")
        else:
            held = image.info.get("iptc", b"")
    except (AttributeError, TypeError, ValueError):
        return b""
    return held if isinstance(held, bytes) else b""


def _resource(profile: bytes) -> bytes:
    """The record in a block of Photoshop's resources, which stands for it or around it."""
    name = b"8BIM" + _RESOURCE.to_bytes(2)
    if not profile.startswith(b"8BIM"):
        return profile
    start = profile.find(name)
    if start < 0:
        return b""
    label = profile[start + 6]  # its length
    begin = start + 6 + (label + 2) // 2 * 2
    length = int.from_bytes(profile[begin : begin + 4])
    return profile[begin + 4 : begin + 4 + length]


def _values(block: bytes) -> Iterator[tuple[Key, bytes]]:
    at = 0
    for _ in range(_MOST):
        head = block[at : at + 5]
        if len(head) < 5 or head[0] != 0x1C:
            return
        length, begin = int.from_bytes(head[3:5]), at + 5
        if length & 0x8000:  # so many bytes follow, which tell it
            extended = length & 0x7FFF
            length = int.from_bytes(block[begin : begin + extended])
            begin += extended
        yield (head[1], head[2]), block[begin : begin + length]
        at = begin + length


def _decoded(value: bytes, characters: str | None) -> str:
    # Most programs leave out which they use, and some say another.
    for name in ("utf-8", characters or "cp1252"):
        try:
            return value.decode(name)
        except UnicodeDecodeError:
            continue
    return value.decode("latin-1")
