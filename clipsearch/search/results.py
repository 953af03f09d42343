"""What a search gives."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from clipsearch.encoders.reading.line import Line
from clipsearch.photos.facts.facts import Facts
from clipsearch.photos.files.urls import PhotoPath, photo_path
from clipsearch.photos.places.locality import Locality

if TYPE_CHECKING:
    from clipsearch.store.catalog import PhotoRow

DIGITS = 3  # of a relevance, where it is told; what is decided by it is by what is told
RELEVANT = 0.5  # from here on an answer is more likely to fit than not
NOTHING = 0.3  # where the best answer to words is below, nothing fits

# They came later, and a CSV's columns stay where they are.
_LATER = ("people", "rating", "location", "label")


@dataclass(frozen=True, slots=True)
class Photo:
    """One photo of the index."""

    path: PhotoPath
    id: int  # of the photo in the catalog; stays when the file is moved
    facts: Facts
    present: bool = True  # whether it is there, and not on a drive that is away
    place: Locality | None = None  # where it was taken, in words

    @classmethod
    def of(cls, row: PhotoRow, present: bool) -> Photo:
        """A photo as the catalog knows it."""
        return cls(photo_path(row.path), row.id, row.facts, present, row.locality)

    def as_dict(self, rank: int) -> dict[str, Any]:
        """The photo as `--json` shows it; `rank` counts from 1."""
        facts, later = _told(self.facts)
        return {
            "rank": rank,
            "path": str(self.path),
            "id": self.id,
            **facts,
            "present": self.present,
            **later,
            "place": self.place and self.place.as_dict(),
        }


@dataclass(frozen=True, slots=True)
class Hit:
    """One photo that answers a question."""

    path: PhotoPath
    score: float  # cosine of the question's and the photo's embedding
    id: int  # of the photo in the catalog; stays when the file is moved
    facts: Facts
    # How far it stands out as an answer, 0 to 1 (docs/relevance.md); None where nothing was asked.
    relevance: float | None = None
    present: bool = True  # whether it is there, and not on a drive that is away
    # How much of what was asked for is written about it, 0 to 1; 0 where that was not looked for.
    written: float = 0.0
    lines: tuple[Line, ...] = ()  # of the text in its picture: those that have words of it
    place: Locality | None = None  # where it was taken, in words

    def as_dict(self, rank: int) -> dict[str, Any]:
        """The hit as `--json` shows it; `rank` counts from 1."""
        facts, later = _told(self.facts)
        return {
            "rank": rank,
            "score": round(self.score, 6),
            "relevance": None if self.relevance is None else round(self.relevance, DIGITS),
            "path": str(self.path),
            "id": self.id,
            **facts,
            "present": self.present,
            "written": round(self.written, 3),
            **later,
            "lines": [line.as_dict() for line in self.lines],
            "place": self.place and self.place.as_dict(),
        }


def _told(facts: Facts) -> tuple[dict[str, Any], dict[str, Any]]:
    """The facts by their names, and those that are told after all else."""
    told = asdict(facts)
    return told, {name: told.pop(name) for name in _LATER}


@dataclass(frozen=True, slots=True)
class Nothing:
    """Why a question found no photo.

    `reason` is the first of these that is so: "empty", the index holds no photos; "filters", none
    satisfies them; "quotes", none of those has all that stands in quotes; "minus", all that are
    left have some of what stands in quotes after a minus; "unembedded", none is embedded by the
    model yet; "relevance", none stands out; "itself", there is no other photo than the one that
    was asked with.
    """

    reason: str
    nowhere: tuple[str, ...] = ()  # what stands in quotes and is written about no photo at all


def stands_out(hit: Hit) -> bool:
    """Whether a hit is more likely to fit the question than not, or has all its words written."""
    if hit.written == 1:
        return True
    return hit.relevance is not None and round(hit.relevance, DIGITS) >= RELEVANT
