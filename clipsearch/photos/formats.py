"""What kind of picture a file is, by its content, and how each kind is opened."""

from __future__ import annotations

import importlib
import io
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

import PIL
from PIL import ExifTags, Image, UnidentifiedImageError

from clipsearch.errors import PhotoError, first_line
from clipsearch.photos.jp2 import metadata_of

# Of all that Pillow opens, what photos are kept in. The rest stays shut: an EPS file, whatever
# its name, would start Ghostscript.
_PILLOW = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "AVIF", "BMP", "DIB", "JPEG2000", "PPM")

# Those of them that Pillow reads by a library, which a build of it may lack.
_LIBRARIES = {
    "JPEG": "jpg", "PNG": "zlib", "WebP": "webp", "TIFF": "libtiff", "AVIF": "avif",
    "JPEG 2000": "jpg_2000",
}  # fmt: skip

# Brands of the ISO container that HEIF, AVIF, Canon's RAW and videos share.
_AVIF = {b"avif", b"avis"}
_HEIF = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_CANON_RAW = b"crx "

# RAW files that say so at their start. Most others are TIFFs, see `_is_raw_tiff`.
_RAW_STARTS = (b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FUJIFILMCCD-RAW", b"FOVb", b"\0MRM")

# What lies about under a photo's name, told apart so that a person knows what happened.
_NO_PHOTOS = (
    (b"%PDF", "a PDF"),
    (b"8BPS", "a Photoshop file"),
    (b"%!PS", "a PostScript file"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x1aE\xdf\xa3", "a video"),
    (b"\0\0\x01\xba", "a video"),
    (b"OggS", "a sound or video"),
    (b"ID3", "a sound"),
    (b"\0\0\x01\0", "an icon"),
    (b"SQLite format 3", "a database"),
    (b"bplist", "a property list"),
)

# How the pictures that are read start, but for those in ISO containers.
_PICTURES = (
    b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"II*\0", b"MM\0*", b"BM", b"P5", b"P6",
    b"\0\0\0\x0cjP", b"\xff\x4f\xff\x51",
)  # fmt: skip

JPEG_END = b"\xff\xd9"
_SCAN = 0xDA  # the marker that a JPEG's pixels follow

# LibRaw's flip, and the EXIF orientation that turns the same way.
_FLIPS = {3: 3, 5: 8, 6: 6}

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class OpenPicture:
    """A picture whose pixels may not be decoded yet."""

    image: Image.Image
    size: tuple[int, int]  # of the whole picture, as the eye sees it
    held: int  # pixels that decoding it holds in memory
    exif: Image.Exif
    orientation: int | None  # as EXIF has it, 1 to 8
    turn: Image.Transpose | None = None  # what brings `image` upright


Room = Callable[[int], AbstractContextManager[Any]]


def open_picture(
    content: bytes, min_side: int | None, max_pixels: int, room: Room = lambda _: nullcontext()
) -> OpenPicture:
    """Open the bytes of a picture so that decoding it costs no more than it must.

    With `min_side` that is enough for a shorter side of at least so many pixels: a JPEG at a
    fraction of its size, a RAW by its embedded preview or demosaiced at half its size. What is
    decoded here already is so in the `room` for its pixels.

    Raises:
        PhotoError: no picture, more than `max_pixels` to decode, or a group is not installed.
        Exception: nearly any, on damaged bytes.
    """
    brands = _brands(content)
    if _CANON_RAW in brands or content.startswith(_RAW_STARTS) or _is_raw_tiff(content):
        return _open_raw(content, min_side, max_pixels, room)
    if brands & _HEIF and not brands & _AVIF:
        heif = _group("pillow_heif", "heic", "HEIC").HeifImageFile(io.BytesIO(content))
        return _described(heif, heif.size, heif.size, max_pixels)
    try:
        image = Image.open(io.BytesIO(content), formats=_PILLOW)
    except UnidentifiedImageError as error:
        raise PhotoError(_what_it_is(content, brands)) from error
    if image.format == "JPEG2000":
        image.info.update(metadata_of(content))
    size = image.size
    if min_side is not None:
        image.draft("RGB", _draft_size(size, min_side))
    return _described(image, size, _held(content, image, size), max_pixels)


def _held(content: bytes, image: Image.Image, size: tuple[int, int]) -> tuple[int, int]:
    """The size at which a picture is held while it is decoded; `size` is that of the whole.

    libjpeg holds all coefficients of a JPEG of several scans before it makes it smaller.
    """
    return image.size if image.size == size or _is_one_scan(content) else size


def _described(
    image: Image.Image, size: tuple[int, int], held: tuple[int, int], max_pixels: int
) -> OpenPicture:
    tile = _tile(image)
    for needed in (held, tile):
        _refuse_above(max_pixels, needed)
    pixels = max(held[0] * held[1], tile[0] * tile[1])
    exif = _exif(image)  # after the limit: Pillow decodes a PNG for its EXIF
    turned = _orientation(exif)
    if image.format == "TIFF":  # which Pillow turns by itself while it loads
        _refuse_mistaken(image)
        return OpenPicture(image, size, pixels, exif, turned)
    if turned in (5, 6, 7, 8):
        size = size[1], size[0]
    # HEIF says by itself how it is turned, which its opener does; EXIF's word is only kept.
    written = image.info.get("original_orientation") or turned
    return OpenPicture(image, size, pixels, exif, written, _TURNS.get(turned or 1))


def _refuse_mistaken(image: Image.Image) -> None:
    """Refuse the TIFFs that Pillow opens and shows wrongly."""
    tags: Any = image.tag_v2  # type: ignore[attr-defined]
    bits = max(tags.get(ExifTags.Base.BitsPerSample, (1,)))
    (kind, *_) = tags.get(ExifTags.Base.SampleFormat, (1,))
    apart = tags.get(ExifTags.Base.PlanarConfiguration) == 2
    white_is_zero = tags.get(ExifTags.Base.PhotometricInterpretation) == 0
    if bits > 8 and apart and len(image.getbands()) > 1:
        what = f"{bits}-bit samples in planes apart"
    elif bits > 8 and white_is_zero:
        what = f"{bits}-bit samples of which 0 is white"
    elif (bits == 32 and kind == 1) or (bits < 32 and kind == 2):
        what = f"{bits}-bit {'un' if kind == 1 else ''}signed integers"
    else:
        return
    raise PhotoError(f"a TIFF of a kind that is not read ({what})")


def _refuse_above(max_pixels: int, size: tuple[int, int]) -> None:
    if size[0] * size[1] > max_pixels:
        raise PhotoError(
            f"{size[0]}x{size[1]} pixels is above the limit of {max_pixels // 1_000_000} megapixels"
            " (--max-megapixels raises it)"
        )


def _tile(image: Image.Image) -> tuple[int, int]:
    """The size of a TIFF's tiles, which are decoded whole however small the picture is."""
    tags: Any = getattr(image, "tag_v2", {})
    width, height = tags.get(ExifTags.Base.TileWidth, 0), tags.get(ExifTags.Base.TileLength, 0)
    return (width, height) if isinstance(width, int) and isinstance(height, int) else (0, 0)


def _draft_size(size: tuple[int, int], min_side: int) -> tuple[int, int]:
    # Pillow picks one scale for which both sides stay at least as large as asked, so asking
    # for a square of the shorter side's target bounds the shorter side.
    return (min(size[0], min_side), min(size[1], min_side))


def _is_one_scan(content: bytes) -> bool:
    """Whether a JPEG holds all of its colours in one pass, so that it is decoded as it streams."""
    colours = 0
    for marker, at in _segments(content):
        if marker in (0xC0, 0xC1):  # the frame of a JPEG that is not progressive
            colours = content[at + 7]
        elif marker == _SCAN:
            return content[at + 2] == colours
    return False


def jpeg_has_end(content: bytes) -> bool:
    """Whether a JPEG's end marker follows its first scan, whatever else follows."""
    scan = next((at for marker, at in _segments(content) if marker == _SCAN), None)
    return scan is None or content.find(JPEG_END, scan) >= 0


def _segments(content: bytes) -> Iterator[tuple[int, int]]:
    """(marker, where its length stands) of a JPEG's parts, the last one its first scan."""
    at = 2
    while at + 10 <= len(content):
        if content[at + 1] == 0xFF:  # as many of these may stand before a marker as one likes
            at += 1
            continue
        yield content[at + 1], at + 2
        if content[at + 1] == _SCAN:
            return
        at += 2 + int.from_bytes(content[at + 2 : at + 4])


def _exif(image: Image.Image) -> Image.Exif:
    try:
        return image.getexif()
    except Exception:  # a broken EXIF block must not cost the picture
        return Image.Exif()


def _orientation(exif: Image.Exif) -> int | None:
    value = exif.get(ExifTags.Base.Orientation)
    return value if isinstance(value, int) and 1 <= value <= 8 else None


# Camera RAW


def _open_raw(content: bytes, min_side: int | None, max_pixels: int, room: Room) -> OpenPicture:
    rawpy = _group("rawpy", "raw", "camera RAW")
    try:
        with rawpy.imread(io.BytesIO(content)) as raw:
            sizes = raw.sizes
            size = sizes.width, sizes.height
            preview, needed = None, size
            if min_side is not None:
                preview, needed = _preview(rawpy, raw, min_side)
            if preview is None:
                needed = sizes.raw_width, sizes.raw_height
                _refuse_above(max_pixels, needed)
                half = min_side is not None and min(size) // 2 >= min_side
                with room(needed[0] * needed[1]):
                    pixels = raw.postprocess(use_camera_wb=True, half_size=half)
    except rawpy.LibRawError as error:
        raise PhotoError(f"a RAW file that cannot be read: {_libraw_says(error)}") from error
    if preview is None:
        image, turned = Image.fromarray(pixels), None
    else:
        _refuse_above(max_pixels, needed)
        image, turned = preview, _orientation(_exif(preview)) or _FLIPS.get(sizes.flip)
    exif = _exif_of_tiff(content) or (_exif(preview) if preview else Image.Exif())
    seen = (size[1], size[0]) if sizes.flip in (5, 6) else size
    return OpenPicture(
        image, seen, needed[0] * needed[1], exif, _orientation(exif), _TURNS.get(turned or 1)
    )


def _preview(
    rawpy: ModuleType, raw: Any, min_side: int
) -> tuple[Image.Image | None, tuple[int, int]]:
    """The picture that the camera put beside its raw values, and the size at which it is held.

    There is none where it is small or broken.
    """
    try:
        thumb = raw.extract_thumb()
        if thumb.format is not rawpy.ThumbFormat.JPEG:
            return None, (0, 0)
        image = Image.open(io.BytesIO(thumb.data), formats=("JPEG",))
    except (rawpy.LibRawError, rawpy.NotSupportedError, OSError):
        return None, (0, 0)
    size = image.size
    if min(size) < min_side:
        return None, (0, 0)
    image.draft("RGB", _draft_size(size, min_side))
    return image, _held(thumb.data, image, size)


def _libraw_says(error: Exception) -> str:
    said = error.args[0] if error.args else ""
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)


def _exif_of_tiff(content: bytes) -> Image.Exif | None:
    if not content.startswith((b"II*\0", b"MM\0*")):
        return None
    exif = Image.Exif()
    try:
        exif.load(content)
    except Exception:
        return None
    return exif


def _is_raw_tiff(content: bytes) -> bool:
    """Whether a TIFF holds what a sensor saw: DNG, CR2, NEF, ARW, PEF, SRW.

    Pillow would open such a file and show the thumbnail of 160x120 that comes first in it.
    """
    if content[8:10] == b"CR" and content.startswith(b"II*\0"):
        return True
    colour_filters, linear_raw, dng = 32803, 34892, 50706
    return any(
        tag == dng
        or (tag == ExifTags.Base.PhotometricInterpretation and kind in (colour_filters, linear_raw))
        for tag, kind in _tiff_entries(content)
    )


def _tiff_entries(content: bytes) -> Iterator[tuple[int, int]]:
    """(tag, first value) of a TIFF's first directory and those directly below it."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(content[:4])
    if not order or len(content) < 8:
        return
    pending = [struct.unpack_from(order + "L", content, 4)[0]]
    for _ in range(8):  # a cycle, or a thousand directories, is no camera's
        if not pending:
            return
        at = pending.pop(0)
        if at + 2 > len(content):
            continue
        count = min(struct.unpack_from(order + "H", content, at)[0], (len(content) - at - 2) // 12)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind, values, value = struct.unpack_from(order + "HHLL", content, entry)
            if kind == 3:  # SHORT: in the first half of the four bytes
                (value,) = struct.unpack_from(order + "H", content, entry + 8)
            yield tag, value
            if tag == ExifTags.Base.SubIFDs:
                pending += _longs(content, order, values, value)


def _longs(content: bytes, order: str, count: int, value: int) -> list[int]:
    if count == 1:
        return [value]
    count = min(count, 4)
    if value + 4 * count > len(content):
        return []
    return list(struct.unpack_from(f"{order}{count}L", content, value))


# Kinds


def _brands(content: bytes) -> set[bytes]:
    """The brands that an ISO container names at its start; empty for any other file."""
    if content[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(content[:4]), 256)
    return {content[8:12], *(content[at : at + 4] for at in range(16, end, 4))}


def _what_it_is(content: bytes, brands: set[bytes]) -> str:
    start = content[:512].lstrip().lower()
    if not content:
        return "is empty"
    if not content.strip(b"\0"):
        return "holds nothing but zero bytes"
    webp = content[:4] == b"RIFF" and content[8:12] == b"WEBP"
    if content.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")) and _is_directory(content):
        return "a TIFF of a kind that is not read"
    if content.startswith(b"\xff\x0a") or content[4:8] == b"JXL ":
        return "JPEG XL, which is not read"
    if webp or content.startswith(_PICTURES) or brands & (_AVIF | _HEIF):
        return "damaged: its header is broken"
    if brands or content[4:8] in (b"moov", b"mdat"):
        return "a video, not a picture"
    if start.startswith((b"<!doctype html", b"<html")):
        return "a web page, not a picture"
    if start.startswith(b"<svg") or (start.startswith(b"<?xml") and b"<svg" in start):
        return "an SVG drawing, which is not read"
    for magic, kind in _NO_PHOTOS:
        if content.startswith(magic):
            return f"{kind}, which is not read"
    if content[:4] == b"RIFF" and content[8:12] in (b"AVI ", b"WAVE"):
        return "a sound or video, not a picture"
    return "not an image that can be read"


def _is_directory(content: bytes) -> bool:
    """Whether a TIFF's first directory is whole, so that Pillow only does not know the kind."""
    tags = dict(_tiff_entries(content))
    needed = {ExifTags.Base.ImageWidth, ExifTags.Base.ImageLength, ExifTags.Base.StripOffsets}
    return content[2:4] in (b"+\0", b"\0+") or needed <= tags.keys() or 324 in tags


class Decoder(NamedTuple):
    """What reads a kind of pictures; without a version there is none that works."""

    name: str
    version: str | None
    fault: str = ""
    group: str = ""  # the optional group that brings it


# Kinds that an optional group's module reads.
OPTIONAL = {"HEIC": ("heic", "pillow_heif"), "camera RAW": ("raw", "rawpy")}


def decoders() -> Iterator[Decoder]:
    """What reads each kind of pictures that needs a library."""
    from PIL import features

    for name, part in _LIBRARIES.items():
        version = features.version(part) or "here" if features.check(part) else None
        yield Decoder(name, version, f"this build of Pillow {PIL.__version__} lacks it")
    for name, (group, module) in OPTIONAL.items():
        try:
            yield Decoder(name, str(importlib.import_module(module).__version__))
        except ImportError as error:
            yield Decoder(name, None, first_line(error), group)


def _group(module: str, group: str, kind: str) -> ModuleType:
    """A module of an optional group, imported when the first file needs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise PhotoError(
            f"{kind} needs: pip install 'clipsearch[{group}]', then clipsearch index --retry"
        ) from error
