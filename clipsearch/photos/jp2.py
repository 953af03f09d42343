"""The metadata in the boxes of a JPEG 2000 file (ISO 15444-1), which Pillow does not look for."""

from __future__ import annotations

from collections.abc import Iterator

# By the ids of the boxes that hold them, as Exiv2 and ExifTool write them.
_IDS = {
    bytes.fromhex("4a706754696666457869662d3e4a5032"): "exif",
    bytes.fromhex("be7acfcb97a942e89c71999491e3afac"): "xmp",
    bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38"): "iptc",
}
_MOST_BOXES = 1000
_LARGEST = 16 << 20  # bytes of one


def metadata_of(content: bytes) -> dict[str, bytes]:
    """The blocks of a file by their names: "exif", with its usual beginning, "xmp" and "iptc"."""
    found: dict[str, bytes] = {}
    for kind, body in _boxes(content):
        name = _IDS.get(body[:16]) if kind == b"uuid" else None
        if name and name not in found:
            found[name] = body[16:_LARGEST]
    if "exif" in found:
        found["exif"] = b"Exif\0\0" + found["exif"].removeprefix(b"Exif\0\0")
    return found


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The boxes that a file consists of: their kinds and what they hold."""
    at = 0
    for _ in range(_MOST_BOXES):
        head = content[at : at + 8]
        if len(head) < 8:
            return
        length, begin = int.from_bytes(head[:4]), at + 8
        if length == 1:  # it is written behind the kind
            length, begin = int.from_bytes(content[begin : begin + 8]), begin + 8
        end = at + length if length else len(content)
        if end < begin:
            return
        yield head[4:], content[begin:end] if head[4:] == b"uuid" else b""
        at = end
