"""What is asked of photos: conditions on what is known of them, in no database's language.

Filters give these. The catalog turns each into SQL, exactly (`catalog/selection.py`); what an
engine outside can tell of one says `engine_facts.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clipsearch.photos.places.globe import DEGREE


@dataclass(frozen=True, slots=True)
class Is:
    """One fact compared with a value; what is not known is neither more nor less than any.

    The facts are `taken` ("2024-05-01T12:00:00" on the clock there), `camera`, `width`, `height`,
    `longer` and `shorter` (sides), `pixels`, `type` (".jpg"), `rating`, `locality` and `id`; those
    of what an engine is asked are the names of EngineFacts. `relation` is ==, >, >=, <, "in" (a
    tuple of values) or "contains" (a part of a text, both `folded`).
    """

    fact: str
    relation: str
    value: Any  # for ==, >, >= and < also another fact, as OtherFact


@dataclass(frozen=True, slots=True)
class OtherFact:
    """A fact that another is compared with."""

    name: str


@dataclass(frozen=True, slots=True)
class Has:
    """Something is known: `coordinates`, `date` (that the photo itself tells), `camera`, `lens`.

    Or what is written in the file: `title`, `caption`, `keywords`, `people`, `rating` or `place`,
    which coordinates tell as well. Or what was read in its picture: `text`.
    """

    fact: str


@dataclass(frozen=True, slots=True)
class Below:
    """The file lies below a folder of a root."""

    root: int  # its id
    folder: str  # the folder's path below the root, "" for the root itself


@dataclass(frozen=True, slots=True)
class Near:
    """It was taken so near to coordinates."""

    latitude: float
    longitude: float
    kilometres: float

    @property
    def band(self) -> float:
        """How many degrees of latitude the circle reaches to either side, at most."""
        return self.kilometres / DEGREE + 0.01


@dataclass(frozen=True, slots=True)
class Inside:
    """It was taken between two parallels and two meridians, from `west` to the east to `east`."""

    south: float
    west: float
    north: float
    east: float


@dataclass(frozen=True, slots=True)
class Located:
    """Its owner wrote where it was taken with these words, as `plain_name` has them, in a row."""

    words: str


@dataclass(frozen=True, slots=True)
class Shows:
    """Somebody of that name is named in it: whole words of a name, as `plain_name` has them."""

    person: str


@dataclass(frozen=True, slots=True)
class Says:
    """What is written about it has these words, one right after the other."""

    words: str


@dataclass(frozen=True, slots=True)
class Not:
    """Another condition does not hold."""

    part: Condition


@dataclass(frozen=True, slots=True)
class All:
    """All of some conditions."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """At least one of some conditions."""

    parts: tuple[Condition, ...]


Condition = Is | Has | Below | Near | Inside | Located | Shows | Says | Not | All | Either

EVERYTHING = All(())


def span_below(folder: str) -> tuple[str, str]:
    """What the paths of all that lies below a folder are between: the first, and the one after."""
    # In the order of paths, "0" comes right after "/".
    return f"{folder}/", f"{folder}0"
