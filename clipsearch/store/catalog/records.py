"""What is read from the catalog and written to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from clipsearch.encoders.spec import INT8
from clipsearch.photos.facts.facts import Facts
from clipsearch.photos.files.opening import Place
from clipsearch.photos.files.urls import is_below
from clipsearch.photos.places.locality import Locality

if TYPE_CHECKING:
    from clipsearch.store.engine_facts import EngineFacts

# By a folder's path below its root: names of the file systems that its photos are on; "" is the
# one of the folder above (see indexing/away.py).
Seams = Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Model:
    """A model whose vectors the index holds."""

    id: int
    spec: str
    weights: str  # SHA-256 of the weights, hex
    preprocess: str
    dim: int
    note: str | None  # why this model, where nobody chose it
    runtime: str = "auto"  # what embeds pictures with it, of `choice.RUNTIMES`

    @property
    def is_int8(self) -> bool:
        """Whether its image tower is in 8 bits, and lies with the index."""
        return self.spec.startswith(INT8)


@dataclass(frozen=True, slots=True)
class Root:
    """A folder that is indexed with all below it."""

    id: int
    path: str  # absolute, or a URL


def root_of(path: str, roots: Sequence[Root]) -> Root | None:
    """The root that a path is or lies below."""
    return next((root for root in roots if is_below(path, root.path)), None)


class Listing(NamedTuple):
    """What a folder shows, in short."""

    photos: int  # right in it
    digest: bytes  # of their versions


@dataclass(frozen=True, slots=True)
class Known:
    """What the catalog knows of a file: enough to tell whether it changed."""

    id: int
    size: int
    mtime_ns: int
    digest: str


@dataclass(frozen=True, slots=True)
class PhotoRow:
    """One photo of the catalog."""

    id: int
    path: str  # absolute
    digest: str
    facts: Facts
    locality: Locality | None = None  # where it was taken, if that is near any place


class StoredPhoto(NamedTuple):
    """A photo of the catalog, and where its file is."""

    row: PhotoRow
    place: Place


class EnginePhoto(NamedTuple):
    """A photo as an engine holds it for one model."""

    id: int
    vector_id: int
    vector: bytes  # float16 row
    facts: EngineFacts


class PhotoFile(NamedTuple):
    """What tells a photo's file from its duplicates."""

    id: int
    digest: str
    size: int  # bytes
    mtime_ns: int
    width: int | None
    height: int | None
    taken: str | None  # "2024-05-01T12:00:00" on the camera's clock; None where EXIF tells none


@dataclass(frozen=True, slots=True)
class NewPhoto:
    """A photo to be written; `id` is that of the row it replaces, None for a new one."""

    id: int | None
    root_id: int
    path: str  # below the root
    digest: str  # SHA-256 of the whole file, hex
    size: int
    mtime_ns: int
    facts: Facts


class Told(NamedTuple):
    """What the files beside a photo tell of it."""

    id: int  # of the photo
    own: Facts  # as if none lay there
    held: Facts  # as they are in the catalog
    facts: Facts  # with what they tell
    version: str  # another one when they are others; "" where none are left


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that could not be read, and why."""

    root_id: int
    path: str  # below the root
    size: int
    mtime_ns: int
    reason: str
    tries: int = 0  # 1 where the next may go well; such are counted while the file is the same


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine outside the index folder that holds the vectors, or is being given them."""

    address: str  # "milvus:http://..."
    library: str  # what tells this index from others there
    ready: bool  # whether it has them all


@dataclass(slots=True)
class Changes:
    """What one transaction writes."""

    vectors: list[tuple[str, bytes]] = field(default_factory=list)  # digest, float16 row
    pictures: list[tuple[str, bytes]] = field(default_factory=list)  # digest, perceptual hash
    photos: list[NewPhoto] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)  # ids of photos that are photos no more
