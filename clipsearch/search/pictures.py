"""Pictures that are asked with: from a file, stdin, the web or memory, whole or in part."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from clipsearch.encoders.rows import UNUSABLE, are_units
from clipsearch.errors import InvalidInput, PhotoError, arg, check_number
from clipsearch.photos.decoding.decode import decode, read_file, to_rgb
from clipsearch.photos.decoding.view import MaskedView, View
from clipsearch.photos.files.opening import read_below
from clipsearch.photos.files.urls import AllowUrl, is_below, is_url, normal
from clipsearch.store.catalog import Catalog, Model, StoredPhoto
from clipsearch.store.folder import StrPath

if TYPE_CHECKING:
    from clipsearch.encoders import Encoder
    from clipsearch.encoders.reading.line import Line
    from clipsearch.models import Models
    from clipsearch.photos.decoding.isolated import Processes

STDIN = "-"
MOST_BYTES = 64 << 20  # that are fetched from the web or read from stdin


class Picture(NamedTuple):
    """A picture that is asked with, and what to call it."""

    content: bytes | Image.Image  # a file's bytes, or pixels
    name: str


class Region(NamedTuple):
    """A part of a picture, as the eye sees it (EXIF orientation applied)."""

    left: float
    top: float
    width: float
    height: float
    in_percent: bool  # else in pixels

    def cut(self, image: Image.Image) -> Image.Image:
        """That part of the picture.

        Raises:
            InvalidInput: it is not wholly inside.
        """
        return image.crop(self._box(image.size))

    def mask(self, size: tuple[int, int]) -> Image.Image:
        """That part of a picture of that size in white, all else in black.

        Raises:
            InvalidInput: it is not wholly inside.
        """
        left, top, right, bottom = self._box(size)
        mask = Image.new("L", size)
        mask.paste(255, (left, top, right, bottom))
        return mask

    def _box(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        across, down = size
        box = [self.left, self.top, self.left + self.width, self.top + self.height]
        if self.in_percent:
            box = [side * whole / 100 for side, whole in zip(box, (across, down) * 2, strict=True)]
        left, top, right, bottom = (round(side) for side in box)
        if left < 0 or top < 0 or right > across or bottom > down:
            raise InvalidInput(
                f"{arg('region')} reaches beyond the picture, which is {across}x{down}"
            )
        if left >= right or top >= bottom:
            raise InvalidInput(f"{arg('region')} holds not one pixel")
        return left, top, right, bottom


class Mask(NamedTuple):
    """A part of a picture in white, all else in black, in any size of the same shape."""

    image: Image.Image  # of the mode L, 0 and 255 alone

    def cut(self, image: Image.Image) -> Image.Image:
        """Refuse, since a part of any shape can only be seen with what is around it.

        Raises:
            InvalidInput: always.
        """
        raise InvalidInput(
            f"this model cannot be told a part by a mask; take {arg('region')} X,Y,W,H, or an"
            f" index made with Alpha-CLIP ({arg('model')} alpha-clip:FILE)"
        )

    def mask(self, size: tuple[int, int]) -> Image.Image:
        """The mask of a picture of that size.

        Raises:
            InvalidInput: the picture has another shape.
        """
        across, down = self.image.size
        if abs(across * size[1] - down * size[0]) > max(across, down, *size):
            raise InvalidInput(
                f"{arg('mask')} is {across}x{down} and the picture {size[0]}x{size[1]}: they"
                " must have one shape"
            )
        return self.image.resize(size, Image.Resampling.NEAREST)


Part = Region | Mask


def parse_region(text: str) -> Region:
    """A region as x,y,width,height in pixels, or all in percent: "25%,0%,50%,100%".

    Raises:
        InvalidInput: it is none.
    """
    parts = [part.strip() for part in text.split(",")]
    in_percent = all(part.endswith("%") for part in parts)
    numbers = [part.removesuffix("%") if in_percent else part for part in parts]
    if len(numbers) != 4 or not all(re.fullmatch(r"\d+(\.\d+)?", number) for number in numbers):
        raise InvalidInput(
            f"{arg('region')} {text!r} is none; write x,y,width,height in pixels, as 0,0,300,200,"
            " or in percent, as 25%,0%,50%,100%"
        )
    for number in numbers:
        check_number(f"a number of {arg('region')}", float(number), 0)
    return Region(*map(float, numbers), in_percent)  # type: ignore[call-arg, arg-type]


def parse_part(
    region: str | None,
    mask: str | os.PathLike[str] | Image.Image | None,
    processes: Processes | None = None,
) -> Part | None:
    """The part that is meant, told in one of two ways; None is the whole picture.

    `processes` decode the mask, where there are any.

    Raises:
        InvalidInput: it is told in both, or makes no sense.
    """
    if region is not None and mask is not None:
        raise InvalidInput(f"{arg('region')} and {arg('mask')} both tell a part; give one of them")
    if mask is not None:
        return read_mask(mask, processes)
    return parse_region(region) if region is not None else None


def read_mask(
    source: str | os.PathLike[str] | Image.Image, processes: Processes | None = None
) -> Mask:
    """A mask from a picture: what is nearer to white than to black is the part that is meant.

    Raises:
        InvalidInput: it cannot be read, or is black all over.
    """
    content, name = read_picture(source)
    try:
        if not isinstance(content, bytes):
            white = _white(to_rgb(content))
        elif processes is None:
            white = _white_of(content)
        else:
            white = processes.start(_white_of, content)()
    except PhotoError as error:
        raise InvalidInput(f"{name} cannot be used as a mask: {error}") from error
    mask = Image.fromarray(white)
    if mask.getbbox() is None:
        raise InvalidInput(f"{name} cannot be used as a mask: it has no white, which is the part")
    return Mask(mask)


def _white_of(content: bytes) -> np.ndarray:
    return _white(decode(content).image)


def _white(image: Image.Image) -> np.ndarray:
    """What is nearer to white than to black: (height, width) uint8, 255 there and 0 elsewhere."""
    return np.where(np.asarray(image.convert("L")) > 127, 255, 0).astype(np.uint8)


def read_picture(
    source: str | os.PathLike[str] | Image.Image, allow_url: AllowUrl = False
) -> Picture:
    """Read a picture: a file, stdin for "-", or what a URL leads to; pixels are taken as they are.

    Raises:
        InvalidInput: it cannot be read, or is a URL and those are not allowed.
    """
    if not isinstance(source, (str, os.PathLike)):
        return Picture(source, "the picture")
    name = os.fspath(source)
    if name == STDIN:
        return Picture(_limited(sys.stdin.buffer.read(MOST_BYTES + 1), "stdin"), "stdin")
    if not name:
        raise InvalidInput("the name of the picture is empty")
    if is_url(name) and not allow_url:
        where = "on the web" if name.startswith("http") else "not on this machine"
        raise InvalidInput(f"{name} is {where}, and nothing is fetched without {arg('allow_url')}")
    is_web = re.match(r"(?i)https?://", name) is not None
    if is_url(name) and allow_url == "public" and not is_web:
        raise InvalidInput(f"{name} is not on the public web, and nothing else is fetched")
    if is_web:
        from clipsearch.search.fetching import fetch

        content = fetch(name, MOST_BYTES + 1, only_public=allow_url == "public")
        return Picture(_limited(content, name), name)
    with asked_with(name):
        return Picture(read_file(os.path.expanduser(name)), name)


@contextmanager
def asked_with(name: str) -> Iterator[None]:
    """What is done inside is done with a picture of that name.

    Raises:
        InvalidInput: it is no picture, or cannot be read.
    """
    try:
        yield
    except PhotoError as error:
        raise InvalidInput(f"{name} cannot be used as a picture: {error}") from error


def _limited(content: bytes, source: str) -> bytes:
    if not content:
        raise InvalidInput(f"{source} holds no picture: it is empty")
    if len(content) > MOST_BYTES:
        raise InvalidInput(f"{source} is larger than {MOST_BYTES >> 20} MB; save it as a file")
    return content


def embed_picture(
    picture: Picture,
    models: Models,
    model: Model,
    catalog: Catalog,
    part: Part | None = None,
    processes: Processes | None = None,
) -> np.ndarray:
    """A picture's embedding, (dim,) float32 unit; the stored one if its content is indexed.

    `processes` decode it, where there are any.

    Raises:
        InvalidInput: it is no picture, or the part is not in it.
    """
    content = picture.content
    if isinstance(content, bytes) and part is None:
        stored = stored_embedding(model, catalog, hashlib.sha256(content).hexdigest())
        if stored is not None:
            return stored
    return encode_picture(picture, models.encoder(model), part, processes)


def stored_embedding(model: Model, catalog: Catalog, digest: str) -> np.ndarray | None:
    """A content's embedding, (dim,) float32 unit; None where the model has not seen it."""
    stored = catalog.vector_of(model.id, digest)
    if stored is None:
        return None
    row = np.frombuffer(stored, np.float16).astype(np.float32)
    if not are_units(row[None])[0]:  # as an older version may have kept it
        return None
    return np.asarray(row / np.linalg.norm(row))


def encode_picture(
    picture: Picture,
    encoder: Encoder,
    part: Part | None = None,
    processes: Processes | None = None,
) -> np.ndarray:
    """A picture's embedding, (dim,) float32 unit, as an encoder gives it.

    Raises:
        InvalidInput: it is no picture, or the part is not in it.
    """
    view = _seen_of(picture, encoder.prepare, encoder.resolution, part, processes)
    rows = np.asarray(encoder.encode_images(view[None]))
    if not are_units(rows).all():
        raise InvalidInput(f"{picture.name} cannot be used as a picture: {UNUSABLE}")
    return np.asarray(rows[0])


def read_lines(picture: Picture, model: str, processes: Processes | None = None) -> list[Line]:
    """The lines of text in a picture, as a model reads them now; `processes` as above.

    Raises:
        InvalidInput: it is no picture.
        ModelError: the model reads no text, or the group `ocr` is not installed.
    """
    from clipsearch.encoders.reading import load_reader

    reader = load_reader(model)
    return reader.read(_seen_of(picture, reader.prepare, reader.prepare.size, None, processes))


def _seen_of(
    picture: Picture,
    prepare: View,
    resolution: int,
    part: Part | None,
    processes: Processes | None,
) -> np.ndarray:
    content, name = picture
    with asked_with(name):
        if not isinstance(content, bytes):
            return seen(to_rgb(content), prepare, part)
        if processes is None:
            return view_of(content, prepare, resolution, part)
        from clipsearch.photos.decoding.isolated import Turn

        view: np.ndarray = processes.start(view_of, content, prepare, resolution, part, Turn())()
        return view


def view_of(
    content: bytes,
    prepare: View,
    resolution: int,
    part: Part | None,
    turn: AbstractContextManager[Any] | None = None,
    margin: float | None = None,
) -> np.ndarray:
    """What a model sees of a file's bytes, (resolution, resolution, 3 or 4) uint8.

    The fourth channel is the mask of the part, for a model that sees the whole picture with it. Any
    other sees the part cut out; with a `margin`, so much of its longer side around it, and of a
    mask what lies around what is white. `turn` is as in `decode`.

    Raises:
        PhotoError: they are no picture.
        InvalidInput: the part is not in it.
    """
    # A part of a picture is looked at as closely as the file allows.
    image = decode(content, None if part else resolution, turn=turn).image
    return seen(image, prepare, part, margin)


def seen(
    image: Image.Image, prepare: View, part: Part | None, margin: float | None = None
) -> np.ndarray:
    """What a model sees of an RGB picture, as `view_of` says.

    Raises:
        InvalidInput: the part is not in it.
    """
    if part is None:
        return prepare(image)
    if isinstance(prepare, MaskedView):
        return prepare.with_mask(image, part.mask(image.size))
    return prepare(part.cut(image) if margin is None else image.crop(_around(part, image, margin)))


def _around(part: Part, image: Image.Image, margin: float) -> tuple[int, int, int, int]:
    """The rectangle of a part with a margin, a share of its longer side, within the picture."""
    box = part.mask(image.size).getbbox()
    assert box is not None  # a part has a pixel
    left, top, right, bottom = box
    more = round(margin * max(right - left, bottom - top))
    width, height = image.size
    return (
        max(left - more, 0),
        max(top - more, 0),
        min(right + more, width),
        min(bottom + more, height),
    )


class AskedPictures:
    """The pictures that one index is asked with, and what its models make of them."""

    def __init__(self, catalog: Catalog, models: Models) -> None:
        self._catalog = catalog
        self._models = models
        self._processes: Processes | None = None
        self._only_indexed = False

    def ask_with_care(self, processes: Processes, only_indexed: bool) -> None:
        """Decode in processes, and perhaps read no file but those in indexed folders."""
        self._processes, self._only_indexed = processes, only_indexed

    def read_lines(self, picture: Picture, model: str) -> list[Line]:
        """The lines of text in a picture, as a model reads them now."""
        return read_lines(picture, model, self._processes)

    def read(self, image: StrPath | Image.Image, allow_url: AllowUrl = False) -> Picture:
        """A picture; that of an indexed URL is one of the index's own.

        Raises:
            InvalidInput: it cannot be read, or is a URL and those are not allowed.
        """
        if not isinstance(image, (str, os.PathLike)):
            return read_picture(image)
        if self._only_indexed and not self._is_indexed(os.fspath(image)):
            raise InvalidInput(f"{os.fspath(image)} is in no indexed folder; others are not read")
        own = is_url(image) and self._is_indexed(os.fspath(image))
        return read_picture(image, own or allow_url)

    def _is_indexed(self, name: str) -> bool:
        """Whether a picture lies in an indexed folder, wherever links on its way lead."""
        folders = [root.path for root in self._catalog.roots()]
        if is_url(name):
            url = normal(name)
            # '..' some stores take for the folder above.
            return ".." not in url.split("/") and any(is_below(url, it) for it in folders)
        real = os.path.realpath(os.path.expanduser(name))
        return any(is_below(real, os.path.realpath(it)) for it in folders if not is_url(it))

    def part(self, region: str | None, mask: StrPath | Image.Image | None) -> Part | None:
        """The part of a picture that is meant, as `parse_part` says."""
        return parse_part(region, mask, self._processes)

    def embed(
        self, model: Model, image: StrPath | Image.Image, allow_url: AllowUrl = False
    ) -> np.ndarray:
        """A picture's embedding: (dim,) float32, unit length.

        Raises:
            InvalidInput: it cannot be read, or is no picture.
        """
        return self.embed_read(model, self.read(image, allow_url))

    def embed_read(self, model: Model, picture: Picture, part: Part | None = None) -> np.ndarray:
        """The embedding of a picture that was read, or of a part of it.

        Raises:
            InvalidInput: it is no picture, or the part is not in it.
        """
        return embed_picture(picture, self._models, model, self._catalog, part, self._processes)

    def embed_known(
        self,
        model: Model,
        picture: bytes | StoredPhoto,
        region: str | None,
        processes: Processes | None = None,
    ) -> np.ndarray:
        """The embedding of a file's content or of a photo of the index, as `Library.embed` says."""
        processes = processes or self._processes
        part = parse_region(region) if region is not None else None
        if isinstance(picture, bytes):
            content = picture
        else:
            stored = stored_embedding(model, self._catalog, picture.row.digest)
            if part is None and stored is not None:
                return stored
            content = read_below(picture.place)
        named = Picture(content, "it")
        return embed_picture(named, self._models, model, self._catalog, part, processes)
