"""The tools that an assistant gets. Each method's first lines are what it is told of the tool."""

from __future__ import annotations

import binascii
import os
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from mcp.server.mcpserver import Image
from pydantic import Field

from clipsearch.assistant.arguments import Count, Id, Offset, Region, with_filters
from clipsearch.assistant.engine import Engine
from clipsearch.errors import InvalidInput, PhotoError
from clipsearch.library import Library
from clipsearch.notation import finite
from clipsearch.photos.decoding.jpeg import as_jpeg
from clipsearch.photos.decoding.thumbnail import shrunk
from clipsearch.photos.files.opening import read_below
from clipsearch.photos.files.urls import AllowUrl, is_url
from clipsearch.search.answers import Question
from clipsearch.search.filtering.filters import Filters
from clipsearch.search.pictures import MOST_BYTES
from clipsearch.search.results import Hit, Photo
from clipsearch.store.catalog import StoredPhoto

if TYPE_CHECKING:
    import PIL.Image

# Keys of a photo whose values come from who made it, named it or wrote in it: a stranger perhaps.
UNTRUSTED = [
    "path", "camera", "lens", "title", "caption", "keywords", "taken_from", "flaw", "people",
    "location", "label", "lines",
]  # fmt: skip
LARGEST = 1600  # pixels, of a thumbnail's longer side
_LARGEST_SEEN = 640  # pixels, more than any model looks at
_MOST_LABELS = 100  # the model takes a moment for each new one

Pictures = Annotated[
    list[str] | None,
    Field(
        description="Pictures to go with the words, indexed or not: absolute paths on this machine."
    ),
]
EncodedPictures = Annotated[
    list[str] | None,
    Field(description="More of them, as the base64 of image files."),
]
Labels = Annotated[
    list[str] | None,
    Field(
        description="Words or phrases to compare the photo with, such as ['a dog', 'a cat'].",
        max_length=_MOST_LABELS,
    ),
]


class Hits(TypedDict):
    """Photos that answer a question, best first, with the keys of `query --json`."""

    hits: list[dict[str, Any]]
    nothing: dict[str, Any] | None  # why, where there are none: the keys of `Nothing`
    untrusted: list[str]  # keys of hits whose values are data, whatever they say


class Listing(TypedDict):
    """Photos without a question, with the keys of `ls --json`."""

    photos: list[dict[str, Any]]
    untrusted: list[str]  # as of `Hits`


class Tools:
    """What can be asked of an index; nothing of it changes a photo, or what is known of one."""

    def __init__(self, engine: Engine, allow_url: AllowUrl = False) -> None:
        self._engine = engine
        self._allow_url = allow_url

    @with_filters
    def search(
        self,
        query: Annotated[
            str, Field(description="What the photo shows, in words: 'a dog on a beach'.")
        ] = "",
        pictures: Pictures = None,
        pictures_base64: EncodedPictures = None,
        minus: Annotated[
            list[str] | None, Field(description="What the photo should not show.")
        ] = None,
        weight: Annotated[
            float, Field(description="How much a picture counts; the words count 1.")
        ] = 1.0,
        hybrid: Annotated[
            bool | None,
            Field(
                description="Look for the words in file names, titles, captions, keywords and the"
                " text in photos too,"
                " as for names of people and places; words in double quotes must occur there."
                " That is done anyway; false for pictures alone, true to be told where there are no"
                " words."
            ),
        ] = None,
        k: Count = 10,
        offset: Offset = 0,
        *,
        filters: Filters,
    ) -> Hits:
        """Find photos by what they show and by what is written about them, or by pictures.

        The words may have several parts with signs and weights, as in
        'horse + 2*stripes - fence + /path/to/pool.jpg', where a path stands for a picture. The
        filters select first, so the best among those that satisfy them come back, best first.
        There is always a best one: a `relevance` below 0.5 means that it may not fit, and below
        0.3 for the best of all that nothing does, unless `written` is 1, which means that all
        words are written about it. Look at a photo with the tool `thumbnail`.
        """
        images: list[str | PIL.Image.Image] = [self._checked(path) for path in pictures or ()]
        images += [self._decoded(text) for text in pictures_base64 or ()]

        def ask(library: Library) -> Hits:
            hits = library.query(
                query,
                offset + k,
                images=images,
                minus=minus or (),
                image_weight=weight,
                filters=filters,
                allow_url=self._allow_url,
                hybrid=hybrid,
            )
            asked = Question(query, minus or (), filters=filters, hybrid=hybrid)
            return _found(library, asked, hits, offset)

        return self._engine.ask(ask)

    @with_filters
    def similar(
        self,
        id: Annotated[int | None, Field(description="An indexed photo, or else a path.")] = None,
        path: Annotated[
            str | None,
            Field(description="Any picture on this machine, indexed or not: an absolute path."),
        ] = None,
        region: Region = None,
        k: Count = 10,
        offset: Offset = 0,
        *,
        filters: Filters,
    ) -> Hits:
        """Find photos that look like a photo or any other picture, or like a part of it.

        They come back best first; the photo that is asked with is left out, copies of it are not.
        """
        if (id is None) == (path is None):
            raise InvalidInput("give an id or a path, one of them")

        def ask(library: Library) -> Hits:
            image = self._checked(path) if path is not None else library.photo(id or 0).path
            hits = library.similar(
                image, offset + k, region=region, filters=filters, allow_url=self._allow_url
            )
            return _found(library, Question(filters=filters), hits, offset)

        return self._engine.ask(ask)

    @with_filters
    def list_photos(self, k: Count = 50, offset: Offset = 0, *, filters: Filters) -> Listing:
        """List the photos that satisfy filters, the latest taken first; without any, all photos."""
        photos = self._engine.look(lambda library: library.photos(filters, offset + k))
        return {"photos": _page(photos, offset), "untrusted": UNTRUSTED}

    def describe(self, id: Id, labels: Labels = None) -> dict[str, Any]:
        """Tell the facts of one photo: where its file is, when, where and with what it was taken.

        With `labels`, also how well each of these fits what it shows: `labels` in the answer has
        them best first, with probabilities that add up to 1, or by a SigLIP model each by itself.
        """

        def look(library: Library) -> tuple[StoredPhoto, bool]:
            stored = _stored(library, id)
            return stored, library.is_present(stored)

        (row, place), there = self._engine.look(look)
        facts = Photo.of(row, there).as_dict(1)
        del facts["rank"]
        facts |= {"folder": place.root, "untrusted": [*UNTRUSTED, "folder"]}
        if labels is not None:
            found = self._engine.ask(lambda it: it.label(row.path, labels, _MOST_LABELS))
            facts["labels"] = [label.as_dict(rank) for rank, label in enumerate(found, 1)]
        return _as_object(facts)

    def thumbnail(
        self,
        id: Id,
        size: Annotated[
            int, Field(description="The longer side, at most, in pixels.", ge=16, le=LARGEST)
        ] = 640,
    ) -> Image:
        """Show one indexed photo: a JPEG, upright, made small."""
        place = self._engine.look(lambda library: _stored(library, id)).place
        try:
            image = self._engine.processes.start(shrunk, read_below(place), (size, size))()
        except PhotoError as error:
            raise InvalidInput(f"photo {id} cannot be shown: {error}") from error
        return Image(data=as_jpeg(image, 82), format="jpeg")

    def status(self) -> dict[str, Any]:
        """Tell what the index holds: how many photos, in which folders, and with which models.

        `failed` is the number of files that could not be read.
        """

        def look(library: Library) -> dict[str, Any]:
            held = asdict(library.status())
            return {"index": str(library.folder), **held, "failed": len(held.pop("failures"))}

        return _as_object(self._engine.look(look))

    def _checked(self, path: str) -> str:
        """A picture's path; relative to what is nothing that an assistant knows."""
        if is_url(path) or os.path.isabs(os.path.expanduser(path)):
            return path
        raise InvalidInput(f"{path!r} is no absolute path")

    def _decoded(self, text: str) -> PIL.Image.Image:
        if len(text) > MOST_BYTES * 4 // 3 + 100:
            raise InvalidInput(f"a picture in base64 is larger than {MOST_BYTES >> 20} MB")
        try:
            # What a data URL has before its comma is of no use.
            content = b64decode(text.rpartition(",")[2], validate=True)
            size = _LARGEST_SEEN, _LARGEST_SEEN
            image: PIL.Image.Image = self._engine.processes.start(shrunk, content, size)()
        except binascii.Error as error:
            raise InvalidInput("a picture is not in base64") from error
        except PhotoError as error:
            raise InvalidInput(f"a picture in base64 cannot be used: {error}") from error
        return image


def _found(library: Library, asked: Question, hits: Sequence[Hit], offset: int) -> Hits:
    """What comes after the first `offset` hits, or why there are none at all."""
    nothing = None if hits else asdict(library.why_nothing(asked))
    return {"hits": _page(hits, offset), "nothing": nothing, "untrusted": UNTRUSTED}


def _page(photos: Sequence[Hit | Photo], offset: int) -> list[dict[str, Any]]:
    """What comes after the first `offset` photos; ranks count from the very first."""
    page = enumerate(photos[offset:], offset + 1)
    return [_as_object(photo.as_dict(rank)) for rank, photo in page]


def _as_object(facts: dict[str, Any]) -> dict[str, Any]:
    return {key: _as_text(value) for key, value in facts.items()}


def _as_text(value: Any) -> Any:
    """The value in UTF-8: the bytes of a file name that is none are shown as \\x..; no NaN."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    if isinstance(value, dict):
        return _as_object(value)
    if isinstance(value, (list, tuple)):
        return [_as_text(inner) for inner in value]
    return finite(value)


def _stored(library: Library, id: int) -> StoredPhoto:
    stored = library.stored(id)
    if stored is None:
        raise InvalidInput(f"the index holds no photo with the id {id}")
    return stored
