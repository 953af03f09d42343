"""What can be asked, as the OpenAPI description tells it; questions are checked by it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_origin

from fastapi import Query, UploadFile
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from clipsearch.photos.decoding.thumbnail_cache import SIZES
from clipsearch.search.filtering.filters import PROPERTIES, SHAPES, Filters

MOST_HITS = 500  # in one answer
MOST_PASSED = 1_000_000
MOST_PICTURES = 8  # in one question
MOST_ZIPPED = 1000  # photos, whose ids fit an address

MOST_EXCLUDED = 1000  # ids in one question
MOST_LIKE = 20
MOST_QUESTIONS = 32  # in one batch
MOST_TEXTS = 100  # that are embedded at once
MOST_NUMBERS = 8192  # of an embedding; no model has so many
MOST_NAMES = 50  # of parameters in one question, or of keys in an object of JSON
LONGEST_NAME = 100  # characters

Text = Annotated[str, Field(max_length=1000)]
Texts = Annotated[list[Text], Field(max_length=20)]
# A number such as 3.0 is a whole one in JSON; texts and truth values are none there.
Whole = Annotated[int, BeforeValidator(lambda given: _as_whole(given))]
Ids = list[Annotated[Whole, Field(ge=1, le=2**63 - 1)]]
# What the description says of values, in whose place the library says what is wrong with others.
Date = Annotated[Text, Field(json_schema_extra={"examples": ["2024-05-01"]})]
Near = Annotated[
    Text, Field(json_schema_extra={"pattern": r"\w", "examples": ["48.858,2.294", "Lisbon"]})
]
Box = Annotated[
    Text,
    Field(json_schema_extra={
        "pattern": r"^-?\d{1,2}(\.\d+)?,-?\d{1,3}(\.\d+)?,-?\d{1,2}(\.\d+)?,-?\d{1,3}(\.\d+)?$",
        "examples": ["36.9,-9.6,42.2,-6.1"],
    }),
]  # fmt: skip
Within = Annotated[
    Text,
    Field(json_schema_extra={"pattern": r"^\d{1,9}(\.\d+)?(km|m|mi)?$", "examples": ["5km"]}),
]
Size = Annotated[
    Text,
    Field(json_schema_extra={
        "pattern": r"^(\d{1,12}|\d{1,12}x\d{1,12}|\d{1,12}(\.\d{1,12})?MP)$",
        "examples": ["1920x1080", "8MP"],
    }),
]  # fmt: skip
Shape = Annotated[Text, Field(json_schema_extra={"enum": list(SHAPES)})]
Property = Annotated[Text, Field(json_schema_extra={"enum": list(PROPERTIES)})]
Properties = Annotated[list[Property], Field(max_length=20)]
Part = Annotated[
    Text,
    Field(json_schema_extra={
        "pattern": r"^\d+(\.\d+)?%?(,\d+(\.\d+)?%?){3}$", "examples": ["25%,0%,50%,100%"]
    }),
]  # fmt: skip
Sort = Literal["latest", "oldest", "added", "path"]
Cursor = Annotated[str, Field(max_length=48_000, pattern="^[A-Za-z0-9_-]+$")]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]  # and no true or "1"
# Of numbers that are none the first is told, since telling thousands takes seconds.
Embedding = Annotated[list[Number], Field(min_length=1, max_length=MOST_NUMBERS, fail_fast=True)]
Embeddings = Annotated[list[Embedding], Field(max_length=MOST_PICTURES)]


def _as_whole(given: Any) -> Any:
    return int(given) if isinstance(given, float) and given.is_integer() else given


def _checked_size(size: int) -> int:
    if size not in SIZES:
        raise PydanticCustomError("size", f"one of {', '.join(map(str, SIZES))}")
    return size


class Asked(BaseModel):
    """What is asked; names that it does not know are told, if they are not too many.

    Each takes time to look at, in which nobody else is answered.
    """

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _named_in_bounds(cls, given: Any) -> Any:
        names = given if isinstance(given, dict) else {}
        if len(names) > MOST_NAMES:
            raise PydanticCustomError("names", f"there are no more than {MOST_NAMES} parameters")
        if any(len(name) > LONGEST_NAME for name in names):
            raise PydanticCustomError("names", f"no name has more than {LONGEST_NAME} letters")
        return given


class FilterForm(Asked):
    """What photos must satisfy; as the options of `clipsearch query`."""

    folder: Texts = Field([], description="below any of these folders")
    since: Date | None = Field(None, description='taken then or later: "2024-05", "2 weeks ago"')
    until: Date | None = Field(None, description="taken then or earlier")
    camera: Text | None = Field(None, description="a part of its name")
    near: Near | None = Field(None, description="a town, or LAT,LON in degrees")
    within: Within | None = Field(None, description='how near: "300m", "5km", "2mi"')
    orientation: Shape | None = Field(None, description="landscape, portrait or square")
    min_size: Size | None = Field(None, description='"1920x1080", "2000" or "8MP"')
    type: Texts = Field([], description="of any of these kinds: jpeg, png, heic, raw, ...")
    has: Properties = Field([], description=", ".join(PROPERTIES))
    person: Texts = Field([], description="all of these people are named in it")
    min_rating: Whole | None = Field(None, ge=1, le=5, description="stars")
    place: Texts = Field([], description='any of these towns, regions or countries: "Portugal"')
    box: Box | None = Field(None, description="SOUTH,WEST,NORTH,EAST in degrees")

    def filters(self) -> Filters | None:
        """The filters; None for none."""
        given = {name: getattr(self, name) for name in FilterForm.model_fields}
        several = {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
        return Filters(**given | several) or None


class MapForm(FilterForm):
    """Which photos are on a map, and how near to each other they are one dot."""

    grid: float = Field(1.0, ge=0.001, le=90, description="degrees that photos of a dot lie within")


class AnyPage(Asked):
    """Which part of an answer is wanted."""

    k: Whole = Field(50, ge=1, le=MOST_HITS, description="photos in this answer")
    offset: Whole = Field(0, ge=0, le=MOST_PASSED, description="photos before the first one")
    cursor: Cursor | None = Field(
        None, description="`next` of the page before; no photo comes twice then, nor is one missed"
    )
    exclude: Ids = Field([], max_length=MOST_EXCLUDED, description="ids of photos not to be given")
    model: Text | None = Field(None, description="one of the index's models, as /api/status tells")
    relevant: bool = Field(False, description="only photos that stand out")


class AnyQuestion(AnyPage):
    """A question in words, or by photos of the index."""

    q: Text = Field(
        "",
        description='words, with parts as in "horse + 2*stripes - fence"',
        examples=["a dog on a beach"],
    )
    minus: Texts = Field([], description="what the photos should not show")
    like: Ids = Field([], max_length=MOST_LIKE, description="ids of photos to look for the like of")
    minus_like: Ids = Field([], max_length=MOST_LIKE, description="ids that count against")
    hybrid: bool | None = Field(
        None,
        description="look in names, captions and keywords too, where quoted words must occur; false"
        " for pictures alone, true to be told where the question has no words",
    )
    sort: Sort | None = Field(
        None,
        description="the order where nothing is asked for: latest (as without it), oldest, added or"
        " path; answers to a question come best first",
    )


# In JSON a value is of its kind or wrong; in addresses and forms all are texts.
IN_JSON = ConfigDict(strict=True)
JsonFilters = Annotated[
    FilterForm, WrapValidator(lambda given, _: FilterForm.model_validate(given, strict=True))
]


class PageForm(FilterForm, AnyPage):
    """Which photos of an answer are wanted."""


class SearchForm(PageForm, AnyQuestion):
    """A question, and which photos it is about."""


class PictureForm(SearchForm):
    """A question by pictures that are sent, by words, or by both together."""

    image: list[UploadFile] = Field([], max_length=MOST_PICTURES, description="pictures")
    minus_image: UploadFile | None = Field(None, description="a picture that counts against")
    region: Part | None = Field(None, description="a part of the first picture")


class JsonQuestion(AnyQuestion):
    """A question in JSON, also by embeddings, as /api/embed gives them."""

    model_config = IN_JSON

    filters: JsonFilters = FilterForm.model_validate({})
    embedding: Embeddings = Field([], description="of pictures or words, in the model's numbers")
    minus_embedding: Embeddings = Field([], description="those that count against")

    def as_form(self) -> SearchForm:
        """The same without embeddings, as it comes in an address."""
        own = {name: getattr(self, name) for name in AnyQuestion.model_fields}
        filters = {name: getattr(self.filters, name) for name in FilterForm.model_fields}
        return SearchForm.model_construct(**own, **filters)


class Batch(Asked):
    """Several questions that are answered together."""

    model_config = IN_JSON

    questions: list[JsonQuestion] = Field(min_length=1, max_length=MOST_QUESTIONS)


class ToEmbed(Asked):
    """Texts whose embeddings are wanted."""

    model_config = IN_JSON

    texts: list[Annotated[Text, Field(min_length=1)]] = Field(
        min_length=1, max_length=MOST_TEXTS, examples=[["a dog", "a cat"]]
    )
    model: Text | None = Field(None, description="one of the index's models")


class PictureToEmbed(Asked):
    """Pictures whose embeddings are wanted."""

    image: list[UploadFile] = Field(min_length=1, max_length=MOST_PICTURES)
    model: Text | None = Field(None, description="one of the index's models")


class SimilarForm(PageForm):
    """A question by a photo of the index."""

    region: Part | None = Field(None, description="x,y,width,height in pixels or percent")


class NoParameters(Asked):
    """What takes no parameters refuses them."""


NoQuery = Annotated[NoParameters, Query()]


class SizeForm(Asked):
    """How large a thumbnail is wanted."""

    size: Annotated[int, AfterValidator(_checked_size)] = Field(
        320, json_schema_extra={"enum": list(SIZES)}
    )


class LabelForm(Asked):
    """How many labels are wanted."""

    k: int = Field(10, ge=1, le=100, description="labels in this answer")


class PartForm(Asked):
    """Which part of a photo is meant."""

    region: Part | None = Field(None, description="x,y,width,height in pixels or percent")


class PhotosForm(Asked):
    """Which photos are wanted."""

    id: Ids = Field(min_length=1, max_length=MOST_HITS, description="several times")


class ZipForm(Asked):
    """Which photos are wanted."""

    id: Ids = Field(
        min_length=1, max_length=MOST_ZIPPED, description="as answers name it; several times"
    )


def _fields(form: type[BaseModel]) -> Iterator[tuple[str, Any]]:
    yield from ((name, field.annotation) for name, field in form.model_fields.items())
    for narrower in form.__subclasses__():
        yield from _fields(narrower)


# What is asked with one value, in whatever form; all else may be given several times.
SINGLE = frozenset(name for name, kind in _fields(Asked) if get_origin(kind) is not list)
