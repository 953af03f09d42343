"""What is answered, as the OpenAPI description tells it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class Person(BaseModel):
    """Somebody who is named in a photo."""

    name: str
    box: list[float] | None = Field(
        description="left, top, width and height of the face, as shares of the picture"
    )


class Place(BaseModel):
    """Where a photo was taken, in words: the town nearest to its coordinates."""

    suburb: str | None = Field(description="a place within the town, where that is the nearest")
    town: str | None
    region: str | None
    country: str | None
    country_code: str | None = Field(description="ISO 3166-1, of two letters")


class Photo(BaseModel):
    """A photo; docs/json.md tells what the keys mean."""

    path: str
    id: int
    width: int | None
    height: int | None
    taken_at: str | None
    camera: str | None
    latitude: float | None
    longitude: float | None
    taken_from: str | None
    lens: str | None
    orientation: int | None
    title: str | None
    caption: str | None
    keywords: list[str]
    flaw: str | None
    people: list[Person] = Field(description="who is named in it")
    rating: int | None = Field(description="1 to 5 stars, -1 for a reject")
    location: str | None = Field(description="as its owner wrote it")
    label: str | None
    present: bool = Field(description="whether it is there, and not on a drive that is away")
    place: Place | None = Field(description="null far from all places, and where it is unknown")


class Line(BaseModel):
    """A line of text in a photo's picture."""

    text: str
    certainty: float = Field(description="0 to 1")
    quad: list[list[float]] = Field(
        description="its four corners, clockwise from its upper left, in fractions of the upright"
        " picture's width and height"
    )


class Hit(Photo):
    """A photo of an answer."""

    rank: int = Field(description="from 1, over all pages")
    score: float | None = Field(description="cosine; null where nothing was asked for")
    relevance: float | None = Field(description="how far it stands out, 0 to 1")
    written: float = Field(description="how much of what was asked is written about it, 0 to 1")
    lines: list[Line] = Field(description="of the text in it: those with words of what was asked")


class Nothing(BaseModel):
    """Why a question found no photo."""

    reason: Literal["empty", "filters", "quotes", "minus", "unembedded", "relevance", "itself"]
    nowhere: list[str] = Field(description="what stands in quotes and is written nowhere")


class Found(BaseModel):
    """An answer."""

    hits: list[Hit]
    total: int = Field(description="photos that the filters leave")
    offset: int
    k: int
    next: str | None = Field(
        description="the cursor of the page after this one; null where there is none, or where"
        " this one was asked for by its offset"
    )
    nothing: Nothing | None = Field(description="where a question found none at all: why")


class OnePhoto(Photo):
    """A photo and the indexed folder that it is in."""

    folder: str
    bytes: int = Field(description="of its file, when it was indexed")


class Exposure(BaseModel):
    """How a photo was exposed; null where its file does not say."""

    exposure_time: float | None = Field(description="seconds")
    aperture: float | None = Field(description="the f-number")
    iso: int | None
    focal_length: float | None = Field(description="millimetres")
    focal_length_35mm: float | None = Field(description="what shows as much on 35 mm film")


class Description(BaseModel):
    """What a model wrote about a photo, or a part of it."""

    model: str
    text: str = Field(description="a sentence; it may be empty")


class FolderCount(BaseModel):
    """A folder."""

    path: str
    photos: int


class NameCount(BaseModel):
    """A camera."""

    name: str
    photos: int


class MonthCount(BaseModel):
    """A month, as 2024-05."""

    month: str
    photos: int


class TypeCount(BaseModel):
    """A kind of file, as the filter `type` takes it."""

    type: str
    photos: int


class LabelCount(BaseModel):
    """A label, and the photos that it is the best one of."""

    label: str
    photos: int


class Indexing(BaseModel):
    """How far an index run is, of this server's or of another process."""

    done: int
    total: int
    rate: float = Field(description="files a second")
    seconds_left: float | None


class Offered(BaseModel):
    """A folder of photos that can be indexed by POST /api/index."""

    folder: str
    taken: bool = Field(description="whether that was begun")
    problem: str | None = Field(description="why it failed")


class Status(BaseModel):
    """What the index holds, and what the server is doing."""

    version: str
    photos: int
    failures: int
    model: str | None = Field(description="the main one; null where there is none yet")
    models: list[str]
    state: Literal["loading", "ready"] = Field(description="for questions in words")
    pictures: Literal["loading", "ready"] = Field(description="for those with pictures")
    problem: str | None = Field(description="why the model cannot be loaded")
    indexing: Indexing | None
    watching: bool
    offer: Offered | None = Field(description="while the index holds no photos")
    describes: str | None = Field(description="the model that describes photos; null for none")
    folders: list[FolderCount]


class Facets(BaseModel):
    """The photos that the filters leave, counted by what another filter can ask for."""

    folders: list[FolderCount]
    cameras: list[NameCount]
    months: list[MonthCount]
    places: int = Field(description="photos that say where they were taken")
    types: list[TypeCount]
    people: list[NameCount] = Field(description="who is named in photos")
    towns: list[NameCount] = Field(description="where photos were taken, as `place` takes them")
    countries: list[NameCount] = Field(description="the same")


class Dot(BaseModel):
    """Photos that were taken near each other."""

    latitude: float = Field(description="of their middle")
    longitude: float
    photos: int


class Map(BaseModel):
    """Where photos were taken."""

    grid: float = Field(description="degrees that the photos of a dot lie within")
    dots: list[Dot] = Field(description="that of most photos first, 5,000 at most")


class Tags(BaseModel):
    """Labels that were given, that of most photos first."""

    labels: list[LabelCount]


class Answers(BaseModel):
    """The answers to several questions, in their order."""

    answers: list[Found | Error] = Field(description="or what is wrong with a question")


class Vectors(BaseModel):
    """Embeddings, in the order of what was embedded."""

    model: str
    dim: int
    embeddings: list[list[float]] = Field(description="each of unit length")


class Photos(BaseModel):
    """Several photos, in the order in which they were asked for."""

    photos: list[OnePhoto]
    missing: list[int] = Field(description="ids that the index does not hold")


class Health(BaseModel):
    """That the server is well."""

    status: Literal["ok"]


class Caption(BaseModel):
    """What a model wrote about a photo's picture."""

    model: str
    text: str


class Captions(BaseModel):
    """What models wrote about a photo."""

    captions: list[Caption]


class ReadLine(Line):
    """A line of text, and what read it."""

    model: str


class Lines(BaseModel):
    """The text that was read in a photo."""

    lines: list[ReadLine]


class FittingLabel(BaseModel):
    """A label, and how well it fits."""

    rank: int = Field(description="from 1")
    label: str
    probability: float = Field(description="among all labels; with SigLIP, by itself")
    score: float = Field(description="cosine")


class PhotoLabels(BaseModel):
    """The labels that fit a photo, best first."""

    labels: list[FittingLabel]


class Duplicate(BaseModel):
    """A photo of a group of duplicates."""

    path: str
    id: int
    keep: bool = Field(description="the one to keep, as a suggestion")
    bytes: int
    names: int = Field(description="that the file has")


class DuplicateGroup(BaseModel):
    """Photos that are duplicates in one sense."""

    kind: Literal["bytes", "pictures", "shots"]
    freed: int = Field(description="bytes that are free when all but the one to keep are deleted")
    photos: list[Duplicate]


class Duplicates(BaseModel):
    """The groups that a photo is in."""

    groups: list[DuplicateGroup]


class Mistake(BaseModel):
    """One of the things that are wrong with a request."""

    detail: str
    parameter: str | None = Field(None, description="its name; not there where it is of none")
    pointer: str | None = Field(None, description="where it is in a body (RFC 6901)")
    image: int | None = Field(None, description="which of the pictures sent is at fault, from 0")


class Error(BaseModel):
    """Why there is no answer: a problem as RFC 9457 has it, with `error` and `image` besides."""

    error: str = Field(description="one line")
    type: str = Field(description="about:blank, or urn:clipsearch:problem: and its kind")
    title: str
    status: int
    detail: str
    errors: list[Mistake] | None = Field(
        None, description="all that is wrong with the request; not there otherwise"
    )
    image: int | None = Field(
        None,
        description="which of the question's pictures is at fault, from 0; not there otherwise",
    )
